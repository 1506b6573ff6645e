// The same pages with JavaScript switched off: all of them work but passkeys, which are not shown.
import { assert, check, judged, oidc } from './judge.mjs';
import { Application, AuthenticatorApp, Person, closeBrowser, linkInLetter } from './chromium.mjs';

const app = await Application.start(judged.app);
const asks = await Application.start(judged.asks);
const password = 'correct horse battery';
const ada = await Person.come('ada@people.test', { javaScriptEnabled: false });
const grace = await Person.come('grace@people.test', { javaScriptEnabled: false });

await check('invitation, account page, sign-out', async () => {
  await ada.goes(await linkInLetter(ada.email, 'invitation', 'Acme Rockets has invited'));
  await ada.sees('You are invited');
  await ada.types('Choose a password', password);
  await ada.presses('Accept');
  await ada.sees('Your account');
  // Playwright finds no text in there, whatever the browser shows.
  await ada.page.locator('noscript p').waitFor();
  await ada.presses('Sign out');
  await ada.sees('Signed out');
});

await check('password', async () => {
  await ada.goes(await app.begins());
  await ada.sees('Sign in to Desk');
  assert.equal(await ada.page.getByRole('button', { name: /passkey/ }).count(), 0);
  await ada.signsIn(password);
  await ada.sees('Back at the application');
  assert.equal((await app.learns()).email, ada.email);
});

await check('a second tenant, the choice, consent', async () => {
  await ada.goes(await linkInLetter(ada.email, 'invitation'));
  await ada.presses('Accept');
  await ada.sees('Your account');
  await ada.goes(await asks.begins());
  await ada.sees('Choose an organisation');
  await ada.presses('bond');
  await ada.sees('Allow Ledger?');
  await ada.presses('Allow');
  await ada.sees('Back at the application');
  assert.equal((await asks.learns()).tid, judged.bond);
});

await check('two factors: an app is set up, and asked for', async () => {
  await grace.goes(await linkInLetter(grace.email, 'invitation'));
  await grace.types('Choose a password', password);
  await grace.presses('Accept');
  await grace.sees('Set up a second factor');
  await grace.presses('Set up an app');
  await grace.sees('Set up an authenticator app');
  const authenticator = new AuthenticatorApp(await grace.page.locator('code').innerText());
  await grace.types('The code it shows now', authenticator.shows());
  await grace.presses('Continue');
  await grace.sees('Your account');
  await grace.presses('Sign out');
  await grace.goes(await app.begins());
  await grace.signsIn(password);
  await grace.sees('Enter a code');
  await grace.types('Code', authenticator.shows());
  await grace.presses('Continue');
  await grace.sees('Back at the application');
  assert.ok((await app.learns()).amr.includes('mfa'));
});

await check('an answer that is posted, by a button', async () => {
  await ada.goes(await app.begins({ tenant: judged.tenant, response_mode: 'form_post' }));
  await ada.sees('Signing in');
  await ada.presses('Continue');
  await ada.sees('Back at the application');
  assert.equal((await app.learns()).tid, judged.tenant);
});

await check('a recovery code, and the factors that are changed', async () => {
  await grace.goes(`${judged.issuer}/account`);
  await grace.presses('Make new codes');
  await grace.sees('Your recovery codes');
  const [code] = await grace.page.locator('code').allInnerTexts();
  await grace.page.getByRole('link', { name: 'I have kept them' }).click();
  await grace.presses('Remove Authenticator app');
  await grace.reads('It is removed.');
  await grace.presses('Add an app');
  await grace.sees('Add an authenticator app');
  const authenticator = new AuthenticatorApp(await grace.page.locator('code').innerText());
  await grace.types('The code it shows now', authenticator.shows());
  await grace.presses('Add it');
  await grace.reads('It is added.');
  await grace.presses('Sign out');
  await grace.goes(await app.begins());
  await grace.signsIn(password);
  await grace.sees('Enter a code');
  await grace.types('Code', code);
  await grace.presses('Continue');
  await grace.sees('Back at the application');
});

await check('a device', async () => {
  const device = await oidc.initiateDeviceAuthorization(app.config, { scope: 'openid' });
  await grace.goes(device.verification_uri);
  await grace.types('The code your device shows', device.user_code);
  await grace.presses('Continue');
  await grace.sees('Connect this device?');
  await grace.presses('Allow');
  await grace.reads('Your device is signed in.');
  const tokens = await oidc.pollDeviceAuthorizationGrant(app.config, device);
  assert.ok(tokens.claims().sub);
});

await check('a forgotten password', async () => {
  await ada.goes(`${judged.issuer}/account`);
  await ada.presses('Acme Rockets');
  await ada.presses('Sign out');
  await ada.goes(await app.begins({ tenant: judged.tenant }));
  await ada.types('E-mail address', ada.email);
  await ada.presses('Continue');
  await ada.page.getByRole('link', { name: 'Forgot your password?' }).click();
  await ada.sees('Set a new password');
  await ada.types('E-mail address', ada.email);
  await ada.presses('Send a link');
  await ada.reads('If somebody signs in by that address');
  await ada.goes(await linkInLetter(ada.email, 'reset'));
  await ada.types('New password', 'staple battery horse');
  await ada.presses('Set it');
  await ada.sees('Your password is set');
  await ada.goes(await app.begins({ tenant: judged.tenant }));
  await ada.signsIn('staple battery horse');
  await ada.sees('Back at the application');
});

await check('signing out, asked for', async () => {
  await ada.goes(app.config.serverMetadata().end_session_endpoint);
  await ada.sees('Sign out?');
  await ada.presses('Sign out');
  await ada.sees('Signed out');
});

await ada.leaves();
await grace.leaves();
app.stop();
asks.stop();
await closeBrowser();
