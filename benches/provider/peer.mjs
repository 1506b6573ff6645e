// npm's oidc-provider, made as quick as its documentation lets us: JWT access tokens like ours, a
// plain map for a store, no log, one process. Nothing of that survives a restart; with a file, each
// change is appended to it and on the disk before the answer, which is the least that is durable.
//
//   node peer.mjs <folder of node_modules> <ES256|RS256> [file]
//
// Says one line of JSON when it is ready.

import { appendFileSync, fdatasyncSync, openSync } from 'node:fs';
import { createServer } from 'node:http';
import { generateKeyPairSync } from 'node:crypto';

const [parts, algorithm, file] = process.argv.slice(2);
const { default: Provider } = await import(`${parts}/oidc-provider/lib/index.js`);

const stored = new Map();
const byUid = new Map();
const grants = new Map();

const log = file && openSync(file, 'a');
function last(change) {
  if (!log) return;
  appendFileSync(log, `${JSON.stringify(change)}\n`);
  fdatasyncSync(log);
}

class Adapter {
  constructor(name) {
    this.name = name;
  }
  key(id) {
    return `${this.name}:${id}`;
  }
  async upsert(id, payload) {
    stored.set(this.key(id), payload);
    last([this.key(id), payload]);
    if (payload.uid) byUid.set(payload.uid, id);
    if (payload.grantId) {
      if (!grants.has(payload.grantId)) grants.set(payload.grantId, []);
      grants.get(payload.grantId).push(this.key(id));
    }
  }
  async find(id) {
    return stored.get(this.key(id));
  }
  async findByUid(uid) {
    return this.find(byUid.get(uid));
  }
  async findByUserCode() {
    return undefined;
  }
  async consume(id) {
    stored.get(this.key(id)).consumed = Math.floor(Date.now() / 1000);
    last([this.key(id), 'consumed']);
  }
  async destroy(id) {
    stored.delete(this.key(id));
    last([this.key(id)]);
  }
  async revokeByGrantId(grantId) {
    for (const key of grants.get(grantId) ?? []) stored.delete(key);
    grants.delete(grantId);
  }
}

const keyPair =
  algorithm === 'RS256'
    ? generateKeyPairSync('rsa', { modulusLength: 2048 })
    : generateKeyPairSync('ec', { namedCurve: 'P-256' });
const key = { ...keyPair.privateKey.export({ format: 'jwk' }), alg: algorithm, use: 'sig', kid: 'k' };

const machines = Array.from({ length: 256 }, (_, n) => ({
  client_id: `machine-${n}`,
  client_secret: `a-secret-of-some-forty-characters-${n}-000000`,
  grant_types: ['client_credentials'],
  response_types: [],
  redirect_uris: [],
  token_endpoint_auth_method: 'client_secret_post',
  scope: 'invoices:read',
}));
const web = {
  client_id: 'web',
  token_endpoint_auth_method: 'none',
  grant_types: ['authorization_code', 'refresh_token'],
  response_types: ['code'],
  redirect_uris: ['https://app.test/cb'],
};

const server = createServer();
await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
const address = `127.0.0.1:${server.address().port}`;

const provider = new Provider(`http://${address}`, {
  adapter: Adapter,
  clients: [...machines, web],
  clientDefaults: { id_token_signed_response_alg: algorithm },
  jwks: { keys: [key] },
  scopes: ['openid', 'offline_access', 'invoices:read'],
  cookies: { keys: ['a key of no importance'] },
  rotateRefreshToken: true,
  issueRefreshToken: async () => true,
  findAccount: async (_, id) => ({ accountId: id, claims: async () => ({ sub: id }) }),
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: async () => 'https://api.test',
      useGrantedResource: async () => true,
      getResourceServerInfo: async () => ({
        scope: 'invoices:read',
        audience: 'https://api.test',
        accessTokenFormat: 'jwt',
        accessTokenTTL: 600,
        jwt: { sign: { alg: algorithm } },
      }),
    },
  },
  interactions: { url: (_, interaction) => `/enter/${interaction.uid}` },
  loadExistingGrant: async (ctx) => {
    const { session, client } = ctx.oidc;
    const known = session.grantIdFor(client.clientId);
    if (known) return provider.Grant.find(known);
    const grant = new provider.Grant({ clientId: client.clientId, accountId: session.accountId });
    grant.addOIDCScope('openid offline_access invoices:read');
    grant.addResourceScope('https://api.test', 'invoices:read');
    await grant.save();
    return grant;
  },
});

// Whoever comes is Ada: what signing in costs is measured for neither.
provider.use(async (ctx, next) => {
  if (!ctx.path.startsWith('/enter/')) return next();
  ctx.respond = false;
  await provider.interactionFinished(
    ctx.req,
    ctx.res,
    { login: { accountId: 'ada' } },
    { mergeWithLastSubmission: false },
  );
});

server.on('request', provider.callback());
console.log(
  JSON.stringify({
    address,
    machines: machines.map((machine) => [machine.client_id, machine.client_secret]),
    web: 'web',
    token: '/token',
    authorize: '/auth',
  }),
);
