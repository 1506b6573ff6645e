// npm's node-saml on one response, again and again: prints nanoseconds of CPU for one.
//
//   node peer.mjs <folder of node_modules> < judged.json
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { X509Certificate } from 'node:crypto';

const { SAML } = createRequire(`${process.argv[2]}/`)('@node-saml/node-saml');
const judged = JSON.parse(readFileSync(0, 'utf8'));
const saml = new SAML({
  callbackUrl: judged.acs,
  entryPoint: 'https://idp.acme.example/sso',
  issuer: judged.sp,
  audience: judged.sp,
  idpCert: new X509Certificate(Buffer.from(judged.certificate, 'base64')).toString(),
  wantAuthnResponseSigned: false,
  validateInResponseTo: 'never',
});
const SAMLResponse = Buffer.from(judged.response).toString('base64');
const once = async () => {
  const { profile } = await saml.validatePostResponseAsync({ SAMLResponse });
  if (profile.nameID !== 'alice') throw new Error('somebody else');
};
const rounds = Math.max(judged.rounds, 1);
for (let i = 0; i < Math.min(rounds, 50); i += 1) await once();
const began = process.cpuUsage();
for (let i = 0; i < rounds; i += 1) await once();
const { user, system } = process.cpuUsage(began);
console.log(((user + system) * 1000) / rounds);
