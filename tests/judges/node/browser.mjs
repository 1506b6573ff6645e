// A browser without JavaScript, as far as our pages need one: it keeps cookies, follows what stays
// with the provider, and fills in the forms it is given.
import { assert, judged } from './judge.mjs';

const origin = new URL(judged.issuer).origin;

export class Browser {
  #cookies = new Map();
  #page = { url: '', html: '' };

  /** Opens an address. Returns where it leads when that is not the provider's, else nothing. */
  async open(url) {
    return this.#send(new URL(url), { method: 'GET' });
  }

  /** Fills in the form that has all of these fields, and sends it. Returns as `open` does. */
  async submit(fields) {
    const form = forms(this.#page.html).find((form) => {
      return Object.keys(fields).every((name) => form.fields.some((field) => field.name === name));
    });
    assert.ok(form, `no form with ${Object.keys(fields)} on ${this.#page.url}:\n${this.#page.html}`);
    const values = new URLSearchParams();
    for (const { name, value, isButton } of form.fields) {
      if (name && !(name in fields) && !isButton) values.append(name, value);
    }
    for (const [name, value] of Object.entries(fields)) values.append(name, value);
    const url = new URL(form.action ?? this.#page.url, this.#page.url);
    return this.#send(url, { method: 'POST', body: values, headers: { origin } });
  }

  get heading() {
    return /<h1>([^<]*)<\/h1>/.exec(this.#page.html)?.[1];
  }

  /** The page, when it is a form that JavaScript sends to an application. */
  get postedForward() {
    const [form] = forms(this.#page.html);
    const body = new URLSearchParams(form.fields.filter((f) => f.name).map((f) => [f.name, f.value]));
    return new Request(form.action, { method: 'POST', body });
  }

  async #send(url, init) {
    for (let hops = 0; hops < 10; hops += 1) {
      const headers = { ...init.headers, cookie: [...this.#cookies].map((c) => c.join('=')).join('; ') };
      const response = await fetch(url, { ...init, headers, redirect: 'manual' });
      for (const cookie of response.headers.getSetCookie()) {
        const [name, value] = cookie.split(';', 1)[0].split(/=(.*)/s);
        this.#cookies.set(name, value);
      }
      const location = response.headers.get('location');
      if (!location) {
        this.#page = { url: url.href, html: await response.text() };
        return undefined;
      }
      assert.equal(response.status, 303);
      const next = new URL(location, url);
      if (!next.href.startsWith(`${judged.issuer}/`)) return next;
      [url, init] = [next, { method: 'GET' }];
    }
    throw new Error(`no end of redirects at ${url}`);
  }
}

/** Signs in on the pages that `url` leads to; returns where they lead in the end. */
export async function signIn(browser, url, { email, password } = judged.ada) {
  assert.equal(await browser.open(url), undefined, 'somebody was signed in already');
  await browser.submit({ step: 'identify', email });
  return browser.submit({ step: 'password', password });
}

/** Somebody in a browser of their own who has accepted their invitation, and then left. */
export async function accepts({ invitation, password }) {
  const browser = new Browser();
  await browser.open(invitation);
  assert.equal(browser.heading, 'You are invited');
  await browser.submit({ password });
  assert.equal(browser.heading, 'Your account');
}

function forms(html) {
  return [...html.matchAll(/<form\b([^>]*)>(.*?)<\/form>/gs)].map(([, attributes, content]) => ({
    action: attribute(attributes, 'action'),
    fields: [...content.matchAll(/<(input|button)\b([^>]*)>/g)].map(([, element, attributes]) => ({
      name: attribute(attributes, 'name'),
      value: attribute(attributes, 'value') ?? '',
      isButton: element === 'button',
    })),
  }));
}

function attribute(text, name) {
  const value = new RegExp(`\\b${name}="([^"]*)"`).exec(text)?.[1];
  return value?.replace(/&#(x?)([0-9a-f]+);|&(amp|quot|lt|gt);/gi, (_, hex, number, named) => {
    if (named) return { amp: '&', quot: '"', lt: '<', gt: '>' }[named];
    return String.fromCodePoint(Number.parseInt(number, hex ? 16 : 10));
  });
}
