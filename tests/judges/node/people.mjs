// Every way in, by people in a browser.
import { assert, check, judged, oidc } from './judge.mjs';
import { Application, AuthenticatorApp, Person, closeBrowser, linkInLetter } from './chromium.mjs';

const app = await Application.start(judged.app);
const asks = await Application.start(judged.asks);
const words = { first: 'correct horse battery', second: 'staple battery horse' };
const ada = await Person.come('ada@people.test');
let authenticator;
let recoveryCodes;

await check('an invitation by mail, a first password, and in', async () => {
  await ada.goes(await linkInLetter(ada.email, 'invitation', 'Acme Rockets has invited'));
  await ada.sees('You are invited');
  await ada.types('Choose a password', 'password');
  await ada.presses('Accept');
  await ada.page.getByRole('alert').waitFor();
  await ada.sees('You are invited');
  await ada.types('Choose a password', words.first);
  await ada.presses('Accept');
  await ada.sees('Your account');
  // Whoever is signed in is not asked again.
  await ada.goes(await app.begins());
  await ada.sees('Back at the application');
  const { tid, email, amr } = await app.learns();
  assert.deepEqual({ tid, email, amr }, { tid: judged.tenant, email: ada.email, amr: ['pwd'] });
  await ada.goes(await app.begins({ response_mode: 'form_post' }));
  await ada.sees('Back at the application');
  assert.equal((await app.learns()).email, ada.email);
});

await check('signing out, and a password', async () => {
  await ada.goes(`${judged.issuer}/account`);
  await ada.sees('Your account');
  await ada.presses('Sign out');
  await ada.sees('Signed out');
  await ada.goes(await app.begins());
  await ada.signsIn('not my password');
  await ada.page.getByRole('alert').waitFor();
  await ada.sees('Enter your password');
  await ada.types('Password', words.first);
  await ada.presses('Sign in');
  await ada.sees('Back at the application');
  assert.equal((await app.learns()).email, ada.email);
});

await check('an authenticator app is set up, with recovery codes', async () => {
  await ada.goes(`${judged.issuer}/account`);
  await ada.presses('Add an app');
  await ada.sees('Add an authenticator app');
  authenticator = new AuthenticatorApp(await ada.page.locator('code').innerText());
  await ada.types('The code it shows now', authenticator.shows());
  await ada.presses('Add it');
  await ada.reads('It is added.');
  await ada.sees('Your account');
  await ada.presses('Make new codes');
  await ada.sees('Your recovery codes');
  recoveryCodes = await ada.page.locator('code').allInnerTexts();
  assert.equal(recoveryCodes.length, 10);
  await ada.page.getByRole('link', { name: 'I have kept them' }).click();
  await ada.sees('Your account');
});

await check('password and authenticator app', async () => {
  const there = await Person.come(ada.email);
  await there.goes(await app.begins());
  await there.signsIn(words.first);
  await there.sees('Enter a code');
  await there.types('Code', '000000');
  await there.presses('Continue');
  await there.page.getByRole('alert').waitFor();
  await there.sees('Enter a code');
  await there.types('Code', authenticator.shows());
  await there.presses('Continue');
  await there.sees('Back at the application');
  assert.deepEqual((await app.learns()).amr.sort(), ['mfa', 'otp', 'pwd']);
  await there.leaves();
});

await check('password and a recovery code, which is good once', async () => {
  for (const again of [false, true]) {
    const there = await Person.come(ada.email);
    await there.goes(await app.begins());
    await there.signsIn(words.first);
    await there.sees('Enter a code');
    await there.types('Code', recoveryCodes[0]);
    await there.presses('Continue');
    await there.sees(again ? 'Enter a code' : 'Back at the application');
    await there.leaves();
  }
});

await check('a passkey, made and used', async () => {
  await ada.hasAuthenticator();
  await ada.goes(`${judged.issuer}/account`);
  await ada.types('What to call it', 'Ada’s phone');
  await ada.presses('Add a passkey');
  await ada.reads('It is added.');
  await ada.reads('Ada’s phone');
  await ada.sees('Your account');
  await ada.presses('Sign out');
  await ada.sees('Signed out');
  // Without an address: the passkey knows whose it is.
  await ada.goes(await app.begins());
  await ada.sees('Sign in to Desk');
  await ada.presses('Sign in with a passkey');
  await ada.sees('Back at the application');
  const { email, amr } = await app.learns();
  assert.equal(email, ada.email);
  assert.ok(amr.includes('mfa'), amr);
});

await check('a second tenant is joined by who is signed in, and chosen', async () => {
  await ada.goes(await linkInLetter(ada.email, 'invitation'));
  await ada.sees('You are invited');
  await ada.presses('Accept');
  await ada.sees('Your account');
  for (const [name, tid] of [['Acme Rockets', judged.tenant], ['bond', judged.bond]]) {
    await ada.goes(await app.begins());
    await ada.sees('Choose an organisation');
    await ada.presses(name);
    await ada.sees('Back at the application');
    assert.equal((await app.learns()).tid, tid);
  }
});

