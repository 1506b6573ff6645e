//! A run against one database, from its address to its rollback.

use std::str::FromStr as _;

use aws_lc_rs::rand;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, postgres::PgConnectOptions};

use super::{
    attacks,
    caution::{self, Caution},
    discover::{self, Policies},
    ground::Ground,
    one_session::OneSession,
    options::{Adversary, Options},
    schema::{Class, Schema, text},
    stage::{Answer, Gone, Session},
    tenancy::{Assume, Context, Tenancy, Tenant},
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
    #[error("cannot connect: {0}")]
    NoAccess(#[source] sqlx::Error),
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
    /// There is nothing to attack.
    #[error(
        "no table has a column that names a tenant ({looked_at}): name it with --tenant-column [TABLE:]COLUMN"
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
    /// No randomness.
    #[error("this machine has no randomness to give")]
    NoRandomness,
}

/// The way to a database, and back to it for attacks that need a connection of their own.
#[derive(Clone, Debug)]
pub struct Address(PgConnectOptions);

impl Address {
    /// Reads `postgres://…`; what it leaves out comes from the usual `PG*` variables.
    ///
    /// # Errors
    ///
    /// When it is no such address.
    pub fn parse(url: &str) -> Result<Self, CannotRun> {
        let options = PgConnectOptions::from_str(url).map_err(CannotRun::Address)?;
        Ok(Self(options.application_name("partywall prove").disable_statement_logging()))
    }

    /// An address from a driver's own options.
    pub fn from_options(options: PgConnectOptions) -> Self {
        Self(options.application_name("partywall prove").disable_statement_logging())
    }

    /// Without the password: `postgres://app@db.internal:5432/shop`.
    pub fn shown(&self) -> String {
        let database = self.0.get_database().unwrap_or("");
        let host = match self.0.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => format!("{}:{}", self.0.get_host(), self.0.get_port()),
        };
        format!("postgres://{}@{host}/{database}", self.0.get_username())
    }

    pub(crate) fn options(&self) -> &PgConnectOptions {
        &self.0
    }

    pub(crate) fn host(&self) -> &str {
        self.0.get_host()
    }

    pub(crate) fn database(&self) -> &str {
        self.0.get_database().unwrap_or("")
    }

    /// A connection of its own, with limits on what a statement may wait for.
    ///
    /// # Errors
    ///
    /// When there is no way in.
    pub async fn connect(&self) -> Result<Session, CannotRun> {
        let conn = PgConnection::connect_with(&self.0).await.map_err(CannotRun::NoAccess)?;
        let mut session = Session::new(conn);
        session.send("SET statement_timeout = '10s'; SET lock_timeout = '2s'").await?;
        Ok(session)
    }
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
    let mut session = address.connect().await?;
    let facts = facts(&mut session).await?;
    caution::look(&mut session, address, options).await?;
    let begin = if options.read_only {
        "BEGIN TRANSACTION READ ONLY"
    } else {
        "BEGIN; SET CONSTRAINTS ALL IMMEDIATE"
    };
    begun(session.send(begin).await?)?;

    let mut schema = Schema::read(&mut session, &options.schemas).await?;
    let policies = Policies::read(&mut session).await?;
    for (place, text) in discover::classify(&mut schema, &policies, options) {
        log.note(place, text);
    }
    if schema.tenant_relations().next().is_none() {
        let looked_at = format!("{} relations", schema.relations.len());
        return Err(CannotRun::NoTenantTables { looked_at });
    }
    let assume = assume(&mut session, &schema, &policies, options, log).await?;
    let role = match &assume {
        Assume::Already => facts.role.clone(),
        Assume::Session(role) | Assume::Role(role) => role.clone(),
    };
    schema.read_grants(&mut session, &role).await?;
    let context = context(&mut session, &policies, options).await?;
    let tenancy = Tenancy { assume, context };
    let subject = subject(address, &facts, &role, &tenancy, options);

    let [attacker, victim] = tenants(&schema, options)?;
    let mut ground = Ground::new(schema, options.clone(), &attacker.id, &victim.id, random()?);
    for tenant in [&attacker, &victim] {
        set_up(&mut session, options, tenant).await?;
    }
    let mut stage = OneSession::new(session, tenancy, attacker, victim);
    attacks::all(&mut stage, &mut ground, address, log).await?;
    stage.roll_back().await?;
    Ok(subject)
}

