//! What the planner knows and tells: statistics, estimates, counts of what was filtered out.

use super::{STORE_CONTROLS, trial};
use crate::{
    Attack, Control, Layer, Log, Observation, Trial, Weight,
    postgres::{
        ground::Ground,
        options::Adversary,
        schema::{Kind, Relation},
        sql::{ident, literal, typed},
        stage::{Answer, Gone, Stage, Who},
        values,
    },
};

pub(crate) static STATISTICS: Attack = Attack {
    id: "postgres.statistics",
    layer: Layer::Store,
    title: "read others' values in the planner's statistics",
    about: "pg_stats shows the most common values of a column and samples of the others, of all \
            tenants at once, to whoever may read the column and is under no row policy there.",
    weight: Weight::Read,
    fix: "enable row level security on the table, or revoke SELECT on it; for a materialized view, \
          revoke SELECT",
    references: &["T-07"],
    supports: STORE_CONTROLS,
};

pub(crate) static ESTIMATES: Attack = Attack {
    id: "postgres.estimates",
    layer: Layer::Store,
    title: "ask the planner how many rows another tenant has",
    about: "EXPLAIN estimates by statistics that are of all tenants: it expects more rows of a large \
            tenant than of one that is not there.",
    weight: Weight::Existence,
    fix: "ALTER TABLE … ALTER tenant_column SET STATISTICS 0 and ANALYZE, at a cost to plans; or give \
          the tenants databases of their own; or accept it: --accept 'postgres.estimates=sizes may \
          be known'",
    references: &["T-07", "M-18"],
    supports: STORE_CONTROLS,
};

pub(crate) static ROWS_REMOVED: Attack = Attack {
    id: "postgres.rows-removed",
    layer: Layer::Store,
    title: "count hidden rows by EXPLAIN ANALYZE",
    about: "An index that does not begin with the tenant finds the other tenant's row; row security \
            drops it, and EXPLAIN ANALYZE says: Rows Removed by Filter: 1.",
    weight: Weight::Existence,
    fix: "let every index begin with the tenant column",
    references: &["T-07", "CWE-203"],
    supports: STORE_CONTROLS,
};

/// All of them, once for each attacker.
pub(crate) async fn attack<S: Stage>(
    stage: &mut S,
    ground: &Ground,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    if ground.options.adversary != Adversary::SqlInjection {
        return Ok(());
    }
    statistics(stage, ground, log).await?;
    estimates(stage, ground, log).await?;
    rows_removed(stage, ground, log).await
}

fn draft<S: Stage>(attack: &'static Attack, stage: &S, sql: &str) -> crate::Draft {
    Trial::of(attack, "statistics")
        .between(stage.name(Who::Attacker), stage.name(Who::Victim))
        .tried(sql)
}

const STATS: &str = "
    SELECT s.at FROM (
      SELECT schemaname || '.' || tablename AS at FROM pg_catalog.pg_stats
       WHERE most_common_vals IS NOT NULL OR histogram_bounds IS NOT NULL
      UNION ALL
      SELECT schemaname || '.' || tablename FROM pg_catalog.pg_stats_ext
       WHERE most_common_vals IS NOT NULL) AS s
     WHERE s.at IN ({places}) LIMIT 1";

async fn statistics<S: Stage>(
    stage: &mut S,
    ground: &Ground,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    let analyzed: Vec<&Relation> =
        ground.schema.tenant_relations().filter(|relation| relation.estimated_rows > 0).collect();
    if analyzed.is_empty() {
        let why = "no table of tenants has rows in the planner's statistics yet";
        log.record(draft(&STATISTICS, stage, "pg_stats").skip(why));
        return Ok(());
    }
    let places: Vec<String> = analyzed.iter().map(|relation| literal(&relation.place())).collect();
    let sql = STATS.replace("{places}", &places.join(", "));
    let answer = stage.attempt(Who::Attacker, &sql).await?;
    let seen = match answer.first() {
        Some(place) => Observation::reached(format!("values in {place}, of all tenants")),
        None => answer.as_attack(),
    };
    let control = Control::held(format!("{} tables have been analyzed", analyzed.len()));
    log.record(draft(&STATISTICS, stage, &sql).judge(seen, control));
    Ok(())
}

async fn estimates<S: Stage>(
    stage: &mut S,
    ground: &Ground,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    if ground.options.tenants.is_none() {
        let why = "made-up tenants are in no statistics: name two that exist with --tenants A,B";
        log.record(draft(&ESTIMATES, stage, "EXPLAIN").skip(why));
        return Ok(());
    }
    let largest = ground
        .schema
        .tenant_relations()
        .filter(|relation| relation.kind == Kind::Table && relation.grants.select)
        .max_by_key(|relation| relation.estimated_rows)
        .filter(|relation| relation.estimated_rows > 0);
    let Some(relation) = largest else {
        let why = "no table of tenants has rows in the planner's statistics yet";
        log.record(draft(&ESTIMATES, stage, "EXPLAIN").skip(why));
        return Ok(());
    };
    let Some(column) = relation.tenant_column() else { return Ok(()) };
    let Some(nobody) = values::value(&ground.schema, relation, column, 0, NOBODY) else {
        return Ok(());
    };
    let explain = |value: &str| {
        let (table, column) = (relation.quoted(), ident(&column.name));
        format!("EXPLAIN SELECT 1 FROM {table} WHERE {column} = {value}")
    };
    let id_of = |who| typed(ground.id(who), &column.type_name);
    let sql = explain(&id_of(Who::Victim));
    let of_victim = stage.attempt(Who::Attacker, &sql).await?;
    let of_nobody = stage.attempt(Who::Attacker, &explain(&nobody)).await?;
    let seen = match (rows_expected(&of_victim), rows_expected(&of_nobody)) {
        (Some(victim), Some(nobody)) if victim != nobody => Observation::reached(format!(
            "{victim} rows are expected of the victim, {nobody} of a tenant that is not there"
        )),
        (Some(victim), Some(_)) => {
            Observation::nothing(format!("{victim} rows are expected of either"))
        }
        _ => of_victim.as_attack(),
    };
    let control = Control::held(format!("{} rows in its statistics", relation.estimated_rows));
    log.record(trial(&ESTIMATES, stage, relation, &sql).judge(seen, control));
    Ok(())
}

