//! In charge of listening: taking connections, as many as there may be, and ending well.
//!
//! Not axum's own `serve`: that one keeps a connection that never sends its request's head for ever.
//!
//! HTTP/1.1 only, also with TLS: each connection has one request at a time, so what bounds connections and
//! their pace bounds everything.

use axum::Router;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::config;
use crate::database::Fault;
use crate::held::Held;
use crate::limits::{Full, Places};
use crate::login::Login;
use crate::metrics::Refusal;
use crate::paced::{Pace, Paced, Turn};
use crate::remote::{self, Peer};
use crate::routes::{Gateway, inner_routes, routes};
use crate::tls::Tls;

/// How long to wait when the system has no file descriptor left for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often a database that can't be reached is tried at the start.
const DATABASE_PAUSE: Duration = Duration::from_millis(500);
/// Connections on the inner listener: a few scrapers and probes.
const INNER_CONNECTIONS_MAX: usize = 64;
/// Clients that are told at once that there is no room, and for how long each. The rest are cut off.
const REFUSALS_MAX: usize = 64;
const REFUSAL_TIME: Duration = Duration::from_secs(1);
const REFUSAL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n\
    connection: close\r\ncontent-length: 75\r\n\r\n\
    {\"error\":\"unavailable\",\"reason\":\"too many connections are open; try later\"}";
/// Beside connections: the pool's, the listeners, files that are read now and then.
const FILES_BESIDE: u64 = 64;
/// hyper's own bound on a head, above ours so that ours can answer; and the least that it takes.
const HEAD_BYTES_BESIDE: usize = 8 * 1024;

/// Serves until a signal says to stop; the error is one line that says what to do.
pub async fn run(config: config::Serve) -> Result<(), String> {
    let tls = Tls::new(&config.tls)?;
    let gateway = Gateway::new(config)?;
    let config = &gateway.config;
    allow_files(config);
    let extension = wait_for_database(&gateway).await?;
    check_login(&gateway).await?;
    let listener = bind(config.listen, "GODWIT_LISTEN").await?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let mut signals = Signals::new()?;
    if let Some(inner) = config.metrics.metrics_listen {
        let listener = bind(inner, "GODWIT_METRICS_LISTEN").await?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        tracing::info!(%address, "serving metrics");
        let router = inner_routes(Arc::clone(&gateway));
        tokio::spawn(serve_inside(Arc::clone(&gateway), listener, router));
    }
    let version = env!("CARGO_PKG_VERSION");
    let scheme = if tls.is_some() { "https" } else { "http" };
    tracing::info!(%address, scheme, extension, version, "serving");

    let door = Arc::new(Door {
        router: routes(Arc::clone(&gateway)),
        pace: pace(config),
        head_bytes_max: config.limits.url_bytes_max
            + config.limits.header_bytes_max
            + HEAD_BYTES_BESIDE,
        tls,
        handshake: Duration::from_millis(config.tls.tls_handshake_timeout_ms),
        refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
        gateway: Arc::clone(&gateway),
    });
    let graceful = GracefulShutdown::new();
    tokio::select! {
        () = accept(&listener, &door, &graceful) => {}
        () = signals.next() => {}
    }
    gateway.stopping.drain();
    let drain = Duration::from_millis(config.shutdown_drain_ms);
    tracing::info!(drain_ms = config.shutdown_drain_ms, "stopping");
    let draining = async {
        // A listener that isn't asked any more would leave connections in the kernel's queue unanswered.
        let _ = tokio::time::timeout(drain, accept(&listener, &door, &graceful)).await;
        drop(listener);
        gateway.stopping.stop();
        let wait = Duration::from_millis(config.shutdown_wait_ms);
        if tokio::time::timeout(wait, graceful.shutdown()).await.is_err() {
            tracing::warn!("requests that were under way have been cut off");
        }
    };
    tokio::select! {
        () = draining => {}
        () = signals.next() => tracing::warn!("stopped at once, by the second signal"),
    }
    Ok(())
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, String> {
        let of = |kind| signal(kind).map_err(|error| format!("signals can't be heard: {error}"));
        Ok(Signals {
            terminate: of(SignalKind::terminate())?,
            interrupt: of(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

async fn bind(address: SocketAddr, name: &str) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            format!("{address} is taken: stop what listens there, or set {name} to another port.")
        }
        _ => format!("can't listen on {address}: {error}. Set {name}."),
    })
}

/// The extension's version.
async fn wait_for_database(gateway: &Gateway) -> Result<String, String> {
    let end = Instant::now() + Duration::from_millis(gateway.config.database_wait_ms);
    loop {
        match gateway.database.check().await {
            Err(Fault::Away(reason)) if Instant::now() < end => {
                tracing::warn!(reason, "waiting for the database");
                tokio::time::sleep(DATABASE_PAUSE).await;
            }
            outcome => return Ok(outcome?),
        }
    }
}

/// Where requests run as roles, what the login may do beside is what a mistake gives away.
async fn check_login(gateway: &Gateway) -> Result<(), String> {
    if gateway.auth.is_open() {
        return Ok(());
    }
    let login = Login::read(&gateway.database).await;
    let login = login.map_err(|error| format!("the login can't be checked: {error}"))?;
    let Some(excess) = login.excess() else { return Ok(()) };
    if gateway.config.allow_privileged_login {
        tracing::warn!("{excess}");
        return Ok(());
    }
    Err(format!("{excess} Or start with --allow-privileged-login."))
}

/// Raises the bound on open files as far as it goes, which for most services is far above the usual 1024.
fn allow_files(config: &config::Serve) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    if let Err(error) =
        setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum })
    {
        tracing::warn!(%error, "the bound on open files stays what it is");
    }
    let connections = config.limits.connections_max as u64;
    let needed = connections + u64::from(config.database.pool_size) + FILES_BESIDE;
    if let Some(most) = getrlimit(Resource::Nofile).current
        && most < needed
    {
        tracing::warn!(
            most,
            needed,
            "fewer files may be open than connections are allowed: raise LimitNOFILE or ulimit -n, or \
             lower GODWIT_CONNECTIONS_MAX"
        );
    }
}

