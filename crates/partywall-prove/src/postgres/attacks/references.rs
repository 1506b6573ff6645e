//! Keys: what unique and foreign keys tell of another tenant's rows, and what cascades do to them.

use super::{Footing, STORE_CONTROLS, attacker_can, trial, victim_can};
use crate::{
    Attack, Control, Layer, Log, Observation, Weight,
    postgres::{
        ground::{self, Ground, Row},
        one_session::OneSession,
        schema::{Class, ForeignKey, Relation},
        sql::ident,
        stage::{Answer, Gone, Stage, Who},
    },
};

pub(crate) static UNIQUE: Attack = Attack {
    id: "postgres.unique",
    layer: Layer::Store,
    title: "learn of a key by colliding with it",
    about: "An own row with the other tenant's key: a unique key without the tenant in it says \
            `duplicate`, and so that the row exists. Random ids can hardly be guessed; e-mail \
            addresses and numbers can.",
    weight: Weight::Existence,
    fix: "put the tenant first in the unique key; where the values are random and never shown to \
          another tenant, accept it: --accept 'postgres.unique@TABLE=keys are random uuids'",
    references: &["T-07", "CWE-203"],
    supports: STORE_CONTROLS,
};

pub(crate) static REFERENCE: Attack = Attack {
    id: "postgres.reference",
    layer: Layer::Store,
    title: "refer to another's row",
    about: "An own row whose foreign key names the other tenant's row. A key without the tenant in \
            it is content: that says the row exists, and keeps its owner from deleting it.",
    weight: Weight::Existence,
    fix: "make it FOREIGN KEY (tenant, id) REFERENCES parent (tenant, id); where ids are random and \
          never shown to another tenant, accept it: --accept 'postgres.reference@TABLE=ids are \
          random uuids'",
    references: &["T-07", "CWE-203"],
    supports: STORE_CONTROLS,
};

pub(crate) static CASCADE: Attack = Attack {
    id: "postgres.cascade",
    layer: Layer::Store,
    title: "let a cascade reach another's rows",
    about: "Cascades look at no row policy. Where the victim's row can hang on the attacker's, as \
            an id taken from a form lets it, the attacker deletes its own row and the victim's goes \
            with it.",
    weight: Weight::Write,
    fix: "make it FOREIGN KEY (tenant, id) REFERENCES parent (tenant, id): then it cannot hang there",
    references: &["T-07"],
    supports: STORE_CONTROLS,
};

/// What the keys of one table tell.
pub(crate) async fn attack<S: Stage>(
    stage: &mut S,
    ground: &Ground,
    relation: &Relation,
    footing: &Footing,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    if ground.options.read_only || !relation.is_table() {
        return Ok(());
    }
    unique(stage, ground, relation, footing, log).await?;
    if relation.grants.insert {
        for key in across(ground, relation) {
            refer(stage, ground, relation, key, log).await?;
        }
    }
    Ok(())
}

/// The foreign keys that lead to rows of tenants, but for those that only name the tenant.
fn across<'a>(
    ground: &'a Ground,
    relation: &'a Relation,
) -> impl Iterator<Item = &'a ForeignKey> + use<'a> {
    let tenant = relation.tenant_column().map(|column| column.name.as_str());
    relation.foreign_keys.iter().filter(move |key| {
        let names_the_tenant_only =
            key.columns.iter().all(|column| Some(column.as_str()) == tenant);
        let target = ground.schema.relation(key.target);
        !names_the_tenant_only
            && target.is_some_and(|target| matches!(target.class, Class::Tenant(_)))
    })
}

/// The columns of unique keys, with the victim's values where these differ from the attacker's:
/// of the keys without the tenant where there are any, of the primary key otherwise.
fn their_key(ground: &Ground, relation: &Relation) -> Option<(Vec<(String, String)>, bool)> {
    let tenant = relation.tenant_column()?;
    let (ours, theirs) = (ground.row(relation, Who::Attacker)?, ground.row(relation, Who::Victim)?);
    let without: Vec<&Vec<String>> =
        relation.keys.iter().filter(|key| !key.contains(&tenant.name)).collect();
    let open = !without.is_empty();
    let keys = if open { without } else { relation.keys.iter().take(1).collect() };
    let mut values: Vec<(String, String)> = keys
        .into_iter()
        .flatten()
        .filter(|column| **column != tenant.name)
        .filter_map(|column| Some((column.clone(), theirs.literals.get(column)?.clone())))
        .filter(|(column, value)| value != "NULL" && ours.literals.get(column) != Some(value))
        .collect();
    values.sort();
    values.dedup();
    (!values.is_empty()).then_some((values, open))
}

