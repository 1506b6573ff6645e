//! `partywall operator-key`: what the vendor's staff show to the admin API. Made here, and by
//! nothing a network reaches.

use std::{process::ExitCode, time::Duration};

use partywall_server::{NewOperatorKey, OperatorKey};
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
    /// Make a key; it is shown only now
    Create {
        /// Whose it is, as the audit trail will name them
        name: String,
        /// For how many days it opens anything
        #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=400))]
        days: u32,
    },
    /// Make a key open nothing from now on
    Revoke {
        /// Its id
        id: String,
    },
}

pub(crate) fn run(args: &Args, terminal: &Terminal) -> ExitCode {
    super::run(&args.common, terminal, async |desk: &Desk| act(desk, &args.command).await)
}

async fn act(desk: &Desk, command: &Command) -> Result<(), AdminError> {
    let Desk { control, actor, .. } = desk;
    match command {
        Command::List => {
            for key in control.list_operator_keys().await? {
                let revoked = if key.revoked_at.is_some() { "  revoked" } else { "" };
                let words =
                    format!("{}  {}  until {}{revoked}", key.id, key.name, key.expires_at.0);
                desk.say(&object(&key), &words)?;
            }
            Ok(())
        }
        Command::Create { name, days } => {
            let lasts = Duration::from_secs(u64::from(*days) * 24 * 3600);
            let new = NewOperatorKey { name: name.clone(), lasts };
            let made = control.create_operator_key(actor, new).await?;
            let mut object = object(&made.key);
            if let Some(members) = object.as_object_mut() {
                members.insert("secret".to_owned(), json!(made.expose()));
            }
            let words = format!("operator key {}, shown only now:", made.key.id);
            desk.hand_over(&object, &words, made.expose())
        }
        Command::Revoke { id } => {
            control.revoke_operator_key(actor, id).await?;
            desk.done(&json!({ "id": id, "revoked": true }), "the key opens nothing any more")
        }
    }
}

fn object(key: &OperatorKey) -> Value {
    json!({
        "id": key.id, "name": key.name, "created_at": key.created_at.0,
        "expires_at": key.expires_at.0, "revoked_at": key.revoked_at.map(|at| at.0),
    })
}
