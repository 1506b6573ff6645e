//! `partywall key`: the keys that sign tokens.

use std::process::ExitCode;

use partywall_server::SigningKeyRecord;
use serde_json::{Value, json};

use super::{AdminError, Common, Desk};
use crate::terminal::Terminal;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// List the keys
    List,
    /// Publish the next key now; it signs once everybody can know it
    Rotate,
    /// Take a key out of use at once, because somebody else may have it
    Withdraw {
        /// Its id
        kid: String,
    },
}

pub(crate) fn run(args: &Args, terminal: &Terminal) -> ExitCode {
    super::run(&args.common, terminal, async |desk: &Desk| {
        let Desk { control, actor, .. } = desk;
        match &args.command {
            Command::List => {}
            Command::Rotate => control.begin_key_rotation(actor).await?,
            Command::Withdraw { kid } => control.withdraw_signing_key(actor, kid).await?,
        }
        for key in control.list_signing_keys().await? {
            desk.say(&object(&key), &format!("{}  {}  {}", key.kid, key.algorithm, key.state))?;
        }
        Ok::<_, AdminError>(())
    })
}

fn object(key: &SigningKeyRecord) -> Value {
    json!({
        "kid": key.kid, "algorithm": key.algorithm.as_str(), "state": key.state,
        "published_at": key.published_at.0, "activated_at": key.activated_at.map(|at| at.0),
        "retired_at": key.retired_at.map(|at| at.0),
    })
}
