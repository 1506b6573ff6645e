//! `partywall serve`: the control plane and identity provider.

use std::{path::PathBuf, process::ExitCode};

use crate::config::{Config, ConfigError, Secrets};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The configuration, whose [server] section is run
    #[arg(long, value_name = "FILE", default_value = "partywall.toml")]
    config: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{}: no [server] section: add one (`partywall check` says what belongs into it)", path.display())]
    NoServer { path: PathBuf },
}

pub(crate) async fn run(args: Args) -> Result<ExitCode, ServeError> {
    let config = Config::load(&args.config, Secrets::MustExist)?;
    let Some(_server) = config.server else {
        return Err(ServeError::NoServer { path: args.config });
    };
    Ok(ExitCode::SUCCESS)
}
