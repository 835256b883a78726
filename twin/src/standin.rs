//! Stand-ins for dependencies: they answer with what was captured, after the time that it took.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use prophecy_core::Exchange;
use prophecy_core::route::route_of;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A server that answers for one dependency. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct StandIn {
    address: SocketAddr,
    misses: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

/// What was captured of one dependency.
#[derive(Debug, Default)]
struct Behaviour {
    /// Answers by method, path and query, and by route, in the order of their capture.
    exact: BTreeMap<String, Answers>,
    by_route: BTreeMap<String, Answers>,
}

#[derive(Debug, Default)]
struct Answers {
    recorded: Vec<Recorded>,
    next: AtomicUsize,
}

#[derive(Clone, Debug)]
struct Recorded {
    status: u16,
    content_type: Option<String>,
    body: Bytes,
    takes: Duration,
}

// === impl StandIn ===

impl StandIn {
    /// Starts a stand-in for `dependency`, or returns `None` if nothing of it was captured.
    pub(crate) async fn start(
        dependency: &str,
        exchanges: &[Exchange],
    ) -> std::io::Result<Option<Self>> {
        let behaviour = Behaviour::of(dependency, exchanges);
        if behaviour.by_route.is_empty() {
            return Ok(None);
        }
        let behaviour = Arc::new(behaviour);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let misses = Arc::new(AtomicU64::new(0));
        let missed = Arc::clone(&misses);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (behaviour, missed) = (Arc::clone(&behaviour), Arc::clone(&missed));
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        answer(Arc::clone(&behaviour), Arc::clone(&missed), request)
                    });
                    let connection = hyper::server::conn::http1::Builder::new();
                    // How a connection ends is the caller's matter.
                    drop(connection.serve_connection(TokioIo::new(stream), service).await);
                });
            }
        });
        Ok(Some(Self { address, misses, accepting }))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns how many requests nothing captured answers.
    pub(crate) fn misses(&self) -> u64 {
        self.misses.load(Ordering::SeqCst)
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

// === impl Behaviour ===

impl Behaviour {
    fn of(dependency: &str, exchanges: &[Exchange]) -> Self {
        let mut behaviour = Self::default();
        for exchange in exchanges.iter().filter(|exchange| exchange.destination == dependency) {
            let (Some(status), Some(nanos)) = (exchange.status, exchange.latency_nanos()) else {
                continue;
            };
            let recorded = Recorded {
                status,
                content_type: exchange.response_header("content-type").map(str::to_owned),
                body: exchange.response_body.clone().unwrap_or_default().into(),
                takes: Duration::from_nanos(nanos),
            };
            let target = target(&exchange.path, exchange.query.as_deref());
            let exact = format!("{} {target}", exchange.method);
            behaviour.exact.entry(exact).or_default().recorded.push(recorded.clone());
            behaviour.by_route.entry(exchange.route.clone()).or_default().recorded.push(recorded);
        }
        behaviour
    }

    fn find(&self, method: &str, path: &str, query: Option<&str>) -> Option<&Recorded> {
        let exact = self.exact.get(&format!("{method} {}", target(path, query)));
        let answers = exact.or_else(|| self.by_route.get(&route_of(method, path)))?;
        let turn = answers.next.fetch_add(1, Ordering::SeqCst);
        answers.recorded.get(turn % answers.recorded.len())
    }
}

fn target(path: &str, query: Option<&str>) -> String {
    query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"))
}

async fn answer(
    behaviour: Arc<Behaviour>,
    missed: Arc<AtomicU64>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    // The body says nothing about which answer to choose, but it must be read.
    drop(body.collect().await);
    let Some(recorded) = behaviour.find(head.method.as_str(), head.uri.path(), head.uri.query())
    else {
        missed.fetch_add(1, Ordering::SeqCst);
        let mut response = Response::new(Full::new(Bytes::from_static(
            b"prophecy: nothing like this was captured\n",
        )));
        *response.status_mut() = StatusCode::NOT_IMPLEMENTED;
        return Ok(response);
    };
    tokio::time::sleep(recorded.takes).await;
    let mut response = Response::new(Full::new(recorded.body.clone()));
    *response.status_mut() = StatusCode::from_u16(recorded.status).unwrap_or(StatusCode::OK);
    if let Some(kind) = recorded.content_type.as_deref().and_then(|kind| kind.parse().ok()) {
        response.headers_mut().insert(hyper::header::CONTENT_TYPE, kind);
    }
    Ok(response)
}
