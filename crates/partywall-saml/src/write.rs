//! Messages of ours, written in canonical form so that what is signed is what is sent.

use aws_lc_rs::digest::{SHA256, digest};
use base64ct::{Base64, Encoding};

use crate::canonical::{EXCLUSIVE, escape_attribute, escape_text};
use crate::signature::ENVELOPED;
use crate::signer::{Signer, SignerError};
use crate::xml::DS;

/// Writes elements, attributes in the order they are given: by name, for the canonical form.
#[derive(Default)]
pub(crate) struct Writer(String);

impl Writer {
    pub(crate) fn open(&mut self, name: &str, attributes: &[(&str, &str)]) -> &mut Self {
        self.0.push('<');
        self.0.push_str(name);
        for (name, value) in attributes {
            self.0.push(' ');
            self.0.push_str(name);
            escape_attribute(&mut self.0, value);
        }
        self.0.push('>');
        self
    }

    pub(crate) fn close(&mut self, name: &str) -> &mut Self {
        self.0.push_str("</");
        self.0.push_str(name);
        self.0.push('>');
        self
    }

    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        escape_text(&mut self.0, text);
        self
    }

    /// An element that holds nothing.
    pub(crate) fn empty(&mut self, name: &str, attributes: &[(&str, &str)]) -> &mut Self {
        self.open(name, attributes).close(name)
    }

    /// An element that holds text.
    pub(crate) fn leaf(
        &mut self,
        name: &str,
        attributes: &[(&str, &str)],
        text: &str,
    ) -> &mut Self {
        self.open(name, attributes).text(text).close(name)
    }

    /// Elements that were written elsewhere.
    pub(crate) fn raw(&mut self, elements: &str) -> &mut Self {
        self.0.push_str(elements);
        self
    }

    pub(crate) fn finish(&mut self) -> String {
        std::mem::take(&mut self.0)
    }
}

/// A message that may be signed, in two pieces: its signature stands between them, after the
/// issuer (saml-core, schema of `RequestAbstractType` and `StatusResponseType`).
pub(crate) struct Unsigned {
    pub(crate) id: String,
    pub(crate) before: String,
    pub(crate) after: String,
}

impl Unsigned {
    /// Without a signature.
    pub(crate) fn text(&self) -> String {
        format!("{}{}", self.before, self.after)
    }

    /// With the one shape of signature that is taken here, too.
    pub(crate) fn signed(&self, signer: &Signer) -> Result<String, SignerError> {
        let digest = digest(&SHA256, self.text().as_bytes());
        let digest = Base64::encode_string(digest.as_ref());
        let reference = format!("#{}", self.id);

        let mut info = Writer::default();
        info.empty("ds:CanonicalizationMethod", &[("Algorithm", EXCLUSIVE)])
            .empty("ds:SignatureMethod", &[("Algorithm", signer.algorithm())])
            .open("ds:Reference", &[("URI", &reference)])
            .open("ds:Transforms", &[])
            .empty("ds:Transform", &[("Algorithm", ENVELOPED)])
            .empty("ds:Transform", &[("Algorithm", EXCLUSIVE)])
            .close("ds:Transforms")
            .empty("ds:DigestMethod", &[("Algorithm", "http://www.w3.org/2001/04/xmlenc#sha256")])
            .leaf("ds:DigestValue", &[], &digest)
            .close("ds:Reference");
        let info = info.finish();

        // On its own, the namespace is written where it is used first.
        let mut apex = Writer::default();
        apex.open("ds:SignedInfo", &[("xmlns:ds", DS)]).raw(&info).close("ds:SignedInfo");
        let value = signer.sign(apex.finish().as_bytes())?;

        let mut message = Writer::default();
        message
            .raw(&self.before)
            .open("ds:Signature", &[("xmlns:ds", DS)])
            .open("ds:SignedInfo", &[])
            .raw(&info)
            .close("ds:SignedInfo")
            .leaf("ds:SignatureValue", &[], &Base64::encode_string(&value))
            .close("ds:Signature")
            .raw(&self.after);
        Ok(message.finish())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::{Duration, SystemTime};

    use aws_lc_rs::encoding::AsDer;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RsaKeyPair};

    use super::*;
    use crate::canonical::{Prefixes, canonical};
    use crate::refused::Rule;
    use crate::signature;
    use crate::xml::{Message, optional};

    pub(crate) fn signers() -> [Signer; 2] {
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        [
            Signer::from_pkcs8(rsa.as_der().unwrap().as_ref()).unwrap(),
            Signer::from_pkcs8(ec.to_pkcs8v1().unwrap().as_ref()).unwrap(),
        ]
    }

    /// The message's text is its canonical form, and its signature one that is taken here.
    pub(crate) fn assert_canonical_and_signed(message: &Unsigned) {
        let text = message.text();
        let parsed = Message::parse(text.as_bytes()).unwrap();
        let form = canonical(&text, parsed.root(), None, &Prefixes::default()).unwrap();
        assert_eq!(form, text);

        let (begin, end) =
            (SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + Duration::from_secs(1));
        for signer in signers() {
            let signed = message.signed(&signer).unwrap();
            let certificate = signer.certificate("sp", begin, end).unwrap();
            let verify = |text: &str| {
                let message = Message::parse(text.as_bytes()).unwrap();
                let signature = optional(message.root(), DS, "Signature").unwrap().unwrap();
                let certificates = std::slice::from_ref(&certificate);
                signature::verify(message.text(), message.root(), signature, certificates)
                    .map(|signed| signed.bytes().to_vec())
                    .map_err(|refused| refused.rule())
            };
            assert_eq!(verify(&signed).unwrap(), text.as_bytes());
            let changed = signed.replacen("Version=\"2.0\"", "Version=\"2.1\"", 1);
            assert_eq!(verify(&changed), Err(Rule::Digest));
            let changed = signed.replacen("sha256\"></ds:DigestM", "sha512\"></ds:DigestM", 1);
            assert_eq!(verify(&changed), Err(Rule::Digest));
        }
    }
}