fn pace(config: &config::Serve) -> Pace {
    Pace {
        idle: config.limits.idle_timeout(),
        head: config.header_timeout(),
        stall: config.limits.stall_timeout(),
    }
}

/// What every connection of clients goes through.
struct Door {
    gateway: Arc<Gateway>,
    router: Router,
    pace: Pace,
    head_bytes_max: usize,
    tls: Option<Tls>,
    handshake: Duration,
    refusals: Arc<Semaphore>,
}

/// Takes connections for ever.
async fn accept(listener: &TcpListener, door: &Arc<Door>, graceful: &GracefulShutdown) {
    loop {
        let (stream, peer) = next(listener).await;
        let address = peer.ip().to_canonical();
        let limits = &door.gateway.config.limits;
        // Everybody comes from a proxy's address.
        let key = (!remote::is_trusted(limits, address)).then(|| remote::counted_as(address));
        let place = match door.gateway.limits.connections.take(key) {
            Ok(place) => place,
            Err(full) => {
                door.gateway.metrics.refused(match full {
                    Full::All => Refusal::Full,
                    Full::Each => Refusal::FullForClient,
                });
                tracing::debug!(client = %address, ?full, "a connection was refused");
                refuse(door, stream);
                continue;
            }
        };
        let (door, watcher) = (Arc::clone(door), graceful.watcher());
        tokio::spawn(async move {
            enter(&door, stream, peer, watcher).await;
            drop(place);
        });
    }
}

async fn next(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn enter(door: &Door, stream: TcpStream, peer: SocketAddr, watcher: Watcher) {
    // Changes are small and are to be there at once.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection has gone already");
        return;
    }
    let turn = Turn::default();
    let stream = Paced::new(stream, door.pace, turn.clone());
    match &door.tls {
        None => serve(door, stream, peer, turn, watcher).await,
        // On the heap, for it is large, and connections in the clear would keep room for it.
        Some(tls) => Box::pin(shake_hands(door, tls, stream, peer, turn, watcher)).await,
    }
}

async fn shake_hands(
    door: &Door,
    tls: &Tls,
    stream: Paced<TcpStream>,
    peer: SocketAddr,
    turn: Turn,
    watcher: Watcher,
) {
    match tokio::time::timeout(door.handshake, tls.acceptor().accept(stream)).await {
        Ok(Ok(stream)) => {
            // What was read so far was no request's head.
            drop(turn.begin());
            serve(door, stream, peer, turn, watcher).await;
        }
        failed => {
            door.gateway.metrics.refused(Refusal::Handshake);
            let error = match failed {
                Ok(outcome) => outcome.err().map(|error| error.to_string()).unwrap_or_default(),
                Err(_) => "it took too long".to_owned(),
            };
            tracing::debug!(client = %peer.ip(), error, "a TLS handshake failed");
        }
    }
}

async fn serve<T>(door: &Door, stream: T, peer: SocketAddr, turn: Turn, watcher: Watcher)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(door.router.clone());
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        let busy = turn.begin();
        request.extensions_mut().insert(Peer(peer));
        let answer = service.call(request);
        async move { answer.await.map(|response| response.map(|body| Held::new(body, busy))) }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.max_buf_size(door.head_bytes_max);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, client = %peer.ip(), "a connection ended badly");
    }
}

/// Says that there is no room and closes. Over TLS it only closes: a handshake is what costs most.
fn refuse(door: &Door, stream: TcpStream) {
    if door.tls.is_some() {
        return;
    }
    let Ok(place) = Arc::clone(&door.refusals).try_acquire_owned() else { return };
    tokio::spawn(async move {
        let mut stream = stream;
        let told = async {
            stream.write_all(REFUSAL).await?;
            stream.shutdown().await?;
            // Closing on unread bytes would reset the connection, and the answer be lost with it.
            let mut rest = [0; 512];
            while stream.read(&mut rest).await? > 0 {}
            std::io::Result::Ok(())
        };
        // Who doesn't listen is not told.
        let _ = tokio::time::timeout(REFUSAL_TIME, told).await;
        drop(place);
    });
}

/// Serves metrics and health, until the process ends.
async fn serve_inside(gateway: Arc<Gateway>, listener: TcpListener, router: Router) {
    let places = Places::<()>::new(INNER_CONNECTIONS_MAX, INNER_CONNECTIONS_MAX);
    let pace = pace(&gateway.config);
    loop {
        let (stream, peer) = next(&listener).await;
        let Ok(place) = places.take(None) else { continue };
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let turn = Turn::default();
            let stream = Paced::new(stream, pace, turn.clone());
            let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                let busy = turn.begin();
                let answer = service.call(request);
                async move { answer.await.map(|answer| answer.map(|body| Held::new(body, busy))) }
            });
            let http = hyper::server::conn::http1::Builder::new();
            if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(%error, client = %peer.ip(), "an inner connection ended badly");
            }
            drop(place);
        });
    }
}
