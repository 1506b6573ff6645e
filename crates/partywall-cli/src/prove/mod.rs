//! `partywall prove`: attacking the walls, and saying what came of it.

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    process::ExitCode,
    sync::{Mutex, PoisonError},
};

use aws_lc_rs::rand;
use partywall::{Clock, SystemClock};
use partywall_prove::{
    Exception, Exit, Log, Progress, Run, Subject, Trial,
    postgres::{self, Address},
};

use crate::terminal::Terminal;

pub(crate) use operator::Operator;
pub(crate) use output::{OutputError, ReportFile};

use self::{output::Output, postgres_options::PostgresOptions};

mod breaks;
mod operator;
mod output;
mod postgres_options;
mod system;
mod verify;

pub(crate) const HELP: &str = "\
With nothing but an address, every table of the database is attacked: as the application's role, as
two tenants made up for it, in one transaction that is rolled back. The address should be the
application's own; with an administrator's, the role is looked for, or named with --role. Give the
password with PGPASSWORD or ~/.pgpass rather than in the address.

Without an address, partywall.toml says what there is: tokens, hints and the application over HTTP,
and every store in every pair of models, each tenant of [prove] against each other one. A layer that
is neither attacked nor declared absent is undecided.

Examples:
  partywall prove --config /etc/partywall.toml
  partywall prove postgres://app@localhost/shop --shared countries
  partywall prove postgres://postgres@localhost/shop --role app --parameters-only
  partywall prove postgres://postgres@localhost/shop --break --shared countries
  partywall prove postgres://app@db.internal/shop --read-only --tenants acme,globex
  partywall prove postgres://app@localhost/shop --accept 'postgres.reference=ids are random uuids'
  partywall prove postgres://app@localhost/shop --report html=proof.html --history proofs/
  partywall prove verify proofs/ --key auditor/key.pub

Exit codes:
  0  proven: every attack was blocked, each beside a control that succeeded, or is accepted
  1  at least one went through
  2  none went through, and at least one could not be decided, or something is not declared
  3  could not run";

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    instead: Option<Instead>,
    /// The PostgreSQL database to attack [default: every layer the configuration declares]
    #[arg(value_name = "postgres://…")]
    url: Option<String>,
    /// The configuration, whose [prove] section says what is attacked and as whom
    #[arg(long, value_name = "FILE", default_value = "partywall.toml", conflicts_with = "url")]
    config: PathBuf,
    #[command(flatten)]
    postgres: PostgresOptions,
    /// A leak or an open question that is acceptable, and why; it stays in the report
    #[arg(long = "accept", value_name = "ATTACK[@PLACE]=REASON")]
    accepted: Vec<Exception>,
    /// Take each wall of the database down in turn, as its administrator, and say who noticed;
    /// everything is rolled back
    #[arg(long = "break", requires = "url", conflicts_with_all = ["read_only", "even_in_production"])]
    breaks: bool,
    #[command(flatten)]
    output: Output,
}

/// What can be done instead of attacking.
#[derive(clap::Subcommand)]
enum Instead {
    /// Check the signed records of earlier runs, without a network
    #[command(after_help = verify::HELP)]
    Verify(verify::Args),
}

/// Attacks what the arguments name.
pub(crate) fn run(args: &Args, terminal: &Terminal) -> ExitCode {
    if let Some(Instead::Verify(args)) = &args.instead {
        return verify::run(args, terminal);
    }
    terminal.block_on_or(Exit::CouldNotRun.code(), || attack(args, terminal))
}

async fn attack(args: &Args, terminal: &Terminal) -> Result<ExitCode, ProveError> {
    let (clock, watcher) = (SystemClock::default(), Watcher::new(*terminal));
    if let (true, Some(url)) = (args.breaks, &args.url) {
        return breaks::run(url, &args.postgres.options()?, terminal, &watcher).await;
    }
    args.output.prepare()?;
    let started = clock.now();
    let mut accepted = args.accepted.clone();
    if args.url.is_none() {
        accepted.extend(system::accepted(&args.config)?);
    }
    let mut log = Log::new(accepted, &watcher);
    let subject = match &args.url {
        Some(url) => database(args, url, &mut log).await,
        None => Ok(system::prove(&args.config, &mut log).await?),
    };
    watcher.rest();
    let run = Run::new(run_id()?, started, clock.now(), subject?, log);
    Ok(args.output.deliver(&run, terminal))
}

async fn database(args: &Args, url: &str, log: &mut Log<'_>) -> Result<Subject, ProveError> {
    let options = args.postgres.options()?;
    let address = Address::parse(url)?;
    Ok(postgres::prove(&address, &options, log).await?)
}

/// 16 random bytes in hexadecimal.
pub(crate) fn run_id() -> Result<String, ProveError> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).map_err(|_| ProveError::NoRandomness)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Why nothing could be attacked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProveError {
    /// The database.
    #[error(transparent)]
    Postgres(#[from] postgres::CannotRun),
    /// The configuration, or the system it describes.
    #[error(transparent)]
    System(#[from] system::SystemError),
    /// A file that an option names.
    #[error("{}: {source}: name a file that can be read", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    /// The ticket key.
    #[error("{}: not a ticket key: 32 to 64 bytes, or as many pairs of hexadecimal digits", path.display())]
    TicketKey { path: PathBuf },
    /// `--tenants`.
    #[error("--tenants takes two different tenants: --tenants acme,globex")]
    Tenants,
    /// The report has nowhere to go.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// `--users`.
    #[error("--users takes two, one of each tenant: --users ann,bob")]
    Users,
    /// The machine.
    #[error("this machine has no randomness to give")]
    NoRandomness,
}

/// Says on standard error which table or route is being attacked.
struct Watcher {
    terminal: Terminal,
    seen: Mutex<BTreeSet<String>>,
}

impl Watcher {
    fn new(terminal: Terminal) -> Self {
        Self { terminal, seen: Mutex::default() }
    }

    /// Takes the last line away.
    fn rest(&self) {
        self.terminal.progress("");
    }
}

impl Progress for Watcher {
    fn begin(&self, place: &str) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(place.to_owned());
        self.terminal.progress(&format!("attacking {place} ({})", seen.len()));
    }

    fn judged(&self, _trial: &Trial) {}
}

pub(crate) fn read(path: &PathBuf) -> Result<Vec<u8>, ProveError> {
    fs::read(path).map_err(|source| ProveError::Unreadable { path: path.clone(), source })
}