/// Makes values that no row has.
const NOBODY: u64 = 0x7a11_dead_beef;

/// How many rows a plan expects at its top.
fn rows_expected(plan: &Answer) -> Option<u64> {
    let (_, rest) = plan.first()?.split_once("rows=")?;
    rest.split(' ').next()?.parse().ok()
}

const INDEXES: &str = "
    SELECT DISTINCT ON (i.indrelid) i.indrelid, a.attname
      FROM pg_catalog.pg_index i
      JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
     WHERE i.indpred IS NULL AND i.indrelid IN ({tables})
       AND (i.indrelid, a.attname::text) NOT IN ({tenants})
     ORDER BY i.indrelid, i.indisunique DESC, a.attname";

async fn rows_removed<S: Stage>(
    stage: &mut S,
    ground: &Ground,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    let (mut tables, mut tenants) = (Vec::new(), Vec::new());
    for relation in ground.schema.tenant_relations() {
        if let Some(column) = relation.tenant_column()
            && relation.kind == Kind::Table
            && relation.grants.select
        {
            tables.push(relation.oid.to_string());
            tenants.push(format!("({}, {})", relation.oid, literal(&column.name)));
        }
    }
    if tables.is_empty() {
        return Ok(());
    }
    let sql =
        INDEXES.replace("{tables}", &tables.join(", ")).replace("{tenants}", &tenants.join(", "));
    let Answer::Done(done) = stage.attempt(Who::Attacker, &sql).await? else { return Ok(()) };
    for row in &done.rows {
        let [Some(table), Some(column)] = row.as_slice() else { continue };
        let table = table.parse().ok().and_then(|oid| ground.schema.relation(oid));
        if let Some(relation) = table {
            removed_from(stage, ground, relation, column, log).await?;
        }
    }
    Ok(())
}

async fn removed_from<S: Stage>(
    stage: &mut S,
    ground: &Ground,
    relation: &Relation,
    column: &str,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    let theirs = ground.row(relation, Who::Victim).and_then(|row| row.literals.get(column));
    let ours = ground.row(relation, Who::Attacker).and_then(|row| row.literals.get(column));
    let Some(theirs) = theirs.filter(|value| *value != "NULL" && Some(*value) != ours) else {
        return Ok(());
    };
    let nobodys = relation
        .column(column)
        .and_then(|column| values::value(&ground.schema, relation, column, 0, NOBODY));
    let Some(nobodys) = nobodys.filter(|value| value != theirs) else { return Ok(()) };
    let explain = |value: &str| {
        format!(
            "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; \
             EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT 1 FROM {} WHERE {} = {value}",
            relation.quoted(),
            ident(column)
        )
    };
    let sql = explain(theirs);
    let of_victim = stage.attempt(Who::Attacker, &sql).await?;
    // Where the operator is not leakproof, the index is not asked, and nothing can be told.
    let by_index = lines(&of_victim).any(|line| line.contains(&format!("Index Cond: ({column} ")));
    if !by_index {
        return Ok(());
    }
    let of_nobody = stage.attempt(Who::Attacker, &explain(&nobodys)).await?;
    let (victims, nobodys) = (removed(&of_victim), removed(&of_nobody));
    let seen = if victims > nobodys {
        Observation::reached(format!(
            "Rows Removed by Filter: {victims} for the victim's value, {nobodys} for one that is not there"
        ))
    } else {
        Observation::nothing(format!("Rows Removed by Filter: {victims} for either"))
    };
    let control = Control::held("the question was put to an index on it");
    let fix = format!("{}: one begins with {column}", ROWS_REMOVED.fix);
    log.record(trial(&ROWS_REMOVED, stage, relation, &sql).fix(fix).judge(seen, control));
    Ok(())
}

/// The lines of a plan.
fn lines(plan: &Answer) -> impl Iterator<Item = &str> {
    let rows = match plan {
        Answer::Done(done) => done.rows.as_slice(),
        Answer::Refused(_) => &[],
    };
    rows.iter().filter_map(|row| row.first()?.as_deref())
}

/// How many rows a plan says were dropped.
fn removed(plan: &Answer) -> u64 {
    lines(plan)
        .filter(|line| line.contains("Rows Removed by"))
        .filter_map(|line| line.rsplit_once(": ")?.1.trim().parse::<u64>().ok())
        .sum()
}
