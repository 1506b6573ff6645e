//! `partywall up`: everything on embedded defaults, and proof that it holds.
//!
//! One process: the control plane and identity provider on one listener, the sample SaaS on
//! another, and between them nothing but HTTP, as it would be anywhere. PostgreSQL runs beside it
//! as a private cluster when its programs are on the machine.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use axum::extract::FromRef;
use invoices::{App, Ledger, Reminders};
use partywall::{
    Clock, Partywall, Refusal, SystemClock,
    bundle::HttpBundleSource,
    token::{Algorithm, SigningKey},
};
use partywall_postgres::local::{Binaries, find_binaries};
use partywall_prove::{Exit, Run};
use partywall_server::{
    Actor, ControlPlane, DatabaseConfig, Issuer, Resource, Resources, SealingKey, SecretFile,
    Server, ServerConfig,
};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use crate::prove::ReportFile;

use self::{
    data::{Data, postgres::Servers, sqlite::Files},
    proof::{Caller, Proof},
    screen::Screen,
    state::{StateDir, StateError},
    stop::Stop,
};

mod data;
mod proof;
mod screen;
mod state;
mod stop;
mod tenants;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where the tenants' data lives [default: postgres when its programs are on this machine]
    #[arg(long, value_enum)]
    data: Option<DataKind>,
    /// Where to keep keys, directory and data
    #[arg(long, value_name = "DIR", default_value = ".partywall")]
    state_dir: PathBuf,
    /// Address of the identity provider; the sample application takes the next port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// End after the account, with the exit code of `partywall prove`
    #[arg(long)]
    once: bool,
    /// Write the whole account to a file; text, json, junit, sarif or html
    #[arg(long = "report", value_name = "FORMAT=FILE")]
    reports: Vec<ReportFile>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum DataKind {
    /// A private PostgreSQL cluster
    Postgres,
    /// The embedded wall
    Sqlite,
}

/// For whom the sample's tokens are made out.
const AUDIENCE: &str = "https://invoices.example";

pub(crate) async fn run(args: Args) -> Result<ExitCode, UpError> {
    let screen = Screen::new();
    let stop = Stop::listen().map_err(UpError::Signals)?;
    let state = StateDir::open(&args.state_dir)?;
    match (args.data, find_binaries()) {
        (Some(DataKind::Postgres), None) => Err(UpError::NoPostgres),
        (Some(DataKind::Postgres) | None, Some(binaries)) => {
            up_on_postgres(&args, &state, binaries, &screen, stop).await
        }
        (Some(DataKind::Sqlite), _) | (None, None) => {
            up(&args, &state, Files::new(&state)?, &screen, stop).await
        }
    }
}

async fn up_on_postgres(
    args: &Args,
    state: &StateDir,
    binaries: Binaries,
    screen: &Screen,
    stop: Stop,
) -> Result<ExitCode, UpError> {
    screen.step(&format!(
        "starting PostgreSQL {}, one server for all and one for hooli",
        binaries.major()
    ));
    let servers = Servers::start(state, binaries).await?;
    up(args, state, servers, screen, stop).await
}

/// Everything but the data's own servers, which are up already and stop after this.
async fn up<D>(
    args: &Args,
    state: &StateDir,
    mut data: D,
    screen: &Screen,
    mut stop: Stop,
) -> Result<ExitCode, UpError>
where
    D: Data,
    D::Store: Ledger + FromRef<App<D::Store>>,
{
    let outcome = tokio::select! {
        outcome = System::start_and_account(args, state, &mut data, screen) => outcome.map(Some),
        () = stop.asked() => Ok(None),
    };
    let code = match outcome {
        Ok(Some((mut system, verdict))) => {
            if !args.once && verdict == Exit::Proven {
                screen.serving();
                stop.asked().await;
            }
            screen.step("stopping");
            tokio::select! {
                () = system.stop() => {}
                () = stop.asked_again() => {}
            }
            Ok(verdict.into())
        }
        // Interrupted before it was up: nothing was shown to hold.
        Ok(None) => Ok(ExitCode::FAILURE),
        Err(error) => Err(error),
    };
    data.stop().await;
    code
}

