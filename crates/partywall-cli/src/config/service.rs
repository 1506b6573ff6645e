//! `[service]`: the application, as the enforcement point it is.

use std::{net::SocketAddr, path::PathBuf};

use serde::Serialize;

use super::{Reading, document::Section, server::read_audience, urls};

/// What an enforcement point needs to know to decide alone.
#[derive(Debug, Serialize)]
pub(crate) struct Service {
    /// Where it listens.
    pub(crate) listen: SocketAddr,
    /// For whom a token must be to be accepted.
    pub(crate) audience: Vec<String>,
    /// Where the bundle comes from, and whose it must be.
    pub(crate) bundle: BundleFrom,
    /// Where the last good bundle is kept.
    pub(crate) state_dir: PathBuf,
}

/// Where the bundle comes from, and whose it must be.
#[derive(Debug, Serialize)]
pub(crate) struct BundleFrom {
    /// The file or the address.
    #[serde(flatten)]
    pub(crate) place: BundlePlace,
    /// The Ed25519 key it must be signed with, in hexadecimal.
    pub(crate) key: String,
}

/// The file or the address of the bundle.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BundlePlace {
    /// A file somebody else keeps up to date.
    File(PathBuf),
    /// An address to ask.
    Url(String),
}

impl Service {
    pub(super) fn read(mut section: Section<'_, '_>, reading: &mut Reading<'_>) -> Option<Self> {
        let listen = reading.listener(&mut section, "listen", r#"listen = "127.0.0.1:8081""#);
        let audience = read_audience(&mut section);
        let bundle = BundleFrom::read(&mut section, reading);
        let state_dir = section.required::<String>("state_dir", r#"state_dir = "state""#);
        section.finish();
        Some(Self {
            listen: listen?,
            audience: audience?.1,
            bundle: bundle?,
            state_dir: reading.path(state_dir?.get_ref()),
        })
    }
}

impl BundleFrom {
    fn read(section: &mut Section<'_, '_>, reading: &Reading<'_>) -> Option<Self> {
        const EXAMPLE: &str =
            r#"bundle = { url = "https://login.example.com/bundle", key = "<64 hex digits>" }"#;
        if !section.has("bundle") {
            section.missing("bundle", EXAMPLE);
        }
        let mut bundle = section.section("bundle", EXAMPLE)?;
        let file = bundle.optional::<String>("file", r#"file = "tenants.bundle""#);
        let url = bundle.optional::<String>("url", r#"url = "https://login.example.com/bundle""#);
        let place = match (file, url) {
            (Some(file), None) => Some(BundlePlace::File(reading.path(file.get_ref()))),
            (None, Some(url)) => {
                if let Err(fault) = urls::check_source(url.get_ref()) {
                    bundle.fault_at(&url.span(), "url", &fault, fault.fix());
                }
                Some(BundlePlace::Url(url.into_inner()))
            }
            _ => {
                bundle.fault("expected either `url` or `file`", format!("write `{EXAMPLE}`"));
                None
            }
        };
        let key = read_key(&mut bundle);
        bundle.finish();
        Some(Self { place: place?, key: key? })
    }
}

fn read_key(bundle: &mut Section<'_, '_>) -> Option<String> {
    const FIX: &str = "write the 64 hexadecimal digits of the control plane's bundle key";
    let key = bundle.required::<String>("key", r#"key = "<64 hex digits>""#)?;
    let (digits, text) = (key.get_ref().chars().count(), key.get_ref());
    if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        bundle.fault_at(&key.span(), "key", "not hexadecimal", FIX);
    } else if digits != 64 {
        let what = format!("{digits} digits are not the 64 of an Ed25519 key");
        bundle.fault_at(&key.span(), "key", what, FIX);
    }
    Some(key.into_inner())
}
