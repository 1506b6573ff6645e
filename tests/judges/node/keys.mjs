// Prints a new key as JWKs, and as PEM: what a client keeps, and what it registers.
import * as jose from 'jose';

const { alg } = JSON.parse(process.env.PARTYWALL_JUDGED);
const { privateKey, publicKey } = await jose.generateKeyPair(alg, { extractable: true });
const more = { kid: 'one', alg, use: 'sig' };
console.log(JSON.stringify({
  'private.pem': await jose.exportPKCS8(privateKey),
  'public.pem': await jose.exportSPKI(publicKey),
  private: { ...(await jose.exportJWK(privateKey)), ...more },
  public: { ...(await jose.exportJWK(publicKey)), ...more },
}));
