//! Row policies, as they are taken down: by name, with what they let through.

use crate::postgres::{
    schema::text,
    sql::literal,
    stage::{Gone, Session},
};

/// A row policy that one of the application's roles is under.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    pub(super) oid: u32,
    pub(super) name: String,
    /// Narrows what others open, instead of opening itself.
    pub(super) restrictive: bool,
    pub(super) command: Command,
    /// USING, as the server prints it.
    pub(super) using: Option<String>,
    /// WITH CHECK.
    pub(super) check: Option<String>,
}

/// What a policy is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Command {
    All,
    Select,
    Insert,
    Update,
    Delete,
}

const POLICIES: &str = "
    SELECT p.polrelid, p.polname, p.polpermissive, p.polcmd,
           pg_catalog.pg_get_expr(p.polqual, p.polrelid),
           pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid),
           p.polqual IS NOT NULL, p.polwithcheck IS NOT NULL
      FROM pg_catalog.pg_policy p
     WHERE EXISTS (SELECT FROM pg_catalog.pg_roles me, unnest(p.polroles) r(oid)
                    WHERE me.rolname IN ({roles})
                      AND (r.oid = 0 OR pg_catalog.pg_has_role(me.oid, r.oid, 'MEMBER')))
     ORDER BY p.polrelid, p.polname";

/// Reads those that `roles` are under.
pub(super) async fn read(session: &mut Session, roles: &[&str]) -> Result<Vec<Policy>, Gone> {
    let names: Vec<String> = roles.iter().map(|name| literal(name)).collect();
    let rows = session.all(&POLICIES.replace("{roles}", &names.join(", "))).await?;
    let policy = |row| Policy {
        oid: text(row, 0).parse().unwrap_or_default(),
        name: text(row, 1),
        restrictive: text(row, 2) != "t",
        command: match text(row, 3).as_str() {
            "r" => Command::Select,
            "a" => Command::Insert,
            "w" => Command::Update,
            "d" => Command::Delete,
            _ => Command::All,
        },
        using: (text(row, 6) == "t").then(|| text(row, 4)),
        check: (text(row, 7) == "t").then(|| text(row, 5)),
    };
    Ok(rows.iter().map(policy).collect())
}

impl Policy {
    /// Lets everything through that it is asked about: there is no wall in it.
    pub(super) fn is_open(&self) -> bool {
        let open = |text: &Option<String>| text.as_ref().is_none_or(|text| text == "true");
        open(&self.using) && open(&self.check)
    }

    /// Whether both are asked about some command.
    pub(super) fn meets(&self, other: &Self) -> bool {
        self.command == other.command
            || self.command == Command::All
            || other.command == Command::All
    }
}
