//! Libraries that are not ours, on both sides: they sign and we verify, we attack and they verify,
//! we ask and they read. At the time of the tests' messages, by `faketime`.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64ct::{Base64, Encoding};
use partywall_saml::{AuthnRequest, Certificate, Connection, SpMetadata};
use serde_json::{Value, json};

use crate::request::{certificate, parameters, rsa};
use crate::support::{ACME, ACS, ASSERTION, IDP, RESPONSE, SP, around, expected, now};
use crate::wrapping::attacks;

const SSO: &str = "https://idp.acme.example/sso";

#[test]
fn s01_what_pysaml2_and_signxml_sign_is_believed() {
    let judged = json!({ "response": RESPONSE, "assertion": ASSERTION });
    let Some(answer) = python("produce", judged) else { return };
    let responses = answer["responses"].as_object().unwrap();
    assert_eq!(responses.len(), 5);
    for (name, response) in responses {
        let library = name.split(',').next().unwrap();
        let certificate = answer["certificates"][library].as_str().unwrap();
        believed(name, response.as_str().unwrap(), Certificate::from_text(certificate).unwrap());
    }
}

#[test]
fn s01_what_samlp_signs_is_believed() {
    let judged = json!({ "key": Base64::encode_string(&ACME.private_key()) });
    let Some(answer) = node("produce", judged) else { return };
    let responses = answer["responses"].as_object().unwrap();
    assert_eq!(responses.len(), 4);
    for (name, response) in responses {
        believed(name, response.as_str().unwrap(), ACME.trusted());
    }
}

fn believed(name: &str, response: &str, certificate: Certificate) {
    let mut settings = ACME.settings();
    settings.certificates = vec![certificate];
    let connection = Connection::new(settings).unwrap();
    let verdict = connection.verify(response.as_bytes(), &expected());
    let who = verdict.map(|assertion| assertion.name_id().value.clone());
    assert_eq!(who.as_deref(), Ok("alice"), "{name}: {response}");
    let changed = response.replace("alice", "mallory");
    assert!(connection.verify(changed.as_bytes(), &expected()).is_err(), "{name}");
}

/// No gate: what others do is theirs. That each believes a good response is, or else they would
/// refuse the attacks for nothing.
#[test]
fn s01_others_judge_the_attacks() {
    let attacks = attacks();
    let mut responses: BTreeMap<_, _> =
        attacks.iter().map(|attack| (attack.name, attack.response.clone())).collect();
    responses.insert("good", around(&ACME.sign(ASSERTION)));
    let judged = json!({ "responses": responses });
    let (Some(python), Some(node)) = (python("consume", judged.clone()), node("consume", judged))
    else {
        return;
    };
    let libraries = ["pysaml2", "signxml", "node-saml"];
    let said = |library: &str, name: &str| {
        let verdicts = python.get(library).or(node.get(library)).unwrap();
        verdicts[name].as_str().map(str::to_owned)
    };
    for library in libraries {
        assert_eq!(said(library, "good").as_deref(), Some("alice"), "{library}");
        let fell: Vec<_> = attacks
            .iter()
            .filter(|attack| said(library, attack.name).as_deref() == Some("mallory"))
            .map(|attack| attack.name)
            .collect();
        println!(
            "{library} takes {} of {} attacks: {}",
            fell.len(),
            attacks.len(),
            fell.join(", ")
        );
    }
}

