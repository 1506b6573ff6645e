//! Schemas of other people's making: the clean ones are clean, every fault planted in them is found.

use partywall_prove::{
    Exception, Exit, Run, Trial, Verdict,
    postgres::{Adversary, Options, Setting},
};

use crate::harness::{bench, line, open};

/// Nobody runs SQL of their own.
fn parameters() -> Options {
    Options { adversary: Adversary::Parameters, ..Options::default() }
}

fn shared(tables: &[&str]) -> Options {
    Options { shared: tables.iter().map(|table| (*table).to_owned()).collect(), ..parameters() }
}

/// What such schemas have by nature, and who has one declares: keys that all tenants share tell
/// somebody who guesses one that it is taken.
fn declared() -> Vec<Exception> {
    vec!["postgres.unique=that a row exists is no secret".parse().unwrap()]
}

/// What is neither blocked nor declared.
fn undeclared(run: &Run) -> Vec<String> {
    let tried = |trial: &&Trial| trial.verdict != Verdict::NotTested;
    let bad = |trial: &&Trial| trial.verdict != Verdict::Blocked && trial.accepted.is_none();
    run.trials.iter().filter(tried).filter(bad).map(line).collect()
}

/// A fault: what it is called, how it is planted, and the trial that must leak.
type Fault = (&'static str, &'static str, &'static str);

async fn each_is_found(sql: &str, faults: &[Fault], options: &Options) {
    let Some(bench) = bench() else { return };
    for (fault, plant, must_see) in faults {
        let database = bench.database(sql).await;
        database.run(plant).await;
        let run = database.prove(&database.admin(), options).await.unwrap();
        let must_see = must_see.replace("{db}", &database.name);
        let leaked = |trial: &&partywall_prove::Trial| trial.verdict == Verdict::Leaked;
        let leaks: Vec<String> = run.trials.iter().filter(leaked).map(line).collect();
        assert!(
            leaks.iter().any(|leak| leak.starts_with(&must_see)),
            "{fault}: {must_see} was not seen to leak\n{}\n{:#?}",
            open(&run).join("\n"),
            run.notes
        );
        assert_eq!(run.exit(), Exit::Leaked, "{fault}");
    }
}

const SET_LOCAL: &str = include_str!("worlds/set_local.sql");

#[tokio::test]
async fn m24_a_wall_of_set_local_is_clean_while_nobody_injects() {
    let Some(bench) = bench() else { return };
    let database = bench.database(SET_LOCAL).await;
    let options = shared(&["app.plan"]);
    // Not the application's, for that may not make tenants.
    let run = database.accept(&database.admin(), &options, declared()).await.unwrap();
    assert_eq!(undeclared(&run), Vec::<String>::new(), "{:#?}", run.notes);
    assert_eq!(run.exit(), Exit::Proven);
    assert_eq!(database.number("SELECT count(*) FROM app.tenant").await, 0);
}

const SET_LOCAL_FAULTS: &[Fault] = &[
    (
        "row security forgotten on a table",
        "ALTER TABLE app.comment DISABLE ROW LEVEL SECURITY",
        "postgres.read@app.comment",
    ),
    (
        "the application owns a table that does not force",
        "ALTER TABLE app.project OWNER TO {db}_saas; ALTER TABLE app.project NO FORCE ROW LEVEL SECURITY",
        "postgres.read@app.project",
    ),
    (
        "fails open when the tenant is unset",
        "ALTER POLICY tenant_isolation ON app.project USING (tenant_id = coalesce(nullif(current_setting('app.current_tenant', true), '')::uuid, tenant_id))",
        "postgres.read-unset@app.project",
    ),
    (
        "an admin's policy for everybody",
        "CREATE POLICY admin_all ON app.tenant_user USING (true)",
        "postgres.read@app.tenant_user",
    ),
    (
        "WITH CHECK (true)",
        "ALTER POLICY tenant_isolation ON app.comment WITH CHECK (true)",
        "postgres.insert@app.comment",
    ),
    (
        "a policy for UPDATE that checks nothing new",
        "CREATE POLICY edit ON app.project FOR UPDATE USING (tenant_id = nullif(current_setting('app.current_tenant', true), '')::uuid) WITH CHECK (title IS NOT NULL)",
        "postgres.move-bare@app.project",
    ),
    (
        "a view with its owner's rights",
        "ALTER VIEW app.open_projects SET (security_invoker = false); ALTER VIEW app.open_projects OWNER TO postgres",
        "postgres.read@app.open_projects",
    ),
    (
        "BYPASSRLS for the application",
        "ALTER ROLE {db}_saas BYPASSRLS; GRANT {db}_saas TO {db}_owner",
        "postgres.read@app.comment",
    ),
    (
        "a table made after the migration that walls",
        "CREATE TABLE app.attachment (id bigserial PRIMARY KEY, tenant_id uuid NOT NULL, path text NOT NULL); GRANT ALL ON app.attachment TO {db}_saas; GRANT USAGE ON SEQUENCE app.attachment_id_seq TO {db}_saas",
        "postgres.read@app.attachment",
    ),
    (
        "deleting is not compared",
        "CREATE POLICY cleanup ON app.comment FOR DELETE USING (true); CREATE POLICY seen ON app.comment FOR SELECT USING (true)",
        "postgres.delete@app.comment",
    ),
];

#[tokio::test]
async fn m24_faults_of_a_set_local_wall_are_found() {
    let options = shared(&["app.plan"]);
    let (bypassing, others): (Vec<Fault>, Vec<Fault>) =
        SET_LOCAL_FAULTS.iter().partition(|(fault, ..)| fault.starts_with("BYPASSRLS"));
    each_is_found(SET_LOCAL, &others, &options).await;
    let Some(bench) = bench() else { return };
    // A role that no wall holds is never guessed, only named or connected as.
    for (fault, plant, must_see) in bypassing {
        let database = bench.database(SET_LOCAL).await;
        database.run(plant).await;
        let options = Options { role: Some(format!("{}_saas", database.name)), ..options.clone() };
        let run = database.prove(&database.admin(), &options).await.unwrap();
        assert!(
            open(&run).iter().any(|line| line.starts_with(&format!("{must_see}: leaked"))),
            "{fault}"
        );
    }
}

const SUPABASE: &str = include_str!("worlds/supabase.sql");
const SUPABASE_ORGS: &str = include_str!("worlds/supabase_orgs.sql");

#[tokio::test]
async fn m24_a_supabase_project_is_clean_while_nobody_injects() {
    let Some(bench) = bench() else { return };
    let database = bench.database(SUPABASE).await;
    let run = database.accept(&database.admin(), &parameters(), declared()).await.unwrap();
    assert_eq!(undeclared(&run), Vec::<String>::new(), "{:#?}", run.notes);
    assert_eq!(run.exit(), Exit::Proven);
    let fact = |name: &str| run.subject.facts.iter().find(|(n, _)| n == name).unwrap().1.clone();
    assert_eq!(fact("role"), format!("{}_authenticated", database.name));
    assert_eq!(fact("tenant told by"), "settings request.jwt.claims");
    // The visitor's role is tried, too.
    assert!(run.trials.iter().any(|trial| trial.attack == "postgres.read-as"));
    assert_eq!(database.number("SELECT count(*) FROM auth.users").await, 0);
}

#[tokio::test]
async fn m24_a_supabase_project_is_attacked_through_its_own_login() {
    let Some(bench) = bench() else { return };
    let database = bench.database(SUPABASE).await;
    let (a, b) = ("00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002");
    database.run(&format!("INSERT INTO auth.users (id) VALUES ('{a}'), ('{b}')")).await;
    let options = Options { tenants: Some([a.to_owned(), b.to_owned()]), ..parameters() };
    let login = database.as_role("{db}_authenticator");
    let run = database.accept(&login, &options, declared()).await.unwrap();
    assert_eq!(undeclared(&run), Vec::<String>::new(), "{:#?}", run.notes);
    assert_eq!(run.exit(), Exit::Proven);
}

const SUPABASE_FAULTS: &[Fault] = &[
    (
        "row security forgotten on a table of the public schema",
        "ALTER TABLE public.notes DISABLE ROW LEVEL SECURITY",
        "postgres.read@public.notes",
    ),
    (
        "a policy USING (true) for visitors",
        "CREATE POLICY \"Public\" ON public.todos FOR SELECT TO {db}_anon USING (true)",
        "postgres.read-as@public.todos",
    ),
    (
        "a policy that names no role, and is true",
        "CREATE POLICY \"Enable read access for all users\" ON public.profiles FOR SELECT USING (true)",
        "postgres.read@public.profiles",
    ),
    (
        "any signed-in user may",
        "CREATE POLICY \"Signed in\" ON public.notes TO {db}_authenticated USING (auth.uid() IS NOT NULL)",
        "postgres.update@public.notes",
    ),
    (
        "no WITH CHECK worth its name on UPDATE",
        "ALTER POLICY \"Individuals can update their own todos\" ON public.todos WITH CHECK (true)",
        "postgres.move-bare@public.todos",
    ),
    (
        "no WITH CHECK worth its name on INSERT",
        "ALTER POLICY \"Individuals can create todos\" ON public.todos WITH CHECK (auth.uid() IS NOT NULL)",
        "postgres.insert@public.todos",
    ),
    (
        "user_metadata trusted (C5)",
        "CREATE POLICY \"Team\" ON public.notes FOR SELECT TO {db}_authenticated USING (user_id = (auth.jwt() -> 'user_metadata' ->> 'team')::uuid)",
        "postgres.user-metadata@public.notes",
    ),
    (
        "a view with its owner's rights",
        "ALTER VIEW public.open_todos RESET (security_invoker)",
        "postgres.read@public.open_todos",
    ),
    (
        "signed out is everybody",
        "ALTER POLICY \"Own files\" ON storage.objects USING (auth.uid() IS NULL OR auth.uid() = user_id)",
        "postgres.read-unset@storage.objects",
    ),
];

#[tokio::test]
async fn m24_faults_of_a_supabase_project_are_found() {
    each_is_found(SUPABASE, SUPABASE_FAULTS, &parameters()).await;
    // The service key's role used for requests.
    let Some(bench) = bench() else { return };
    let database = bench.database(SUPABASE).await;
    let service = Options { role: Some(format!("{}_service_role", database.name)), ..parameters() };
    let run = database.prove(&database.admin(), &service).await.unwrap();
    assert!(open(&run).iter().any(|line| line.starts_with("postgres.read@public.todos: leaked")));
}

/// Users are of organisations: what a session says is the user, what a row says the organisation.
fn organisations() -> Options {
    Options {
        setup: Some(
            "INSERT INTO auth.users (id) VALUES ('{user}');
             INSERT INTO organizations (id, name) VALUES ('{tenant}', 'Organisation {tenant}');
             INSERT INTO memberships VALUES ('{user}', '{tenant}', 'member')"
                .to_owned(),
        ),
        settings: vec![r#"request.jwt.claims={"sub":"{user}"}"#.parse::<Setting>().unwrap()],
        tenant_columns: vec![
            "public.organizations:id".parse().unwrap(),
            "public.memberships:org_id".parse().unwrap(),
            "public.documents:org_id".parse().unwrap(),
        ],
        schemas: vec!["public".to_owned()],
        ..parameters()
    }
}

#[tokio::test]
async fn m24_members_of_organisations_are_told_from_organisations() {
    let Some(bench) = bench() else { return };
    let database = bench.database(SUPABASE).await;
    // A project has its rows by user or by organisation; what is by user was looked at above.
    database.run("DROP TABLE public.profiles, public.todos, public.notes CASCADE").await;
    database.run(SUPABASE_ORGS).await;
    let run = database.accept(&database.admin(), &organisations(), declared()).await.unwrap();
    assert_eq!(undeclared(&run), Vec::<String>::new(), "{:#?}", run.notes);
    assert_eq!(run.exit(), Exit::Proven);
    assert_eq!(database.number("SELECT count(*) FROM auth.users").await, 0);
    // A helper that forgets to ask who is asking.
    database
        .run("CREATE OR REPLACE FUNCTION private.my_orgs() RETURNS SETOF uuid LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$ SELECT org_id FROM public.memberships $$")
        .await;
    let run = database.accept(&database.admin(), &organisations(), declared()).await.unwrap();
    assert!(
        open(&run).iter().any(|line| line.starts_with("postgres.read@public.documents: leaked"))
    );
}

const SCHEMAS: &str = include_str!("worlds/schemas.sql");

fn two_schemas() -> Options {
    shared(&["customers_client", "customers_domain"])
}

#[tokio::test]
async fn m24_a_schema_and_a_role_per_tenant_is_clean_even_with_injection() {
    let Some(bench) = bench() else { return };
    let database = bench.database(SCHEMAS).await;
    for adversary in [Adversary::Parameters, Adversary::SqlInjection] {
        let options = Options { adversary, ..two_schemas() };
        let run = database.accept(&database.admin(), &options, declared()).await.unwrap();
        assert_eq!(undeclared(&run), Vec::<String>::new(), "{:#?}", run.notes);
        assert_eq!(run.exit(), Exit::Proven);
    }
    assert_eq!(database.number("SELECT count(*) FROM acme.invoice").await, 0);
}

#[tokio::test]
async fn m24_a_search_path_alone_is_no_wall() {
    let Some(bench) = bench() else { return };
    let database = bench.database(SCHEMAS).await;
    // As those frameworks come: one login with all rights.
    database
        .run("GRANT USAGE ON SCHEMA acme, acme_eu, globex TO {db}_router; GRANT ALL ON ALL TABLES IN SCHEMA acme, acme_eu, globex TO {db}_router; GRANT USAGE ON ALL SEQUENCES IN SCHEMA acme, acme_eu, globex TO {db}_router; REVOKE {db}_acme, {db}_acme_eu, {db}_globex FROM {db}_router")
        .await;
    let options = Options { adversary: Adversary::SqlInjection, ..two_schemas() };
    let run = database.prove(&database.as_role("{db}_router"), &options).await.unwrap();
    assert_eq!(run.exit(), Exit::Leaked);
    let leaks = open(&run);
    for attack in ["read", "insert", "update", "delete", "schema-path", "read-unset"] {
        let leak = format!("postgres.{attack}@acme.invoice: leaked");
        assert!(leaks.iter().any(|line| line.starts_with(&leak)), "{leak}\n{}", leaks.join("\n"));
    }
}

const SCHEMAS_FAULTS: &[Fault] = &[
    (
        "USAGE and SELECT for everybody",
        "GRANT USAGE ON SCHEMA acme_eu TO PUBLIC; GRANT SELECT ON ALL TABLES IN SCHEMA acme_eu TO PUBLIC",
        "postgres.read@acme_eu.invoice",
    ),
    (
        "one table given to the wrong tenant",
        "GRANT USAGE ON SCHEMA acme TO {db}_acme_eu; GRANT INSERT, SELECT ON acme.invoice TO {db}_acme_eu; GRANT USAGE ON SEQUENCE acme.invoice_id_seq TO {db}_acme_eu",
        "postgres.insert@acme.invoice",
    ),
    (
        "a tenant's role is a member of another's",
        "GRANT {db}_acme TO {db}_acme_eu",
        "postgres.delete@acme.auth_user",
    ),
    (
        "a table was made with everybody's rights by default",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA acme GRANT ALL ON TABLES TO PUBLIC; CREATE TABLE acme.payment (id bigserial PRIMARY KEY, iban text NOT NULL); GRANT USAGE ON SCHEMA acme TO PUBLIC; GRANT USAGE ON SEQUENCE acme.payment_id_seq TO {db}_acme",
        "postgres.read@acme.payment",
    ),
    (
        "everybody may create in public",
        "GRANT CREATE ON SCHEMA public TO PUBLIC",
        "postgres.schema-create@public",
    ),
    (
        "a tenant may create in another's schema",
        "GRANT USAGE, CREATE ON SCHEMA acme TO {db}_acme_eu",
        "postgres.schema-create@acme",
    ),
    (
        "the third tenant's role strays",
        "GRANT USAGE ON SCHEMA acme TO {db}_globex; GRANT SELECT ON acme.invoice TO {db}_globex",
        "postgres.schema-stray@acme, globex",
    ),
    (
        "reading across for a report",
        "GRANT USAGE ON SCHEMA acme, acme_eu TO {db}_acme, {db}_acme_eu; GRANT SELECT ON acme.unpaid, acme_eu.unpaid TO {db}_acme, {db}_acme_eu",
        "postgres.read@acme.unpaid",
    ),
    (
        "the search path reaches it",
        "GRANT USAGE ON SCHEMA acme TO {db}_acme_eu; GRANT SELECT ON acme.invoice TO {db}_acme_eu",
        "postgres.schema-path@acme.invoice",
    ),
];

#[tokio::test]
async fn m24_faults_of_a_schema_per_tenant_are_found() {
    let options = Options { adversary: Adversary::SqlInjection, ..two_schemas() };
    each_is_found(SCHEMAS, SCHEMAS_FAULTS, &options).await;
}

/// A role per tenant, and policies that compare its name.
const ROLES: &str = "
    CREATE ROLE {db}_tenants;
    CREATE TABLE public.letters (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
                                 tenant name NOT NULL DEFAULT current_user, body text NOT NULL);
    ALTER TABLE public.letters ENABLE ROW LEVEL SECURITY;
    CREATE POLICY own ON public.letters USING (tenant = current_user);
    GRANT SELECT, INSERT, UPDATE, DELETE ON public.letters TO {db}_tenants;";

#[tokio::test]
async fn m24_a_role_per_tenant_is_attacked_with_two_roles() {
    let Some(bench) = bench() else { return };
    let existing = "CREATE ROLE {db}_ann LOGIN IN ROLE {db}_tenants; CREATE ROLE {db}_bob LOGIN IN ROLE {db}_tenants;";
    // Made up where there are none, for the one transaction.
    for (roles, login) in [
        ("", None),
        (existing, None),
        (
            existing,
            Some("CREATE ROLE {db}_login LOGIN NOINHERIT; GRANT {db}_ann, {db}_bob TO {db}_login;"),
        ),
    ] {
        let database = bench.database(ROLES).await;
        database.run(&format!("{roles}{}", login.unwrap_or_default())).await;
        let address = match login {
            Some(_) => database.as_role("{db}_login"),
            None => database.admin(),
        };
        let run = database.accept(&address, &parameters(), declared()).await.unwrap();
        assert_eq!(undeclared(&run), Vec::<String>::new(), "{:#?}", run.notes);
        assert_eq!(run.exit(), Exit::Proven);
        database.run("ALTER POLICY own ON public.letters USING (tenant IS NOT NULL)").await;
        let run = database.accept(&address, &parameters(), declared()).await.unwrap();
        assert!(
            open(&run).iter().any(|line| line.starts_with("postgres.read@public.letters: leaked"))
        );
        assert_eq!(
            database.number("SELECT count(*) FROM pg_roles WHERE rolname ~ '^pw[0-9a-f]{8}'").await,
            0
        );
    }
}

#[tokio::test]
async fn m24_with_injection_a_setting_leaks_by_being_set() {
    let Some(bench) = bench() else { return };
    for (sql, login) in [(SET_LOCAL, "{db}_saas"), (SUPABASE, "{db}_authenticated")] {
        let database = bench.database(sql).await;
        let role = login.replace("{db}", &database.name);
        let options = Options {
            adversary: Adversary::SqlInjection,
            role: Some(role),
            ..shared(&["app.plan"])
        };
        let run = database.accept(&database.admin(), &options, declared()).await.unwrap();
        assert_eq!(run.exit(), Exit::Leaked);
        let open = undeclared(&run);
        assert!(open.iter().any(|line| line.starts_with("postgres.context-set@")), "{open:#?}");
        // What else there is needs EXPLAIN, and tells that a row exists.
        let known = ["postgres.context-", "postgres.rows-removed@"];
        let is_known = |line: &&String| known.iter().any(|known| line.starts_with(known));
        let others: Vec<&String> = open.iter().filter(|line| !is_known(line)).collect();
        assert_eq!(others, Vec::<&String>::new());
    }
}
