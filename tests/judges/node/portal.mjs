// Somebody in a tenant's IT sets single sign-on up, by a link, with npm's samlp as their provider.
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { X509Certificate, createPrivateKey } from 'node:crypto';
import { assert, check, judged } from './judge.mjs';
import { Person, closeBrowser } from './chromium.mjs';

const samlp = createRequire(import.meta.url)('samlp');
const cert = new X509Certificate(Buffer.from(judged.certificate, 'base64')).toString();
const key = createPrivateKey({ key: Buffer.from(judged.key, 'base64'), format: 'der', type: 'pkcs8' })
  .export({ type: 'pkcs8', format: 'pem' });
const setup = `${judged.issuer}/setup`;
let audience;

/** Everybody who comes is Zoe. */
async function response(request) {
  const user = { id: 'zoe-1', displayName: 'Zoe', name: {}, emails: [{ value: 'zoe@people.test' }] };
  const options = {
    issuer: `${provider}/idp`, audience, recipient: request.acs, destination: request.acs,
    inResponseTo: request.id, lifetimeInSeconds: 240, sessionIndex: '_s', key, cert,
    signatureAlgorithm: 'rsa-sha256', digestAlgorithm: 'sha256', signAssertion: true,
    authnContextClassRef: 'urn:oasis:names:tc:SAML:2.0:ac:classes:Password',
    nameIdentifierFormat: 'urn:oasis:names:tc:SAML:2.0:nameid-format:persistent',
  };
  return new Promise((done, failed) =>
    samlp.getSamlResponse(options, user, (error, xml) => (error ? failed(error) : done(xml))));
}

const page = (content) =>
  `<!doctype html><html lang="en"><title>Idp</title><link rel="icon" href="data:,"><main><h1>Your provider</h1>${content}</main></html>`;

const server = createServer(async (request, reply) => {
  const url = new URL(request.url, provider);
  if (url.pathname === '/metadata') {
    reply.setHeader('content-type', 'application/samlmetadata+xml');
    reply.end(`<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" entityID="${provider}/idp">
      <md:IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">
      <md:KeyDescriptor use="signing"><ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:X509Data>
      <ds:X509Certificate>${judged.certificate}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>
      <md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="${provider}/sso"/>
      </md:IDPSSODescriptor></md:EntityDescriptor>`);
    return;
  }
  if (url.pathname !== '/sso') return reply.writeHead(404).end();
  const parsed = await new Promise((done, failed) =>
    samlp.parseRequest({ query: Object.fromEntries(url.searchParams) }, {}, (error, data) =>
      error ? failed(error) : done(data)));
  const xml = await response({ id: parsed.id, acs: parsed.assertionConsumerServiceURL });
  const field = (name, value) => `<input type="hidden" name="${name}" value="${value.replace(/"/g, '&quot;')}">`;
  reply.setHeader('content-type', 'text/html; charset=utf-8');
  reply.end(page(`<form method="post" action="${parsed.assertionConsumerServiceURL}">
    ${field('SAMLResponse', Buffer.from(xml).toString('base64'))}
    ${field('RelayState', url.searchParams.get('RelayState'))}<button>Sign in as Zoe</button></form>`));
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const provider = `http://127.0.0.1:${server.address().port}`;

for (const javaScriptEnabled of [true, false]) {
  const words = javaScriptEnabled ? 'with scripts' : 'without scripts';
  const zoe = await Person.come('zoe@people.test', { javaScriptEnabled });
  const follows = (name) => zoe.page.getByRole('link', { name, exact: true }).click();

  await check(`a link is opened by a button, once, ${words}`, async () => {
    const link = judged.links.pop();
    await zoe.goes(link);
    await zoe.sees('Set up single sign-on');
    await zoe.presses('Begin');
    await zoe.reads('Not connected yet.');
    await zoe.sees('Set up single sign-on');
    const other = await Person.come('eve@people.test', { javaScriptEnabled });
    await other.fails(link, 404);
    await other.sees('This link is good no longer');
    await other.fails(setup, 404);
    await other.leaves();
  });

  await check(`metadata is read, shown, and trusted, ${words}`, async () => {
    await follows('Choose your provider');
    await zoe.sees('Choose your provider');
    await follows('Another SAML 2.0 provider');
    await zoe.sees('Another SAML 2.0 provider');
    audience = await zoe.page.locator('dd code').first().innerText();
    await zoe.types('Address of the metadata', `${provider}/nothing`);
    await zoe.presses('Read');
    await zoe.page.getByRole('alert').waitFor();
    assert.ok(zoe.complaints().every((said) => said.includes('a status of 400')));
    await zoe.sees('Another SAML 2.0 provider');
    await zoe.types('Address of the metadata', `${provider}/metadata`);
    await zoe.presses('Read');
    await zoe.reads(judged.fingerprint);
    await zoe.sees('What will be trusted');
    await zoe.presses('Trust this');
    await zoe.reads('set up, and not yet active');
    await zoe.sees('Set up single sign-on');
  });

  await check(`a test sign-in shows who it would be, ${words}`, async () => {
    await follows('A test sign-in');
    await zoe.sees('Test sign-in');
    await zoe.presses('Sign in as a test');
    await zoe.sees('On to Single sign-on');
    await follows('Continue to Single sign-on');
    await zoe.presses('Sign in as Zoe');
    await zoe.reads('Your provider is believed.');
    await zoe.reads('They would not get in');
    await zoe.sees('Test sign-in');
    await zoe.page.getByText('What your provider sent').click();
    await zoe.page.locator('pre').filter({ hasText: 'zoe-1' }).waitFor();
    const right = audience;
    audience = 'https://somebody.else';
    await zoe.presses('Sign in as a test');
    await follows('Continue to Single sign-on');
    await zoe.presses('Sign in as Zoe');
    await zoe.reads('It was refused by the rule audience');
    await zoe.reads('https://somebody.else');
    await zoe.sees('Test sign-in');
    audience = right;
    await follows('Back');
    await follows('The last sign-ins that were refused, and why');
    await zoe.reads('https://somebody.else');
    await zoe.sees('Refused sign-ins');
    await follows('Back');
  });

  await check(`a domain is proved, ${words}`, async () => {
    const domain = judged.domains.pop();
    await follows('Prove a domain');
    await zoe.types('Domain', 'gmail.com');
    await zoe.presses('Add');
    await zoe.reads('speaks for no organisation');
    assert.ok(zoe.complaints().every((said) => said.includes('a status of 400')));
    await zoe.sees('Your domains');
    await zoe.presses(`Send people to this provider: ${domain}`);
    await zoe.presses(`Check now: ${domain}`);
    await zoe.reads('Proved. It leads to your provider.');
    await zoe.sees('Your domains');
    await follows('Back');
    await zoe.reads(domain);
  });

  await check(`it is turned on, and left, ${words}`, async () => {
    await zoe.presses('Activate');
    await zoe.reads('It is on.');
    await zoe.sees('Set up single sign-on');
    await zoe.presses('Leave');
    await zoe.sees('You have left');
    await zoe.fails(setup, 404);
    await zoe.sees('This setup has ended');
    await zoe.leaves();
  });
}

server.closeAllConnections();
server.close();
await closeBrowser();
