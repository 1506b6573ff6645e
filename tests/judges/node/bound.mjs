// An application as FAPI 2.0 wants one: requests pushed, a key instead of a secret, tokens bound to
// another. And a public one that has nothing but PKCE and DPoP.
import * as jose from 'jose';
import { Browser, accepts, signIn } from './browser.mjs';
import { assert, check, discover, judged, oidc, refused } from './judge.mjs';

const { strict, native, ada } = judged;
const scope = 'openid offline_access invoices:read';
const key = await crypto.subtle.importKey(
  'jwk', judged.key, { name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign'],
);

async function parameters(client) {
  const pkceCodeVerifier = oidc.randomPKCECodeVerifier();
  const expectedState = oidc.randomState();
  const asked = {
    redirect_uri: client.redirectUri,
    scope,
    state: expectedState,
    code_challenge: await oidc.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: 'S256',
  };
  return { asked, checks: { pkceCodeVerifier, expectedState, idTokenExpected: true } };
}

await check('an invitation is accepted with a first password', () => accepts(ada));

await check('PAR, private_key_jwt and DPoP, from the request to a refreshed token', async () => {
  const config = await discover(strict, oidc.PrivateKeyJwt(key));
  const DPoP = oidc.getDPoPHandle(config, await oidc.randomDPoPKeyPair('ES256'));
  const { asked, checks } = await parameters(strict);
  const url = await oidc.buildAuthorizationUrlWithPAR(config, asked, { DPoP });
  assert.deepEqual([...url.searchParams.keys()].sort(), ['client_id', 'request_uri']);
  const back = await signIn(new Browser(), url);
  const tokens = await oidc.authorizationCodeGrant(config, back, checks, undefined, { DPoP });
  assert.equal(tokens.token_type, 'dpop');
  const jkt = await DPoP.calculateThumbprint();
  assert.equal(jose.decodeJwt(tokens.access_token).cnf.jkt, jkt);
  const info = await oidc.fetchUserInfo(config, tokens.access_token, ada.id, { DPoP });
  assert.equal(info.sub, ada.id);
  const next = await oidc.refreshTokenGrant(config, tokens.refresh_token, undefined, { DPoP });
  assert.equal(jose.decodeJwt(next.access_token).cnf.jkt, jkt);
});

await check('a code that is bound to a key is redeemed with that key', async () => {
  const config = await discover(strict, oidc.PrivateKeyJwt(key));
  const [DPoP, other] = [
    oidc.getDPoPHandle(config, await oidc.randomDPoPKeyPair('ES256')),
    oidc.getDPoPHandle(config, await oidc.randomDPoPKeyPair('ES256')),
  ];
  const { asked, checks } = await parameters(strict);
  const url = await oidc.buildAuthorizationUrlWithPAR(config, asked, { DPoP });
  const back = await signIn(new Browser(), url);
  const stolen = oidc.authorizationCodeGrant(config, back, checks, undefined, { DPoP: other });
  await refused(stolen, 'invalid_grant', 'invalid_dpop_proof');
});

await check('an application that must push its requests is not heard otherwise', async () => {
  const config = await discover(strict, oidc.PrivateKeyJwt(key));
  const { asked, checks } = await parameters(strict);
  const back = await new Browser().open(oidc.buildAuthorizationUrl(config, asked));
  if (back) await refused(oidc.authorizationCodeGrant(config, back, checks), 'invalid_request');
});

await check('another key is not the client’s', async () => {
  const { privateKey } = await jose.generateKeyPair('ES256');
  const config = await discover(strict, oidc.PrivateKeyJwt({ key: privateKey, kid: judged.key.kid }));
  const { asked } = await parameters(strict);
  await refused(oidc.buildAuthorizationUrlWithPAR(config, asked), 'invalid_client');
});

for (const alg of ['ES256', 'Ed25519', 'PS256', 'RS256']) {
  await check(`a public client on any loopback port, bound by ${alg}`, async () => {
    const config = await discover(native, oidc.None());
    const DPoP = oidc.getDPoPHandle(config, await oidc.randomDPoPKeyPair(alg));
    const { asked, checks } = await parameters(native);
    // RFC 8252 7.3: whatever port was free.
    const redirect_uri = native.redirectUri.replace('127.0.0.1', '127.0.0.1:49152');
    const url = oidc.buildAuthorizationUrl(config, { ...asked, redirect_uri });
    const back = await signIn(new Browser(), url);
    const tokens = await oidc.authorizationCodeGrant(config, back, checks, undefined, { DPoP });
    assert.equal(tokens.token_type, 'dpop');
    const next = await oidc.refreshTokenGrant(config, tokens.refresh_token, undefined, { DPoP });
    const info = await oidc.fetchUserInfo(config, next.access_token, ada.id, { DPoP });
    assert.equal(info.sub, ada.id);
    // A refresh token of a public client is its key's (RFC 9449 5).
    const other = oidc.getDPoPHandle(config, await oidc.randomDPoPKeyPair(alg));
    const stolen = oidc.refreshTokenGrant(config, next.refresh_token, undefined, { DPoP: other });
    await refused(stolen, 'invalid_grant', 'invalid_dpop_proof');
  });
}