/// The two services, under way.
struct System {
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl System {
    async fn start_and_account<D>(
        args: &Args,
        state: &StateDir,
        data: &mut D,
        screen: &Screen,
    ) -> Result<(Self, Exit), UpError>
    where
        D: Data,
        D::Store: Ledger + FromRef<App<D::Store>>,
    {
        let (provider_listener, app_listener) = listeners(args.listen).await?;
        let (provider, app) = (address(&provider_listener)?, address(&app_listener)?);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());

        screen.step("opening the control plane");
        let control =
            ControlPlane::open(server_config(state, &provider)?, Arc::clone(&clock)).await?;
        let tenants = tenants::ensure(&control).await?;
        screen.step(&format!("preparing {}", data.describe()));
        let store = data.provision(&tenants).await?;

        let mut system = Self { tasks: JoinSet::new(), stop: watch::Sender::new(false) };
        let http =
            reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build()?;
        let bundle_key = control.bundle_key().clone();
        system.serve_provider(control.clone(), provider_listener);

        // From here on everything goes the way it would between machines.
        let wall = Partywall::builder()
            .audience(AUDIENCE)
            .trust(bundle_key)
            .state_dir(state.join("enforcement-point"))
            .clock(Arc::clone(&clock))
            .build()?;
        let source = HttpBundleSource::new(format!("{provider}/bundle"))?;
        wall.catch_up(&source).await?;
        let upkeep = wall.clone();
        system.tasks.spawn(async move { upkeep.run(&source).await });
        system.serve_invoices(&wall, store.clone(), Arc::clone(&clock), app_listener)?;

        let mut callers = Vec::new();
        for tenant in &tenants {
            let token = tenants::token(&http, &provider, tenant).await?;
            callers.push(Caller { tenant, token });
        }
        screen.step("trying to reach across");
        let siege = data.siege(&store)?;
        let proof = Proof {
            provider: &provider,
            app: &app,
            control,
            wall: &wall,
            callers: &callers,
            siege: &siege,
            data: data.describe(),
            clock,
        };
        let run = proof.run(&http).await?;
        screen.account(&Report {
            provider: &provider,
            app: &app,
            data: data.describe(),
            state: state.path(),
            wall: &wall,
            callers: &callers,
            run: &run,
        });
        for report in &args.reports {
            report.write(&run)?;
        }
        Ok((system, run.exit()))
    }

    fn serve_provider(&mut self, control: ControlPlane, listener: TcpListener) {
        let stopped = stopped(self.stop.subscribe());
        self.tasks.spawn(async move {
            if let Err(error) = Server::new(control).serve(listener, stopped).await {
                tracing::error!(%error, "the identity provider stopped");
            }
        });
    }

    fn serve_invoices<S>(
        &mut self,
        wall: &Partywall,
        store: S,
        clock: Arc<dyn Clock>,
        listener: TcpListener,
    ) -> Result<(), UpError>
    where
        S: Ledger + FromRef<App<S>>,
    {
        // The queue lives in this process, so its key need not outlive it.
        let key = SigningKey::generate(Algorithm::EdDsa)?;
        let (reminders, worker) = Reminders::open(key, clock)?;
        self.tasks.spawn(worker.run(wall.clone(), store.clone()));
        let router = invoices::router(wall, App::new(store, reminders));
        let stopped = stopped(self.stop.subscribe());
        self.tasks.spawn(async move {
            let served = axum::serve(listener, router).with_graceful_shutdown(stopped).await;
            if let Err(error) = served {
                tracing::error!(%error, "the sample application stopped");
            }
        });
        Ok(())
    }

    /// Lets requests under way finish, for a while. Dropped, it ends them.
    async fn stop(&mut self) {
        self.stop.send_replace(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(Duration::from_millis(500), all).await;
        self.tasks.shutdown().await;
    }
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stopped| *stopped).await;
}

/// What the account is shown with.
struct Report<'r> {
    provider: &'r str,
    app: &'r str,
    data: String,
    state: &'r std::path::Path,
    wall: &'r Partywall,
    callers: &'r [Caller<'r>],
    run: &'r Run,
}

fn server_config(state: &StateDir, provider: &str) -> Result<ServerConfig, UpError> {
    let database = DatabaseConfig::Sqlite { path: state.join("control.db") };
    let sealing_key = SealingKey::read_or_create(&SecretFile::at(state.join("sealing.key")))?;
    let issuer: Issuer = provider.parse()?;
    let audience: Resource = AUDIENCE.parse()?;
    let resources = Resources::new(audience, []);
    let mut config = ServerConfig::new(database, sealing_key, issuer, resources);
    // Long enough to paste a curl line after reading it.
    config.token_lifetime = Duration::from_secs(60 * 60);
    Ok(config)
}

