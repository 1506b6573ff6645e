//! Policies that look at more than the tenant column, and what writes set off: every fault is found,
//! and what only looks like one is clean.

use partywall_prove::{Exit, postgres::Options};

use crate::{
    harness::{bench, line, open},
    planted::{SHOP, options},
};

const MINE: &str = "nullif(current_setting('shop.tenant', true), '')";

/// A walled table; `{mine}` is the session's tenant.
const WALLED: &str = "
    ALTER TABLE shop.extra OWNER TO {db}_owner;
    ALTER TABLE shop.extra ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
    CREATE POLICY wall ON shop.extra USING (tenant_id = {mine});
    GRANT SELECT, INSERT, UPDATE, DELETE ON shop.extra TO {db}_app;";

/// Each fault, the statements that plant it, and the trial that must leak.
const FAULTS: &[(&str, &str, &str)] = &[
    (
        "open when public",
        "ALTER TABLE shop.files ADD is_public bool NOT NULL DEFAULT false;
         ALTER POLICY wall ON shop.files USING (tenant_id = {mine} OR is_public) WITH CHECK (tenant_id = {mine})",
        "postgres.read-kind@shop.files",
    ),
    (
        "open when deleted",
        "ALTER TABLE shop.files ADD deleted_at timestamptz;
         ALTER POLICY wall ON shop.files USING (tenant_id = {mine} OR deleted_at IS NOT NULL) WITH CHECK (tenant_id = {mine})",
        "postgres.read-kind@shop.files",
    ),
    (
        "open when big",
        "ALTER POLICY wall ON shop.files USING (tenant_id = {mine} OR size > 2000000000)",
        "postgres.read-kind@shop.files",
    ),
    (
        "may be written to as a guest",
        "ALTER TABLE shop.files ADD guests text[] NOT NULL DEFAULT ARRAY[]::text[];
         ALTER POLICY wall ON shop.files USING (tenant_id = {mine}) WITH CHECK (tenant_id = {mine} OR {mine} = ANY (guests))",
        "postgres.insert-kind@shop.files",
    ),
    (
        "shares that whoever takes part may write",
        "CREATE TABLE shop.extra (tenant_id text, of_tenant text, path text, PRIMARY KEY (tenant_id, of_tenant, path)); {walled}
         ALTER POLICY wall ON shop.files USING (tenant_id = {mine} OR EXISTS (SELECT FROM shop.extra s WHERE s.of_tenant = files.tenant_id AND s.path = files.path)) WITH CHECK (tenant_id = {mine})",
        "postgres.lookup@shop.files",
    ),
    (
        "staff by a flag of one's own",
        "CREATE TABLE shop.extra (tenant_id text, id text, staff bool NOT NULL DEFAULT false, PRIMARY KEY (tenant_id, id)); {walled}
         ALTER POLICY wall ON shop.files USING (tenant_id = {mine} OR EXISTS (SELECT FROM shop.extra WHERE staff)) WITH CHECK (tenant_id = {mine})",
        "postgres.lookup@shop.files",
    ),
    (
        "partners behind a function",
        "CREATE TABLE shop.extra (tenant_id text, partner text, PRIMARY KEY (tenant_id, partner)); {walled}
         CREATE FUNCTION shop.trusts(t text) RETURNS bool STABLE SECURITY DEFINER LANGUAGE sql SET search_path = pg_catalog
           AS $$SELECT EXISTS (SELECT FROM shop.extra WHERE partner = t AND tenant_id = {mine})$$;
         ALTER POLICY wall ON shop.files USING (tenant_id = {mine} OR shop.trusts(tenant_id)) WITH CHECK (tenant_id = {mine})",
        "postgres.lookup@shop.files",
    ),
    (
        "a tenant above all",
        "ALTER POLICY wall ON shop.files USING (tenant_id = {mine} OR {mine} = 'admin')",
        "postgres.named-tenant@shop.files",
    ),
    (
        "a tenant of everybody's",
        "ALTER POLICY wall ON shop.files USING (tenant_id = coalesce({mine}, 'default'))",
        "postgres.named-tenant@shop.files",
    ),
    (
        "all rows can be taken",
        "DROP POLICY wall ON shop.files; CREATE POLICY r ON shop.files FOR SELECT USING (tenant_id = {mine});
         CREATE POLICY i ON shop.files FOR INSERT WITH CHECK (tenant_id = {mine});
         CREATE POLICY d ON shop.files FOR DELETE USING (tenant_id = {mine});
         CREATE POLICY u ON shop.files FOR UPDATE USING (true) WITH CHECK (tenant_id = {mine})",
        "postgres.take@shop.files",
    ),
    (
        "all rows can be deleted",
        "DROP POLICY wall ON shop.files; CREATE POLICY r ON shop.files FOR SELECT USING (tenant_id = {mine});
         CREATE POLICY i ON shop.files FOR INSERT WITH CHECK (tenant_id = {mine});
         CREATE POLICY d ON shop.files FOR DELETE USING (true)",
        "postgres.delete-bare@shop.files",
    ),
    (
        "a trigger that goes by the path alone",
        "CREATE FUNCTION shop.once() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
           AS 'BEGIN DELETE FROM shop.files WHERE path = NEW.path; RETURN NEW; END';
         CREATE TRIGGER once BEFORE INSERT ON shop.files FOR EACH ROW EXECUTE FUNCTION shop.once()",
        "postgres.trigger@shop.files",
    ),
    (
        "a trigger that copies the others' into one's own",
        "ALTER TABLE shop.files ADD known text; CREATE FUNCTION shop.known() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
           AS $$BEGIN NEW.known := (SELECT string_agg(email, ',') FROM shop.customers); RETURN NEW; END$$;
         CREATE TRIGGER known BEFORE UPDATE ON shop.files FOR EACH ROW EXECUTE FUNCTION shop.known()",
        "postgres.trigger@shop.files",
    ),
    (
        "a partition that may be emptied, and not read",
        "CREATE TABLE shop.events (tenant_id text NOT NULL, at date NOT NULL) PARTITION BY RANGE (at);
         CREATE TABLE shop.events_all PARTITION OF shop.events FOR VALUES FROM (MINVALUE) TO (MAXVALUE);
         ALTER TABLE shop.events ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
         CREATE POLICY wall ON shop.events USING (tenant_id = {mine});
         GRANT SELECT, INSERT ON shop.events TO {db}_app; GRANT INSERT, DELETE ON shop.events_all TO {db}_app",
        "postgres.part@shop.events_all",
    ),
    (
        "a log of all tenants, declared to be everybody's",
        "CREATE TABLE shop.log (what jsonb); GRANT SELECT ON shop.log TO {db}_app;
         CREATE FUNCTION shop.note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
           AS 'BEGIN INSERT INTO shop.log VALUES (to_jsonb(NEW)); RETURN NEW; END';
         CREATE TRIGGER note AFTER INSERT ON shop.files FOR EACH ROW EXECUTE FUNCTION shop.note()",
        "postgres.derived@shop.log",
    ),
    (
        "a view that joins others' rows to one's own",
        "CREATE VIEW shop.beside AS SELECT f.tenant_id, f.path, o.id FROM shop.files f LEFT JOIN shop.orders o ON true WHERE f.tenant_id = {mine};
         GRANT SELECT ON shop.beside TO {db}_app",
        "postgres.derived@shop.beside",
    ),
    (
        "a function that becomes whom it is told",
        "CREATE FUNCTION shop.files_of(t text) RETURNS SETOF shop.files LANGUAGE plpgsql
           AS $$BEGIN PERFORM set_config('shop.tenant', t, true); RETURN QUERY SELECT * FROM shop.files; END$$",
        "postgres.function@shop.files_of",
    ),
    (
        "case folded by the type, in the third table",
        "CREATE EXTENSION citext; DROP POLICY wall ON shop.files; ALTER TABLE shop.files ALTER tenant_id TYPE citext;
         CREATE POLICY wall ON shop.files USING (tenant_id = {mine}::citext)",
        "postgres.id-alike@shop.files",
    ),
    (
        "a unique key that may be empty",
        "ALTER TABLE shop.files ADD slug text; CREATE UNIQUE INDEX ON shop.files (slug)",
        "postgres.unique@shop.files",
    ),
];

