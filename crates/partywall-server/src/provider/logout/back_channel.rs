//! Telling applications that a session has ended (OIDC Back-Channel Logout 1.0). Whom to tell is in
//! the database since the transaction that ended it; a chore tells them, again and again until they
//! have heard or a day has passed. An application may hear of the same end twice.

use std::{collections::HashMap, time::Duration};

use partywall::{TenantId, Timestamp};
use serde::Serialize;
use serde_json::json;
use tokio::task::{self, JoinSet};

use super::caller::{self, NotTold};
use crate::{
    control::{ApplicationId, ApplicationStatus, ControlPlane},
    keys::{KeyError, RingError},
    provider::At,
    random::{self, RandomError},
    storage::{
        StorageError, applications,
        outgoing_logouts::{self, Due},
    },
};

/// Who is being told by this server at the moment.
#[derive(Default)]
pub(crate) struct Telling {
    tasks: JoinSet<Result<(), LogoutError>>,
    clients: HashMap<task::Id, ApplicationId>,
}

impl Telling {
    /// Begins to tell every application that something is due for, each in a task of its own: one
    /// that does not answer keeps nobody waiting but itself. Waits for none of them.
    pub(crate) async fn begin(&mut self, control: &ControlPlane) -> Result<(), LogoutError> {
        let mut failed = Ok(());
        while let Some(told) = self.tasks.try_join_next_with_id() {
            failed = failed.and(self.note(told));
        }
        let now = control.now();
        let db = control.inner.db.reader();
        // Those being told are due still, with what is not claimed yet.
        let limit = CLIENTS_AT_ONCE * 2;
        for client in outgoing_logouts::clients_due(db, now, limit as u64).await? {
            let is_busy = self.clients.values().any(|busy| *busy == client);
            if is_busy || self.tasks.len() >= CLIENTS_AT_ONCE {
                continue;
            }
            let (control, named) = (control.clone(), client.clone());
            let task = self.tasks.spawn(async move { control.tell(&named, now).await });
            self.clients.insert(task.id(), client);
        }
        failed
    }

    fn note(
        &mut self,
        told: Result<(task::Id, Result<(), LogoutError>), task::JoinError>,
    ) -> Result<(), LogoutError> {
        match told {
            Ok((id, told)) => {
                self.clients.remove(&id);
                told
            }
            Err(error) => {
                self.clients.remove(&error.id());
                tracing::error!(error = &error as &dyn std::error::Error, "a logout was not told");
                Ok(())
            }
        }
    }
}

impl ControlPlane {
    /// Tells what is due, and waits until everybody has answered or was waited for long enough.
    #[cfg(test)]
    pub(crate) async fn tell_due_logouts(&self) -> Result<(), LogoutError> {
        let mut telling = Telling::default();
        telling.begin(self).await?;
        while let Some(told) = telling.tasks.join_next_with_id().await {
            telling.note(told)?;
        }
        Ok(())
    }

    /// Tells one application what is due: one first, and where that was heard, the others by
    /// several. At the first that is not heard it is left alone for a while. Several servers on one
    /// database do not tell the same at once; a server killed between telling and noting so tells
    /// again.
    async fn tell(&self, client: &ApplicationId, now: Timestamp) -> Result<(), LogoutError> {
        let due = outgoing_logouts::due(self.inner.db.reader(), client, now, AT_A_TIME).await?;
        let mut due = due.into_iter();
        let mut side_by_side = 1;
        loop {
            let some: Vec<Due> = due.by_ref().take(side_by_side).collect();
            if some.is_empty() {
                return Ok(());
            }
            let mut calls = JoinSet::new();
            for due in some {
                let control = self.clone();
                calls.spawn(async move { control.tell_one(&due, now).await });
            }
            let mut all_heard = true;
            while let Some(heard) = calls.join_next().await {
                all_heard &= heard.unwrap_or(Ok(false))?;
            }
            if !all_heard {
                return Ok(());
            }
            side_by_side = CALLS_AT_ONCE;
        }
    }

