//! Policies that look at more than the tenant column: rows that are open when something else is in
//! them, and tables in which a tenant can write itself a right.
//!
//! A policy like `tenant_id = mine OR is_public` holds for every row a run makes up, until one is
//! made up that is public. So rows of each kind are written: by the victim, to be read; by the
//! attacker, among the victim's; and into the tables that a policy looks things up in.

use super::{STORE_CONTROLS, trial, victim_can};
use crate::{
    Attack, Control, Layer, Log, Observation, Weight,
    postgres::{
        ground::Ground,
        one_session::OneSession,
        schema::{Column, Relation},
        sql::{ident, literal, literals_in, typed},
        stage::{Answer, Gone, Stage as _, Who},
        tenancy::Context,
    },
};

pub(crate) static READ_KIND: Attack = Attack {
    id: "postgres.read-kind",
    layer: Layer::Store,
    title: "read another's row that is of another kind",
    about: "The policy looks at more than the tenant column. The victim writes rows of every kind it \
            knows of, flags up and down, old and new, big and small, and the attacker reads.",
    weight: Weight::Read,
    fix: "compare the tenant column, and AND everything else to it; where such rows are meant to be \
          open to all tenants, accept it: --accept 'postgres.read-kind@TABLE=published on purpose'",
    references: &["T-05", "T-07"],
    supports: STORE_CONTROLS,
};

pub(crate) static INSERT_KIND: Attack = Attack {
    id: "postgres.insert-kind",
    layer: Layer::Store,
    title: "add a row to another tenant's that is marked as one's own",
    about: "WITH CHECK is content with a second column, an owner, a list of guests, a flag: the \
            attacker puts itself there, and the other tenant into the tenant column.",
    weight: Weight::Write,
    fix: "let WITH CHECK compare the tenant column, whatever USING lets be seen beside it",
    references: &["T-07"],
    supports: STORE_CONTROLS,
};

pub(crate) static LOOKUP: Attack = Attack {
    id: "postgres.lookup",
    layer: Layer::Store,
    title: "write oneself into what a policy looks up",
    about: "A policy asks another table who may see a row: members, partners, shares, roles. The \
            attacker first writes there what lets it in, in a row that is its own, then reads.",
    weight: Weight::Identity,
    fix: "let only the tenant that gives access write the row that gives it: WITH CHECK on the table \
          the policy looks into must compare the giving side, or revoke the application's right to \
          write it",
    references: &["T-05", "T-07", "CWE-639"],
    supports: STORE_CONTROLS,
};

pub(crate) static NAMED: Attack = Attack {
    id: "postgres.named-tenant",
    layer: Layer::Store,
    title: "a tenant that the policy knows by name",
    about: "A name written into a policy: a session of a tenant so called sees everything, or its \
            rows are everybody's, those of sessions without a tenant included.",
    weight: Weight::Identity,
    fix: "take the name out of the policy; keep what all tenants may read in a shared table, and \
          give the operators a role of their own",
    references: &["T-05", "C3"],
    supports: STORE_CONTROLS,
};

/// How many values a column is tried with, and how many columns.
const VALUES: usize = 12;
const COLUMNS: usize = 5;

/// All of them, at one table.
pub(crate) async fn attack(
    stage: &mut OneSession,
    ground: &Ground,
    relation: &Relation,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    let texts = ground.policies.of_table(relation.oid);
    if texts.is_empty() || !relation.is_table() || ground.options.read_only {
        return Ok(());
    }
    let (Some(_), Some(_)) = (relation.tenant_column(), ground.row(relation, Who::Victim)) else {
        return Ok(());
    };
    if relation.grants.insert {
        insert_kinds(stage, ground, relation, &texts, log).await?;
    }
    let theirs = ground.rows_of(relation, Who::Victim);
    let read = format!("SELECT 1 FROM {} WHERE {theirs} LIMIT 1", relation.quoted());
    // What is open as it is needs no second step.
    if !relation.grants.select || stage.attempt(Who::Attacker, &read).await?.count() > 0 {
        return Ok(());
    }
    read_kinds(stage, ground, relation, &texts, &read, log).await?;
    for source in looked_up(ground, relation, &texts) {
        lookup(stage, ground, relation, source, &texts, &read, log).await?;
    }
    named(stage, ground, relation, &texts, &read, log).await
}

/// The columns beside the tenant's that the policies look at.
fn marks<'a>(ground: &Ground, relation: &'a Relation) -> Vec<&'a Column> {
    let looked_at = ground.policies.columns_of(relation.oid);
    let tenant = relation.tenant_column().map(|column| column.name.as_str());
    let columns = relation.columns.iter().filter(|column| {
        column.settable
            && Some(column.name.as_str()) != tenant
            && looked_at.contains(column.name.as_str())
    });
    columns.take(COLUMNS).collect()
}

