//! The enforcement point: [`Partywall`].

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use quick_cache::sync::Cache;

use crate::{
    Clock, Identity, Refusal, SystemClock, TenantContext, TenantId, Timestamp, admission,
    bundle::{
        Bundle, BundleError, BundleFiles, BundleKey, BundleTrust, Generation, KeeperError,
        LoadError, SignedBundle,
    },
    context::Credential,
    token::{AccessToken, IssuerConfig, IssuerError, KeySet, KeySource, TrustedIssuers},
};

/// An enforcement point: turns access tokens into [`TenantContext`]s, by itself.
///
/// It holds public keys only. What it decides from is the latest [`Bundle`], swapped whole, so
/// that readers never wait; nothing on a request's path asks anybody (M-06). Cloning shares it.
///
/// ```
/// use partywall::{AccessToken, Partywall, Refusal};
///
/// let wall = Partywall::builder().audience("https://invoices.example").build()?;
/// let refused = wall.verify(AccessToken::new("eyJhbGciOiJub25lIn0.e30.")).unwrap_err();
/// assert!(matches!(refused, Refusal::NoBundle), "nothing is let in before a bundle is there");
/// # Ok::<(), partywall::BuildError>(())
/// ```
#[derive(Clone)]
pub struct Partywall(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    audience: Vec<String>,
    /// Compiled once: a key file being rewritten must not cost a bundle.
    local_issuers: TrustedIssuers,
    local_key_urls: Vec<(String, String)>,
    trust: BundleTrust,
    files: Option<BundleFiles>,
    clock: Arc<dyn Clock>,
    state: ArcSwapOption<State>,
    /// Held while the state is replaced, never while it is read.
    replacing: Mutex<()>,
    remembered: Cache<[u8; 32], Arc<Credential>>,
    /// The only tenant served here, where there is one (M-12).
    pinned_to: Option<TenantId>,
    /// Issuers, and where their keys are.
    #[cfg(feature = "http")]
    pub(crate) key_urls: tokio::sync::watch::Sender<Vec<(String, String)>>,
    #[cfg(feature = "http")]
    pub(crate) refresher: ArcSwapOption<crate::token::KeyRefresher>,
}

/// What all decisions of one moment are made from.
struct State {
    bundle: Arc<Bundle>,
    issuers: TrustedIssuers,
    /// Issuers whose keys are at an address, and the address.
    key_urls: Vec<(String, String)>,
    /// Changes with everything that could change a decision.
    stamp: u64,
    /// Changes with the issuers' rules (audience, claim map, algorithms), not with their keys.
    rules: u64,
    rules_fingerprint: [u8; 32],
}

impl Partywall {
    /// Starts describing an enforcement point.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Turns an access token into the tenant's context.
    ///
    /// A token seen before costs a hash and a look-up. What was remembered dies with the token's
    /// expiry, with its key, with a change of its issuer's rules, and with its tenant's status,
    /// epoch and revocations: each is looked at again whenever a new bundle came in.
    ///
    /// # Errors
    ///
    /// See [`Refusal`].
    pub fn verify(&self, token: AccessToken<'_>) -> Result<TenantContext, Refusal> {
        let state = self.0.state.load();
        let state = state.as_ref().ok_or(Refusal::NoBundle)?;
        let now = self.0.clock.now();
        token.check_length()?;
        let digest = token.digest();
        if let Some(remembered) = self.0.remembered.get(&digest) {
            if holds(&remembered, state, now)? {
                return Ok(TenantContext::new(remembered, Arc::clone(&state.bundle)));
            }
            self.0.remembered.remove(&digest);
        }
        self.verify_anew(token, digest, state, now)
    }

    fn verify_anew(
        &self,
        token: AccessToken<'_>,
        digest: [u8; 32],
        state: &State,
        now: Timestamp,
    ) -> Result<TenantContext, Refusal> {
        let claims = token.verify(&state.issuers, now)?;
        self.check_pin(&claims.tenant)?;
        let credential = Arc::new(Credential {
            dies: claims.expires_at + claims.leeway,
            rules: state.rules,
            admitted: AtomicU64::new(state.stamp),
            key: Some(claims.key),
            identity: Identity::from(claims),
        });
        let bundle = Arc::clone(&state.bundle);
        let context = admission::admit(Arc::clone(&credential), bundle, now)?;
        self.0.remembered.insert(digest, credential);
        Ok(context)
    }

    /// Takes a bundle or a delta: checks it, puts it in force, keeps it on disk.
    ///
    /// # Errors
    ///
    /// See [`BundleError`]. What was in force before stays in force, and the refusal is counted
    /// in the metric `partywall_bundle_refused_total`.
    pub fn accept(&self, bytes: impl Into<Bytes>) -> Result<Generation, BundleError> {
        let bytes = bytes.into();
        self.replace_bundle(&bytes).inspect_err(|error| {
            metrics::counter!("partywall_bundle_refused_total", "reason" => error.code())
                .increment(1);
            tracing::error!(reason = error.code(), %error, "a bundle was refused; the last good one stays in force");
        })
    }

