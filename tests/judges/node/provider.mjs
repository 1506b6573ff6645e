// A SAML identity provider made of npm's samlp, as somebody's tenant might run it. Everybody who
// comes is Ada.
import { execFileSync } from 'node:child_process';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { text } from 'node:stream/consumers';

const samlp = createRequire(import.meta.url)('samlp');

const made = execFileSync('openssl', [
  ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=samlp', '-days', '9'],
  ...['-keyout', '-', '-out', '-'],
], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
const part = (kind) => new RegExp(`-----BEGIN ${kind}-----[^]*-----END ${kind}-----`).exec(made)[0];
const [key, cert] = [part('PRIVATE KEY'), part('CERTIFICATE')];

const server = createServer();
await new Promise((done) => server.listen(0, '127.0.0.1', done));
const here = `http://127.0.0.1:${server.address().port}`;
const issuer = 'urn:samlp';

const ada = {
  id: 'ada',
  displayName: 'Ada Lovelace',
  name: { familyName: 'Lovelace', givenName: 'Ada' },
  emails: [{ value: 'ada@acme.test' }],
};

// Whom it answers: where, and by what certificate they sign.
const partners = new Map();
const of = (metadata, pattern) => pattern.exec(metadata)[1];

const knows = (metadata) => {
  const signing = of(metadata, /<md:KeyDescriptor use="signing">([^]*?)<\/md:KeyDescriptor>/);
  const base64 = of(signing, /X509Certificate>\s*([^<]*?)\s*</);
  partners.set(of(metadata, /entityID="([^"]*)"/), {
    acs: of(metadata, /AssertionConsumerService[^>]*Location="([^"]*)"/),
    cert: `-----BEGIN CERTIFICATE-----\n${base64}\n-----END CERTIFICATE-----`,
  });
};

const parse = (request, options) => new Promise((done, failed) => {
  samlp.parseRequest(request, options, (error, data) => (error ? failed(error) : done(data)));
});

async function answer(query) {
  const request = { method: 'GET', query };
  const { issuer: audience } = await parse(request, {});
  const { acs, cert: signingCert } = partners.get(audience);
  // Again, now by its key.
  const asked = await parse(request, { signingCert });
  if (asked.assertionConsumerServiceURL !== acs) throw new Error('another address');
  const options = {
    issuer,
    audience,
    recipient: acs,
    destination: acs,
    inResponseTo: asked.id,
    sessionIndex: '_ada',
    lifetimeInSeconds: 240,
    signatureAlgorithm: 'rsa-sha256',
    digestAlgorithm: 'sha256',
    authnContextClassRef: 'urn:oasis:names:tc:SAML:2.0:ac:classes:Password',
    key,
    cert,
  };
  const response = await new Promise((done, failed) => {
    samlp.getSamlResponse(options, ada, (error, said) => (error ? failed(error) : done(said)));
  });
  const fields = { SAMLResponse: Buffer.from(response).toString('base64'), RelayState: query.RelayState };
  const inputs = Object.entries(fields)
    .map(([name, value]) => `<input type="hidden" name="${name}" value="${value}">`);
  return `<!doctype html><body onload="document.forms[0].submit()">
    <form method="post" action="${acs}">${inputs.join('')}</form>`;
}

const metadata = samlp.metadata({
  cert, issuer, redirectEndpointPath: '/sso', postEndpointPath: '/post',
});

server.on('request', async (request, response) => {
  const url = new URL(request.url, here);
  try {
    if (url.pathname === '/sso') {
      response.setHeader('content-type', 'text/html');
      response.end(await answer(Object.fromEntries(url.searchParams)));
    } else if (url.pathname === '/knows') {
      knows(await text(request));
      response.writeHead(204).end();
    } else if (url.pathname === '/metadata') {
      Object.assign(request, { protocol: 'http', originalUrl: '/metadata' });
      Object.assign(response, { set: response.setHeader, send: response.end });
      metadata(request, response);
    } else {
      response.end();
    }
  } catch (error) {
    console.error(error);
    response.writeHead(400).end(String(error));
  }
});
console.log(here);
// Whoever started it holds its input open.
process.stdin.on('end', () => process.exit()).resume();
