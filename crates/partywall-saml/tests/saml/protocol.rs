//! S-08, S-09, S-11: said by the right one, to us, for this request, now.

use std::time::Duration;

use partywall_saml::{Certificate, CertificateError, Connection, ConnectionError, Expected, Rule};

use crate::support::{
    ACME, ASSERTION, IDP, OTHER, REQUEST, RESPONSE, around, expected, now, rule, unsigned, verify,
};

/// The assertion with `from` replaced, signed.
fn assertion(from: &str, to: &str) -> String {
    assert!(ASSERTION.contains(from), "{from}");
    around(&ACME.sign(&ASSERTION.replace(from, to)))
}

/// The response with `from` replaced, itself signed.
fn response(from: &str, to: &str) -> String {
    assert!(RESPONSE.contains(from), "{from}");
    let response = RESPONSE.replace(from, to);
    ACME.sign(&response.replace("{assertion}", &unsigned(ASSERTION)))
}

#[test]
fn s09_everything_said_is_there_to_read() {
    let assertion = verify(&around(&ACME.sign(ASSERTION))).unwrap();
    assert_eq!(assertion.id(), "_a");
    assert_eq!(assertion.issuer(), IDP);
    assert_eq!(assertion.name_id().value, "alice");
    let format = assertion.name_id().format.as_deref();
    assert_eq!(format, Some("urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"));
    assert_eq!(assertion.in_response_to(), Some(REQUEST));
    assert_eq!(assertion.authn_instant(), now() - Duration::from_secs(2));
    assert_eq!(assertion.session_index(), Some("_s"));
    assert_eq!(assertion.session_not_on_or_after(), None);
    assert_eq!(assertion.usable_until(), now() + Duration::from_secs(360));
    assert_eq!(assertion.authn_context(), Some("urn:oasis:names:tc:SAML:2.0:ac:classes:Password"));
    let [groups] = assertion.attributes() else { panic!("one attribute") };
    assert_eq!(groups.name, "groups");
    assert_eq!(groups.values, ["staff", "R&D"]);
}

