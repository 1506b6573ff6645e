//! The one binary of Partywall.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use terminal::Terminal;

mod admin;
mod check;
mod config;
mod lines;
mod moment;
mod postgres;
mod prove;
mod saml;
mod serve;
mod terminal;
mod token;
mod up;

/// Keeps each tenant's data behind its own wall, from the sign-in to the row.
#[derive(Parser)]
#[command(name = "partywall", version, arg_required_else_help = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start everything on embedded defaults, with a sample application, and show that it holds
    Up(up::Args),
    /// Attack the walls, and say what came of it
    #[command(after_help = prove::HELP)]
    Prove(Box<prove::Args>),
    /// Run the control plane and identity provider
    #[command(after_help = serve::HELP)]
    Serve(serve::Args),
    /// Administer tenants, on the database of the [server] section
    Tenant(admin::tenant::Args),
    /// Administer a tenant's users
    User(admin::user::Args),
    /// Administer machines and applications
    Client(Box<admin::client::Args>),
    /// Look at the keys that sign tokens, and turn them
    Key(admin::key::Args),
    /// Make keys for the admin API, and revoke them
    OperatorKey(admin::operator_key::Args),
    /// Check partywall.toml without starting anything
    #[command(after_help = check::HELP)]
    Check(check::Args),
    /// Look at tokens
    #[command(subcommand)]
    Token(token::Command),
    /// Look at what identity providers send
    #[command(subcommand)]
    Saml(saml::Command),
    /// Prepare a PostgreSQL database, or look at one
    #[command(subcommand)]
    Postgres(postgres::Command),
}

const EXAMPLES: &str = "\
Examples:
  partywall up                                     See it work, in one minute
  partywall prove postgres://app@localhost/shop    Attack a database, as one tenant and the other
  partywall check                                  Find everything wrong with ./partywall.toml
  partywall token verify < tokens.txt              Say of each token what it proves, or why not
  partywall saml verify --connection acme.toml r   Say who a SAML response signs in, or why nobody
  partywall postgres init --table invoices         Print the SQL that walls a table
  partywall postgres lint postgres://localhost/db  Find what weakens its walls
  partywall serve --config /etc/partywall.toml     Run the control plane
  partywall tenant create acme --tier team         Make a tenant
  partywall client create robot --tenant acme      Make a machine of it, and print its secret

Exit codes:
  0  yes: it held, it is good, all were accepted
  1  no: there were findings or refusals, or it failed while running
  2  the question could not be put: wrong usage, configuration or input
`prove` says more: 1 leaked, 2 undecided, 3 could not run.

Environment:
  PARTYWALL_LOG  what to log, e.g. `info` or `partywall_server=debug`
  NO_COLOR       set it to have no colours; there are none outside a terminal anyway";

fn main() -> ExitCode {
    let terminal = Terminal::detect();
    match Cli::parse().command {
        Command::Prove(args) => {
            terminal.start_logging("error");
            prove::run(&args, &terminal)
        }
        Command::Check(args) => check::run(&args, &terminal),
        Command::Token(token::Command::Verify(args)) => token::run(&args, &terminal),
        Command::Saml(saml::Command::Verify(args)) => saml::run(&args, &terminal),
        Command::Postgres(command) => {
            terminal.start_logging("error");
            postgres::run(&command, &terminal)
        }
        Command::Serve(args) => {
            terminal.start_logging("info");
            serve::run(&args, &terminal)
        }
        Command::Tenant(args) => {
            terminal.start_logging("error");
            admin::tenant::run(&args, &terminal)
        }
        Command::User(args) => {
            terminal.start_logging("error");
            admin::user::run(&args, &terminal)
        }
        Command::Client(args) => {
            terminal.start_logging("error");
            admin::client::run(&args, &terminal)
        }
        Command::Key(args) => {
            terminal.start_logging("error");
            admin::key::run(&args, &terminal)
        }
        Command::OperatorKey(args) => {
            terminal.start_logging("error");
            admin::operator_key::run(&args, &terminal)
        }
        Command::Up(args) => {
            // What is refused is shown in the account; the log is for what fails.
            terminal.start_logging("error");
            terminal.block_on(|| up::run(args))
        }
    }
}
