//! `partywall postgres lint`: what weakens the walls of a database and no attack shows.

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use partywall_prove::{
    Exception,
    postgres::{
        Address, CannotRun, TenantColumn,
        lint::{self, LintError, LintReport, Options},
    },
    report::{Tone, lint_json, lint_sarif, lint_text},
};

use crate::terminal::{Colour, NO, Terminal, UNASKED};

pub(crate) const HELP: &str = "\
Reads catalogues only, in a transaction that is rolled back, on any schema of PostgreSQL 13 or later,
walled by Partywall or by hand. The address may be anybody's; an administrator's sees most. Give the
password with PGPASSWORD or ~/.pgpass rather than in the address.

Examples:
  partywall postgres lint postgres://postgres@localhost/shop --role app --shared countries
  partywall postgres lint postgres://postgres@localhost/shop --tenant-column invoices:customer
  partywall postgres lint postgres://app@localhost/shop --format sarif > lint.sarif
  pgrls lint --format json -o pgrls.json; partywall postgres lint postgres://… --pgrls pgrls.json

Exit codes:
  0  no errors (with --strict: and no warnings), but for what is accepted with --ignore
  1  errors
  2  the database could not be asked, or something named is not there";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The PostgreSQL database to look at
    #[arg(value_name = "postgres://…")]
    url: String,
    /// Look at this schema only; may be repeated (all but the system's)
    #[arg(long = "schema", value_name = "NAME")]
    schemas: Vec<String>,
    /// A role the application logs in as; may be repeated (every login with a right on a tenant table)
    #[arg(long = "role", value_name = "RUNTIME")]
    roles: Vec<String>,
    /// A table, and the column that names the tenant in it; a column alone for every table that has it
    #[arg(long = "tenant-column", value_name = "TABLE:COLUMN")]
    tenant_columns: Vec<TenantColumn>,
    /// A table that holds nothing of any tenant; may be repeated
    #[arg(long = "shared", value_name = "TABLE")]
    shared: Vec<String>,
    /// A finding that is acceptable, and why; it stays in the report
    #[arg(long = "ignore", value_name = "RULE[@PLACE]=REASON")]
    ignored: Vec<Exception>,
    /// Take in the findings of `pgrls lint --format json`
    #[arg(long, value_name = "FILE")]
    pgrls: Option<PathBuf>,
    /// How to write the report
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Let warnings fail, too
    #[arg(long)]
    strict: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs; fields are only ever added
    Json,
    /// For code scanning (SARIF 2.1.0)
    Sarif,
}

/// Looks at the database that the arguments name.
pub(crate) fn run(args: &Args, terminal: &Terminal) -> ExitCode {
    terminal.block_on_or(UNASKED, || look(args, terminal))
}

async fn look(args: &Args, terminal: &Terminal) -> Result<ExitCode, CannotLint> {
    let imported = match &args.pgrls {
        Some(path) => lint::pgrls::import(&read(path)?)?,
        None => Vec::new(),
    };
    let options = Options {
        schemas: args.schemas.clone(),
        roles: args.roles.clone(),
        tenant_columns: args.tenant_columns.clone(),
        shared: args.shared.clone(),
        ignore: args.ignored.clone(),
        imported,
    };
    let report = lint::lint_at(&Address::parse(&args.url)?, &options).await?;
    let written = io::stdout().lock().write_all(args.written(&report, terminal).as_bytes());
    let code = if report.is_clean(args.strict) { ExitCode::SUCCESS } else { ExitCode::from(NO) };
    Ok(terminal.after_writing(written.map(|()| code)))
}

impl Args {
    fn written(&self, report: &LintReport, terminal: &Terminal) -> String {
        match self.format {
            Format::Json => lint_json(report),
            Format::Sarif => lint_sarif(report),
            Format::Text => lint_text(report, &|tone, word| match tone {
                Tone::Good => terminal.paint(Colour::Green, word),
                Tone::Bad => terminal.paint(Colour::Red, word),
                Tone::Doubt | Tone::Quiet => word.to_owned(),
            }),
        }
    }
}

fn read(path: &PathBuf) -> Result<String, CannotLint> {
    fs::read_to_string(path).map_err(|source| CannotLint::Unreadable { path: path.clone(), source })
}

/// Why a database was not looked at.
#[derive(Debug, thiserror::Error)]
enum CannotLint {
    /// The address, or nobody answered there.
    #[error(transparent)]
    Address(#[from] CannotRun),
    /// The question.
    #[error(transparent)]
    Lint(#[from] LintError),
    /// The file of `--pgrls`.
    #[error("{}: {source}: name a file that can be read", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
}
