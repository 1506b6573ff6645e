//! How a session of this database says which tenant it is.

use std::collections::BTreeMap;

use super::{
    options::Setting,
    sql::{ident, literal},
    stage::{Answer, Gone, Session, Who},
    ticket::TicketMaker,
};

/// How to be a tenant: the role to assume, and what to set in it.
#[derive(Clone, Debug)]
pub struct Tenancy {
    /// How the application's role is assumed on this connection.
    pub assume: Assume,
    /// What says which tenant it is.
    pub context: Context,
    /// The search path of the application's role, where the run itself goes by another: its own
    /// queries must find the server's functions, whatever a schema calls its own.
    pub search_path: Option<String>,
    /// What stands for `{user}` in a setting's template, by tenant; the tenant where there is none.
    pub users: BTreeMap<String, String>,
}

/// The search path of the run itself: no schema of the database's owners is on it (CVE-2018-1058).
pub(crate) const PINNED: &str = "SET LOCAL search_path = pg_catalog, pg_temp; ";

/// How the application's role is assumed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Assume {
    /// The connection is the application's own.
    Already,
    /// By a superuser: the session is the role's, down to what `SET ROLE` looks at.
    Session(String),
    /// By a member of the role.
    Role(String),
}

/// What says which tenant it is.
#[derive(Clone, Debug)]
pub enum Context {
    /// Settings of the transaction.
    Settings(Vec<Setting>),
    /// The role itself: each tenant has one.
    Roles,
    /// The schema, reached by a role of the tenant's own or by the search path alone.
    Schemas,
    /// A ticket of our own wall.
    Ticket {
        /// What makes them.
        maker: TicketMaker,
        /// The backend they are for.
        pid: i32,
        /// When its transaction began, in microseconds since 2000-01-01 UTC.
        moment: i64,
    },
    /// Nothing: there is no wall in the database.
    Nothing,
}

/// A tenant, in this database's terms.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tenant {
    /// What the tenant column and the context hold.
    pub id: String,
    /// Its own role, where each tenant has one.
    pub role: Option<String>,
    /// Its own schema, where each tenant has one.
    pub schema: Option<String>,
}

impl Context {
    /// Tickets for the transaction that `session` is in.
    ///
    /// # Errors
    ///
    /// When the connection is gone.
    pub(crate) async fn ticket(maker: TicketMaker, session: &mut Session) -> Result<Self, Gone> {
        let now = session.send(NOW).await?;
        let number = |n: usize| match &now {
            Answer::Done(done) => done.rows.first()?.get(n)?.as_deref()?.parse::<i64>().ok(),
            Answer::Refused(_) => None,
        };
        let pid = number(0).and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
        Ok(Self::Ticket { maker, pid, moment: number(1).unwrap_or_default() })
    }
}

const NOW: &str = "
    SELECT pg_catalog.pg_backend_pid(),
           (extract(epoch from pg_catalog.transaction_timestamp()) * 1000000)::int8 - 946684800000000";

impl Tenant {
    /// A tenant that is a value in a column.
    pub fn named(id: impl Into<String>) -> Self {
        Self { id: id.into(), role: None, schema: None }
    }
}

impl Tenancy {
    /// A way to be a tenant, with the connection's own search path.
    pub fn new(assume: Assume, context: Context) -> Self {
        Self { assume, context, search_path: None, users: BTreeMap::new() }
    }

    /// The same for the transaction that another session is in.
    ///
    /// # Errors
    ///
    /// When the connection is gone.
    pub(crate) async fn renewed(&self, session: &mut Session) -> Result<Self, Gone> {
        let context = match &self.context {
            Context::Ticket { maker, .. } => Context::ticket(maker.clone(), session).await?,
            context => context.clone(),
        };
        Ok(Self { context, ..self.clone() })
    }

