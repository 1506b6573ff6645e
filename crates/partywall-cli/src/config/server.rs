//! `[server]`: the control plane and identity provider.

use std::{net::SocketAddr, ops::Range, path::PathBuf};

use partywall_server::{
    BundlePolicy, Issuer, KeyPolicy, Resource, SealError, SealingKey, SigningAlgorithm,
};
use serde::Serialize;
use toml::Spanned;

pub(crate) use people::{Mail, Passwords};
pub(crate) use rates::AskedFor;

use super::{Lasting, Reading, SecretRef, Secrets, document::Section, urls, values::OneOrMore};

mod domains;
mod people;
mod rates;

/// What `partywall serve` runs.
#[derive(Debug, Serialize)]
pub(crate) struct Server {
    /// Where it listens.
    pub(crate) listen: SocketAddr,
    /// Where the bundle is served, and nowhere else; without it, where everything is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bundle_listen: Option<SocketAddr>,
    /// Its public URL: the `iss` of its tokens.
    pub(crate) issuer: String,
    /// For whom its tokens may be (RFC 8707); the first is the default.
    pub(crate) audience: Vec<String>,
    /// Where it keeps its state.
    pub(crate) database: Database,
    /// Seals the private keys it keeps there.
    pub(crate) sealing_key: SecretRef,
    /// The algorithm of its tokens' signatures.
    pub(crate) algorithm: SigningAlgorithm,
    /// How long its tokens live.
    pub(crate) token_lifetime: Lasting,
    /// How long a signing key signs before the next one does.
    pub(crate) rotation: Lasting,
    /// For how long a service may go on from its last bundle without hearing from the server.
    pub(crate) bundle_lifetime: Lasting,
    /// How passwords are hashed.
    pub(crate) passwords: Passwords,
    /// Hosts that name a tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tenant_hosts: Option<String>,
    /// How much may be asked for.
    pub(crate) rates: AskedFor,
    /// Reverse proxies that are believed when they say whom they ask for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) proxies: Vec<String>,
    /// Who is asked about domains that tenants claim, instead of the system's name servers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) dns_servers: Vec<SocketAddr>,
    /// Domains that no tenant may claim, beside those on the server's own list.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) free_mail: Vec<String>,
    /// Whether applications are told of logouts at addresses that are not public, too.
    pub(crate) call_private_addresses: bool,
    /// Where it gives up mail; without it nobody is invited by mail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mail: Option<Mail>,
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

/// Whoever was revoked while a service heard nothing stays in for so long.
const LONGEST_BUNDLE: Lasting = Lasting::days(31);
const LONGEST_TOKEN: Lasting = Lasting::seconds(24 * 60 * 60);

impl Server {
    pub(super) fn read(mut section: Section<'_, '_>, reading: &mut Reading<'_>) -> Option<Self> {
        let listen = reading.listener(&mut section, "listen", r#"listen = "127.0.0.1:8080""#);
        let bundle_listen = reading.optional_listener(
            &mut section,
            "bundle_listen",
            r#"bundle_listen = "127.0.0.1:8082""#,
        );
        let issuer = read_issuer(&mut section);
        let audience = read_resources(&mut section);
        let database = Database::read(&mut section, reading);
        let sealing_key = read_sealing_key(&mut section, reading);
        let algorithm = section.optional("algorithm", r#"algorithm = "ES256""#);
        let token_lifetime = read_token_lifetime(&mut section);
        let rotation = read_rotation(&mut section);
        let bundle_lifetime = read_bundle_lifetime(&mut section);
        let passwords = Passwords::read(&mut section);
        let rates = AskedFor::read(&mut section);
        let proxies = rates::read_proxies(&mut section);
        let dns_servers = domains::read_dns_servers(&mut section);
        let free_mail = domains::read_free_mail(&mut section);
        let private =
            section.optional::<bool>("call_private_addresses", "call_private_addresses = false");
        let tenant_hosts = rates::read_tenant_hosts(&mut section);
        let mail = section.section("mail", "[server.mail]");
        let has_mail = mail.is_some();
        let mail = mail.and_then(|section| Mail::read(section, reading));
        section.finish();
        if mail.is_some() != has_mail {
            return None;
        }
        Some(Self {
            listen: listen?,
            bundle_listen,
            issuer: issuer?,
            audience: audience?,
            database: database?,
            sealing_key: sealing_key?,
            algorithm: algorithm.map(Spanned::into_inner).unwrap_or_default(),
            token_lifetime,
            rotation,
            bundle_lifetime,
            passwords,
            rates,
            proxies,
            dns_servers,
            free_mail,
            call_private_addresses: private.is_some_and(Spanned::into_inner),
            tenant_hosts,
            mail,
        })
    }
}

fn read_issuer(section: &mut Section<'_, '_>) -> Option<String> {
    let issuer = section.required::<String>("issuer", r#"issuer = "https://login.example.com""#)?;
    if let Err(fault) = urls::check_issuer(issuer.get_ref()) {
        section.fault_at(&issuer.span(), "issuer", &fault, fault.fix());
    } else if issuer.get_ref().parse::<Issuer>().is_err() {
        let fix = "write it in lower case, without a trailing slash";
        section.fault_at(&issuer.span(), "issuer", "an issuer has one spelling", fix);
    }
    Some(issuer.into_inner())
}

/// The audiences of tokens of ours: absolute URIs (RFC 8707 2).
fn read_resources(section: &mut Section<'_, '_>) -> Option<Vec<String>> {
    let (span, audience) = read_audience(section)?;
    for audience in audience.iter().filter(|audience| audience.parse::<Resource>().is_err()) {
        let what = format!("{audience:?} is no absolute URI without fragment (RFC 8707 2)");
        let fix = format!("write `{AUDIENCE}`");
        section.fault_at(&span, "audience", what, fix);
    }
    Some(audience)
}

const AUDIENCE: &str = r#"audience = "https://api.example.com""#;

/// The audiences under `audience`: at least one, none of them empty.
pub(super) fn read_audience(section: &mut Section<'_, '_>) -> Option<(Range<usize>, Vec<String>)> {
    let audience = section.required::<OneOrMore>("audience", AUDIENCE)?;
    let span = audience.span();
    let audience = audience.into_inner().into_vec();
    if audience.is_empty() || audience.iter().any(String::is_empty) {
        let what = "an empty audience would be anybody's";
        section.fault_at(&span, "audience", what, format!("write `{AUDIENCE}`"));
        return None;
    }
    Some((span, audience))
}

/// The key is looked at, so that a server does not find out when it starts.
fn read_sealing_key(section: &mut Section<'_, '_>, reading: &Reading<'_>) -> Option<SecretRef> {
    let secret = reading.secret_at(section, "sealing_key")?;
    if reading.secrets == Secrets::MustExist
        && secret.get_ref().look().is_ok()
        && let Err(error @ SealError::BadKey) = SealingKey::read(secret.get_ref())
    {
        let fix = "write a new one there, or name the right file";
        section.fault_at(&secret.span(), "sealing_key", error, fix);
    }
    Some(secret.into_inner())
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

/// A key must sign for longer than it is published before that.
fn read_rotation(section: &mut Section<'_, '_>) -> Lasting {
    const EXAMPLE: &str = r#"rotation = "30d""#;
    let Some(rotation) = section.optional::<Lasting>("rotation", EXAMPLE) else {
        return Lasting::days(30);
    };
    let least = Lasting::of(KeyPolicy::default().publish_ahead);
    if *rotation.get_ref() <= least {
        let what = format!("a key is published for {least} before it signs");
        section.fault_at(&rotation.span(), "rotation", what, format!("write `{EXAMPLE}`"));
    }
    rotation.into_inner()
}

/// A bundle must live for longer than it takes until the next one is made.
fn read_bundle_lifetime(section: &mut Section<'_, '_>) -> Lasting {
    const EXAMPLE: &str = r#"bundle_lifetime = "72h""#;
    let default = BundlePolicy::default();
    let Some(lifetime) = section.optional::<Lasting>("bundle_lifetime", EXAMPLE) else {
        return Lasting::of(default.lifetime);
    };
    let least = Lasting::of(2 * default.refresh_after);
    if !(least..=LONGEST_BUNDLE).contains(lifetime.get_ref()) {
        let what = format!("{} is not between {least} and {LONGEST_BUNDLE}", lifetime.get_ref());
        section.fault_at(&lifetime.span(), "bundle_lifetime", what, format!("write `{EXAMPLE}`"));
    }
    lifetime.into_inner()
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
