//! The one thing every later step asks for: [`TenantContext`].

use std::{
    fmt,
    sync::{Arc, atomic::AtomicU64},
};

use crate::{
    OpenError, Placement, Principal, Role, Scoped, Store, SubjectId, TenantId, TenantScope, Tier,
    Timestamp,
    bundle::{Bundle, Generation},
    token::{KeyFingerprint, VerifiedClaims},
};

/// Who is acting, for which tenant, under which bundle.
///
/// A `TenantContext` exists only because a credential was verified and its tenant admitted. It
/// pins the [`Bundle`] it was made with, so that one request sees one set of tenants, keys and
/// placements from start to end. Cloning it is cheap.
///
/// Nobody else can make one:
///
/// ```compile_fail,E0451
/// # use std::sync::Arc;
/// # fn forge(identity: Arc<partywall::Identity>, bundle: Arc<partywall::bundle::Bundle>) {
/// partywall::TenantContext { credential: identity, bundle }; // the fields are private
/// # }
/// ```
///
/// ```compile_fail,E0624
/// # use std::sync::Arc;
/// # fn forge(identity: Arc<partywall::Identity>, bundle: Arc<partywall::bundle::Bundle>) {
/// partywall::TenantContext::new(identity, bundle); // and so is the way to make one
/// # }
/// ```
#[derive(Clone)]
pub struct TenantContext {
    credential: Arc<Credential>,
    bundle: Arc<Bundle>,
}

impl TenantContext {
    /// The only caller is [`admit`](crate::admission), after it has let the identity in.
    pub(crate) fn new(credential: Arc<Credential>, bundle: Arc<Bundle>) -> Self {
        Self { credential, bundle }
    }

    /// Opens `store` for this tenant, where the bundle places it.
    ///
    /// # Errors
    ///
    /// [`OpenError::NotPlaced`] when the tenant has no place there, which is never a default
    /// (M-14), and whatever the store says.
    pub async fn open<S: Store>(&self, store: &S) -> Result<Scoped<S>, OpenError<S::Error>> {
        let placement = self.placement(store).ok_or_else(|| OpenError::NotPlaced {
            store: store.name().clone(),
            tenant: self.tenant().clone(),
        })?;
        let scope = TenantScope { tenant: self.tenant(), placement };
        store.open(scope).await.map(Scoped::new).map_err(OpenError::Store)
    }

    /// Where this tenant's data lives in `store`.
    pub fn placement<S: Store>(&self, store: &S) -> Option<&Placement> {
        self.bundle.tenant(self.tenant())?.placement(store.name())
    }

    /// The tenant acted for.
    pub fn tenant(&self) -> &TenantId {
        &self.identity().tenant
    }

    /// What the tenant pays for.
    pub fn tier(&self) -> Option<&Tier> {
        self.bundle.tenant(self.tenant())?.tier()
    }

    /// Who acts.
    pub fn principal(&self) -> &Principal {
        &self.identity().principal
    }

    /// What the principal may be inside this tenant.
    pub fn roles(&self) -> &[Role] {
        &self.identity().roles
    }

    /// Whether the principal has the role of that name.
    pub fn has_role(&self, name: &str) -> bool {
        self.roles().iter().any(|role| role.as_str() == name)
    }

    /// Everything the credential proved.
    pub fn identity(&self) -> &Identity {
        &self.credential.identity
    }

    /// The generation of the bundle this context was admitted under.
    pub fn generation(&self) -> Generation {
        self.bundle.generation()
    }

    #[cfg(feature = "axum")]
    pub(crate) fn bundle(&self) -> &Arc<Bundle> {
        &self.bundle
    }
}

impl fmt::Debug for TenantContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantContext")
            .field("tenant", self.tenant())
            .field("principal", self.principal())
            .field("generation", &self.generation())
            .finish_non_exhaustive()
    }
}

/// A credential that verified, with what an enforcement point that remembers it must know to forget
/// it in time. What every request looks at stands first, on one cache line, and `repr(C)` keeps it
/// there: with a million remembered, a second line is another trip to memory.
#[repr(C)]
pub(crate) struct Credential {
    /// It is no longer remembered from here on, leeway included.
    pub(crate) dies: Timestamp,
    /// The rules of issuers it was verified under.
    pub(crate) rules: u64,
    /// The latest state of the enforcement point it was admitted in.
    pub(crate) admitted: AtomicU64,
    /// The key whose proof each request must bring along (RFC 9449).
    pub(crate) bound_to: Option<Arc<str>>,
    /// The issuer's key that signed it.
    pub(crate) key: Option<KeyFingerprint>,
    pub(crate) identity: Identity,
}

impl Credential {
    /// One that nobody remembers: a job's, or a test's.
    pub(crate) fn unremembered(identity: Identity) -> Self {
        let (dies, rules, admitted) = (Timestamp(0), 0, AtomicU64::new(0));
        Self { dies, rules, admitted, bound_to: None, key: None, identity }
    }
}

/// What a verified credential proved: facts, which grant nothing without a [`TenantContext`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Identity {
    /// The tenant the credential is for; exactly one (M-04).
    pub tenant: TenantId,
    /// Who acts.
    pub principal: Principal,
    /// What the principal may be inside the tenant.
    pub roles: Vec<Role>,
    /// OAuth scopes granted to the client.
    pub scope: Vec<String>,
    /// Who issued the credential.
    pub issuer: Arc<str>,
    /// The OAuth client that asked for it.
    pub client_id: Option<String>,
    /// The credential's own id (`jti`).
    pub token_id: Option<String>,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
    /// When the principal last proved who it is.
    pub authenticated_at: Option<Timestamp>,
    /// How (`amr`, RFC 8176).
    pub methods: Vec<String>,
    /// Through which connection of the tenant (`cid`).
    pub connection: Option<String>,
    /// The tenant's epoch when the credential was issued (`tep`).
    pub tenant_epoch: Option<u32>,
    /// Who really acts, on the principal's behalf (RFC 8693 `act`).
    pub actor: Option<SubjectId>,
    /// For a job: when the envelope it came in expires.
    pub sealed_until: Option<Timestamp>,
}

impl From<VerifiedClaims> for Identity {
    fn from(claims: VerifiedClaims) -> Self {
        Self {
            tenant: claims.tenant,
            principal: claims.principal,
            roles: claims.roles,
            scope: claims.scope,
            issuer: claims.issuer,
            client_id: claims.client_id,
            token_id: claims.jti,
            issued_at: claims.issued_at,
            expires_at: claims.expires_at,
            authenticated_at: claims.auth_time,
            methods: claims.amr,
            connection: claims.connection,
            tenant_epoch: claims.tenant_epoch,
            actor: claims.actor,
            sealed_until: None,
        }
    }
}
