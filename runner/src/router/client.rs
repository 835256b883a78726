//! Steering our own router.

use std::collections::BTreeMap;
use std::env;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::header::{HOST, IF_MATCH};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout};

use super::admin::RouterState;
use super::routing::{self, Arm, Front, Routing, Rule, Shadow, Sticky};
use super::socket_path;
use crate::slice::Slice;
use crate::strategy::{Select, Weight};
use crate::traffic::{Edge, Later, Router, RouterError, RouterKind, Traffic};

/// How long a router may take for an answer.
const ANSWER: Duration = Duration::from_secs(2);

/// How long a router may take to start.
const START: Duration = Duration::from_secs(10);

/// Talks to a router by the socket in its folder.
#[derive(Clone, Debug)]
pub struct Client {
    home: PathBuf,
    kind: RouterKind,
}

/// HAProxy, as what carries a rollout's traffic.
#[derive(Clone, Debug)]
pub struct HaproxyRouter {
    /// Its companion is steered as our own router is.
    companion: OwnRouter,
}

/// Our own router, as what carries a rollout's traffic.
#[derive(Clone, Debug)]
pub struct OwnRouter {
    client: Client,
    /// Threads of a router that has to be started again.
    threads: usize,
}

// === impl Client ===

impl Client {
    /// Names a router's folder; nothing is asked yet.
    pub fn new(home: &Path) -> Self {
        Self::of(home, RouterKind::Own)
    }

    /// Names the folder of a router of some kind; the kind matters where one has to be started.
    pub fn of(home: &Path, kind: RouterKind) -> Self {
        Self { home: home.to_owned(), kind }
    }