async fn unique<S: Stage>(
    stage: &mut S,
    ground: &Ground,
    relation: &Relation,
    footing: &Footing,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    let Some((values, open)) = their_key(ground, relation) else { return Ok(()) };
    let overrides: Vec<(&str, &str)> =
        values.iter().map(|(column, value)| (column.as_str(), value.as_str())).collect();
    let settable = |name: &str| relation.column(name).is_some_and(|column| column.settable);
    let (sql, control) = match &footing.own_insert {
        held @ Control::Held(_) => {
            let Some(insert) = ground.insert(relation, Who::Attacker, &overrides) else {
                return Ok(());
            };
            (insert, held.clone())
        }
        // It may have but one row, or may only change rows.
        Control::Failed(_) if relation.grants.update => {
            let set = |value: fn(&str, &str) -> String| {
                let sets: Vec<String> = overrides
                    .iter()
                    .filter(|(column, _)| settable(column))
                    .map(|(column, theirs)| value(&ident(column), theirs))
                    .collect();
                let own_row =
                    row_of(ground, relation, Who::Attacker).filter(|_| !sets.is_empty())?;
                let table = relation.quoted();
                Some(format!("UPDATE {table} SET {} WHERE {own_row}", sets.join(", ")))
            };
            let (Some(take), Some(stay)) = (
                set(|column, theirs| format!("{column} = {theirs}")),
                set(|column, _| format!("{column} = {column}")),
            ) else {
                return Ok(());
            };
            (take, attacker_can(stage, &stay).await?)
        }
        Control::Failed(_) => return Ok(()),
    };
    let seen = match stage.attempt(Who::Attacker, &sql).await? {
        Answer::Refused(no) if no.code == "23505" => {
            Observation::reached(format!("{no}: so the row is there"))
        }
        Answer::Refused(no) if no.code == "23503" => {
            Observation::nothing(format!("{no}: no unique key was in the way"))
        }
        Answer::Refused(no) => Observation::unclear(no.to_string()),
        Answer::Done(_) => {
            Observation::nothing("an own row with the victim's key stands beside the victim's")
        }
    };
    let mut draft = trial(&UNIQUE, stage, relation, &sql);
    if open {
        let columns: Vec<&str> = values.iter().map(|(column, _)| column.as_str()).collect();
        draft = draft.fix(worth(relation, &columns, UNIQUE.fix));
    }
    log.record(draft.judge(seen, control));
    Ok(())
}

/// True of one row of `who`'s: two of them would collide with each other.
fn row_of(ground: &Ground, relation: &Relation, who: Who) -> Option<String> {
    let row = ground.row(relation, who)?.condition(relation);
    Some(format!("{} AND {row}", ground.rows_of(relation, who)))
}

/// The remedy, and what the leak is worth, which goes by what the values are.
fn worth(relation: &Relation, columns: &[&str], fix: &str) -> String {
    let random = columns
        .iter()
        .all(|name| relation.column(name).is_some_and(|column| column.type_name == "uuid"));
    let names = columns.join(", ");
    if random {
        format!("{fix}. {names} is a uuid: worth something only to who has seen it")
    } else {
        format!("{fix}. {names} can be guessed one by one")
    }
}