/// What could be in a column that a policy looks at, as SQL literals.
fn kinds(column: &Column, texts: &[String], ground: &Ground) -> Vec<String> {
    let mut kinds: Vec<String> = Vec::new();
    let type_name = column.type_name.as_str();
    if !column.not_null {
        kinds.push("NULL".to_owned());
    }
    let mut all = |values: &mut dyn Iterator<Item = String>| {
        kinds.extend(values.map(|value| typed(&value, type_name)));
    };
    match column.category {
        'B' => all(&mut ["true", "false"].map(str::to_owned).into_iter()),
        'S' => all(&mut named_in(texts).into_iter()),
        'D' => all(&mut ["1970-01-01", "2999-01-01"].map(str::to_owned).into_iter()),
        'N' => {
            let of_policy = texts.iter().flat_map(|text| numbers(text));
            let around = of_policy.flat_map(|n| [n.saturating_add(1), n.saturating_sub(1), n]);
            let extremes = [0, -1, i64::from(i16::MAX), i64::from(i32::MAX)];
            all(&mut around.chain(extremes).map(|n| n.to_string()));
        }
        'E' => {
            let labels = ground.schema.enums.get(type_name).cloned().unwrap_or_default();
            all(&mut labels.into_iter());
        }
        _ => {}
    }
    kinds.truncate(VALUES);
    kinds
}

/// The whole numbers in an expression.
fn numbers(text: &str) -> Vec<i64> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

/// The words written into a policy that could be values: no names of settings, no paths.
fn named_in(texts: &[String]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in texts.iter().flat_map(|text| literals_in(text)) {
        let plain = !name.is_empty() && name.len() <= 40 && !name.contains(['.', '{', '(', ' ']);
        if plain && !names.contains(&name) {
            names.push(name);
        }
    }
    names.truncate(VALUES);
    names
}

async fn read_kinds(
    stage: &mut OneSession,
    ground: &Ground,
    relation: &Relation,
    texts: &[String],
    read: &str,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    let mut inserts = Vec::new();
    for column in marks(ground, relation) {
        for value in kinds(column, texts, ground) {
            inserts.extend(ground.insert(relation, Who::Victim, &[(&column.name, &value)]));
        }
    }
    if inserts.is_empty() {
        return Ok(());
    }
    let control = victim_can(stage, read).await?;
    stage.mark("partywall_kinds").await?;
    let (mut written, mut last) = (0, String::new());
    let mut open = None;
    for insert in inserts {
        match stage.keep(Who::Victim, &insert).await? {
            Answer::Done(_) => written += 1,
            Answer::Refused(no) => {
                last = no.to_string();
                continue;
            }
        }
        let answer = stage.attempt(Who::Attacker, read).await?;
        if answer.count() > 0 {
            open = Some((format!("{insert}; as the other tenant: {read}"), answer.as_attack()));
            break;
        }
    }
    stage.back_to_mark("partywall_kinds").await?;
    log.record(match open {
        Some((sql, seen)) => trial(&READ_KIND, stage, relation, &sql).judge(seen, control),
        None if written == 0 => trial(&READ_KIND, stage, relation, read)
            .skip(format!("no row of another kind could be written: {last}")),
        None => {
            let seen = Observation::nothing(format!("0 rows, of {written} kinds"));
            trial(&READ_KIND, stage, relation, read).judge(seen, control)
        }
    });
    Ok(())
}

/// The names a side goes by: its tenant, and its user where that is another.
fn names(ground: &Ground, who: Who) -> Vec<&str> {
    let id = ground.id(who);
    let user = ground.users.get(id).map(String::as_str).filter(|user| *user != id);
    [Some(id), user].into_iter().flatten().collect()
}

async fn insert_kinds(
    stage: &mut OneSession,
    ground: &Ground,
    relation: &Relation,
    texts: &[String],
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    let Some(plain) = ground.insert(relation, Who::Victim, &[]) else { return Ok(()) };
    let mut tries = Tries::default();
    for column in marks(ground, relation) {
        let own = names(ground, Who::Attacker).into_iter().map(|name| match column.category {
            'A' => format!("ARRAY[{}]::{}", literal(name), column.type_name),
            _ => typed(name, &column.type_name),
        });
        for value in own.chain(kinds(column, texts, ground)) {
            let Some(insert) = ground.insert(relation, Who::Victim, &[(&column.name, &value)])
            else {
                continue;
            };
            let answer = stage.attempt(Who::Attacker, &insert).await?;
            tries.take(insert, &answer);
        }
    }
    let Some((sql, seen)) = tries.worst() else { return Ok(()) };
    let control = victim_can(stage, &plain).await?;
    log.record(trial(&INSERT_KIND, stage, relation, &sql).judge(seen, control));
    Ok(())
}

