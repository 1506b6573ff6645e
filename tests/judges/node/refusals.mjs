// What people see when they are not let in, or not let on: each beside somebody who is.
import { assert, check, judged, oidc, refused } from './judge.mjs';
import { Application, AuthenticatorApp, Person, closeBrowser, linkInLetter } from './chromium.mjs';

const app = await Application.start(judged.app);
const password = 'correct horse battery';
const account = `${judged.issuer}/account`;
const linus = await Person.come('linus@people.test');
const elsewhere = await Person.come(linus.email);
let authenticator;

/** Sets something of a tenant's, as the vendor. */
async function sets(tenant, what, value) {
  const response = await fetch(`${judged.issuer}/admin/v1/tenants/${tenant}/${what}`, {
    method: 'PUT',
    headers: {
      authorization: `Bearer ${judged.operatorKey}`,
      'content-type': 'application/json',
      'if-match': '*',
    },
    body: JSON.stringify(value),
  });
  assert.equal(response.status, 200, await response.text());
}

await check('a factor that somebody has is not one that was shown (I-14, I-15)', async () => {
  await linus.goes(await linkInLetter(linus.email, 'invitation', 'bond has invited'));
  await linus.types('Choose a password', password);
  await linus.presses('Accept');
  await linus.sees('Your account');
  await elsewhere.goes(await app.begins({ tenant: judged.bond }));
  await elsewhere.signsIn(password);
  await elsewhere.sees('Back at the application');
  assert.deepEqual((await app.learns()).amr, ['pwd']);

  await linus.goes(await linkInLetter(linus.email, 'invitation', 'vault has invited'));
  await linus.presses('Accept');
  await linus.sees('Set up a second factor');
  await linus.presses('Set up an app');
  await linus.sees('Set up an authenticator app');
  authenticator = new AuthenticatorApp(await linus.page.locator('code').innerText());
  await linus.types('The code it shows now', authenticator.shows());
  await linus.presses('Continue');
  await linus.sees('Your account');

  // The password shown to bond is no more than that to vault.
  await elsewhere.goes(await app.begins({ tenant: judged.vault }));
  await elsewhere.sees('Enter a code');
  await elsewhere.types('Code', authenticator.shows());
  await elsewhere.presses('Continue');
  await elsewhere.sees('Back at the application');
  const { tid, amr } = await app.learns();
  assert.equal(tid, judged.vault);
  assert.ok(amr.includes('mfa'), amr);
});

await check('a tenant locked to its own identity provider is shut, signed in or not (I-13)', async () => {
  await sets(judged.bond, 'sign-in-policy', { sso_only: true });
  for (const person of [linus, elsewhere]) {
    await person.goes(await app.begins({ tenant: judged.bond }));
    await person.sees('You cannot sign in here');
    await person.reads('Your organisation asks for another way of signing in.');
    await person.goes(await app.begins({ tenant: judged.vault }));
    await person.sees('Back at the application');
  }
  await sets(judged.bond, 'sign-in-policy', {});
  await linus.goes(await app.begins({ tenant: judged.bond }));
  await linus.sees('Back at the application');
});

await check('a passkey that cannot tell who uses it is one factor (I-15)', async () => {
  const there = await Person.come(linus.email);
  await there.hasAuthenticator({ isUserVerified: false });
  await there.goes(await app.begins({ tenant: judged.vault }));
  await there.signsIn(password);
  await there.sees('Enter a code');
  await there.types('Code', authenticator.shows());
  await there.presses('Continue');
  await there.sees('Back at the application');
  await there.goes(`${account}/${judged.vault}`);
  await there.presses('Add a passkey');
  await there.reads('It is added.');
  await there.presses('Sign out');
  await there.goes(await app.begins({ tenant: judged.bond }));
  // Chromium itself would look for another one, which can tell.
  const askedFor = { userVerification: 'discouraged', allowCredentials: await there.passkeys() };
  await there.answersFor(there, askedFor);
  await there.sees('Enter a code');
  await there.leaves();
});

