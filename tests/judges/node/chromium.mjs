// A person in Chromium, and what is asked of every page they see: nothing keeps anybody out (axe),
// the browser has nothing to complain of, and it is the page that was expected.
import { createHmac } from 'node:crypto';
import { mkdir, readdir, readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { text } from 'node:stream/consumers';
import axe from 'axe-core';
import { chromium } from 'playwright-core';
import { assert, discover, judged, oidc } from './judge.mjs';

const browser = await chromium.launch({
  executablePath: judged.chromium,
  // In a container there is often none to be had, and the pages are ours.
  args: ['--no-sandbox'],
});

export const closeBrowser = () => browser.close();

/** Somebody with a browser of their own. */
export class Person {
  #complaints = [];

  static async come(email, { javaScriptEnabled = true } = {}) {
    const context = await browser.newContext({ javaScriptEnabled, locale: 'en-GB' });
    const person = new Person();
    person.email = email;
    person.scripts = javaScriptEnabled;
    person.page = await context.newPage();
    person.page.setDefaultTimeout(15_000);
    for (const event of ['console', 'pageerror']) {
      person.page.on(event, (said) => {
        // What a tenant's own provider looks like is not for us to mend.
        if (judged.provider && said.location?.().url.startsWith(judged.provider)) return;
        if (event === 'pageerror' || said.type() === 'error') {
          person.#complaints.push(said.text?.() ?? String(said));
        }
      });
    }
    return person;
  }

  async goes(url) {
    await this.page.goto(String(url));
  }

  /**
   * Is on the page with this heading, which is as every page should be. The browser says so, too,
   * where its status is an error.
   */
  async sees(heading, { status } = {}) {
    const title = this.page.getByRole('heading', { level: 1 });
    const expected = this.page.getByRole('heading', { level: 1, name: heading, exact: true });
    await expected.waitFor().catch(async () => {
      const shown = await this.page.locator('body').innerText();
      throw new Error(`no “${heading}” but, at ${this.page.url()}:\n${shown}`);
    });
    assert.equal(await title.count(), 1);
    if (this.scripts) await this.#canBeUsedByAnybody(heading);
    await this.#picture(heading);
    if (status) {
      const said = this.complaints();
      assert.ok(said.length === 1 && said[0].includes(`a status of ${status}`), said.join());
    }
    assert.deepEqual(this.#complaints, [], `the browser complains of “${heading}”`);
  }

  /** Reads this on the page. */
  async reads(text) {
    await this.page.getByText(text).first().waitFor();
  }

  async types(label, text) {
    await this.page.getByLabel(label, { exact: true }).fill(text);
  }

  async presses(name) {
    await this.page.getByRole('button', { name, exact: true }).click();
  }

  async signsIn(password) {
    await this.sees(/^Sign in/);
    await this.types('E-mail address', this.email);
    await this.presses('Continue');
    await this.sees('Enter your password');
    await this.types('Password', password);
    await this.presses('Sign in');
  }

  /** Has an authenticator in their machine. Not every one can tell that it is them. */
  async hasAuthenticator({ isUserVerified = true } = {}) {
    const devices = await this.page.context().newCDPSession(this.page);
    await devices.send('WebAuthn.enable');
    const { authenticatorId } = await devices.send('WebAuthn.addVirtualAuthenticator', {
      options: {
        protocol: 'ctap2',
        transport: 'internal',
        hasResidentKey: true,
        hasUserVerification: isUserVerified,
        isUserVerified,
        automaticPresenceSimulation: true,
      },
    });
    this.passkeys = async () => {
      const { credentials } = await devices.send('WebAuthn.getCredentials', { authenticatorId });
      return credentials.map(({ credentialId }) => {
        return { type: 'public-key', id: Buffer.from(credentialId, 'base64').toString('base64url') };
      });
    };
  }

  /** Answers by passkey, on whatever page they are, for the sign-in that `other` has begun. */
  async answersFor(other, changed = {}) {
    const form = other.page.locator('form[data-passkey]');
    const options = await form.evaluate(async ({ dataset }) => {
      return (await fetch(dataset.options, { method: 'POST' })).json();
    });
    const answer = await this.page.evaluate(
      async (options) => {
        const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(options);
        return JSON.stringify(await navigator.credentials.get({ publicKey }));
      },
      { ...options, ...changed },
    );
    await form.evaluate((form, answer) => {
      form.elements.answer.value = answer;
      form.requestSubmit();
    }, answer);
  }

  /** Goes where nothing is: the browser says so, too. */
  async fails(url, status) {
    const response = await this.page.goto(String(url));
    assert.equal(response.status(), status);
    const said = this.complaints();
    assert.ok(said.length === 1 && said[0].includes(`a status of ${status}`), said);
  }

  /** What the browser complains of, for whoever expects it to. */
  complaints() {
    return this.#complaints.splice(0);
  }

  async leaves() {
    assert.deepEqual(this.#complaints, [], 'the browser complains');
    await this.page.context().close();
  }

  async #canBeUsedByAnybody(heading) {
    // Evaluated by the debugger: the page's own policy, rightly, lets no such script in.
    await this.page.evaluate(axe.source);
    const { violations } = await this.page.evaluate(() => globalThis.axe.run(document));
    const found = violations.map(({ id, impact, nodes }) => {
      return `${impact} ${id}: ${nodes.map((node) => node.html).join(' ')}`;
    });
    assert.deepEqual(found, [], `“${heading}” keeps somebody out`);
  }

  /** For whoever wants to look at the pages. */
  async #picture(heading) {
    const album = process.env.PARTYWALL_PICTURES;
    if (!album) return;
    await mkdir(album, { recursive: true });
    const name = String(heading).toLowerCase().replace(/[^a-z0-9]+/g, '-');
    const script = this.scripts ? '' : '-plain';
    await this.page.screenshot({ path: `${album}/${name}${script}.png`, fullPage: true });
  }
}

/** An application on this machine: openid-client, and an address that browsers come back to. */
export class Application {
  static async start(client) {
    const app = new Application();
    app.config = await discover(client, oidc.None());
    app.server = createServer(async (request, response) => {
      app.answer = await answerIn(request, app.redirectUri);
      response.setHeader('content-type', 'text/html; charset=utf-8');
      response.end(`<!doctype html><html lang="en"><title>Back</title>
        <link rel="icon" href="data:,"><main><h1>Back at the application</h1></main></html>`);
    });
    await new Promise((resolve) => app.server.listen(0, '127.0.0.1', resolve));
    app.redirectUri = `http://127.0.0.1:${app.server.address().port}/cb`;
    return app;
  }

  /** Where it sends somebody to sign in. */
  async begins(more = {}) {
    this.verifier = oidc.randomPKCECodeVerifier();
    this.state = oidc.randomState();
    this.nonce = oidc.randomNonce();
    return oidc.buildAuthorizationUrl(this.config, {
      redirect_uri: this.redirectUri,
      scope: 'openid email invoices:read',
      code_challenge: await oidc.calculatePKCECodeChallenge(this.verifier),
      code_challenge_method: 'S256',
      state: this.state,
      nonce: this.nonce,
      ...more,
    });
  }

  /** What is known of somebody who came back. */
  async learns() {
    const tokens = await oidc.authorizationCodeGrant(this.config, this.answer, {
      pkceCodeVerifier: this.verifier,
      expectedState: this.state,
      expectedNonce: this.nonce,
    });
    const claims = tokens.claims();
    const { tid, roles } = JSON.parse(Buffer.from(tokens.access_token.split('.')[1], 'base64url'));
    const { email } = await oidc.fetchUserInfo(this.config, tokens.access_token, claims.sub);
    return { ...claims, tid, roles, email };
  }

  stop() {
    this.server.closeAllConnections();
    this.server.close();
  }
}

/** What a browser brought back: in the address, or as a form. */
async function answerIn(request, redirectUri) {
  const url = new URL(request.url, redirectUri);
  if (request.method !== 'POST') return url;
  const body = new URLSearchParams(await text(request));
  return new Request(url, { method: 'POST', body });
}

const read = new Set();

/** The link in the next letter to `email` that leads to `page`, and says `words`. */
export async function linkInLetter(email, page, words = '') {
  const box = `${judged.letters}/mail/new`;
  const deadline = Date.now() + 20_000;
  while (Date.now() < deadline) {
    for (const name of await readdir(box).catch(() => [])) {
      const letter = (await readFile(`${box}/${name}`, 'utf8'))
        .replace(/=\r?\n/g, '')
        .replace(/=3D/g, '=');
      const link = new RegExp(`${judged.issuer}/${page}/[\\w.-]+`).exec(letter)?.[0];
      if (link && !read.has(link) && letter.includes(`To: ${email}`) && letter.includes(words)) {
        read.add(link);
        return link;
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  throw new Error(`no letter to ${email} leads to ${page}`);
}

/** An authenticator app (RFC 6238). Each of its codes is good once: it shows the next one early. */
export class AuthenticatorApp {
  constructor(secret) {
    const bits = [...secret.replace(/\s/g, '')]
      .map((c) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(c).toString(2).padStart(5, '0'))
      .join('');
    this.key = Buffer.from(bits.match(/.{8}/g).map((byte) => Number.parseInt(byte, 2)));
    this.step = Math.floor(Date.now() / 30_000) - 1;
  }

  shows() {
    this.step = Math.max(this.step, Math.floor(Date.now() / 30_000) - 1);
    const counter = Buffer.alloc(8);
    counter.writeBigUInt64BE(BigInt(this.step));
    this.step += 1;
    const mac = createHmac('sha1', this.key).update(counter).digest();
    const at = mac[19] & 15;
    return String((mac.readUInt32BE(at) & 0x7fffffff) % 1_000_000).padStart(6, '0');
  }
}