    fn replace_bundle(&self, bytes: &Bytes) -> Result<Generation, BundleError> {
        let _alone = self.0.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let signed = SignedBundle::new(bytes.clone());
        let before = self.0.state.load_full();
        let bundle = match &before {
            Some(state) => signed.check_onto(&state.bundle, &self.0.trust)?,
            None => signed.check(&self.0.trust)?,
        };
        if self.0.clock.now() >= bundle.expires() {
            return Err(BundleError::Expired { expires: bundle.expires() });
        }
        let generation = bundle.generation();
        let delta = bundle.is_delta();
        self.put_in_force(bundle, before.as_deref())?;
        if let Some(files) = &self.0.files {
            let kept =
                if delta { files.keep_delta(generation, bytes) } else { files.keep_full(bytes) };
            // What is revoked must be refused now, disk or no disk.
            if let Err(error) = kept {
                metrics::counter!("partywall_bundle_not_kept_total").increment(1);
                tracing::error!(%error, %generation, "the bundle is in force but could not be kept on disk");
            }
        }
        Ok(generation)
    }

    /// The bundle in force.
    pub fn bundle(&self) -> Option<Arc<Bundle>> {
        self.0.state.load().as_ref().map(|state| Arc::clone(&state.bundle))
    }

    /// The generation in force.
    pub fn generation(&self) -> Option<Generation> {
        self.bundle().map(|bundle| bundle.generation())
    }

    /// How long ago the bundle in force was compiled, in whole seconds.
    pub fn bundle_age(&self) -> Option<Duration> {
        self.bundle().map(|bundle| self.0.clock.now().since(bundle.created()))
    }

    /// Takes an issuer's new keys, fetched from where its configuration says.
    pub fn replace_keys(&self, issuer: &str, keys: KeySet) {
        let _alone = self.0.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(state) = self.0.state.load_full() else { return };
        if state.issuers.keys_of(issuer) == Some(&keys) {
            return;
        }
        self.0.state.store(Some(Arc::new(State {
            bundle: Arc::clone(&state.bundle),
            issuers: state.issuers.with_keys(issuer, keys),
            key_urls: state.key_urls.clone(),
            stamp: state.stamp + 1,
            ..*state
        })));
    }