/// The two listeners: neighbours, or both wherever there is room when port 0 was asked for.
async fn listeners(at: SocketAddr) -> Result<(TcpListener, TcpListener), UpError> {
    let next = match at.port() {
        0 => at,
        port => {
            let next = port.checked_add(1).ok_or(UpError::NoNextPort)?;
            SocketAddr::new(at.ip(), next)
        }
    };
    Ok((bind(at).await?, bind(next).await?))
}

async fn bind(at: SocketAddr) -> Result<TcpListener, UpError> {
    TcpListener::bind(at).await.map_err(|source| UpError::Listen { at, source })
}

/// How this very machine reaches a listener.
fn address(listener: &TcpListener) -> Result<String, UpError> {
    let mut at = listener.local_addr().map_err(|source| UpError::Listen {
        at: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
        source,
    })?;
    if at.ip().is_unspecified() {
        at.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    Ok(format!("http://{at}"))
}

/// In whose name the audit trail shows what `up` sets up.
const ACTOR: Actor = Actor::System("partywall up");

/// Why it is not up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error("cannot listen for Ctrl-C and SIGTERM")]
    Signals(#[source] std::io::Error),
    #[error(
        "no PostgreSQL server programs found: install `postgresql` (14 or newer), or use `--data sqlite`"
    )]
    NoPostgres,
    #[error("there is no port after 65535 for the sample application: give --listen a lower one")]
    NoNextPort,
    #[error("cannot listen at {at}: give another address with --listen")]
    Listen { at: SocketAddr, source: std::io::Error },
    #[error("the private PostgreSQL cluster did not start")]
    Cluster(#[from] partywall_postgres::local::LocalError),
    #[error("PostgreSQL could not be prepared")]
    Prepare(#[from] sqlx::Error),
    #[error(transparent)]
    Pack(#[from] partywall_postgres::InvalidPackName),
    #[error("the PostgreSQL store cannot be used")]
    Store(#[from] partywall_postgres::ConnectError),
    #[error("a ticket key has at least 32 bytes")]
    TicketKey(#[from] partywall_postgres::TicketKeyLength),
    #[error("the embedded store cannot be used")]
    Embedded(#[from] partywall_sqlite::Error),
    #[error(transparent)]
    EmbeddedSchema(#[from] partywall_sqlite::SchemaError),
    #[error("the server's configuration")]
    Config(#[from] partywall_server::ConfigError),
    #[error("the sealing key")]
    Seal(#[from] partywall_server::SealError),
    #[error("the control plane could not be opened")]
    Control(#[from] partywall_server::OpenError),
    #[error("the control plane refused a change")]
    Change(#[from] partywall_server::ControlError),
    #[error(transparent)]
    Name(#[from] partywall::InvalidName),
    #[error("the enforcement point cannot start: remove the state directory to start anew")]
    Wall(#[from] partywall::BuildError),
    #[error("the bundle cannot be fetched")]
    Bundle(#[from] partywall::bundle::SourceError),
    #[error(transparent)]
    Sign(#[from] partywall::token::SignError),
    #[error(transparent)]
    Keys(#[from] partywall::token::KeySetError),
    #[error("a request to the running system failed")]
    Http(#[from] reqwest::Error),
    #[error("the identity provider answered {status} instead of a token: {body}")]
    NoToken { status: u16, body: String },
    #[error("the enforcement point refused a token of our own: {0}")]
    OwnToken(#[source] Refusal),
    #[error(transparent)]
    Issuer(#[from] partywall_prove::system::IssuerError),
    #[error(transparent)]
    Attack(#[from] partywall_prove::system::SystemError),
    #[error(transparent)]
    Route(#[from] partywall_prove::system::InvalidRoute),
    #[error("a job could not be sealed")]
    Job(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error(transparent)]
    Prove(#[from] crate::prove::ProveError),
    #[error(transparent)]
    Report(#[from] crate::prove::OutputError),
    #[error("a task ended before its work was done")]
    Task(#[from] tokio::task::JoinError),
}
