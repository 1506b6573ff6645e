// People of two tenants, whose identity provider is the same one, in Chromium. The provider asks
// nothing: whoever comes is Ada, who is the first tenant's.
import { Application, Person, closeBrowser } from './chromium.mjs';
import { assert, check, judged } from './judge.mjs';

const { connection, other } = judged;
const email = 'ada@acme.test';
const app = await Application.start(judged.app);
const second = await Application.start(judged.second);

/** Is shown whom they are sent to; they do not leave. */
async function isSentOn(person, to, does) {
  const at = `${judged.provider}/**`;
  // The page itself sends them once, perhaps only after it was looked at.
  const sent = new Promise((resolve) => {
    person.page.route(at, async (route) => {
      await route.fulfill({ status: 204 });
      resolve();
    });
  });
  await does();
  await person.sees(`On to ${to.name}`);
  await sent;
  await person.page.unroute(at);
  return person.page.getByRole('link', { name: `Continue to ${to.name}`, exact: true });
}

/** Leaves for the provider and comes back, but not to us: what the provider said. */
async function isAnswered(person, to, link) {
  let url = await link.getAttribute('href');
  if (judged.protocol === 'oidc') {
    // Playwright stops nobody who is redirected: the same browser's cookies, hop by hop.
    while (!url.startsWith(to.callback)) {
      const response = await person.page.context().request.get(url, { maxRedirects: 0 });
      url = new URL(response.headers().location, url).href;
    }
    return { query: new URL(url).searchParams, body: null };
  }
  const posted = new Promise((resolve) => {
    person.page.route(to.acs, async (route) => {
      await route.fulfill({ status: 204 });
      resolve(route.request().postData());
    });
  });
  await link.click();
  const body = await posted;
  await person.page.unroute(to.acs);
  return { body };
}

/** Brings an answer to a connection, by whatever way it came. */
async function brings(person, { query, body }, to) {
  if (body === null) {
    await person.goes(`${to.callback}?${query}`);
    return;
  }
  await person.goes(`${judged.provider}/nothing`);
  await person.page.evaluate(([action, body]) => {
    const form = document.createElement('form');
    Object.assign(form, { action, method: 'post' });
    for (const [name, value] of new URLSearchParams(body)) {
      const field = document.createElement('input');
      Object.assign(field, { type: 'hidden', name, value });
      form.append(field);
    }
    document.body.append(form);
    form.submit();
  }, [to.acs, body]);
}

/** The same answer, to another question. */
function asIfTo(link, { query, body }) {
  const asked = new URL(link).searchParams;
  const [changed, name] = body === null ? [query, 'state'] : [new URLSearchParams(body), 'RelayState'];
  const answer = new URLSearchParams(changed);
  assert.notEqual(asked.get(name), answer.get(name));
  answer.set(name, asked.get(name));
  return body === null ? { query: answer, body } : { body: String(answer) };
}

const ada = await Person.come(email);
let adas;

await check('an address leads to the provider, and back as a user who is made then', async () => {
  await ada.goes(await app.begins());
  await ada.sees('Sign in to Desk');
  await ada.types('E-mail address', email);
  const link = await isSentOn(ada, connection, () => ada.presses('Continue'));
  await link.click();
  await ada.sees('Back at the application');
  adas = await app.learns();
  assert.equal(adas.tid, connection.tenant);
  assert.equal(adas.email, email);
  assert.deepEqual(adas.roles, ['clerk']);
});

await check('a second application asks nothing', async () => {
  await ada.goes(await second.begins());
  await ada.sees('Back at the application');
  assert.equal((await second.learns()).sub, adas.sub);
});

await check('at another tenant the address leads nowhere', async () => {
  const there = await Person.come(email);
  await there.goes(await app.begins({ tenant: other.tenant }));
  await there.types('E-mail address', email);
  await there.presses('Continue');
  await there.sees('Enter your password');
  await there.leaves();
});

await check('whom the provider knows is nobody at the other tenant (I-16)', async () => {
  const there = await Person.come(email);
  await there.goes(await app.begins({ tenant: other.tenant }));
  await there.presses(`Continue with ${other.name}`);
  await there.sees('You cannot come in yet', { status: 403 });
  await there.leaves();
});

await check('what was said to one tenant says nothing to the other (I-18)', async () => {
  const there = await Person.come(email);
  await there.goes(await app.begins({ tenant: connection.tenant }));
  const way = () => there.presses(`Continue with ${connection.name}`);
  const answer = await isAnswered(there, connection, await isSentOn(there, connection, way));
  await there.goes(await app.begins({ tenant: other.tenant }));
  const elsewhere = () => there.presses(`Continue with ${other.name}`);
  const link = await (await isSentOn(there, other, elsewhere)).getAttribute('href');
  await brings(there, answer, other);
  await there.sees('That sign-in did not work', { status: 403 });
  await brings(there, asIfTo(link, answer), other);
  await there.sees('That sign-in did not work', { status: 403 });
  // And here it still does: there it was not used up.
  await there.goes(await app.begins({ tenant: connection.tenant }));
  const again = await isAnswered(there, connection, await isSentOn(there, connection, way));
  await brings(there, again, connection);
  await there.sees('Back at the application');
  assert.equal((await app.learns()).sub, adas.sub);
  await there.leaves();
});

await ada.leaves();
app.stop();
second.stop();
await closeBrowser();
