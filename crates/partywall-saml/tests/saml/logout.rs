//! S-13, S-14: what ends a session is signed like what begins one.

use std::io::Write;
use std::time::Duration;

use base64ct::{Base64, Encoding};
use flate2::Compression;
use flate2::write::DeflateEncoder;
use partywall_saml::{
    AuthnRequest, Connection, ExpectedLogout, LogoutRequest, LogoutResponse, LogoutStatus, NameId,
    Received, Refused, Rule, Settings, VerifiedLogoutRequest, VerifiedLogoutResponse,
};

use crate::request::{certificate, inflated, p256, parameters, rsa};
use crate::support::{ACME, ACS, IDP, Idp, OTHER, SP, Signing, now, unsigned};

const SLO: &str = "https://acme.partywall.example/saml/slo";
const RSA: &str = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256";

/// Alice is to be signed out. `{signature}` is where a posted one has its signature.
const REQUEST: &str = concat!(
    r#"<samlp:LogoutRequest xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" Destination="https://acme.partywall.example/saml/slo" ID="_l" IssueInstant="2026-11-25T12:00:00Z" NotOnOrAfter="2026-11-25T12:03:00Z" Version="2.0">"#,
    r#"<saml:Issuer xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">https://idp.acme.example/</saml:Issuer>{signature}"#,
    r#"<saml:NameID xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent">alice</saml:NameID>"#,
    r#"<samlp:SessionIndex>_s</samlp:SessionIndex><samlp:SessionIndex>_t</samlp:SessionIndex></samlp:LogoutRequest>"#,
);

/// The answer to ours.
const RESPONSE: &str = concat!(
    r#"<samlp:LogoutResponse xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" Destination="https://acme.partywall.example/saml/slo" ID="_m" InResponseTo="_request" IssueInstant="2026-11-25T12:00:00Z" Version="2.0">"#,
    r#"<saml:Issuer xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">https://idp.acme.example/</saml:Issuer>{signature}"#,
    r#"<samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"></samlp:StatusCode></samlp:Status></samlp:LogoutResponse>"#,
);

fn expected() -> ExpectedLogout<'static> {
    ExpectedLogout { slo_url: SLO, now: now() }
}

fn asked(received: Received<'_>) -> Result<VerifiedLogoutRequest, Refused> {
    ACME.connection().verify_logout_request(&received, &expected())
}

fn answered(received: Received<'_>) -> Result<VerifiedLogoutResponse, Refused> {
    ACME.connection().verify_logout_response(&received, &expected(), "_request")
}

fn deflated(message: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(message).unwrap();
    encoder.finish().unwrap()
}

fn encode(bytes: &[u8]) -> String {
    Base64::encode_string(bytes).replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
}

/// As an identity provider sends it: parameters in this order, then the signature.
struct Redirecting<'a> {
    parameter: &'a str,
    message: Vec<u8>,
    relay_state: Option<&'a str>,
    algorithm: &'a str,
}

impl Redirecting<'_> {
    fn new(message: &str) -> Self {
        let answers = message.starts_with("<samlp:LogoutResponse");
        let parameter = if answers { "SAMLResponse" } else { "SAMLRequest" };
        Self { parameter, message: deflated(message.as_bytes()), relay_state: None, algorithm: RSA }
    }

    fn octets(&self) -> String {
        let relay_state = self.relay_state.map(|raw| format!("&RelayState={raw}"));
        format!(
            "{}={}{}&SigAlg={}",
            self.parameter,
            encode(&self.message),
            relay_state.unwrap_or_default(),
            self.algorithm.replace(':', "%3a").replace('/', "%2f").replace('#', "%23")
        )
    }

    fn signature(&self, idp: &Idp) -> String {
        encode(&idp.value(self.algorithm, self.octets().as_bytes()))
    }

    fn by(&self, idp: &Idp) -> String {
        format!("{}&Signature={}", self.octets(), self.signature(idp))
    }
}

fn request() -> String {
    Redirecting::new(&unsigned(REQUEST)).by(&ACME)
}

fn rule<T>(verdict: Result<T, Refused>) -> Option<Rule> {
    verdict.err().map(|refused| refused.rule())
}

