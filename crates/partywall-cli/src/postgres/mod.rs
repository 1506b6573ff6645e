//! `partywall postgres`: preparing a database, and looking at one.

use std::process::ExitCode;

use crate::terminal::Terminal;

mod init;
mod lint;

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Print the SQL migration that raises the wall in a database, to be read before it is run
    #[command(after_help = init::HELP)]
    Init(init::Args),
    /// Look for what weakens the walls of a database and no attack shows
    #[command(after_help = lint::HELP)]
    Lint(lint::Args),
}

pub(crate) fn run(command: &Command, terminal: &Terminal) -> ExitCode {
    match command {
        Command::Init(args) => init::run(args, terminal),
        Command::Lint(args) => lint::run(args, terminal),
    }
}
