// Prints a new ES256 key as JWKs: what a client keeps, and what it registers.
import * as jose from 'jose';

const { privateKey, publicKey } = await jose.generateKeyPair('ES256', { extractable: true });
const more = { kid: 'one', alg: 'ES256', use: 'sig' };
console.log(JSON.stringify({
  private: { ...(await jose.exportJWK(privateKey)), ...more },
  public: { ...(await jose.exportJWK(publicKey)), ...more },
}));
