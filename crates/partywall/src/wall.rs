//! The enforcement point: [`Partywall`].

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use quick_cache::sync::Cache;

use crate::{
    Clock, Identity, Principal, Refusal, SystemClock, TenantContext, TenantId, Timestamp,
    admission,
    bundle::{
        Bundle, BundleError, BundleFiles, BundleKey, BundleTrust, Generation, Keeper, KeeperError,
        Loaded, SignedBundle,
    },
    context::Credential,
    token::{
        AccessToken, IssuerConfig, IssuerError, KeySet, KeySource, ProofError, TokenError,
        TrustedIssuers,
    },
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
    trust: BundleTrust,
    clock: Arc<dyn Clock>,
    state: ArcSwapOption<State>,
    /// Held while the state is replaced, never while it is read.
    replacing: Mutex<()>,
    /// Held while a bundle is taken, from its check to its place on disk.
    keeper: Mutex<Keeper>,
    remembered: Cache<[u8; 32], Arc<Credential>>,
    /// Proofs of possession seen here, by their key and id: as many as tokens. A proof is too old
    /// after a minute, whether or not it is still among them.
    proofs: Cache<[u8; 32], ()>,
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
                self.check_possession(&token, remembered.bound_to.as_deref(), now)?;
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
        self.check_possession(&token, claims.bound_to.as_deref(), now)?;
        self.check_pin(&claims.tenant, &claims.principal)?;
        let credential = Arc::new(Credential {
            dies: claims.expires_at + claims.leeway,
            rules: state.rules,
            admitted: AtomicU64::new(state.stamp),
            bound_to: claims.bound_to.clone(),
            key: Some(claims.key),
            identity: Identity::from(claims),
        });
        let bundle = Arc::clone(&state.bundle);
        let context = admission::admit(Arc::clone(&credential), bundle, now)?;
        self.0.remembered.insert(digest, credential);
        Ok(context)
    }

    /// A token that is bound to a key comes with a proof each time, and with no proof twice.
    fn check_possession(
        &self,
        token: &AccessToken<'_>,
        bound_to: Option<&str>,
        now: Timestamp,
    ) -> Result<(), TokenError> {
        let Some(proven) = token.check_possession(bound_to, now)? else { return Ok(()) };
        let mut first = false;
        let seen = self.0.proofs.get_or_insert_with(&proven.digest(), || {
            first = true;
            Ok::<_, std::convert::Infallible>(())
        });
        match (seen, first) {
            (Ok(()), true) => Ok(()),
            _ => Err(TokenError::ProofRejected(Box::new(ProofError::Replayed))),
        }
    }

    /// Takes a bundle or a delta: checks it, puts it in force, keeps it on disk.
    ///
    /// It reads, hashes and writes the whole file: from asynchronous code call it where blocking is
    /// allowed. A full bundle that says again what is in force is no error and changes no decision.
    ///
    /// # Errors
    ///
    /// See [`BundleError`]. What was in force before stays in force, and the refusal is counted
    /// in the metric `partywall_bundle_refused_total`.
    pub fn accept(&self, bytes: impl Into<Bytes>) -> Result<Generation, BundleError> {
        self.take(&bytes.into()).map(|accepted| match accepted {
            Accepted::Newer(generation) | Accepted::Same(generation) => generation,
        })
    }

    pub(crate) fn take(&self, bytes: &Bytes) -> Result<Accepted, BundleError> {
        self.replace_bundle(bytes).inspect_err(|error| {
            refused(error.code());
            tracing::error!(reason = error.code(), %error, "a bundle was refused; the last good one stays in force");
        })
    }

    fn replace_bundle(&self, bytes: &Bytes) -> Result<Accepted, BundleError> {
        // Held to the end, so that bundles come one after the other; nothing else waits for it.
        let mut keeper = self.keeper();
        let signed = SignedBundle::new(bytes.clone());
        let in_force = self.bundle();
        let bundle = match &in_force {
            Some(in_force) => signed.check_newer_or_same(in_force, &self.0.trust)?,
            None => signed.check(&self.0.trust)?,
        };
        if self.0.clock.now() >= bundle.expires() {
            return Err(BundleError::Expired { expires: bundle.expires() });
        }
        let generation = bundle.generation();
        let same = in_force.is_some_and(|in_force| in_force.generation() == generation);
        if same && !keeper.wants_full() {
            return Ok(Accepted::Same(generation));
        }
        let bundle = Arc::new(bundle);
        {
            let _alone = self.0.replacing.lock().unwrap_or_else(PoisonError::into_inner);
            let before = self.0.state.load_full();
            self.put_in_force(Arc::clone(&bundle), before.as_deref())?;
        }
        // What is revoked must be refused now, disk or no disk.
        if let Err(error) = keeper.keep(&bundle, bytes) {
            metrics::counter!("partywall_bundle_not_kept_total").increment(1);
            tracing::error!(%error, %generation, "the bundle is in force but could not be kept on disk");
        }
        Ok(if same { Accepted::Same(generation) } else { Accepted::Newer(generation) })
    }

    pub(crate) fn keeper(&self) -> MutexGuard<'_, Keeper> {
        self.0.keeper.lock().unwrap_or_else(PoisonError::into_inner)
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
            stamp: state.stamp + 1,
            ..*state
        })));
    }

    /// Refuses what a silo of another tenant must not serve.
    pub(crate) fn check_pin(
        &self,
        tenant: &TenantId,
        principal: &Principal,
    ) -> Result<(), Refusal> {
        match &self.0.pinned_to {
            Some(only) if only != tenant => {
                let (tenant, principal) = (tenant.clone(), principal.clone());
                Err(Refusal::PinnedElsewhere { tenant, principal })
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

    fn put_in_force(&self, bundle: Arc<Bundle>, before: Option<&State>) -> Result<(), BundleError> {
        if bundle.issuers().iter().any(|config| matches!(config.jwks, KeySource::File(_))) {
            return Err(BundleError::Malformed { what: "issuers: a key file is a local matter" });
        }
        let named = TrustedIssuers::compile(bundle.issuers(), &self.0.audience)
            .map_err(BundleError::UnusableIssuers)?;
        // An issuer configured here is as configured here, whatever a bundle says.
        let issuers = self.0.local_issuers.and(&named);
        let issuers = match before {
            Some(state) => issuers.keeping_keys(&state.issuers),
            None => issuers,
        };
        metrics::gauge!("partywall_bundle_generation").set(bundle.generation().0 as f64);
        let rules_fingerprint = issuers.rules_fingerprint();
        let rules = before.map_or(1, |state| {
            state.rules + u64::from(state.rules_fingerprint != rules_fingerprint)
        });
        let stamp = before.map_or(1, |state| state.stamp + 1);
        #[cfg(feature = "http")]
        self.0.key_urls.send_if_modified(|urls| {
            let before = std::mem::replace(urls, issuers.key_urls());
            *urls != before
        });
        let state = State { bundle, issuers, stamp, rules, rules_fingerprint };
        self.0.state.store(Some(Arc::new(state)));
        Ok(())
    }
}

/// What came of a good bundle.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Accepted {
    /// It is in force.
    Newer(Generation),
    /// It says what was in force already. Where that came in many pieces, they are one now.
    Same(Generation),
}

fn refused(reason: &'static str) {
    metrics::counter!("partywall_bundle_refused_total", "reason" => reason).increment(1);
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
    /// When an issuer or the state directory cannot be used. A bundle on disk that cannot be
    /// trusted is none: it is logged and counted in the metric `partywall_bundle_refused_total`,
    /// and every request is refused with [`Refusal::NoBundle`] until a good one comes (R-19).
    pub fn build(self) -> Result<Partywall, BuildError> {
        let local_issuers = TrustedIssuers::compile(&self.issuers, &self.audience)?;
        let files = self.state_dir.map(BundleFiles::in_dir).transpose()?;
        let trust: BundleTrust = self.trust.into_iter().collect();
        let loaded = files.as_ref().map_or_else(Loaded::default, |files| files.load(&trust));
        for fault in &loaded.faults {
            refused(fault.reason.code());
            tracing::error!(
                path = %fault.path.display(),
                reason = fault.reason.code(),
                error = &fault.reason as &dyn std::error::Error,
                "a bundle on disk cannot be used"
            );
        }
        let wall = Partywall(Arc::new(Inner {
            audience: self.audience,
            local_issuers,
            trust,
            keeper: Mutex::new(Keeper::new(files, &loaded)),
            clock: self.clock,
            state: ArcSwapOption::empty(),
            replacing: Mutex::new(()),
            remembered: Cache::new(self.remembered),
            proofs: Cache::new(self.remembered),
            pinned_to: self.pinned_to,
            #[cfg(feature = "http")]
            key_urls: tokio::sync::watch::Sender::default(),
            #[cfg(feature = "http")]
            refresher: ArcSwapOption::empty(),
        }));
        let faulty = !loaded.faults.is_empty();
        let Some(bundle) = loaded.bundle else {
            if faulty {
                tracing::error!(
                    "no bundle on disk can be used: no tenant is served until one comes"
                );
            }
            return Ok(wall);
        };
        let generation = bundle.generation();
        match wall.put_in_force(Arc::new(bundle), None) {
            Ok(()) if faulty => {
                tracing::warn!(%generation, "starting from a bundle on disk that may not be the last one");
            }
            Ok(()) => tracing::info!(%generation, "starting from the last good bundle on disk"),
            Err(error) => {
                refused(error.code());
                tracing::error!(reason = error.code(), %error, %generation, "the bundle on disk cannot be used: no tenant is served until one comes");
            }
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
}
