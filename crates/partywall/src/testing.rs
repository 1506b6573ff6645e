//! For tests: contexts without a token behind them, and what every adapter must pass before it
//! may be called one.
//!
//! An adapter proves itself by implementing [`Probe`] in its tests and running [`isolation`].

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

use crate::{
    Builder, Clock, DeploymentModel, FixedClock, Identity, Partywall, Placement, Placements,
    Principal, Scoped, Store, StoreName, Target, TenantContext, TenantId, TenantStatus, Timestamp,
    bundle::{
        Base, Bundle, BundleContents, BundleHeader, BundleKey, Generation, TenantRecord,
        UnsignedBundle, UnsignedError,
    },
    context::Credential,
    token::{Algorithm, SigningKey},
};

/// A tenant in good standing, its slug the same as its id, placed as told.
///
/// # Panics
///
/// When `id` is none.
#[expect(clippy::panic, reason = "a test helper reports by panicking")]
pub fn tenant(id: &str, placements: Placements) -> TenantRecord {
    let (Ok(id), Ok(slug), Ok(tier)) = (id.parse(), id.parse(), "test".parse()) else {
        panic!("{id:?} is no tenant id")
    };
    let (region, epoch, epoch_at) = (None, 0, Timestamp(0));
    TenantRecord {
        id,
        slug,
        status: TenantStatus::Active,
        tier,
        region,
        epoch,
        epoch_at,
        placements,
    }
}

/// One store, one model, one target.
///
/// # Panics
///
/// When a name is none.
#[expect(clippy::panic, reason = "a test helper reports by panicking")]
pub fn placed(store: &str, model: DeploymentModel, target: &str) -> Placements {
    let (Ok(store), Ok(target)): (Result<StoreName, _>, Result<Target, _>) =
        (store.parse(), target.parse())
    else {
        panic!("{store:?} or {target:?} is no name")
    };
    Placements::from_iter([(store, Placement { model, target })])
}

/// A bundle of these tenants that nobody signed, valid for ever.
///
/// # Errors
///
/// When two tenants share an id or a slug.
pub fn bundle(tenants: Vec<TenantRecord>) -> Result<Arc<Bundle>, UnsignedError> {
    let header = BundleHeader {
        generation: Generation(1),
        base: None,
        created: Timestamp(0),
        expires: Timestamp(u64::MAX),
    };
    let contents = BundleContents { tenants, ..BundleContents::default() };
    Bundle::unsigned(&header, &contents).map(Arc::new)
}

/// A context with no token behind it.
pub fn context(bundle: &Arc<Bundle>, tenant: TenantId, principal: Principal) -> TenantContext {
    let identity = Identity {
        tenant,
        principal,
        roles: Vec::new(),
        scope: Vec::new(),
        issuer: "https://id.test".into(),
        client_id: None,
        token_id: None,
        issued_at: Timestamp(0),
        expires_at: Timestamp(u64::MAX),
        authenticated_at: None,
        methods: Vec::new(),
        connection: None,
        tenant_epoch: None,
        actor: None,
        sealed_until: None,
    };
    TenantContext::new(Arc::new(Credential::unremembered(identity)), Arc::clone(bundle))
}

/// Contexts for these tenants, all placed alike in one store.
///
/// # Panics
///
/// When an id is none, or stands twice.
#[expect(clippy::panic, reason = "a test helper reports by panicking")]
pub fn contexts<const N: usize>(ids: [&str; N], placements: &Placements) -> [TenantContext; N] {
    let records: Vec<_> = ids.iter().map(|id| tenant(id, placements.clone())).collect();
    let Ok(bundle) = bundle(records) else { panic!("{ids:?} are not distinct") };
    ids.map(|id| match (id.parse(), "u:test".parse()) {
        (Ok(tenant), Ok(subject)) => context(&bundle, tenant, Principal::User(subject)),
        _ => panic!("{id:?} is no tenant id"),
    })
}

