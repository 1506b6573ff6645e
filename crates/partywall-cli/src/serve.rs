//! `partywall serve`: the control plane and identity provider.

use std::{io, net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use partywall::SystemClock;
use partywall_server::{
    ControlPlane, DatabaseConfig, MailConfig, OpenError, Proxies, Resources, SealError, SealingKey,
    Secret, SecretError, SecretSource, Server, ServerConfig,
};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
};

use crate::{
    config::{self, Config, Secrets},
    terminal::{Terminal, UNASKED},
};

pub(crate) const HELP: &str = "\
Runs until it is asked to stop (SIGTERM, SIGINT), and then lets the requests under way finish. Asked
a second time, it stops at once. All state is in the database of the [server] section: killing it at
any moment loses nothing that was acknowledged.

Example:
  partywall serve --config /etc/partywall.toml";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The configuration, whose [server] section is run
    #[arg(long, value_name = "FILE", default_value = "partywall.toml")]
    config: PathBuf,
}

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error(transparent)]
    Server(#[from] partywall_server::ConfigError),
    #[error("server.free_mail: {0}")]
    FreeMail(#[from] partywall_server::InvalidDomain),
    #[error("server.sealing_key: {0}")]
    SealingKey(#[source] SealError),
    #[error("server.database: {0}")]
    DatabaseUrl(#[source] SecretError),
    #[error("server.database: the URL is not UTF-8")]
    DatabaseUrlNotUtf8,
    #[error("server.mail.password: {0}")]
    MailPassword(#[source] SecretError),
    #[error("server.mail.password: not UTF-8")]
    MailPasswordNotUtf8,
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("cannot listen on {at}; free it or give `server.{key}` another address")]
    Listen { key: &'static str, at: SocketAddr, source: io::Error },
    #[error("cannot wait for signals")]
    Signals(#[source] io::Error),
    #[error("nothing can be counted")]
    Metrics(#[source] BuildError),
    #[error("the listener failed")]
    Serve(#[source] io::Error),
}

pub(crate) fn run(args: &Args, terminal: &Terminal) -> ExitCode {
    let config = match Config::load(&args.config, Secrets::MustExist) {
        Ok(config) => config,
        Err(error) => {
            error.tell(terminal);
            return ExitCode::from(UNASKED);
        }
    };
    let Config { server: Some(server), issuers, .. } = config else {
        terminal.complain(format_args!(
            "{}: no [server] section: add one; `partywall check --example` shows it",
            args.config.display()
        ));
        return ExitCode::from(UNASKED);
    };
    terminal.block_on(|| serve(server, issuers, *terminal))
}

async fn serve(
    section: config::Server,
    issuers: Vec<partywall::token::IssuerConfig>,
    terminal: Terminal,
) -> Result<ExitCode, ServeError> {
    let mut stopping = Stopping::listen().map_err(ServeError::Signals)?;
    let (listener, address) = bind("listen", section.listen).await?;
    let apart = match section.bundle_listen {
        Some(at) => Some(bind("bundle_listen", at).await?),
        None => None,
    };
    let control =
        ControlPlane::open(settings(&section, issuers)?, Arc::new(SystemClock::default())).await?;
    terminal.hint(format_args!("{} is served on http://{address}", section.issuer));
    if section.proxies.is_empty() && section.issuer.starts_with("https://") {
        terminal.hint(format_args!(
            "no `proxies` are named: behind one, all clients seem to be in one network, which is then not held to a rate"
        ));
    }
    if let Some((_, address)) = &apart {
        terminal.hint(format_args!("the bundle is served on http://{address} only"));
    }
    terminal.hint(format_args!("bundle key: {}", control.bundle_key()));
    let (asked, when_asked) = tokio::sync::oneshot::channel();
    let shutdown = async {
        let _ = when_asked.await;
    };
    let mut server = Server::new(control);
    if let Some((_, address)) = &apart {
        let counted = count().map_err(ServeError::Metrics)?;
        server = server.with_metrics(move || counted.render());
        terminal.hint(format_args!("metrics are on http://{address}/metrics"));
    }
    let serving = async {
        match apart {
            Some((bundle_listener, _)) => {
                server.serve_apart(listener, bundle_listener, shutdown).await
            }
            None => server.serve(listener, shutdown).await,
        }
    };
    tokio::pin!(serving);
    tokio::select! {
        served = &mut serving => served.map_err(ServeError::Serve)?,
        () = stopping.asked() => {
            terminal.hint("stopping");
            let _ = asked.send(());
            tokio::select! {
                served = serving => served.map_err(ServeError::Serve)?,
                () = stopping.asked() => {}
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Counts and times from now on. Nobody may ask on an address that faces the internet, so where the
/// bundle has no listener of its own nothing is counted.
fn count() -> Result<PrometheusHandle, BuildError> {
    let recorder = PrometheusBuilder::new().set_buckets(&SECONDS)?.build_recorder();
    let handle = recorder.handle();
    // Set already only where two servers run in one process, as in tests.
    let _ = metrics::set_global_recorder(recorder);
    let counted = handle.clone();
    tokio::spawn(async move {
        let mut often = tokio::time::interval(Duration::from_secs(5));
        loop {
            often.tick().await;
            // What was timed is put into its buckets, whether anybody asks or not.
            counted.run_upkeep();
        }
    });
    Ok(handle)
}

/// The histograms' buckets.
const SECONDS: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5];

async fn bind(key: &'static str, at: SocketAddr) -> Result<(TcpListener, SocketAddr), ServeError> {
    let failed = |source| ServeError::Listen { key, at, source };
    let listener = TcpListener::bind(at).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// The section, with its secrets read.
pub(crate) fn settings(
    section: &config::Server,
    issuers: Vec<partywall::token::IssuerConfig>,
) -> Result<ServerConfig, ServeError> {
    let database = match &section.database {
        config::Database::Sqlite(path) => DatabaseConfig::Sqlite { path: path.clone() },
        config::Database::Postgres(secret) => DatabaseConfig::Postgres { url: url(secret)? },
    };
    let sealing_key = SealingKey::read(&section.sealing_key).map_err(ServeError::SealingKey)?;
    let issuer = section.issuer.parse()?;
    let mut audience = section.audience.iter().map(|audience| audience.parse());
    // A configuration without an audience does not load.
    let default = audience.next().unwrap_or_else(|| section.issuer.parse())?;
    let others = audience.collect::<Result<Vec<_>, _>>()?;
    let resources = Resources::new(default, others);
    let mut settings = ServerConfig::new(database, sealing_key, issuer, resources);
    settings.token_lifetime = section.token_lifetime.duration();
    settings.keys.algorithm = section.algorithm;
    settings.keys.rotate_every = section.rotation.duration();
    settings.bundle.lifetime = section.bundle_lifetime.duration();
    settings.passwords = section.passwords.into();
    settings.tenant_hosts = section.tenant_hosts.as_deref().map(str::parse).transpose()?;
    settings.rates = section.rates.into();
    settings.proxies = Proxies::of(section.proxies.iter().map(String::as_str))?;
    settings.dns_servers.clone_from(&section.dns_servers);
    settings.free_mail =
        section.free_mail.iter().map(|name| name.parse()).collect::<Result<_, _>>()?;
    settings.call_private_addresses = section.call_private_addresses;
    settings.mail = section.mail.as_ref().map(mail).transpose()?;
    // Its own tokens are trusted by the keys it signs them with, wherever else it is configured.
    settings.external_issuers =
        issuers.into_iter().filter(|issuer| issuer.issuer != section.issuer).collect();
    Ok(settings)
}

fn mail(section: &config::Mail) -> Result<MailConfig, ServeError> {
    let credentials = match (&section.user, &section.password) {
        (Some(user), Some(password)) => {
            let bytes = password.read().map_err(ServeError::MailPassword)?;
            let password = std::str::from_utf8(bytes.expose());
            let password = password.map_err(|_| ServeError::MailPasswordNotUtf8)?;
            Some((user.clone(), Secret::new(password.trim().to_owned())))
        }
        _ => None,
    };
    let (server, from) = (section.server.clone(), section.from.clone());
    Ok(MailConfig { server, from, credentials })
}

fn url(secret: &config::SecretRef) -> Result<Secret<String>, ServeError> {
    let bytes = secret.read().map_err(ServeError::DatabaseUrl)?;
    let url = std::str::from_utf8(bytes.expose()).map_err(|_| ServeError::DatabaseUrlNotUtf8)?;
    Ok(Secret::new(url.trim().to_owned()))
}

/// Being asked to stop, by whoever runs the process or by its terminal.
struct Stopping {
    terminate: Signal,
    interrupt: Signal,
}

impl Stopping {
    fn listen() -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
