//! Connections: accepted, bounded, and ended. A client that dawdles costs a socket for some
//! seconds and nobody else anything.

use std::{future::Future, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{Router, extract::ConnectInfo};
use hyper::{
    Request,
    body::Incoming,
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};

use impatient::Impatient;
pub(crate) use limit::at_most;

mod impatient;
mod limit;

/// One listener: what it serves, and how many connections it may have at once.
pub(crate) struct Service {
    pub(crate) listener: TcpListener,
    pub(crate) router: Router,
    /// More wait in the listener's queue.
    pub(crate) connections: usize,
}

/// Serves `service` until `shutdown`; then calls `stopping` and waits for requests under way, for
/// a while.
pub(crate) async fn serve(
    service: Service,
    shutdown: impl Future<Output = ()>,
    stopping: impl FnOnce(),
) -> io::Result<()> {
    let Service { listener, router, connections } = service;
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADERS_WITHIN).max_buf_size(MAX_HEADERS);
    let graceful = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(connections));
    // Dropped with this function at the latest, which ends every connection that is left.
    let (alive, ended) = watch::channel(());
    let mut shutdown = pin!(shutdown);
    loop {
        let (stream, peer, slot) = tokio::select! {
            accepted = accept(&listener, &slots) => accepted?,
            () = &mut shutdown => break,
        };
        let routed = TowerToHyperService::new(router.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            routed.call(request)
        });
        let connection = graceful.watch(
            http.serve_connection(TokioIo::new(Impatient::new(stream, TAKEN_WITHIN)), service),
        );
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
/// Accepting fails now and then: a client that gave up, no file descriptor left, a network that is
/// down. All of that passes and is waited for, however long it takes; only a listener that is none
/// ends the server.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
    let mut pause = SHORTEST_PAUSE;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return Ok((stream, peer, slot)),
            Err(error) if is_for_good(&error) => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Whether a listener that fails like this will never accept again (accept(2)).
fn is_for_good(error: &io::Error) -> bool {
    const EBADF: i32 = 9;
    const EINVAL: i32 = 22;
    const ENOTSOCK: i32 = 88;
    const EOPNOTSUPP: i32 = 95;
    matches!(error.raw_os_error(), Some(EBADF | EINVAL | ENOTSOCK | EOPNOTSUPP))
}

/// How long a client may take for a request's headers, and how long it may idle between requests.
const HEADERS_WITHIN: Duration = Duration::from_secs(5);
/// How long a client may go without taking anything of its answer.
const TAKEN_WITHIN: Duration = Duration::from_secs(15);
/// How long requests under way may take to finish once the server stops.
const FINISH_WITHIN: Duration = Duration::from_secs(10);
/// The largest head of a request, in bytes.
const MAX_HEADERS: usize = 32 * 1024;
/// The pauses after accepting failed: doubling from the shortest to the longest.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r20_what_passes_does_not_end_the_server() {
        // ECONNABORTED, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPROTO, EPERM, ENETDOWN
        for passing in [103, 24, 23, 105, 12, 71, 1, 100] {
            assert!(!is_for_good(&io::Error::from_raw_os_error(passing)), "{passing}");
        }
        for broken in [9, 22, 88, 95] {
            assert!(is_for_good(&io::Error::from_raw_os_error(broken)), "{broken}");
        }
    }
}
