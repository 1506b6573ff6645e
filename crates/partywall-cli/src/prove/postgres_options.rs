//! What can be said about a PostgreSQL database beside its address.

use std::path::PathBuf;

use partywall_prove::postgres::{Address, Adversary, Options, Setting, TenantColumn, Value};

use super::{ProveError, read};

// A configuration says these things itself.
#[derive(clap::Args)]
#[command(next_help_heading = "PostgreSQL")]
#[group(multiple = true, requires = "url")]
pub(crate) struct PostgresOptions {
    /// Attack this schema only [default: all but the server's own]
    #[arg(long = "schema", value_name = "NAME")]
    schemas: Vec<String>,
    /// The role the application runs as [default: the address's own, or the only fitting one]
    #[arg(long, value_name = "NAME")]
    role: Option<String>,
    /// A setting that says which tenant it is [default: those the row policies read]
    #[arg(long = "setting", value_name = "NAME[=TEMPLATE]")]
    settings: Vec<Setting>,
    /// A column that names the tenant [default: what the row policies compare, or a usual name]
    #[arg(long = "tenant-column", value_name = "[TABLE:]COLUMN")]
    tenant_columns: Vec<TenantColumn>,
    /// A table that is the same for every tenant
    #[arg(long, value_name = "TABLE")]
    shared: Vec<String>,
    /// Two tenants that exist [default: two are made up, and undone]
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    tenants: Vec<String>,
    /// Who the tenants' sessions are, where not the tenants themselves: `{user}` in a setting or the
    /// setting up, or the tenants' roles
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    users: Vec<String>,
    /// A value for a column that none can be made up for
    #[arg(long = "value", value_name = "TABLE.COLUMN=EXPRESSION")]
    values: Vec<Value>,
    /// SQL to run first for each tenant, `{tenant}`, and its user, `{user}`, as the address's role
    #[arg(long, value_name = "FILE")]
    setup: Option<PathBuf>,
    /// The key of our own wall's tickets [default: read from the database]
    #[arg(long, value_name = "FILE")]
    ticket_key: Option<PathBuf>,
    /// The pooler the application goes through: what is left on its connections is looked for there
    #[arg(long, value_name = "URL")]
    pooler: Option<String>,
    /// The attacker chooses values, and cannot run SQL of its own
    #[arg(long)]
    parameters_only: bool,
    /// Write nothing: read across between the two --tenants
    #[arg(long, requires = "tenants")]
    read_only: bool,
    /// Go ahead although it looks like production; all is rolled back
    #[arg(long)]
    even_in_production: bool,
}

impl PostgresOptions {
    /// As the library wants them, with the files they name.
    pub(crate) fn options(&self) -> Result<Options, ProveError> {
        let tenants = match self.tenants.as_slice() {
            [] => None,
            [a, b] if a != b => Some([a.clone(), b.clone()]),
            _ => return Err(ProveError::Tenants),
        };
        let users = match self.users.as_slice() {
            [] => None,
            [a, b] => Some([a.clone(), b.clone()]),
            _ => return Err(ProveError::Users),
        };
        let setup = match &self.setup {
            Some(path) => Some(String::from_utf8_lossy(&read(path)?).into_owned()),
            None => None,
        };
        Ok(Options {
            schemas: self.schemas.clone(),
            role: self.role.clone(),
            settings: self.settings.clone(),
            tenant_columns: self.tenant_columns.clone(),
            shared: self.shared.clone(),
            tenants,
            users,
            values: self.values.clone(),
            setup,
            ticket_key: self.ticket_key.as_ref().map(ticket_key).transpose()?,
            pooler: self.pooler.as_deref().map(Address::parse).transpose()?,
            adversary: match self.parameters_only {
                true => Adversary::Parameters,
                false => Adversary::SqlInjection,
            },
            read_only: self.read_only,
            even_in_production: self.even_in_production,
        })
    }
}

/// A key as it is, or in hexadecimal.
fn ticket_key(path: &PathBuf) -> Result<Vec<u8>, ProveError> {
    let bytes = read(path)?;
    let text = bytes.trim_ascii();
    let digits = |byte: &u8| byte.is_ascii_hexdigit();
    let key = if text.len() >= 64 && text.len().is_multiple_of(2) && text.iter().all(digits) {
        let pairs = text.chunks_exact(2).map(|pair| std::str::from_utf8(pair).unwrap_or_default());
        pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap_or_default()).collect()
    } else {
        bytes
    };
    if (32..=64).contains(&key.len()) {
        Ok(key)
    } else {
        Err(ProveError::TicketKey { path: path.clone() })
    }
}
