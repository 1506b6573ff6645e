//! What a table's row policies say of a row that is not in it.
//!
//! A connection of its own cannot see the rows this run has written and will not commit. But the
//! policies are expressions, and can be asked about a made-up row: as the application's role, in
//! the server's own words.

use std::collections::BTreeMap;

use crate::postgres::{
    ground::Row,
    schema::{Relation, text},
    sql::{ident, literal},
    stage::{Gone, Session},
};

/// The policies for SELECT of every table, as they hold for one role.
pub(crate) struct ReadPolicies {
    by_table: BTreeMap<u32, (Vec<String>, Vec<String>)>,
}

impl ReadPolicies {
    /// Reads them, every name in them with its schema.
    pub(crate) async fn read(session: &mut Session, role: &str) -> Result<Self, Gone> {
        let path = "SAVEPOINT partywall_path; SET LOCAL search_path = ''";
        session.send(path).await?;
        let rows = session.all(&POLICIES.replace("{role}", &literal(role))).await?;
        session.send("ROLLBACK TO SAVEPOINT partywall_path").await?;
        let mut by_table: BTreeMap<u32, (Vec<String>, Vec<String>)> = BTreeMap::new();
        for row in &rows {
            let oid = text(row, 0).parse().unwrap_or_default();
            let (permissive, restrictive) = by_table.entry(oid).or_default();
            let kind = if text(row, 1) == "t" { permissive } else { restrictive };
            kind.push(text(row, 2));
        }
        Ok(Self { by_table })
    }

    /// A statement that gives a row if the policies show `row` of `relation`. `None` where there
    /// are none to ask.
    pub(crate) fn ask(&self, relation: &Relation, row: &Row) -> Option<String> {
        let (permissive, restrictive) = self.by_table.get(&relation.oid)?;
        if permissive.is_empty() || !relation.row_security.0 {
            return None;
        }
        let columns: Vec<String> = row
            .literals
            .iter()
            .filter_map(|(name, value)| {
                let column = relation.column(name)?;
                let value = match value.as_str() {
                    "NULL" => format!("NULL::{}", column.type_name),
                    value => value.to_owned(),
                };
                Some(format!("{value} AS {}", ident(name)))
            })
            .collect();
        let any = permissive.join(" OR ");
        let all: String = restrictive.iter().map(|narrows| format!(" AND {narrows}")).collect();
        Some(format!(
            "SELECT 1 FROM (SELECT {} OFFSET 0) AS {} WHERE ({any}){all}",
            columns.join(", "),
            ident(&relation.name)
        ))
    }
}

/// A policy is for a role that has the rights of one it names.
const POLICIES: &str = "
    SELECT p.polrelid, p.polpermissive,
           pg_catalog.concat('(', coalesce(pg_catalog.pg_get_expr(p.polqual, p.polrelid), 'true'), ')')
      FROM pg_catalog.pg_policy p
     WHERE p.polcmd IN ('r', '*')
       AND EXISTS (SELECT FROM pg_catalog.unnest(p.polroles) AS r(oid)
                    WHERE r.oid = 0 OR pg_catalog.pg_has_role({role}, r.oid, 'USAGE'))
     ORDER BY p.polrelid, p.polname";