/// What is known of a server as soon as one is connected.
struct Facts {
    role: String,
    version: String,
}

async fn facts(session: &mut Session) -> Result<Facts, CannotRun> {
    let role = session.send("SELECT session_user").await?;
    let version = session.send("SELECT version()").await?;
    Ok(Facts {
        role: role.first().unwrap_or_default().to_owned(),
        version: version.first().unwrap_or_default().to_owned(),
    })
}

fn begun(answer: Answer) -> Result<(), CannotRun> {
    match answer {
        Answer::Done(_) => Ok(()),
        Answer::Refused(refusal) => Err(Gone::Ended(refusal).into()),
    }
}

/// How to become the application's role: it is the connection's own unless that is too powerful
/// to be held by any wall.
async fn assume(
    session: &mut Session,
    schema: &Schema,
    policies: &Policies,
    options: &Options,
    log: &mut Log<'_>,
) -> Result<Assume, CannotRun> {
    let own = session
        .all("SELECT session_user, rolsuper, rolbypassrls FROM pg_catalog.pg_roles WHERE rolname = session_user")
        .await?;
    let own = own.first().map(|row| (text(row, 0), text(row, 1) == "t", text(row, 2) == "t"));
    let (me, superuser, bypasses) = own.unwrap_or_default();
    let by = |role: String| if superuser { Assume::Session(role) } else { Assume::Role(role) };
    if let Some(role) = &options.role {
        if *role == me {
            return Ok(Assume::Already);
        }
        let assume = by(role.clone());
        let tenancy = Tenancy { assume: assume.clone(), context: Context::Nothing };
        let enter = tenancy.enter(super::stage::Who::Nobody, None);
        let tried =
            format!("SAVEPOINT partywall_role; {enter}; ROLLBACK TO SAVEPOINT partywall_role");
        return match session.send(&tried).await? {
            Answer::Done(_) => Ok(assume),
            Answer::Refused(refusal) => {
                Err(CannotRun::NotThatRole { role: role.clone(), why: refusal.to_string() })
            }
        };
    }
    let owns = schema.tenant_relations().any(|relation| relation.owner == me);
    if !superuser && !bypasses && !owns {
        return Ok(Assume::Already);
    }
    let tables: Vec<String> =
        schema.tenant_relations().map(|relation| relation.oid.to_string()).collect();
    let candidates = session.all(&CANDIDATES.replace("{tables}", &tables.join(", "))).await?;
    let named = policies.roles();
    let mut names: Vec<String> = candidates.iter().map(|row| text(row, 0)).collect();
    // Those the policies are for come first.
    names.sort_by_key(|name| !named.contains(name.as_str()));
    let what = if superuser {
        format!("{me} is a superuser, whom no wall holds")
    } else {
        format!("{me} owns the tables or bypasses row security")
    };
    match names.first() {
        Some(role) => {
            log.note(
                "role",
                format!("{what}, so the attacks run as {role}; say otherwise with --role"),
            );
            Ok(by(role.clone()))
        }
        None if superuser => Err(CannotRun::NoRole {
            found: format!("{what}, and no other role may read these tables"),
        }),
        // An application may well run as this one: FORCE holds an owner, and nothing the other.
        None => Ok(Assume::Already),
    }
}

