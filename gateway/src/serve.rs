//! In charge of listening: taking connections, bounding how long a silent one may stay, and
//! ending well.
//!
//! Not axum's own `serve`: that one keeps a connection that never sends its request's head for ever.

use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::config;
use crate::routes::routes;

/// How long requests that are under way may go on after a signal to stop.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(10);
/// How long to wait when the system has no file descriptor left for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until a signal says to stop; the error is one line that says what to do.
pub async fn run(config: config::Serve) -> Result<(), String> {
    let listen = config.listen;
    let header_timeout = config.header_timeout();
    let (router, database) = routes(config)?;
    let extension = database.check().await?;
    let listener = TcpListener::bind(listen).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            format!(
                "{listen} is taken: stop what listens there, or set GODWIT_LISTEN to another port."
            )
        }
        _ => format!("can't listen on {listen}: {error}. Set GODWIT_LISTEN."),
    })?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    tracing::info!(%address, extension, version = env!("CARGO_PKG_VERSION"), "serving");

    let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let service = TowerToHyperService::new(router);
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = tokio::signal::ctrl_c() => break,
            _ = terminate.recv() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(header_timeout);
        let connection = http.serve_connection(TokioIo::new(stream), service.clone());
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended badly");
            }
        });
    }
    tracing::info!("stopping");
    drop(listener);
    if tokio::time::timeout(SHUTDOWN_WAIT, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests that were under way have been cut off");
    }
    Ok(())
}
