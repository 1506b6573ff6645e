// node-saml and samlp on both sides of us: `produce` signs responses for us to believe, `consume`
// judges responses that are given, `read` reads what we send as an identity provider would. Reads
// one JSON object from standard input, and writes one. The clock is whoever's started it.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { X509Certificate, createPrivateKey } from "node:crypto";
import { SAML } from "@node-saml/node-saml";

const samlp = createRequire(import.meta.url)("samlp");
const judged = JSON.parse(readFileSync(0, "utf8"));
const pem = (der) => new X509Certificate(Buffer.from(der, "base64")).toString();

const produce = async () => {
  const key = createPrivateKey({ key: Buffer.from(judged.key, "base64"), format: "der", type: "pkcs8" });
  const usual = {
    issuer: judged.idp,
    audience: judged.sp,
    recipient: judged.acs,
    destination: judged.acs,
    inResponseTo: "_request",
    lifetimeInSeconds: 240,
    sessionIndex: "_s",
    signatureAlgorithm: "rsa-sha256",
    digestAlgorithm: "sha256",
    key: key.export({ type: "pkcs8", format: "pem" }),
    cert: pem(judged.certificates[0]),
    authnContextClassRef: "urn:oasis:names:tc:SAML:2.0:ac:classes:Password",
  };
  const user = { id: "alice", displayName: "Alice", name: { familyName: "A", givenName: "Alice" }, emails: [{ value: "alice@acme.example" }] };
  const responses = {};
  for (const [name, signs] of Object.entries({
    "samlp, assertion signed": { signAssertion: true },
    "samlp, response signed": { signAssertion: false, signResponse: true },
    "samlp, both signed": { signAssertion: true, signResponse: true },
    "samlp, prefixed": { signAssertion: true, signatureNamespacePrefix: "ds" },
  })) {
    responses[name] = await new Promise((done, failed) =>
      samlp.getSamlResponse({ ...usual, ...signs }, user, (error, response) =>
        error ? failed(error) : done(response.toString()),
      ),
    );
  }
  return { responses };
};

const consume = async () => {
  const verdicts = {};
  for (const [name, response] of Object.entries(judged.responses)) {
    const saml = new SAML({
      callbackUrl: judged.acs,
      entryPoint: judged.sso,
      issuer: judged.sp,
      audience: judged.sp,
      idpCert: pem(judged.certificates[0]),
      idpIssuer: judged.idp,
      wantAuthnResponseSigned: false,
      wantAssertionsSigned: false,
      validateInResponseTo: "always",
      cacheProvider: {
        saveAsync: async (key, value) => ({ key, value, createdAt: Date.now() }),
        getAsync: async (key) => (key === "_request" ? new Date().toISOString() : null),
        removeAsync: async (key) => key,
      },
    });
    try {
      const { profile } = await saml.validatePostResponseAsync({
        SAMLResponse: Buffer.from(response).toString("base64"),
      });
      verdicts[name] = profile.nameID;
    } catch {
      verdicts[name] = null;
    }
  }
  return { "node-saml": verdicts };
};

const read = async () => {
  const parse = (req) =>
    new Promise((done, failed) =>
      samlp.parseRequest(req, { signingCert: pem(judged.certificate) }, (error, data) =>
        error ? failed(error) : done([data.id, data.issuer, data.assertionConsumerServiceURL]),
      ),
    );
  const refused = (req) => parse(req).then(() => "accepted", () => "refused");
  const redirect = { query: judged.redirect };
  return {
    redirect: await parse(redirect),
    post: await parse({ method: "POST", body: { SAMLRequest: judged.post }, query: {} }),
    broken: await refused({ method: "POST", body: { SAMLRequest: judged.broken }, query: {} }),
    "broken redirect": await refused({ query: { ...judged.redirect, RelayState: "other" } }),
  };
};

const answer = await { produce, consume, read }[process.argv[2]]();
process.stdout.write(JSON.stringify(answer));
