//! A run against one database, from its address to its rollback.

use super::{
    access::{self, Address},
    attacks,
    caution::{self, Caution},
    discover::{self, Policies},
    ground::Ground,
    one_session::OneSession,
    options::{Adversary, Options},
    role::{self, Me},
    schema::Schema,
    schemas,
    sql::literal,
    stage::{Answer, Gone, Refusal, Session},
    tenancy::{Assume, Context, PINNED, Tenancy, Tenant},
    tenants,
    ticket::{TicketMaker, bytea},
};
use crate::{Log, Subject};

/// Why nothing was attacked, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CannotRun {
    /// The address is none.
    #[error("not a PostgreSQL address ({0}): write postgres://user@host:port/database")]
    Address(#[source] sqlx::Error),
    /// There is no way in.
    #[error("cannot connect: {0}: {remedy}", remedy = access::remedy(.0))]
    NoAccess(#[source] sqlx::Error),
    /// Something took the connection and said nothing.
    #[error(
        "cannot connect: what listens there has not answered as PostgreSQL does within {seconds} s: check host and port, or the way there"
    )]
    NoHello {
        /// How long it had.
        seconds: u64,
    },
    /// The connection failed under way.
    #[error(transparent)]
    Gone(#[from] Gone),
    /// It may be production.
    #[error(transparent)]
    Caution(#[from] Caution),
    /// The role the attacks run as is not known.
    #[error("{found}: name the role the application runs as with --role, or connect as that role")]
    NoRole {
        /// What there is.
        found: String,
    },
    /// The role cannot be assumed.
    #[error(
        "cannot act as role {role} ({why}): connect as it, or as a superuser or a member of it"
    )]
    NotThatRole {
        /// The role.
        role: String,
        /// Why not.
        why: String,
    },
    /// The role has nothing to do here.
    #[error(
        "{role} has no rights to any of the {tables} tables that hold tenants' rows: name the role the application runs as with --role, or connect as that role"
    )]
    NoRights {
        /// The role or roles.
        role: String,
        /// How many tables.
        tables: usize,
    },
    /// One tenant's role is all there is.
    #[error(
        "each tenant has a role of its own, and {role} can become no two of them: connect as a superuser or as the login that changes into them, and name two with --tenants A,B"
    )]
    OneTenant {
        /// The connection's own role.
        role: String,
    },
    /// A standby, or a server set to read only.
    #[error(
        "nothing can be written here ({why}): attack the primary, or read only, with --read-only --tenants A,B"
    )]
    TakesNoWrites {
        /// The server's words.
        why: String,
    },
    /// There is nothing to attack.
    #[error(
        "no table has a column that names a tenant ({looked_at}): name it with --tenant-column [TABLE:]COLUMN, or two tenants' schemas with --tenants A,B"
    )]
    NoTenantTables {
        /// How many tables were looked at.
        looked_at: String,
    },
    /// A wall of ours, whose key is needed to be a tenant.
    #[error(
        "this wall goes by signed tickets, and their key cannot be read as this role: give it with --ticket-key FILE, or connect as the database's administrator"
    )]
    NoTicketKey,
    /// The tenants' own setting up failed.
    #[error("--setup failed for tenant {tenant}: {refusal}")]
    Setup {
        /// For whom.
        tenant: String,
        /// The server's words.
        refusal: String,
    },
    /// Reading only needs to know who is there.
    #[error(
        "--read-only reads across between two tenants that exist: name them with --tenants A,B"
    )]
    NoTenants,
    /// Walls are not taken down by reading.
    #[error(
        "--break takes walls down for a moment, which --read-only forbids: break those of a copy"
    )]
    BreakWrites,
    /// The application itself takes no walls down.
    #[error(
        "--break takes walls down, which the application's role cannot: connect as the tables' owner or as an administrator, and name the role with --role"
    )]
    BreakNeedsOwner,
    /// No randomness.
    #[error("this machine has no randomness to give")]
    NoRandomness,
}

/// Attacks the database at `address`, and takes down what comes of it in `log`.
///
/// Everything happens in one transaction, which is rolled back.
///
/// # Errors
///
/// [`CannotRun`] when nothing could be attacked; what could not be decided is in the log.
pub async fn prove(
    address: &Address,
    options: &Options,
    log: &mut Log<'_>,
) -> Result<Subject, CannotRun> {
    let (mut stage, mut ground, subject) = prepare(address, options, log).await?;
    attacks::all(&mut stage, &mut ground, address, log).await?;
    stage.roll_back().await?;
    Ok(subject)
}

