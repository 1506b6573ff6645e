// A page behind Apache's mod_auth_openidc, which is one tenant's; people come in Chromium.
import { Person, closeBrowser } from './chromium.mjs';
import { assert, check, judged } from './judge.mjs';

const page = `${judged.site}/private.shtml`;
const info = `${judged.site}/openid?info=json`;
const { password } = judged.ada;
const ada = await Person.come(judged.ada.email);
const eve = await Person.come(judged.eve.email);

const text = (person, id) => person.page.locator(`#${id}`).innerText();

await check('invitations are accepted', async () => {
  for (const [person, { invitation }] of [[ada, judged.ada], [eve, judged.eve]]) {
    await person.goes(invitation);
    await person.types('Choose a password', password);
    await person.presses('Accept');
    await person.sees('Your account');
    await person.presses('Sign out');
    await person.sees('Signed out');
  }
});

await check('a member is let in, and the page knows them', async () => {
  await ada.goes(page);
  await ada.signsIn(password);
  await ada.sees('Private');
  assert.equal(await text(ada, 'sub'), judged.ada.id);
  assert.equal(await text(ada, 'email'), ada.email);
  assert.equal(await text(ada, 'tid'), judged.tenant);
  assert.equal(await text(ada, 'iss'), judged.issuer);
});

await check('a member of another tenant is not', async () => {
  await eve.goes(page);
  await eve.signsIn(password);
  await eve.sees('You cannot sign in here');
});

await check('the module stays signed in by its refresh token', async () => {
  const token = async () => {
    const told = await ada.page.evaluate(async (url) => (await fetch(url)).json(), info);
    return told.access_token;
  };
  const before = await token();
  const back = encodeURIComponent(page);
  await ada.goes(`${judged.site}/openid?refresh=${back}&access_token=${before}`);
  await ada.sees('Private');
  assert.notEqual(await token(), before);
});

await check('signed out at the site is signed out here, and the way back is followed', async () => {
  await ada.goes(`${judged.site}/openid?logout=${encodeURIComponent(judged.left)}`);
  await ada.sees('You have left');
  await ada.goes(page);
  await ada.signsIn(password);
  await ada.sees('Private');
});

await check('signed out here is signed out at the site, by the back channel', async () => {
  await ada.goes(page);
  await ada.sees('Private');
  await ada.goes(`${judged.issuer}/account`);
  await ada.sees('Your account');
  await ada.presses('Sign out');
  await ada.sees('Signed out');
  const heading = () => ada.page.getByRole('heading', { level: 1 }).innerText();
  const deadline = Date.now() + 10_000;
  do {
    await ada.page.waitForTimeout(100);
    await ada.goes(page);
  } while ((await heading()) === 'Private' && Date.now() < deadline);
  await ada.sees(/^Sign in/);
});

await ada.leaves();
await eve.leaves();
await closeBrowser();
