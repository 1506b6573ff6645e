// People of a tenant sign in with its own identity provider, SimpleSAMLphp, in Chromium.
import { Application, closeBrowser } from './chromium.mjs';
import { assert, check, judged } from './judge.mjs';
import { comes, isSentOn, posts, pressesOn, showsWhoTheyAre } from './simplesamlphp.mjs';

const { acs, tenant, name, id } = judged.connection;
const { scripts } = judged;
const app = await Application.start(judged.app);
const second = await Application.start(judged.second);

async function isRefused(person, body) {
  if (scripts) {
    await posts(person, body);
    await person.sees('That sign-in did not work', { status: 403 });
    return;
  }
  const headers = { 'content-type': 'application/x-www-form-urlencoded' };
  const response = await person.page.context().request.post(acs, { data: body, headers });
  assert.equal(response.status(), 403);
}

async function status(status) {
  const at = `${judged.issuer}/admin/v1/tenants/${tenant}/connections/${id}`;
  const response = await fetch(at, {
    method: 'PATCH',
    headers: {
      authorization: `Bearer ${judged.operatorKey}`,
      'content-type': 'application/json',
      'if-match': '*',
    },
    body: JSON.stringify({ status }),
  });
  assert.equal(response.status, 200, await response.text());
}

/** They are in, and what the application learns of them. */
async function isIn(person, application = app) {
  await person.sees('Back at the application');
  return application.learns();
}

const ada = await comes('ada@acme.example');
let adas;

await check('an address leads to the provider, and back as a user who is made then', async () => {
  await ada.goes(await app.begins());
  await ada.sees('Sign in to Desk');
  await ada.types('E-mail address', ada.email);
  await isSentOn(ada, () => ada.presses('Continue'));
  await showsWhoTheyAre(ada, 'ada');
  adas = await isIn(ada);
  assert.equal(adas.tid, tenant);
  assert.equal(adas.email, ada.email);
  assert.deepEqual(adas.roles, ['bookkeeper']);
  assert.equal(ada.posted.length, 1);
});

await check('a second application asks nothing', async () => {
  await ada.goes(await second.begins({ tenant }));
  assert.equal((await isIn(ada, second)).sub, adas.sub);
  assert.equal(ada.posted.length, 1);
});

await check('in another browser, by the button: the same user', async () => {
  const there = await comes(ada.email);
  await there.goes(await app.begins({ tenant }));
  await there.sees('Sign in to Desk');
  await isSentOn(there, () => there.presses(`Continue with ${name}`));
  await showsWhoTheyAre(there, 'ada');
  assert.equal((await isIn(there)).sub, adas.sub);
  await there.leaves();
});

await check('a form that was posted is good once, in whichever browser (S-10)', async () => {
  const [body] = ada.posted;
  const thief = await comes('eve@acme.example');
  await isRefused(ada, body);
  await isRefused(thief, body);
  // Nor does it answer another question.
  await thief.goes(await app.begins({ tenant }));
  await isSentOn(thief, () => thief.presses(`Continue with ${name}`), { goes: false });
  const link = thief.page.getByRole('link', { name: `Continue to ${name}` });
  const question = new URL(await link.getAttribute('href'));
  const other = new URLSearchParams(body);
  assert.notEqual(other.get('RelayState'), question.searchParams.get('RelayState'));
  other.set('RelayState', question.searchParams.get('RelayState'));
  await isRefused(thief, String(other));
  await thief.goes(await app.begins({ tenant }));
  await thief.sees('Sign in to Desk');
  await thief.leaves();
});

await check('an address that is none of the tenant’s makes no user', async () => {
  const grace = await comes('grace@elsewhere.example');
  await grace.goes(await app.begins({ tenant }));
  await isSentOn(grace, () => grace.presses(`Continue with ${name}`));
  await showsWhoTheyAre(grace, 'grace');
  await grace.sees('You cannot come in yet', { status: 403 });
  await grace.leaves();
});

await check('somebody who is in already links the two, and takes it back', async () => {
  const { invitation, password } = judged.bob;
  const bob = await comes(judged.bob.email);
  await bob.goes(invitation);
  await bob.types('Choose a password', password);
  await bob.presses('Accept');
  await bob.sees('Your account');
  await isSentOn(bob, () => bob.presses(`Link ${name}`));
  await showsWhoTheyAre(bob, 'bob');
  await bob.sees('Your account');
  await bob.page.getByRole('button', { name: `Unlink ${name}`, exact: true }).waitFor();
  await bob.presses('Sign out');
  await bob.sees('Signed out');

  const there = await comes(bob.email);
  await there.goes(await app.begins({ tenant }));
  await isSentOn(there, () => there.presses(`Continue with ${name}`));
  await showsWhoTheyAre(there, 'bob');
  const { sub, roles } = await isIn(there);
  assert.equal(sub, judged.bob.id);
  assert.deepEqual(roles.sort(), ['clerk', 'director']);
  await there.goes(`${judged.issuer}/account`);
  await there.sees('Your account');
  await there.presses(`Unlink ${name}`);
  await there.leaves();
  await bob.leaves();
});

await check('a connection that is disabled ends what began through it, and refuses', async () => {
  const late = await comes(ada.email);
  await late.goes(await app.begins({ tenant }));
  await isSentOn(late, () => late.presses(`Continue with ${name}`));
  await status('disabled');
  await showsWhoTheyAre(late, 'ada');
  await late.sees('That sign-in did not work', { status: 403 });
  await ada.goes(await app.begins({ tenant }));
  await ada.sees('Sign in to Desk');
  assert.equal(await ada.page.getByRole('button', { name: `Continue with ${name}` }).count(), 0);
  await status('active');
  await late.goes(await app.begins({ tenant }));
  await late.presses(`Continue with ${name}`);
  // Whoever was shut out has their tokens of the coming two seconds refused, too.
  await late.page.waitForTimeout(3000);
  // The provider remembers them.
  await pressesOn(late);
  assert.equal((await isIn(late)).sub, adas.sub);
  await late.leaves();
});

await ada.leaves();
app.stop();
second.stop();
await closeBrowser();
