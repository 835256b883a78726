//! The server: an accept loop with limits, the router made from the table, and a graceful end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{RawPathParams, Request};
use axum::http::StatusCode;
use axum::routing::{MethodFilter, on};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use prophecy_simulator::Model;
use prophecy_store::Store;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use crate::control::Rollouts;
use crate::feed;
use crate::gateway::{App, Peer, secure};
use crate::limiter::{Limiter, Rate};
use crate::meter::Meter;
use crate::pages;
use crate::policy::RULES;
use crate::problem::Problem;
use crate::service::delivery;
use crate::token::new_id;
use crate::trace::{self, Tracer};
use crate::what_if::Oracle;

/// How much a caller may ask.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// The largest body of a request \[bytes\].
    pub body_bytes: usize,
    /// The largest report \[bytes\].
    pub report_bytes: usize,
    /// The longest a request may take; streams are not ended by it.
    pub timeout: Duration,
    /// The most connections at once.
    pub connections: usize,
    /// Requests per second of one token.
    pub requests_per_second: f64,
    /// Requests of one token at once.
    pub requests_burst: f64,
    /// Failed authentications per second from one address.
    pub failures_per_second: f64,
    /// Failed authentications from one address at once.
    pub failures_burst: f64,
    /// Attempts of a delivery before it is given up.
    pub delivery_attempts: u64,
    /// The wait after the first failed attempt; each further one doubles it.
    pub delivery_backoff: Duration,
    /// Hosts beyond loopback to which webhooks may go, as they are written in a URL.
    pub webhook_hosts: Vec<String>,
}

/// What a server is started with.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Where records are kept.
    pub store: Arc<Store>,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Who carries rollouts out.
    pub rollouts: Arc<dyn Rollouts>,
    /// The key that webhook secrets are derived from; keep it as long as the store.
    pub key: [u8; 32],
    /// How much a caller may ask.
    pub limits: Limits,
    /// The collector that spans of requests are sent to, if any: OTLP over HTTP.
    pub collector: Option<SocketAddr>,
    /// Models that can be asked what would be if, by name.
    pub models: Vec<(String, Model)>,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    end: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

/// Why a server did not start.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 64 * 1024,
            report_bytes: 8 * 1024 * 1024,
            timeout: Duration::from_secs(30),
            connections: 1_024,
            requests_per_second: 200.0,
            requests_burst: 400.0,
            failures_per_second: 0.2,
            failures_burst: 20.0,
            delivery_attempts: 8,
            delivery_backoff: Duration::from_secs(5),
            webhook_hosts: Vec::new(),
        }
    }
}

// === impl ServeOptions ===

impl ServeOptions {
    /// Makes options with default limits, on a free port of loopback.
    pub fn new(store: Arc<Store>, rollouts: Arc<dyn Rollouts>, key: [u8; 32]) -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            store,
            listen,
            rollouts,
            key,
            limits: Limits::default(),
            collector: None,
            models: Vec::new(),
        }
    }
}

// === impl Server ===

impl Server {
    /// Starts to serve.
    ///
    /// # Errors
    ///
    /// When the address cannot be listened on.
    pub async fn start(options: ServeOptions) -> Result<Self, ServeError> {
        let listen = |source| ServeError::Listen { address: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let (end, ending) = watch::channel(false);
        let (newest, known) = watch::channel(0);
        let limits = options.limits;
        let (tracer, outbox) = Tracer::to(options.collector);
        let app = Arc::new(App {
            by_token: Limiter::new(Rate {
                per_second: limits.requests_per_second,
                burst: limits.requests_burst,
            }),
            failed: Limiter::new(Rate {
                per_second: limits.failures_per_second,
                burst: limits.failures_burst,
            }),
            store: options.store,
            rollouts: options.rollouts,
            key: options.key,
            meter: Meter::default(),
            tracer,
            oracle: Oracle::new(options.models),
            newest: known,
            creating: tokio::sync::Mutex::new(()),
            touched: std::sync::Mutex::default(),
            ending: ending.clone(),
            limits,
        });
        let mut tasks = vec![
            tokio::spawn(feed::watch_store(Arc::clone(&app), newest)),
            tokio::spawn(delivery::run(Arc::clone(&app))),
            tokio::spawn(accept(
                listener,
                router(&app).merge(pages::router(&app)),
                app.limits.connections,
                ending,
            )),
        ];
        tasks.extend(outbox.map(|outbox| tokio::spawn(trace::run(app, outbox))));
        Ok(Self { address, end, tasks })
    }

    /// Returns where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends: takes no new requests, answers those under way, ends streams.
    pub async fn stop(self) {
        self.end.send_replace(true);
        for task in self.tasks {
            // A task that panicked is at its end, too.
            let _ended = task.await.is_ok();
        }
    }
}

fn router(app: &Arc<App>) -> Router {
    let mut router = Router::new();
    for rule in RULES {
        let app = Arc::clone(app);
        let method = match rule.method {
            "POST" => MethodFilter::POST,
            "DELETE" => MethodFilter::DELETE,
            _ => MethodFilter::GET,
        };
        let handler = move |parameters: RawPathParams, request: Request| async move {
            app.answer(rule, parameters, request).await
        };
        router = router.route(rule.path, on(method, handler));
    }
    router.fallback(|| async { refuse(&Problem::not_found("place")) }).method_not_allowed_fallback(
        || async {
            refuse(&Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "the place exists, but not with this method",
            ))
        },
    )
}

fn refuse(problem: &Problem) -> axum::http::Response<Body> {
    let request_id = new_id(crate::clock::now());
    let mut response = problem.response(&request_id);
    secure(response.headers_mut(), &request_id);
    response
}

async fn accept(
    listener: TcpListener,
    router: Router,
    connections: usize,
    mut ending: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(connections));
    let graceful = GracefulShutdown::new();
    loop {
        let place = Arc::clone(&places).acquire_owned();
        let accepted = tokio::select! {
            _ = ending.wait_for(|ending| *ending) => break,
            accepted = async { (place.await, listener.accept().await) } => accepted,
        };
        let (Ok(place), Ok((stream, peer))) = accepted else {
            // Out of descriptors, most likely: others will end.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        // A failure would only make answers slower.
        let _quick = stream.set_nodelay(true).is_ok();
        let router = router.clone().layer(axum::Extension(Peer(peer.ip())));
        let served = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(Duration::from_secs(10))
            .max_buf_size(64 * 1024)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
        let watched = graceful.watch(served);
        tokio::spawn(async move {
            // The peer went away, or sent what is no HTTP: there is nobody to tell.
            let _served = watched.await.is_ok();
            drop(place);
        });
    }
    drop(listener);
    let _quiet = tokio::time::timeout(Duration::from_secs(10), graceful.shutdown()).await.is_ok();
}