/// Several ways to do one thing: what went through counts, then a denial.
#[derive(Default)]
struct Tries {
    reached: Option<(String, Observation)>,
    harmless: Option<(String, Observation)>,
    unclear: Option<(String, Observation)>,
}

impl Tries {
    fn take(&mut self, sql: String, answer: &Answer) {
        let seen = answer.as_attack();
        let place = match &seen {
            Observation::Reached(_) => &mut self.reached,
            Observation::Nothing(_) | Observation::Refused(_) => &mut self.harmless,
            // A value that does not fit the column is no answer at all.
            _ if matches!(answer, Answer::Refused(no) if no.code.starts_with("22") || no.code.starts_with("23")) =>
            {
                return;
            }
            _ => &mut self.unclear,
        };
        place.get_or_insert((sql, seen));
    }

    fn worst(self) -> Option<(String, Observation)> {
        self.reached.or(self.unclear).or(self.harmless)
    }
}

/// The tables that a table's policies look into and the application may write.
fn looked_up<'a>(ground: &'a Ground, relation: &Relation, texts: &[String]) -> Vec<&'a Relation> {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let words: std::collections::BTreeSet<&str> =
        texts.iter().flat_map(|text| text.split(|c| !word(c))).collect();
    let sources = ground.schema.relations.iter().filter(|source| {
        source.is_table()
            && source.oid != relation.oid
            && (source.grants.insert || source.grants.update)
            && words.contains(source.name.as_str())
    });
    sources.collect()
}

async fn lookup(
    stage: &mut OneSession,
    ground: &Ground,
    relation: &Relation,
    source: &Relation,
    texts: &[String],
    read: &str,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    let control = victim_can(stage, read).await?;
    let (mut sent, mut through, mut denied, mut other) = (String::new(), None, None, None);
    let mut written = false;
    for write in ways_in(ground, relation, source, texts) {
        let sql = format!("{write}; {read}");
        match stage.attempt(Who::Attacker, &sql).await? {
            answer @ Answer::Done(_) if answer.count() > 0 => {
                through = Some(answer.as_attack());
                sent = sql;
                break;
            }
            Answer::Done(_) => (written, sent) = (true, sql),
            Answer::Refused(no) if no.is_denial() => denied = Some((sql, no.to_string())),
            Answer::Refused(no) => other = Some((sql, no.to_string())),
        }
    }
    let seen = match (through, denied, other) {
        (Some(seen), _, _) => seen,
        _ if written => Observation::nothing("written, and 0 rows of the victim's are seen"),
        (None, Some((sql, no)), _) => {
            sent = sql;
            Observation::refused(no)
        }
        (None, None, Some((sql, no))) => {
            let draft = trial(&LOOKUP, stage, relation, &sql);
            log.record(draft.skip(format!("nothing could be written to {}: {no}", source.place())));
            return Ok(());
        }
        (None, None, None) => return Ok(()),
    };
    log.record(trial(&LOOKUP, stage, relation, &sent).judge(seen, control));
    Ok(())
}

