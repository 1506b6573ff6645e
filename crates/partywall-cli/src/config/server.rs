//! `[server]`: the control plane and identity provider.

use std::{net::SocketAddr, path::PathBuf};

use partywall::token::Algorithm;
use serde::Serialize;

use super::{Lasting, Reading, SecretRef, document::Section, urls, values::OneOrMore};

/// What `partywall serve` runs.
#[derive(Debug, Serialize)]
pub(crate) struct Server {
    /// Where it listens.
    pub(crate) listen: SocketAddr,
    /// Its public URL: the `iss` of its tokens.
    pub(crate) issuer: String,
    /// For whom its tokens may be (RFC 8707); the first is the default.
    pub(crate) audience: Vec<String>,
    /// Where it keeps its state.
    pub(crate) database: Database,
    /// Seals the private keys it keeps there.
    pub(crate) sealing_key: SecretRef,
    /// The algorithm of its tokens' signatures.
    pub(crate) algorithm: Algorithm,
    /// How long its tokens live.
    pub(crate) token_lifetime: Lasting,
    /// How long a signing key signs before the next one does.
    pub(crate) rotation: Lasting,
}

/// Where the control plane keeps its state.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Database {
    /// A file.
    Sqlite(PathBuf),
    /// A server, by a URL that has its password in it.
    Postgres(SecretRef),
}

const ALGORITHMS: [Algorithm; 3] = [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256];
const LONGEST_TOKEN: Lasting = Lasting::seconds(24 * 60 * 60);

impl Server {
    pub(super) fn read(mut section: Section<'_, '_>, reading: &mut Reading<'_>) -> Option<Self> {
        let listen = reading.listener(&mut section, "listen", r#"listen = "127.0.0.1:8080""#);
        let issuer = read_issuer(&mut section);
        let audience = read_audience(&mut section);
        let database = Database::read(&mut section, reading);
        let sealing_key = reading.secret(&mut section, "sealing_key");
        let algorithm = read_algorithm(&mut section);
        let token_lifetime = read_token_lifetime(&mut section);
        let rotation = read_rotation(&mut section, token_lifetime);
        section.finish();
        Some(Self {
            listen: listen?,
            issuer: issuer?,
            audience: audience?,
            database: database?,
            sealing_key: sealing_key?,
            algorithm,
            token_lifetime,
            rotation,
        })
    }
}

fn read_issuer(section: &mut Section<'_, '_>) -> Option<String> {
    let issuer = section.required::<String>("issuer", r#"issuer = "https://login.example.com""#)?;
    if let Err(fault) = urls::check_issuer(issuer.get_ref()) {
        section.fault_at(&issuer.span(), "issuer", &fault, fault.fix());
    }
    Some(issuer.into_inner())
}

/// The audiences under `audience`: at least one, none of them empty.
pub(super) fn read_audience(section: &mut Section<'_, '_>) -> Option<Vec<String>> {
    const EXAMPLE: &str = r#"audience = "https://api.example.com""#;
    let audience = section.required::<OneOrMore>("audience", EXAMPLE)?;
    let span = audience.span();
    let audience = audience.into_inner().into_vec();
    if audience.is_empty() || audience.iter().any(String::is_empty) {
        let what = "an empty audience would be anybody's";
        section.fault_at(&span, "audience", what, format!("write `{EXAMPLE}`"));
    }
    Some(audience)
}

fn read_algorithm(section: &mut Section<'_, '_>) -> Algorithm {
    const EXAMPLE: &str = r#"algorithm = "ES256""#;
    let Some(algorithm) = section.optional::<Algorithm>("algorithm", EXAMPLE) else {
        return Algorithm::Es256;
    };
    if !ALGORITHMS.contains(algorithm.get_ref()) {
        let what = format!("{} is verified, never signed with", algorithm.get_ref());
        section.fault_at(&algorithm.span(), "algorithm", what, "use ES256, EdDSA or RS256");
    }
    algorithm.into_inner()
}

fn read_token_lifetime(section: &mut Section<'_, '_>) -> Lasting {
    const EXAMPLE: &str = r#"token_lifetime = "10m""#;
    let Some(lifetime) = section.optional::<Lasting>("token_lifetime", EXAMPLE) else {
        return Lasting::seconds(600);
    };
    if !(Lasting::seconds(1)..=LONGEST_TOKEN).contains(lifetime.get_ref()) {
        let what = format!("{} is not between 1s and {LONGEST_TOKEN}", lifetime.get_ref());
        section.fault_at(&lifetime.span(), "token_lifetime", what, format!("write `{EXAMPLE}`"));
    }
    lifetime.into_inner()
}

fn read_rotation(section: &mut Section<'_, '_>, token_lifetime: Lasting) -> Lasting {
    const EXAMPLE: &str = r#"rotation = "30d""#;
    let Some(rotation) = section.optional::<Lasting>("rotation", EXAMPLE) else {
        return Lasting::days(30);
    };
    if *rotation.get_ref() <= token_lifetime {
        let what = format!("a key must sign for longer than a token lives ({token_lifetime})");
        section.fault_at(&rotation.span(), "rotation", what, format!("write `{EXAMPLE}`"));
    }
    rotation.into_inner()
}

impl Database {
    fn read(section: &mut Section<'_, '_>, reading: &Reading<'_>) -> Option<Self> {
        const EXAMPLE: &str = r#"database = { sqlite = "partywall.db" }"#;
        if !section.has("database") {
            section.missing("database", EXAMPLE);
        }
        let mut database = section.section("database", EXAMPLE)?;
        let read = match (database.has("sqlite"), database.has("postgres")) {
            (true, false) => {
                let path = database.required::<String>("sqlite", r#"sqlite = "partywall.db""#);
                path.map(|path| Self::Sqlite(reading.path(path.get_ref())))
            }
            (false, true) => reading.secret(&mut database, "postgres").map(Self::Postgres),
            (both, _) => {
                let what = if both { "two databases" } else { "no database" };
                database
                    .fault(what, format!("write `{EXAMPLE}` or `database = {{ postgres = … }}`"));
                return None;
            }
        };
        database.finish();
        read
    }
}
