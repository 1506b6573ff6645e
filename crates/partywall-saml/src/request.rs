//! Asking an identity provider to sign a person in (saml-core 3.4.1, saml-profiles 4.1.4.1).

use std::time::SystemTime;

use crate::binding::{self, Binding, REQUEST};
use crate::instant;
use crate::signer::{Signer, SignerError};
use crate::write::{Unsigned, Writer};
use crate::xml::{SAML, SAMLP};

/// A question to an identity provider: who is this?
#[derive(Debug, Clone, Copy)]
pub struct AuthnRequest<'a> {
    /// A fresh, unguessable XML name that the answer repeats; to be kept with the browser, as
    /// [`Expected::request_id`](crate::Expected::request_id).
    pub id: &'a str,
    /// The time.
    pub issue_instant: SystemTime,
    /// Where the identity provider takes requests.
    pub destination: &'a str,
    /// Our entity ID.
    pub issuer: &'a str,
    /// Where the answer is to be sent.
    pub acs_url: &'a str,
    /// Whether the person must show again who it is.
    pub force_authn: bool,
    /// The kind of name wanted (saml-core 8.3); without one it is for the identity provider to
    /// choose.
    pub name_id_format: Option<&'a str>,
}

impl AuthnRequest<'_> {
    /// The address to send the browser to, by HTTP-Redirect.
    ///
    /// `relay_state` comes back with the answer: at most 80 bytes (saml-bindings 3.4.3) that say
    /// nothing to anybody.
    ///
    /// # Errors
    /// [`SignerError::Signing`].
    pub fn redirect(
        &self,
        relay_state: Option<&str>,
        signer: Option<&Signer>,
    ) -> Result<String, SignerError> {
        let message = self.message();
        binding::redirect(self.destination, REQUEST, &message, relay_state, signer)
    }

    /// The value of the field `SAMLRequest` in a form posted to `destination`, by HTTP-POST.
    ///
    /// # Errors
    /// [`SignerError::Signing`].
    pub fn post(&self, signer: Option<&Signer>) -> Result<String, SignerError> {
        binding::post(&self.message(), signer)
    }

    fn message(&self) -> Unsigned {
        let issued = instant::format(self.issue_instant);
        let mut attributes = vec![
            ("xmlns:samlp", SAMLP),
            ("AssertionConsumerServiceURL", self.acs_url),
            ("Destination", self.destination),
        ];
        if self.force_authn {
            attributes.push(("ForceAuthn", "true"));
        }
        attributes.extend([
            ("ID", self.id),
            ("IssueInstant", issued.as_str()),
            ("ProtocolBinding", Binding::Post.identifier()),
            ("Version", "2.0"),
        ]);
        let mut before = Writer::default();
        before.open("samlp:AuthnRequest", &attributes).leaf(
            "saml:Issuer",
            &[("xmlns:saml", SAML)],
            self.issuer,
        );
        let mut after = Writer::default();
        let policy = [("AllowCreate", Some("true")), ("Format", self.name_id_format)];
        let policy: Vec<_> =
            policy.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        after.empty("samlp:NameIDPolicy", &policy).close("samlp:AuthnRequest");
        Unsigned { id: self.id.to_owned(), before: before.finish(), after: after.finish() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn s01_what_we_sign_is_written_in_canonical_form() {
        for (force_authn, name_id_format) in [(false, None), (true, Some("urn:a?b=\"c\"&<d>\n"))] {
            let request = AuthnRequest {
                id: "_a",
                issue_instant: SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_608_000),
                destination: "https://idp.example/sso?a=b&c='d'",
                issuer: "https://sp.example/\"&<>\r\n\t",
                acs_url: "https://sp.example/acs",
                force_authn,
                name_id_format,
            };
            crate::write::tests::assert_canonical_and_signed(&request.message());
        }
    }
}