#[test]
fn s14_a_signed_request_says_who_is_to_be_signed_out() {
    let posted = ACME.sign(REQUEST);
    for received in [Received::Redirect(&request()), Received::Post(posted.as_bytes())] {
        let request = asked(received).unwrap();
        assert_eq!(request.id(), "_l");
        assert_eq!(request.name_id().value, "alice");
        let format = request.name_id().format.as_deref();
        assert_eq!(format, Some("urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"));
        assert_eq!(request.session_indexes(), ["_s", "_t"]);
        assert_eq!(request.usable_until(), now() + Duration::from_secs(240));
    }
    let all = REQUEST
        .replace("<samlp:SessionIndex>_s</samlp:SessionIndex>", "")
        .replace("<samlp:SessionIndex>_t</samlp:SessionIndex>", "");
    let posted = ACME.sign(&all.replace(r#" NotOnOrAfter="2026-11-25T12:03:00Z""#, ""));
    let request = asked(Received::Post(posted.as_bytes())).unwrap();
    assert!(request.session_indexes().is_empty());
    assert_eq!(request.usable_until(), now() + Duration::from_secs(360));
}

#[test]
fn s14_the_sessions_that_are_meant_are_those_of_the_same_name() {
    let request = |name_id: &str, indexes: &str| {
        let (before, rest) = REQUEST.split_once("<saml:NameID").unwrap();
        let (start, _) = rest.split_once('>').unwrap();
        let start = start
            .replace(r#" Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent""#, name_id);
        let request = format!(
            "{before}<saml:NameID{start}>alice</saml:NameID>{indexes}</samlp:LogoutRequest>"
        );
        asked(Received::Post(ACME.sign(&request).as_bytes())).unwrap()
    };
    let own = |format: Option<&str>, by: Option<&str>, to: Option<&str>| {
        let mut name = NameId::new("alice");
        name.format = format.map(str::to_owned);
        name.name_qualifier = by.map(str::to_owned);
        name.sp_name_qualifier = to.map(str::to_owned);
        name
    };
    let unspecified = "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified";
    let index = "<samlp:SessionIndex>_s</samlp:SessionIndex>";

    let all = request("", "");
    for name in
        [own(None, None, None), own(Some(unspecified), None, None), own(None, Some(IDP), Some(SP))]
    {
        assert!(all.is_about(&name, None), "{name:?}");
        assert!(all.is_about(&name, Some("_s")), "{name:?}");
        assert!(request("", index).is_about(&name, Some("_s")), "{name:?}");
        assert!(!request("", index).is_about(&name, Some("_t")), "{name:?}");
        assert!(!request("", index).is_about(&name, None), "{name:?}");
    }
    let persistent = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent";
    for name in [
        own(Some(persistent), None, None),
        own(None, Some("https://idp.other.example/"), None),
        own(None, None, Some("https://other.example")),
        NameId::new("Alice"),
    ] {
        assert!(!all.is_about(&name, None), "{name:?}");
    }
    let full = format!(r#" Format="{persistent}" NameQualifier="{IDP}" SPNameQualifier="{SP}""#);
    let full = request(&full, "");
    assert!(full.is_about(&own(Some(persistent), None, None), None));
    assert!(!full.is_about(&own(None, None, None), None));
}

#[test]
fn s14_a_signed_answer_says_whether_it_was_done() {
    let verdict = |from: &str, to: &str| {
        let response = RESPONSE.replace(from, to);
        let redirect = Redirecting::new(&unsigned(&response)).by(&ACME);
        let redirect = answered(Received::Redirect(&redirect));
        assert_eq!(redirect, answered(Received::Post(ACME.sign(&response).as_bytes())));
        redirect.unwrap()
    };
    assert!(verdict("", "").is_complete());
    let success = "urn:oasis:names:tc:SAML:2.0:status:Success";
    let partial = r#"<samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:PartialLogout"></samlp:StatusCode></samlp:StatusCode>"#;
    let partly = verdict("</samlp:StatusCode>", partial);
    assert!(!partly.is_complete());
    assert_eq!(
        partly.status(),
        format!("{success}, urn:oasis:names:tc:SAML:2.0:status:PartialLogout")
    );
    assert!(!verdict(success, "urn:oasis:names:tc:SAML:2.0:status:Responder").is_complete());
}

#[test]
fn s14_unsigned_messages_end_nothing() {
    let good = Redirecting::new(&unsigned(REQUEST));
    assert_eq!(rule(asked(Received::Redirect(&good.by(&ACME)))), None);
    assert_eq!(rule(asked(Received::Redirect(&good.octets()))), Some(Rule::Unsigned));
    let (without, _) =
        good.octets().split_once("&SigAlg").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    assert_eq!(rule(asked(Received::Redirect(&without))), Some(Rule::Unsigned));
    let half = format!("{without}&Signature={}", good.signature(&ACME));
    assert_eq!(rule(asked(Received::Redirect(&half))), Some(Rule::Unsigned));
    assert_eq!(rule(asked(Received::Redirect(&good.by(&OTHER)))), Some(Rule::Signature));
    let empty = format!("{}&Signature=", good.octets());
    assert_eq!(rule(asked(Received::Redirect(&empty))), Some(Rule::Base64));
    // A signature in the message is none of the address.
    let inside = Redirecting::new(&ACME.sign(REQUEST));
    assert_eq!(rule(asked(Received::Redirect(&inside.octets()))), Some(Rule::Unsigned));
    assert_eq!(rule(asked(Received::Redirect(&inside.by(&ACME)))), Some(Rule::SignaturePlace));

    assert_eq!(rule(asked(Received::Post(ACME.sign(REQUEST).as_bytes()))), None);
    assert_eq!(rule(asked(Received::Post(unsigned(REQUEST).as_bytes()))), Some(Rule::Unsigned));
    let other = OTHER.sign(REQUEST);
    assert_eq!(rule(asked(Received::Post(other.as_bytes()))), Some(Rule::Signature));
    let changed = ACME.sign(REQUEST).replace("alice", "mallory");
    assert_eq!(rule(asked(Received::Post(changed.as_bytes()))), Some(Rule::Digest));
    let answer = unsigned(RESPONSE);
    assert_eq!(rule(answered(Received::Post(answer.as_bytes()))), Some(Rule::Unsigned));
    let redirect = Redirecting::new(&answer);
    assert_eq!(rule(answered(Received::Redirect(&redirect.by(&ACME)))), None);
    assert_eq!(rule(answered(Received::Redirect(&redirect.octets()))), Some(Rule::Unsigned));
}

#[test]
fn s07_the_algorithms_of_addresses_are_those_of_messages() {
    for (algorithm, expected) in [
        (RSA, None),
        ("http://www.w3.org/2001/04/xmldsig-more#rsa-sha512", None),
        ("http://www.w3.org/2000/09/xmldsig#rsa-sha1", Some(Rule::SignatureAlgorithm)),
        ("http://www.w3.org/2001/04/xmldsig-more#hmac-sha256", Some(Rule::SignatureAlgorithm)),
        ("http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256", Some(Rule::SignatureAlgorithm)),
        ("", Some(Rule::SignatureAlgorithm)),
    ] {
        let message = Redirecting { algorithm, ..Redirecting::new(&unsigned(REQUEST)) };
        assert_eq!(rule(asked(Received::Redirect(&message.by(&ACME)))), expected, "{algorithm}");
    }
    let idp = Idp::p256();
    let algorithm = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256";
    let message = Redirecting { algorithm, ..Redirecting::new(&unsigned(REQUEST)) };
    let by = message.by(&idp);
    let verdict = idp.connection().verify_logout_request(&Received::Redirect(&by), &expected());
    assert!(verdict.is_ok(), "{verdict:?}");
}

#[test]
fn s14_what_is_signed_is_what_was_sent_octet_for_octet() {
    let message =
        Redirecting { relay_state: Some("a%2fb+c"), ..Redirecting::new(&unsigned(REQUEST)) };
    let (octets, signature) = (message.octets(), message.signature(&ACME));
    let signed = format!("{octets}&Signature={signature}");
    assert_eq!(rule(asked(Received::Redirect(&signed))), None);

    // Their order in the address is not that of the signature, and others may stand beside.
    let mut pieces: Vec<_> = signed.split('&').collect();
    pieces.reverse();
    let reversed = format!("tenant=acme&{}&lang=de&", pieces.join("&"));
    assert_eq!(rule(asked(Received::Redirect(&reversed))), None);
    let encoding =
        "SAMLEncoding=urn%3Aoasis%3Anames%3Atc%3ASAML%3A2.0%3Abindings%3AURL-Encoding%3ADEFLATE";
    let named = format!("{signed}&{encoding}");
    assert_eq!(rule(asked(Received::Redirect(&named))), None);

    // Four are there already.
    let more = |count| (0..count).map(|i| format!("&p{i}=")).collect::<String>();
    let many = format!("{signed}{}", more(28));
    assert_eq!(rule(asked(Received::Redirect(&many))), None);

    for (changed, expected) in [
        (format!("{signed}{}", more(29)), Rule::Parameter),
        (signed.replace("a%2fb+c", "a%2Fb+c"), Rule::Signature),
        (signed.replace("a%2fb+c", "a%2fb%20c"), Rule::Signature),
        (signed.replace("&RelayState=a%2fb+c", ""), Rule::Signature),
        (signed.replace("http%3a", "http%3A"), Rule::Signature),
        (signed.replace("SAMLRequest=", "SAMLRequest=A"), Rule::Base64),
        (format!("{signed}&RelayState=b"), Rule::Parameter),
        (format!("RelayState=b&{signed}"), Rule::Parameter),
        (format!("{signed}&{}", octets.split('&').next().unwrap()), Rule::Parameter),
        (format!("{signed}&Relay%53tate=b"), Rule::Parameter),
        (format!("{signed}&SAMLResponse=AAAA"), Rule::Parameter),
        (format!("{signed}&SAMLEncoding=other"), Rule::Deflate),
        (signed.replace("&Signature=", "&Signature=%0A"), Rule::Base64),
        (signed.replace("&Signature=", "&Signature=%zz"), Rule::Encoding),
        (format!("{signed}%"), Rule::Encoding),
        (format!("{signed}%4"), Rule::Encoding),
        (signed.replace("&Signature=", "&Signature=%+1"), Rule::Encoding),
        (signed.replace("&Signature=", "&Signature=%ff"), Rule::Encoding),
        (signed.replace("SAMLRequest=", "Request="), Rule::Missing),
        (String::new(), Rule::Missing),
        ("&".repeat(2 << 20), Rule::Size),
    ] {
        let found = rule(asked(Received::Redirect(&changed)));
        assert_eq!(found, Some(expected), "{}", &changed[..changed.len().min(60)]);
    }
}

#[test]
fn s14_every_rule_of_a_logout_request_is_kept() {
    for (from, to, expected) in [
        (r#"Version="2.0""#, r#"Version="1.1""#, Rule::Version),
        ("https://idp.acme.example/", "https://idp.other.example/", Rule::Issuer),
        (
            r#"<saml:Issuer xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">https://idp.acme.example/</saml:Issuer>"#,
            "",
            Rule::Missing,
        ),
        ("partywall.example/saml/slo", "partywall.example/saml/acs", Rule::Destination),
        (r#" Destination="https://acme.partywall.example/saml/slo""#, "", Rule::Missing),
        ("12:00:00Z", "11:54:00Z", Rule::IssueInstant),
        ("12:00:00Z", "12:01:01Z", Rule::IssueInstant),
        ("12:03:00Z", "11:59:00Z", Rule::NotOnOrAfter),
        ("12:03:00Z", "soon", Rule::Time),
        (">alice<", "><", Rule::NameId),
        (">alice<", r#" SPNameQualifier="https://other.example">alice<"#, Rule::NameId),
        ("saml:NameID", "saml:EncryptedID", Rule::Unexpected),
        (
            "<samlp:SessionIndex>_s</samlp:SessionIndex>",
            "<samlp:SessionIndex></samlp:SessionIndex>",
            Rule::Missing,
        ),
        ("<samlp:SessionIndex>_s<", "<samlp:SessionIndex><a></a>_s<", Rule::Unexpected),
        ("samlp:LogoutRequest", "samlp:LogoutResponse", Rule::Root),
        ("samlp:LogoutRequest", "samlp:AuthnRequest", Rule::Root),
        ("SAML:2.0:protocol", "SAML:1.1:protocol", Rule::Root),
    ] {
        assert!(REQUEST.contains(from), "{from}");
        let request = REQUEST.replace(from, to);
        let redirect =
            Redirecting { parameter: "SAMLRequest", ..Redirecting::new(&unsigned(&request)) };
        let redirect = rule(asked(Received::Redirect(&redirect.by(&ACME))));
        assert_eq!(redirect, Some(expected), "{from} -> {to}");
        let posted = ACME.sign(&request);
        let posted = rule(asked(Received::Post(posted.as_bytes())));
        assert_eq!(posted, Some(expected), "{from} -> {to}");
    }
}

#[test]
fn s14_every_rule_of_a_logout_response_is_kept() {
    for (from, to, expected) in [
        (r#"InResponseTo="_request""#, r#"InResponseTo="_other""#, Rule::InResponseTo),
        (r#" InResponseTo="_request""#, "", Rule::Missing),
        ("https://idp.acme.example/", "https://idp.other.example/", Rule::Issuer),
        ("partywall.example/saml/slo", "partywall.example/saml/acs", Rule::Destination),
        ("12:00:00Z", "11:54:00Z", Rule::IssueInstant),
        ("samlp:Status>", "samlp:Other>", Rule::Unexpected),
        ("samlp:LogoutResponse", "samlp:LogoutRequest", Rule::Root),
    ] {
        assert!(RESPONSE.contains(from), "{from}");
        let response = RESPONSE.replace(from, to);
        let redirect =
            Redirecting { parameter: "SAMLResponse", ..Redirecting::new(&unsigned(&response)) };
        let redirect = rule(answered(Received::Redirect(&redirect.by(&ACME))));
        assert_eq!(redirect, Some(expected), "{from} -> {to}");
        let posted = rule(answered(Received::Post(ACME.sign(&response).as_bytes())));
        assert_eq!(posted, Some(expected), "{from} -> {to}");
    }
    // A request is no answer, nor the other way round, and an assertion is neither.
    let request = ACME.sign(REQUEST);
    assert_eq!(rule(answered(Received::Post(request.as_bytes()))), Some(Rule::Root));
    let response = ACME.sign(RESPONSE);
    assert_eq!(rule(asked(Received::Post(response.as_bytes()))), Some(Rule::Root));
    assert!(ACME.connection().verify(response.as_bytes(), &crate::support::expected()).is_err());
}

#[test]
fn s03_a_signature_elsewhere_does_not_cover_the_message() {
    let signed = ACME.sign(REQUEST);
    let wrapped = unsigned(REQUEST).replace("_l", "_x").replace("alice", "mallory").replace(
        "</samlp:LogoutRequest>",
        &format!("<samlp:Extensions>{signed}</samlp:Extensions></samlp:LogoutRequest>"),
    );
    let naive = crate::naive::believes(&wrapped, &[&ACME.certificate]);
    assert!(naive.contains("mallory"), "{naive:?}");
    assert_eq!(rule(asked(Received::Post(wrapped.as_bytes()))), Some(Rule::SignaturePlace));
    // A good signature of another element, moved to where one is looked for.
    let signature = ACME.signature(REQUEST, &Signing::default());
    let moved = REQUEST.replace("{signature}", &signature).replace("\"_l\"", "\"_x\"").replace(
        "</samlp:LogoutRequest>",
        &format!(
            "<samlp:Extensions>{}</samlp:Extensions></samlp:LogoutRequest>",
            unsigned(REQUEST)
        ),
    );
    assert_eq!(rule(asked(Received::Post(moved.as_bytes()))), Some(Rule::Reference));
}

#[test]
fn s13_a_bomb_is_refused_and_only_looked_into_if_it_is_signed() {
    let bomb = deflated(&vec![b' '; 16 << 20]);
    let message = Redirecting { message: bomb, ..Redirecting::new("") };
    assert!(message.octets().len() < 1 << 20);
    let by_other = rule(asked(Received::Redirect(&message.by(&OTHER))));
    assert_eq!(by_other, Some(Rule::Signature));
    assert_eq!(rule(asked(Received::Redirect(&message.by(&ACME)))), Some(Rule::Size));
    let rubbish = Redirecting { message: b"\xffrubbish".to_vec(), ..Redirecting::new("") };
    assert_eq!(rule(asked(Received::Redirect(&rubbish.by(&ACME)))), Some(Rule::Deflate));
}

/// What we send is taken by another one of our kind, in the other's place.
#[test]
fn s14_our_own_messages_are_taken_where_they_are_sent_to() {
    let mut name_id = NameId::new("alice & bob");
    name_id.format = Some("urn:oasis:names:tc:SAML:2.0:nameid-format:persistent".to_owned());
    name_id.sp_name_qualifier = Some(IDP.to_owned());
    for signer in [rsa(), p256()] {
        let there = Connection::new(Settings {
            sp_entity_id: IDP.to_owned(),
            acs_url: ACS.to_owned(),
            idp_entity_id: SP.to_owned(),
            certificates: vec![certificate(&signer)],
            ..ACME.settings()
        })
        .unwrap();
        let expected = ExpectedLogout { slo_url: "https://idp.acme.example/slo?a=b", now: now() };
        let request = LogoutRequest {
            id: "_ours",
            issue_instant: now(),
            destination: expected.slo_url,
            issuer: SP,
            name_id: &name_id,
            session_index: Some("_s"),
        };
        let url = request.redirect(Some("a b&c=d"), &signer).unwrap();
        assert_eq!(parameters(&url)["RelayState"], "a b&c=d");
        let (_, query) = url.split_once('?').unwrap();
        let posted = Base64::decode_vec(&request.post(&signer).unwrap()).unwrap();
        for received in [Received::Redirect(query), Received::Post(&posted)] {
            let taken = there.verify_logout_request(&received, &expected).unwrap();
            assert_eq!(taken.id(), "_ours");
            assert_eq!(*taken.name_id(), name_id);
            assert_eq!(taken.session_indexes(), ["_s"]);
        }
        if let Some(verdict) = crate::support::xmlsec1(
            std::str::from_utf8(&posted).unwrap(),
            "LogoutRequest",
            certificate(&signer).der(),
        ) {
            assert!(verdict);
        }

        for (status, complete) in [(LogoutStatus::Success, true), (LogoutStatus::Failed, false)] {
            let response = LogoutResponse {
                id: "_answer",
                issue_instant: now(),
                destination: expected.slo_url,
                issuer: SP,
                in_response_to: "_theirs",
                status,
            };
            let url = response.redirect(None, &signer).unwrap();
            let (_, query) = url.split_once('?').unwrap();
            let posted = Base64::decode_vec(&response.post(&signer).unwrap()).unwrap();
            for received in [Received::Redirect(query), Received::Post(&posted)] {
                let taken = there.verify_logout_response(&received, &expected, "_theirs").unwrap();
                assert_eq!(taken.is_complete(), complete);
            }
        }
    }
}

/// Signed by us for a sign-in, and brought back as if it ended one.
#[test]
fn s14_a_sign_in_request_is_no_logout() {
    let signer = rsa();
    let request = AuthnRequest {
        id: "_r",
        issue_instant: now(),
        destination: SLO,
        issuer: IDP,
        acs_url: ACS,
        force_authn: false,
        name_id_format: None,
    };
    let mut settings = ACME.settings();
    settings.certificates = vec![certificate(&signer)];
    let connection = Connection::new(settings).unwrap();
    let url = request.redirect(None, Some(&signer)).unwrap();
    assert!(inflated(&parameters(&url)["SAMLRequest"]).contains("AuthnRequest"));
    let (_, query) = url.split_once('?').unwrap();
    let verdict = connection.verify_logout_request(&Received::Redirect(query), &expected());
    assert_eq!(rule(verdict), Some(Rule::Root));
}
