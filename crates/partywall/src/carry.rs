//! The tenant's context beyond the request: spawned work, queues and cron (M-11).
//!
//! Spawned work carries its context with [`TenantContext::carry`] and asks for it with
//! [`TenantContext::current`]. A job that waits in a queue travels in an *envelope*: signed,
//! short-lived, and looked at again when it is opened, so that a job of a tenant suspended
//! meanwhile does not run. Work with neither is refused: there is no default tenant (T-02).

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    Identity, Partywall, Principal, Refusal, Role, SubjectId, TenantContext, TenantId, Timestamp,
    admission,
    context::Credential,
    token::{ArtefactRules, KeySet, TokenError, verify_artefact},
};

#[cfg(feature = "tokio")]
tokio::task_local! {
    static CURRENT: TenantContext;
}

#[cfg(feature = "tokio")]
impl TenantContext {
    /// Runs `work` as this tenant: inside it, [`current`](Self::current) is this context.
    ///
    /// ```
    /// # async fn nightly(context: partywall::TenantContext) {
    /// tokio::spawn(context.clone().carry(async {
    ///     let context = partywall::TenantContext::current()?;
    ///     tracing::info!(tenant.id = %context.tenant(), "sending reminders");
    ///     Ok::<_, partywall::NoTenant>(())
    /// }));
    /// # }
    /// ```
    pub fn carry<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, work)
    }

    /// The context this work was [carried](Self::carry) under.
    ///
    /// # Errors
    ///
    /// [`NoTenant`] when there is none: never "all tenants" and never a default.
    pub fn current() -> Result<Self, NoTenant> {
        CURRENT.try_with(Clone::clone).map_err(|_| NoTenant)
    }
}

/// Work ran without a tenant.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no tenant context here: wrap the work in `context.carry(..)`, or open the job's envelope")]
pub struct NoTenant;

/// The `typ` of an envelope. No other artefact of ours is called so (J-10).
const ENVELOPE: &str = "partywall-job+jwt";

/// The longest a job may wait in its envelope.
pub const MAX_ENVELOPE_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// What an envelope says.
#[derive(Deserialize, Serialize)]
struct Envelope<P> {
    iss: String,
    aud: String,
    iat: Timestamp,
    exp: Timestamp,
    tid: TenantId,
    sub: SubjectId,
    machine: bool,
    roles: Vec<Role>,
    scope: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tep: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cid: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    act: Option<SubjectId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    /// Issuer, id and issue time of the token the job was put in with: its revocation counts.
    token_iss: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token_jti: Option<String>,
    token_iat: Timestamp,
    job: P,
}

/// Where envelopes come from and go to: the names in them, and how long they last.
#[derive(Clone, Debug)]
pub struct JobQueue {
    /// The service that puts jobs in; its key signs them.
    pub producer: String,
    /// The queue: a job put into one cannot be taken out of another.
    pub queue: String,
}

#[cfg(feature = "sign")]
impl TenantContext {
    /// Signs `job` into an envelope that [`Partywall::open_job`] turns back into this tenant's
    /// context, for at most `life`.
    ///
    /// The key is the application's own; whoever only takes jobs out holds its public half.
    ///
    /// # Errors
    ///
    /// When `life` is beyond [`MAX_ENVELOPE_LIFE`], or the job does not serialise.
    pub fn seal_job<P: Serialize>(
        &self,
        queue: &JobQueue,
        job: &P,
        life: Duration,
        key: &crate::token::SigningKey,
        clock: &dyn crate::Clock,
    ) -> Result<String, SealError> {
        if life > MAX_ENVELOPE_LIFE {
            return Err(SealError::TooLong { life });
        }
        let (identity, now) = (self.identity(), clock.now());
        // A job sealed from within a job waits no longer than the first one would have.
        let expires = (now + life).min(identity.sealed_until.unwrap_or(Timestamp(u64::MAX)));
        let envelope = Envelope {
            iss: queue.producer.clone(),
            aud: queue.queue.clone(),
            iat: now,
            exp: expires,
            tid: identity.tenant.clone(),
            sub: identity.principal.subject().clone(),
            machine: identity.principal.is_machine(),
            roles: identity.roles.clone(),
            scope: identity.scope.clone(),
            tep: identity.tenant_epoch,
            cid: identity.connection.clone(),
            act: identity.actor.clone(),
            client_id: identity.client_id.clone(),
            token_iss: identity.issuer.as_ref().to_owned(),
            token_jti: identity.token_id.clone(),
            token_iat: identity.issued_at,
            job,
        };
        Ok(key.sign_jws(ENVELOPE, &envelope)?)
    }
}

/// Why a job could not be put into an envelope.
#[cfg(feature = "sign")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// It would wait too long.
    #[error("an envelope lasts at most 24 hours, not {life:?}: put the job in later")]
    TooLong {
        /// The life asked for.
        life: Duration,
    },
    /// It could not be signed.
    #[error(transparent)]
    Sign(#[from] crate::token::SignError),
}

impl Partywall {
    /// Opens an envelope: checks the producer's signature, then whether the tenant, the principal,
    /// the issuer and the token it was sealed with are still good, as of the bundle in force now.
    ///
    /// An envelope can be opened more than once while it lasts: queues deliver at least once, so
    /// make jobs idempotent. The key that signed the *token* is not looked at any more; where one
    /// was stolen, withdrawing it should go with a new epoch for the tenants it could speak for.
    ///
    /// # Errors
    ///
    /// As for a token: a job that is not let in does not run.
    pub fn open_job<P: DeserializeOwned>(
        &self,
        queue: &JobQueue,
        envelope: &str,
        producer_keys: &KeySet,
    ) -> Result<(TenantContext, P), Refusal> {
        let now = self.clock().now();
        let rules = ArtefactRules {
            typ: ENVELOPE,
            issuer: &queue.producer,
            audience: &queue.queue,
            max_lifetime: MAX_ENVELOPE_LIFE,
        };
        let envelope: Envelope<P> = verify_artefact(envelope, producer_keys, &rules, now)?;
        let bundle = self.bundle().ok_or(Refusal::NoBundle)?;
        let principal = match envelope.machine {
            true => Principal::Machine(envelope.sub),
            false => Principal::User(envelope.sub),
        };
        let identity = Identity {
            tenant: envelope.tid,
            principal,
            roles: envelope.roles,
            scope: envelope.scope,
            issuer: envelope.token_iss.into(),
            client_id: envelope.client_id,
            token_id: envelope.token_jti,
            issued_at: envelope.token_iat,
            expires_at: envelope.exp,
            authenticated_at: None,
            methods: Vec::new(),
            connection: envelope.cid,
            tenant_epoch: envelope.tep,
            actor: envelope.act,
            sealed_until: Some(envelope.exp),
        };
        self.check_pin(&identity.tenant, &identity.principal)?;
        if !self.may_speak_for(&identity.issuer, &identity.tenant) {
            let issuer = identity.issuer.as_ref().to_owned();
            return Err(TokenError::IssuerUntrusted { issuer }.into());
        }
        let credential = Arc::new(Credential::unremembered(identity));
        let context = admission::admit(credential, bundle, now)?;
        Ok((context, envelope.job))
    }
}
