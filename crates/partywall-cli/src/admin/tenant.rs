//! `partywall tenant`.

use std::process::ExitCode;

use partywall::{TenantStatus, Tier};
use partywall_server::{NewTenant, Tenant};
use serde_json::{Value, json};

use super::{AdminError, Common, Desk, PAGE, domain, each_page, read};
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
    /// List the tenants
    List,
    /// Make a tenant
    Create {
        /// Its readable name
        slug: String,
        /// What it pays for
        #[arg(long, default_value = "free")]
        tier: String,
    },
    /// Show a tenant
    Show {
        /// Its id or slug
        tenant: String,
    },
    /// Serve a tenant no longer: its tokens are refused from the next bundle on
    Suspend {
        /// Its id or slug
        tenant: String,
    },
    /// Serve a tenant again
    Resume {
        /// Its id or slug
        tenant: String,
    },
    /// Give a tenant an issuer of its own, or take it back: its clients ask the other one from then on
    Issuer {
        /// Its id or slug
        tenant: String,
        /// `own` or `shared`
        which: Which,
    },
    /// Refuse every token issued for a tenant so far
    RevokeTokens {
        /// Its id or slug
        tenant: String,
    },
    /// Domains that tenants claim, and prove by a record in DNS
    Domain {
        #[command(subcommand)]
        command: domain::Command,
    },
    /// Forget a tenant for good: its users, clients, sessions and policies
    Erase {
        /// Its id or slug
        tenant: String,
        /// Its slug again, so that it is the right one
        #[arg(long, value_name = "SLUG")]
        confirm: String,
    },
}

/// Which issuer speaks for a tenant.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Which {
    Own,
    Shared,
}

pub(crate) fn run(args: &Args, terminal: &Terminal) -> ExitCode {
    super::run(&args.common, terminal, async |desk: &Desk| act(desk, &args.command).await)
}

async fn act(desk: &Desk, command: &Command) -> Result<(), AdminError> {
    let Desk { control, actor, .. } = desk;
    match command {
        Command::List => {
            each_page!(
                after => control.list_tenants(after.as_ref(), PAGE).await?,
                |last: &Tenant| last.id().clone(),
                tenant => desk.say(&object(tenant), &line(tenant))?
            );
            Ok(())
        }
        Command::Create { slug, tier } => {
            let tier: Tier = read("tier", tier)?;
            let new = NewTenant::new(read("slug", slug)?, tier, Default::default());
            let tenant = control.create_tenant(actor, new).await?;
            desk.say(&object(&tenant), tenant.id().as_str())
        }
        Command::Show { tenant } => {
            let tenant = desk.tenant(tenant).await?;
            desk.say(&object(&tenant), &line(&tenant))
        }
        Command::Suspend { tenant } => set_status(desk, tenant, TenantStatus::Suspended).await,
        Command::Resume { tenant } => set_status(desk, tenant, TenantStatus::Active).await,
        Command::Issuer { tenant, which } => {
            let tenant = desk.tenant(tenant).await?;
            let own = matches!(which, Which::Own);
            control.set_own_issuer(actor, tenant.id(), own).await?;
            let issuer = control.tenant_issuer(tenant.id()).await?;
            desk.say(&json!({ "id": tenant.id(), "issuer": issuer }), &issuer)
        }
        Command::RevokeTokens { tenant } => {
            let tenant = desk.tenant(tenant).await?;
            let tenant = control.bump_epoch(actor, tenant.id()).await?;
            desk.done(&object(&tenant), "every token issued so far is refused")
        }
        Command::Domain { command } => domain::act(desk, command).await,
        Command::Erase { tenant, confirm } => {
            let tenant = desk.tenant(tenant).await?;
            if tenant.record.slug.as_str() != confirm {
                let why = format!("the tenant's slug is {}", tenant.record.slug);
                return Err(AdminError::Argument {
                    what: "--confirm",
                    given: confirm.clone(),
                    why,
                });
            }
            control.set_status(actor, tenant.id(), TenantStatus::PendingErase).await?;
            control.erase_tenant(actor, tenant.id()).await?;
            desk.done(&json!({ "id": tenant.id(), "erased": true }), "the tenant is erased")
        }
    }
}

async fn set_status(desk: &Desk, tenant: &str, status: TenantStatus) -> Result<(), AdminError> {
    let tenant = desk.tenant(tenant).await?;
    let tenant = desk.control.set_status(&desk.actor, tenant.id(), status).await?;
    desk.done(&object(&tenant), &line(&tenant))
}

fn object(tenant: &Tenant) -> Value {
    let record = &tenant.record;
    json!({
        "id": record.id, "slug": record.slug, "status": record.status, "tier": record.tier,
        "region": record.region, "epoch": record.epoch, "placements": record.placements,
        "created_at": tenant.created_at.0,
    })
}

fn line(tenant: &Tenant) -> String {
    let record = &tenant.record;
    let status = match record.status {
        TenantStatus::Active => "active",
        TenantStatus::Suspended => "suspended",
        TenantStatus::PendingErase => "pending erasure",
    };
    format!("{}  {}  {}  {status}", record.id, record.slug, record.tier)
}