#[test]
fn s14_what_we_send_is_read_by_pysaml2_and_samlp() {
    let signer = rsa();
    let certificate = certificate(&signer);
    let request = AuthnRequest {
        id: "_request",
        issue_instant: now(),
        destination: SSO,
        issuer: SP,
        acs_url: ACS,
        force_authn: true,
        name_id_format: Some("urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"),
    };
    let metadata = SpMetadata {
        entity_id: SP,
        acs_url: ACS,
        slo_url: None,
        signing: std::slice::from_ref(&certificate),
        encryption: &[],
        name_id_formats: &[],
    };
    let post = request.post(Some(&signer)).unwrap();
    let xml = String::from_utf8(Base64::decode_vec(&post).unwrap()).unwrap();
    let broken = xml.replace("ForceAuthn=\"true\"", "ForceAuthn=\"false\"");
    assert_ne!(xml, broken);
    let der = metadata.xml();
    let (_, der) = der.split_once("X509Certificate>").unwrap();
    let judged = json!({
        "metadata": metadata.xml(),
        "certificate": der.split_once('<').unwrap().0,
        "post": post,
        "broken": Base64::encode_string(broken.as_bytes()),
        "redirect": parameters(&request.redirect(Some("state"), Some(&signer)).unwrap()),
    });
    let (Some(python), Some(node)) = (python("read", judged.clone()), node("read", judged)) else {
        return;
    };
    assert_eq!(
        python,
        json!({
            "acs": ACS, "post": ["_request", SP], "redirect": ["_request", SP],
            "broken": "refused",
        })
    );
    assert_eq!(
        node,
        json!({
            "post": ["_request", SP, ACS], "redirect": ["_request", SP, ACS],
            "broken": "refused", "broken redirect": "refused",
        })
    );
}

fn python(task: &str, judged: Value) -> Option<Value> {
    let venv = cache().join("venv");
    if !has(&venv.join("bin/python"), "saml2") {
        return missing("PyPI's SAML libraries are");
    }
    let mut python = Command::new("faketime");
    python.args(["-m", "-f", FAKED]).arg(venv.join("bin/python"));
    python.arg("-B").arg(scripts("python").join("saml.py")).arg(task);
    run(python, judged)
}

fn has(python: &Path, module: &str) -> bool {
    let import = Command::new(python).args(["-c", &format!("import {module}")]).output();
    import.is_ok_and(|output| output.status.success())
}

fn node(task: &str, judged: Value) -> Option<Value> {
    let modules = cache().join("node/node_modules");
    if !modules.join("samlp").exists() {
        return missing("npm's SAML libraries are");
    }
    // A module is looked for beside and above the script that names it.
    let here = env::temp_dir().join(format!("partywall-saml-{task}-{}", std::process::id()));
    fs::create_dir_all(&here).unwrap();
    std::os::unix::fs::symlink(&modules, here.join("node_modules")).unwrap();
    fs::copy(scripts("node").join("saml.mjs"), here.join("saml.mjs")).unwrap();
    let mut node = Command::new("faketime");
    node.args(["-m", "-f", FAKED, "node"]).arg(here.join("saml.mjs")).arg(task);
    let answer = run(node, judged);
    fs::remove_dir_all(&here).unwrap();
    answer
}

/// [`now`], from where time goes on.
const FAKED: &str = "@2026-11-25 12:00:00";

/// Runs one script to its end, with what everybody needs to know.
fn run(mut command: Command, mut judged: Value) -> Option<Value> {
    if Command::new("faketime").arg("--help").output().is_err() {
        return missing("faketime is");
    }
    let certificates = json!([Base64::encode_string(&ACME.certificate)]);
    judged.as_object_mut().unwrap().extend([
        ("sp".to_owned(), SP.into()),
        ("acs".to_owned(), ACS.into()),
        ("idp".to_owned(), IDP.into()),
        ("sso".to_owned(), SSO.into()),
        ("certificates".to_owned(), certificates),
    ]);
    let mut child = command
        .env("TZ", "UTC")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(judged.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

fn missing<T>(what: &str) -> Option<T> {
    assert!(env::var_os("CI").is_none(), "{what} not here: run scripts/install");
    eprintln!("SKIPPED: {what} not here; scripts/install brings them");
    None
}

fn cache() -> PathBuf {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    cache.unwrap_or_default().join("partywall")
}

fn scripts(of: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/judges").join(of)
}