#[test]
fn s09_every_rule_of_the_assertion_is_kept() {
    let confirmation = Rule::SubjectConfirmation;
    for (from, to, expected) in [
        (r#"Version="2.0""#, r#"Version="1.1""#, Rule::Version),
        (
            "<saml:Issuer>https://idp.acme.example/</saml:Issuer>",
            "<saml:Issuer>https://idp.acme.example</saml:Issuer>",
            Rule::Issuer,
        ),
        ("<saml:Issuer>https://idp.acme.example/</saml:Issuer>", "", Rule::Missing),
        ("<saml:Issuer>", r#"<saml:Issuer Format="urn:other">"#, Rule::Issuer),
        (">alice<", "><", Rule::NameId),
        (">alice<", "> alice<", Rule::NameId),
        (">alice<", "><saml:b></saml:b>alice<", Rule::Unexpected),
        (">alice<", r#" SPNameQualifier="https://other.example">alice<"#, Rule::NameId),
        ("saml:NameID", "saml:EncryptedID", Rule::Missing),
        (
            "<saml:Audience>https://acme.partywall.example/saml<",
            "<saml:Audience>https://acme.partywall.example/saml/<",
            Rule::Audience,
        ),
        (
            "<saml:AudienceRestriction><saml:Audience>https://acme.partywall.example/saml</saml:Audience></saml:AudienceRestriction>",
            "",
            Rule::Missing,
        ),
        (
            "<saml:AudienceRestriction>",
            "<saml:AudienceRestriction></saml:AudienceRestriction><saml:AudienceRestriction>",
            Rule::Audience,
        ),
        (
            "</saml:Conditions>",
            "<saml:Condition></saml:Condition></saml:Conditions>",
            Rule::Condition,
        ),
        (
            r#" NotOnOrAfter="2026-11-25T12:05:00Z"><saml:AudienceRestriction>"#,
            "><saml:AudienceRestriction>",
            Rule::Missing,
        ),
        (
            r#"NotBefore="2026-11-25T12:00:00Z""#,
            r#"NotBefore="2026-11-25T12:01:01Z""#,
            Rule::NotBefore,
        ),
        (
            r#"NotOnOrAfter="2026-11-25T12:05:00Z"><saml:AudienceRestriction>"#,
            r#"NotOnOrAfter="2026-11-25T11:59:00Z"><saml:AudienceRestriction>"#,
            Rule::NotOnOrAfter,
        ),
        (
            r#"NotBefore="2026-11-25T12:00:00Z""#,
            r#"NotBefore="2026-11-25T12:00:00+00:00""#,
            Rule::Time,
        ),
        (
            r#"IssueInstant="2026-11-25T12:00:00Z""#,
            r#"IssueInstant="2026-11-25T11:54:00Z""#,
            Rule::IssueInstant,
        ),
        (
            r#"IssueInstant="2026-11-25T12:00:00Z""#,
            r#"IssueInstant="2026-11-25T12:01:01Z""#,
            Rule::IssueInstant,
        ),
        (
            r#"Recipient="https://acme.partywall.example/saml/acs""#,
            r#"Recipient="https://other.partywall.example/saml/acs""#,
            confirmation,
        ),
        (r#" Recipient="https://acme.partywall.example/saml/acs""#, "", Rule::Missing),
        ("cm:bearer", "cm:sender-vouches", confirmation),
        (
            r#"NotOnOrAfter="2026-11-25T12:05:00Z" Recipient"#,
            r#"NotOnOrAfter="2026-11-25T11:59:00Z" Recipient"#,
            Rule::NotOnOrAfter,
        ),
        (r#" NotOnOrAfter="2026-11-25T12:05:00Z" Recipient"#, " Recipient", Rule::Missing),
        (
            r#" NotOnOrAfter="2026-11-25T12:05:00Z" Recipient"#,
            r#" NotBefore="2026-11-25T12:00:00Z" NotOnOrAfter="2026-11-25T12:05:00Z" Recipient"#,
            confirmation,
        ),
        (r#"InResponseTo="_request""#, r#"InResponseTo="_other""#, Rule::InResponseTo),
        (r#" InResponseTo="_request""#, "", Rule::Missing),
        (
            "<saml:SubjectConfirmation ",
            "<saml:BaseID></saml:BaseID><saml:SubjectConfirmation ",
            Rule::Unexpected,
        ),
        (
            r#"AuthnInstant="2026-11-25T11:59:58Z""#,
            r#"AuthnInstant="2026-11-25T12:01:01Z""#,
            Rule::AuthnStatement,
        ),
        (
            r#" SessionIndex="_s""#,
            r#" SessionIndex="_s" SessionNotOnOrAfter="2026-11-25T11:59:00Z""#,
            Rule::NotOnOrAfter,
        ),
        (
            "</saml:Attribute>",
            r#"</saml:Attribute><saml:Attribute Name="groups"></saml:Attribute>"#,
            Rule::Attribute,
        ),
        (">staff<", "><saml:x></saml:x>staff<", Rule::Unexpected),
        (
            "<saml:AttributeStatement>",
            "<saml:AuthzDecisionStatement></saml:AuthzDecisionStatement><saml:AttributeStatement>",
            Rule::Unexpected,
        ),
    ] {
        assert_eq!(rule(&assertion(from, to)), Some(expected), "{from} -> {to}");
    }
    let statement = ASSERTION.split_once("<saml:AuthnStatement").unwrap();
    let (_, after) = statement.1.split_once("</saml:AuthnStatement>").unwrap();
    let without = format!("{}{after}", statement.0);
    assert_eq!(rule(&around(&ACME.sign(&without))), Some(Rule::Missing));
}

#[test]
fn s09_every_rule_of_the_response_is_kept() {
    for (from, to, expected) in [
        (r#"Version="2.0""#, r#"Version="2.1""#, Rule::Version),
        ("https://idp.acme.example/", "https://idp.other.example/", Rule::Issuer),
        (
            r#"Destination="https://acme.partywall.example/saml/acs""#,
            r#"Destination="https://acme.partywall.example/saml/acs2""#,
            Rule::Destination,
        ),
        (r#" Destination="https://acme.partywall.example/saml/acs""#, "", Rule::Missing),
        (r#"InResponseTo="_request""#, r#"InResponseTo="_other""#, Rule::InResponseTo),
        (r#" InResponseTo="_request""#, "", Rule::Missing),
        (
            r#"IssueInstant="2026-11-25T12:00:00Z""#,
            r#"IssueInstant="2026-11-25T11:54:00Z""#,
            Rule::IssueInstant,
        ),
        (r#" IssueInstant="2026-11-25T12:00:00Z""#, "", Rule::Missing),
        ("status:Success", "status:Responder", Rule::Status),
        (r#" Value="urn:oasis:names:tc:SAML:2.0:status:Success""#, "", Rule::Missing),
        ("<samlp:Status>", "<samlp:Other></samlp:Other><samlp:Status>", Rule::Unexpected),
        (
            r#"<saml:Issuer xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">https://idp.acme.example/</saml:Issuer>"#,
            "",
            Rule::Missing,
        ),
    ] {
        assert_eq!(rule(&response(from, to)), Some(expected), "{from} -> {to}");
        // What nobody signed counts against a response as well. It may leave out its issuer.
        let unsigned = around(&ACME.sign(ASSERTION)).replacen(from, to, 1);
        let left_out = from.starts_with("<saml:Issuer");
        assert_eq!(rule(&unsigned), Some(expected).filter(|_| !left_out), "{from} -> {to}");
    }
    let artifact = response("samlp:Response", "samlp:ArtifactResponse");
    assert_eq!(rule(&artifact), Some(Rule::Root));
    assert_eq!(rule(&response("_r", "_r")), None);
}

#[test]
fn s09_the_administrator_is_told_rule_element_and_value() {
    let failed = RESPONSE
        .replace("status:Success", "status:Responder")
        .replace(
            "</samlp:StatusCode>",
            r#"<samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:AuthnFailed"></samlp:StatusCode></samlp:StatusCode><samlp:StatusMessage>no</samlp:StatusMessage>"#,
        )
        .replace("{assertion}", "");
    let refused = verify(&ACME.sign(&failed)).unwrap_err();
    assert_eq!(refused.rule(), Rule::Status);
    assert_eq!(refused.element(), "StatusCode");
    assert_eq!(
        refused.value(),
        Some(
            "urn:oasis:names:tc:SAML:2.0:status:Responder, urn:oasis:names:tc:SAML:2.0:status:AuthnFailed, no"
        )
    );
    let refused = verify(&response("saml/acs", "saml/other")).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "Response/@Destination: is not where this connection takes such messages \
         (found \"https://acme.partywall.example/saml/other\")"
    );
}

#[test]
fn s09_nothing_is_believed_a_second_before_or_after_its_time() {
    let response = around(&ACME.sign(ASSERTION));
    let at = |offset: i64| {
        let seconds = Duration::from_secs(offset.unsigned_abs());
        let now = if offset < 0 { now() - seconds } else { now() + seconds };
        let expected = Expected { now, ..expected() };
        ACME.connection().verify(response.as_bytes(), &expected)
    };
    assert!(at(-60).is_ok());
    assert_eq!(at(-61).unwrap_err().rule(), Rule::IssueInstant);
    assert!(at(359).is_ok());
    // `usable_until` is exact: from then on there is nothing to replay.
    assert_eq!(at(360).unwrap_err().rule(), Rule::IssueInstant);
    assert_eq!(at(0).unwrap().usable_until(), now() + Duration::from_secs(360));
}

#[test]
fn s09_a_confirmation_that_does_not_hold_does_not_spoil_one_that_does() {
    let other = r#"<saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:holder-of-key"></saml:SubjectConfirmation><saml:SubjectConfirmation "#;
    assert_eq!(rule(&assertion("<saml:SubjectConfirmation ", other)), None);
}

#[test]
fn s11_what_nobody_asked_for_is_refused_unless_the_connection_takes_it() {
    let unasked = Expected { request_id: None, now: now() };
    let none = r#" InResponseTo="_request""#;
    let unsolicited = around(&ACME.sign(&ASSERTION.replace(none, ""))).replace(none, "");
    let answer = around(&ACME.sign(ASSERTION));
    let mut settings = ACME.settings();
    let off = Connection::new(settings.clone()).unwrap();
    settings.idp_initiated = true;
    let on = Connection::new(settings).unwrap();

    let rule = |connection: &Connection, response: &str, expected: &Expected<'_>| {
        let verdict = connection.verify(response.as_bytes(), expected);
        verdict.map(|assertion| assertion.in_response_to().is_some()).map_err(|r| r.rule())
    };
    assert_eq!(rule(&off, &unsolicited, &unasked), Err(Rule::Unsolicited));
    assert_eq!(rule(&on, &unsolicited, &unasked), Ok(false));
    // An answer to somebody else's request is not an unsolicited response.
    assert_eq!(rule(&on, &answer, &unasked), Err(Rule::InResponseTo));
    assert_eq!(rule(&on, &unsolicited, &expected()), Err(Rule::Missing));
    assert_eq!(rule(&on, &answer, &expected()), Ok(true));
    let half = answer.replacen(none, "", 1);
    assert_eq!(rule(&on, &half, &unasked), Err(Rule::InResponseTo));
}

#[test]
fn s08_without_a_certificate_there_is_no_connection() {
    let with = |count: usize| {
        let mut settings = ACME.settings();
        settings.certificates = vec![ACME.trusted(); count];
        Connection::new(settings).map(|_| ())
    };
    assert_eq!(with(0), Err(ConnectionError::NoCertificate));
    assert_eq!(with(1), Ok(()));
    assert_eq!(with(2), Ok(()));
    assert_eq!(with(3), Err(ConnectionError::TooManyCertificates));
    for blank in ["", " a", "a\n"] {
        let mut settings = ACME.settings();
        settings.idp_entity_id = blank.to_owned();
        assert!(matches!(Connection::new(settings), Err(ConnectionError::Blank(_))));
    }
}

#[test]
fn s08_what_is_no_usable_certificate_is_not_trusted() {
    use base64ct::{Base64, Encoding};

    let der = &ACME.certificate;
    let base64 = Base64::encode_string(der);
    let pem = format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n");
    assert_eq!(Certificate::from_text(&pem), Ok(ACME.trusted()));
    assert_eq!(Certificate::from_text(&format!("\n {} \n", base64)), Ok(ACME.trusted()));
    assert_eq!(Certificate::from_text(&format!("{pem}{pem}")), Err(CertificateError::Encoding));
    assert_eq!(Certificate::from_text(""), Err(CertificateError::Malformed));
    assert_eq!(
        Certificate::from_der(&[der.as_slice(), &[0]].concat()),
        Err(CertificateError::Malformed)
    );
    assert_eq!(Certificate::from_der(&der[..der.len() - 1]), Err(CertificateError::Malformed));
    assert_ne!(ACME.trusted(), OTHER.trusted());
    assert!(ACME.trusted().not_after() > now());
}
