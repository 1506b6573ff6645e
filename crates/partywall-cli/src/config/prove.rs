//! `[prove]`: what `partywall prove` attacks, as whom, and what is declared about it.

use std::collections::BTreeMap;

use partywall::TenantId;
use partywall_prove::{Exception, Layer, system::Route};
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::{Reading, SecretRef, document::Section, urls, values::OneOrMore};

/// What is attacked, and as whom.
#[derive(Debug, Serialize)]
pub(crate) struct Prove {
    /// The tenants to act as.
    pub(crate) tenants: Acting,
    /// Whether things may be planted, changed and deleted through the application.
    pub(crate) writes: bool,
    /// Tables (`schema.table`) that are the same for all tenants of a pool.
    pub(crate) shared: Vec<String>,
    /// Leaks and open questions that are acceptable, each with its reason.
    pub(crate) accept: Vec<Exception>,
    /// Where tokens come from.
    pub(crate) tokens: Tokens,
    /// The application, over HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) application: Option<Application>,
    /// Layers this system does not have, and why.
    pub(crate) absent: BTreeMap<Layer, String>,
}

/// The tenants to act as.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Acting {
    /// These.
    Named(Vec<TenantId>),
    /// Those of the bundle that have a client, at most so many.
    All(usize),
}

/// Where tokens come from.
#[derive(Debug, Serialize)]
pub(crate) struct Tokens {
    /// The token endpoint (RFC 6749 3.2).
    pub(crate) endpoint: String,
    /// A client of each tenant.
    pub(crate) clients: BTreeMap<TenantId, Client>,
    /// Whether the control plane of `[server]` is opened on this machine for tokens that must be
    /// refused.
    pub(crate) control_plane: bool,
}

/// A client of one tenant.
#[derive(Debug, Serialize)]
pub(crate) struct Client {
    /// Its id.
    pub(crate) id: String,
    /// Its secret.
    pub(crate) secret: SecretRef,
    /// Where its tenant has an issuer of its own, that one's token endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint: Option<String>,
}

/// The application, over HTTP.
#[derive(Debug, Serialize)]
pub(crate) struct Application {
    /// Its address.
    pub(crate) url: String,
    /// What it can be asked.
    pub(crate) interface: Interface,
}

/// What an application can be asked.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Interface {
    /// An OpenAPI 3 document: a file or an address.
    Openapi(String),
    /// A list.
    Routes(Vec<Route>),
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a list of tenant ids, or \"all\"")]
enum Written {
    Word(String),
    List(Vec<TenantId>),
}