fn filled(sql: &str) -> String {
    sql.replace("{walled}", WALLED).replace("{mine}", MINE)
}

#[tokio::test]
async fn m24_what_a_row_or_an_own_row_elsewhere_opens_is_found() {
    let Some(bench) = bench() else { return };
    for (fault, sql, must_see) in FAULTS {
        let shop = bench.database(SHOP).await;
        shop.run(&filled(sql)).await;
        let mut options = options();
        options.shared.extend(fault.contains("declared").then(|| "shop.log".to_owned()));
        let run = shop.prove(&shop.as_role("{db}_app"), &options).await.unwrap();
        let seen: Vec<String> = run.trials.iter().map(line).collect();
        let caught = seen.iter().any(|line| line.starts_with(&format!("{must_see}: leaked")));
        assert!(caught, "{fault}: {must_see} was not seen to leak\n{}", seen.join("\n"));
        assert_eq!(run.exit(), Exit::Leaked, "{fault}");
    }
}

/// What is no fault, though a policy looks at more than the tenant.
const CLEAN: &[(&str, &str)] = &[
    (
        "narrowed by a flag",
        "ALTER TABLE shop.files ADD hidden bool NOT NULL DEFAULT false, ADD deleted_at timestamptz;
         ALTER POLICY wall ON shop.files USING (tenant_id = {mine} AND deleted_at IS NULL AND (NOT hidden OR size < 10))",
    ),
    (
        "partners that the giving side writes",
        "CREATE TABLE shop.extra (tenant_id text, guest text, PRIMARY KEY (tenant_id, guest)); {walled}
         CREATE POLICY seen ON shop.extra FOR SELECT USING (guest = {mine});
         ALTER POLICY wall ON shop.files USING (tenant_id = {mine} OR EXISTS (SELECT FROM shop.extra s WHERE s.tenant_id = files.tenant_id AND s.guest = {mine})) WITH CHECK (tenant_id = {mine})",
    ),
    (
        "only for members, who come later in the alphabet",
        "CREATE TABLE shop.extra (tenant_id text, id text, PRIMARY KEY (tenant_id, id)); {walled} ALTER TABLE shop.extra RENAME TO members;
         ALTER POLICY wall ON shop.files USING (tenant_id = {mine} AND EXISTS (SELECT FROM shop.members))",
    ),
    (
        "a trigger that keeps to the tenant",
        "CREATE FUNCTION shop.once() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
           AS 'BEGIN DELETE FROM shop.files WHERE path = NEW.path AND tenant_id = NEW.tenant_id; RETURN NEW; END';
         CREATE TRIGGER once BEFORE INSERT ON shop.files FOR EACH ROW EXECUTE FUNCTION shop.once()",
    ),
];