/// Three plain operations, in the adapter's own terms.
pub trait Probe: Store {
    /// Reads what can be reached with no scope at all, over a connection a handle may have used.
    ///
    /// An error is as good as nothing: both mean the last tenant left no key in the door.
    fn residue(&self)
    -> impl Future<Output = Result<BTreeMap<String, String>, Self::Error>> + Send;

    /// Writes `value` at `key`, and makes it last.
    fn put(
        handle: Scoped<Self>,
        key: &str,
        value: &str,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Reads every key and value the handle can reach.
    fn dump(
        handle: Scoped<Self>,
    ) -> impl Future<Output = Result<BTreeMap<String, String>, Self::Error>> + Send;
}

/// The tenants [`isolation`] acts as: one's id begins with the other's, and one ends with it.
pub const TENANTS: [&str; 3] = ["acme", "acme-2", "2-acme"];

/// Takes random turns as [`TENANTS`] and compares what each can reach with a model.
///
/// The store must be provisioned for them, placed as `placements` says.
///
/// # Panics
///
/// At the first turn where a tenant sees anything but its own, or the door was left open.
#[expect(clippy::panic, reason = "a test helper reports by panicking")]
pub async fn isolation<S: Probe>(store: &S, placements: &Placements, turns: u32, seed: u64) {
    let contexts = contexts(TENANTS, placements);
    let mut expected = [const { BTreeMap::new() }; TENANTS.len()];
    let mut random = Lcg(seed);
    for turn in 0..turns {
        let pick = random.below(TENANTS.len());
        let turns = contexts.iter().zip(&mut expected).nth(pick);
        let key = ["k", "-2k", "/k", "2/k", "k'"].into_iter().nth(random.below(5));
        let (Some((context, own)), Some(key)) = (turns, key) else { continue };
        let who = context.tenant();
        let handle = match context.open(store).await {
            Ok(handle) => handle,
            Err(error) => panic!("turn {turn}: {who} could not open: {error:?}"),
        };
        match random.below(3) {
            0 => drop(handle), // a handle dropped half-way leaves nothing
            1 => {
                let value = format!("{who}:{turn}");
                if let Err(error) = S::put(handle, key, &value).await {
                    panic!("turn {turn}: {who} could not write: {error:?}")
                }
                own.insert(key.to_owned(), value);
            }
            _ => match S::dump(handle).await {
                Ok(seen) => assert_eq!(&seen, own, "turn {turn}: {who} reached past the wall"),
                Err(error) => panic!("turn {turn}: {who} could not read: {error:?}"),
            },
        }
        if let Ok(left) = store.residue().await {
            assert!(left.is_empty(), "turn {turn}: {who} left a key in the door");
        }
    }
    assert!(expected.iter().all(|own| !own.is_empty()), "too few turns to prove anything");
}

/// Knuth's MMIX generator: enough for shuffling turns, the same on every machine.
struct Lcg(u64);

impl Lcg {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

/// A control plane and an issuer in miniature: signs bundles and tokens with keys made at once.
///
/// ```
/// use partywall::{AccessToken, DeploymentModel, testing::{ControlPlane, placed, tenant}};
///
/// let acme = tenant("acme", placed("main", DeploymentModel::Pool, "eu-1"));
/// let control = ControlPlane::new(vec![acme]);
/// let wall = control.wall();
/// let context = wall.verify(AccessToken::new(&control.token("acme", "u:ada"))).unwrap();
/// assert_eq!(context.tenant().as_str(), "acme");
/// ```
pub struct ControlPlane {
    bundle_key: Ed25519KeyPair,
    token_key: SigningKey,
    clock: Arc<FixedClock>,
    generation: u64,
    /// What the next bundle will say.
    pub contents: BundleContents,
}

impl ControlPlane {
    /// The issuer of its tokens.
    pub const ISSUER: &str = "https://id.test";
    /// The audience of its tokens.
    pub const AUDIENCE: &str = "https://api.test";
    /// When its clock starts, in seconds since 1970-01-01 UTC.
    pub const START: Timestamp = Timestamp(1_800_000_000);

