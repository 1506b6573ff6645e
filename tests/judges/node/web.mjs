// A web application with a secret: a person signs in by authorization code, stays signed in, and
// what it holds is known, exchanged and taken back.
import * as jose from 'jose';
import { Browser, accepts, signIn } from './browser.mjs';
import { assert, check, discover, judged, oidc, refused } from './judge.mjs';

const { web, ada } = judged;
const redirect_uri = web.redirectUri;
const left = 'https://app.test/left';
const scope = 'openid profile email offline_access invoices:read';
const config = await discover(web, oidc.ClientSecretBasic(web.secret));

/** A request as openid-client makes it, and what its answer is to be checked with. */
async function request(more = {}) {
  const pkceCodeVerifier = oidc.randomPKCECodeVerifier();
  const [expectedState, expectedNonce] = [oidc.randomState(), oidc.randomNonce()];
  const url = oidc.buildAuthorizationUrl(config, {
    redirect_uri,
    scope,
    state: expectedState,
    nonce: expectedNonce,
    code_challenge: await oidc.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: 'S256',
    ...more,
  });
  return { url, checks: { pkceCodeVerifier, expectedState, expectedNonce, idTokenExpected: true } };
}

const browser = new Browser();
let tokens;

await check('an invitation is accepted with a first password', () => accepts(ada));

await check('code, PKCE, state, nonce, iss, and an ID token that verifies', async () => {
  const { url, checks } = await request();
  const back = await signIn(browser, url);
  assert.equal(back.searchParams.get('iss'), judged.issuer);
  tokens = await oidc.authorizationCodeGrant(config, back, checks);
  const claims = tokens.claims();
  assert.equal(claims.aud, web.id);
  assert.equal(claims.sub, ada.id);
  assert.deepEqual(claims.amr, ['pwd']);
  await refused(oidc.authorizationCodeGrant(config, back, checks), 'invalid_grant');
  // A code that comes twice takes back what it gave (RFC 6749 4.1.2).
  await refused(oidc.refreshTokenGrant(config, tokens.refresh_token), 'invalid_grant');
});

await check('the session is known again, and max_age is kept to', async () => {
  const { url, checks } = await request({ max_age: '3600' });
  const back = await browser.open(url);
  tokens = await oidc.authorizationCodeGrant(config, back, { ...checks, maxAge: 3600 });
  assert.equal(tokens.claims().sub, ada.id);
  const again = await request({ max_age: '0' });
  assert.equal(await browser.open(again.url), undefined, 'asked once more');
  assert.equal(browser.heading, 'Enter your password');
});

await check('a code is good with its own verifier only', async () => {
  const { url, checks } = await request();
  const back = await browser.open(url);
  const other = { ...checks, pkceCodeVerifier: oidc.randomPKCECodeVerifier() };
  await refused(oidc.authorizationCodeGrant(config, back, other), 'invalid_grant');
});

await check('form_post', async () => {
  const { url, checks } = await request({ response_mode: 'form_post' });
  assert.equal(await browser.open(url), undefined, 'a page');
  const { access_token } = await oidc.authorizationCodeGrant(config, browser.postedForward, checks);
  assert.ok(access_token);
});

await check('prompt=none without a session', async () => {
  const { url, checks } = await request({ prompt: 'none' });
  const back = await new Browser().open(url);
  await refused(oidc.authorizationCodeGrant(config, back, checks), 'login_required');
});

await check('an unknown scope', async () => {
  const { url, checks } = await request({ scope: 'openid all' });
  const back = await browser.open(url);
  await refused(oidc.authorizationCodeGrant(config, back, checks), 'invalid_scope');
});

await check('userinfo', async () => {
  const info = await oidc.fetchUserInfo(config, tokens.access_token, ada.id);
  assert.equal(info.email, ada.email);
  assert.equal(info.name, ada.name);
});

await check('refresh: a new refresh token each time, and fewer scopes for the asking', async () => {
  const first = await oidc.refreshTokenGrant(config, tokens.refresh_token);
  assert.notEqual(first.refresh_token, tokens.refresh_token);
  assert.equal(first.claims()?.sub ?? ada.id, ada.id);
  const fewer = await oidc.refreshTokenGrant(config, first.refresh_token, { scope: 'openid' });
  assert.equal(jose.decodeJwt(fewer.access_token).scope, 'openid');
  tokens = await oidc.refreshTokenGrant(config, fewer.refresh_token);
});

await check('an access token is exchanged, and says who acts', async () => {
  const accessToken = 'urn:ietf:params:oauth:token-type:access_token';
  const grant = 'urn:ietf:params:oauth:grant-type:token-exchange';
  const exchanged = await oidc.genericGrantRequest(config, grant, {
    subject_token: tokens.access_token,
    subject_token_type: accessToken,
    resource: judged.otherApi,
    scope: 'invoices:read',
  });
  assert.equal(exchanged.issued_token_type, accessToken);
  const claims = jose.decodeJwt(exchanged.access_token);
  assert.equal(claims.sub, ada.id);
  assert.equal(claims.act.sub, web.id);
  assert.equal(claims.aud, judged.otherApi);
  assert.equal(claims.tid, judged.tenant);
});

await check('logout: the hint is taken, the way back is followed, and nothing is left', async () => {
  const there = new Browser();
  const { url, checks } = await request();
  const held = await oidc.authorizationCodeGrant(config, await signIn(there, url), checks);
  const leave = (more) => oidc.buildEndSessionUrl(config, { id_token_hint: held.id_token, ...more });
  const elsewhere = 'https://elsewhere.test/left';
  assert.equal(await there.open(leave({ post_logout_redirect_uri: elsewhere })), undefined);
  const again = await request({ prompt: 'none' });
  const known = await there.open(again.url);
  assert.ok(known.searchParams.get('code'), 'an address that is not registered ends nothing');
  const back = await there.open(leave({ post_logout_redirect_uri: left, state: 'bye' }));
  assert.equal(back.href, `${left}?state=bye`);
  const gone = await request({ prompt: 'none' });
  await refused(
    oidc.authorizationCodeGrant(config, await there.open(gone.url), gone.checks),
    'login_required',
  );
  await refused(oidc.refreshTokenGrant(config, held.refresh_token), 'invalid_grant');
});

await check('introspection and revocation of what a person granted', async () => {
  for (const token of [tokens.access_token, tokens.refresh_token]) {
    const known = await oidc.tokenIntrospection(config, token);
    assert.deepEqual([known.active, known.sub, known.tid], [true, ada.id, judged.tenant]);
  }
  await oidc.tokenRevocation(config, tokens.refresh_token);
  for (const token of [tokens.access_token, tokens.refresh_token]) {
    assert.deepEqual(await oidc.tokenIntrospection(config, token), { active: false });
  }
  await refused(oidc.refreshTokenGrant(config, tokens.refresh_token), 'invalid_grant');
});
