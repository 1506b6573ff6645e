//! The report for people at a terminal.

use std::fmt::Write;

use super::{
    known,
    lint::finding_lines,
    tally::{Tally, conclusion, made_and_untried, not_tested, places},
    visible::on_one_line,
};
use crate::{Attack, Exit, Run, Trial, Verdict};

/// How a word is meant, for whoever has colours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tone {
    /// It holds.
    Good,
    /// It does not.
    Bad,
    /// Nobody can say.
    Doubt,
    /// Less important than its surroundings.
    Quiet,
}

/// Gives a word its colour.
pub type Paint<'p> = &'p dyn Fn(Tone, &str) -> String;

/// A [`Paint`] without colours.
pub fn uncoloured(_tone: Tone, word: &str) -> String {
    word.to_owned()
}

/// The report for people: a line for each place, everything that was not blocked beneath it, what
/// was not tested and why, and last the verdict on the whole.
pub fn text(run: &Run, paint: Paint<'_>) -> String {
    write(run, &known(), paint)
}

pub(super) fn write(run: &Run, catalogue: &[&'static Attack], paint: Paint<'_>) -> String {
    let mut page = Page { out: String::new(), paint };
    page.head(run);
    page.places(run);
    page.not_tested(run, catalogue);
    page.lint(run);
    page.notes(run);
    page.verdict(run);
    page.out
}

struct Page<'p> {
    out: String,
    paint: Paint<'p>,
}

