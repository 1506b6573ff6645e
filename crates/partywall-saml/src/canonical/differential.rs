//! The canonical form beside libxml2's, on documents nobody thought of.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::{env, fs};

use super::*;
use crate::xml::Message;

/// How many documents are compared; the nightly run sets more.
fn cases() -> usize {
    env::var("PARTYWALL_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(2_500)
}

/// `xmllint` writes the exclusive form of whole documents, with their comments: these have none.
#[test]
fn s01_xmllint_writes_whole_documents_the_same() {
    if Command::new("xmllint").arg("--version").stderr(Stdio::null()).status().is_err() {
        return missing("xmllint");
    }
    let folder = env::temp_dir().join(format!("partywall-c14n-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let mut random = Random(0x5a4d_4c01);
    let documents: Vec<_> =
        (0..cases()).map(|_| Writer::document(&mut random, false).text).collect();
    for (index, some) in documents.chunks(250).enumerate() {
        let mut files = Vec::new();
        for (number, text) in some.iter().enumerate() {
            let file = folder.join(format!("{index}-{number}.xml"));
            fs::write(&file, text).unwrap();
            files.push(file);
        }
        let theirs = |files: &[PathBuf]| {
            let mut xmllint = Command::new("xmllint");
            xmllint.args(["--nonet", "--exc-c14n"]).args(files).stderr(Stdio::null());
            String::from_utf8(xmllint.output().unwrap().stdout).unwrap()
        };
        let ours: Vec<_> = some.iter().map(|text| ours(text, None, &[])).collect();
        if theirs(&files) != ours.concat() {
            // Which one it was.
            for (file, (ours, text)) in files.iter().zip(ours.iter().zip(some)) {
                assert_eq!(theirs(std::slice::from_ref(file)), *ours, "{text}");
            }
            panic!("xmllint writes a batch otherwise than each of its documents");
        }
    }
    fs::remove_dir_all(&folder).unwrap();
}

/// lxml writes any element's, with a list of prefixes.
#[test]
fn s01_lxml_writes_any_element_the_same() {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache =
        cache.or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    let python = cache.unwrap_or_default().join("partywall/venv/bin/python");
    let has_lxml =
        || Command::new(&python).args(["-c", "import lxml"]).stderr(Stdio::null()).status();
    if !has_lxml().is_ok_and(|status| status.success()) {
        return missing("PyPI's lxml");
    }
    let mut random = Random(0x5a4d_4c02);
    let documents: Vec<_> = (0..cases()).map(|_| Writer::document(&mut random, true)).collect();
    let input: Vec<_> = documents
        .iter()
        .map(|document| format!("{}\0{}", document.text, document.listed.join(" ")))
        .collect();
    let mut lxml = Command::new(python)
        .args(["-B", "-c", LXML])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    lxml.stdin.take().unwrap().write_all(input.join("\0").as_bytes()).unwrap();
    let output = lxml.wait_with_output().unwrap();
    assert!(output.status.success());
    let theirs = String::from_utf8(output.stdout).unwrap();
    let theirs: Vec<_> = theirs.split('\0').collect();
    assert_eq!(theirs.len(), documents.len());
    for (document, theirs) in documents.iter().zip(theirs) {
        let ours = ours(&document.text, Some("x"), &document.listed);
        assert_eq!(ours, theirs, "{:?} of {}", document.listed, document.text);
    }
}

const LXML: &str = r#"
import sys
from lxml import etree
parts = sys.stdin.buffer.read().split(b"\0")
forms = []
for text, listed in zip(parts[::2], parts[1::2]):
    root = etree.fromstring(text, etree.XMLParser(resolve_entities=False, no_network=True))
    [apex] = root.xpath("//*[@ID='x']")
    forms.append(etree.tostring(apex, method="c14n", exclusive=True, with_comments=False,
                                inclusive_ns_prefixes=listed.decode().split()))
sys.stdout.buffer.write(b"\0".join(forms))
"#;

/// W3C's exclusive C14N interoperability example, by Merlin Hughes.
#[test]
fn s01_merlins_digest_is_ours() {
    let path = "../../../shared/vectors/xmldsig/xmlsec/tests/merlin-exc-c14n-one/exc-signature.xml";
    let Ok(text) = fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)) else {
        eprintln!("SKIPPED: no shared/vectors/xmldsig beside the workspace");
        return;
    };
    // A comment stands in a value there, which we refuse and this form leaves out.
    let (before, rest) = text.split_once("<!--").unwrap();
    let text = format!("{before}{}", rest.split_once("-->").unwrap().1);
    let message = Message::parse(text.as_bytes()).unwrap();
    let apex = |e: &Node<'_, '_>| xml::attribute(*e, "Id") == Some("to-be-signed");
    let apex = message.elements().find(apex).unwrap();
    let form = canonical(message.text(), apex, None, &Prefixes::default()).unwrap();
    let digest =
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, form.as_bytes());
    let digest = <base64ct::Base64 as base64ct::Encoding>::encode_string(digest.as_ref());
    assert_eq!(digest, "7yOTjUu+9oEhShgyIIXDLjQ08aY=");
}

fn ours(text: &str, id: Option<&str>, listed: &[&str]) -> String {
    let message =
        Message::parse(text.as_bytes()).unwrap_or_else(|refused| panic!("{refused}: {text}"));
    let apex = match id {
        Some(id) => message.elements().find(|e| xml::attribute(*e, "ID") == Some(id)).unwrap(),
        None => message.root(),
    };
    let prefixes = Prefixes(listed.iter().map(|p| (*p).to_owned()).collect());
    canonical(message.text(), apex, None, &prefixes).unwrap()
}

