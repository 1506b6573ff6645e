//! `partywall check`: everything wrong with the configuration, without starting anything.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use serde_json::json;

use crate::{
    config::{Config, ConfigError, Secrets},
    terminal::{Colour, NO, Terminal},
};

pub(crate) const HELP: &str = "\
Every finding is one line: file:line:column: key: what is wrong; what to do.

Examples:
  partywall check --example > partywall.toml
  partywall check --config /etc/partywall.toml
  partywall check --json --without-secrets

Exit codes: 0 the file is good, 1 it is not.";

const EXAMPLE: &str = include_str!("example.toml");

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The file to check
    #[arg(long, value_name = "FILE", default_value = "partywall.toml")]
    config: PathBuf,
    /// Do not look for the secrets it refers to: they are on another machine
    #[arg(long)]
    without_secrets: bool,
    /// Answer in JSON: the findings, or the configuration as it was understood
    #[arg(long)]
    json: bool,
    /// Print an example to start from, and check nothing
    #[arg(long, exclusive = true)]
    example: bool,
}

pub(crate) fn run(args: &Args, terminal: &Terminal) -> ExitCode {
    if args.example {
        let written = io::stdout().lock().write_all(EXAMPLE.as_bytes());
        return terminal.after_writing(written.map(|()| ExitCode::SUCCESS));
    }
    let secrets = if args.without_secrets { Secrets::NotLookedAt } else { Secrets::MustExist };
    let loaded = Config::load(&args.config, secrets);
    let written =
        if args.json { answer_json(&loaded) } else { answer_text(args, &loaded, terminal) };
    let code = if loaded.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(NO) };
    terminal.after_writing(written.map(|()| code))
}

fn answer_text(
    args: &Args,
    loaded: &Result<Config, ConfigError>,
    terminal: &Terminal,
) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match loaded {
        Ok(config) => {
            let good = terminal.paint(Colour::Green, "good");
            writeln!(out, "{}: {good}: {}", args.config.display(), summary(config))
        }
        Err(ConfigError::Findings { path, findings }) => {
            for finding in findings {
                writeln!(out, "{}", finding.in_file(path))?;
            }
            let count = terminal.paint(Colour::Red, &counted(findings.len(), "finding"));
            writeln!(out, "{}: {count}", path.display())
        }
        Err(error) => writeln!(out, "{error}"),
    }
}

fn answer_json(loaded: &Result<Config, ConfigError>) -> io::Result<()> {
    let answer = match loaded {
        Ok(config) => json!({ "ok": true, "config": config }),
        Err(ConfigError::Findings { path, findings }) => {
            json!({ "ok": false, "file": path, "findings": findings })
        }
        Err(error) => json!({ "ok": false, "message": error.to_string(), "findings": [] }),
    };
    writeln!(io::stdout().lock(), "{answer}")
}

fn summary(config: &Config) -> String {
    let mut parts = Vec::new();
    if config.server.is_some() {
        parts.push(String::from("a server"));
    }
    if config.service.is_some() {
        parts.push(String::from("a service"));
    }
    parts.push(counted(config.stores.0.len(), "store"));
    parts.push(counted(config.tiers.0.len(), "tier"));
    parts.push(counted(config.issuers.len(), "issuer"));
    parts.join(", ")
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
