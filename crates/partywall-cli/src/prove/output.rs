//! Where the report of a run goes: standard output, files, the history.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    str::FromStr,
};

use aws_lc_rs::rand;
use partywall_prove::{
    Exit, Run,
    report::{
        self, Format, History, HistoryError, Tone,
        sign::{InvalidSeed, SigningKey},
    },
};
use partywall_server::{Secret, SecretError, SecretFile};

use crate::terminal::{Colour, Terminal};

/// Where the report goes.
#[derive(clap::Args)]
pub(crate) struct Output {
    /// The form of the report on standard output: text, json, junit, sarif or html
    #[arg(long, value_name = "FORMAT", default_value = "text", help_heading = "Report")]
    format: Format,
    /// Write the report to a file as well; may be given several times
    #[arg(long = "report", value_name = "FORMAT=FILE", help_heading = "Report")]
    reports: Vec<ReportFile>,
    /// Sign the run and append it to the history in this directory
    #[arg(long, value_name = "DIR", help_heading = "Report")]
    history: Option<PathBuf>,
    /// The key to sign with, made if there is none [default: signing-key in the history's directory]
    #[arg(long, value_name = "FILE", requires = "history", help_heading = "Report")]
    signing_key: Option<PathBuf>,
}

/// A report asked for as `FORMAT=FILE`.
#[derive(Clone, Debug)]
pub(crate) struct ReportFile {
    format: Format,
    path: PathBuf,
}

/// Not `FORMAT=FILE`.
#[derive(Debug, thiserror::Error)]
#[error("write FORMAT=FILE, with text, json, junit, sarif or html for FORMAT")]
pub(crate) struct InvalidReportFile;

impl FromStr for ReportFile {
    type Err = InvalidReportFile;

    fn from_str(written: &str) -> Result<Self, Self::Err> {
        let (format, path) = written.split_once('=').ok_or(InvalidReportFile)?;
        let format = format.parse().map_err(|_| InvalidReportFile)?;
        match path.is_empty() {
            true => Err(InvalidReportFile),
            false => Ok(Self { format, path: PathBuf::from(path) }),
        }
    }
}

/// Why a report could not be delivered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutputError {
    /// The system said no.
    #[error("the report {}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    /// The directory a report should go to is not there.
    #[error("the report {}: there is no such directory: make it first", path.display())]
    NoDirectory { path: PathBuf },
    /// The history.
    #[error("the history {0}")]
    History(#[from] HistoryError),
    /// The signing key.
    #[error("the signing key: {0}")]
    Key(#[from] SecretError),
    /// The signing key is something else.
    #[error("{}: {source}", path.display())]
    NotAKey { path: PathBuf, source: InvalidSeed },
}

impl Output {
    /// Finds out before anything is attacked whether the report could be delivered.
    ///
    /// # Errors
    ///
    /// When a directory is missing, the signing key cannot be read or made, or the history cannot be
    /// continued with it.
    pub(crate) fn prepare(&self) -> Result<(), OutputError> {
        for ReportFile { path, .. } in &self.reports {
            if !directory_of(path).is_dir() {
                return Err(OutputError::NoDirectory { path: path.clone() });
            }
        }
        match &self.history {
            Some(dir) => Ok(History::at(dir).accepts(&self.key(dir)?.public())?),
            None => Ok(()),
        }
    }

    /// Delivers the report everywhere it was asked for, and ends with the run's own code. What
    /// cannot be delivered is an error, which makes a good run end with 3 and a bad one as it is.
    pub(crate) fn deliver(&self, run: &Run, terminal: &Terminal) -> ExitCode {
        let mut delivered = true;
        for report in &self.reports {
            if let Err(error) = report.write(run) {
                delivered = false;
                terminal.complain_of(&error);
            }
        }
        if let Some(dir) = &self.history {
            match self.append(dir, run) {
                Ok(recorded) => terminal.hint(recorded),
                Err(error) => {
                    delivered = false;
                    terminal.complain_of(&error);
                }
            }
        }
        let written = self.print(run, terminal);
        match run.exit() {
            Exit::Proven if !delivered => Exit::CouldNotRun.into(),
            Exit::Proven => terminal.after_writing(written.map(|()| ExitCode::SUCCESS)),
            worse => worse.into(),
        }
    }

    fn print(&self, run: &Run, terminal: &Terminal) -> io::Result<()> {
        let report = match self.format {
            Format::Text => report::text(run, &|tone, word| match tone {
                Tone::Good => terminal.paint(Colour::Green, word),
                Tone::Bad => terminal.paint(Colour::Red, word),
                Tone::Doubt => terminal.paint(Colour::Yellow, word),
                Tone::Quiet => terminal.paint(Colour::Dim, word),
            }),
            other => other.of(run),
        };
        let mut out = io::stdout().lock();
        out.write_all(report.as_bytes())?;
        out.flush()
    }

    fn append(&self, dir: &Path, run: &Run) -> Result<String, OutputError> {
        let appended = History::at(dir).append(run, &self.key(dir)?)?;
        let (number, head) = (appended.number, appended.head);
        Ok(format!("run {number} of {}, head {head}", dir.display()))
    }

    /// The signing key, made on first use.
    fn key(&self, dir: &Path) -> Result<SigningKey, OutputError> {
        let path = match &self.signing_key {
            Some(path) => path.clone(),
            None => {
                let failed = |source| HistoryError::Io { path: dir.to_owned(), source };
                fs::create_dir_all(dir).map_err(failed)?;
                dir.join("signing-key")
            }
        };
        let seed = SecretFile::at(&path).read_or_create(|| {
            let mut seed = vec![0; 32];
            let filled = rand::fill(&mut seed).map(|()| Secret::new(seed));
            filled.map_err(|_| SecretError::Source("no randomness".into()))
        })?;
        let key = SigningKey::from_seed(seed.expose());
        key.map_err(|source| OutputError::NotAKey { path, source })
    }
}

impl ReportFile {
    /// Written beside and put into place, so that nobody reads half a report. What is no file, a
    /// pipe or a device, is written to as it is.
    pub(crate) fn write(&self, run: &Run) -> Result<(), OutputError> {
        let failed = |source| OutputError::File { path: self.path.clone(), source };
        let report = self.format.of(run);
        // A link is followed, not replaced.
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        if fs::metadata(&path).is_ok_and(|there| !there.is_file()) {
            return fs::write(&path, report).map_err(failed);
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let beside = path.with_file_name(format!(".{name}.new-{}", std::process::id()));
        let written = File::create(&beside).and_then(|mut file| {
            file.write_all(report.as_bytes())?;
            file.sync_all()?;
            fs::rename(&beside, &path)
        });
        written.map_err(|source| {
            // Nobody misses what was never whole.
            let _ = fs::remove_file(&beside);
            failed(source)
        })
    }
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