    /// The statements that make the rest of a transaction `who`'s; undone with it.
    pub fn enter(&self, who: Who, tenant: Option<&Tenant>) -> String {
        let mut sql = match (&self.assume, tenant.and_then(|tenant| tenant.role.as_deref())) {
            (Assume::Already, None) => String::new(),
            (Assume::Session(_), Some(role)) => set_session(role),
            (Assume::Session(role), None) => set_session(role),
            (Assume::Role(_) | Assume::Already, Some(role)) => set_role(role),
            (Assume::Role(role), None) => set_role(role),
        };
        if let Some(path) = &self.search_path {
            sql.push_str(&set_config("search_path", path));
        }
        let id = match (who, tenant) {
            (Who::Attacker | Who::Victim, Some(tenant)) => tenant.id.as_str(),
            _ => return sql,
        };
        sql.push_str(&self.bind(id));
        sql
    }

    /// The statements that undo [`enter`](Self::enter) without undoing what was done in between.
    pub fn leave(&self) -> String {
        let mut sql = match self.assume {
            Assume::Session(_) => "SET LOCAL SESSION AUTHORIZATION DEFAULT; ".to_owned(),
            Assume::Role(_) => "SET LOCAL ROLE NONE; ".to_owned(),
            Assume::Already if matches!(self.context, Context::Roles | Context::Schemas) => {
                "SET LOCAL ROLE NONE; ".to_owned()
            }
            Assume::Already => String::new(),
        };
        match &self.context {
            Context::Settings(settings) => {
                for setting in settings {
                    sql.push_str(&set_config(&setting.name, ""));
                }
            }
            Context::Ticket { .. } => sql.push_str("SET LOCAL partywall.ticket = ''; "),
            Context::Schemas if self.search_path.is_none() => {
                sql.push_str("SET LOCAL search_path = DEFAULT; ");
            }
            Context::Schemas | Context::Roles | Context::Nothing => {}
        }
        if self.search_path.is_some() {
            sql.push_str(PINNED);
        }
        sql
    }

    /// The statements that say which tenant it is, without a change of role.
    pub fn bind(&self, id: &str) -> String {
        match &self.context {
            Context::Settings(settings) => settings
                .iter()
                .map(|setting| set_config(&setting.name, &self.fill(&setting.template, id)))
                .collect(),
            Context::Ticket { maker, pid, moment } => {
                let ticket = maker.ticket(id, *pid, *moment);
                format!("SET LOCAL partywall.ticket = '{ticket}'; ")
            }
            Context::Schemas => format!("SET LOCAL search_path = {}, public; ", ident(id)),
            Context::Roles | Context::Nothing => String::new(),
        }
    }

    /// A text with `{tenant}` and `{user}` in it, for the tenant `id`.
    pub fn fill(&self, template: &str, id: &str) -> String {
        let user = self.users.get(id).map_or(id, String::as_str);
        template.replace("{tenant}", id).replace("{user}", user)
    }

    /// In a few words, for reports.
    pub fn describe(&self) -> String {
        match &self.context {
            Context::Settings(settings) => {
                let names: Vec<&str> =
                    settings.iter().map(|setting| setting.name.as_str()).collect();
                format!("settings {}", names.join(", "))
            }
            Context::Roles => "a role per tenant".to_owned(),
            Context::Schemas => "a schema per tenant".to_owned(),
            Context::Ticket { .. } => "signed tickets".to_owned(),
            Context::Nothing => "nothing in the database says which tenant it is".to_owned(),
        }
    }

    /// The role the attacks run as, when it is not the connection's own.
    pub fn role(&self) -> Option<&str> {
        match &self.assume {
            Assume::Already => None,
            Assume::Session(role) | Assume::Role(role) => Some(role),
        }
    }
}

fn set_config(name: &str, value: &str) -> String {
    format!("SELECT pg_catalog.set_config({}, {}, true); ", literal(name), literal(value))
}

fn set_session(role: &str) -> String {
    format!("SET LOCAL SESSION AUTHORIZATION {}; ", ident(role))
}

fn set_role(role: &str) -> String {
    format!("SET LOCAL ROLE {}; ", ident(role))
}