/// Begins the one transaction of a run, looks around, and runs what `--setup` gave.
pub(super) async fn prepare(
    address: &Address,
    options: &Options,
    log: &mut Log<'_>,
) -> Result<(OneSession, Ground, Subject), CannotRun> {
    let mut session = address.connect().await?;
    let began_with = begin(&mut session, options).await?;
    let version = session.send("SELECT version()").await?.first().unwrap_or_default().to_owned();
    let me = Me::read(&mut session).await?;
    caution::look(&mut session, address, options).await?;
    if me.superuser {
        let text = format!(
            "{} is a superuser: what this database's owners call from triggers, defaults and policies runs in its session and could become it. Where you do not trust them, connect as the application's role",
            me.name
        );
        log.note("role", text);
    }
    let mut schema = Schema::read(&mut session, &options.schemas).await?;
    let policies = Policies::read(&mut session).await?;
    let world = World::find(&mut session, &me, &mut schema, &policies, options, log).await?;
    let World { mut tenancy, tenants, group } = world;
    let role = match &tenancy.assume {
        Assume::Already => me.name.clone(),
        Assume::Session(role) | Assume::Role(role) => role.clone(),
    };
    tenancy.search_path = Some(role::search_path(&mut session, &role, &began_with).await?);
    let mut roles: Vec<&str> = tenants.iter().filter_map(|tenant| tenant.role.as_deref()).collect();
    if roles.is_empty() {
        roles.push(&role);
    }
    schema.read_grants(&mut session, &roles).await?;
    if !schema.tenant_relations().any(|relation| relation.grants.any()) {
        let tables = schema.tenant_relations().count();
        return Err(CannotRun::NoRights { role: roles.join(" and "), tables });
    }
    let facts =
        [("server", version), ("role", roles.join(", ")), ("tenant told by", tenancy.describe())];
    let subject = subject(address, &facts, options);
    let beside = match roles.as_slice() {
        [only] => role::beside(&mut session, &me, &schema, only).await?,
        _ => Vec::new(),
    };
    let strays = match group.as_slice() {
        [] => Vec::new(),
        group => schemas::strays(&mut session, group).await?,
    };

    for tenant in &tenants {
        set_up(&mut session, options, &tenancy, tenant, &began_with).await?;
    }
    let [attacker, victim] = tenants;
    let mut ground =
        Ground::new(schema, options.clone(), &attacker.id, &victim.id, tenants::random()?);
    ground.beside = beside;
    ground.strays = strays;
    ground.users = tenancy.users.clone();
    ground.policies = policies;
    Ok((OneSession::new(session, tenancy, attacker, victim), ground, subject))
}

/// Begins the transaction that is rolled back in the end; returns the search path the connection
/// came with, which the run itself leaves.
async fn begin(session: &mut Session, options: &Options) -> Result<String, CannotRun> {
    // Nothing in a database can stand in for SHOW.
    let path = session.send("SHOW search_path").await?.first().unwrap_or_default().to_owned();
    let begin = if options.read_only { "BEGIN READ ONLY" } else { "BEGIN READ WRITE" };
    let begin = format!("{begin}; {PINNED}SET CONSTRAINTS ALL IMMEDIATE");
    match session.send(&begin).await? {
        Answer::Done(_) => Ok(path),
        Answer::Refused(refusal) if refusal.code == "25006" => {
            Err(CannotRun::TakesNoWrites { why: refusal.to_string() })
        }
        Answer::Refused(refusal) => Err(Gone::Ended(refusal).into()),
    }
}

/// How this database tells tenants apart, and two of them.
struct World {
    tenancy: Tenancy,
    tenants: [Tenant; 2],
    /// The schemas that are alike, where each is a tenant's.
    group: Vec<String>,
}

