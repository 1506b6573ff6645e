// What every judge's script starts from: what the test said about the server, a client made as its
// own documentation says, and a way to say what held.
import assert from 'node:assert/strict';
import { webcrypto } from 'node:crypto';
import * as oidc from 'openid-client';

// Debian's Node 18 has it under another name only.
globalThis.crypto ??= webcrypto;

/** The server and who is registered there. */
export const judged = JSON.parse(process.env.PARTYWALL_JUDGED);

export { assert, oidc };

/** Discovers the server as one of its clients. Loopback has no TLS, which must be said. */
export async function discover(client, authentication, metadata = {}) {
  return oidc.discovery(new URL(judged.issuer), client.id, metadata, authentication, {
    execute: [oidc.allowInsecureRequests, oidc.enableNonRepudiationChecks],
  });
}

/** Runs one check; the first that fails ends the script, with its name before the reason. */
export async function check(name, body) {
  try {
    await body();
  } catch (error) {
    console.error(`FAILED: ${name}`);
    for (let cause = error; cause; cause = cause.cause) console.error(cause);
    process.exit(1);
  }
  console.log(`held: ${name}`);
}

/** Expects `promise` to be refused with one of these OAuth errors. */
export async function refused(promise, ...errors) {
  let refusal;
  await assert.rejects(promise, (error) => {
    refusal = error;
    return true;
  });
  // Where there is a challenge, openid-client leaves the answer's body to us.
  const error = refusal.error ?? (await refusal.response?.json())?.error;
  assert.ok(errors.includes(error), `${error}, not ${errors}: ${refusal.stack}`);
}
