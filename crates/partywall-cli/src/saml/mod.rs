//! `partywall saml`: what a response says and who signed it, for people who look for the reason
//! one is refused.

use std::{
    io::{self, BufWriter, IsTerminal, StdoutLock, Write},
    path::PathBuf,
    process::ExitCode,
};

use partywall::{Clock, SystemClock};
use partywall_saml::{Assertion, Connection, Expected, Refused};

use crate::{
    lines::{Line, Lines},
    moment::Moment,
    terminal::{Colour, NO, Terminal, UNASKED},
};
use response::Unreadable;

mod answer;
mod connection;
mod response;

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Say of each response whom it signs in, or which rule refuses it
    #[command(after_help = VERIFY_HELP)]
    Verify(Args),
}

const VERIFY_HELP: &str = r#"Each response is judged by itself, offline: nobody is asked, nothing is remembered, and nobody is
signed in. Whether it was used before, and whether its tenant and user are active, is not looked at.

The connection's file:
  sp_entity_id  = "https://login.example.com/federation/acme/c-1/saml"
  acs_url       = "https://login.example.com/federation/acme/c-1/saml/acs"
  idp_entity_id = "https://idp.acme.example/metadata"
  certificates  = [{ file = "idp.pem" }]    # or { text = "…" }, as metadata has it; one or two
  idp_initiated = false                     # whether a response without a request is taken
  decryption_keys = [{ file = "sp.pem" }]   # PKCS#8; none, one or two
  allow_cbc = false                         # whether AES-CBC is taken

Examples:
  partywall saml verify --connection acme.toml --request-id _8f2c response.xml
  partywall saml verify --connection acme.toml --now 2026-01-31T12:00:00Z --json < responses.txt

With --json, each response has one line: {"ok":true,"line":1,"name_id":{"value":…},…}, or
{"ok":false,"line":2,"rule":"audience","element":…,"found":…,"message":…}.

Exit codes: 0 all were accepted, 1 one was refused, 2 nothing could be verified."#;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A file, or base64; without it, or with `-`, one per line of standard input
    #[arg(value_name = "RESPONSE")]
    response: Option<String>,
    /// What was agreed with the identity provider, in TOML
    #[arg(long, value_name = "FILE")]
    connection: PathBuf,
    /// The ID of the request that is answered; without it, none was sent
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    /// Judge as of this time: 2026-01-31T12:00:00Z, or seconds since 1970 [default: now]
    #[arg(long, value_name = "TIME")]
    now: Option<Moment>,
    /// Answer in JSON, one line per response
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args, terminal: &Terminal) -> ExitCode {
    let connection = match connection::load(&args.connection) {
        Ok(connection) => connection,
        Err(error) => {
            terminal.complain_of(&error);
            return ExitCode::from(UNASKED);
        }
    };
    let mut examiner = Examiner { connection, args, terminal, out: stdout(), seen: 0, refused: 0 };
    let examined = match args.response.as_deref() {
        None | Some("-") => examiner.examine_stdin(),
        Some(response) => examiner.examine(1, &Line::Text(response.trim_ascii())),
    };
    match examined.and_then(|()| examiner.finish()) {
        Ok(Some(verdict)) => verdict,
        Ok(None) => {
            terminal
                .complain("no response: give one as argument, or one per line of standard input");
            ExitCode::from(UNASKED)
        }
        Err(ExamineError::Write(error)) => terminal.after_writing(Err(error)),
        Err(error @ ExamineError::Read(_)) => {
            terminal.complain_of(&error);
            ExitCode::from(UNASKED)
        }
    }
}

fn stdout() -> BufWriter<StdoutLock<'static>> {
    BufWriter::new(io::stdout().lock())
}

/// Examines response by response, and answers each before it asks for the next.
struct Examiner<'e> {
    connection: Connection,
    args: &'e Args,
    terminal: &'e Terminal,
    out: BufWriter<StdoutLock<'static>>,
    seen: u64,
    refused: u64,
}

#[derive(Debug, thiserror::Error)]
enum ExamineError {
    #[error("cannot read standard input")]
    Read(#[source] io::Error),
    #[error("cannot write the answer")]
    Write(#[from] io::Error),
}

/// What became of one response.
enum Verdict {
    Accepted(Box<Assertion>),
    Refused(Refused),
    Unreadable(Unreadable),
}

impl Examiner<'_> {
    fn examine_stdin(&mut self) -> Result<(), ExamineError> {
        let stdin = io::stdin();
        if stdin.is_terminal() {
            self.terminal.hint("reading responses, one per line; Ctrl-D ends");
        }
        let mut lines = Lines::of(stdin.lock(), response::LONGEST);
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
        let verdict = self.verdict(line);
        self.seen += 1;
        self.refused += u64::from(!matches!(verdict, Verdict::Accepted(_)));
        if self.args.json {
            writeln!(self.out, "{}", answer::as_json(number, &verdict))?;
            return Ok(());
        }
        let word = match &verdict {
            Verdict::Accepted(_) => self.terminal.paint(Colour::Green, "accepted"),
            _ => self.terminal.paint(Colour::Red, "refused"),
        };
        writeln!(self.out, "{number}: {word}: {}", answer::in_words(&verdict))?;
        Ok(())
    }

    fn verdict(&self, line: &Line<'_>) -> Verdict {
        let response = match response::of(line) {
            Ok(response) => response,
            Err(unreadable) => return Verdict::Unreadable(unreadable),
        };
        let now = self.args.now.map_or_else(|| SystemClock::default().now(), |Moment(now)| now);
        let now = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(now.0);
        let expected = Expected { request_id: self.args.request_id.as_deref(), now };
        match self.connection.verify(&response, &expected) {
            Ok(assertion) => Verdict::Accepted(Box::new(assertion)),
            Err(refused) => Verdict::Refused(refused),
        }
    }

    /// The exit code the responses have earned; `None` when there were none.
    fn finish(mut self) -> Result<Option<ExitCode>, ExamineError> {
        self.out.flush()?;
        Ok(match (self.seen, self.refused) {
            (0, _) => None,
            (_, 0) => Some(ExitCode::SUCCESS),
            _ => Some(ExitCode::from(NO)),
        })
    }
}
