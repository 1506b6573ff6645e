// People at a tenant's SimpleSAMLphp, and on their way there.
import { Person } from './chromium.mjs';
import { judged } from './judge.mjs';

const { acs, name } = judged.connection;
const { scripts } = judged;

/** Somebody, and what their browser posts to us for their provider. */
export async function comes(email) {
  const person = await Person.come(email, { javaScriptEnabled: scripts });
  person.posted = [];
  person.page.on('request', (request) => {
    if (request.url() === acs) person.posted.push(request.postData());
  });
  return person;
}

/** Is shown, by us, whom they are sent to. They would not see it for long: here they do not leave. */
export async function isSentOn(person, does, { goes = true } = {}) {
  const at = `${judged.provider}/**`;
  // The page itself sends them once, perhaps only after it was looked at.
  const sent = new Promise((resolve) => {
    person.page.route(at, async (route) => {
      await route.fulfill({ status: 204 });
      resolve();
    });
  });
  await does();
  await person.sees(`On to ${name}`);
  await sent;
  await person.page.unroute(at);
  const link = person.page.getByRole('link', { name: `Continue to ${name}`, exact: true });
  if (goes) await link.click();
}

export async function showsWhoTheyAre(person, who) {
  await person.page.locator('input[name=username]').fill(who);
  await person.page.locator('input[name=password]').fill(`${who}-password`);
  await person.page.locator('input[name=password]').press('Enter');
  await pressesOn(person);
}

/** The provider's form sends itself, or waits for a button to be pressed. */
export async function pressesOn(person) {
  if (!scripts) await person.page.locator('noscript button').click();
}

/** A form on the provider's page, which their browser posts to us. */
export async function posts(person, body) {
  await person.goes(`${judged.provider}/resources/default.css`);
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
  }, [acs, body]);
}
