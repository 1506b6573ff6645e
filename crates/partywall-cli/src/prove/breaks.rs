//! What each wall is worth: the printed account of `--break`.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use partywall_prove::{
    Exit, Progress,
    postgres::{Address, Broken, Fall, Options, break_walls, exit_of_breaks},
};

use super::ProveError;
use crate::terminal::{Colour, Terminal};

/// How many of the attacks that noticed a fall are named on its line.
const NAMED: usize = 3;

/// Takes each wall down, says on standard output who noticed, and exits as a proof does.
pub(super) async fn run(
    url: &str,
    options: &Options,
    terminal: &Terminal,
    progress: &dyn Progress,
) -> Result<ExitCode, ProveError> {
    let broken = break_walls(&Address::parse(url)?, options, progress).await?;
    terminal.progress("");
    let mut out = io::stdout().lock();
    let written = lines(&broken, terminal).iter().try_for_each(|line| writeln!(out, "{line}"));
    Ok(terminal.after_writing(written.map(|()| exit_of_breaks(&broken).into())))
}

fn lines(broken: &[Broken], terminal: &Terminal) -> Vec<String> {
    let mut lines: Vec<String> = broken.iter().flat_map(|one| account(one, terminal)).collect();
    let count = |word: &str| broken.iter().filter(|one| one.verdict.as_str() == word).count();
    let exit = exit_of_breaks(broken);
    let colour = match exit {
        Exit::Proven => Colour::Green,
        Exit::Leaked | Exit::Undecided | Exit::CouldNotRun => Colour::Yellow,
    };
    let verdict = match exit {
        Exit::Proven => "every fall was noticed",
        Exit::CouldNotRun => "there was no wall to take down whose fall could be noticed",
        Exit::Leaked | Exit::Undecided => {
            "some falls were not noticed: the attacks are blind there"
        }
    };
    lines.push(String::new());
    lines.push(format!(
        "{} walls taken down: {} noticed, {} held by another, {} unnoticed, {} not broken",
        broken.len(),
        count("noticed"),
        count("held"),
        count("unnoticed"),
        count("could not break")
    ));
    lines.push(format!("{}; all of it was rolled back", terminal.paint(colour, verdict)));
    lines
}

/// One wall: what it is worth, or why nobody can say.
fn account(one: &Broken, terminal: &Terminal) -> Vec<String> {
    let line = |colour, text: String| {
        let word = terminal.paint(colour, &format!("{:<15}", one.verdict.as_str()));
        format!("{word} {}{text}", one.wall)
    };
    let tried = || format!("{:<15}   {}", "", terminal.paint(Colour::Dim, one.statement.trim()));
    match &one.verdict {
        Fall::Noticed => {
            let named: Vec<&str> = one.noticed_by.iter().take(NAMED).map(String::as_str).collect();
            let more = match one.noticed_by.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let stops =
                terminal.paint(Colour::Dim, &format!("alone stops {}{more}", named.join(", ")));
            vec![line(Colour::Green, String::new()), format!("{:<15}   {stops}", "")]
        }
        Fall::Held { by } => vec![line(Colour::Green, format!(": {by} stands behind it"))],
        Fall::Unnoticed => {
            vec![line(Colour::Red, ": nothing went through without it".to_owned()), tried()]
        }
        Fall::CouldNotBreak { why } => vec![line(Colour::Yellow, format!(": {why}")), tried()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r07_a_blind_spot_is_said_with_what_to_try() {
        let broken = |verdict, noticed_by: &[&str]| Broken {
            wall: "row security on shop.orders".to_owned(),
            statement: "ALTER TABLE …".to_owned(),
            noticed_by: noticed_by.iter().map(|by| (*by).to_owned()).collect(),
            verdict,
        };
        let terminal = Terminal::detect();
        let all =
            [broken(Fall::Noticed, &["a@t", "b@t", "c@t", "d@t"]), broken(Fall::Unnoticed, &[])];
        let said = lines(&all, &terminal).join("\n");
        for part in ["a@t, b@t, c@t and 1 more", "unnoticed", "ALTER TABLE …", "1 noticed", "blind"]
        {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(lines(&all[..1], &terminal).join("\n").contains("every fall was noticed"));
    }
}
