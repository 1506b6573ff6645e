//! Connections: accepted, bounded, and ended. A client that dawdles costs a socket for some
//! seconds and nobody else anything.

use std::{future::Future, io, pin::pin, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};

/// Serves `router` on `listener` until `shutdown`; then calls `stopping` and waits for requests
/// under way, for a while.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()>,
    stopping: impl FnOnce(),
) -> io::Result<()> {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADERS_WITHIN).max_buf_size(MAX_HEADERS);
    let graceful = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // Dropped with this function at the latest, which ends every connection that is left.
    let (alive, ended) = watch::channel(());
    let mut shutdown = pin!(shutdown);
    loop {
        let (stream, slot) = tokio::select! {
            accepted = accept(&listener, &slots) => accepted?,
            () = &mut shutdown => break,
        };
        let service = TowerToHyperService::new(router.clone());
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        let mut ended = ended.clone();
        tokio::spawn(async move {
            let _slot = slot;
            tokio::select! {
                // What goes wrong on a connection is its client's affair.
                _ = connection => {}
                _ = ended.changed() => {}
            }
        });
    }
    drop(listener);
    stopping();
    if tokio::time::timeout(FINISH_WITHIN, graceful.shutdown()).await.is_err() {
        tracing::warn!("connections that did not end in time were cut");
    }
    drop(alive);
    Ok(())
}

/// The next connection, once there is room for it.
///
/// Accepting fails now and then: a client that gave up, or no file descriptor left. The first is
/// nothing, the second passes; only a listener that fails for a minute on end is broken.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
    let mut failures = 0;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return Ok((stream, slot)),
            Err(error) if failures >= MAX_FAILURES => return Err(error),
            Err(error) => {
                failures += 1;
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// How long a client may take for a request's headers, and how long it may idle between requests.
const HEADERS_WITHIN: Duration = Duration::from_secs(5);
/// How long requests under way may take to finish once the server stops.
const FINISH_WITHIN: Duration = Duration::from_secs(10);
/// The largest head of a request, in bytes.
const MAX_HEADERS: usize = 32 * 1024;
/// How many connections there may be at once; more wait in the listener's queue.
const MAX_CONNECTIONS: usize = 10_000;
/// How often in a row, a second apart, accepting may fail.
const MAX_FAILURES: u32 = 60;
