//! What an identity provider needs to know of us (saml-metadata 2.4.4).

use base64ct::{Base64, Encoding};

use crate::binding::Binding;
use crate::certificate::Certificate;
use crate::metadata::MD;
use crate::write::Writer;
use crate::xml::{DS, SAMLP};

/// What an identity provider is to trust with us, on one connection.
#[derive(Debug, Clone, Copy)]
pub struct SpMetadata<'a> {
    /// Our entity ID for the connection.
    pub entity_id: &'a str,
    /// Where responses are taken, by HTTP-POST alone.
    pub acs_url: &'a str,
    /// Where logout messages are taken, by HTTP-Redirect and HTTP-POST.
    pub slo_url: Option<&'a str>,
    /// Of the keys our requests may be signed with: one, or two while it changes (I-11). Without
    /// any, requests are not signed.
    pub signing: &'a [Certificate],
    /// Of the keys assertions may be encrypted to; the first is the newest.
    pub encryption: &'a [Certificate],
    /// The kinds of names that are understood (saml-core 8.3), the preferred one first.
    pub name_id_formats: &'a [&'a str],
}

impl SpMetadata<'_> {
    /// The document.
    #[must_use]
    pub fn xml(&self) -> String {
        let mut out = Writer::default();
        let requests_signed = if self.signing.is_empty() { "false" } else { "true" };
        out.open("md:EntityDescriptor", &[("xmlns:md", MD), ("entityID", self.entity_id)]).open(
            "md:SPSSODescriptor",
            &[
                ("AuthnRequestsSigned", requests_signed),
                ("WantAssertionsSigned", "true"),
                ("protocolSupportEnumeration", SAMLP),
            ],
        );
        for certificate in self.signing {
            key(&mut out, "signing", certificate, &[]);
        }
        for certificate in self.encryption {
            key(&mut out, "encryption", certificate, ENCRYPTION_METHODS);
        }
        if let Some(slo_url) = self.slo_url {
            for binding in [Binding::Redirect, Binding::Post] {
                out.empty(
                    "md:SingleLogoutService",
                    &[("Binding", binding.identifier()), ("Location", slo_url)],
                );
            }
        }
        for format in self.name_id_formats {
            out.leaf("md:NameIDFormat", &[], format);
        }
        out.empty(
            "md:AssertionConsumerService",
            &[
                ("Binding", Binding::Post.identifier()),
                ("Location", self.acs_url),
                ("index", "0"),
                ("isDefault", "true"),
            ],
        );
        out.close("md:SPSSODescriptor").close("md:EntityDescriptor");
        out.finish()
    }
}

/// What every connection takes: some identity providers choose by it.
const ENCRYPTION_METHODS: &[&str] = &[
    "http://www.w3.org/2009/xmlenc11#aes256-gcm",
    "http://www.w3.org/2009/xmlenc11#aes128-gcm",
    "http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p",
];

fn key(out: &mut Writer, purpose: &str, certificate: &Certificate, methods: &[&str]) {
    out.open("md:KeyDescriptor", &[("use", purpose)])
        .open("ds:KeyInfo", &[("xmlns:ds", DS)])
        .open("ds:X509Data", &[])
        .leaf("ds:X509Certificate", &[], &Base64::encode_string(certificate.der()))
        .close("ds:X509Data")
        .close("ds:KeyInfo");
    for method in methods {
        out.empty("md:EncryptionMethod", &[("Algorithm", method)]);
    }
    out.close("md:KeyDescriptor");
}
