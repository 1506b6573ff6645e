//! Speaking to whoever started us: colours where they are wanted, quiet when nobody reads.

use std::{
    error::Error,
    fmt,
    future::Future,
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use tracing_subscriber::EnvFilter;

/// The question was answered with no.
pub(crate) const NO: u8 = 1;
/// The question could not be put.
pub(crate) const UNASKED: u8 = 2;
/// As the shell sees a process that wrote to a pipe nobody reads from: 128 + SIGPIPE.
const BROKEN_PIPE: u8 = 141;

/// What standard output and standard error are connected to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terminal {
    colours_out: bool,
    colours_err: bool,
}

/// A colour for a word.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Colour {
    /// It holds.
    Green,
    /// It does not.
    Red,
    /// Nobody can say.
    Yellow,
    /// Less important than its surroundings.
    Dim,
}

impl Terminal {
    /// Colours only on a terminal, and not when `NO_COLOR` is set (no-color.org).
    pub(crate) fn detect() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            colours_out: wanted && io::stdout().is_terminal(),
            colours_err: wanted && io::stderr().is_terminal(),
        }
    }

    /// A word for standard output, in its colour.
    pub(crate) fn paint(&self, colour: Colour, word: &str) -> String {
        paint(self.colours_out, colour, word)
    }

    /// Says on standard error what went wrong. Who closed it does not want to know.
    pub(crate) fn complain(&self, message: impl fmt::Display) {
        let error = paint(self.colours_err, Colour::Red, "error");
        let _ = writeln!(io::stderr(), "{error}: {message}");
    }

    /// Says on standard error what to know while waiting.
    pub(crate) fn hint(&self, message: impl fmt::Display) {
        let _ = writeln!(io::stderr(), "{message}");
    }

    /// Says on standard error what is being done right now, over what was said before; to a
    /// terminal only. Nothing takes the line away.
    pub(crate) fn progress(&self, doing: &str) {
        if io::stderr().is_terminal() {
            let _ = write!(io::stderr(), "\r\x1b[K{doing}");
        }
    }

    /// Complains of an error and everything it came from.
    pub(crate) fn complain_of(&self, error: &dyn Error) {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            let cause = error.to_string();
            if !message.contains(&cause) {
                message = format!("{message}: {cause}");
            }
            source = error.source();
        }
        self.complain(message);
    }

    /// Ends after writing: a reader that went away is no error, and no success either.
    pub(crate) fn after_writing(&self, written: io::Result<ExitCode>) -> ExitCode {
        match written {
            Ok(code) => code,
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(BROKEN_PIPE),
            Err(error) => {
                self.complain(format_args!("cannot write the answer: {error}"));
                ExitCode::from(UNASKED)
            }
        }
    }

    /// Logs to standard error, as `PARTYWALL_LOG` says or else at `level`.
    pub(crate) fn start_logging(&self, level: &str) {
        let wanted = std::env::var("PARTYWALL_LOG").unwrap_or_else(|_| level.to_owned());
        let filter = EnvFilter::try_new(wanted).unwrap_or_else(|error| {
            self.hint(format_args!("PARTYWALL_LOG: {error}; logging as `{level}`"));
            EnvFilter::new(level)
        });
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(io::stderr)
            .with_ansi(self.colours_err)
            .init();
    }

    /// Runs what waits for others to its end.
    pub(crate) fn block_on<F, E>(&self, run: impl FnOnce() -> F) -> ExitCode
    where
        F: Future<Output = Result<ExitCode, E>>,
        E: Error + 'static,
    {
        self.block_on_or(NO, run)
    }

    /// As [`block_on`](Self::block_on), with a code of its own for what fails.
    pub(crate) fn block_on_or<F, E>(&self, failed: u8, run: impl FnOnce() -> F) -> ExitCode
    where
        F: Future<Output = Result<ExitCode, E>>,
        E: Error + 'static,
    {
        let runtime = match tokio::runtime::Runtime::new() {
            Ok(runtime) => runtime,
            Err(error) => {
                self.complain(format_args!("cannot start threads: {error}"));
                return ExitCode::from(UNASKED);
            }
        };
        match runtime.block_on(run()) {
            Ok(code) => code,
            Err(error) => {
                self.complain_of(&error);
                ExitCode::from(failed)
            }
        }
    }
}

fn paint(coloured: bool, colour: Colour, word: &str) -> String {
    let code = match colour {
        Colour::Green => 32,
        Colour::Red => 31,
        Colour::Yellow => 33,
        Colour::Dim => 2,
    };
    if coloured { format!("\x1b[{code}m{word}\x1b[0m") } else { word.to_owned() }
}
