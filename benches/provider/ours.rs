//! `partywall`'s server as the bench's child: `ours <directory> <algorithm> <clients> <tenants>
//! <memberships> <connections>`. SQLite in that directory, as durable as it always is.

use std::{
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use aws_lc_rs::{
    encoding::AsDer,
    rsa::{KeyPair, KeySize},
};
use base64ct::{Base64, Encoding};
use partywall::SystemClock;
use partywall_saml::Signer;
use partywall_server::{
    Actor, ConnectionPatch, ConnectionStatus, ControlPlane, DatabaseConfig, MailConfig,
    NewApplication, NewConnection, NewMachine, NewTenant, NewUser, Rate, Resources, SealingKey,
    Secret, Server, ServerConfig,
};
use serde_json::json;
use tokio::net::TcpListener;

const BENCH: Actor = Actor::System("bench");
/// Machines that are really asked for.
const ASKED: usize = 256;

pub(crate) struct Wanted {
    pub(crate) directory: PathBuf,
    pub(crate) algorithm: String,
    pub(crate) clients: usize,
    pub(crate) tenants: usize,
    /// Of how many tenants the one person is a member.
    pub(crate) memberships: usize,
    /// How many tenants have a provider of their own; one of them proved `acme.test`.
    pub(crate) connections: usize,
}

fn config(wanted: &Wanted, issuer: &str) -> ServerConfig {
    let database = DatabaseConfig::Sqlite { path: wanted.directory.join("control.db") };
    let key = SealingKey::from_bytes(&Secret::new([7; 32])).unwrap();
    let resources = Resources::new("https://api.test".parse().unwrap(), []);
    let mut config = ServerConfig::new(database, key, issuer.parse().unwrap(), resources);
    config.keys.algorithm = wanted.algorithm.parse().unwrap();
    if wanted.connections > 0 {
        // One network asks for what a crowd would.
        config.rates.of_a_network = Rate { per_minute: 1_000_000, at_once: 1_000_000 };
        config.rates.of_a_tenant = config.rates.of_a_network;
    }
    // Nothing is sent: mail waits in the database.
    config.mail = Some(MailConfig {
        server: "smtp://127.0.0.1:9".to_owned(),
        from: "bench@vendor.test".to_owned(),
        credentials: None,
    });
    config
}

pub(crate) fn run(wanted: &Wanted) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(serve(wanted));
}

async fn serve(wanted: &Wanted) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let issuer = format!("http://{address}");
    let open = || ControlPlane::open(config(wanted, &issuer), Arc::new(SystemClock::default()));
    let control = open().await.unwrap();
    let mut tenants = Vec::new();
    for number in 0..wanted.memberships.max(10) {
        let slug = format!("tenant-{number}").parse().unwrap();
        let new = NewTenant::new(slug, "free".parse().unwrap(), Default::default());
        tenants.push(control.create_tenant(&BENCH, new).await.unwrap().id().clone());
    }
    let mut machines = Vec::new();
    for number in 0..ASKED.min(wanted.clients.max(1)) {
        let new = NewMachine {
            name: format!("robot {number}"),
            roles: ["clerk".into()].into(),
            scopes: ["invoices:read".parse().unwrap()].into(),
        };
        let tenant = tenants.get(number % tenants.len()).unwrap();
        let made = control.create_machine(&BENCH, tenant, new).await.unwrap();
        machines.push((made.client_id.to_string(), made.secret.expose().to_owned()));
    }
    let web: NewApplication = serde_json::from_value(json!({
        "name": "web", "authentication": "none",
        "registration": {
            "redirect_uris": ["https://app.test/cb"], "scopes": ["openid", "invoices:read"],
        },
    }))
    .unwrap();
    let web = control.create_application(&BENCH, None, web).await.unwrap();
    let mut invitation = None;
    for tenant in tenants.iter().take(wanted.memberships) {
        let new = NewUser {
            email: "ada@acme.test".parse().unwrap(),
            name: "Ada".to_owned(),
            roles: ["clerk".into()].into(),
            metadata: Default::default(),
        };
        let user = control.create_user(&BENCH, tenant, new).await.unwrap();
        if invitation.is_none() {
            invitation = Some(control.invite(&BENCH, tenant, &user.id).await.unwrap());
        }
    }
    if wanted.connections > 0 {
        let connection = connection();
        let made = control.create_connection(&BENCH, &tenants[0], connection).await.unwrap();
        let patch =
            ConnectionPatch { status: Some(ConnectionStatus::Active), ..Default::default() };
        let active = control.update_connection(&BENCH, &tenants[0], &made.id, patch, |_| true);
        active.await.unwrap();
        let (domain, leads_to) = ("acme.test".parse().unwrap(), Some(made.id));
        control.claim_domain(&BENCH, &tenants[0], domain, leads_to).await.unwrap();
    }
    drop(control);
    crowd(&wanted.directory, wanted.clients, wanted.tenants, wanted.connections);
    let control = open().await.unwrap();
    let said = json!({
        "address": address, "issuer": issuer, "machines": machines, "web": web.client_id.as_str(),
        "token": "/token", "authorize": "/authorize", "tenant": tenants.first().unwrap().as_str(),
        "invitation": invitation.map(|invitation| invitation.link.expose().clone()),
    });
    let mut out = std::io::stdout();
    writeln!(out, "{said}").unwrap();
    out.flush().unwrap();
    Server::new(control).serve(listener, std::future::pending()).await.unwrap();
}

