//! An instance of a service, with an answer for every test.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderMap, UPGRADE};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

pub(super) type Out = BoxBody<Bytes, hyper::Error>;

/// A running instance.
pub(super) struct Instance {
    pub(super) address: SocketAddr,
    pub(super) seen: Arc<Seen>,
    serving: JoinHandle<()>,
}

/// What an instance was asked.
pub(super) struct Seen {
    name: &'static str,
    pub(super) requests: AtomicU64,
    /// Gives `/wait` its answers.
    pub(super) gate: Semaphore,
}

// === impl Instance ===

impl Instance {
    pub(super) async fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (requests, gate) = (AtomicU64::new(0), Semaphore::new(0));
        let seen = Arc::new(Seen { name, requests, gate });
        let serving = tokio::spawn(serve(listener, Arc::clone(&seen)));
        Self { address, seen, serving }
    }

    pub(super) fn requests(&self) -> u64 {
        self.seen.requests.load(Ordering::SeqCst)
    }

    /// Ends it as a crash does: no connection survives.
    pub(super) fn kill(&self) {
        self.serving.abort();
    }
}

#[expect(clippy::infinite_loop, reason = "it ends when its task is aborted")]
async fn serve(listener: TcpListener, seen: Arc<Seen>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let seen = Arc::clone(&seen);
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let seen = Arc::clone(&seen);
                async move { Ok::<_, Infallible>(answer(&seen, request).await) }
            });
            let builder = auto::Builder::new(TokioExecutor::new());
            drop(builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await);
        });
    }
}

async fn answer(seen: &Seen, mut request: Request<Incoming>) -> Response<Out> {
    seen.requests.fetch_add(1, Ordering::SeqCst);
    match request.uri().path() {
        "/echo" => Response::new(request.into_body().boxed()),
        "/wait" => {
            seen.gate.acquire().await.unwrap().forget();
            text(seen.name)
        }
        "/hang" => std::future::pending().await,
        "/broken" => {
            let mut response = text("broken");
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        }
        "/headers" => text(&format!("{:?}", request.headers())),
        "/trailers" => {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().unwrap());
            let body =
                Full::new(Bytes::from(seen.name)).with_trailers(async { Some(Ok(trailers)) });
            Response::new(body.map_err(|never| match never {}).boxed())
        }
        "/upgrade" => {
            let upgraded = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let stream = TokioIo::new(upgraded.await.unwrap());
                let (mut read, mut write) = tokio::io::split(stream);
                drop(tokio::io::copy(&mut read, &mut write).await);
            });
            let mut response = text("");
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            response.headers_mut().insert(UPGRADE, "echo".parse().unwrap());
            response.headers_mut().insert(CONNECTION, "upgrade".parse().unwrap());
            response
        }
        _ => text(seen.name),
    }
}

fn text(words: &str) -> Response<Out> {
    Response::new(Full::new(Bytes::from(words.to_owned())).map_err(|never| match never {}).boxed())
}
