//! `partywall token`: what tokens prove, for people who look for the reason one is refused.

use std::{
    fmt,
    io::{self, BufWriter, IsTerminal, StdoutLock, Write},
    path::PathBuf,
    process::ExitCode,
};

use partywall::{
    Clock, FixedClock, Role, SystemClock,
    token::{Profile, TokenError, TokenFacts, TrustedIssuers},
};
use serde::Serialize;

use crate::{
    lines::{Line, Lines},
    moment::Moment,
    terminal::{Colour, NO, Terminal, UNASKED},
};

mod issuers;

/// The longest line that is kept; far longer than any token that would be read.
const LONGEST_LINE: usize = 64 * 1024;

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Say of each token what it proves, or which check refuses it
    #[command(after_help = VERIFY_HELP)]
    Verify(Args),
}

const VERIFY_HELP: &str = r#"Tokens are judged by the issuers of a configuration, or by one issuer named here. An issuer whose
key set is at a URL is asked for it once, before the first token. Nothing is granted by the answer:
whether the tenant is active, and what was revoked, is in the bundle.

Examples:
  partywall token verify < tokens.txt
  partywall token verify --json --now 2026-01-31T12:00:00Z < tokens.txt
  partywall token verify --jwks keys.json --issuer https://login.example.com \
      --audience https://api.example.com "$TOKEN"

With --json, each token has one line: {"ok":true,"line":1,"tenant":…}, or
{"ok":false,"line":2,"error":"audience_missing","message":…}.

Exit codes: 0 all were accepted, 1 one was refused, 2 nothing could be verified."#;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The token; without it, or with `-`, one token per line of standard input
    #[arg(value_name = "TOKEN")]
    token: Option<String>,
    /// The configuration whose issuers and audience count [default: partywall.toml]
    #[arg(long, value_name = "FILE", conflicts_with = "jwks")]
    config: Option<PathBuf>,
    /// The issuer's key set, as a file, instead of a configuration
    #[arg(long, value_name = "FILE", requires_all = ["issuer", "audience"])]
    jwks: Option<PathBuf>,
    /// The `iss` its tokens must have
    #[arg(long, value_name = "URL", requires = "jwks")]
    issuer: Option<String>,
    /// For whom its tokens must be; may be given several times
    #[arg(long, value_name = "AUDIENCE", requires = "jwks")]
    audience: Vec<String>,
    /// Its kind: partywall, cognito, auth0, okta, entra, keycloak or generic
    #[arg(long, value_name = "PROFILE", requires = "jwks", value_parser = issuers::profile, default_value = "partywall")]
    profile: Profile,
    /// The claim its tokens name the tenant in, where the profile has none
    #[arg(long, value_name = "CLAIM", requires = "jwks")]
    tenant_claim: Option<String>,
    /// Judge as of this time: 2026-01-31T12:00:00Z, or seconds since 1970
    #[arg(long, value_name = "TIME")]
    now: Option<Moment>,
    /// Answer in JSON, one line per token
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args, terminal: &Terminal) -> ExitCode {
    let issuers = match issuers::trusted(args, terminal) {
        Ok(issuers) => issuers,
        Err(error) => {
            error.tell(terminal);
            return ExitCode::from(UNASKED);
        }
    };
    let clock: Box<dyn Clock> = match args.now {
        Some(Moment(now)) => Box::new(FixedClock::at(now)),
        None => Box::new(SystemClock::default()),
    };
    let mut examiner = Examiner::new(issuers, clock.as_ref(), args.json, terminal);
    let examined = match args.token.as_deref() {
        None | Some("-") => examiner.examine_stdin(),
        Some(token) => examiner.examine(1, &Line::Text(token.trim_ascii())),
    };
    match examined.and_then(|()| examiner.finish()) {
        Ok(Some(verdict)) => verdict,
        Ok(None) => {
            terminal.complain("no token: give one as argument, or one per line of standard input");
            ExitCode::from(UNASKED)
        }
        Err(ExamineError::Write(error)) => terminal.after_writing(Err(error)),
        Err(error @ ExamineError::Read(_)) => {
            terminal.complain_of(&error);
            ExitCode::from(UNASKED)
        }
    }
}

/// Examines token by token, and answers each before it asks for the next.
struct Examiner<'e> {
    issuers: TrustedIssuers,
    clock: &'e dyn Clock,
    json: bool,
    terminal: &'e Terminal,
    out: BufWriter<StdoutLock<'static>>,
    examined: u64,
    refused: u64,
}