#[tokio::test]
async fn m24_a_policy_that_narrows_by_more_than_the_tenant_is_clean() {
    let Some(bench) = bench() else { return };
    for (what, sql) in CLEAN {
        let shop = bench.database(SHOP).await;
        shop.run(&filled(sql)).await;
        let run = shop.prove(&shop.as_role("{db}_app"), &options()).await.unwrap();
        assert_eq!(open(&run), Vec::<String>::new(), "{what}");
    }
}

#[tokio::test]
async fn m24_a_cursor_and_an_unreadable_shared_table_are_undecided() {
    let Some(bench) = bench() else { return };
    for (sql, must_see) in [
        (
            "CREATE FUNCTION shop.cur() RETURNS refcursor LANGUAGE plpgsql SECURITY DEFINER
               AS $$DECLARE c refcursor; BEGIN OPEN c FOR SELECT * FROM shop.files; RETURN c; END$$",
            "postgres.function@shop.cur: undecided",
        ),
        ("GRANT DELETE ON shop.countries TO {db}_app; REVOKE SELECT ON shop.countries FROM {db}_app", "postgres.shared-write@shop.countries: undecided"),
    ] {
        let shop = bench.database(SHOP).await;
        shop.run(sql).await;
        let run = shop.prove(&shop.as_role("{db}_app"), &options()).await.unwrap();
        assert!(open(&run).iter().any(|line| line.starts_with(must_see)), "{:#?}", open(&run));
        assert_eq!(run.exit(), Exit::Undecided);
    }
}