    /// `false` when it was not heard.
    async fn tell_one(&self, due: &Due, now: Timestamp) -> Result<bool, LogoutError> {
        let until = now + pause_after(due.tries);
        {
            let write = self.inner.db.single().await;
            if !outgoing_logouts::claim(write.db(), due, until).await? {
                return Ok(true);
            }
        }
        let told = self.call(due).await;
        let Err(error) = told else {
            count("told", 1);
            let write = self.inner.db.single().await;
            outgoing_logouts::remove(write.db(), due.id).await?;
            return Ok(true);
        };
        tracing::warn!(
            error = &error as &dyn std::error::Error, tenant.id = %due.tenant,
            client.id = %due.client, "an application did not take a logout"
        );
        count("put_off", 1);
        let write = self.inner.db.single().await;
        count("given_up", outgoing_logouts::give_up(write.db(), &due.client, now).await?);
        outgoing_logouts::put_off(write.db(), &due.client, now, until).await?;
        Ok(false)
    }

    /// Calls the application at the address it has registered now. One that is there no more, or
    /// does not want to hear any more, has been told.
    async fn call(&self, due: &Due) -> Result<(), LogoutError> {
        let application = applications::find(self.inner.db.reader(), &due.client).await?;
        let uri = application
            .filter(|application| application.status == ApplicationStatus::Active)
            .and_then(|application| application.registration.backchannel_logout_uri);
        let Some(uri) = uri else { return Ok(()) };
        let token = logout_token(self, due).await?;
        Ok(caller::post_logout_token(&self.inner.outbound, &uri, &token).await?)
    }
}

fn count(outcome: &'static str, logouts: u64) {
    metrics::counter!("partywall_logouts_total", "outcome" => outcome).increment(logouts);
}

/// OIDC Back-Channel Logout 2.4: who is signed out, of which session, and nothing that would make
/// it another kind of token. No `nonce`, ever.
async fn logout_token(control: &ControlPlane, due: &Due) -> Result<String, LogoutError> {
    let at = At::speaking_for(control, &due.tenant).await?;
    let now = control.now();
    let claims = LogoutClaims {
        iss: at.issuer(),
        aud: due.client.as_str(),
        sub: due.user.as_str(),
        sid: &due.sid,
        tid: &due.tenant,
        iat: now.0,
        exp: (now + LIFETIME).0,
        jti: random::opaque_id(&control.inner.random)?,
        events: json!({ EVENT: {} }),
    };
    Ok(at.keys(control)?.sign_jws(TYP, &claims)?)
}

#[derive(Serialize)]
struct LogoutClaims<'c> {
    iss: &'c str,
    aud: &'c str,
    sub: &'c str,
    sid: &'c str,
    tid: &'c TenantId,
    iat: u64,
    exp: u64,
    jti: String,
    events: serde_json::Value,
}

/// Five seconds after the first try, then twice as long each time, at most an hour.
fn pause_after(tries: u32) -> Duration {
    let seconds = 5_u64.saturating_mul(1_u64.checked_shl(tries).unwrap_or(u64::MAX));
    Duration::from_secs(seconds.min(3600))
}

/// Why an application was not told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogoutError {
    #[error(transparent)]
    Call(#[from] NotTold),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Ring(#[from] RingError),
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// OIDC Back-Channel Logout 2.4: explicitly typed (RFC 8725 3.11).
pub(crate) const TYP: &str = "logout+jwt";
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// OIDC Back-Channel Logout 2.4 recommends two minutes at most.
const LIFETIME: Duration = Duration::from_secs(120);
/// How many applications are told at the same time, and by how many calls each.
const CLIENTS_AT_ONCE: usize = 32;
const CALLS_AT_ONCE: usize = 8;
/// How much one application is told before it is somebody else's turn.
const AT_A_TIME: u64 = 100;
