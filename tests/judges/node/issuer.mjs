// An identity provider that is not ours, as somebody's tenant might run it: npm's oidc-provider.
// Told to, it misbehaves in one way at a time. Everybody who comes is Ada.
import { createServer } from 'node:http';
import { text } from 'node:stream/consumers';
import * as jose from 'jose';
import { Provider } from 'oidc-provider';

const { client, secret, redirectUri, others = [] } = JSON.parse(process.env.PARTYWALL_JUDGED);
const { privateKey, publicKey } = await jose.generateKeyPair('ES256', { extractable: true });
const other = await jose.generateKeyPair('ES256', { extractable: true });
const kid = 'k-1';
const jwk = { ...(await jose.exportJWK(privateKey)), kid, alg: 'ES256', use: 'sig' };
const publicPem = await jose.exportSPKI(publicKey);

let how = 'honest';
const claims = { sub: 'ada', email: 'ada@acme.test', email_verified: true, name: 'Ada Lovelace' };

const now = () => Math.floor(Date.now() / 1000);
const encode = (json) => jose.base64url.encode(JSON.stringify(json));
const sign = (payload, key = privateKey, header = {}) =>
  new jose.SignJWT(payload).setProtectedHeader({ alg: 'ES256', kid, ...header }).sign(key);
const hmac = (payload, key) =>
  new jose.SignJWT(payload).setProtectedHeader({ alg: 'HS256' }).sign(new TextEncoder().encode(key));

// What becomes of an ID token.
const tokens = {
  'wrong nonce': (p) => sign({ ...p, nonce: 'another' }),
  'no nonce': ({ nonce, ...p }) => sign(p),
  'wrong audience': (p) => sign({ ...p, aud: 'somebody' }),
  'two audiences': (p) => sign({ ...p, aud: [client, 'somebody'] }),
  'made for another': (p) => sign({ ...p, aud: [client, 'somebody'], azp: 'somebody' }),
  'other issuer': (p) => sign({ ...p, iss: 'https://evil.test' }),
  'expired': (p) => sign({ ...p, iat: now() - 600, exp: now() - 120 }),
  'from the future': (p) => sign({ ...p, iat: now() + 600, exp: now() + 900 }),
  'old': (p) => sign({ ...p, iat: now() - 7200, exp: now() + 900 }),
  'other access token': (p) => sign({ ...p, at_hash: 'AAAAAAAAAAAAAAAAAAAAAA' }),
  'alg none': (p) => `${encode({ alg: 'none' })}.${encode(p)}.`,
  'by the client secret': (p) => hmac(p, secret),
  'by the public key': (p) => hmac(p, publicPem),
  'by another key': (p) => sign(p, other.privateKey),
  'by an unknown key': (p) => sign(p, other.privateKey, { kid: 'k-2' }),
  'key in the header': async (p) =>
    sign(p, other.privateKey, { jwk: await jose.exportJWK(other.publicKey) }),
  'logout token': (p) => sign(p, privateKey, { typ: 'logout+jwt' }),
  'access token': (p) => sign(p, privateKey, { typ: 'at+jwt' }),
  'subject twice': async (p) => {
    const payload = JSON.stringify(p).replace('{', '{"sub":"eve",');
    return new jose.CompactSign(new TextEncoder().encode(payload))
      .setProtectedHeader({ alg: 'ES256', kid })
      .sign(privateKey);
  },
};

// What becomes of the way back.
const answers = {
  'answer without issuer': (url) => url.searchParams.delete('iss'),
  'answer of another issuer': (url) => url.searchParams.set('iss', 'https://evil.test'),
};

const server = createServer();
await new Promise((done) => server.listen(0, '127.0.0.1', done));
const issuer = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  clients: [{
    client_id: client,
    client_secret: secret,
    redirect_uris: [redirectUri, ...others],
    id_token_signed_response_alg: 'ES256',
  }],
  jwks: { keys: [jwk] },
  cookies: { keys: ['of this process'] },
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'] },
  features: { devInteractions: { enabled: false } },
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  findAccount: (_, id) => ({ accountId: id, claims: () => claims }),
  async loadExistingGrant(ctx) {
    const { client, session } = ctx.oidc;
    const grant = new ctx.oidc.provider.Grant({
      clientId: client.clientId,
      accountId: session.accountId,
    });
    grant.addOIDCScope('openid email profile');
    await grant.save();
    return grant;
  },
});
provider.on('server_error', (_, error) => console.error(error));

provider.use(async (ctx, next) => {
  await next();
  const location = ctx.response.get('location') ?? '';
  if (ctx.body?.id_token && tokens[how]) {
    ctx.body = { ...ctx.body, id_token: await tokens[how](jose.decodeJwt(ctx.body.id_token)) };
  } else if (ctx.path === '/me' && how === 'user info of another') {
    ctx.body = { ...ctx.body, sub: 'eve' };
  } else if (location.startsWith(redirectUri) && answers[how]) {
    const url = new URL(location);
    answers[how](url);
    ctx.set('location', url.href);
  }
});

const callback = provider.callback();
server.on('request', async (request, response) => {
  if (request.url === '/how') {
    how = await text(request);
    const known = how === 'honest' || how === 'user info of another' || tokens[how] || answers[how];
    response.writeHead(known ? 204 : 404).end();
  } else if (request.url.startsWith('/interaction/')) {
    await provider.interactionFinished(request, response, { login: { accountId: 'ada' } });
  } else {
    callback(request, response);
  }
});
console.log(issuer);
// Whoever started it holds its input open.
process.stdin.on('end', () => process.exit()).resume();
