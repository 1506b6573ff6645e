//! S-02, S-06: what is XML and what is a message.

use std::time::Instant;

use partywall_saml::Rule;

use crate::support::{ACME, ASSERTION, RESPONSE, around, rule, unsigned};

#[test]
fn s06_only_plain_xml_is_read() {
    let response = around(&ACME.sign(ASSERTION));
    for (text, expected) in [
        (format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{response}\n"), None),
        (format!("<!-- before -->{response}<!-- after -->"), None),
        // Between elements a comment changes nothing that is signed.
        (response.replace("<saml:Subject>", "<saml:Subject><!-- -->"), None),
        (response.replace(">alice<", ">al<!-- -->ice<"), Some(Rule::Comment)),
        (response.replace(">alice<", "><!-- -->alice<"), Some(Rule::Comment)),
        (response.replace(">alice<", "><![CDATA[alice]]><"), Some(Rule::Cdata)),
        (format!("<!DOCTYPE a [<!ENTITY e \"x\">]>{response}"), Some(Rule::Doctype)),
        (response.replace(">alice<", ">&e;<"), Some(Rule::WellFormed)),
        (format!("{response}{response}"), Some(Rule::WellFormed)),
        (format!("{response}x"), Some(Rule::WellFormed)),
        (response.replace("</samlp:Response>", ""), Some(Rule::WellFormed)),
        (response.replace("<samlp:Status>", "<samlp:Status x:a=\"\">"), Some(Rule::WellFormed)),
        (
            response.replace("<samlp:Status>", "<samlp:Status a=\"\" a=\"\">"),
            Some(Rule::WellFormed),
        ),
        (response.replace("<samlp:Status>", "<samlp:Status>&#0;"), Some(Rule::WellFormed)),
        (String::new(), Some(Rule::WellFormed)),
        ("<a/>".to_owned(), Some(Rule::Root)),
    ] {
        assert_eq!(rule(&text), expected, "{text}");
    }
}

#[test]
fn s06_character_references_are_the_characters_they_stand_for() {
    let response = around(&ACME.sign(ASSERTION));
    assert_eq!(rule(&response.replace(">alice<", ">&#97;lic&#x65;<")), None);
    assert_eq!(rule(&response.replace(">alice<", ">&#98;lice<")), Some(Rule::Digest));
}

#[test]
fn s03_ids_are_plain_and_unique_however_they_are_spelled() {
    let response = around(&ACME.sign(ASSERTION));
    for attribute in [
        "ID=\"_r\"",
        "Id=\"_a\"",
        "id=\"_a\"",
        "xml:id=\"_a\"",
        "ID=\"\"",
        "ID=\"a b\"",
        "ID=\"-a\"",
        "ID=\"element(/1/3)\"",
        "samlp:ID=\"_x\"",
    ] {
        let twice = response.replace("<samlp:Status>", &format!("<samlp:Status {attribute}>"));
        assert_eq!(rule(&twice), Some(Rule::UniqueId), "{attribute}");
    }
    for id in ["_x", "28338c8c-39ab-4b94-bcdc-46f68f99d962"] {
        let other = response.replace("<samlp:Status>", &format!("<samlp:Status ID=\"{id}\">"));
        assert_eq!(rule(&other), None, "{id}");
    }
}

#[test]
fn s02_there_is_one_assertion() {
    let response = around(&ACME.sign(ASSERTION));
    assert_eq!(rule(&response), None);
    assert_eq!(rule(&around("")), Some(Rule::OneAssertion));
    let second = unsigned(ASSERTION).replace("\"_a\"", "\"_b\"");
    let encrypted = r#"<saml:EncryptedAssertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion"></saml:EncryptedAssertion>"#;
    for more in [second.as_str(), encrypted] {
        let two = RESPONSE.replace("{assertion}", &format!("{}{more}", ACME.sign(ASSERTION)));
        assert_eq!(rule(&ACME.sign(&two.replacen("{signature}", "", 1))), Some(Rule::OneAssertion));
    }
    assert_eq!(rule(&around(encrypted)), Some(Rule::Encrypted));
}

/// Nobody's time is taken by what nobody signed. Unoptimised, and on a busy machine.
#[test]
fn s06_hostile_messages_are_refused_quickly() {
    let response = around(&ACME.sign(ASSERTION));
    let inside = |content: &str| {
        response.replace(
            "<samlp:Status>",
            &format!("<samlp:Extensions>{content}</samlp:Extensions><samlp:Status>"),
        )
    };
    let room = 250_000 - response.len();
    let fill = |part: &str| inside(&part.repeat(room / part.len()));
    let long = "u:".to_owned() + &"x".repeat(100_000);
    let namespaces: String = (0..60).map(|i| format!(" xmlns:n{i}=\"u:{i}\"")).collect();
    let attributes: String = (0..60).map(|i| format!(" a{i}=\"\"")).collect();
    for (name, text) in [
        ("deep", inside(&"<a>".repeat(60_000))),
        ("wide", fill("<a/>")),
        ("text", fill("x&amp;")),
        ("comments", fill("<!---->")),
        ("ids", inside(&(0..9_000).map(|i| format!("<a ID=\"i{i}\"/>")).collect::<String>())),
        ("attributes", fill(&format!("<a{attributes}/>"))),
        (
            "namespaces",
            inside(&format!("<a{namespaces}>{}</a>", "<n9:b n1:c='' n2:c=''/>".repeat(9_000))),
        ),
        ("quotes", fill("<a b='\"'/>")),
        ("open", fill("<a b='")),
        ("amplified", inside(&format!("<a xmlns:b=\"{long}\">{}</a>", "<b:c/>".repeat(15_000)))),
    ] {
        let start = Instant::now();
        // What is not signed may stay in the unsigned part of a response: the verdict is not the point.
        let verdict = rule(&text);
        let taken = start.elapsed();
        assert!(taken.as_millis() < 2_000, "{name}: {taken:?} {verdict:?}");
    }
    // The same within what is digested.
    let within =
        |content: &str| response.replace("<saml:Subject>", &format!("{content}<saml:Subject>"));
    let amplified = within(&format!("<a xmlns:b=\"{long}\">{}</a>", "<b:c/>".repeat(15_000)));
    let start = Instant::now();
    assert_eq!(rule(&amplified), Some(Rule::Size));
    assert!(start.elapsed().as_millis() < 2_000);
}
