//! What the user reads: progress on standard error, the account on standard output.

use std::io::{self, IsTerminal, Write};

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
        let Report { provider, app, data, state, wall, callers, account } = report;
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
        writeln!(out, "\nWhat was tried, and what was seen:\n")?;
        let wide = account.attempts.iter().map(|a| a.what.chars().count()).max().unwrap_or(0);
        for attempt in &account.attempts {
            let (mark, colour) =
                if attempt.held { ("✓", Colour::Green) } else { ("✗", Colour::Red) };
            let mark = self.terminal.paint(colour, mark);
            writeln!(out, "  {mark} {:<wide$}  {}", attempt.what, attempt.seen)?;
        }
        let held = account.attempts.iter().filter(|attempt| attempt.held).count();
        let all = account.attempts.len();
        let verdict = if account.held() { "all of it held" } else { "THE WALL DID NOT HOLD" };
        let colour = if account.held() { Colour::Green } else { Colour::Red };
        writeln!(out, "\n  {held} of {all}: {}\n", self.terminal.paint(colour, verdict))?;
        self.write_try_it(report, out)
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
            "  curl -u '{}:{}' \\\n       -d grant_type=client_credentials {provider}/token\n",
            first.tenant.basic_user(),
            first.tenant.machine.secret.expose(),
        )?;
        out.flush()
    }
}
