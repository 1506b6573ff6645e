// How people change, on their account page, what they sign in with.
import { assert, check, judged } from './judge.mjs';
import { Application, AuthenticatorApp, Person, closeBrowser, linkInLetter } from './chromium.mjs';

const app = await Application.start(judged.app);
const words = { first: 'correct horse battery', second: 'staple battery horse' };
const account = `${judged.issuer}/account`;
const ada = await Person.come('ada@people.test');
const elsewhere = await Person.come(ada.email);
const tenant = judged.tenant;

await ada.goes(await linkInLetter(ada.email, 'invitation', 'Acme Rockets has invited'));
await ada.types('Choose a password', words.first);
await ada.presses('Accept');
await ada.sees('Your account');

const signedIn = async (person, is) => {
  await person.goes(await app.begins({ tenant }));
  await person.sees(is ? 'Back at the application' : 'Sign in to Desk');
};

await check('another browser is signed out from here', async () => {
  await elsewhere.goes(await app.begins({ tenant }));
  await elsewhere.signsIn(words.first);
  await elsewhere.sees('Back at the application');
  await signedIn(elsewhere, true);
  await ada.goes(account);
  const there = ada.page.getByRole('listitem').filter({ hasNotText: '(this one)' });
  await there.getByRole('button', { name: /^Sign out/ }).click();
  await ada.reads('That session is signed out.');
  await ada.sees('Your account');
  await signedIn(elsewhere, false);
  await signedIn(ada, true);
});

await check('another password, which is asked for everywhere else', async () => {
  await elsewhere.goes(await app.begins({ tenant }));
  await elsewhere.signsIn(words.first);
  await elsewhere.sees('Back at the application');
  await ada.goes(account);
  await ada.types('New password', 'password');
  await ada.presses('Change the password');
  await ada.page.getByRole('alert').filter({ visible: true }).waitFor();
  await ada.sees('Your account');
  await signedIn(elsewhere, true);
  await ada.goes(account);
  await ada.types('New password', words.second);
  await ada.presses('Change the password');
  await ada.reads('Your password is changed.');
  await ada.sees('Your account');
  await signedIn(elsewhere, false);
  await signedIn(ada, true);
  await elsewhere.goes(await app.begins({ tenant }));
  await elsewhere.signsIn(words.first);
  await elsewhere.page.getByRole('alert').waitFor();
  await elsewhere.sees('Enter your password');
  await elsewhere.types('Password', words.second);
  await elsewhere.presses('Sign in');
  await elsewhere.sees('Back at the application');
});

await check('an app that is added by a wrong code is not, and one that is removed is gone', async () => {
  const add = async () => {
    await ada.goes(account);
    await ada.presses('Add an app');
    await ada.sees('Add an authenticator app');
    return new AuthenticatorApp(await ada.page.locator('code').innerText());
  };
  await add();
  await ada.types('The code it shows now', '000000');
  await ada.presses('Add it');
  await ada.reads('That code was not right.');
  await ada.sees('Your account');
  const authenticator = await add();
  await ada.types('The code it shows now', authenticator.shows());
  await ada.presses('Add it');
  await ada.reads('It is added.');
  await ada.presses('Remove Authenticator app');
  await ada.reads('It is removed.');
  await ada.sees('Your account');
});

await check('a passkey is named anew, and once removed opens nothing', async () => {
  await ada.hasAuthenticator();
  await ada.goes(account);
  await ada.types('What to call it', 'Phone');
  await ada.presses('Add a passkey');
  await ada.reads('It is added.');
  await ada.types('New name', 'Ada’s phone');
  await ada.presses('Rename Phone');
  await ada.reads('It is renamed.');
  await ada.reads('Ada’s phone');
  await ada.sees('Your account');
  await ada.presses('Remove Ada’s phone');
  await ada.reads('It is removed.');
  await ada.sees('Your account');
  await ada.presses('Sign out');
  await ada.goes(await app.begins({ tenant }));
  await ada.sees('Sign in to Desk');
  await ada.presses('Sign in with a passkey');
  await ada.page.getByRole('alert').filter({ visible: true }).waitFor();
  await ada.sees('Sign in to Desk');
  await ada.signsIn(words.second);
  await ada.sees('Back at the application');
  assert.equal((await app.learns()).email, ada.email);
});

await ada.leaves();
await elsewhere.leaves();
app.stop();
await closeBrowser();
