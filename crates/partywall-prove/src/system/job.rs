//! Work that runs later: nothing may run without a tenant, or as another one.

use std::future::Future;

use partywall::TenantId;

use super::IssuerError;

/// A job as the queue's producer would put it in, good or wrong in one way.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Job {
    /// A good one: the control.
    Good,
    /// It waited too long.
    Expired,
    /// It was sealed, with the same key, for another queue.
    OtherQueue,
    /// Its tenant was suspended after it was put in.
    Suspended,
    /// The token it was put in with was revoked since.
    Revoked,
}

/// What came of handing a payload to a worker.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum JobOutcome {
    /// It would run, as this tenant where that is known.
    Accepted(Option<TenantId>),
    /// It was turned away, for this reason: a word, never the payload.
    Refused(String),
}

/// The door of a worker, and what may come through it.
pub trait JobGate: Send + Sync {
    /// Hands the worker a payload, as the queue would.
    ///
    /// # Errors
    ///
    /// When nobody can say what came of it.
    fn run(&self, payload: &[u8]) -> impl Future<Output = Result<JobOutcome, IssuerError>> + Send;

    /// A payload of `tenant`, or `None` where this queue makes no such job: the attack is then
    /// reported as not tested.
    ///
    /// # Errors
    ///
    /// When it was tried and failed.
    fn payload(
        &self,
        tenant: &TenantId,
        job: Job,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, IssuerError>> + Send;
}
