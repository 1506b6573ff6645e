//! `partywall tenant|user|client|key|operator-key`: the control plane, administered from beside its
//! database. Whoever can read the configuration and the sealing key is an operator already; the
//! audit trail names them as they name themselves.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use partywall::{SystemClock, TenantId};
use partywall_server::{Actor, ControlError, ControlPlane, OpenError, Tenant};
use serde_json::Value;

use crate::{
    config::{Config, Secrets},
    serve::{self, ServeError},
    terminal::{NO, Terminal, UNASKED},
};

pub(crate) mod client;
mod domain;
pub(crate) mod key;
pub(crate) mod operator_key;
pub(crate) mod tenant;
pub(crate) mod user;

/// What every one of these commands is given.
#[derive(clap::Args)]
pub(crate) struct Common {
    /// The configuration, whose [server] section names the database
    #[arg(long, value_name = "FILE", default_value = "partywall.toml", global = true)]
    config: PathBuf,
    /// Whom the audit trail names for it
    #[arg(
        long = "as",
        value_name = "NAME",
        env = "USER",
        default_value = "operator",
        global = true
    )]
    actor: String,
    /// Answer in JSON, one object a line
    #[arg(long, global = true)]
    json: bool,
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    #[error(transparent)]
    Settings(#[from] ServeError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error("there is no tenant {0}; `partywall tenant list` shows those there are")]
    NoTenant(String),
    #[error("there is no {kind} {id}")]
    Nothing { kind: &'static str, id: String },
    #[error("{what} {given:?}: {why}")]
    Argument { what: &'static str, given: String, why: String },
    #[error("cannot write the answer")]
    Write(#[from] io::Error),
}

/// A control plane at hand, and how to answer.
pub(crate) struct Desk {
    pub(super) control: ControlPlane,
    pub(super) actor: Actor,
    json: bool,
    terminal: Terminal,
}

/// Opens the control plane the configuration names, and does something with it.
pub(crate) fn run<F>(common: &Common, terminal: &Terminal, work: F) -> ExitCode
where
    F: AsyncFnOnce(&Desk) -> Result<(), AdminError>,
{
    let config = match Config::load(&common.config, Secrets::MustExist) {
        Ok(config) => config,
        Err(error) => {
            error.tell(terminal);
            return ExitCode::from(UNASKED);
        }
    };
    let Config { server: Some(section), issuers, .. } = config else {
        terminal.complain(format_args!(
            "{}: no [server] section: add one; `partywall check --example` shows it",
            common.config.display()
        ));
        return ExitCode::from(UNASKED);
    };
    let (actor, json) = (Actor::Operator(common.actor.clone()), common.json);
    terminal.block_on_or(NO, || async move {
        let settings = serve::settings(&section, issuers)?;
        let control = ControlPlane::open(settings, Arc::new(SystemClock::default())).await?;
        match work(&Desk { control, actor, json, terminal: *terminal }).await {
            Ok(()) => Ok::<_, AdminError>(ExitCode::SUCCESS),
            Err(error @ AdminError::Argument { .. }) => {
                terminal.complain_of(&error);
                Ok(ExitCode::from(UNASKED))
            }
            Err(error) => Err(error),
        }
    })
}

impl Desk {
    /// Answers: to programs the object, to people the words.
    pub(super) fn say(&self, object: &Value, words: &str) -> Result<(), AdminError> {
        let line = if self.json { object.to_string() } else { words.to_owned() };
        Ok(writeln!(io::stdout(), "{line}")?)
    }

    /// Says what was done: on standard error to people, whose standard output stays empty.
    pub(super) fn done(&self, object: &Value, words: &str) -> Result<(), AdminError> {
        if self.json {
            return self.say(object, words);
        }
        self.terminal.hint(words);
        Ok(())
    }

    /// Hands over a secret, now and never again: alone on standard output, so that it can be piped
    /// to where it belongs.
    pub(super) fn hand_over(
        &self,
        object: &Value,
        words: &str,
        secret: &str,
    ) -> Result<(), AdminError> {
        if !self.json {
            self.terminal.hint(words);
        }
        self.say(object, secret)
    }

    /// The tenant of that id or slug.
    pub(super) async fn tenant(&self, name: &str) -> Result<Tenant, AdminError> {
        let by_id = match name.parse::<TenantId>() {
            Ok(id) => self.control.tenant(&id).await?,
            Err(_) => None,
        };
        let found = match (by_id, name.parse()) {
            (Some(tenant), _) => Some(tenant),
            (None, Ok(slug)) => self.control.tenant_by_slug(&slug).await?,
            (None, Err(_)) => None,
        };
        found.ok_or_else(|| AdminError::NoTenant(name.to_owned()))
    }
}

/// Reads an argument, or says what is wrong with it.
pub(super) fn read<T: std::str::FromStr<Err: std::fmt::Display>>(
    what: &'static str,
    given: &str,
) -> Result<T, AdminError> {
    given.parse().map_err(|error: T::Err| AdminError::Argument {
        what,
        given: given.to_owned(),
        why: error.to_string(),
    })
}

/// How many rows are asked for at once.
pub(super) const PAGE: u32 = 1_000;

/// Every page of a list, one after the other.
macro_rules! each_page {
    ($after:ident => $page:expr, $key:expr, $item:ident => $say:expr) => {{
        let mut $after = None;
        loop {
            let page = $page;
            for $item in &page {
                $say;
            }
            let full = page.len() >= crate::admin::PAGE as usize;
            match page.last() {
                Some(last) if full => $after = Some($key(last)),
                _ => break,
            }
        }
    }};
}
pub(super) use each_page;