impl Page<'_> {
    fn line(&mut self, line: &str) {
        let _ = writeln!(self.out, "{}", line.trim_end());
    }

    fn head(&mut self, run: &Run) {
        self.line(&on_one_line(&run.subject.name));
        let mut facts = vec![("attacker", on_one_line(&run.subject.adversary))];
        let known = run.subject.facts.iter();
        let labels: Vec<_> = known.map(|(label, fact)| (on_one_line(label), fact)).collect();
        facts.extend(labels.iter().map(|(label, fact)| (label.as_str(), on_one_line(fact))));
        facts.push(("run", on_one_line(&run.id)));
        let when = format!("{} to {}", run.started.to_rfc3339(), run.ended.to_rfc3339());
        facts.push(("when", when));
        facts.push(("partywall", on_one_line(&run.version)));
        self.pairs(2, &facts);
        self.line("");
    }

    fn places(&mut self, run: &Run) {
        let places = places(run);
        let widest = places.iter().map(|(place, _)| on_one_line(place).chars().count()).max();
        let width = widest.unwrap_or(0).clamp(5, 60);
        if !places.is_empty() {
            let columns = "blocked  leaked  undecided  not tested";
            self.line(&(self.paint)(Tone::Quiet, &format!("{:width$}  {columns}", "place")));
        }
        for (place, trials) in &places {
            let tally = Tally::of(trials.iter().copied());
            let blocked = self.count(tally.blocked, 7, Tone::Good);
            let leaked = self.count(tally.leaked, 6, Tone::Bad);
            let undecided = self.count(tally.undecided, 9, Tone::Doubt);
            let not_tested = self.count(tally.not_tested, 10, Tone::Doubt);
            let place = on_one_line(place);
            self.line(&format!("{place:width$}  {blocked}  {leaked}  {undecided}  {not_tested}"));
            let open =
                |trial: &&&Trial| matches!(trial.verdict, Verdict::Leaked | Verdict::Undecided);
            for trial in trials.iter().filter(open) {
                self.trial(trial);
            }
        }
        self.line("");
    }

    fn count(&self, count: usize, width: usize, tone: Tone) -> String {
        let tone = if count == 0 { Tone::Quiet } else { tone };
        (self.paint)(tone, &format!("{count:>width$}"))
    }

    fn trial(&mut self, trial: &Trial) {
        let verdict = (self.paint)(tone_of(trial), word_of(trial));
        let (title, attack) = (on_one_line(&trial.title), on_one_line(&trial.attack));
        self.line(&format!("  {verdict}  {title} [{attack}]"));
        let by = format!("{} on {}", on_one_line(&trial.attacker), on_one_line(&trial.victim));
        let mut facts = vec![
            ("by", by),
            ("tried", on_one_line(&trial.tried)),
            ("seen", on_one_line(trial.seen.text())),
            ("control", on_one_line(trial.control.text())),
        ];
        let fix = trial.fix.as_deref().map(|fix| ("fix", on_one_line(fix)));
        let accepted = trial.accepted.as_deref().map(|why| ("because", on_one_line(why)));
        facts.extend(fix.into_iter().chain(accepted));
        self.pairs(6, &facts);
    }

    fn pairs(&mut self, indent: usize, pairs: &[(&str, String)]) {
        let width = pairs.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
        for (label, fact) in pairs.iter().filter(|(_, fact)| !fact.is_empty()) {
            let label = (self.paint)(Tone::Quiet, &format!("{label:width$}"));
            self.line(&format!("{:indent$}{label}  {fact}", ""));
        }
    }

    fn not_tested(&mut self, run: &Run, catalogue: &[&'static Attack]) {
        let groups = not_tested(run);
        let (_, untried) = made_and_untried(run, catalogue);
        if groups.is_empty() && untried.is_empty() {
            return;
        }
        self.line("Not tested:");
        for (reason, trials) in &groups {
            self.line(&format!("  {}", on_one_line(reason)));
            for trial in trials {
                let (title, attack) = (on_one_line(&trial.title), on_one_line(&trial.attack));
                let place = on_one_line(&trial.place);
                self.line(&format!("    {place}: {title} [{attack}]"));
            }
        }
        // What a run had no part for at all is a number; what it found no occasion for has a name.
        let mut kinds: Vec<&str> = Vec::new();
        for attack in &untried {
            if !kinds.contains(&kind(attack.id)) {
                kinds.push(kind(attack.id));
            }
        }
        for of in kinds {
            let ids: Vec<&str> =
                untried.iter().map(|attack| attack.id).filter(|id| kind(id) == of).collect();
            if run.trials.iter().any(|trial| kind(&trial.attack) == of) {
                self.line(&format!("  no occasion for: {}", ids.join(", ")));
            } else {
                self.line(&format!("  not part of this run: {of} ({} attacks)", ids.len()));
            }
        }
        self.line("");
    }

    fn lint(&mut self, run: &Run) {
        if run.lint.is_empty() {
            return;
        }
        self.line("Lint, what no attack shows:");
        for line in run.lint.iter().flat_map(|finding| finding_lines(finding, self.paint)) {
            self.line(&format!("  {line}"));
        }
        self.line("");
    }

    fn notes(&mut self, run: &Run) {
        if run.notes.is_empty() {
            return;
        }
        self.line("Notes:");
        for note in &run.notes {
            self.line(&format!("  {}: {}", on_one_line(&note.place), on_one_line(&note.text)));
        }
        self.line("");
    }

    fn verdict(&mut self, run: &Run) {
        let exit = run.exit();
        let tone = match exit {
            Exit::Proven => Tone::Good,
            Exit::Leaked => Tone::Bad,
            Exit::Undecided | Exit::CouldNotRun => Tone::Doubt,
        };
        let word = (self.paint)(tone, exit.as_str());
        self.line(&format!("{word}: {}", conclusion(exit)));
        self.line(&Tally::of(&run.trials).sentence());
    }
}

fn tone_of(trial: &Trial) -> Tone {
    match (trial.verdict, &trial.accepted) {
        (_, Some(_)) => Tone::Quiet,
        (Verdict::Blocked, None) => Tone::Good,
        (Verdict::Leaked, None) => Tone::Bad,
        (Verdict::Undecided | Verdict::NotTested, None) => Tone::Doubt,
    }
}

fn word_of(trial: &Trial) -> &'static str {
    match (trial.verdict, &trial.accepted) {
        (Verdict::Leaked, Some(_)) => "leaked, accepted",
        (Verdict::Undecided, Some(_)) => "undecided, accepted",
        (verdict, _) => verdict.as_str(),
    }
}

/// The first word of an attack's id: `token`, `http`, `postgres`, `store`.
fn kind(id: &str) -> &str {
    id.split_once('.').map_or(id, |(kind, _)| kind)
}
