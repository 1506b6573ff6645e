// The same pages with JavaScript switched off: all of them work but passkeys, which are not shown.
import { assert, check, judged } from './judge.mjs';
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

await ada.leaves();
await grace.leaves();
app.stop();
asks.stop();
await closeBrowser();
