//! A router in a folder of its own, and callers for it.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use prophecy_runner::router::{
    self, Arm, Client, Front, RouterOptions, Routing, RunRouterError, haproxy,
};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::instance::Instance;

/// The longest that anything here may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A running router.
pub(super) struct Rig {
    pub(super) folder: TempDir,
    pub(super) client: Client,
    pub(super) listen: SocketAddr,
    thread: Option<JoinHandle<Result<(), RunRouterError>>>,
}

/// A connection to a front.
pub(super) struct Caller {
    listen: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

// === impl Rig ===

impl Rig {
    pub(super) async fn start(arms: Vec<Arm>) -> Self {
        let listen = free_address();
        Self::with(front(listen, arms)).await
    }

    pub(super) async fn with(front: Front) -> Self {
        Self::run_by(router::run, front).await
    }

    /// The same, behind HAProxy.
    pub(super) async fn behind_haproxy(arms: Vec<Arm>) -> Self {
        Self::run_by(haproxy::run, front(free_address(), arms)).await
    }

    async fn run_by(run: fn(&RouterOptions) -> Result<(), RunRouterError>, front: Front) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = RouterOptions { home: folder.path().to_owned(), threads: 2 };
        let thread = std::thread::spawn(move || run(&options));
        let (client, listen) = (Client::new(folder.path()), front.listen);
        let rig = Self { folder, client, listen, thread: Some(thread) };
        is_up(&rig.client).await;
        rig.change(|routing| drop(routing.fronts.insert("entry".to_owned(), front))).await;
        rig
    }

    /// Tells the router something else.
    pub(super) async fn change(&self, edit: impl FnOnce(&mut Routing)) {
        let mut routing = self.client.routing().await.unwrap();
        edit(&mut routing);
        self.client.change(&routing).await.unwrap();
    }

    pub(super) async fn change_front(&self, edit: impl FnOnce(&mut Front)) {
        self.change(|routing| edit(routing.fronts.get_mut("entry").unwrap())).await;
    }

    pub(super) async fn caller(&self) -> Caller {
        Caller::connect(self.listen).await
    }

    /// Waits until the router's state is as it should be.
    pub(super) async fn until(
        &self,
        what: &str,
        is: impl Fn(&BTreeMap<String, Counts>, u64) -> bool,
    ) {
        let end = Instant::now() + PATIENCE;
        loop {
            let state = self.client.state().await.unwrap();
            let counts = state.arms.iter().map(|(name, arm)| {
                let counts = Counts {
                    in_flight: arm.in_flight,
                    requests: arm.requests,
                    failures: arm.failures,
                    refused: arm.refused,
                };
                (name.clone(), counts)
            });
            let counts = counts.collect();
            let waiting = state.edges.values().map(|edge| edge.waiting).sum();
            if is(&counts, waiting) {
                return;
            }
            assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}; found {counts:?}");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Stops the router and waits for its end.
    pub(super) async fn stop(mut self) {
        self.client.stop().await.unwrap();
        let thread = self.thread.take().unwrap();
        let joined = tokio::task::spawn_blocking(move || thread.join().unwrap());
        timeout(PATIENCE, joined).await.unwrap().unwrap().unwrap();
    }
}

/// What an arm has had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) in_flight: u64,
    pub(super) requests: u64,
    pub(super) failures: u64,
    pub(super) refused: u64,
}

// === impl Caller ===

impl Caller {
    pub(super) async fn connect(listen: SocketAddr) -> Self {
        let stream = TcpStream::connect(listen).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, carrying) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(async move { drop(carrying.with_upgrades().await) });
        Self { listen, sender }
    }

    pub(super) async fn get(&mut self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[]).await
    }

    pub(super) async fn ask(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Answer {
        self.try_ask(method, path, headers).await.unwrap()
    }

    /// The same where the answer may be cut short.
    pub(super) async fn try_ask(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> hyper::Result<Answer> {
        let mut request = Request::builder().method(method).uri(path);
        request = request.header("host", self.listen.to_string());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::default()).unwrap();
        let asked = async {
            self.sender.ready().await?;
            let (parts, body) = self.sender.send_request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            let body = String::from_utf8(body.to_vec()).unwrap();
            Ok(Answer { status: parts.status, headers: parts.headers, body })
        };
        timeout(PATIENCE, asked).await.expect("an answer in time")
    }
}

/// Waits until a router answers.
pub(super) async fn is_up(client: &Client) {
    let end = Instant::now() + PATIENCE;
    while client.state().await.is_err() {
        assert!(Instant::now() < end, "the router is not up within {PATIENCE:?}");
        sleep(Duration::from_millis(5)).await;
    }
}

pub(super) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

pub(super) fn arm(name: &str, weight: u32, instances: &[&Instance]) -> Arm {
    let backends = instances.iter().map(|it| it.address).collect();
    Arm { name: name.to_owned(), weight, backends }
}

pub(super) fn front(listen: SocketAddr, arms: Vec<Arm>) -> Front {
    Front {
        listen,
        source: "client".to_owned(),
        destination: "app".to_owned(),
        arms,
        sticky: None,
        rules: Vec::new(),
        shadow: None,
        hold: None,
        observed: true,
        answer_limit_ms: 10_000,
    }
}

/// Runs a router in this process if it was started to be one: see `steering`.
pub(super) fn run_as_told(home: &Path) {
    router::run(&RouterOptions { home: home.to_owned(), threads: 1 }).unwrap();
}
