//! Telling applications that a session has ended (OIDC Back-Channel Logout 1.0). Whom to tell is in
//! the database since the transaction that ended it; a chore tells them, again and again until they
//! have heard or a day has passed. An application may hear of the same end twice.

use std::time::Duration;

use partywall::{TenantId, Timestamp};
use serde::Serialize;
use serde_json::json;
use tokio::task::JoinSet;

use super::caller::CallError;
use crate::{
    control::{ApplicationStatus, ControlPlane},
    keys::{KeyError, RingError},
    provider::At,
    random::{self, RandomError},
    storage::{
        StorageError, applications,
        outgoing_logouts::{self, Due},
    },
};

impl ControlPlane {
    /// Tells what is due. Several servers on one database do not tell the same at once; a server
    /// killed between telling and noting so tells again.
    pub(crate) async fn tell_due_logouts(&self) -> Result<(), LogoutError> {
        let now = self.now();
        let mut calls = JoinSet::new();
        for due in outgoing_logouts::due(self.inner.db.reader(), now, AT_ONCE).await? {
            let control = self.clone();
            calls.spawn(async move { control.tell_one(&due, now).await });
        }
        while let Some(told) = calls.join_next().await {
            if let Ok(told) = told {
                told?;
            }
        }
        Ok(())
    }

    async fn tell_one(&self, due: &Due, now: Timestamp) -> Result<(), LogoutError> {
        let until = now + pause_after(due.tries);
        {
            let write = self.inner.db.single().await;
            if !outgoing_logouts::claim(write.db(), due, until).await? {
                return Ok(());
            }
        }
        let told = self.call(due).await;
        let last_try = due.give_up_at <= now;
        let outcome = match &told {
            Ok(()) => "told",
            Err(_) if last_try => "given_up",
            Err(_) => "put_off",
        };
        metrics::counter!("partywall_logouts_total", "outcome" => outcome).increment(1);
        if let Err(error) = &told {
            let error = error as &dyn std::error::Error;
            tracing::warn!(
                error, tenant.id = %due.tenant, client.id = %due.client, outcome,
                "an application did not take a logout"
            );
        }
        let write = self.inner.db.single().await;
        if told.is_ok() || last_try {
            outgoing_logouts::remove(write.db(), due.id).await?;
        } else {
            outgoing_logouts::put_off(write.db(), &due.client, now, until).await?;
        }
        Ok(())
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
        Ok(self.inner.caller.post_logout_token(&uri, &token).await?)
    }
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
    Call(#[from] CallError),
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
/// How many are told at the same time.
const AT_ONCE: u64 = 20;
