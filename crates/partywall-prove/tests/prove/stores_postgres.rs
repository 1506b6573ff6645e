//! The siege of the PostgreSQL store over two clusters, and of a twin that does what everybody does.

use std::{
    collections::BTreeMap,
    os::unix::fs::PermissionsExt as _,
    sync::{Arc, Mutex},
};

use partywall::{DeploymentModel, Store, StoreName, Target, TenantScope};
use partywall_postgres::{
    DerivedLogins, InitOptions, Postgres, Roles, TicketKey,
    local::{Cluster, ClusterOptions, find_binaries},
    provision, tenant_name,
};
use partywall_prove::{
    Observation, Verdict,
    stores::{
        Mistake, Resident,
        postgres::{ATTACKS, Plan, PostgresHandle, PostgresSiege, Spot, TicketMode},
    },
};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, postgres::PgConnectOptions};
use tempfile::TempDir;

use crate::stores::{Placed, assert_held, attacks_that, placement, places, residents, trials};

const TENANTS: &[Placed] = &[
    ("acme", DeploymentModel::Pool, "shared"),
    ("acme-2", DeploymentModel::Pool, "shared"),
    ("initech", DeploymentModel::Bridge, "bridge"),
    ("umbrella", DeploymentModel::Bridge, "bridge"),
    ("stark", DeploymentModel::Bridge, "schemas"),
    ("wayne", DeploymentModel::Bridge, "schemas"),
    ("hooli", DeploymentModel::Silo, "hooli"),
    ("piper", DeploymentModel::Silo, "piper"),
];

/// A cluster of one test's own; `None`, said aloud, where this machine has no server programs.
fn cluster() -> Option<(Cluster, TempDir)> {
    if find_binaries().is_none() {
        assert!(std::env::var_os("CI").is_none(), "CI must have PostgreSQL server programs");
        eprintln!("SKIPPED: no PostgreSQL server programs on this machine (postgresql)");
        return None;
    }
    let open = std::fs::Permissions::from_mode(0o711);
    let dir = tempfile::Builder::new().permissions(open).tempdir().unwrap();
    let cluster = Cluster::start(&ClusterOptions::new(dir.path().join("pg")).not_durable());
    Some((cluster.unwrap(), dir))
}

async fn run(options: &PgConnectOptions, sql: &str) {
    let mut conn = PgConnection::connect_with(options).await.unwrap();
    let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut conn).await;
    done.unwrap_or_else(|error| panic!("{error}\n{sql}"));
    conn.close().await.unwrap();
}

/// The store of every model over two clusters, and its tenants with a note each.
struct Walled {
    plan: Plan,
    store: Postgres,
    residents: Vec<Resident>,
    clusters: [(Cluster, TempDir); 2],
}

const SHARED_NOTES: &str = "CREATE TABLE public.notes (
    tenant_id text COLLATE \"C\" NOT NULL, id bigint GENERATED ALWAYS AS IDENTITY,
    body text NOT NULL, long boolean GENERATED ALWAYS AS (length(body) > 9) STORED,
    PRIMARY KEY (tenant_id, id));
    CREATE TABLE public.countries (code text PRIMARY KEY);
    INSERT INTO public.countries VALUES ('at');";
const OWN_NOTES: &str =
    "CREATE TABLE notes (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text NOT NULL)";