async fn refer<S: Stage>(
    stage: &mut S,
    ground: &Ground,
    relation: &Relation,
    key: &ForeignKey,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    let Some(target) = ground.schema.relation(key.target) else { return Ok(()) };
    let (Some(overrides), Some(own_overrides)) = (
        hang(ground, relation, key, target, Who::Victim),
        hang(ground, relation, key, target, Who::Attacker),
    ) else {
        return Ok(());
    };
    let Some((sql, control)) = pointed(stage, ground, relation, &overrides, &own_overrides).await?
    else {
        return Ok(());
    };
    let seen = match stage.attempt(Who::Attacker, &sql).await? {
        Answer::Done(done) if done.count > 0 => {
            Observation::reached("an own row refers to the victim's")
        }
        Answer::Refused(no) if no.code == "23505" => match &control {
            Control::Held(_) => Observation::reached(format!("{no}: another row refers to it")),
            Control::Failed(_) => Observation::unclear(no.to_string()),
        },
        Answer::Refused(no) if no.code == "23503" => Observation::nothing(no.to_string()),
        answer => answer.as_attack(),
    };
    let columns: Vec<&str> = overrides.iter().map(|(column, _)| column.as_str()).collect();
    let draft = trial(&REFERENCE, stage, relation, &sql).fix(format!(
        "{} (constraint {})",
        worth(relation, &columns, REFERENCE.fix),
        key.name
    ));
    log.record(draft.judge(seen, control));
    Ok(())
}

/// A statement by which an own row comes to refer to the victim's: a new row, or, where a tenant
/// may have but one, the one it has. And whether it works among one's own.
async fn pointed<S: Stage>(
    stage: &mut S,
    ground: &Ground,
    relation: &Relation,
    theirs: &[(String, String)],
    own: &[(String, String)],
) -> Result<Option<(String, Control)>, Gone> {
    let insert = |pairs: &[(String, String)]| {
        let pairs: Vec<(&str, &str)> =
            pairs.iter().map(|(column, value)| (column.as_str(), value.as_str())).collect();
        ground.insert(relation, Who::Attacker, &pairs)
    };
    let (Some(sql), Some(stay)) = (insert(theirs), insert(own)) else { return Ok(None) };
    let control = attacker_can(stage, &stay).await?;
    if matches!(control, Control::Held(_)) || !relation.grants.update {
        return Ok(Some((sql, control)));
    }
    let Some(own_row) = row_of(ground, relation, Who::Attacker) else { return Ok(None) };
    let update = |pairs: &[(String, String)]| {
        let sets: Vec<String> = pairs.iter().map(|(c, v)| format!("{} = {v}", ident(c))).collect();
        format!("UPDATE {} SET {} WHERE {}", relation.quoted(), sets.join(", "), own_row)
    };
    let control = attacker_can(stage, &update(own)).await?;
    Ok(Some((update(theirs), control)))
}

/// The columns of a foreign key, all but the tenant's, set so that it leads to `whose` row.
fn hang(
    ground: &Ground,
    relation: &Relation,
    key: &ForeignKey,
    target: &Relation,
    whose: Who,
) -> Option<Vec<(String, String)>> {
    hang_on(relation, key, ground.row(target, whose)?)
}

fn hang_on(relation: &Relation, key: &ForeignKey, row: &Row) -> Option<Vec<(String, String)>> {
    let tenant = relation.tenant_column()?;
    let values: Vec<(String, String)> = key
        .columns
        .iter()
        .zip(&key.target_columns)
        .filter(|(column, _)| **column != tenant.name)
        .filter_map(|(column, to)| Some((column.clone(), row.literals.get(to)?.clone())))
        .filter(|(_, value)| value != "NULL")
        .collect();
    (!values.is_empty()).then_some(values)
}

/// Whether a cascade from the attacker's rows reaches the victim's. It needs both sides to write
/// in turn, and so one session for both.
pub(crate) async fn cascade(
    stage: &mut OneSession,
    ground: &Ground,
    relation: &Relation,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    if ground.options.read_only || !relation.is_table() || !relation.grants.insert {
        return Ok(());
    }
    for key in across(ground, relation) {
        let Some(target) = ground.schema.relation(key.target) else { continue };
        let cascades = matches!(key.on_delete, 'c' | 'n' | 'd');
        let Some(own) = ground.insert(relation, Who::Victim, &[]) else { continue };
        if !cascades || !target.grants.delete {
            continue;
        }
        // The control is of the victim's own: that it may write such rows at all.
        let control = victim_can(stage, &own).await?;
        stage.mark("partywall_cascade").await?;
        let tried = hang_and_delete(stage, ground, relation, key, target).await;
        stage.back_to_mark("partywall_cascade").await?;
        if let Some((sql, seen)) = tried? {
            let fix = format!("{} (constraint {})", CASCADE.fix, key.name);
            log.record(trial(&CASCADE, stage, relation, &sql).fix(fix).judge(seen, control));
        }
    }
    Ok(())
}

