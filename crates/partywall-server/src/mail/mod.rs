//! Mail to people. It is written down, sealed, in the transaction that gives reason for it, and
//! sent by a chore: whoever waits for an answer cannot tell by its time whether there was anybody
//! to write to, and what was promised is sent, whatever crashes (RFC 5321 by `lettre`).

use askama::Template;
use partywall::{TenantId, Timestamp};
use sea_orm::ConnectionTrait;
use serde::{Deserialize, Serialize};

pub use config::{InvalidMail, MailConfig};
pub(crate) use post::Post;

use crate::{
    control::{ControlPlane, Email},
    keys::SealError,
    storage::{StorageError, outgoing_mail},
};

mod config;
mod post;

/// Something to tell somebody.
pub(crate) struct Letter<'l> {
    pub(crate) to: &'l Email,
    pub(crate) subject: &'l str,
    /// Who writes: the tenant, or the vendor.
    pub(crate) sender: &'l str,
    pub(crate) lines: &'l [&'l str],
    pub(crate) link: Option<Link<'l>>,
    pub(crate) closing: &'l str,
}

/// The one thing to do about it.
pub(crate) struct Link<'l> {
    pub(crate) label: &'l str,
    pub(crate) address: &'l str,
}

/// What a letter is about, for the log and the metrics.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Matter {
    Invitation,
    ResetPassword,
    PasswordChanged,
}

impl Matter {
    fn as_str(self) -> &'static str {
        match self {
            Self::Invitation => "invitation",
            Self::ResetPassword => "reset_password",
            Self::PasswordChanged => "password_changed",
        }
    }
}

/// A letter as it is kept: it may carry a link that lets somebody in, so it is sealed.
#[derive(Deserialize, Serialize)]
struct Written {
    to: Email,
    subject: String,
    text: String,
    html: String,
}

/// Writes a letter down, in the caller's transaction.
pub(crate) async fn enqueue(
    control: &ControlPlane,
    db: &impl ConnectionTrait,
    tenant: Option<&TenantId>,
    matter: Matter,
    letter: &Letter<'_>,
) -> Result<(), MailError> {
    let written = Written {
        to: letter.to.clone(),
        subject: letter.subject.to_owned(),
        text: Text {
            sender: letter.sender,
            lines: letter.lines,
            link: &letter.link,
            closing: letter.closing,
        }
        .render()?,
        html: Html {
            subject: letter.subject,
            sender: letter.sender,
            lines: letter.lines,
            link: &letter.link,
            closing: letter.closing,
        }
        .render()?,
    };
    let clear =
        zeroize::Zeroizing::new(serde_json::to_vec(&written).map_err(|_| MailError::Unreadable)?);
    let sealed = control.inner.config.sealing_key.seal(ASSOCIATED, &clear)?;
    outgoing_mail::insert(db, tenant, matter.as_str(), sealed, control.now()).await?;
    Ok(())
}

impl ControlPlane {
    /// Sends what is due. Several servers on one database do not send the same at once; a server
    /// killed between sending and noting so sends again.
    pub(crate) async fn send_due_mail(&self) -> Result<(), MailError> {
        let Some(post) = &self.inner.post else { return Ok(()) };
        let now = self.now();
        for due in outgoing_mail::due(self.inner.db.reader(), now, AT_ONCE).await? {
            let claimed = {
                let write = self.inner.db.single().await;
                outgoing_mail::claim(write.db(), &due, now + pause_after(due.tries)).await?
            };
            if claimed {
                self.send_one(post, &due, now).await?;
            }
        }
        Ok(())
    }

    async fn send_one(
        &self,
        post: &Post,
        due: &outgoing_mail::Due,
        now: Timestamp,
    ) -> Result<(), MailError> {
        let clear = self.inner.config.sealing_key.open(ASSOCIATED, &due.sealed)?;
        let written: Written =
            serde_json::from_slice(clear.expose()).map_err(|_| MailError::Unreadable)?;
        let sent = post.send(&written.to, &written.subject, &written.text, &written.html).await;
        let last_try = due.give_up_at <= now;
        let outcome = match &sent {
            Ok(()) => "sent",
            Err(_) if last_try => "given_up",
            Err(_) => "put_off",
        };
        metrics::counter!("partywall_mail_total", "outcome" => outcome).increment(1);
        if let Err(error) = &sent {
            let error = error as &dyn std::error::Error;
            tracing::error!(
                error,
                mail.id = due.id,
                mail.kind = due.kind,
                outcome,
                "mail was not taken"
            );
        }
        if sent.is_ok() || last_try {
            let write = self.inner.db.single().await;
            outgoing_mail::remove(write.db(), due.id).await?;
        }
        Ok(())
    }
}

/// Five seconds after the first try, then twice as long each time, at most an hour.
fn pause_after(tries: u32) -> std::time::Duration {
    let seconds = 5_u64.saturating_mul(1_u64.checked_shl(tries).unwrap_or(u64::MAX));
    std::time::Duration::from_secs(seconds.min(3600))
}

#[derive(Template)]
#[template(path = "mail/letter.html")]
struct Html<'l> {
    subject: &'l str,
    sender: &'l str,
    lines: &'l [&'l str],
    link: &'l Option<Link<'l>>,
    closing: &'l str,
}

#[derive(Template)]
#[template(path = "mail/letter.txt")]
struct Text<'l> {
    sender: &'l str,
    lines: &'l [&'l str],
    link: &'l Option<Link<'l>>,
    closing: &'l str,
}

/// Why a letter could not be written or sent on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MailError {
    /// The template.
    #[error("the letter could not be written")]
    Template(#[from] askama::Error),
    /// A letter in the database is none.
    #[error("a letter that waits to be sent is not readable")]
    Unreadable,
    /// It does not open.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

const ASSOCIATED: &[u8] = b"partywall mail v1";
/// How many are sent one after the other before other chores have their turn.
const AT_ONCE: u64 = 20;
