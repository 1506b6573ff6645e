//! `partywall tenant domain`.

use partywall::TenantId;
use partywall_server::{Domain, DomainName, DomainSeen, DomainStatus};
use serde_json::{Value, json};

use super::{AdminError, Desk, PAGE, each_page, read};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// List the domains a tenant claims
    List {
        /// Its id or slug
        tenant: String,
    },
    /// Claim a domain for a tenant, and say what to publish in DNS to prove it
    Claim {
        /// Its id or slug
        tenant: String,
        /// Such as example.com
        domain: String,
    },
    /// Ask DNS for a domain's record now
    Check {
        /// Its id or slug
        tenant: String,
        /// The domain
        domain: String,
    },
    /// Give a domain up: nobody is sent anywhere for an address there
    Remove {
        /// Its id or slug
        tenant: String,
        /// The domain
        domain: String,
    },
}

pub(super) async fn act(desk: &Desk, command: &Command) -> Result<(), AdminError> {
    let Desk { control, actor, .. } = desk;
    match command {
        Command::List { tenant } => {
            let tenant = id(desk, tenant).await?;
            each_page!(
                after => control.list_domains(&tenant, after.as_ref(), PAGE).await?,
                |last: &Domain| last.name.clone(),
                domain => desk.say(&object(domain), &line(domain))?
            );
            Ok(())
        }
        Command::Claim { tenant, domain } => {
            let (tenant, name) = (id(desk, tenant).await?, read("domain", domain)?);
            let domain = control.claim_domain(actor, &tenant, name, None).await?;
            let (name, value) = (domain.record_name(), domain.record_value());
            desk.say(&object(&domain), &format!("{name}  TXT  \"{value}\""))
        }
        Command::Check { tenant, domain } => {
            let (tenant, name): (_, DomainName) =
                (id(desk, tenant).await?, read("domain", domain)?);
            let domain = control.check_domain(actor, &tenant, &name).await?;
            desk.say(&object(&domain), &line(&domain))
        }
        Command::Remove { tenant, domain } => {
            let (tenant, name): (_, DomainName) =
                (id(desk, tenant).await?, read("domain", domain)?);
            control.remove_domain(actor, &tenant, &name, |_| true).await?;
            desk.done(&json!({ "domain": name, "removed": true }), "the domain is given up")
        }
    }
}

async fn id(desk: &Desk, tenant: &str) -> Result<TenantId, AdminError> {
    Ok(desk.tenant(tenant).await?.id().clone())
}

fn object(domain: &Domain) -> Value {
    json!({
        "domain": domain.name, "status": domain.status(), "seen": domain.seen,
        "record": { "name": domain.record_name(), "type": "TXT", "value": domain.record_value() },
        "connection": domain.connection, "verified_at": domain.verified_at.map(|at| at.0),
        "checked_at": domain.checked_at.map(|at| at.0),
        "failing_since": domain.failing_since.map(|at| at.0), "created_at": domain.created_at.0,
    })
}

fn line(domain: &Domain) -> String {
    let status = match domain.status() {
        DomainStatus::Claimed => "claimed",
        DomainStatus::Proved => "proved",
        DomainStatus::Failing => "failing",
    };
    let seen = match domain.seen {
        None => "never looked for",
        Some(DomainSeen::Value) => "the record is there",
        Some(DomainSeen::OtherValues) => "other values are there",
        Some(DomainSeen::Nothing) => "no record is there",
        Some(DomainSeen::Undecided) => "DNS did not say",
    };
    format!("{}  {status}  {seen}", domain.name)
}
