//! What the user reads: progress on standard error, the account on standard output.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal, Write},
};

use partywall_prove::{Exit, Layer, Run, Trial, Verdict};

use super::Report;
use crate::terminal::{Colour, Terminal};

pub(super) struct Screen {
    terminal: Terminal,
    started: std::time::Instant,
}

impl Screen {
    pub(super) fn new() -> Self {
        Self { terminal: Terminal::detect(), started: std::time::Instant::now() }
    }

    /// Says what is being waited for.
    pub(super) fn step(&self, what: &str) {
        self.terminal.hint(format_args!("{:5.1} s  {what}", self.started.elapsed().as_secs_f32()));
    }

    pub(super) fn serving(&self) {
        let how = if io::stdin().is_terminal() { "Ctrl-C stops it" } else { "SIGTERM stops it" };
        self.terminal.hint(format_args!("serving; {how}"));
    }

    /// Shows everything. Whoever closed the output does not want to read it.
    pub(super) fn account(&self, report: &Report<'_>) {
        let _ = self.write(report, &mut io::stdout().lock());
    }

    fn write(&self, report: &Report<'_>, out: &mut impl Write) -> io::Result<()> {
        let Report { provider, app, data, state, wall, callers, .. } = report;
        let generation = wall.generation().unwrap_or_default();
        writeln!(out, "\nPartywall is up.\n")?;
        writeln!(out, "  identity provider  {provider}   /.well-known/openid-configuration")?;
        writeln!(out, "  sample SaaS        {app}   /invoices")?;
        writeln!(out, "  data               {data}")?;
        writeln!(out, "  control plane      SQLite, bundle generation {generation}")?;
        writeln!(out, "  state              {}\n", state.display())?;
        for caller in *callers {
            let tenant = caller.tenant;
            let (slug, tier) = (tenant.slug.as_str(), tenant.tier);
            writeln!(
                out,
                "  {slug:<9} {tier:<11} {:<16} {}",
                tenant.placement.to_string(),
                tenant.id
            )?;
        }
        self.write_proof(report.run, out)?;
        self.write_try_it(report, out)
    }

    /// A line for each layer and pair of models, everything that was not blocked, the verdict.
    fn write_proof(&self, run: &Run, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "\nWhat was tried, each tenant against each other one:\n")?;
        let mut lines: Vec<(String, BTreeMap<Verdict, usize>)> = Vec::new();
        for trial in &run.trials {
            let name = match trial.layer {
                Layer::Store => format!("store {}", trial.place),
                layer => layer.as_str().to_owned(),
            };
            let counts = match lines.iter_mut().find(|(of, _)| *of == name) {
                Some((_, counts)) => counts,
                None => {
                    lines.push((name, BTreeMap::new()));
                    let Some((_, counts)) = lines.last_mut() else { continue };
                    counts
                }
            };
            *counts.entry(trial.verdict).or_default() += 1;
        }
        let wide = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        for (name, counts) in &lines {
            let bad = [Verdict::Leaked, Verdict::Undecided].iter().any(|v| counts.contains_key(v));
            let mark = match bad {
                true => self.terminal.paint(Colour::Red, "✗"),
                false => self.terminal.paint(Colour::Green, "✓"),
            };
            let counts: Vec<String> =
                counts.iter().map(|(verdict, n)| format!("{n} {}", verdict.as_str())).collect();
            writeln!(out, "  {mark} {name:<wide$}  {}", counts.join(", "))?;
        }
        let open = |trial: &&Trial| {
            matches!(trial.verdict, Verdict::Leaked | Verdict::Undecided)
                && trial.accepted.is_none()
        };
        for trial in run.trials.iter().filter(open) {
            let verdict = self.terminal.paint(Colour::Red, trial.verdict.as_str());
            let Trial { attack, place, attacker, victim, .. } = trial;
            writeln!(out, "\n  {verdict}: {attack}, {place}, {attacker} against {victim}")?;
            writeln!(out, "    tried    {}", trial.tried.replace('\n', "\n             "))?;
            writeln!(out, "    seen     {}", trial.seen.text())?;
            writeln!(out, "    control  {}", trial.control.text())?;
            writeln!(out, "    fix      {}", trial.fix.as_deref().unwrap_or_default())?;
        }
        let (blocked, all) = (run.count(Verdict::Blocked), run.trials.len());
        let untried = run.count(Verdict::NotTested);
        let (colour, words) = match run.exit() {
            Exit::Proven => (Colour::Green, "proven"),
            Exit::Leaked => (Colour::Red, "THE WALL DID NOT HOLD"),
            Exit::Undecided => (Colour::Red, "not decided"),
            Exit::CouldNotRun => (Colour::Red, "nothing could be tried"),
        };
        writeln!(
            out,
            "\n  {}: {blocked} of {all} attacks blocked, {untried} not tested",
            self.terminal.paint(colour, words)
        )?;
        writeln!(out, "  every one of them, and why: partywall up --report html=proof.html\n")
    }

    fn write_try_it(&self, report: &Report<'_>, out: &mut impl Write) -> io::Result<()> {
        let Report { provider, app, callers, .. } = report;
        writeln!(out, "Try it (tokens last an hour):\n")?;
        for caller in callers.iter().take(2).chain(callers.last()) {
            let name = caller.tenant.slug.as_str().to_uppercase();
            writeln!(out, "  {name}={}", caller.token)?;
        }
        let Some(first) = callers.first() else { return Ok(()) };
        let name = first.tenant.slug.as_str().to_uppercase();
        writeln!(out, "\n  curl -H \"Authorization: Bearer ${name}\" {app}/invoices")?;
        writeln!(
            out,
            "  curl -H \"Authorization: Bearer ${name}\" -H 'Content-Type: application/json' \\\n       -d '{{\"customer\": \"Initrode\", \"amount_cents\": 1999}}' {app}/invoices"
        )?;
        writeln!(out, "\nA fresh token for {}:\n", first.tenant.slug)?;
        writeln!(
            out,
            "  curl -u '{}:{}' \\\n       -d grant_type=client_credentials {}/token\n",
            first.tenant.basic_user(),
            first.tenant.machine.secret.expose(),
            first.tenant.issuer(provider),
        )?;
        out.flush()
    }
}
