//! `partywall postgres init`: the migration that walls a database.

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    str::FromStr,
};

use partywall_postgres::{InitOptions, InvalidPackName, Roles, Table, migration};

use crate::terminal::{Terminal, UNASKED};

pub(crate) const HELP: &str = "\
Nothing is connected to: the migration is printed, with no password and no key in it. The owner of
the database runs it, needs CREATEROLE, and neither superuser rights nor an extension.

Examples:
  partywall postgres init --table invoices --table payments:org_id > wall.sql
  partywall postgres init --schema billing --table invoices --slots 32 --output wall.sql
  psql -v ON_ERROR_STOP=1 --single-transaction -f wall.sql";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The schema of the tables that name none
    #[arg(long, value_name = "NAME", default_value = "public")]
    schema: String,
    /// A table to put behind the wall, and the column that names the tenant (tenant_id)
    #[arg(long = "table", value_name = "[SCHEMA.]TABLE[:COLUMN]")]
    tables: Vec<NamedTable>,
    /// How many logins to create: one per connection the application may hold
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1000))]
    slots: u16,
    /// What the roles' names begin with: one per application in a cluster
    #[arg(long, value_name = "PREFIX", default_value = "partywall", value_parser = Roles::with_prefix)]
    prefix: Roles,
    /// Write to this file, which must not be there yet, instead of standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// A table as written on the command line.
#[derive(Clone, Debug)]
struct NamedTable {
    schema: Option<String>,
    name: String,
    column: String,
}

impl FromStr for NamedTable {
    type Err = InvalidPackName;

    fn from_str(written: &str) -> Result<Self, Self::Err> {
        let (table, column) = written.split_once(':').unwrap_or((written, "tenant_id"));
        let (schema, name) = match table.split_once('.') {
            Some((schema, name)) => (Some(schema.to_owned()), name),
            None => (None, table),
        };
        let table = Self { schema, name: name.to_owned(), column: column.to_owned() };
        table
            .in_schema("public")
            .map(|_| table)
            .map_err(|_| InvalidPackName::Table { table: written.to_owned() })
    }
}

impl NamedTable {
    fn in_schema(&self, schema: &str) -> Result<Table, InvalidPackName> {
        let schema = self.schema.as_deref().unwrap_or(schema);
        format!("{schema}.{}.{}", self.name, self.column).parse()
    }
}

pub(crate) fn run(args: &Args, terminal: &Terminal) -> ExitCode {
    let mut options = InitOptions::new(args.prefix.clone()).slots(args.slots);
    for table in &args.tables {
        match table.in_schema(&args.schema) {
            Ok(table) => options = options.table(table),
            Err(error) => {
                terminal.complain(error);
                return ExitCode::from(UNASKED);
            }
        }
    }
    let sql = migration(&options);
    let Some(path) = &args.output else {
        let written = io::stdout().lock().write_all(sql.as_bytes());
        return terminal.after_writing(written.map(|()| ExitCode::SUCCESS));
    };
    let written = fs::File::create_new(path).and_then(|mut file| file.write_all(sql.as_bytes()));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            terminal.complain(format_args!(
                "{}: {error}: name a new file with --output",
                path.display()
            ));
            ExitCode::from(UNASKED)
        }
    }
}
