//! `partywall user`.

use std::process::ExitCode;

use partywall::Role;
use partywall_server::{NewUser, User, UserId, UserPatch, UserStatus};
use serde_json::{Value, json};

use super::{AdminError, Common, Desk, PAGE, each_page, read};
use crate::terminal::Terminal;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// List a tenant's users
    List {
        /// The tenant's id or slug
        tenant: String,
    },
    /// Ask somebody into a tenant
    Invite {
        /// The tenant's id or slug
        tenant: String,
        /// Where they are written to, and what they sign in by
        email: String,
        /// What people call them; their address where it is not said
        #[arg(long)]
        name: Option<String>,
        /// What they may be inside the tenant; may be repeated
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<String>,
    },
    /// Invite somebody again who has not come yet
    Reinvite(Which),
    /// Show a user
    Show(Which),
    /// Let a user in no longer, and end every session, grant and token it has
    Suspend(Which),
    /// Let a suspended user in again
    Resume(Which),
    /// Sign a user out everywhere
    SignOut(Which),
    /// Delete a user and everything it has in the tenant
    Delete(Which),
}

#[derive(clap::Args)]
struct Which {
    /// The tenant's id or slug
    tenant: String,
    /// The user's id
    user: String,
}

pub(crate) fn run(args: &Args, terminal: &Terminal) -> ExitCode {
    super::run(&args.common, terminal, async |desk: &Desk| act(desk, &args.command).await)
}

async fn act(desk: &Desk, command: &Command) -> Result<(), AdminError> {
    let Desk { control, actor, .. } = desk;
    match command {
        Command::List { tenant } => {
            let tenant = desk.tenant(tenant).await?;
            each_page!(
                after => control.list_users(tenant.id(), after.as_ref(), PAGE).await?,
                |last: &User| last.id.clone(),
                user => desk.say(&object(user), &line(user))?
            );
            Ok(())
        }
        Command::Invite { tenant, email, name, roles } => {
            let tenant = desk.tenant(tenant).await?;
            let new = NewUser {
                email: read("e-mail address", email)?,
                name: name.clone().unwrap_or_else(|| email.clone()),
                roles: roles.iter().map(|role| Role::from(role.as_str())).collect(),
                metadata: Default::default(),
            };
            let user = control.create_user(actor, tenant.id(), new).await?;
            invite(desk, &user).await
        }
        Command::Reinvite(which) => {
            let user = which.find(desk).await?;
            invite(desk, &user).await
        }
        Command::Show(which) => {
            let user = which.find(desk).await?;
            desk.say(&object(&user), &line(&user))
        }
        Command::Suspend(which) => set_status(desk, which, UserStatus::Suspended).await,
        Command::Resume(which) => set_status(desk, which, UserStatus::Active).await,
        Command::SignOut(which) => {
            let user = which.find(desk).await?;
            control.revoke_all_sessions(actor, &user.tenant, &user.id).await?;
            desk.done(&object(&user), "every session, grant and token of the user is over")
        }
        Command::Delete(which) => {
            let user = which.find(desk).await?;
            control.delete_user(actor, &user.tenant, &user.id, |_| true).await?;
            desk.done(&json!({ "id": user.id, "deleted": true }), "the user is deleted")
        }
    }
}

/// Where no mail is set up, whoever runs this brings the link to its addressee.
async fn invite(desk: &Desk, user: &User) -> Result<(), AdminError> {
    let invitation = desk.control.invite(&desk.actor, &user.tenant, &user.id).await?;
    let mut object = object(user);
    if invitation.mailed {
        return desk.say(&object, user.id.as_str());
    }
    if let Some(members) = object.as_object_mut() {
        members.insert("link".to_owned(), json!(invitation.link.expose()));
    }
    let words = format!("user {}; no mail is set up: bring them this link, good once:", user.id);
    desk.hand_over(&object, &words, invitation.link.expose())
}

async fn set_status(desk: &Desk, which: &Which, status: UserStatus) -> Result<(), AdminError> {
    let user = which.find(desk).await?;
    let patch = UserPatch { status: Some(status), ..UserPatch::default() };
    let done = desk.control.update_user(&desk.actor, &user.tenant, &user.id, patch, |_| true);
    let user = done.await?;
    desk.done(&object(&user), &line(&user))
}

impl Which {
    async fn find(&self, desk: &Desk) -> Result<User, AdminError> {
        let tenant = desk.tenant(&self.tenant).await?;
        let id: UserId = read("user", &self.user)?;
        let user = desk.control.user(tenant.id(), &id).await?;
        user.ok_or_else(|| AdminError::Nothing { kind: "user", id: self.user.clone() })
    }
}

fn object(user: &User) -> Value {
    json!({
        "id": user.id, "tenant": user.tenant, "email": user.email, "name": user.name,
        "status": user.status, "roles": user.roles, "metadata": user.metadata,
        "break_glass": user.break_glass, "created_at": user.created_at.0,
    })
}

fn line(user: &User) -> String {
    let roles: Vec<&str> = user.roles.iter().map(Role::as_str).collect();
    format!("{}  {}  {}  {}", user.id, user.email, user.status.as_str(), roles.join(","))
}
