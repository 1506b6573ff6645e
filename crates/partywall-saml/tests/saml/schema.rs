//! What we write, by the schemas of the standard.

use base64ct::{Base64, Encoding};
use partywall_saml::{
    AuthnRequest, LogoutRequest, LogoutResponse, LogoutStatus, NameId, SpMetadata,
};

use crate::request::{certificate, p256, rsa};
use crate::support::{ACS, IDP, SP, now, xmllint};
use crate::vectors::vectors;

const SCHEMAS: &str = "saml/python3-saml/src/onelogin/saml2/schemas";

#[test]
fn s09_what_we_write_is_valid_by_the_schemas() {
    let Some(schemas) = vectors(SCHEMAS).map(|path| path.canonicalize().unwrap()) else { return };
    let (protocol, metadata) = (
        schemas.join("saml-schema-protocol-2.0.xsd"),
        schemas.join("saml-schema-metadata-2.0.xsd"),
    );
    let signer = rsa();
    let posted = |value: String| String::from_utf8(Base64::decode_vec(&value).unwrap()).unwrap();

    let mut documents = Vec::new();
    for (force_authn, name_id_format) in [(false, None), (true, Some("urn:x"))] {
        let request = AuthnRequest {
            id: "_request",
            issue_instant: now(),
            destination: IDP,
            issuer: SP,
            acs_url: ACS,
            force_authn,
            name_id_format,
        };
        documents.push((posted(request.post(Some(&signer)).unwrap()), &protocol));
        documents.push((posted(request.post(None).unwrap()), &protocol));
    }
    let mut name_id = NameId::new("alice");
    for session_index in [None, Some("_s")] {
        let request = LogoutRequest {
            id: "_request",
            issue_instant: now(),
            destination: IDP,
            issuer: SP,
            name_id: &name_id,
            session_index,
        };
        documents.push((posted(request.post(&signer).unwrap()), &protocol));
        name_id.format = Some("urn:x".to_owned());
        name_id.name_qualifier = Some(IDP.to_owned());
        name_id.sp_name_qualifier = Some(SP.to_owned());
    }
    for status in [LogoutStatus::Success, LogoutStatus::Failed] {
        let response = LogoutResponse {
            id: "_response",
            issue_instant: now(),
            destination: IDP,
            issuer: SP,
            in_response_to: "_request",
            status,
        };
        documents.push((posted(response.post(&signer).unwrap()), &protocol));
    }
    let certificates = [certificate(&signer), certificate(&p256())];
    for (slo_url, keys) in [(None, &[][..]), (Some(ACS), &certificates[..])] {
        let of_ours = SpMetadata {
            entity_id: SP,
            acs_url: ACS,
            slo_url,
            signing: keys,
            encryption: keys,
            name_id_formats: &["urn:x", "urn:y"],
        };
        documents.push((of_ours.xml(), &metadata));
    }

    for (document, schema) in &documents {
        let Some(verdict) = xmllint(document, schema) else { return };
        assert_eq!(verdict, Ok(()), "{document}");
        let broken = document.replace(" Version=\"2.0\"", "").replace(" entityID=", " entity=");
        assert!(xmllint(&broken, schema).unwrap().is_err(), "{broken}");
    }
}
