//! `partywall.toml`: what it may say, and everything that can be wrong with it.
//!
//! One file per section. A section takes its keys out of the document, checks them, and leaves in
//! [`Reading`] what later sections refer to; so each fault is found where it is written, and a
//! fault in one place does not hide those in another.

use std::{
    collections::BTreeMap,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use partywall::{DeploymentModel, token::IssuerConfig};
use serde::Serialize;
use toml::Spanned;

pub(crate) use document::Finding;
pub(crate) use prove::{Acting, Application, Interface, Prove};
pub(crate) use server::{Database, Mail, Server};
pub(crate) use service::{BundlePlace, Service};
pub(crate) use stores::{Store, Stores};
pub(crate) use tiers::Tiers;
pub(crate) use values::{Lasting, SecretRef};

use crate::terminal::Terminal;
use document::{Findings, Section};

mod document;
mod issuers;
pub(crate) mod open;
mod prove;
mod server;
mod service;
mod stores;
mod tiers;
mod urls;
mod values;

/// A configuration that holds together. Serialising it shows what was understood, defaults
/// included; it holds no secret, only where they are.
#[derive(Debug, Serialize)]
pub(crate) struct Config {
    /// The control plane and identity provider, if this machine runs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server: Option<Server>,
    /// The application's service, if this machine runs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) service: Option<Service>,
    /// Where data can live.
    pub(crate) stores: Stores,
    /// Where the data of a tenant is placed, by what the tenant pays for.
    pub(crate) tiers: Tiers,
    /// Whose tokens are accepted.
    pub(crate) issuers: Vec<IssuerConfig>,
    /// What `partywall prove` attacks, and as whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prove: Option<Prove>,
}

/// Whether secrets are looked for where the configuration says they are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Secrets {
    /// Each must be there, and its file be its owner's alone.
    MustExist,
    /// Nobody looks: the configuration is for another machine.
    NotLookedAt,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {source}: name the configuration with --config", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    /// The file is not text.
    #[error("{}:{line}: not UTF-8; save the file as UTF-8", path.display())]
    NotUtf8 { path: PathBuf, line: usize },
    /// The file says things that do not hold together.
    #[error("{}", lines(path, findings))]
    Findings { path: PathBuf, findings: Vec<Finding> },
}

impl Config {
    /// Reads and checks the file. Relative paths in it count from its own folder.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Findings`] names everything that is wrong, not the first thing only.
    pub(crate) fn load(path: &Path, secrets: Secrets) -> Result<Self, ConfigError> {
        let bytes = fs::read(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let good = error.utf8_error().valid_up_to();
            let line =
                error.as_bytes().iter().take(good).filter(|byte| **byte == b'\n').count() + 1;
            ConfigError::NotUtf8 { path: path.to_owned(), line }
        })?;
        let base = path.parent().unwrap_or(Path::new(""));
        Self::parse(&text, base, secrets)
            .map_err(|findings| ConfigError::Findings { path: path.to_owned(), findings })
    }

    /// The audience that issuers without one of their own share.
    pub(crate) fn audience(&self) -> &[String] {
        audience_of(self.service.as_ref(), self.server.as_ref())
    }

    fn parse(text: &str, base: &Path, secrets: Secrets) -> Result<Self, Vec<Finding>> {
        let findings = Findings::in_text(text);
        let mut reading = Reading::new(base, secrets);
        let mut root = findings.parse();
        let service = root.section("service", "[service]");
        let server = root.section("server", "[server]");
        let stores = root.section("stores", "[stores.main]");
        let tiers = root.section("tiers", "[tiers.free]");
        let (has_server, has_service) = (server.is_some(), service.is_some());
        let server = server.and_then(|section| Server::read(section, &mut reading));
        let service = service.and_then(|section| Service::read(section, &mut reading));
        let stores = stores.map(|section| Stores::read(section, &mut reading)).unwrap_or_default();
        let tiers = tiers.map(|section| Tiers::read(section, &reading)).unwrap_or_default();
        let whole = server.is_some() == has_server && service.is_some() == has_service;
        let audience = match whole {
            // A section that could not be read is not blamed again for what it did not say.
            false => vec![String::from("unread")],
            true => audience_of(service.as_ref(), server.as_ref()).to_vec(),
        };
        let issuers = issuers::read(&mut root, &reading, &audience);
        let prove = root.section("prove", "[prove]");
        let has_prove = prove.is_some();
        let prove = prove.and_then(|section| Prove::read(section, &reading, has_server));
        let whole = whole && prove.is_some() == has_prove;
        root.finish();
        let found = findings.into_sorted();
        if found.is_empty() && whole {
            Ok(Self { server, service, stores, tiers, issuers, prove })
        } else {
            Err(found)
        }
    }
}

fn audience_of<'c>(service: Option<&'c Service>, server: Option<&'c Server>) -> &'c [String] {
    match (service, server) {
        (Some(service), _) => &service.audience,
        (None, Some(server)) => &server.audience,
        (None, None) => &[],
    }
}

/// What the sections read so far tell those to come.
pub(crate) struct Reading<'b> {
    base: &'b Path,
    secrets: Secrets,
    listeners: Vec<(SocketAddr, String)>,
    /// The models each target of each store can do. A target that could not be read can do all,
    /// so that one fault is not reported twice.
    targets: BTreeMap<String, BTreeMap<String, Vec<DeploymentModel>>>,
}