impl Walled {
    async fn new(mode: TicketMode) -> Option<Self> {
        let (shared, own) = (cluster()?, cluster()?);
        let (logins, roles) = (DerivedLogins::new("app", &[5; 32]), Roles::default());
        let key = TicketKey::from_bytes(&[7; 32]).unwrap();
        let slots = logins.for_slots(&roles, 4);
        run(&shared.0.superuser("postgres"), "CREATE DATABASE app").await;
        run(&shared.0.superuser("postgres"), "CREATE DATABASE schemas").await;
        run(&shared.0.superuser("schemas"), "REVOKE ALL ON DATABASE schemas FROM PUBLIC").await;
        run(&shared.0.superuser("app"), SHARED_NOTES).await;
        let mut admin = PgConnection::connect_with(&shared.0.superuser("app")).await.unwrap();
        let pack = InitOptions::new(roles.clone()).slots(4);
        let pack = pack.table("public.notes".parse().unwrap());
        provision::install(&mut admin, &pack).await.unwrap();
        provision::set_passwords(&mut admin, &slots).await.unwrap();
        provision::put_ticket_key(&mut admin, &roles, 1, &key).await.unwrap();
        let grant = "GRANT SELECT ON public.countries TO partywall_app";
        run(&shared.0.superuser("app"), grant).await;

        let residents = residents(TENANTS);
        for resident in &residents {
            let (context, id) = (&resident.context, resident.context.tenant());
            let login = logins.for_tenant(id);
            let at = placement(context, TENANTS);
            let (server, database) = match at.target.as_str() {
                "bridge" => (&shared.0, tenant_name("app", id)),
                "hooli" | "piper" => (&own.0, tenant_name("own", id)),
                "schemas" => {
                    let mut admin =
                        PgConnection::connect_with(&shared.0.superuser("schemas")).await.unwrap();
                    let schema = tenant_name("app", id);
                    provision::own_schema(&mut admin, &schema, &login).await.unwrap();
                    let notes = format!("SET search_path = {schema}; {OWN_NOTES}");
                    run(&shared.0.superuser("schemas"), &notes).await;
                    continue;
                }
                _ => continue,
            };
            let admin = server.superuser("postgres");
            provision::own_database(&admin, &database, id, &login).await.unwrap();
            run(&server.superuser(&database), OWN_NOTES).await;
        }
        let silo = |id: &str| {
            let tenant: partywall::TenantId = id.parse().unwrap();
            let (database, login) = (tenant_name("own", &tenant), logins.for_tenant(&tenant));
            Spot::Silo { tenant, server: own.0.address(), database, login }
        };
        let bridge = |database: Option<&str>| Spot::Bridge {
            server: shared.0.address(),
            database: database.map(str::to_owned),
            prefix: "app".to_owned(),
            logins: Arc::new(logins.clone()),
        };
        let server = shared.0.address();
        let pool = Spot::Pool { server, database: "app".to_owned(), key, slots, mode };
        let targets = [
            ("shared", pool),
            ("bridge", bridge(None)),
            ("schemas", bridge(Some("schemas"))),
            ("hooli", silo("hooli")),
            ("piper", silo("piper")),
        ];
        let targets = targets.map(|(name, spot)| (name.parse().unwrap(), spot)).into();
        let plan = Plan { name: "main".parse().unwrap(), targets };
        let store = plan.builder().connect().await.unwrap();
        for resident in &residents {
            let mut db = resident.context.open(&store).await.unwrap();
            let insert = "INSERT INTO notes (body) VALUES ($1)";
            let body = format!("secret of {}", resident.name);
            sqlx::query(insert).bind(body).execute(db.conn()).await.unwrap();
            db.commit().await.unwrap();
        }
        Some(Self { plan, store, residents, clusters: [shared, own] })
    }

    fn siege(&self) -> PostgresSiege<Postgres> {
        self.plan.clone().siege(self.store.clone(), vec!["public.countries".to_owned()])
    }