    /// Makes sure that a router runs: starts one, as a process that outlives this one, if none answers.
    ///
    /// # Errors
    ///
    /// [`RouterError::Unreachable`] if it does not come up.
    pub async fn ensure(&self, threads: usize) -> Result<RouterState, RouterError> {
        if let Ok(state) = self.state().await {
            return self.checked(state);
        }
        let unreachable = |found: String| RouterError::Unreachable { found };
        std::fs::create_dir_all(&self.home).map_err(|error| unreachable(error.to_string()))?;
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.home.join("router.log"))
            .map_err(|error| unreachable(error.to_string()))?;
        let program =
            env::var_os("PROPHECY_PROGRAM").map_or_else(env::current_exe, |it| Ok(it.into()));
        let mut child = Command::new(program.map_err(|error| unreachable(error.to_string()))?)
            .args(["router", "--home"])
            .arg(&self.home)
            .args(["--threads", &threads.to_string()])
            .args((self.kind == RouterKind::Haproxy).then_some("--haproxy"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0)
            .spawn()
            .map_err(|error| unreachable(error.to_string()))?;
        std::thread::spawn(move || drop(child.wait()));
        let until = Instant::now() + START;
        loop {
            match self.state().await {
                Ok(state) => return self.checked(state),
                Err(error) if Instant::now() >= until => return Err(error),
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Refuses a router of another kind, which an earlier attempt may have left.
    fn checked(&self, state: RouterState) -> Result<RouterState, RouterError> {
        if state.kind == self.kind {
            return Ok(state);
        }
        let message = format!(
            "it is `{}`, expected `{}`; `prophecy rollout down` ends it",
            state.kind.name(),
            self.kind.name()
        );
        Err(RouterError::Refused { message })
    }

    /// Returns what the router does and has done.
    ///
    /// # Errors
    ///
    /// [`RouterError`].
    pub async fn state(&self) -> Result<RouterState, RouterError> {
        self.ask(Method::GET, "/state", None).await
    }

    /// Returns what the router was told.
    ///
    /// # Errors
    ///
    /// [`RouterError`].
    pub async fn routing(&self) -> Result<Routing, RouterError> {
        self.ask(Method::GET, "/routing", None).await
    }

    /// Tells it something else; `routing.revision` is the one that was seen. Returns the new one.
    ///
    /// # Errors
    ///
    /// [`RouterError::Conflict`] if it is at another revision.
    pub async fn change(&self, routing: &Routing) -> Result<u64, RouterError> {
        let text = serde_json::to_vec(routing).expect("plain data");
        let told = Some((routing.revision, text));
        let (revision, _kept): (u64, bool) = self.ask(Method::PUT, "/routing", told).await?;
        Ok(revision)
    }

    /// Returns an edge's whole seconds from one on, by arm.
    ///
    /// # Errors
    ///
    /// [`RouterError`].
    pub async fn slices(
        &self,
        front: &str,
        since: u64,
    ) -> Result<BTreeMap<String, Vec<Slice>>, RouterError> {
        self.ask(Method::GET, &format!("/slices?front={front}&since={since}"), None).await
    }

    /// Returns how many requests that ended since a second are in no slice.
    ///
    /// # Errors
    ///
    /// [`RouterError`].
    pub async fn lost(&self, since: u64) -> Result<u64, RouterError> {
        self.ask(Method::GET, &format!("/lost?since={since}"), None).await
    }

    /// Lets requests in flight end, and ends the router.
    ///
    /// # Errors
    ///
    /// [`RouterError`].
    pub async fn stop(&self) -> Result<(), RouterError> {
        self.ask::<RouterState>(Method::POST, "/stop", None).await.map(drop)
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        told: Option<(u64, Vec<u8>)>,
    ) -> Result<T, RouterError> {
        let unreachable = |found: String| RouterError::Unreachable { found };
        let seen = told.as_ref().map(|(revision, _)| *revision);
        let asked = async {
            let stream = UnixStream::connect(socket_path(&self.home)).await;
            let stream = stream.map_err(|error| unreachable(error.to_string()))?;
            let handshake = http1::handshake(TokioIo::new(stream)).await;
            let (mut sender, carrying) =
                handshake.map_err(|error| unreachable(error.to_string()))?;
            tokio::spawn(async move { drop(carrying.await) });
            let mut request = Request::builder().method(method).uri(path).header(HOST, "router");
            if let Some(revision) = seen {
                request = request.header(IF_MATCH, revision);
            }
            let body = Full::new(Bytes::from(told.map(|(_, text)| text).unwrap_or_default()));
            let request = request.body(body).expect("its parts are valid");
            let response = sender.send_request(request).await;
            let response = response.map_err(|error| unreachable(error.to_string()))?;
            let status = response.status();
            let body = response.into_body().collect().await;
            let body = body.map_err(|error| unreachable(error.to_string()))?.to_bytes();
            Ok((status, body))
        };
        let (status, body) = timeout(ANSWER, asked)
            .await
            .unwrap_or_else(|_| Err(unreachable("it did not answer in time".to_owned())))?;
        if status == StatusCode::PRECONDITION_FAILED {
            let found = serde_json::from_slice(&body).unwrap_or_default();
            return Err(RouterError::Conflict { found, expected: seen.unwrap_or_default() });
        }
        if !status.is_success() {
            let message = serde_json::from_slice(&body).unwrap_or_else(|_| status.to_string());
            return Err(RouterError::Refused { message });
        }
        serde_json::from_slice(&body).map_err(|error| unreachable(error.to_string()))
    }
}

// === impl OwnRouter ===

impl OwnRouter {
    /// Steers the router of a folder.
    pub fn new(home: &Path, threads: usize) -> Self {
        Self { client: Client::new(home), threads }
    }
}

impl Router for OwnRouter {
    fn apply<'a>(
        &'a self,
        edges: &'a BTreeMap<String, Edge>,
        traffic: &'a Traffic,
    ) -> Later<'a, Result<(), RouterError>> {
        Box::pin(async move {
            let now = match self.client.routing().await {
                Err(RouterError::Unreachable { .. }) => {
                    // A router that is gone comes back with what it was told last.
                    self.client.ensure(self.threads).await?;
                    self.client.routing().await?
                }
                answered => answered?,
            };
            let fronts: BTreeMap<String, Front> =
                edges.iter().map(|(name, edge)| (name.clone(), front(edge, traffic))).collect();
            if fronts == now.fronts {
                return Ok(());
            }
            self.client.change(&Routing { revision: now.revision, fronts }).await.map(drop)
        })
    }

    fn in_flight(&self) -> Later<'_, Result<BTreeMap<String, u64>, RouterError>> {
        Box::pin(async move {
            let state = self.client.state().await?;
            Ok(state.arms.into_iter().map(|(name, arm)| (name, arm.in_flight)).collect())
        })
    }