/// A SAML provider that is never asked: people are only sent there.
fn connection() -> NewConnection {
    let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let signer = Signer::from_pkcs8(key.as_der().unwrap().as_ref()).unwrap();
    let (from, lasts) = (SystemTime::UNIX_EPOCH, Duration::from_secs(1 << 32));
    let certificate = signer.certificate("idp", from, from + lasts).unwrap();
    serde_json::from_value(json!({ "name": "Acme's own", "provider": {
        "protocol": "saml", "entity_id": "https://idp.test", "sso_redirect": "https://idp.test/sso",
        "certificates": [Base64::encode_string(certificate.der())],
    } }))
    .unwrap()
}

/// Makes the tables as large as asked for, by copies of a row that nobody asks for.
fn crowd(directory: &Path, clients: usize, tenants: usize, connections: usize) {
    let db = rusqlite::Connection::open(directory.join("control.db")).unwrap();
    db.busy_timeout(Duration::from_secs(30)).unwrap();
    let columns = |table: &str| -> Vec<String> {
        let mut asked =
            db.prepare(&format!("SELECT name FROM pragma_table_info('{table}')")).unwrap();
        let names = asked.query_map([], |row| row.get(0)).unwrap();
        names.map(Result::unwrap).collect()
    };
    for (table, key, rows, id) in [
        ("machines", "client_id", clients, "printf('m:z%025d', n)"),
        ("tenants", "id", tenants, "printf('t-z%025d', n)"),
        ("connections", "id", connections, "printf('c-z%025d', n)"),
        ("domains", "domain", connections, "printf('d%d.test', n)"),
    ] {
        let there: usize =
            db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap();
        let values: Vec<String> = columns(table)
            .iter()
            .map(|column| match column.as_str() {
                name if name == key => id.to_owned(),
                "slug" => "printf('crowd-%d', n)".to_owned(),
                "secret_hash" => "randomblob(32)".to_owned(),
                "tenant_id" if key != "client_id" => "printf('t-z%025d', n)".to_owned(),
                "connection_id" => "printf('c-z%025d', n)".to_owned(),
                "verified_at" => "r.created_at".to_owned(),
                name => format!("r.{name}"),
            })
            .collect();
        let more = rows.saturating_sub(there);
        db.execute_batch(&format!(
            "INSERT INTO {table} ({}) WITH RECURSIVE c(n) AS
                 (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {more})
             SELECT {} FROM c, (SELECT * FROM {table} LIMIT 1) r WHERE {more} > 0;",
            columns(table).join(", "),
            values.join(", "),
        ))
        .unwrap();
    }
    // What DNS would say.
    db.execute("UPDATE domains SET verified_at = created_at", []).unwrap();
}