await check('consent is asked for once, and taken back', async () => {
  const tenant = judged.bond;
  await ada.goes(await asks.begins({ tenant }));
  await ada.sees('Allow Ledger?');
  await ada.presses('Do not allow');
  await ada.sees('Back at the application');
  assert.equal(asks.answer.searchParams.get('error'), 'access_denied');
  await ada.goes(await asks.begins({ tenant }));
  await ada.sees('Allow Ledger?');
  await ada.presses('Allow');
  await ada.sees('Back at the application');
  assert.equal((await asks.learns()).tid, tenant);
  await ada.goes(await asks.begins({ tenant }));
  await ada.sees('Back at the application');
  await ada.goes(`${judged.issuer}/account/${tenant}`);
  await ada.presses('Take back what Ledger may do');
  await ada.reads('You have not been asked by any.');
  await ada.sees('Your account');
  await ada.goes(await asks.begins({ tenant }));
  await ada.sees('Allow Ledger?');
});

await check('a tenant that asks for two factors has one set up', async () => {
  const grace = await Person.come('grace@people.test');
  await grace.goes(await linkInLetter(grace.email, 'invitation'));
  await grace.sees('You are invited');
  await grace.types('Choose a password', words.first);
  await grace.presses('Accept');
  await grace.sees('Set up a second factor');
  await grace.presses('Set up an app');
  await grace.sees('Set up an authenticator app');
  const authenticator = new AuthenticatorApp(await grace.page.locator('code').innerText());
  await grace.types('The code it shows now', authenticator.shows());
  await grace.presses('Continue');
  await grace.sees('Your account');
  await grace.goes(await app.begins());
  await grace.sees('Back at the application');
  const { tid, amr } = await app.learns();
  assert.equal(tid, judged.vault);
  assert.ok(amr.includes('mfa'), amr);
  await grace.leaves();
});

await check('a tenant that somebody is no member of stays shut', async () => {
  await ada.goes(await app.begins({ tenant: judged.vault }));
  // As somebody else, perhaps?
  await ada.sees('Sign in to Desk');
  await ada.presses('Sign in with a passkey');
  await ada.sees('You cannot sign in here');
  await ada.presses('Go back to the application');
  await ada.sees('Back at the application');
  assert.equal(app.answer.searchParams.get('error'), 'access_denied');
});

await check('a device without a keyboard', async () => {
  const device = await oidc.initiateDeviceAuthorization(app.config, { scope: 'openid email' });
  await ada.goes(device.verification_uri);
  await ada.sees('Connect a device');
  await ada.types('The code your device shows', 'BCDF-GHJK');
  await ada.presses('Continue');
  await ada.sees('Choose an organisation');
  await ada.presses('bond');
  await ada.reads('That is no code of a device that waits.');
  await ada.goes(device.verification_uri_complete);
  await ada.presses('Continue');
  await ada.sees('Choose an organisation');
  await ada.presses('bond');
  await ada.sees('Connect this device?');
  await ada.presses('Allow');
  await ada.reads('Your device is signed in.');
  await ada.sees('Connect a device');
  const tokens = await oidc.pollDeviceAuthorizationGrant(app.config, device);
  const { email } = await oidc.fetchUserInfo(app.config, tokens.access_token, tokens.claims().sub);
  assert.equal(email, ada.email);
});

await check('a forgotten password is set anew by mail, and everybody signed out', async () => {
  const there = await Person.come(ada.email);
  await there.goes(await app.begins());
  await there.sees('Sign in to Desk');
  await there.types('E-mail address', ada.email);
  await there.presses('Continue');
  await there.page.getByRole('link', { name: 'Forgot your password?' }).click();
  await there.sees('Set a new password');
  await there.types('E-mail address', ada.email);
  await there.presses('Send a link');
  await there.reads('If somebody signs in by that address');
  await there.sees('Set a new password');
  const link = await linkInLetter(ada.email, 'reset');
  await there.goes(link);
  await there.sees('Set a new password');
  await there.types('New password', words.second);
  await there.presses('Set it');
  await there.sees('Your password is set');
  await there.goes(await app.begins({ tenant: judged.tenant }));
  await there.signsIn(words.second);
  await there.sees('Enter a code');
  await there.types('Code', recoveryCodes[1]);
  await there.presses('Continue');
  await there.sees('Back at the application');
  await ada.goes(await app.begins());
  await ada.sees('Sign in to Desk');
  await there.leaves();
});

await ada.leaves();
app.stop();
asks.stop();
await closeBrowser();
