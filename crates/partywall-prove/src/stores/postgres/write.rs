//! Writing to another's rows, and passing one's own off as another's.

use sqlx::PgConnection;

use super::{
    Trouble,
    moves::{Move, Wins},
    rows_or_none,
};
use crate::{
    postgres::sql,
    stores::{Holding, Pair},
};

/// What is said about each table the victim has a row in.
pub(super) async fn moves(conn: &mut PgConnection, pair: &Pair<'_>) -> Result<Vec<Move>, Trouble> {
    let victim = sql::literal(pair.victim.context.tenant().as_str());
    let attacker = sql::literal(pair.attacker.context.tenant().as_str());
    let mut moves = Vec::new();
    for holding in pair.holdings {
        let Some((schema, table)) = holding.table.split_once('.') else { continue };
        let name = format!("{}.{}", sql::ident(schema), sql::ident(table));
        let there = position(holding);
        let mut say = |statement: String, wins: Wins| moves.push(Move::new(statement, wins));
        say(format!("DELETE FROM {name} WHERE {there}"), Wins::IfItHasRows);
        say(format!("SELECT 1 FROM {name} WHERE {there} FOR UPDATE"), Wins::IfItHasRows);
        say(format!("TRUNCATE {name}"), Wins::IfItRuns);
        // Whoever may not look at the table has no columns to name, and none to write.
        let columns = columns(conn, &name).await?;
        let Some(first) = columns.first() else { continue };
        say(format!("UPDATE {name} SET {first} = {first} WHERE {there}"), Wins::IfItHasRows);
        let Some(tenant) = tenant_column(conn, &name, &attacker).await? else { continue };
        // Twice, for a policy that only looks when a column is read.
        say(format!("UPDATE {name} SET {tenant} = {victim}"), Wins::IfItHasRows);
        say(
            format!("UPDATE {name} SET {tenant} = {victim} WHERE {tenant} = {attacker}"),
            Wins::IfItHasRows,
        );
        let list = columns.join(", ");
        let as_victims: Vec<String> = columns
            .iter()
            .map(|column| if *column == tenant { victim.clone() } else { column.clone() })
            .collect();
        let copy = format!(
            "INSERT INTO {name} ({list}) OVERRIDING SYSTEM VALUE \
             SELECT {} FROM {name} WHERE {tenant} = {attacker} LIMIT 1",
            as_victims.join(", ")
        );
        say(copy.clone(), Wins::IfItHasRows);
        say(format!("{copy} ON CONFLICT DO NOTHING"), Wins::IfItHasRows);
    }
    Ok(moves)
}

/// The row's place alone: the query that found it, without what is asked of it.
fn position(holding: &Holding) -> String {
    match holding.marker.split_once(' ') {
        Some((oid, ctid)) => format!("tableoid = {oid} AND ctid = '{ctid}'"),
        None => "false".to_owned(),
    }
}

/// Columns that can be written, quoted.
async fn columns(conn: &mut PgConnection, table: &str) -> Result<Vec<String>, Trouble> {
    let found = rows_or_none(
        conn,
        &format!(
            "SELECT pg_catalog.string_agg(pg_catalog.quote_ident(attname), E'\\n' ORDER BY attnum) \
             FROM pg_catalog.pg_attribute WHERE attrelid = {}::regclass \
             AND attnum > 0 AND NOT attisdropped AND attgenerated = ''",
            sql::literal(table)
        ),
    )
    .await?;
    let names = found.into_iter().flatten().flatten().next().unwrap_or_default();
    Ok(names.lines().map(str::to_owned).collect())
}

/// The column in which the attacker's rows name the attacker.
async fn tenant_column(
    conn: &mut PgConnection,
    table: &str,
    attacker: &str,
) -> Result<Option<String>, Trouble> {
    let found = rows_or_none(
        conn,
        &format!(
            "SELECT pg_catalog.quote_ident(e.key) FROM \
             (SELECT pg_catalog.to_jsonb(t) AS row FROM {table} AS t LIMIT 1) AS one, \
             pg_catalog.jsonb_each_text(one.row) AS e WHERE e.value = {attacker} LIMIT 1"
        ),
    )
    .await?;
    Ok(found.into_iter().flatten().flatten().next())
}