impl Prove {
    pub(super) fn read(
        mut section: Section<'_, '_>,
        reading: &Reading<'_>,
        has_server: bool,
    ) -> Option<Self> {
        let tenants = read_tenants(&mut section);
        let writes = section.optional::<bool>("writes", "writes = false");
        let shared = section.optional::<OneOrMore>("shared", r#"shared = ["public.countries"]"#);
        let accept = section
            .optional::<Vec<Exception>>("accept", r#"accept = ["http.list@GET /news=public"]"#);
        let tokens = Tokens::read(&mut section, reading, has_server);
        let had_application = section.has("application");
        let application = Application::read(&mut section, reading);
        let absent = read_absent(&mut section);
        section.finish();
        if had_application && application.is_none() {
            return None;
        }
        Some(Self {
            tenants: tenants?,
            writes: writes.is_none_or(Spanned::into_inner),
            shared: shared.map(|shared| shared.into_inner().into_vec()).unwrap_or_default(),
            accept: accept.map(Spanned::into_inner).unwrap_or_default(),
            tokens: tokens?,
            application,
            absent,
        })
    }
}

fn read_tenants(section: &mut Section<'_, '_>) -> Option<Acting> {
    const EXAMPLE: &str = r#"tenants = ["acme-7f3k", "globex-2m9q"]"#;
    let tenants = section.required::<Written>("tenants", EXAMPLE);
    let most = section.optional::<usize>("at_most", "at_most = 4");
    if let Some(most) = most.as_ref().filter(|most| *most.get_ref() < 2) {
        section.fault_at(&most.span(), "at_most", "an attack takes two", "write 2 or more");
    }
    let tenants = tenants?;
    let span = tenants.span();
    match tenants.into_inner() {
        Written::Word(word) if word == "all" => {
            Some(Acting::All(most.map_or(4, Spanned::into_inner)))
        }
        Written::Word(_) => {
            section.fault_at(
                &span,
                "tenants",
                "neither a list nor \"all\"",
                format!("write `{EXAMPLE}`"),
            );
            None
        }
        Written::List(tenants) => {
            let mut different = tenants.clone();
            different.sort();
            different.dedup();
            if different.len() < 2 || different.len() < tenants.len() {
                let what = "an attack takes two tenants, each named once";
                section.fault_at(&span, "tenants", what, format!("write `{EXAMPLE}`"));
            }
            Some(Acting::Named(tenants))
        }
    }
}

impl Tokens {
    fn read(
        section: &mut Section<'_, '_>,
        reading: &Reading<'_>,
        has_server: bool,
    ) -> Option<Self> {
        const EXAMPLE: &str = "[prove.tokens]";
        if !section.has("tokens") {
            section.missing("tokens", EXAMPLE);
        }
        let mut tokens = section.section("tokens", EXAMPLE)?;
        let endpoint = tokens
            .required::<String>("endpoint", r#"endpoint = "https://login.example.com/token""#);
        if let Some(endpoint) = &endpoint
            && let Err(fault) = urls::check_source(endpoint.get_ref())
        {
            tokens.fault_at(&endpoint.span(), "endpoint", &fault, fault.fix());
        }
        let control_plane = tokens.optional::<bool>("control_plane", "control_plane = true");
        if let Some(wanted) = &control_plane
            && *wanted.get_ref()
            && !has_server
        {
            let fix = "add the [server] section, or leave it out: then no decoys are signed";
            tokens.fault_at(&wanted.span(), "control_plane", "there is no [server] here", fix);
        }
        const CLIENT: &str = r#"[prove.tokens.clients.acme-7f3k]"#;
        if !tokens.has("clients") {
            tokens.missing("clients", CLIENT);
        }
        let clients = tokens.section("clients", CLIENT);
        tokens.finish();
        let mut read = BTreeMap::new();
        if let Some(mut clients) = clients {
            for (tenant, mut client) in clients.named_sections(CLIENT) {
                let id = client.required::<String>("id", r#"id = "m:…""#);
                let secret = reading.secret(&mut client, "secret");
                let endpoint = client.optional::<String>(
                    "endpoint",
                    r#"endpoint = "https://login.example.com/t/acme/token""#,
                );
                if let Some(endpoint) = &endpoint
                    && let Err(fault) = urls::check_source(endpoint.get_ref())
                {
                    client.fault_at(&endpoint.span(), "endpoint", &fault, fault.fix());
                }
                let endpoint = endpoint.map(Spanned::into_inner);
                client.finish();
                match (tenant.get_ref().parse::<TenantId>(), id, secret) {
                    (Ok(tenant), Some(id), Some(secret)) => {
                        read.insert(tenant, Client { id: id.into_inner(), secret, endpoint });
                    }
                    (Err(error), ..) => {
                        let fix = "name the client's tenant by its id";
                        clients.fault_at(&tenant.span(), tenant.get_ref(), error, fix);
                    }
                    _ => {}
                }
            }
        }
        Some(Self {
            endpoint: endpoint?.into_inner(),
            clients: read,
            control_plane: control_plane.is_some_and(Spanned::into_inner),
        })
    }
}

impl Application {
    fn read(section: &mut Section<'_, '_>, reading: &Reading<'_>) -> Option<Self> {
        const EXAMPLE: &str = "[prove.application]";
        let mut application = section.section("application", EXAMPLE)?;
        let url = application.required::<String>("url", r#"url = "https://api.example.com""#);
        if let Some(url) = &url
            && let Err(fault) = urls::check_source(url.get_ref())
        {
            application.fault_at(&url.span(), "url", &fault, fault.fix());
        }
        const OPENAPI: &str = r#"openapi = "openapi.json""#;
        let openapi = application.optional::<String>("openapi", OPENAPI);
        let routes = application.optional::<Vec<Route>>(
            "routes",
            r#"routes = ["GET /invoices", "GET /invoices/{id}"]"#,
        );
        let interface = match (openapi, routes) {
            (Some(openapi), None) => {
                let written = openapi.into_inner();
                let remote = written.starts_with("https://") || written.starts_with("http://");
                Some(Interface::Openapi(match remote {
                    true => written,
                    false => reading.path(&written).display().to_string(),
                }))
            }
            (None, Some(routes)) => Some(Interface::Routes(routes.into_inner())),
            _ => {
                let fix = format!("write `{OPENAPI}` or `routes = [\"GET /invoices\"]`");
                application.fault("expected either `openapi` or `routes`", fix);
                None
            }
        };
        application.finish();
        Some(Self { url: url?.into_inner(), interface: interface? })
    }
}

/// Layers declared absent, each with a reason an auditor can read.
fn read_absent(section: &mut Section<'_, '_>) -> BTreeMap<Layer, String> {
    const EXAMPLE: &str = r#"absent = { job = "there is no work that runs later" }"#;
    let mut read = BTreeMap::new();
    let Some(mut absent) = section.section("absent", EXAMPLE) else { return read };
    let layers = [
        ("token", Layer::Token),
        ("hint", Layer::Hint),
        ("http", Layer::Http),
        ("job", Layer::Job),
        ("store", Layer::Store),
    ];
    for (name, layer) in layers {
        if let Some(reason) = absent.optional::<String>(name, EXAMPLE) {
            if reason.get_ref().trim().is_empty() {
                absent.fault_at(&reason.span(), name, "no reason", format!("write `{EXAMPLE}`"));
            }
            read.insert(layer, reason.into_inner());
        }
    }
    absent.finish();
    read
}
