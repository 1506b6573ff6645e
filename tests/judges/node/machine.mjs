// A machine: tokens by client credentials, what is known about them, and taking them back.
import * as jose from 'jose';
import { assert, check, discover, judged, oidc, refused } from './judge.mjs';

const { robot, stranger } = judged;
const ways = {
  client_secret_basic: oidc.ClientSecretBasic,
  client_secret_post: oidc.ClientSecretPost,
};
const scope = 'invoices:read';
let config;

await check('discovery, as OpenID Connect and as OAuth', async () => {
  config = await discover(robot, oidc.ClientSecretBasic(robot.secret));
  const oauth = await oidc.discovery(new URL(judged.issuer), robot.id, {}, oidc.None(), {
    algorithm: 'oauth2',
    execute: [oidc.allowInsecureRequests],
  });
  const metadata = config.serverMetadata();
  assert.equal(metadata.issuer, judged.issuer);
  assert.equal(metadata.supportsPKCE(), true);
  assert.deepEqual({ ...oauth.serverMetadata() }, { ...metadata });
});

for (const [name, way] of Object.entries(ways)) {
  await check(`client credentials by ${name}`, async () => {
    const config = await discover(robot, way(robot.secret));
    const tokens = await oidc.clientCredentialsGrant(config, { scope });
    assert.equal(tokens.token_type, 'bearer');
    assert.ok(tokens.expiresIn() > 0);
    const keys = jose.createRemoteJWKSet(new URL(config.serverMetadata().jwks_uri));
    const { payload } = await jose.jwtVerify(tokens.access_token, keys, {
      issuer: judged.issuer,
      audience: judged.api,
      typ: 'at+jwt',
      requiredClaims: ['sub', 'client_id', 'iat', 'exp', 'jti', 'tid'],
    });
    assert.equal(payload.client_id, robot.id);
    assert.equal(payload.tid, judged.tenant);
    assert.equal(payload.scope, scope);
    const wrong = await discover(robot, way(`${robot.secret}x`));
    await refused(oidc.clientCredentialsGrant(wrong, { scope }), 'invalid_client');
  });
}

await check('resource indicators', async () => {
  const named = { scope, resource: judged.otherApi };
  const { access_token } = await oidc.clientCredentialsGrant(config, named);
  assert.equal(jose.decodeJwt(access_token).aud, judged.otherApi);
  const unknown = { scope, resource: 'https://elsewhere.test' };
  await refused(oidc.clientCredentialsGrant(config, unknown), 'invalid_target');
  await refused(oidc.clientCredentialsGrant(config, { scope: 'all' }), 'invalid_scope');
});

await check('DPoP binds a token to a key', async () => {
  const key = await oidc.randomDPoPKeyPair('ES256');
  const DPoP = oidc.getDPoPHandle(config, key);
  const tokens = await oidc.clientCredentialsGrant(config, { scope }, { DPoP });
  assert.equal(tokens.token_type, 'dpop');
  assert.equal(jose.decodeJwt(tokens.access_token).cnf.jkt, await DPoP.calculateThumbprint());
  const known = await oidc.tokenIntrospection(config, tokens.access_token);
  assert.equal(known.cnf.jkt, await DPoP.calculateThumbprint());
});

await check('introspection tells the tenant, and nobody else', async () => {
  const { access_token } = await oidc.clientCredentialsGrant(config, { scope });
  const known = await oidc.tokenIntrospection(config, access_token);
  assert.equal(known.active, true);
  assert.equal(known.client_id, robot.id);
  assert.equal(known.scope, scope);
  const other = await discover(stranger, oidc.ClientSecretBasic(stranger.secret));
  assert.deepEqual(await oidc.tokenIntrospection(other, access_token), { active: false });
  assert.deepEqual(await oidc.tokenIntrospection(config, 'nonsense'), { active: false });
});

await check('revocation takes a token back, by its own client only', async () => {
  const { access_token } = await oidc.clientCredentialsGrant(config, { scope });
  const other = await discover(stranger, oidc.ClientSecretBasic(stranger.secret));
  await oidc.tokenRevocation(other, access_token);
  assert.equal((await oidc.tokenIntrospection(config, access_token)).active, true);
  await oidc.tokenRevocation(config, access_token);
  assert.deepEqual(await oidc.tokenIntrospection(config, access_token), { active: false });
  await oidc.tokenRevocation(config, access_token);
});