    async fn notes(&self) -> Vec<String> {
        let mut all = Vec::new();
        for resident in &self.residents {
            let mut db = resident.context.open(&self.store).await.unwrap();
            let rows = sqlx::query_scalar::<_, String>("SELECT body FROM notes");
            all.extend(rows.fetch_all(db.conn()).await.unwrap());
        }
        all
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn m24_the_postgres_wall_stands_between_every_pair_of_models() {
    let Some(walled) = Walled::new(TicketMode::Direct).await else { return };
    let before = walled.notes().await;
    let trials = trials(&walled.siege(), &walled.residents).await;
    let decided: Vec<_> =
        ATTACKS.iter().copied().filter(|a| a.id != "store.postgres.large-objects").collect();
    assert_held(&trials, &decided);
    let generic = attacks_that(&trials, Verdict::Blocked);
    for attack in ["store.read", "store.swapped-placement", "store.wrong-address"] {
        assert!(generic.contains(attack), "{attack} was decided nowhere");
    }
    let tried = places(&trials);
    for attacker in ["pool", "bridge", "silo"] {
        for victim in ["pool", "bridge", "silo"] {
            let place = format!("main: {attacker} → {victim}");
            assert!(tried.contains_key(&*place), "{place} was not tried: {tried:?}");
        }
    }
    // Nothing was kept of it, and no ticket is in the report.
    assert_eq!(walled.notes().await, before);
    assert_eq!(before.len(), TENANTS.len());
    assert!(trials.iter().all(|trial| !trial.tried.contains("set_config('partywall.ticket', '6")));
    walled.store.close().await;
    drop(walled.clusters);
}

#[tokio::test(flavor = "multi_thread")]
async fn m24_a_fault_in_the_pool_is_found_through_the_store() {
    let Some(walled) = Walled::new(TicketMode::Strict).await else { return };
    let pool = &walled.residents[..2];
    let clean = trials(&walled.siege(), pool).await;
    assert!(attacks_that(&clean, Verdict::Leaked).is_empty());
    let database = walled.clusters[0].0.superuser("app");
    for (plant, mend, caught_by) in [
        (
            "ALTER TABLE notes DISABLE ROW LEVEL SECURITY",
            "ALTER TABLE notes ENABLE ROW LEVEL SECURITY",
            "store.read",
        ),
        (
            "GRANT TRUNCATE ON notes TO partywall_app",
            "REVOKE TRUNCATE ON notes FROM partywall_app",
            "store.postgres.write",
        ),
        (
            "GRANT pg_read_all_stats TO partywall_app",
            "REVOKE pg_read_all_stats FROM partywall_app",
            "store.postgres.peek",
        ),
        (
            "GRANT pg_signal_backend TO partywall_app",
            "REVOKE pg_signal_backend FROM partywall_app",
            "store.postgres.terminate",
        ),
        (
            "GRANT pg_read_all_data TO partywall_app",
            "REVOKE pg_read_all_data FROM partywall_app",
            "store.postgres.role",
        ),
    ] {
        run(&database, plant).await;
        let caught = trials(&walled.siege(), pool).await;
        let leaked = attacks_that(&caught, Verdict::Leaked);
        assert!(leaked.contains(caught_by), "{plant}: {caught_by} did not see it: {leaked:?}");
        run(&database, mend).await;
    }
    let mended = trials(&walled.siege(), pool).await;
    assert!(attacks_that(&mended, Verdict::Leaked).is_empty());
}

/// What everybody does: one login for all, a setting that says who one is, a policy that goes by
/// it, sessions handed on as they are; a database apart for whoever pays for it.
#[derive(Clone)]
struct Naive {
    name: StoreName,
    server: PgConnectOptions,
    databases: BTreeMap<Target, String>,
    idle: Arc<Mutex<Vec<(String, PgConnection)>>>,
}

struct NaiveHandle {
    conn: Option<PgConnection>,
    database: String,
    idle: Arc<Mutex<Vec<(String, PgConnection)>>>,
}

impl Store for Naive {
    type Handle = NaiveHandle;
    type Error = sqlx::Error;

    fn name(&self) -> &StoreName {
        &self.name
    }

    async fn open(&self, scope: TenantScope<'_>) -> Result<NaiveHandle, sqlx::Error> {
        let database = self.databases.get(&scope.placement().target);
        let database = database.cloned().unwrap_or_else(|| "app".to_owned());
        let kept = {
            let mut idle = self.idle.lock().unwrap();
            let at = idle.iter().position(|(of, _)| *of == database);
            at.map(|at| idle.remove(at).1)
        };
        let mut conn = match kept {
            Some(conn) => conn,
            None => {
                let options = self.server.clone().database(&database).username("app");
                PgConnection::connect_with(&options.password("app")).await?
            }
        };
        let bind = format!(
            "ROLLBACK; BEGIN; SELECT pg_catalog.set_config('partywall.ticket', '{}', true)",
            scope.tenant()
        );
        sqlx::raw_sql(AssertSqlSafe(bind)).execute(&mut conn).await?;
        Ok(NaiveHandle { conn: Some(conn), database, idle: self.idle.clone() })
    }
}

impl Drop for NaiveHandle {
    fn drop(&mut self) {
        if let Some(conn) = self.conn.take() {
            self.idle.lock().unwrap().insert(0, (self.database.clone(), conn));
        }
    }
}

impl PostgresHandle for NaiveHandle {
    fn conn(&mut self) -> &mut PgConnection {
        self.conn.as_mut().unwrap()
    }

    fn refusal(error: &(dyn std::error::Error + 'static)) -> Observation {
        Observation::unclear(error.to_string())
    }
}

const NAIVE: &str = "
    CREATE ROLE owner;
    CREATE ROLE app LOGIN PASSWORD 'app';
    GRANT owner, pg_execute_server_program TO app;
    CREATE TABLE notes (tenant_id text, id bigint, body text, PRIMARY KEY (tenant_id, id));
    ALTER TABLE notes OWNER TO owner;
    INSERT INTO notes VALUES ('acme', 1, 'secret of acme'), ('acme-2', 2, 'secret of acme-2');
    GRANT ALL ON notes TO app;
    ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
    ALTER TABLE notes FORCE ROW LEVEL SECURITY;
    CREATE POLICY tenant ON notes TO app
        USING (tenant_id = coalesce(nullif(current_setting('partywall.ticket', true), ''), tenant_id))
        WITH CHECK (true);
    CREATE EXTENSION postgres_fdw;
    GRANT USAGE ON FOREIGN DATA WRAPPER postgres_fdw TO app;
    SET ROLE app;
    SELECT lo_from_bytea(0, 'a photograph');";

#[tokio::test(flavor = "multi_thread")]
async fn m24_a_naive_twin_of_the_postgres_wall_is_caught() {
    let Some((cluster, _dir)) = cluster() else { return };
    let tenants: &[Placed] = &[
        ("acme", DeploymentModel::Pool, "shared"),
        ("acme-2", DeploymentModel::Pool, "shared"),
        ("hooli", DeploymentModel::Silo, "hooli"),
        ("piper", DeploymentModel::Silo, "piper"),
    ];
    run(&cluster.superuser("postgres"), "CREATE DATABASE app").await;
    run(&cluster.superuser("app"), NAIVE).await;
    for name in ["hooli", "piper"] {
        run(&cluster.superuser("postgres"), &format!("CREATE DATABASE {name}")).await;
        let notes = format!(
            "CREATE TABLE notes (id int, body text); GRANT ALL ON notes TO app;
             INSERT INTO notes VALUES (1, 'secret of {name}')"
        );
        run(&cluster.superuser(name), &notes).await;
    }
    let of = |(target, database): (&str, &str)| (target.parse().unwrap(), database.to_owned());
    let databases = [("shared", "app"), ("hooli", "hooli"), ("piper", "piper")].map(of).into();
    let name: StoreName = "main".parse().unwrap();
    let server = cluster.address();
    let store = Naive { name, server, databases, idle: Arc::default() };
    let again = store.clone();
    let siege = PostgresSiege::new(store, Vec::new()).remade_by(move |mistake| {
        let mut databases = again.databases.clone();
        match mistake {
            Mistake::Swapped { at, to } => {
                let theirs = databases[*to].clone();
                databases.insert((*at).clone(), theirs);
            }
            Mistake::Misdirected { attacker: (_, at), victim: (_, to) } => {
                let theirs = databases[&to.target].clone();
                databases.insert(at.target.clone(), theirs);
            }
            Mistake::NoTarget => databases.clear(),
            Mistake::OtherName => return None,
        }
        Some(Ok(Naive { databases, idle: Arc::default(), ..again.clone() }))
    });
    let residents = residents(tenants);
    let caught = trials(&siege, &residents).await;
    let leaked = attacks_that(&caught, Verdict::Leaked);
    for attack in ATTACKS {
        let of: Vec<_> = caught.iter().filter(|t| t.attack == attack.id).map(|t| &t.seen).collect();
        assert!(leaked.contains(attack.id), "{} did not catch the twin: {of:#?}", attack.id);
    }
    for attack in ["store.swapped-placement", "store.wrong-address"] {
        assert!(leaked.contains(attack), "{attack} did not catch the twin: {leaked:?}");
    }
    // As long as nobody says anything else, its policy does hold.
    assert!(!leaked.contains("store.read"), "{leaked:?}");
}
