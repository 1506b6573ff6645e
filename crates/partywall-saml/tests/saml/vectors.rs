//! Responses of other projects' test suites, each with the verdict it must have.
//!
//! They are read from `shared/vectors` beside the workspace, and skipped, saying so, without it.
//! Every response is judged by a connection that agrees with it as far as it can: its own issuer,
//! audience, destination, request, time and certificate. What refuses it is then the message
//! itself, or a signature older than is taken. `vectors.tsv` has the verdicts: `accept` with the
//! name, the code of the rule, or `certificate` where the key is none a connection can have.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use base64ct::{Base64, Encoding};
use partywall_saml::{Certificate, Connection, DecryptionKey, Expected, Settings};
use roxmltree::{Document, Node, ParsingOptions};

use crate::support::{DS, OTHER};

const VERDICTS: &str = include_str!("vectors.tsv");

/// What only an upstream test knows of a response that is encrypted: who we are.
const ENCRYPTED_FOR: &[(&str, &str)] = &[
    (
        "gosaml2/providertests/testdata/oktaenc_response.b64",
        "https://saml.test.nope/session/sso/saml/spentityid/skv8dv26wh",
    ),
    (
        "gosaml2/providertests/testdata/pingfed/pfed11_response_05.b64",
        "https://saml.test.nope/session/sso/saml/spentityid/hp24dqnpvq",
    ),
    ("gosaml2/testdata/saml.post", "https://saml2.test.astuart.co/sso/saml2"),
];

#[test]
fn s01_others_responses_have_the_verdicts_they_must_have() {
    let Some(root) = vectors("saml") else { return };
    let manifest = fs::read_to_string(root.join("MANIFEST.tsv")).unwrap();
    let keys = keys(&root);
    let mut found = BTreeMap::new();
    for line in manifest.lines() {
        let columns: Vec<_> = line.split('\t').collect();
        let (path, encoding, kind) = (columns[0], columns[1], columns[2]);
        if matches!(encoding, "xml" | "b64" | "deflate+b64") {
            let bytes = decoded(&fs::read(root.join(path)).unwrap(), encoding);
            let us = ENCRYPTED_FOR.iter().find(|(encrypted, _)| *encrypted == path);
            let verdict = verdict(&bytes, us.map(|(_, us)| *us), &keys);
            // Whatever is accepted is a response, and xmlsec1 found its signature good.
            let fit = kind == "Response" && columns[6] == "OK";
            assert!(fit || !verdict.starts_with("accept"), "{path}: {verdict}");
            if kind == "Response" {
                found.insert(path.to_owned(), verdict);
            }
        }
    }
    assert_eq!(found.len(), 351);
    let written = |all: &BTreeMap<String, String>| {
        all.iter().map(|(path, verdict)| format!("{path}\t{verdict}\n")).collect::<String>()
    };
    let expected: BTreeMap<String, String> = VERDICTS
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(path, verdict)| (path.to_owned(), verdict.to_owned()))
        .collect();
    for (path, verdict) in &found {
        if expected.get(path) != Some(verdict) {
            eprintln!("{path}: {verdict}, not {:?}", expected.get(path));
        }
    }
    assert_eq!(written(&found), written(&expected));
}

/// Upstream writes the comment into this good response itself.
#[test]
fn b48_a_comment_in_anothers_good_response_is_refused() {
    let Some(root) = vectors("saml/crewjam-saml/testdata") else { return };
    let file = fs::read(root.join("TestSPRejectsInjectedComment_response")).unwrap();
    let good = String::from_utf8(decoded(&file, "b64")).unwrap();
    assert_eq!(verdict(good.as_bytes(), None, &[]), "accept ross@octolabs.io");
    let short = good.replace("ross@octolabs.io", "ross@<!-- and a comment -->octolabs.io");
    assert_eq!(verdict(short.as_bytes(), None, &[]), "comment");
}

pub(crate) fn vectors(path: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors").join(path);
    if root.exists() {
        return Some(root);
    }
    eprintln!("SKIPPED: no shared/vectors/{path} beside the workspace");
    None
}