    /// Refuses what a silo of another tenant must not serve.
    pub(crate) fn check_pin(&self, tenant: &TenantId) -> Result<(), Refusal> {
        match &self.0.pinned_to {
            Some(only) if only != tenant => {
                Err(Refusal::PinnedElsewhere { tenant: tenant.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Whether `issuer` is trusted to speak for `tenant`, as of now.
    pub(crate) fn may_speak_for(&self, issuer: &str, tenant: &TenantId) -> bool {
        let state = self.0.state.load();
        state.as_ref().is_some_and(|state| state.issuers.may_speak_for(issuer, tenant))
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        self.0.clock.as_ref()
    }

    fn put_in_force(&self, bundle: Bundle, before: Option<&State>) -> Result<(), BundleError> {
        if bundle.issuers().iter().any(|config| matches!(config.jwks, KeySource::File(_))) {
            return Err(BundleError::Malformed { what: "issuers: a key file is a local matter" });
        }
        let named = TrustedIssuers::compile(bundle.issuers(), &self.0.audience)
            .map_err(BundleError::UnusableIssuers)?;
        let mut issuers = self.0.local_issuers.and(&named);
        let key_urls: Vec<_> = self
            .0
            .local_key_urls
            .iter()
            .cloned()
            .chain(key_urls(bundle.issuers()).filter(|(name, _)| !self.0.is_local(name)))
            .collect();
        // Fetched keys stay, as long as they would be fetched from the same place.
        for (issuer, url) in &key_urls {
            let same = before.filter(|state| {
                state.key_urls.iter().any(|(name, at)| name == issuer && at == url)
            });
            if let Some(keys) = same.and_then(|state| state.issuers.keys_of(issuer)) {
                issuers = issuers.with_keys(issuer, keys.clone());
            }
        }
        metrics::gauge!("partywall_bundle_generation").set(bundle.generation().0 as f64);
        let rules_fingerprint = issuers.rules_fingerprint();
        let rules = before.map_or(1, |state| {
            state.rules + u64::from(state.rules_fingerprint != rules_fingerprint)
        });
        let stamp = before.map_or(1, |state| state.stamp + 1);
        #[cfg(feature = "http")]
        self.0.key_urls.send_if_modified(|urls| {
            let changed = *urls != key_urls;
            urls.clone_from(&key_urls);
            changed
        });
        let bundle = Arc::new(bundle);
        let state = State { bundle, issuers, key_urls, stamp, rules, rules_fingerprint };
        self.0.state.store(Some(Arc::new(state)));
        Ok(())
    }
}

impl Inner {
    /// An issuer configured here is as configured here, whatever a bundle says.
    fn is_local(&self, issuer: &str) -> bool {
        self.local_key_urls.iter().any(|(name, _)| name == issuer)
            || self.local_issuers.keys_of(issuer).is_some()
    }
}

/// Issuers whose keys are at an address, and the address.
fn key_urls(configs: &[IssuerConfig]) -> impl Iterator<Item = (String, String)> {
    configs
        .iter()
        .filter_map(|config| Some((config.issuer().to_owned(), config.jwks_url()?.to_owned())))
}

/// Whether a remembered credential still holds; `Ok(false)` asks for a fresh verification.
fn holds(remembered: &Credential, state: &State, now: Timestamp) -> Result<bool, Refusal> {
    if now >= remembered.dies || remembered.rules != state.rules {
        return Ok(false);
    }
    if remembered.admitted.load(Ordering::Relaxed) == state.stamp {
        return match state.bundle.expires() {
            expired if now >= expired => Err(Refusal::BundleStale { expired }),
            _ => Ok(true),
        };
    }
    let identity = &remembered.identity;
    let trusted = |key| state.issuers.trusts(&identity.issuer, key);
    if !remembered.key.as_ref().is_some_and(trusted) {
        return Ok(false);
    }
    admission::check(identity, &state.bundle, now)?;
    remembered.admitted.store(state.stamp, Ordering::Relaxed);
    Ok(true)
}

/// Describes an enforcement point; see [`Partywall::builder`].
#[derive(Debug)]
pub struct Builder {
    audience: Vec<String>,
    issuers: Vec<IssuerConfig>,
    trust: Vec<BundleKey>,
    state_dir: Option<PathBuf>,
    clock: Arc<dyn Clock>,
    remembered: usize,
    pinned_to: Option<TenantId>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            audience: Vec::new(),
            issuers: Vec::new(),
            trust: Vec::new(),
            state_dir: None,
            clock: Arc::new(SystemClock::default()),
            remembered: 100_000,
            pinned_to: None,
        }
    }
}

impl Builder {
    /// Accepts tokens made out to `audience` (`aud`, RFC 9068): this service's own name.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience.push(audience.into());
        self
    }

    /// Trusts bundles signed with `key`. Two while the control plane changes its key.
    #[must_use]
    pub fn trust(mut self, key: BundleKey) -> Self {
        self.trust.push(key);
        self
    }

    /// Accepts tokens of an issuer the bundle does not name.
    #[must_use]
    pub fn issuer(mut self, issuer: IssuerConfig) -> Self {
        self.issuers.push(issuer);
        self
    }

    /// Keeps the last good bundle in `dir` and starts from it (M-06).
    #[must_use]
    pub fn state_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.state_dir = Some(dir.into());
        self
    }

    /// Tells the time by `clock`.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Serves this tenant and refuses every other's tokens, however valid: for a silo (M-12).
    #[must_use]
    pub fn pinned_to(mut self, tenant: TenantId) -> Self {
        self.pinned_to = Some(tenant);
        self
    }

    /// Remembers at most so many verified tokens; 100,000 by default, some 600 bytes each.
    #[must_use]
    pub fn remembered_tokens(mut self, tokens: usize) -> Self {
        self.remembered = tokens;
        self
    }

    /// Builds it, with the last good bundle from disk where there is one.
    ///
    /// # Errors
    ///
    /// When an issuer cannot be used, or the bundle on disk cannot be trusted.
    pub fn build(self) -> Result<Partywall, BuildError> {
        let local_issuers = TrustedIssuers::compile(&self.issuers, &self.audience)?;
        let files = self.state_dir.map(BundleFiles::in_dir).transpose()?;
        let trust: BundleTrust = self.trust.into_iter().collect();
        let kept = match &files {
            Some(files) => files.load(&trust)?,
            None => None,
        };
        let wall = Partywall(Arc::new(Inner {
            audience: self.audience,
            local_issuers,
            local_key_urls: key_urls(&self.issuers).collect(),
            trust,
            files,
            clock: self.clock,
            state: ArcSwapOption::empty(),
            replacing: Mutex::new(()),
            remembered: Cache::new(self.remembered),
            pinned_to: self.pinned_to,
            #[cfg(feature = "http")]
            key_urls: tokio::sync::watch::Sender::default(),
            #[cfg(feature = "http")]
            refresher: ArcSwapOption::empty(),
        }));
        if let Some(bundle) = kept {
            tracing::info!(generation = %bundle.generation(), "starting from the last good bundle on disk");
            wall.put_in_force(bundle, None).map_err(LoadError::Bundle)?;
        }
        Ok(wall)
    }
}

/// Why an enforcement point could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// An issuer cannot be used.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    /// The state directory cannot be used.
    #[error(transparent)]
    StateDir(#[from] KeeperError),
    /// The bundle on disk cannot be trusted. Remove it to start without one.
    #[error("the last good bundle on disk cannot be used: remove it to wait for a new one")]
    Kept(#[from] LoadError),
}