#[derive(Debug, thiserror::Error)]
enum ExamineError {
    #[error("cannot read standard input")]
    Read(#[source] io::Error),
    #[error("cannot write the answer")]
    Write(#[from] io::Error),
}

/// Why a line proves nothing.
enum Refused {
    Token(TokenError),
    NotUtf8,
}

impl Refused {
    fn code(&self) -> &'static str {
        match self {
            Self::Token(error) => error.code(),
            Self::NotUtf8 => "token_not_utf8",
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(error) => error.fmt(f),
            Self::NotUtf8 => f.write_str("the line is not UTF-8: a token is ASCII"),
        }
    }
}

impl<'e> Examiner<'e> {
    fn new(
        issuers: TrustedIssuers,
        clock: &'e dyn Clock,
        json: bool,
        terminal: &'e Terminal,
    ) -> Self {
        let out = BufWriter::new(io::stdout().lock());
        Self { issuers, clock, json, terminal, out, examined: 0, refused: 0 }
    }

    fn examine_stdin(&mut self) -> Result<(), ExamineError> {
        let stdin = io::stdin();
        if stdin.is_terminal() {
            self.terminal.hint("reading tokens, one per line; Ctrl-D ends");
        }
        let mut lines = Lines::of(stdin.lock(), LONGEST_LINE);
        loop {
            let mut flushed = Ok(());
            let next = lines.next(|| {
                if flushed.is_ok() {
                    flushed = self.out.flush();
                }
            });
            let next = next.map_err(ExamineError::Read)?;
            flushed?;
            let Some((number, line)) = next else { return Ok(()) };
            self.examine(number, &line)?;
        }
    }

    fn examine(&mut self, number: u64, line: &Line<'_>) -> Result<(), ExamineError> {
        let answer = match *line {
            Line::Text(token) => {
                self.issuers.examine(token, self.clock.now()).map_err(Refused::Token)
            }
            Line::TooLong { bytes } => Err(Refused::Token(TokenError::TooLarge { bytes })),
            Line::NotUtf8 => Err(Refused::NotUtf8),
        };
        self.examined += 1;
        self.refused += u64::from(answer.is_err());
        match (answer, self.json) {
            (answer, true) => writeln!(self.out, "{}", as_json(number, &answer)?)?,
            (Ok(facts), false) => {
                let accepted = self.terminal.paint(Colour::Green, "accepted");
                writeln!(self.out, "{number}: {accepted}: {}", in_words(&facts))?;
            }
            (Err(refused), false) => {
                let word = self.terminal.paint(Colour::Red, "refused");
                writeln!(self.out, "{number}: {word}: {}: {refused}", refused.code())?;
            }
        }
        Ok(())
    }

    /// The exit code the tokens have earned; `None` when there were none.
    fn finish(mut self) -> Result<Option<ExitCode>, ExamineError> {
        self.out.flush()?;
        Ok(match (self.examined, self.refused) {
            (0, _) => None,
            (_, 0) => Some(ExitCode::SUCCESS),
            _ => Some(ExitCode::from(NO)),
        })
    }
}

/// One token's answer: `ok` and `line`, and then what it proves, or why it proves nothing.
#[derive(Serialize)]
#[serde(untagged)]
enum Answer<'a> {
    Accepted {
        ok: bool,
        line: u64,
        #[serde(flatten)]
        facts: &'a TokenFacts,
    },
    Refused {
        ok: bool,
        line: u64,
        error: &'static str,
        message: String,
    },
}

fn as_json(line: u64, answer: &Result<TokenFacts, Refused>) -> io::Result<String> {
    let answer = match answer {
        Ok(facts) => Answer::Accepted { ok: true, line, facts },
        Err(refused) => {
            let (error, message) = (refused.code(), refused.to_string());
            Answer::Refused { ok: false, line, error, message }
        }
    };
    Ok(serde_json::to_string(&answer)?)
}

fn in_words(facts: &TokenFacts) -> String {
    let TokenFacts { tenant, subject, issuer, algorithm, roles, .. } = facts;
    let who = if facts.machine { "machine" } else { "user" };
    let expires = facts.expires_at.to_rfc3339();
    let roles: Vec<&str> = roles.iter().map(Role::as_str).collect();
    let roles =
        if roles.is_empty() { "no role".to_owned() } else { format!("roles {}", roles.join(" ")) };
    format!("tenant {tenant}, {who} {subject}, {roles}; {algorithm} by {issuer}, expires {expires}")
}