/// Hangs a row of the victim's on one of the attacker's, deletes that, and looks what is left.
async fn hang_and_delete(
    stage: &mut OneSession,
    ground: &Ground,
    relation: &Relation,
    key: &ForeignKey,
    target: &Relation,
) -> Result<Option<(String, Observation)>, Gone> {
    let fresh = fresh_parent(stage, ground, target).await?;
    let Some(parent) = fresh.as_ref().or_else(|| ground.row(target, Who::Attacker)) else {
        return Ok(None);
    };
    let Some(pairs) = hang_on(relation, key, parent) else { return Ok(None) };
    let overrides: Vec<(&str, &str)> =
        pairs.iter().map(|(column, value)| (column.as_str(), value.as_str())).collect();
    let Some(child) = ground.insert(relation, Who::Victim, &overrides) else { return Ok(None) };
    let hangs: Vec<String> =
        overrides.iter().map(|(column, value)| format!("{} = {value}", ident(column))).collect();
    let table = relation.quoted();
    let ours = ground.rows_of(target, Who::Attacker);
    let delete =
        format!("DELETE FROM {} WHERE {ours} AND {}", target.quoted(), parent.condition(target));
    let sql = format!("{child}; as the other tenant: {delete}");

    let mut hung = stage.keep(Who::Victim, &child).await?;
    if let Answer::Refused(no) = &hung
        && no.code == "23505"
        && let Some(row) = row_of(ground, relation, Who::Victim)
    {
        // It may have but one row, which is hung over.
        let over = format!("UPDATE {table} SET {} WHERE {row}", hangs.join(", "));
        hung = stage.keep(Who::Victim, &over).await?;
    }
    if let Answer::Refused(no) = hung {
        let stopped = no.code == "23503" || no.is_denial();
        let seen = if stopped {
            Observation::nothing(format!("the victim's row cannot hang there: {no}"))
        } else {
            Observation::unclear(no.to_string())
        };
        return Ok(Some((sql, seen)));
    }
    let theirs = ground.rows_of(relation, Who::Victim);
    let hanging =
        format!("SELECT 1 FROM {table} WHERE {theirs} AND {} LIMIT 1", hangs.join(" AND "));
    if stage.attempt(Who::Victim, &hanging).await?.count() == 0 {
        let seen = Observation::unclear("the victim does not see the row that hangs there");
        return Ok(Some((sql, seen)));
    }
    let deleted = stage.keep(Who::Attacker, &delete).await?;
    if deleted.count() == 0 {
        let seen = Observation::unclear(format!("the attacker's own row stays: {deleted}"));
        return Ok(Some((sql, seen)));
    }
    let left = stage.attempt(Who::Victim, &hanging).await?.count();
    let harm = match key.on_delete {
        'c' => "is deleted",
        _ => "no longer refers to anything",
    };
    Ok(Some((
        sql,
        match left {
            0 => Observation::reached(format!("the victim's row {harm}")),
            _ => Observation::nothing("the victim's row is still there"),
        },
    )))
}

/// One more row of the attacker's that nothing else hangs on yet.
async fn fresh_parent(
    stage: &mut OneSession,
    ground: &Ground,
    target: &Relation,
) -> Result<Option<Row>, Gone> {
    let Some(insert) = ground.insert(target, Who::Attacker, &[]) else { return Ok(None) };
    let sql = format!("{insert} RETURNING {}", ground::capture(target));
    Ok(match stage.keep(Who::Attacker, &sql).await? {
        Answer::Done(done) => done.rows.first().map(|values| ground::read(target, values)),
        Answer::Refused(_) => None,
    })
}
