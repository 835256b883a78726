//! How a router is steered: HTTP over a socket that only its owner may use.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::IF_MATCH;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::UnixListener;
use tokio::sync::watch;

use super::ledger::ShadowCounts;
use super::routing::Routing;
use super::table::Table;
use super::write_routing;
use crate::slice::Slice;
use crate::traffic::{Later, RouterKind};

/// The largest routing.
const ROUTING_BYTES: usize = 4 << 20;

/// What a router does and has done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterState {
    /// The routing's revision.
    pub revision: u64,
    /// Its process.
    pub pid: u32,
    /// What serves.
    #[serde(default)]
    pub kind: RouterKind,
    /// The second that it counts in now, since 1970.
    #[serde(default)]
    pub second: u64,
    /// What each arm has had, over all edges.
    pub arms: BTreeMap<String, ArmState>,
    /// Copies, and requests that wait, by edge.
    pub edges: BTreeMap<String, EdgeState>,
}

/// What an arm has had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArmState {
    /// Requests in flight.
    pub in_flight: u64,
    /// Requests that have ended.
    pub requests: u64,
    /// Those that failed.
    pub failures: u64,
    /// Requests that it did not take.
    pub refused: u64,
}

/// What an edge does besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeState {
    /// Requests that wait because it is held.
    pub waiting: u64,
    /// Copies.
    pub shadow: ShadowCounts,
}

/// What is steered.
#[derive(Clone, Debug)]
pub(super) struct Steered {
    pub(super) carrier: Arc<dyn Carrier>,
}

/// Why a routing was not taken.
#[derive(Clone, Debug)]
pub(super) enum Refusal {
    /// It is at another revision.
    Conflict(u64),
    /// It cannot be done.
    Cannot(String),
}

/// What carries out a routing.
pub(super) trait Carrier: Debug + Send + Sync {
    /// Returns what it was told.
    fn routing(&self) -> Later<'_, Routing>;

    /// Does what a routing says, or nothing of it; the routing names the revision that was seen. Returns the
    /// new one, and whether it will be known after a restart.
    fn change(&self, routing: Routing) -> Later<'_, Result<(u64, bool), Refusal>>;

    /// Returns what it does and has done.
    fn state(&self) -> Later<'_, RouterState>;

    /// Returns an edge's whole seconds from one on, by arm.
    fn since(&self, front: &str, since: u64) -> BTreeMap<String, Vec<Slice>>;

    /// Returns how many requests since a second are not in what [`Self::since`] returns.
    fn lost(&self, since: u64) -> u64;
}

/// Our own proxy.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) home: PathBuf,
    pub(super) table: Arc<Table>,
    /// Threads that serve.
    pub(super) threads: usize,
}

// === impl Own ===

impl Carrier for Own {
    fn routing(&self) -> Later<'_, Routing> {
        Box::pin(async { self.table.routing() })
    }

    fn change(&self, mut routing: Routing) -> Later<'_, Result<(u64, bool), Refusal>> {
        Box::pin(async move {
            let current = self.table.routing().revision;
            if routing.revision != current {
                return Err(Refusal::Conflict(current));
            }
            routing.revision = current + 1;
            let changed = self.table.change(routing.clone());
            changed.map_err(|error| Refusal::Cannot(crate::abort::chain(&error)))?;
            // It is done already: what cannot be written is only not there after a restart.
            let kept = write_routing(&self.home, &routing).is_ok();
            self.table.listening(self.threads).await;
            Ok((routing.revision, kept))
        })
    }

    fn state(&self) -> Later<'_, RouterState> {
        Box::pin(async { state(&self.table) })
    }

    fn since(&self, front: &str, since: u64) -> BTreeMap<String, Vec<Slice>> {
        self.table.ledger.since(front, since)
    }

    fn lost(&self, _since: u64) -> u64 {
        0
    }
}

/// Answers until it is told to stop.
pub(super) async fn serve(listener: UnixListener, steered: &Steered, stop: &watch::Sender<bool>) {
    let mut stopped = stop.subscribe();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.wait_for(|stop| *stop) => return,
        };
        let Ok((stream, _)) = accepted else { continue };
        let (steered, stop) = (steered.clone(), stop.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let (steered, stop) = (steered.clone(), stop.clone());
                async move { Ok::<_, Infallible>(answer(&steered, &stop, request).await) }
            });
            drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

async fn answer(
    steered: &Steered,
    stop: &watch::Sender<bool>,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let query = |name: &str| {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(found, _)| *found == name).map(|(_, value)| value.to_owned())
    };
    let since = query("since").and_then(|it| it.parse().ok()).unwrap_or_default();
    let carrier = &*steered.carrier;
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/state") => json(StatusCode::OK, &carrier.state().await),
        (&Method::GET, "/routing") => json(StatusCode::OK, &carrier.routing().await),
        (&Method::GET, "/slices") => {
            let front = query("front").unwrap_or_else(|| "entry".to_owned());
            json(StatusCode::OK, &carrier.since(&front, since))
        }
        (&Method::GET, "/lost") => json(StatusCode::OK, &carrier.lost(since)),
        (&Method::PUT, "/routing") => change(steered, request).await,
        (&Method::POST, "/stop") => {
            let state = carrier.state().await;
            stop.send_replace(true);
            json(StatusCode::OK, &state)
        }
        _ => json(StatusCode::NOT_FOUND, &"there is nothing here"),
    }
}

async fn change(steered: &Steered, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let seen = request.headers().get(IF_MATCH).and_then(|it| it.to_str().ok()?.parse::<u64>().ok());
    let body = Limited::new(request.into_body(), ROUTING_BYTES).collect().await;
    let Ok(body) = body else {
        return json(StatusCode::BAD_REQUEST, &"the routing did not come whole");
    };
    let mut routing: Routing = match serde_json::from_slice(&body.to_bytes()) {
        Ok(routing) => routing,
        Err(error) => return json(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let Some(seen) = seen else {
        let current = steered.carrier.routing().await.revision;
        return json(StatusCode::PRECONDITION_FAILED, &current);
    };
    routing.revision = seen;
    match steered.carrier.change(routing).await {
        Ok(told) => json(StatusCode::OK, &told),
        Err(Refusal::Conflict(current)) => json(StatusCode::PRECONDITION_FAILED, &current),
        Err(Refusal::Cannot(message)) => json(StatusCode::CONFLICT, &message),
    }
}

fn state(table: &Table) -> RouterState {
    let arms = table.arms().into_iter().map(|(name, counts)| {
        let state = ArmState {
            in_flight: counts.in_flight.load(Ordering::Acquire),
            requests: counts.requests.load(Ordering::Relaxed),
            failures: counts.failures.load(Ordering::Relaxed),
            refused: counts.refused.load(Ordering::Relaxed),
        };
        (name, state)
    });
    let edges = table.edges().into_iter().map(|(name, edge)| {
        let waiting = edge.waiting.load(Ordering::Acquire);
        (name, EdgeState { waiting, shadow: edge.copies.counts() })
    });
    RouterState {
        second: super::ledger::now_second(),
        revision: table.routing().revision,
        pid: std::process::id(),
        kind: RouterKind::Own,
        arms: arms.collect(),
        edges: edges.collect(),
    }
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Full<Bytes>> {
    let text = serde_json::to_vec(value).expect("plain data");
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response
}
