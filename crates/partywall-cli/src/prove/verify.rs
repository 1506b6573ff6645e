//! `partywall prove verify`: checking signed records, without a network.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use partywall_prove::report::{
    Audit, Digest, Entry, History, HistoryError, PublicKey, read_bounded,
    sign::{Record, UnverifiedRecord},
};

use super::output::{OutputError, ReportFile};
use crate::terminal::{Colour, NO, Terminal, UNASKED};

pub(crate) const HELP: &str = "\
Checks signed records of runs, or a whole history, with nothing but the files and the public key of
whoever ran them. Have the key from them, not from beside the records.

A record says what a run found; that it is good does not mean that nothing leaked. In a history,
nothing can be changed, swapped or taken out without being seen, except at the end: compare the
last digest, or the number of runs, with what was written down elsewhere.

Examples:
  partywall prove verify proofs/ --key d75a98…511a
  partywall prove verify proofs/ --key auditor/key.pub --expect-at-least 52
  partywall prove verify run-000017.proof --key key.pub --report html=proof.html

Exit codes:
  0  every record is as it was signed, and none in between is missing
  1  one is not, or is missing
  2  nothing could be checked: no key, no file";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Signed records, or the directory of a history
    #[arg(value_name = "FILE", required = true)]
    paths: Vec<PathBuf>,
    /// The public key to check with: 64 hexadecimal digits, or a file that holds them
    #[arg(long, value_name = "HEX|FILE")]
    key: Option<String>,
    /// The history must hold at least so many runs
    #[arg(long, value_name = "N")]
    expect_at_least: Option<u64>,
    /// The history must hold the record with this digest
    #[arg(long, value_name = "HEX")]
    expect_head: Option<Digest>,
    /// Write the report of a good record to a file, from the bytes that were signed
    #[arg(long = "report", value_name = "FORMAT=FILE")]
    reports: Vec<ReportFile>,
}

/// Why nothing could be checked.
#[derive(Debug, thiserror::Error)]
enum VerifyError {
    #[error(transparent)]
    Unreadable(#[from] HistoryError),
    #[error("--key {written}: neither 64 hexadecimal digits nor a file that holds them")]
    Key { written: String },
    #[error(
        "{}: give --key. It claims to be signed by {claimed}; whoever forged it would claim that \
         too, so ask whoever ran it",
        path.display()
    )]
    NoKey { path: PathBuf, claimed: String },
    #[error("{}: a single record has no end to look for: name the history's directory", path.display())]
    NoHistory { path: PathBuf },
    #[error("--report is of one record: name its file, and no other")]
    NoRecord,
    #[error(transparent)]
    Report(#[from] OutputError),
}

pub(crate) fn run(args: &Args, terminal: &Terminal) -> ExitCode {
    let mut page = Page { out: String::new(), good: true, terminal };
    let checked = args.paths.iter().try_for_each(|path| page.check(path, args));
    let written = io::stdout().lock().write_all(page.out.as_bytes());
    match checked {
        Err(error) => {
            terminal.complain_of(&error);
            ExitCode::from(UNASKED)
        }
        Ok(()) if page.good => terminal.after_writing(written.map(|()| ExitCode::SUCCESS)),
        Ok(()) => ExitCode::from(NO),
    }
}

struct Page<'t> {
    out: String,
    good: bool,
    terminal: &'t Terminal,
}