impl World {
    async fn find(
        session: &mut Session,
        me: &Me,
        schema: &mut Schema,
        policies: &Policies,
        options: &Options,
        log: &mut Log<'_>,
    ) -> Result<Self, CannotRun> {
        let group = schemas::alike(schema, policies, options);
        let pair = match group.as_slice() {
            [] => None,
            group => Some(schemas::divide(schema, group, options, log)?),
        };
        for (place, text) in discover::classify(schema, policies, options) {
            log.note(place, text);
        }
        if let Some(pair) = pair {
            let (tenancy, tenants) =
                schemas::tenancy(session, me, schema, &group, &pair, options, log).await?;
            return Ok(Self { tenancy, tenants, group });
        }
        if schema.tenant_relations().next().is_none() {
            let looked_at = format!("{} relations", schema.relations.len());
            return Err(CannotRun::NoTenantTables { looked_at });
        }
        let context = context(session, policies, options).await?;
        if matches!(context, Context::Roles) {
            let (tenancy, tenants) = tenants::roles(session, me, schema, options, log).await?;
            return Ok(Self { tenancy, tenants, group });
        }
        let assume = role::assume(session, me, schema, policies, options, log).await?;
        let mut tenancy = Tenancy::new(assume, context);
        let tenants = tenants::named_in_columns(schema, options)?;
        let role = tenancy.role().unwrap_or(&me.name).to_owned();
        if let Context::Settings(settings) = &mut tenancy.context {
            for setting in settings.iter_mut() {
                setting.template = setting.template.replace("{role}", &role);
            }
            tenancy.users = tenants::users(options, settings, &tenants)?;
        } else {
            tenancy.users = tenants::users(options, &[], &tenants)?;
        }
        Ok(Self { tenancy, tenants, group })
    }
}

/// What a session sets to be a tenant.
async fn context(
    session: &mut Session,
    policies: &Policies,
    options: &Options,
) -> Result<Context, CannotRun> {
    if !options.settings.is_empty() {
        return Ok(Context::Settings(options.settings.clone()));
    }
    let settings = policies.settings();
    if settings.iter().any(|setting| setting.name == "partywall.ticket") {
        return ticket(session, options).await;
    }
    if !settings.is_empty() {
        Ok(Context::Settings(settings))
    } else if policies.go_by_role() {
        Ok(Context::Roles)
    } else {
        Ok(Context::Nothing)
    }
}

async fn ticket(session: &mut Session, options: &Options) -> Result<Context, CannotRun> {
    let maker = match &options.ticket_key {
        Some(key) => TicketMaker::from_key(key),
        None => {
            let asked = "SAVEPOINT partywall_key; \
                         SELECT inner_pad, outer_pad FROM partywall.ticket_key ORDER BY kid DESC LIMIT 1";
            let answer = session.send(asked).await?;
            session.send("ROLLBACK TO SAVEPOINT partywall_key").await?;
            match &answer {
                Answer::Done(done) => done.rows.first().and_then(|row| match row.as_slice() {
                    [Some(inner), Some(outer)] => {
                        TicketMaker::from_pads(bytea(inner)?, bytea(outer)?)
                    }
                    _ => None,
                }),
                Answer::Refused(_) => None,
            }
        }
    };
    let maker = maker.ok_or(CannotRun::NoTicketKey)?;
    Ok(Context::ticket(maker, session).await?)
}

/// Runs what the tenants need beside their rows, with the connection's own role and search path.
async fn set_up(
    session: &mut Session,
    options: &Options,
    tenancy: &Tenancy,
    tenant: &Tenant,
    path: &str,
) -> Result<(), CannotRun> {
    let Some(setup) = &options.setup else { return Ok(()) };
    let failed = |refusal: Refusal| CannotRun::Setup {
        tenant: tenant.id.clone(),
        refusal: match refusal.code.as_str() {
            "25P01" | "3B001" => {
                "it ends the transaction that everything is undone with".to_owned()
            }
            _ => refusal.to_string(),
        },
    };
    let path = literal(path);
    let before = format!(
        "SAVEPOINT partywall_setup; SELECT pg_catalog.set_config('search_path', {path}, true); "
    );
    let after = format!("RELEASE SAVEPOINT partywall_setup; {PINNED}");
    for sql in [before + &tenancy.fill(setup, &tenant.id), after] {
        if let Answer::Refused(refusal) = session.send(&sql).await? {
            return Err(failed(refusal));
        }
    }
    Ok(())
}

fn subject(address: &Address, facts: &[(&str, String)], options: &Options) -> Subject {
    let adversary = match options.adversary {
        Adversary::SqlInjection => {
            "a fully authenticated user of another tenant, with SQL injection inside its own session"
        }
        Adversary::Parameters => {
            "a fully authenticated user of another tenant, who chooses values but not statements"
        }
    };
    let facts = facts.iter().map(|(name, fact)| ((*name).to_owned(), fact.clone())).collect();
    Subject { name: address.shown(), adversary: adversary.to_owned(), facts }
}
