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

use post::PostError;

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
        zeroize::Zeroizing::new(serde_json::to_vec(&written).map_err(|_| MailError::Unwritable)?);
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
        let sent = self.hand_over(post, due).await;
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

    /// One that cannot be read is put off like one the server does not take: others are behind it.
    async fn hand_over(&self, post: &Post, due: &outgoing_mail::Due) -> Result<(), PostError> {
        let clear = self.inner.config.sealing_key.open(ASSOCIATED, &due.sealed)?;
        let written: Written =
            serde_json::from_slice(clear.expose()).map_err(|_| PostError::Unreadable)?;
        post.send(&written.to, &written.subject, &written.text, &written.html).await
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

/// Why a letter could not be written down.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MailError {
    /// The template.
    #[error("the letter could not be written")]
    Template(#[from] askama::Error),
    /// It cannot be kept.
    #[error("the letter could not be written down")]
    Unwritable,
    /// It cannot be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

const ASSOCIATED: &[u8] = b"partywall mail v1";
/// How many are sent one after the other before other chores have their turn.
const AT_ONCE: u64 = 20;

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use partywall::FixedClock;

    use super::*;
    use crate::control::tests_support::{START, control_with, no_mail_server};

    async fn world(dir: &Path) -> (ControlPlane, Arc<FixedClock>) {
        control_with(dir, |config| config.mail = Some(no_mail_server())).await
    }

    async fn write(control: &ControlPlane) {
        let to: Email = "ada@x.test".parse().unwrap();
        let letter =
            Letter { to: &to, subject: "s", sender: "acme", lines: &[], link: None, closing: "" };
        let db = control.inner.db.reader();
        enqueue(control, db, None, Matter::PasswordChanged, &letter).await.unwrap();
    }

    async fn due(control: &ControlPlane) -> Vec<outgoing_mail::Due> {
        outgoing_mail::due(control.inner.db.reader(), control.now(), 10).await.unwrap()
    }

    #[tokio::test]
    async fn mail_nobody_takes_is_tried_again_and_given_up_in_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let (control, clock) = world(dir.path()).await;
        write(&control).await;
        control.send_due_mail().await.unwrap();
        assert!(due(&control).await.is_empty(), "not at once again");
        clock.set(control.now() + std::time::Duration::from_secs(5));
        assert_eq!(due(&control).await[0].tries, 1);
        control.send_due_mail().await.unwrap();
        clock.set(control.now() + std::time::Duration::from_secs(9));
        assert!(due(&control).await.is_empty(), "it waits for longer");
        clock.set(START + std::time::Duration::from_secs(72 * 3600));
        assert_eq!(due(&control).await.len(), 1, "the control");
        control.send_due_mail().await.unwrap();
        clock.set(control.now() + std::time::Duration::from_secs(7200));
        assert!(due(&control).await.is_empty(), "given up");
    }

    #[tokio::test]
    async fn one_letter_that_cannot_be_read_is_in_no_others_way() {
        let dir = tempfile::tempdir().unwrap();
        let (control, clock) = world(dir.path()).await;
        let (db, now) = (control.inner.db.reader(), control.now());
        outgoing_mail::insert(db, None, "invitation", vec![7; 40], now).await.unwrap();
        write(&control).await;
        control.send_due_mail().await.unwrap();
        clock.set(control.now() + std::time::Duration::from_secs(5));
        let tried: Vec<u32> = due(&control).await.iter().map(|due| due.tries).collect();
        assert_eq!(tried, [1, 1], "both had their turn");
    }

    #[tokio::test]
    async fn of_several_servers_one_sends_a_letter() {
        let dir = tempfile::tempdir().unwrap();
        let (control, _clock) = world(dir.path()).await;
        write(&control).await;
        let (here, there) = (due(&control).await, due(&control).await);
        let until = control.now() + std::time::Duration::from_secs(5);
        let db = control.inner.db.reader();
        assert!(outgoing_mail::claim(db, &here[0], until).await.unwrap());
        assert!(!outgoing_mail::claim(db, &there[0], until).await.unwrap());
    }

    #[test]
    fn a_letter_says_what_it_was_given_and_no_markup_of_others() {
        let link = Some(Link { label: "Accept", address: "https://id.test/x" });
        let lines = ["<script>alert(1)</script> has invited you."];
        let html = Html { subject: "s", sender: "<b>", lines: &lines, link: &link, closing: "" };
        let html = html.render().unwrap();
        assert!(!html.contains("<script") && !html.contains("<b>"), "{html}");
        assert!(html.contains("href=\"https://id.test/x\""), "the control: {html}");
        let text = Text { sender: "<b>", lines: &lines, link: &link, closing: "" };
        assert!(text.render().unwrap().contains("<script>"), "as it is, where it means nothing");
    }
}