/// Roles that may work on tenants' tables and are held by walls, those with the most rights first;
/// of those with the same, one that may log in.
const CANDIDATES: &str = "
    SELECT r.rolname
      FROM pg_catalog.pg_roles r,
           LATERAL (SELECT count(*) FILTER (WHERE has_table_privilege(r.oid, t.oid, 'SELECT')) AS reads,
                           count(*) FILTER (WHERE has_table_privilege(r.oid, t.oid, 'INSERT')
                                               OR has_table_privilege(r.oid, t.oid, 'UPDATE')) AS writes,
                           bool_or(t.relowner = r.oid) AS owns
                      FROM pg_catalog.pg_class t WHERE t.oid IN ({tables})) AS may
     WHERE NOT r.rolsuper AND NOT r.rolbypassrls AND r.rolname !~ '^pg_'
       AND may.reads > 0 AND NOT may.owns
     ORDER BY may.reads + may.writes DESC, r.rolcanlogin DESC, r.rolname";

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
    let now = session
        .send("SELECT pg_backend_pid(), (extract(epoch from transaction_timestamp()) * 1000000)::int8 - 946684800000000")
        .await?;
    let number = |n: usize| match &now {
        Answer::Done(done) => done.rows.first()?.get(n)?.as_deref()?.parse::<i64>().ok(),
        Answer::Refused(_) => None,
    };
    let pid = number(0).and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
    Ok(Context::Ticket { maker, pid, moment: number(1).unwrap_or_default() })
}

/// Two tenants whose ids begin alike, of the type the tenant columns have.
fn tenants(schema: &Schema, options: &Options) -> Result<[Tenant; 2], CannotRun> {
    if let Some([a, b]) = &options.tenants {
        return Ok([Tenant::named(a), Tenant::named(b)]);
    }
    if options.read_only {
        return Err(CannotRun::NoTenants);
    }
    let types: Vec<&str> = schema
        .tenant_relations()
        .filter(|relation| matches!(relation.class, Class::Tenant(_)))
        .filter_map(|relation| Some(relation.tenant_column()?.type_name.as_str()))
        .collect();
    let random = random()?;
    let [a, b] = if types.contains(&"uuid") {
        // The same but for the last letter.
        let stem = format!("{:08x}-0000-4000-8000-{:011x}", random >> 32, random & 0xfff_ffff_ffff);
        [format!("{stem}1"), format!("{stem}2")]
    } else if types.iter().any(|name| matches!(*name, "integer" | "bigint")) {
        let stem = 1_000_000 + random % 100_000_000;
        [stem.to_string(), format!("{stem}1")]
    } else if types.contains(&"smallint") {
        let stem = 2_000 + random % 1_000;
        [stem.to_string(), format!("{stem}1")]
    } else {
        let stem = format!("pw{:08x}", random & 0xffff_ffff);
        [stem.clone(), format!("{stem}1")]
    };
    Ok([Tenant::named(a), Tenant::named(b)])
}

async fn set_up(
    session: &mut Session,
    options: &Options,
    tenant: &Tenant,
) -> Result<(), CannotRun> {
    let Some(setup) = &options.setup else { return Ok(()) };
    match session.send(&setup.replace("{tenant}", &tenant.id)).await? {
        Answer::Done(_) => Ok(()),
        Answer::Refused(refusal) => {
            Err(CannotRun::Setup { tenant: tenant.id.clone(), refusal: refusal.to_string() })
        }
    }
}

fn subject(
    address: &Address,
    facts: &Facts,
    role: &str,
    tenancy: &Tenancy,
    options: &Options,
) -> Subject {
    let adversary = match options.adversary {
        Adversary::SqlInjection => {
            "a fully authenticated user of another tenant, with SQL injection inside its own session"
        }
        Adversary::Parameters => {
            "a fully authenticated user of another tenant, who chooses values but not statements"
        }
    };
    Subject {
        name: address.shown(),
        adversary: adversary.to_owned(),
        facts: vec![
            ("server".to_owned(), facts.version.clone()),
            ("role".to_owned(), role.to_owned()),
            ("tenant told by".to_owned(), tenancy.describe()),
        ],
    }
}

fn random() -> Result<u64, CannotRun> {
    let mut bytes = [0; 8];
    rand::fill(&mut bytes).map_err(|_| CannotRun::NoRandomness)?;
    Ok(u64::from_be_bytes(bytes))
}