impl<'b> Reading<'b> {
    fn new(base: &'b Path, secrets: Secrets) -> Self {
        Self { base, secrets, listeners: Vec::new(), targets: BTreeMap::new() }
    }

    /// A path of the configuration, from where the process stands.
    fn path(&self, path: &str) -> PathBuf {
        self.base.join(path)
    }

    /// Takes a reference to a secret, and looks whether it is there.
    fn secret(&self, section: &mut Section<'_, '_>, key: &'static str) -> Option<SecretRef> {
        self.secret_at(section, key).map(Spanned::into_inner)
    }

    fn secret_at(
        &self,
        section: &mut Section<'_, '_>,
        key: &'static str,
    ) -> Option<Spanned<SecretRef>> {
        let secret = SecretRef::take(section, key, self.base)?;
        if self.secrets == Secrets::MustExist
            && let Err(fault) = secret.get_ref().look()
        {
            section.fault_at(&secret.span(), key, &fault, fault.fix());
        }
        Some(secret)
    }

    /// Takes the address to listen on, which nobody else may have.
    fn listener(
        &mut self,
        section: &mut Section<'_, '_>,
        key: &'static str,
        example: &str,
    ) -> Option<SocketAddr> {
        if !section.has(key) {
            section.missing(key, example);
        }
        self.optional_listener(section, key, example)
    }

    fn optional_listener(
        &mut self,
        section: &mut Section<'_, '_>,
        key: &'static str,
        example: &str,
    ) -> Option<SocketAddr> {
        let address = section.optional::<SocketAddr>(key, example)?;
        let taken = self.listeners.iter().find(|(other, _)| clash(*other, *address.get_ref()));
        if let Some((_, other)) = taken {
            let what = format!("the same address as {other}");
            section.fault_at(&address.span(), key, what, "give each listener a port of its own");
        }
        self.listeners.push((*address.get_ref(), section.path_of(key)));
        Some(address.into_inner())
    }
}

/// Whether both cannot be listened on at once. Port 0 asks for any free one.
fn clash(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port()
        && a.port() != 0
        && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}

impl ConfigError {
    /// Says what is wrong, each finding on a line an editor can jump from.
    pub(crate) fn tell(&self, terminal: &Terminal) {
        match self {
            Self::Findings { path, findings } => {
                findings.iter().for_each(|finding| terminal.hint(finding.in_file(path)));
                terminal.complain(format_args!("{} cannot be used", path.display()));
            }
            other => terminal.complain(other),
        }
    }
}

fn lines(path: &Path, findings: &[Finding]) -> String {
    let lines: Vec<String> =
        findings.iter().map(|finding| finding.in_file(path).to_string()).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../example.toml");

    fn parse(text: &str) -> Result<Config, Vec<Finding>> {
        Config::parse(text, Path::new(""), Secrets::NotLookedAt)
    }

    /// Whatever is wrong, there is a finding, and it is at a place that is there.
    fn check_findings(text: &str) {
        let Err(findings) = parse(text) else { return };
        assert!(!findings.is_empty(), "refused without a finding: {text}");
        for finding in findings {
            let lines: Vec<&str> = text.split('\n').collect();
            let line = lines.get(finding.line - 1).map_or(0, |line| line.chars().count());
            assert!(finding.line <= lines.len() && finding.column <= line + 1, "{finding:?}");
            assert!(!finding.what.is_empty() && !finding.fix.is_empty(), "{finding:?}");
        }
    }

    #[test]
    fn every_beginning_of_a_file_is_read_or_refused_in_its_place() {
        for end in (0..EXAMPLE.len()).filter(|end| EXAMPLE.is_char_boundary(*end)).step_by(3) {
            check_findings(&EXAMPLE[..end]);
        }
    }

    #[test]
    fn every_value_may_be_anything() {
        let lines: Vec<&str> = EXAMPLE.lines().collect();
        for at in 0..lines.len() {
            let Some((key, _)) = lines[at].split_once(" = ") else { continue };
            for value in
                ["", "1", "-1", "1.5", "true", "\"\"", "\"é\"", "[]", "{}", "[{}]", "2026-01-01"]
            {
                let changed = format!("{key} = {value}");
                let mut changed_lines = lines.clone();
                changed_lines[at] = &changed;
                check_findings(&changed_lines.join("\n"));
            }
            let mut without = lines.clone();
            without.remove(at);
            check_findings(&without.join("\n"));
        }
    }

    #[test]
    fn listeners_clash_where_both_cannot_listen() {
        let clash = |a: &str, b: &str| super::clash(a.parse().unwrap(), b.parse().unwrap());
        assert!(clash("127.0.0.1:80", "127.0.0.1:80"));
        assert!(clash("0.0.0.0:80", "127.0.0.1:80"));
        assert!(clash("127.0.0.1:80", "[::]:80"));
        assert!(!clash("127.0.0.1:80", "127.0.0.1:81"));
        assert!(!clash("127.0.0.1:80", "127.0.0.2:80"));
        assert!(!clash("127.0.0.1:0", "127.0.0.1:0"));
    }
}
