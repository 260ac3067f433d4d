//! In charge of what the gateway counts, and of writing it down for Prometheus.

use axum::extract::State;
use axum::http::{HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use crate::error::Error;
use crate::routes::Gateway;
use crate::sample::{Sample, Sampler};

/// Seconds, each about three times the one before: from a primary key's look-up to the request time-out.
const BUCKETS: [f64; 10] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 60.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    method: &'static str,
    /// The path's template: ids and names would be labels without end.
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    method: &'static str,
    route: String,
}

/// Why a connection was closed before it was served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    Full,
    FullForClient,
    Handshake,
}

impl EncodeLabelSet for Refusal {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        let reason = match self {
            Refusal::Full => "connections_max",
            Refusal::FullForClient => "connections_per_client_max",
            Refusal::Handshake => "handshake",
        };
        [("reason", reason)].encode(encoder)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Holder {
    pid: String,
    prepared: String,
    role: String,
    application: String,
    state: String,
}

type Float = Gauge<f64, AtomicU64>;

pub struct Metrics {
    registry: Registry,
    sampler: Sampler,
    requests: Family<Request, Counter>,
    seconds: Family<Route, Histogram>,
    refused: Family<Refusal, Counter>,
    under_way: Gauge,
    listeners: Gauge,
    connections: Gauge,
    pool_max: Gauge,
    pool_open: Gauge,
    pool_idle: Gauge,
    pool_waiting: Gauge,
    database_up: Gauge,
    is_sampled: Gauge,
    sequence: Gauge,
    horizon: Gauge,
    lag: Gauge,
    held: Float,
    holders: Family<Holder, Float>,
    rejected: Gauge,
    conflicted: Gauge,
}

impl Metrics {
    pub fn new(role: Option<String>) -> Self {
        let mut registry = Registry::with_prefix("godwit");
        let r = &mut registry;
        let requests = Family::default();
        r.register("http_requests", "Requests answered", requests.clone());
        let seconds: Family<Route, Histogram> =
            Family::new_with_constructor(|| Histogram::new(BUCKETS));
        let help = "Time until an answer began";
        r.register_with_unit("http_request_duration", help, Unit::Seconds, seconds.clone());
        let refused = Family::default();
        r.register(
            "connections_refused",
            "Connections closed before they were served",
            refused.clone(),
        );
        let holders: Family<Holder, Float> = Family::default();
        let held = Float::default();
        let help = "How long the oldest transaction that holds the stream back has gone on";
        r.register_with_unit("stream_held", help, Unit::Seconds, held.clone());
        let help = "Transactions that hold the stream back, with how long each has gone on; -1 where the \
                    login may not know";
        r.register_with_unit("stream_holder", help, Unit::Seconds, holders.clone());
        let mut gauge = |name: &str, help: &str| {
            let gauge = Gauge::default();
            r.register(name, help, gauge.clone());
            gauge
        };
        Metrics {
            requests,
            seconds,
            refused,
            holders,
            held,
            under_way: gauge(
                "http_requests_under_way",
                "Requests under way, listeners not counted",
            ),
            listeners: gauge("listeners", "Open long polls and feeds"),
            connections: gauge("connections", "Open connections of clients"),
            pool_max: gauge("pool_connections_max", "Connections to the database, at most"),
            pool_open: gauge("pool_connections", "Open connections to the database"),
            pool_idle: gauge(
                "pool_connections_idle",
                "Open connections to the database that are free",
            ),
            pool_waiting: gauge(
                "pool_waiting",
                "Requests that wait for a connection to the database",
            ),
            database_up: gauge(
                "database_up",
                "Whether the database answered the last time it was asked",
            ),
            is_sampled: gauge(
                "stream_status_permitted",
                "Whether what the stream_, rejected and conflicted metrics say could be asked; 0: they are stale",
            ),
            sequence: gauge("stream_sequence", "The last sequence handed out"),
            horizon: gauge("stream_horizon", "The sequence up to which readers are shown changes"),
            lag: gauge("stream_lag", "Sequences handed out that readers are not shown yet"),
            rejected: gauge("rejected_estimate", "Refused revisions that wait, about"),
            conflicted: gauge(
                "conflicted_records_estimate",
                "Records that may have conflicts, about",
            ),
            registry,
            sampler: Sampler::new(role),
        }
    }

    pub fn answered(&self, method: &Method, route: &str, status: u16, took: Duration) {
        let method = method_label(method);
        let route = route.to_owned();
        let by_route = Route { method, route: route.clone() };
        self.seconds.get_or_create(&by_route).observe(took.as_secs_f64());
        self.requests.get_or_create(&Request { method, route, status }).inc();
    }

    pub fn refused(&self, why: Refusal) {
        self.refused.get_or_create(&why).inc();
    }

    fn take(&self, sample: &Sample) {
        self.sequence.set(sample.sequence);
        self.horizon.set(sample.horizon);
        self.lag.set((sample.sequence - sample.horizon).max(0));
        self.rejected.set(sample.rejected);
        self.conflicted.set(sample.conflicted);
        self.holders.clear();
        let ages = sample.holders.iter().filter_map(|holder| holder.seconds);
        self.held.set(ages.fold(0.0, f64::max));
        for holder in &sample.holders {
            let labels = Holder {
                pid: holder.pid.map(|pid| pid.to_string()).unwrap_or_default(),
                prepared: holder.prepared.clone().unwrap_or_default(),
                role: holder.role.clone().unwrap_or_default(),
                application: holder.application.clone().unwrap_or_default(),
                state: holder.state.clone().unwrap_or_default(),
            };
            self.holders.get_or_create(&labels).set(holder.seconds.unwrap_or(-1.0));
        }
    }
}

/// A method is any word that a client likes.
fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        "PATCH" => "PATCH",
        _ => "other",
    }
}

fn gauged(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// `/metrics`, in OpenMetrics' text form.
pub async fn show(State(gateway): State<Arc<Gateway>>) -> Result<Response, Error> {
    let metrics = &gateway.metrics;
    let limits = &gateway.limits;
    metrics.under_way.set(gauged(limits.requests.taken()));
    metrics.listeners.set(gauged(limits.listeners.taken()));
    metrics.connections.set(gauged(limits.connections.taken()));
    let pool = gateway.database.pool();
    metrics.pool_max.set(gauged(pool.max_size));
    metrics.pool_open.set(gauged(pool.size));
    metrics.pool_idle.set(gauged(pool.available));
    metrics.pool_waiting.set(gauged(pool.waiting));
    let outcome = metrics.sampler.sample(&gateway.database).await;
    metrics.database_up.set(i64::from(outcome.is_up()));
    metrics.is_sampled.set(i64::from(outcome.sample().is_some()));
    if let Some(sample) = outcome.sample() {
        metrics.take(sample);
    }
    let mut text = String::new();
    encode(&mut text, &metrics.registry).map_err(|error| {
        tracing::error!(%error, "the metrics can't be written");
        Error::unavailable("the metrics can't be written")
    })?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static(kind))], text).into_response())
}
