//! Looking before writing: what may be production is left alone.

use super::{
    access::Address,
    options::Options,
    schema::text,
    stage::{Gone, Session},
};

/// Reasons to leave a database alone.
#[derive(Debug, thiserror::Error)]
#[error("this looks like production ({}). Nothing was written. Attack a copy; or read only, with --read-only --tenants A,B; or go ahead with --even-in-production: everything is rolled back, but rows are locked and written for a moment", .reasons.join("; "))]
pub struct Caution {
    /// What it looks like.
    pub reasons: Vec<String>,
}

/// Others who are connected to the same database, and how many rows there are.
const SIGNS: &str = "
    SELECT (SELECT count(*) FROM pg_catalog.pg_stat_activity a
             WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
               AND a.backend_type = 'client backend'
               AND a.application_name !~* '^(psql|pgadmin|partywall)'),
           (SELECT coalesce(sum(greatest(reltuples, 0)), 0)::int8 FROM pg_catalog.pg_class
             WHERE relkind = 'r' AND relnamespace NOT IN
                   (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname ~ '^(pg_|information_schema$)')),
           pg_catalog.pg_is_in_recovery()";

/// More rows than a database for trying things out has.
const MANY_ROWS: i64 = 1_000_000;
/// More sessions than a developer has open beside this one.
const MANY_SESSIONS: i64 = 8;

/// Refuses when it looks like production and nobody said to go ahead.
pub(crate) async fn look(
    session: &mut Session,
    address: &Address,
    options: &Options,
) -> Result<(), LookFailed> {
    if options.read_only || options.even_in_production {
        return Ok(());
    }
    let mut reasons = Vec::new();
    for (what, name) in [("host", address.host()), ("database", address.database())] {
        if says_production(name) {
            reasons.push(format!("the {what} is called {name}"));
        }
    }
    let signs = session.all(SIGNS).await?;
    let number = |n| signs.first().and_then(|row| text(row, n).parse::<i64>().ok()).unwrap_or(0);
    if number(0) > MANY_SESSIONS {
        reasons.push(format!("{} other sessions are at work in it", number(0)));
    }
    if number(1) > MANY_ROWS {
        reasons.push(format!("it holds about {} rows", number(1)));
    }
    if signs.first().is_some_and(|row| text(row, 2) == "t") {
        reasons.push("it is a standby, where nothing can be written".to_owned());
    }
    if reasons.is_empty() { Ok(()) } else { Err(Caution { reasons }.into()) }
}

/// Why one did not get past looking.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookFailed {
    #[error(transparent)]
    Caution(#[from] Caution),
    #[error(transparent)]
    Gone(#[from] Gone),
}

impl From<LookFailed> for super::prove::CannotRun {
    fn from(failed: LookFailed) -> Self {
        match failed {
            LookFailed::Caution(caution) => Self::Caution(caution),
            LookFailed::Gone(gone) => Self::Gone(gone),
        }
    }
}

/// `prod`, `production` or `live` as a word of its own: `shop-prod`, `db.live.example`.
fn says_production(name: &str) -> bool {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric());
    words
        .map(str::to_ascii_lowercase)
        .any(|word| matches!(word.as_str(), "prod" | "production" | "prd" | "live"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn production_is_known_by_name() {
        for name in ["shop-prod", "PRODUCTION", "db.live.example", "prd_1"] {
            assert!(says_production(name), "{name}");
        }
        for name in ["shop", "product", "delivery", "reproduction", "olive", "localhost"] {
            assert!(!says_production(name), "{name}");
        }
    }
}
