//! Whose tokens are judged: as a configuration says, or one issuer from the command line.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use partywall::token::{
    ClaimRule, IssuerConfig, IssuerError, KeyRefresher, KeySource, Profile, RefreshError,
    TrustedIssuers,
};
use serde::{
    Deserialize,
    de::{IntoDeserializer, value::Error as ValueError},
};
use tokio::task::JoinSet;

use super::Args;
use crate::{
    config::{Config, ConfigError, Secrets},
    terminal::Terminal,
};

/// Why nothing can be verified.
#[derive(Debug, thiserror::Error)]
pub(super) enum IssuersError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{}: no [[issuers]]: add the issuers whose tokens are accepted", path.display())]
    NoIssuer { path: PathBuf },
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    #[error("cannot start threads")]
    Threads(#[source] io::Error),
    #[error(transparent)]
    Client(RefreshError),
    #[error(
        "no key set from {url}; save it to a file and name it with `jwks = {{ file = \"…\" }}` or --jwks"
    )]
    Fetch {
        url: String,
        #[source]
        error: RefreshError,
    },
}

impl IssuersError {
    pub(super) fn tell(&self, terminal: &Terminal) {
        match self {
            Self::Config(error) => error.tell(terminal),
            error => terminal.complain_of(error),
        }
    }
}

/// Compiles the issuers, with every key that can be had.
pub(super) fn trusted(args: &Args, terminal: &Terminal) -> Result<TrustedIssuers, IssuersError> {
    let (configs, audience) = match (&args.jwks, &args.issuer) {
        (Some(jwks), Some(issuer)) => (vec![named_here(args, jwks, issuer)], Vec::new()),
        _ => configured(args)?,
    };
    let issuers = TrustedIssuers::compile(&configs, &audience)?;
    with_fetched_keys(issuers, &configs, terminal)
}

fn named_here(args: &Args, jwks: &Path, issuer: &str) -> IssuerConfig {
    let mut config = IssuerConfig::new(issuer, args.profile, KeySource::File(jwks.to_owned()));
    config.audience.clone_from(&args.audience);
    config.tenant =
        args.tenant_claim.as_deref().map(|claim| ClaimRule { claim: claim.into(), prefix: None });
    config
}

fn configured(args: &Args) -> Result<(Vec<IssuerConfig>, Vec<String>), IssuersError> {
    let path = args.config.clone().unwrap_or_else(|| PathBuf::from("partywall.toml"));
    // No secret is needed to look at a token.
    let config = Config::load(&path, Secrets::NotLookedAt)?;
    if config.issuers.is_empty() {
        return Err(IssuersError::NoIssuer { path });
    }
    let audience = config.audience().to_vec();
    Ok((config.issuers, audience))
}

/// Asks each issuer with a URL for its key set, once, all at the same time. One that does not
/// answer is complained of: its tokens may be right, and are refused because nobody can tell.
fn with_fetched_keys(
    issuers: TrustedIssuers,
    configs: &[IssuerConfig],
    terminal: &Terminal,
) -> Result<TrustedIssuers, IssuersError> {
    let urls: Vec<(String, String)> = configs
        .iter()
        .filter_map(|config| match &config.jwks {
            KeySource::Url(url) => Some((config.issuer.clone(), url.clone())),
            _ => None,
        })
        .collect();
    if urls.is_empty() {
        return Ok(issuers);
    }
    let runtime = tokio::runtime::Runtime::new().map_err(IssuersError::Threads)?;
    let issuers = Arc::new(Mutex::new(issuers));
    let fetched = runtime.block_on(fetch(urls, Arc::clone(&issuers)))?;
    for error in fetched {
        terminal.complain_of(&error);
    }
    let issuers = issuers.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(issuers.clone())
}

/// Fetches every key set into `into`, and returns what went wrong.
async fn fetch(
    urls: Vec<(String, String)>,
    into: Arc<Mutex<TrustedIssuers>>,
) -> Result<Vec<IssuersError>, IssuersError> {
    let refresher = KeyRefresher::new(urls.clone(), move |issuer, keys| {
        let mut issuers = into.lock().unwrap_or_else(PoisonError::into_inner);
        *issuers = issuers.with_keys(issuer, keys);
    })
    .map_err(IssuersError::Client)?;
    let mut fetches = JoinSet::new();
    for (issuer, url) in urls {
        let refresher = refresher.clone();
        fetches.spawn(async move {
            let fetched = refresher.refresh(&issuer).await;
            fetched.err().map(|error| IssuersError::Fetch { url, error })
        });
    }
    Ok(fetches.join_all().await.into_iter().flatten().collect())
}

/// A profile by its name.
pub(super) fn profile(name: &str) -> Result<Profile, ValueError> {
    Profile::deserialize(name.into_deserializer())
}
