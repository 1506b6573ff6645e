//! `partywall prove` with partywall.toml: every declared layer of a running system.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use aws_lc_rs::digest::{SHA256, digest};
use partywall::{
    AccessToken, Clock, Partywall, Refusal, StoreName, SystemClock, TenantId,
    bundle::{BundleError, BundleKey, FileBundleSource, HttpBundleSource, SourceError},
};
use partywall_prove::{
    Layer, Log, Subject, absent, not_attacked,
    stores::{Resident, besiege, sqlite::SqliteSiege},
    system::{Issuer as _, IssuerError, Route, System, Tenant, TokenEndpoint, openapi},
    undeclared,
};
use partywall_server::{ControlPlane, OpenError, SecretError, SecretSource as _};

use super::Operator;
use crate::{
    config::{
        Acting, Application, BundlePlace, Config, ConfigError, Interface, Prove, Secrets, Service,
        Store,
        open::{self, OpenStoreError},
    },
    serve::{self, ServeError},
};

/// Why nothing could be attacked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SystemError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error(
        "{}: no [{section}] section, which `partywall prove` needs: `partywall check --example` \
         shows one", path.display()
    )]
    NoSection { path: PathBuf, section: &'static str },
    #[error("service.bundle.key is no Ed25519 key")]
    Key(#[source] BundleError),
    #[error("the enforcement point cannot be set up")]
    Wall(#[from] partywall::BuildError),
    #[error("the bundle cannot be had")]
    Bundle(#[from] SourceError),
    #[error("tenant {tenant} of prove.tenants is not in the bundle: name one that is")]
    NoTenant { tenant: TenantId },
    #[error(
        "{found} tenants of the bundle have a client in prove.tokens.clients, and an attack takes two"
    )]
    TooFew { found: usize },
    #[error("prove.tokens.clients.{tenant}: {source}")]
    Secret { tenant: TenantId, source: SecretError },
    #[error("prove.tokens.clients.{tenant}: the secret is not UTF-8")]
    NotUtf8 { tenant: TenantId },
    #[error("prove.tokens: {0}")]
    Issuer(#[from] IssuerError),
    #[error("the enforcement point refuses the token of tenant {tenant}: {refusal}")]
    Refused { tenant: TenantId, refusal: Refusal },
    #[error("the control plane of [server] cannot be opened")]
    Control(#[from] OpenError),
    #[error(transparent)]
    Server(#[from] ServeError),
}

/// Attacks every layer the configuration declares.
pub(super) async fn prove(path: &Path, log: &mut Log<'_>) -> Result<Subject, SystemError> {
    let bytes = fs::read(path)
        .map_err(|source| SystemError::Unreadable { path: path.to_owned(), source })?;
    let mut config = Config::load(path, Secrets::MustExist)?;
    let missing = |section| SystemError::NoSection { path: path.to_owned(), section };
    let prove = config.prove.take().ok_or_else(|| missing("prove"))?;
    let service = config.service.take().ok_or_else(|| missing("service"))?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let wall = enforcement_point(&service, &config, Arc::clone(&clock)).await?;
    let tenants = tenants(&prove, &wall)?;
    let issuer = Operator::new(endpoint(&prove)?, control_plane(&prove, &config, clock).await?);
    let mut residents = Vec::new();
    for tenant in &tenants {
        let token = issuer.token(&tenant.id).await?;
        let context = wall
            .verify(AccessToken::new(token.expose()))
            .map_err(|refusal| SystemError::Refused { tenant: tenant.id.clone(), refusal })?;
        residents.push(Resident { name: tenant.name.clone(), context });
    }
    let mut facts = facts(&bytes, &wall);
    over_http(&prove, tenants, &issuer, log).await;
    stores(&prove, &config, &residents, log, &mut facts).await;
    layer_by_declaration(&prove, Layer::Job, log);
    let name = prove.application.as_ref().map_or_else(
        || format!("the stores of {}", path.display()),
        |application| application.url.clone(),
    );
    let adversary = "an authenticated client of another tenant, with SQL of its own in its \
                     store's session";
    Ok(Subject { name, adversary: adversary.to_owned(), facts })
}

/// The enforcement point of [service], apart from the running one: it keeps nothing on disk.
async fn enforcement_point(
    service: &Service,
    config: &Config,
    clock: Arc<dyn Clock>,
) -> Result<Partywall, SystemError> {
    let digits = service.bundle.key.as_bytes().chunks_exact(2);
    let bytes: Vec<u8> = digits
        .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    let key: [u8; 32] = bytes.try_into().map_err(|_| SystemError::Key(BundleError::BadKey))?;
    let key = BundleKey::from_ed25519(key).map_err(SystemError::Key)?;
    let mut builder = Partywall::builder().trust(key).clock(clock);
    for audience in &service.audience {
        builder = builder.audience(audience);
    }
    for issuer in &config.issuers {
        builder = builder.issuer(issuer.clone());
    }
    let wall = builder.build()?;
    match &service.bundle.place {
        BundlePlace::File(path) => {
            let source = FileBundleSource::new(path, Duration::from_secs(5));
            wall.catch_up(&source).await?;
            follow(wall.clone(), source);
        }
        BundlePlace::Url(url) => {
            let source = HttpBundleSource::new(url)?;
            wall.catch_up(&source).await?;
            follow(wall.clone(), source);
        }
    }
    Ok(wall)
}

/// Keys at an address are fetched, and the bundle kept up to date, until the run ends.
fn follow(wall: Partywall, source: impl partywall::bundle::BundleSource + 'static) {
    tokio::spawn(async move { wall.run(&source).await });
}

fn tenants(prove: &Prove, wall: &Partywall) -> Result<Vec<Tenant>, SystemError> {
    let bundle = wall.bundle();
    let slug = |id: &TenantId| Some(bundle.as_ref()?.tenant(id)?.slug().to_owned());
    match &prove.tenants {
        Acting::Named(ids) => ids
            .iter()
            .map(|id| {
                let name = slug(id).ok_or_else(|| SystemError::NoTenant { tenant: id.clone() })?;
                Ok(Tenant::new(id.clone(), name))
            })
            .collect(),
        Acting::All(most) => {
            let of_the_bundle = prove.tokens.clients.keys().filter_map(|id| {
                let name = slug(id)?;
                Some(Tenant::new(id.clone(), name))
            });
            let tenants: Vec<Tenant> = of_the_bundle.take(*most).collect();
            match tenants.len() {
                found @ 0..2 => Err(SystemError::TooFew { found }),
                _ => Ok(tenants),
            }
        }
    }
}

fn endpoint(prove: &Prove) -> Result<TokenEndpoint, SystemError> {
    let mut endpoint = TokenEndpoint::new(&*prove.tokens.endpoint)?;
    for (tenant, client) in &prove.tokens.clients {
        let named = || tenant.clone();
        let secret = client.secret.read();
        let secret = secret.map_err(|source| SystemError::Secret { tenant: named(), source })?;
        let text = std::str::from_utf8(secret.expose())
            .map_err(|_| SystemError::NotUtf8 { tenant: named() })?;
        endpoint = endpoint.client(named(), &*client.id, text.trim_end_matches(['\r', '\n']));
        if let Some(url) = &client.endpoint {
            endpoint = endpoint.at(tenant, &**url);
        }
    }
    Ok(endpoint)
}

async fn control_plane(
    prove: &Prove,
    config: &Config,
    clock: Arc<dyn Clock>,
) -> Result<Option<ControlPlane>, SystemError> {
    match config.server.as_ref().filter(|_| prove.tokens.control_plane) {
        Some(section) => {
            let settings = serve::settings(section, config.issuers.clone())?;
            Ok(Some(ControlPlane::open(settings, clock).await?))
        }
        None => Ok(None),
    }
}

/// Tokens, hints and the interface, all through the application.
async fn over_http(prove: &Prove, tenants: Vec<Tenant>, issuer: &Operator, log: &mut Log<'_>) {
    let over_http = [Layer::Token, Layer::Hint, Layer::Http];
    let (left_out, tried): (Vec<Layer>, Vec<Layer>) =
        over_http.into_iter().partition(|layer| prove.absent.contains_key(layer));
    for layer in left_out {
        layer_by_declaration(prove, layer, log);
    }
    let Some(application) = &prove.application else {
        tried.into_iter().for_each(|layer| layer_by_declaration(prove, layer, log));
        return;
    };
    let failed = |why: String, log: &mut Log<'_>| {
        tried.iter().for_each(|layer| log.record(not_attacked(*layer, &*why)));
    };
    let routes = match routes(application, log).await {
        Ok(routes) => routes,
        Err(why) => return failed(why, log),
    };
    let mut system = System::new(&*application.url, tenants, routes);
    system.options.layers = tried.clone();
    system.options.writes = prove.writes;
    if let Err(error) = system.prove(issuer, log).await {
        failed(error.to_string(), log);
    }
}

async fn routes(application: &Application, log: &mut Log<'_>) -> Result<Vec<Route>, String> {
    let written = match &application.interface {
        Interface::Routes(routes) => return Ok(routes.clone()),
        Interface::Openapi(written) => written,
    };
    let document = if written.starts_with("http") {
        openapi::fetch(written).await.map_err(|error| error.to_string())?
    } else {
        let bytes = fs::read(written).map_err(|error| format!("{written}: {error}"))?;
        openapi::read(&bytes).map_err(|error| error.to_string())?
    };
    for skipped in document.skipped {
        log.note(skipped.place, skipped.why);
    }
    Ok(document.routes)
}

async fn stores(
    prove: &Prove,
    config: &Config,
    residents: &[Resident],
    log: &mut Log<'_>,
    facts: &mut Vec<(String, String)>,
) {
    if prove.absent.contains_key(&Layer::Store) || config.stores.0.is_empty() {
        return layer_by_declaration(prove, Layer::Store, log);
    }
    for (name, store) in &config.stores.0 {
        if let Err(why) = siege(prove, name, store, residents, log, facts).await {
            log.record(not_attacked(Layer::Store, format!("{name}: {why}")));
        }
    }
}

async fn siege(
    prove: &Prove,
    name: &StoreName,
    store: &Store,
    residents: &[Resident],
    log: &mut Log<'_>,
    facts: &mut Vec<(String, String)>,
) -> Result<(), String> {
    let said = |error: OpenStoreError| error.to_string();
    match store {
        Store::Postgres { targets } => {
            let plan = open::postgres(name, targets).map_err(said)?;
            let store = plan.build().map_err(|error| error.to_string())?;
            for resident in residents {
                if let Ok(mut db) = resident.context.open(&store).await {
                    let version = sqlx::query_scalar::<_, String>("SHOW server_version");
                    let at = resident.context.placement(&store).map(ToString::to_string);
                    let fact = format!("{name}, {}", at.unwrap_or_default());
                    if let Ok(version) = version.fetch_one(db.conn()).await
                        && !facts.iter().any(|(known, _)| *known == fact)
                    {
                        facts.push((fact, format!("PostgreSQL {version}")));
                    }
                }
            }
            besiege(&plan.siege(store.clone(), prove.shared.clone()), residents, log).await;
            store.close().await;
        }
        Store::Sqlite { schema, targets } => {
            let opened = open::sqlite(name, schema, targets).map_err(said)?;
            facts.push((name.to_string(), format!("SQLite {}", rusqlite::version())));
            let siege = SqliteSiege::new(opened.store, &opened.schema, opened.directories);
            besiege(&siege, residents, log).await;
        }
    }
    Ok(())
}

/// Takes down a layer that is not attacked: absent, or undeclared.
fn layer_by_declaration(prove: &Prove, layer: Layer, log: &mut Log<'_>) {
    log.record(match prove.absent.get(&layer) {
        Some(reason) => absent(layer, reason),
        None => undeclared(layer),
    });
}

fn facts(configuration: &[u8], wall: &Partywall) -> Vec<(String, String)> {
    let hash = digest(&SHA256, configuration);
    let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let mut facts = vec![("configuration, SHA-256".to_owned(), hash)];
    if let Some(generation) = wall.generation() {
        facts.push(("bundle generation".to_owned(), generation.to_string()));
    }
    // Whose commit it is depends on where one stands; without a repository there is none.
    let commit = Command::new("git").args(["rev-parse", "HEAD"]).output();
    if let Ok(commit) = commit
        && commit.status.success()
    {
        let text = String::from_utf8_lossy(&commit.stdout).trim().to_owned();
        facts.push(("commit".to_owned(), text));
    }
    facts
}

/// What the configuration accepts, before anything is tried.
pub(super) fn accepted(path: &Path) -> Result<Vec<partywall_prove::Exception>, SystemError> {
    let config = Config::load(path, Secrets::NotLookedAt)?;
    Ok(config.prove.map(|prove| prove.accept).unwrap_or_default())
}