fn decoded(file: &[u8], encoding: &str) -> Vec<u8> {
    if encoding == "xml" {
        return file.to_vec();
    }
    let text: String = file.iter().map(|b| char::from(*b)).filter(|c| !c.is_whitespace()).collect();
    let bytes = Base64::decode_vec(&text).unwrap_or_default();
    if encoding == "b64" {
        return bytes;
    }
    let mut inflated = Vec::new();
    flate2::read::DeflateDecoder::new(&bytes[..]).read_to_end(&mut inflated).unwrap();
    inflated
}

/// What a connection says that agrees with the response as far as it can.
fn verdict(response: &[u8], us: Option<&str>, keys: &[DecryptionKey]) -> String {
    let text = String::from_utf8_lossy(response);
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    let document = Document::parse_with_options(&text, options).ok();
    let root = document.as_ref().map(Document::root_element);
    let agreed = |what: Option<String>| {
        let what = what.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        what.unwrap_or_else(|| "urn:not-said".to_owned())
    };
    let certificate = match root.and_then(embedded) {
        Some(text) => match Certificate::from_text(&text) {
            Ok(certificate) => certificate,
            Err(_) => return "certificate".to_owned(),
        },
        None => OTHER.trusted(),
    };
    let request = root.and_then(|root| root.attribute("InResponseTo"));
    let mut settings = Settings {
        sp_entity_id: agreed(
            us.map(str::to_owned).or_else(|| root.and_then(|root| text_of(root, "Audience"))),
        ),
        acs_url: agreed(root.and_then(|root| {
            root.attribute("Destination").or(attribute_of(root, "Recipient")).map(str::to_owned)
        })),
        idp_entity_id: agreed(root.and_then(|root| text_of(root, "Issuer"))),
        certificates: vec![certificate],
        idp_initiated: request.is_none(),
        decryption_keys: Vec::new(),
        allow_cbc: true,
    };
    let now = root.and_then(|root| {
        root.descendants().filter_map(|n| instant(n.attribute("IssueInstant")?)).max()
    });
    let now = now.unwrap_or(SystemTime::UNIX_EPOCH);
    let expected = Expected { request_id: request, now };

    let judge =
        |settings: Settings| match Connection::new(settings).unwrap().verify(response, &expected) {
            Ok(assertion) => format!("accept {}", assertion.name_id().value),
            Err(refused) => refused.rule().code().to_owned(),
        };
    // Which key is meant only the upstream test knows.
    let mut verdict = judge(settings.clone());
    for key in keys {
        if !matches!(verdict.as_str(), "encrypted" | "decryption") {
            break;
        }
        settings.decryption_keys = vec![key.clone()];
        verdict = judge(settings.clone());
    }
    verdict
}

fn text_of(root: Node<'_, '_>, name: &str) -> Option<String> {
    let element = root.descendants().find(|n| n.tag_name().name() == name)?;
    element.text().map(str::to_owned)
}

fn attribute_of<'a>(root: Node<'a, 'a>, name: &str) -> Option<&'a str> {
    root.descendants().find_map(|n| n.attribute(name))
}

/// The certificate of the response's own signature, or of the assertion's.
fn embedded(root: Node<'_, '_>) -> Option<String> {
    let mut all = root.descendants().filter(|n| n.has_tag_name((DS, "X509Certificate")));
    let signed = all.find(|n| !n.ancestors().any(|a| a.tag_name().name() == "EncryptedKey"));
    signed.and_then(|n| n.text()).map(str::to_owned)
}

/// Seconds, and what is finer not at all.
fn instant(text: &str) -> Option<SystemTime> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    // Howard Hinnant's days_from_civil.
    let shifted = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = shifted * 365 + shifted / 4 - shifted / 100 + shifted / 400 + day_of_year;
    let seconds = ((days - 719_468) * 24 + hour) * 3600 + minute * 60 + second;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

/// Every private key the suites keep that a connection can have.
fn keys(root: &Path) -> Vec<DecryptionKey> {
    let mut keys = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                keys.extend(private_key(&text));
            }
        }
    }
    keys
}

/// PKCS#8, or PKCS#1 put into it.
fn private_key(text: &str) -> Option<DecryptionKey> {
    let (kind, rest) = text.split_once("-----BEGIN ")?.1.split_once("PRIVATE KEY-----")?;
    let body: String = rest.split_once("-----END")?.0.split_ascii_whitespace().collect();
    let mut der = Base64::decode_vec(&body).ok()?;
    if kind == "RSA " {
        der = crate::support::pkcs8(&der);
    }
    DecryptionKey::from_pkcs8(&der).ok()
}