fn missing(what: &str) {
    assert!(env::var_os("CI").is_none(), "{what} is not here: run scripts/install");
    eprintln!("SKIPPED: {what} is not here; scripts/install brings it");
}

const PREFIXES: [&str; 5] = ["", "a", "b", "c", "xs"];
/// None that needs escaping: libxml2 writes `&` in a namespace as it is, against section 2.3.
const URIS: [&str; 5] = ["u:1", "u:2", "http://d.example/3", "urn:e:f", "u:4?x=%20#y"];
const NAMES: [&str; 6] = ["n", "o", "name", "p.q-r", "Überschrift", "_"];
const VALUES: [&str; 12] = [
    "",
    "plain",
    "&lt;&gt;&amp;",
    "&#9;&#10;&#13;",
    "\t \n",
    "\"",
    "'",
    "ä中😀",
    "]]&gt;",
    ">",
    "&quot;&apos;",
    "&#x1F600;\r\n",
];

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % u64::try_from(limit).unwrap()).unwrap()
    }

    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// Writes documents that any parser takes, and that say the same thing in many ways.
struct Writer<'r> {
    random: &'r mut Random,
    comments: bool,
    text: String,
    elements: usize,
    /// The element that is canonicalized.
    apex: usize,
}

struct Case {
    text: String,
    listed: Vec<&'static str>,
}

impl<'r> Writer<'r> {
    fn document(random: &'r mut Random, comments: bool) -> Case {
        let apex = random.below(4);
        let mut writer = Self { random, comments, text: String::new(), elements: 0, apex };
        writer.element(&[], 0);
        if writer.elements <= apex {
            // Too few of them: the root, then.
            let end = writer.text.find([' ', '\n', '\t', '>', '/']).unwrap();
            writer.text.insert_str(end, " ID=\"x\"");
        }
        let mut listed: Vec<_> = PREFIXES[1..].to_vec();
        listed.retain(|_| writer.random.once_in(3));
        Case { text: writer.text, listed }
    }

    /// One element, in scope of these declarations.
    fn element(&mut self, around: &[(&'static str, &'static str)], depth: usize) {
        let mut scope = around.to_vec();
        let mut declared = Vec::new();
        for prefix in PREFIXES {
            if self.random.once_in(3) {
                // XML Names 1.0 lets only the default be taken back.
                let uri = if prefix.is_empty() && self.random.once_in(3) {
                    ""
                } else {
                    self.random.of(&URIS)
                };
                declared.push((prefix, uri));
                scope.retain(|(p, _)| *p != prefix);
                scope.push((prefix, uri));
            }
        }
        let known: Vec<_> = scope.iter().map(|(p, _)| *p).filter(|p| !p.is_empty()).collect();
        let prefixed = |prefix: &str, name: &str| match prefix {
            "" => name.to_owned(),
            prefix => format!("{prefix}:{name}"),
        };
        let prefix =
            if known.is_empty() || self.random.once_in(3) { "" } else { self.random.of(&known) };
        let name = prefixed(prefix, self.random.of(&NAMES));

        let mut attributes: Vec<String> = declared
            .iter()
            .map(|(prefix, uri)| match *prefix {
                "" => format!("xmlns=\"{uri}\""),
                prefix => format!("xmlns:{prefix}='{uri}'"),
            })
            .collect();
        // What two prefixes of one namespace name is one attribute, and may not be there twice.
        let mut taken = Vec::new();
        for _ in 0..self.random.below(4) {
            let prefix = if known.is_empty() || self.random.once_in(2) {
                ""
            } else {
                self.random.of(&known)
            };
            let uri = scope.iter().find(|(p, _)| *p == prefix && !prefix.is_empty());
            let local = self.random.of(&NAMES);
            let key = (uri.map(|(_, uri)| *uri), local);
            if !taken.contains(&key) {
                taken.push(key);
                let value = self.random.of(&VALUES);
                let quote = if value.contains('"') { '\'' } else { '"' };
                attributes.push(format!("{}={quote}{value}{quote}", prefixed(prefix, local)));
            }
        }
        if self.random.once_in(6) {
            attributes.push("xml:lang=\"de\"".to_owned());
        }
        if self.elements == self.apex {
            attributes.push("ID=\"x\"".to_owned());
        }
        self.elements += 1;
        // In any order.
        for i in (1..attributes.len()).rev() {
            attributes.swap(i, self.random.below(i + 1));
        }

        self.text.push_str(&format!("<{name}"));
        for attribute in attributes {
            self.text.push_str(self.random.of(&[" ", "  ", "\n", "\t"]));
            self.text.push_str(&attribute);
        }
        let children = if depth > 5 { 0 } else { self.random.below(4) };
        if children == 0 && self.random.once_in(2) {
            self.text.push_str(self.random.of(&["/>", " />"]));
            return;
        }
        self.text.push_str(self.random.of(&[">", " >", "\n>"]));
        let says = self.random.once_in(2);
        for _ in 0..children {
            self.between(says, true);
            self.element(&scope, depth + 1);
        }
        self.between(says, children > 0);
        self.text.push_str(&format!("</{name}{}>", self.random.of(&["", " "])));
    }

    /// Text, or else white space and, between elements, comments.
    fn between(&mut self, says: bool, elements: bool) {
        if says {
            self.text.push_str(&self.random.of(&VALUES).replace('<', "&lt;"));
        } else if self.comments && elements && self.random.once_in(3) {
            self.text.push_str(" <!-- between - elements --> ");
        } else if self.random.once_in(3) {
            self.text.push_str(self.random.of(&[" ", "\n  ", "\r\n"]));
        }
    }
}