/// What somebody with SQL of their own may do, at a wall of a role per tenant.
const INJECTED: &[(&str, &str, &str)] = &[
    (
        "a flag that opens",
        "ALTER POLICY wall ON w.files USING (tenant_id = session_user OR current_setting('app.support', true) = 'on')",
        "postgres.context-set@w.files",
    ),
    (
        "an application's name that opens",
        "ALTER POLICY wall ON w.files USING (tenant_id = session_user OR current_setting('application_name') = 'support')",
        "postgres.context-set@w.files",
    ),
    (
        "may put triggers",
        "GRANT TRIGGER ON w.files TO {db}_a, {db}_b",
        "postgres.own-trigger@w.files",
    ),
    (
        "may become the owner",
        "ALTER ROLE {db}_a NOINHERIT; GRANT {db}_owner TO {db}_a",
        "postgres.alter-wall@w.files",
    ),
    (
        "owns a function the policy calls",
        "CREATE FUNCTION w.me() RETURNS text STABLE LANGUAGE sql AS 'SELECT session_user::text'; ALTER FUNCTION w.me() OWNER TO {db}_a; ALTER POLICY wall ON w.files USING (tenant_id = w.me() AND tenant_id = session_user)",
        "postgres.alter-wall@w.files",
    ),
];

const ROLES: &str = "
    CREATE ROLE {db}_owner; CREATE ROLE {db}_a LOGIN; CREATE ROLE {db}_b LOGIN;
    REVOKE TEMP ON DATABASE {db} FROM PUBLIC;
    CREATE SCHEMA w AUTHORIZATION {db}_owner; GRANT USAGE ON SCHEMA w TO {db}_a, {db}_b;
    SET ROLE {db}_owner;
    CREATE TABLE w.files (tenant_id text DEFAULT session_user, path text, PRIMARY KEY (tenant_id, path));
    ALTER TABLE w.files ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
    CREATE POLICY wall ON w.files USING (tenant_id = session_user);
    GRANT SELECT, INSERT, UPDATE, DELETE ON w.files TO {db}_a, {db}_b;
    RESET ROLE;";

#[tokio::test]
async fn t06_what_sql_of_ones_own_opens_beside_the_context_is_found() {
    let Some(bench) = bench() else { return };
    let clean = [("none", "", "")];
    for (fault, sql, must_see) in clean.iter().chain(INJECTED) {
        let database = bench.database(ROLES).await;
        database.run(sql).await;
        let tenants = ["a", "b"].map(|tenant| format!("{}_{tenant}", database.name));
        let options = Options { tenants: Some(tenants), ..Options::default() };
        let run = database.prove(&database.admin(), &options).await.unwrap();
        if must_see.is_empty() {
            assert_eq!(open(&run), Vec::<String>::new());
            continue;
        }
        let leaked = format!("{must_see}: leaked");
        let caught = open(&run).iter().any(|line| line.starts_with(&leaked));
        assert!(caught, "{fault}: {must_see} was not seen to leak\n{:#?}", open(&run));
    }
}
