// A device without a keyboard: it shows a code, and a person elsewhere decides.
import { Browser, accepts } from './browser.mjs';
import { assert, check, discover, judged, oidc, refused } from './judge.mjs';

const { native, ada } = judged;
const config = await discover(native, oidc.None());

/** What a device gets when somebody answers `answer`. */
async function decided(answer) {
  const asked = await oidc.initiateDeviceAuthorization(config, { scope: 'openid offline_access invoices:read' });
  assert.equal(asked.verification_uri_complete, `${asked.verification_uri}?user_code=${asked.user_code}`);
  const browser = new Browser();
  await browser.open(asked.verification_uri);
  await browser.submit({ user_code: asked.user_code });
  await browser.submit({ step: 'identify', email: ada.email });
  await browser.submit({ step: 'password', password: ada.password });
  assert.equal(browser.heading, 'Connect this device?');
  await browser.submit({ answer });
  return oidc.pollDeviceAuthorizationGrant(config, asked);
}

await check('an invitation is accepted with a first password', () => accepts(ada));

// Each waits for as long as it is told between two questions, so both at once.
await check('a device is let in or turned away', async () => {
  const [tokens] = await Promise.all([decided('allow'), refused(decided('deny'), 'access_denied')]);
  assert.equal(tokens.claims().sub, ada.id);
  const info = await oidc.fetchUserInfo(config, tokens.access_token, ada.id);
  assert.equal(info.sub, ada.id);
  const next = await oidc.refreshTokenGrant(config, tokens.refresh_token);
  assert.ok(next.access_token);
});