    /// Serves these tenants, and signs tokens with ES256.
    pub fn new(tenants: Vec<TenantRecord>) -> Self {
        Self::with_key(tenants, must(SigningKey::generate(Algorithm::Es256)))
    }

    /// Serves these tenants, and signs tokens with `token_key`.
    pub fn with_key(tenants: Vec<TenantRecord>, token_key: SigningKey) -> Self {
        let contents = BundleContents { tenants, ..BundleContents::default() };
        let mut control = Self {
            bundle_key: must(Ed25519KeyPair::generate()),
            clock: Arc::new(FixedClock::at(Self::START)),
            generation: 0,
            token_key,
            contents,
        };
        control.trust_only_own_key();
        control
    }

    /// Replaces the key that signs tokens; bundles from now on name the new one only.
    pub fn rotate(&mut self) {
        self.token_key = must(SigningKey::generate(Algorithm::Es256));
        self.trust_only_own_key();
    }

    fn trust_only_own_key(&mut self) {
        let issuer = serde_json::json!({
            "issuer": Self::ISSUER,
            "profile": "partywall",
            "jwks": { "inline": { "keys": [self.token_key.public_jwk()] } },
        });
        self.contents.issuers = vec![must(serde_json::from_value(issuer))];
    }

    /// An enforcement point that trusts it and has its first bundle.
    pub fn wall(&self) -> Partywall {
        let wall = must(self.builder().build());
        must(wall.accept(self.sign(1, None)));
        wall
    }

    /// An enforcement point that trusts it, still to be built.
    pub fn builder(&self) -> Builder {
        let clock: Arc<dyn Clock> = Arc::<FixedClock>::clone(&self.clock);
        Partywall::builder().audience(Self::AUDIENCE).trust(self.bundle_public()).clock(clock)
    }

    /// The key its bundles are checked with.
    pub fn bundle_public(&self) -> BundleKey {
        let public = self.bundle_key.public_key().as_ref().first_chunk().copied();
        must(BundleKey::from_ed25519(public.unwrap_or_default()))
    }

    /// The clock its enforcement points go by.
    pub fn clock(&self) -> &FixedClock {
        &self.clock
    }

    /// A full bundle of what it has to say now, newer than all before.
    pub fn publish(&mut self) -> Vec<u8> {
        self.generation = self.generation.max(1) + 1;
        self.sign(self.generation, None)
    }

    /// What it has to say now, as the bundle of that generation; as a delta, to the bundle of
    /// generation `base` that was made at the same time on its clock.
    pub fn sign(&self, generation: u64, base: Option<u64>) -> Vec<u8> {
        let now = self.clock.now();
        let header = BundleHeader {
            generation: Generation(generation),
            base: base.map(|base| Base { generation: Generation(base), created: now }),
            created: now,
            expires: now + Duration::from_secs(72 * 3600),
        };
        let key = self.bundle_public();
        let unsigned = must(UnsignedBundle::encode(&header, &self.contents, &key));
        unsigned.sign(|message| {
            let signature = self.bundle_key.sign(message);
            signature.as_ref().first_chunk().copied().unwrap_or([0; 64])
        })
    }

    /// What a token says: good for ten minutes from now.
    pub fn claims(&self, tenant: &str, subject: &str) -> serde_json::Value {
        let now = self.clock.now().0;
        serde_json::json!({
            "iss": Self::ISSUER, "aud": Self::AUDIENCE, "sub": subject, "client_id": "test",
            "iat": now, "exp": now + 600, "jti": format!("{tenant}/{subject}/{now}"),
            "tid": tenant, "roles": ["member"],
        })
    }

    /// Signs `claims` as an access token.
    pub fn sign_token(&self, claims: &serde_json::Value) -> String {
        must(self.token_key.sign_jws("at+jwt", claims))
    }

    /// A good access token.
    pub fn token(&self, tenant: &str, subject: &str) -> String {
        self.sign_token(&self.claims(tenant, subject))
    }
}

#[expect(clippy::panic, reason = "a test helper reports by panicking")]
fn must<T, E: std::fmt::Debug>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("the test's own control plane failed: {error:?}"),
    }
}
