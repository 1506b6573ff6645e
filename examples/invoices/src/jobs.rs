//! Reminders: work that outlives the request, and still knows whose it is.
//!
//! The handler seals the job into an envelope; the worker opens it again, and only then has a
//! tenant. In between lies a queue, which could as well be a table or a message broker: what
//! travels is a signed text. A job of a tenant suspended meanwhile does not run.

use std::{sync::Arc, time::Duration};

use partywall::{
    Clock, Partywall, TenantContext,
    carry::JobQueue,
    token::{KeySet, KeySetError, SigningKey},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::{AppError, Ledger};

/// How long a reminder may wait.
const LIFE: Duration = Duration::from_secs(15 * 60);

/// The queue, as handlers see it.
#[derive(Clone)]
pub struct Reminders {
    queue: Arc<JobQueue>,
    key: Arc<SigningKey>,
    clock: Arc<dyn Clock>,
    envelopes: mpsc::Sender<String>,
}

/// The queue, as the worker sees it: it can open envelopes and not make them.
pub struct ReminderWorker {
    queue: Arc<JobQueue>,
    keys: KeySet,
    envelopes: mpsc::Receiver<String>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Remind {
    invoice: Uuid,
}

impl Reminders {
    /// Opens a queue whose envelopes are signed with `key`.
    ///
    /// # Errors
    ///
    /// When the key's public half does not read back as a key set.
    pub fn open(
        key: SigningKey,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, ReminderWorker), KeySetError> {
        let (sender, receiver) = mpsc::channel(1024);
        let queue = JobQueue { producer: "invoices".into(), queue: "invoices/reminders".into() };
        let queue = Arc::new(queue);
        let keys = KeySet::parse(json!({ "keys": [key.public_jwk()] }).to_string().as_bytes())?;
        let worker = ReminderWorker { queue: Arc::clone(&queue), keys, envelopes: receiver };
        Ok((Self { queue, key: Arc::new(key), clock, envelopes: sender }, worker))
    }

    pub(crate) fn enqueue(&self, tenant: &TenantContext, invoice: Uuid) -> Result<(), AppError> {
        let job = Remind { invoice };
        let envelope = tenant
            .seal_job(&self.queue, &job, LIFE, &self.key, self.clock.as_ref())
            .map_err(AppError::store)?;
        self.envelopes.try_send(envelope).map_err(|_| AppError::Queue)
    }
}

impl ReminderWorker {
    /// Sends reminders until the queue is closed.
    pub async fn run<S: Ledger>(mut self, wall: Partywall, store: S) {
        while let Some(envelope) = self.envelopes.recv().await {
            let opened = wall.open_job::<Remind>(&self.queue, &envelope, &self.keys);
            let (tenant, job) = match opened {
                Ok(opened) => opened,
                Err(refusal) => {
                    tracing::warn!(
                        reason = refusal.code(),
                        tenant.id = refusal.tenant().map(tracing::field::display),
                        principal = refusal.principal().map(tracing::field::display),
                        "a reminder was not sent: {refusal}",
                    );
                    continue;
                }
            };
            if let Err(error) = tenant.clone().carry(send(&store, job.invoice)).await {
                tracing::error!(tenant.id = %tenant.tenant(), %error, "a reminder failed");
            }
        }
    }
}

/// Runs as the tenant whose context it was carried under; without one it does nothing.
async fn send<S: Ledger>(store: &S, invoice: Uuid) -> Result<(), AppError> {
    let tenant = TenantContext::current().map_err(AppError::store)?;
    let mut db = tenant.open(store).await.map_err(AppError::store)?;
    S::mark_reminded(&mut db, invoice).await?;
    db.commit().await.map_err(AppError::store)?;
    tracing::info!(tenant.id = %tenant.tenant(), %invoice, "a reminder went out");
    Ok(())
}