impl Page<'_> {
    fn check(&mut self, path: &Path, args: &Args) -> Result<(), VerifyError> {
        let key = args.key.as_deref().map(read_key).transpose()?;
        if !args.reports.is_empty() && (args.paths.len() > 1 || path.is_dir()) {
            return Err(VerifyError::NoRecord);
        }
        if path.is_dir() {
            return self.history(path, key, args);
        }
        if args.expect_at_least.is_some() || args.expect_head.is_some() {
            return Err(VerifyError::NoHistory { path: path.to_owned() });
        }
        self.record(path, key, &args.reports)
    }

    fn record(
        &mut self,
        path: &Path,
        key: Option<PublicKey>,
        reports: &[ReportFile],
    ) -> Result<(), VerifyError> {
        let file = read_bounded(path)?;
        let record = UnverifiedRecord::parse(&file);
        let claimed = record.as_ref().map(|record| record.unverified_key().to_string());
        let no_key = || VerifyError::NoKey {
            path: path.to_owned(),
            claimed: claimed.unwrap_or_else(|_| "nobody".to_owned()),
        };
        let key = key.ok_or_else(no_key)?;
        match record.and_then(|record| record.verify(&key)) {
            Ok(record) => {
                reports.iter().try_for_each(|report| report.write(&record.run))?;
                self.good_record(path, &record, &key);
            }
            Err(error) => self.bad(path, &error.to_string()),
        }
        Ok(())
    }

    fn good_record(&mut self, path: &Path, record: &Record, key: &PublicKey) {
        let good = self.terminal.paint(Colour::Green, "good");
        let run = &record.run;
        self.line(&format!("{}: {good}: record {}", path.display(), record.number));
        self.line(&format!("  signed by  {key}"));
        self.line(&format!("  attacked   {}", shown(&run.subject.name)));
        self.line(&format!("  ended      {}", run.ended.to_rfc3339()));
        self.line(&format!("  verdict    {}", run.exit().as_str()));
        self.line(&format!("  digest     {}", record.digest));
    }

    fn history(
        &mut self,
        dir: &Path,
        key: Option<PublicKey>,
        args: &Args,
    ) -> Result<(), VerifyError> {
        let history = History::at(dir);
        let pinned = if key.is_none() { history.pinned()? } else { None };
        let no_key = || VerifyError::NoKey {
            path: dir.to_owned(),
            claimed: "whoever its records name".to_owned(),
        };
        let wanted = key.or(pinned).ok_or_else(no_key)?;
        let mut audit = history.audit(&wanted)?;
        audit.expect(args.expect_at_least, args.expect_head.as_ref());
        for fault in &audit.faults {
            self.bad(dir, &fault.to_string());
        }
        self.summary(dir, &audit, &wanted);
        if pinned.is_some() {
            self.line(
                "  The key was taken from the directory itself, where whoever can change the",
            );
            self.line("  records can change it, too: give --key.");
        }
        Ok(())
    }

    fn summary(&mut self, dir: &Path, audit: &Audit, key: &PublicKey) {
        let runs = audit.entries.len();
        if audit.is_good() {
            let good = self.terminal.paint(Colour::Green, "good");
            self.line(&format!(
                "{}: {good}: {runs} runs, none changed or taken out",
                dir.display()
            ));
        } else {
            let count = audit.faults.len();
            let bad = self.terminal.paint(Colour::Red, "not good");
            self.line(&format!(
                "{}: {bad}: {count} faults beside {runs} good records",
                dir.display()
            ));
        }
        self.line(&format!("  signed by  {key}"));
        let mut subjects: Vec<_> = audit.entries.iter().map(|e| shown(&e.subject)).collect();
        subjects.dedup();
        subjects.iter().for_each(|subject| self.line(&format!("  attacked   {subject}")));
        if let Some((from, to)) = audit.period() {
            self.line(&format!("  period     {} to {}", from.to_rfc3339(), to.to_rfc3339()));
        }
        if let Some(gap) = audit.longest_gap() {
            let lasting = in_words(gap.lasting);
            self.line(&format!("  longest    {lasting} without a run, before run {}", gap.before));
        }
        let entries: Vec<_> = audit.unproven().collect();
        self.line(&format!("  not proven {} of {runs}", entries.len()));
        for entry in entries {
            self.line(&format!("             {}", told(entry)));
        }
        for entry in audit.back_in_time() {
            let number = entry.number;
            self.line(&format!(
                "  order      run {number} says it began before run {}: two at once, or a clock set back",
                number.saturating_sub(1)
            ));
        }
        if let Some(head) = audit.head() {
            self.line(&format!("  head       {head}"));
            self.line(
                "  Runs cut off at the end leave no trace: compare the head or the number of runs",
            );
            self.line("  with what was written down elsewhere (--expect-head, --expect-at-least).");
        }
    }

    fn bad(&mut self, path: &Path, what: &str) {
        self.good = false;
        let bad = self.terminal.paint(Colour::Red, "not good");
        self.line(&format!("{}: {bad}: {}", path.display(), shown(what)));
    }

    fn line(&mut self, line: &str) {
        self.out.extend([line, "\n"]);
    }
}

/// A key, or a file that holds one and nothing else.
fn read_key(written: &str) -> Result<PublicKey, VerifyError> {
    let key = written.parse().ok();
    let from_file = || fs::read_to_string(written).ok()?.trim().parse().ok();
    key.or_else(from_file).ok_or_else(|| VerifyError::Key { written: written.to_owned() })
}

fn told(entry: &Entry) -> String {
    let when = entry.ended.to_rfc3339();
    format!("run {}: {}, {when}", entry.number, entry.verdict.as_str())
}

/// What was signed may still be meant to confuse a terminal.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// In the two largest units.
fn in_words(lasting: Duration) -> String {
    let seconds = lasting.as_secs();
    let units = [
        (seconds / 86_400, "day"),
        (seconds / 3600 % 24, "hour"),
        (seconds / 60 % 60, "minute"),
        (seconds % 60, "second"),
    ];
    let large = units.iter().skip_while(|(count, _)| *count == 0).take(2);
    let words: Vec<_> = large
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count} {unit}{}", if *count == 1 { "" } else { "s" }))
        .collect();
    if words.is_empty() { "no time".to_owned() } else { words.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m24_gaps_are_told_in_two_units() {
        for (seconds, words) in [
            (0, "no time"),
            (1, "1 second"),
            (61, "1 minute 1 second"),
            (3600, "1 hour"),
            (90_061, "1 day 1 hour"),
            (86_400 * 40 + 59, "40 days"),
        ] {
            assert_eq!(in_words(Duration::from_secs(seconds)), words);
        }
    }
}
