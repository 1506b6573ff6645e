//! The names the wall keeps for itself. No statement of a tenant's may contain [`RESERVED`], so a
//! name that begins with it can be forged by no quoting, no CTE and no alias.

/// What no tenant's SQL may contain, in any case.
///
/// SQLite's identifiers know one escape only, the doubled quote; a name without quotes stands in
/// the text as it is. So looking for it in the text is enough, and no parser is needed.
pub(crate) const RESERVED: &str = "partywall_";

/// The tenant of the connection.
pub(crate) const TENANT: &str = "partywall_tenant";
/// Says whether a row is the tenant's, and stops the statement when it is not.
pub(crate) const WITNESS: &str = "partywall_witness";
/// Counts the rows a trigger changed: SQLite does not count changes made through views.
pub(crate) const CHANGED: &str = "partywall_changed";

/// The table that holds all tenants' rows.
pub(crate) fn base(table: &str) -> String {
    format!("partywall_t_{table}")
}

/// The view that narrows it. The application's own view stands before it, under the plain name:
/// SQLite tells the authorizer the plain name also for a CTE so called, and for the WHERE of a
/// DELETE, so reading a base table in *that* name proves nothing.
pub(crate) fn inner(table: &str) -> String {
    format!("partywall_v_{table}")
}

/// The trigger that carries out `verb` on the table.
pub(crate) fn trigger(verb: Verb, table: &str) -> String {
    format!("partywall_{}_{table}", verb.as_str())
}

/// The trigger that looks at every row of the base table `verb` touches.
pub(crate) fn guard(verb: Verb, table: &str) -> String {
    format!("partywall_guard_{}_{table}", verb.as_str())
}

/// What a statement does to a row.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verb {
    Insert,
    Update,
    Delete,
}

impl Verb {
    pub(crate) const ALL: [Self; 3] = [Self::Insert, Self::Update, Self::Delete];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// An identifier as SQL.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Whether a tenant's SQL uses a name of the wall's.
pub(crate) fn uses_reserved(sql: &str) -> bool {
    sql.as_bytes()
        .windows(RESERVED.len())
        .any(|window| window.eq_ignore_ascii_case(RESERVED.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m21_reserved_names_are_found_in_every_quoting() {
        for forged in [
            "SELECT * FROM partywall_t_x",
            "SELECT * FROM \"PartyWall_t_x\"",
            "SELECT [PARTYWALL_v_x]",
            "WITH `partywall_v_x` AS (SELECT 1) SELECT 1",
            "SELECT 'partywall_'",
            "/**/partywall_",
        ] {
            assert!(uses_reserved(forged), "{forged}");
        }
        for honest in ["", "SELECT 1", "SELECT * FROM partywalls", "SELECT 'party' || 'wall_'"] {
            assert!(!uses_reserved(honest), "{honest}");
        }
    }
}
