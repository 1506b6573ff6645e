//! Builds our own crates with one fault at a time, and sees to it that a test fails on each (R-07).
//!
//! ```text
//! scripts/sabotage            all of them
//! scripts/sabotage NAME …     those
//! scripts/sabotage --list     what there is
//! ```
//!
//! Works on a copy of the tracked files under `target/sabotage` (or `PARTYWALL_SABOTAGE_DIR`), with a
//! target directory of its own.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Output},
    time::Instant,
};

use list::{LIST, List, Sabotage};

mod list;

/// What one test may take, in seconds, its build apart.
const PATIENCE: &str = "300";

fn main() -> ExitCode {
    let names: Vec<String> = env::args().skip(1).collect();
    match run(&names) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("sabotage: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether every sabotage was caught.
fn run(names: &[String]) -> Result<bool, String> {
    let list = List::read(LIST)?;
    if names.iter().any(|name| name == "--list") {
        for build in &list.builds {
            println!("{:32} {}", build.name, build.fault);
        }
        return Ok(true);
    }
    if let Some(unknown) = names.iter().find(|name| list.builds.iter().all(|b| b.name != **name)) {
        return Err(format!("there is no sabotage {unknown}: scripts/sabotage --list"));
    }
    let chosen: Vec<&Sabotage> =
        list.builds.iter().filter(|b| names.is_empty() || names.contains(&b.name)).collect();
    let workshop = Workshop::open()?;
    let began = Instant::now();
    let commands: BTreeSet<&str> = chosen.iter().map(|build| build.caught_by.as_str()).collect();
    for command in &commands {
        workshop.control(command)?;
    }
    println!("{} tests pass without sabotage ({} s)", commands.len(), began.elapsed().as_secs());
    let mut survivors = 0;
    for build in &chosen {
        let began = Instant::now();
        let outcome = workshop.sabotage(build)?;
        survivors += usize::from(!matches!(outcome, Outcome::Caught(_)));
        let (word, by) = match &outcome {
            Outcome::Caught(by) => ("caught", by.as_str()),
            Outcome::Survived => ("SURVIVED", build.caught_by.as_str()),
            Outcome::Broken(why) => ("BROKEN", why.as_str()),
        };
        println!("{word:8} {:32} {by} ({} s)", build.name, began.elapsed().as_secs());
    }
    let (caught, took) = (chosen.len() - survivors, began.elapsed().as_secs());
    println!("{caught} of {} caught, after {took} s", chosen.len());
    Ok(survivors == 0)
}

/// What became of a sabotaged build.
enum Outcome {
    /// By these tests.
    Caught(String),
    /// The tests passed.
    Survived,
    /// It failed for another reason than a test: that shows nothing.
    Broken(String),
}

/// A copy of the house, to break things in.
struct Workshop {
    tree: PathBuf,
    target: PathBuf,
}

impl Workshop {
    /// Brings the copy up to date; what is the same is not touched, so that it is not built anew.
    fn open() -> Result<Self, String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
        let target = match env::var_os("PARTYWALL_SABOTAGE_DIR") {
            Some(dir) => PathBuf::from(dir),
            None => root.join("target/sabotage"),
        };
        let tree = target.join("tree");
        let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root).output();
        let listed = listed.map_err(|error| format!("git ls-files: {error}"))?;
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let mut wanted = BTreeSet::new();
        for file in listed.split('\0').filter(|file| !file.is_empty()) {
            // Removed and not yet committed: gone.
            let Ok(bytes) = fs::read(root.join(file)) else { continue };
            let copy = tree.join(file);
            if fs::read(&copy).ok().as_ref() != Some(&bytes) {
                write(&copy, &bytes)?;
            }
            wanted.insert(copy);
        }
        if wanted.is_empty() {
            return Err(format!("git lists no files in {}", root.display()));
        }
        remove_others(&tree, &wanted)?;
        Ok(Self { tree, target })
    }

    /// The tests must pass as things are, or their failing shows nothing.
    fn control(&self, command: &str) -> Result<(), String> {
        let output = self.cargo(command, &[])?;
        let said = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            let complaint = String::from_utf8_lossy(&output.stderr);
            return Err(format!("cargo test {command} fails without sabotage:\n{complaint}{said}"));
        }
        match said
            .lines()
            .any(|line| line.contains("test result: ok. ") && !line.contains(" 0 passed"))
        {
            true if said.contains("SKIPPED") => Err(format!("cargo test {command} was skipped")),
            true => Ok(()),
            false => Err(format!("cargo test {command} runs no test: has it another name now?")),
        }
    }

    fn sabotage(&self, build: &Sabotage) -> Result<Outcome, String> {
        let mut before: Vec<(PathBuf, String)> = Vec::new();
        let mut outcome = None;
        for change in &build.changes {
            let path = self.tree.join(&change.file);
            let sound =
                fs::read_to_string(&path).map_err(|error| format!("{}: {error}", change.file))?;
            match change.apply(&sound) {
                Ok(broken) => {
                    before.push((path.clone(), sound));
                    write(&path, broken.as_bytes())?;
                }
                Err(stale) => outcome = Some(Outcome::Broken(stale)),
            }
        }
        let outcome = match outcome {
            Some(outcome) => Ok(outcome),
            None => self.judge(build),
        };
        for (path, sound) in before.iter().rev() {
            write(path, sound.as_bytes())?;
        }
        outcome
    }

    fn judge(&self, build: &Sabotage) -> Result<Outcome, String> {
        let built = self.cargo(&build.caught_by, &["--no-run"])?;
        if !built.status.success() {
            let complaint = String::from_utf8_lossy(&built.stderr);
            let error = complaint.lines().find(|line| line.starts_with("error"));
            return Ok(Outcome::Broken(format!(
                "does not build: {}",
                error.unwrap_or("see cargo")
            )));
        }
        let output = self.cargo(&build.caught_by, &[])?;
        if output.status.success() {
            return Ok(Outcome::Survived);
        }
        let said = String::from_utf8_lossy(&output.stdout);
        let failed: Vec<&str> = said
            .lines()
            .filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"))
            .collect();
        let says_why = [&output.stdout, &output.stderr]
            .into_iter()
            .any(|stream| String::from_utf8_lossy(stream).contains(&build.seen));
        Ok(match failed.as_slice() {
            [] => Outcome::Broken(format!("no test failed, and {}", output.status)),
            failed if !says_why => Outcome::Broken(format!(
                "{} failed, and not with {:?}: for another reason?",
                failed.join(", "),
                build.seen
            )),
            failed => Outcome::Caught(failed.join(", ")),
        })
    }

    fn cargo(&self, command: &str, more: &[&str]) -> Result<Output, String> {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut timed = Command::new("timeout");
        timed.arg(if more.is_empty() { PATIENCE } else { "3600" }).arg(cargo);
        timed.args(["test", "--locked"]).args(command.split_whitespace()).args(more);
        timed.current_dir(&self.tree).env("CARGO_TARGET_DIR", &self.target);
        timed.env("CARGO_TERM_COLOR", "never").env("RUST_BACKTRACE", "0");
        timed.output().map_err(|error| format!("{timed:?}: {error}"))
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let written = fs::create_dir_all(dir).and_then(|()| fs::write(path, bytes));
    written.map_err(|error| format!("{}: {error}", path.display()))
}

/// Removes what the repository no longer has.
fn remove_others(dir: &Path, wanted: &BTreeSet<PathBuf>) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", dir.display());
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() && !path.is_symlink() {
            remove_others(&path, wanted)?;
        } else if !wanted.contains(&path) {
            fs::remove_file(&path).map_err(failed)?;
        }
    }
    Ok(())
}