/// Rows by which the attacker could let itself in: both sides' names in every place that has room
/// for one, flags up, the words that the policy knows; as new rows, and written over its own.
fn ways_in(
    ground: &Ground,
    relation: &Relation,
    source: &Relation,
    texts: &[String],
) -> Vec<String> {
    let id_type = relation.tenant_column().map(|column| column.type_name.as_str());
    let tenant = source.tenant_column().map(|column| column.name.as_str());
    let free = |column: &&Column| column.settable && Some(column.name.as_str()) != tenant;
    let holds_name = |column: &&Column| {
        free(column) && (column.category == 'S' || Some(column.type_name.as_str()) == id_type)
    };
    let places: Vec<&Column> = source.columns.iter().filter(holds_name).take(COLUMNS).collect();
    let flags: Vec<(&Column, String)> = source
        .columns
        .iter()
        .filter(|column| free(column) && column.category == 'B')
        .map(|column| (column, typed("true", &column.type_name)))
        .collect();
    let victim_row = ground.row(relation, Who::Victim);
    let (mine, theirs) = (names(ground, Who::Attacker), names(ground, Who::Victim));
    let fill = |own_place: Option<(&str, &str)>, by_name: bool| -> Vec<(&Column, String)> {
        let value = |column: &Column| {
            let same = victim_row.and_then(|row| row.literals.get(&column.name));
            match (own_place, same) {
                (Some((place, name)), _) if place == column.name => typed(name, &column.type_name),
                (_, Some(value)) if by_name && value != "NULL" => value.clone(),
                _ => typed(theirs.first().copied().unwrap_or_default(), &column.type_name),
            }
        };
        places.iter().map(|column| (*column, value(column))).collect()
    };
    let mut rows: Vec<(Who, Vec<(&Column, String)>)> = vec![
        (Who::Attacker, fill(None, false)),
        (Who::Attacker, fill(None, true)),
        (Who::Attacker, Vec::new()),
    ];
    for place in &places {
        for name in &mine {
            rows.push((Who::Attacker, fill(Some((&place.name, name)), false)));
            rows.push((Who::Attacker, fill(Some((&place.name, name)), true)));
            rows.push((Who::Victim, vec![(*place, typed(name, &place.type_name))]));
        }
        for name in named_in(texts) {
            rows.push((Who::Attacker, vec![(*place, typed(&name, &place.type_name))]));
        }
        for name in &theirs {
            rows.push((Who::Attacker, vec![(*place, typed(name, &place.type_name))]));
        }
    }
    let mut writes = Vec::new();
    for (who, row) in rows {
        let row: Vec<(&str, &str)> = row
            .iter()
            .chain(&flags)
            .map(|(column, value)| (column.name.as_str(), value.as_str()))
            .collect();
        if source.grants.insert {
            writes.extend(ground.insert(source, who, &row));
        }
        if source.grants.update && tenant.is_some() && who == Who::Attacker && !row.is_empty() {
            let sets: Vec<String> =
                row.iter().map(|(column, value)| format!("{} = {value}", ident(column))).collect();
            let ours = ground.rows_of(source, Who::Attacker);
            writes.push(format!("UPDATE {} SET {} WHERE {ours}", source.quoted(), sets.join(", ")));
        }
    }
    writes
}

async fn named(
    stage: &mut OneSession,
    ground: &Ground,
    relation: &Relation,
    texts: &[String],
    read: &str,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    let told = matches!(stage.tenancy().context, Context::Settings(_) | Context::Ticket { .. });
    let Some(column) = relation.tenant_column().filter(|_| told && stage.can_be(Who::Nobody))
    else {
        return Ok(());
    };
    let tenancy = stage.tenancy().clone();
    for name in named_in(texts) {
        if [Who::Attacker, Who::Victim].iter().any(|who| ground.id(*who) == name) {
            continue;
        }
        let bind = tenancy.bind(&name);
        let control = victim_can(stage, read).await?;
        let answer = stage.attempt(Who::Nobody, &format!("{bind}{read}")).await?;
        // A name that is no id here names no tenant.
        if matches!(&answer, Answer::Refused(no) if no.code.starts_with("22")) {
            continue;
        }
        let shown = format!("as tenant {name:?}: {read}");
        log.record(trial(&NAMED, stage, relation, &shown).judge(answer.as_attack(), control));
        if !relation.grants.insert {
            continue;
        }
        stage.mark("partywall_named").await?;
        let tried = rows_of_the_named(stage, ground, relation, column, &bind, &name, log).await;
        stage.back_to_mark("partywall_named").await?;
        tried?;
    }
    Ok(())
}

/// Whether what a tenant of that name owns is to be seen by others, or by nobody at all.
async fn rows_of_the_named(
    stage: &mut OneSession,
    ground: &Ground,
    relation: &Relation,
    column: &Column,
    bind: &str,
    name: &str,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    for key in relation.foreign_keys.iter().filter(|key| key.columns == [column.name.clone()]) {
        let root = ground.schema.relation(key.target);
        if let Some(insert) = root.and_then(|root| ground.insert_as(root, name, &[])) {
            stage.keep(Who::Nobody, &format!("{bind}{insert}")).await?;
        }
    }
    let Some(insert) = ground.insert_as(relation, name, &[]) else { return Ok(()) };
    if let Answer::Refused(_) = stage.keep(Who::Nobody, &format!("{bind}{insert}")).await? {
        return Ok(());
    }
    let id = typed(name, &column.type_name);
    let read =
        format!("SELECT 1 FROM {} WHERE {} = {id} LIMIT 1", relation.quoted(), ident(&column.name));
    let own = stage.attempt(Who::Nobody, &format!("{bind}{read}")).await?;
    let said = format!("its owner: {own}");
    let control = if own.count() > 0 { Control::held(said) } else { Control::failed(said) };
    for who in [Who::Attacker, Who::Nobody] {
        let seen = super::when_unset(&stage.attempt(who, &read).await?);
        let shown = format!("{insert}; as {}: {read}", stage.name(who));
        log.record(trial(&NAMED, stage, relation, &shown).judge(seen, control.clone()));
    }
    Ok(())
}