await check('linus makes a passkey', async () => {
  await linus.hasAuthenticator();
  await linus.goes(`${account}/${judged.vault}`);
  await linus.presses('Add a passkey');
  await linus.reads('It is added.');
  await linus.sees('Your account');
});

await check('a passkey that was shown to another site is refused', async () => {
  // A passkey belongs to a name: the browser shows it on another of the name's ports, too.
  const site = new URL(app.redirectUri);
  site.hostname = new URL(judged.issuer).hostname;
  for (const [where, comesIn] of [
    [site, false],
    [`${judged.issuer}/signed-out`, true],
  ]) {
    // Somebody begins to sign in, and has another person's passkey answer for it.
    const relay = await Person.come('');
    await relay.goes(await app.begins({ tenant: judged.bond }));
    await linus.goes(where);
    await linus.answersFor(relay);
    if (!comesIn) await relay.reads('That passkey did not work.');
    await relay.sees(comesIn ? 'Back at the application' : 'Sign in to Desk');
    await relay.leaves();
  }
});

await check('a logo is shown, from where the tenant has it and from nowhere else', async () => {
  const logo = 'https://cdn.vault.test/logo.png';
  const elsewhere = 'https://elsewhere.test/logo.png';
  const pixel =
    'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
  const image = { contentType: 'image/png', body: Buffer.from(pixel, 'base64') };
  for (const uri of [logo, elsewhere]) {
    await linus.page.route(uri, (route) => route.fulfill(image));
  }
  await sets(judged.vault, 'branding', { display_name: 'The Vault', logo_uri: logo });
  await linus.goes(`${account}/${judged.vault}`);
  await linus.sees('Your account');
  await linus.reads('The Vault');
  const shown = (img) => img.decode().then(() => img.naturalWidth, () => 0);
  assert.equal(await linus.page.locator('.tenant img').evaluate(shown), 1);
  await linus.page.locator('.tenant img').evaluate((img, uri) => (img.src = uri), elsewhere);
  assert.equal(await linus.page.locator('.tenant img').evaluate(shown), 0);
  const complaints = linus.complaints();
  assert.ok(complaints.length && complaints.every((said) => said.includes('img-src')), complaints);
});

await check('a device that is not theirs', async () => {
  const device = await oidc.initiateDeviceAuthorization(app.config, { scope: 'openid' });
  await linus.goes(device.verification_uri_complete);
  await linus.presses('Continue');
  await linus.sees('Choose an organisation');
  await linus.presses('The Vault');
  await linus.sees('Connect this device?');
  await linus.presses('Do not allow');
  await linus.reads('The device was turned away.');
  await linus.sees('Connect a device');
  await refused(oidc.pollDeviceAuthorizationGrant(app.config, device), 'access_denied');
});

await check('signing out that no application can ask for alone', async () => {
  await linus.goes(app.config.serverMetadata().end_session_endpoint);
  await linus.sees('Sign out?');
  await linus.goes(await app.begins({ tenant: judged.bond }));
  await linus.sees('Back at the application');
  await linus.goes(app.config.serverMetadata().end_session_endpoint);
  await linus.presses('Sign out');
  await linus.sees('Signed out');
  await linus.goes(await app.begins({ tenant: judged.bond }));
  await linus.sees('Sign in to Desk');
});

await check('what leads nowhere says so', async () => {
  const unknown = new URL(await app.begins());
  unknown.searchParams.set('redirect_uri', 'https://elsewhere.test/cb');
  for (const [url, status, heading] of [
    [unknown, 400, 'This sign-in cannot go on'],
    [`${judged.issuer}/invitation/nothing`, 404, 'This link is good no longer'],
    [`${judged.issuer}/reset/nothing`, 404, 'This link is good no longer'],
  ]) {
    await linus.fails(url, status);
    await linus.sees(heading);
  }
});

await linus.leaves();
await elsewhere.leaves();
app.stop();
await closeBrowser();
