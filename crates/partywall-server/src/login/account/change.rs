//! What the account page's forms do.

use askama::Template;
use axum::{http::StatusCode, response::Response};

use super::{
    Here, SIGNED_OUT, bound_to,
    words::{Do, Said},
};
use crate::{
    control::{Account, Actor, ApplicationId, GrantEnd},
    login::{
        Why,
        actions::{self, ActionError},
        factors::{
            passkey::{self, PasskeyError},
            recovery, totp,
        },
        page::{self, Look, page},
        problem::PageError,
        session,
        sign_in::{self, Goal},
    },
    provider::Form,
    secret::Secret,
    storage::{consents, grants, passkeys, sessions, totp_secrets},
};

impl Here<'_> {
    pub(super) async fn change(&self, form: &Form<'_>) -> Result<Response, PageError> {
        let Some(what) = form.get("do").and_then(Do::of) else { return Err(PageError::Form) };
        if what.needs_fresh() && !self.fresh {
            let goal = Goal::Account {
                tenant: Some(self.admitted.tenant().clone()),
                since: Some(self.control.now()),
            };
            return sign_in::begin(self.control, self.at, self.browser, goal, Why::SignInAgain)
                .await;
        }
        let said = match what {
            Do::SignOut => return self.sign_out().await,
            Do::EndSession => self.end_session(form.get("sid").unwrap_or_default()).await?,
            Do::TakeBack => self.take_back(form.get("client").unwrap_or_default()).await?,
            Do::Link => return self.set_out_to_link(form).await,
            Do::Unlink => self.unlink(form).await?,
            factor => match &self.account {
                Some(account) => match self.change_factor(factor, account, form).await? {
                    Changed::Said(said) => said,
                    Changed::Shown(response) => return Ok(response),
                },
                None => return Err(PageError::NotFound),
            },
        };
        self.note(what.event(), if said.is_error() { said.word() } else { "success" }).await;
        let (issuer, tenant) = (self.at.issuer(), self.admitted.tenant());
        Ok(page::see_other(&format!("{issuer}/account/{tenant}?said={}", said.word()), &[]))
    }

    async fn sign_out(&self) -> Result<Response, PageError> {
        let back = format!("{}{SIGNED_OUT}", self.at.issuer());
        let (db, tenant) = (self.control.inner.db.reader(), self.admitted.tenant());
        let ended = sessions::find_sid(db, tenant, &self.sid).await?;
        let cookies = session::leave(self.control, &self.session).await?;
        self.note("sign_out", "success").await;
        Ok(page::signed_out(self.control, self.at, ended.as_ref(), &back, &cookies).await)
    }

    async fn end_session(&self, sid: &str) -> Result<Said, PageError> {
        let (tenant, user) = (self.admitted.tenant(), &self.user.id);
        // Of their own: anybody else's is none.
        match self.control.revoke_session(&THE_USER, tenant, user, sid).await {
            Ok(()) => Ok(Said::SessionEnded),
            Err(crate::ControlError::UnknownSession) => Ok(Said::Gone),
            Err(error) => Err(PageError::Control(Box::new(error))),
        }
    }

    /// Consent taken back ends what was granted by it.
    async fn take_back(&self, client: &str) -> Result<Said, PageError> {
        let Ok(client) = client.parse::<ApplicationId>() else { return Ok(Said::Gone) };
        let (tenant, user) = (self.admitted.tenant(), &self.user.id);
        let write = self.control.inner.db.single().await;
        let removed = consents::remove(write.db(), tenant, user, &client).await?;
        drop(write);
        let (db, now) = (self.control.inner.db.reader(), self.control.now());
        let mut after: Option<String> = None;
        loop {
            let some = grants::page(db, tenant, user, after.as_deref(), 100, now).await?;
            let Some(last) = some.last() else { break };
            after = Some(last.id.clone());
            for grant in some.iter().filter(|grant| grant.client == client) {
                let why = GrantEnd::Withdrawn;
                let ended = self.control.end_grant(tenant, &grant.id, client.as_str(), why).await;
                ended.map_err(|error| PageError::Control(Box::new(error)))?;
            }
        }
        Ok(if removed { Said::TakenBack } else { Said::Gone })
    }

    async fn change_factor(
        &self,
        what: Do,
        account: &Account,
        form: &Form<'_>,
    ) -> Result<Changed, PageError> {
        let (control, id) = (self.control, form.get("id").unwrap_or_default());
        let write = || control.inner.db.single();
        let removed = |removed| Changed::Said(if removed { Said::Removed } else { Said::Gone });
        Ok(match what {
            Do::ChangePassword => {
                let typed = form.get("password").unwrap_or_default().to_owned();
                let (share, keep) = (self.admitted.tenant().as_str(), &self.session.id_hash);
                let changed =
                    actions::change_password(control, account, share, Secret::new(typed), keep);
                Changed::Said(match changed.await {
                    Ok(()) => Said::PasswordChanged,
                    Err(ActionError::Weak(weak)) => Said::Weak(weak),
                    Err(error) => return Err(error.into()),
                })
            }
            Do::AddApp => {
                let drawn =
                    totp::enrol(control, &account.id, &account.email, "Authenticator app").await;
                match drawn {
                    Ok(drawn) => Changed::Shown(self.show_app(&drawn).await?),
                    Err(totp::TotpError::TooMany) => Changed::Said(Said::TooMany),
                    Err(error) => return Err(error.into()),
                }
            }
            Do::ConfirmApp => {
                let code = form.get("code").unwrap_or_default();
                let right = totp::confirm(control, &account.id, id, code).await?;
                Changed::Said(if right { Said::Added } else { Said::WrongCode })
            }
            Do::RemoveApp => {
                removed(totp_secrets::remove(write().await.db(), &account.id, id).await?)
            }
            Do::NewCodes => {
                let codes = recovery::draw(control, &account.id).await?;
                self.note(what.event(), "success").await;
                let look = &Look::inside(control, self.at, self.admitted.tenant()).await?;
                let codes: Vec<&str> = codes.iter().map(|code| code.expose().as_str()).collect();
                Changed::Shown(page(StatusCode::OK, look, &Codes { look, codes: &codes }))
            }
            Do::AddPasskey => {
                let name = form.get("name").unwrap_or("Passkey");
                let answer = form.get("answer").unwrap_or_default();
                let bound = bound_to(&self.session);
                match passkey::finish_registration(control, account, &bound, name, answer).await {
                    Ok(()) => Changed::Said(Said::Added),
                    Err(PasskeyError::TooMany) => Changed::Said(Said::TooMany),
                    Err(error @ PasskeyError::Refused { .. }) => {
                        tracing::warn!(%error, account.id = %account.id, "no passkey was added");
                        Changed::Said(Said::PasskeyFailed)
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            Do::RenamePasskey => {
                let name: String = form.get("name").unwrap_or("Passkey").chars().take(64).collect();
                let renamed = passkeys::rename(write().await.db(), &account.id, id, &name).await?;
                Changed::Said(if renamed { Said::Renamed } else { Said::Gone })
            }
            Do::RemovePasskey => {
                removed(passkeys::remove(write().await.db(), &account.id, id).await?)
            }
            Do::SignOut | Do::EndSession | Do::TakeBack | Do::Link | Do::Unlink => {
                return Err(PageError::Form);
            }
        })
    }

    /// The one page with the app's secret: it is not kept to be shown again.
    async fn show_app(&self, drawn: &totp::Enrolment) -> Result<Response, PageError> {
        let look = &Look::inside(self.control, self.at, self.admitted.tenant()).await?;
        let (secret, uri) = (drawn.secret.expose(), drawn.uri.expose());
        Ok(page(StatusCode::OK, look, &AddApp { look, id: &drawn.id, secret, uri }))
    }
}

pub(super) static THE_USER: Actor = Actor::System("account page");

enum Changed {
    Said(Said),
    Shown(Response),
}

#[derive(Template)]
#[template(path = "add_app.html")]
struct AddApp<'p> {
    look: &'p Look,
    id: &'p str,
    secret: &'p str,
    uri: &'p str,
}

#[derive(Template)]
#[template(path = "codes.html")]
struct Codes<'p> {
    look: &'p Look,
    codes: &'p [&'p str],
}