    fn second(&self) -> Later<'_, Result<u64, RouterError>> {
        Box::pin(async move { Ok(self.client.state().await?.second) })
    }

    fn slices(&self, since: u64) -> Later<'_, Result<BTreeMap<String, Vec<Slice>>, RouterError>> {
        Box::pin(self.client.slices("entry", since))
    }
}

// === impl HaproxyRouter ===

impl HaproxyRouter {
    /// Steers the HAProxy of a folder.
    pub fn new(home: &Path, threads: usize) -> Self {
        let client = Client::of(home, RouterKind::Haproxy);
        Self { companion: OwnRouter { client, threads } }
    }

    /// Starts the companion if it is gone: HAProxy serves without it, but nobody counts.
    async fn accompany(&self) -> Result<&Client, RouterError> {
        let OwnRouter { client, threads } = &self.companion;
        client.ensure(*threads).await.map(|_| client)
    }
}

impl Router for HaproxyRouter {
    fn apply<'a>(
        &'a self,
        edges: &'a BTreeMap<String, Edge>,
        traffic: &'a Traffic,
    ) -> Later<'a, Result<(), RouterError>> {
        if traffic.mirrored.is_some() {
            let message = "HAProxy cannot copy requests".to_owned();
            return Box::pin(async { Err(RouterError::Refused { message }) });
        }
        self.companion.apply(edges, traffic)
    }

    fn in_flight(&self) -> Later<'_, Result<BTreeMap<String, u64>, RouterError>> {
        Box::pin(async {
            self.accompany().await?;
            self.companion.in_flight().await
        })
    }

    fn slices(&self, since: u64) -> Later<'_, Result<BTreeMap<String, Vec<Slice>>, RouterError>> {
        Box::pin(async move { self.accompany().await?.slices("entry", since).await })
    }

    fn lost(&self, since: u64) -> Later<'_, Result<u64, RouterError>> {
        Box::pin(async move { self.accompany().await?.lost(since).await })
    }
}

/// Returns what carries an environment's traffic.
pub fn steer(home: &Path, kind: RouterKind, threads: usize) -> Arc<dyn Router> {
    match kind {
        RouterKind::Own => Arc::new(OwnRouter::new(home, threads)),
        RouterKind::Haproxy => Arc::new(HaproxyRouter::new(home, threads)),
    }
}

fn front(edge: &Edge, traffic: &Traffic) -> Front {
    let arm = |(name, weight, backends): &(String, Weight, _)| Arm {
        name: name.clone(),
        weight: weight.parts(),
        backends: Clone::clone(backends),
    };
    let arms: Vec<Arm> = edge.arms.iter().map(arm).collect();
    let has = |name: &String| arms.iter().any(|arm| arm.name == *name);
    let select = traffic.select.as_ref().filter(|_| edge.divided);
    let rules = select.zip(arms.first()).map(|(select, arm)| {
        let (field, value) = match select {
            Select::Header(name, value) => (name.to_ascii_lowercase(), value.clone()),
            Select::Cookie(name, value) => (format!("cookie:{name}"), value.clone()),
        };
        Rule { field, value, arm: arm.name.clone() }
    });
    let shadow = traffic.mirrored.as_ref().filter(|(name, _)| edge.divided && has(name));
    let is_entry = edge.source == "client";
    Front {
        listen: edge.listen,
        source: edge.source.clone(),
        destination: edge.destination.clone(),
        sticky: (traffic.sticky && is_entry && arms.len() > 1)
            .then(|| Sticky { cookie: "session".to_owned(), assign: true }),
        rules: rules.into_iter().collect(),
        shadow: shadow.map(|(arm, share)| Shadow { arm: arm.clone(), share: share.parts() }),
        hold: None,
        observed: is_entry,
        answer_limit_ms: routing::answer_limit_ms(),
        arms,
    }
}
