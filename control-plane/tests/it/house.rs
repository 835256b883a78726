//! A control plane over a store in a temporary folder, and a client that speaks to its socket.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prophecy_control_plane::cloud_event::{Happening, Place};
use prophecy_control_plane::{
    Act, ControlError, Limits, NewSecret, Pending, PlanRequest, Rollouts, Scope, ServeOptions,
    Server, Verb,
};
use prophecy_core::Timestamp;
use prophecy_store::{LogLine, NewLogLine, PublicStatus, Role, Rollout, Store, sortable_id};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Stores what it is asked, and remembers it.
#[derive(Debug)]
pub(crate) struct Fake {
    store: Arc<Store>,
    made: AtomicU64,
    pub(crate) calls: Mutex<Vec<String>>,
}

impl Rollouts for Fake {
    fn create(&self, request: PlanRequest) -> Pending<'_, Rollout> {
        Box::pin(async move {
            self.calls.lock().expect("whole").push("create".to_owned());
            let nth = self.made.fetch_add(1, Ordering::SeqCst);
            let mut unique = [0; 10];
            unique[2..].copy_from_slice(&nth.to_be_bytes());
            let now = Timestamp(1_700_000_000_000_000_000);
            let rollout = Rollout {
                id: sortable_id(now, unique),
                idempotency_key: request.idempotency_key,
                system: request.system,
                environment: request.environment,
                candidate_digest: request.candidate_digest,
                strategy: request.strategy,
                state: "queued".to_owned(),
                public_status: PublicStatus::Pending,
                stage: 0,
                weight: 0,
                revision: 1,
                prediction_id: request.prediction_id,
                plan_json: request.plan.to_string(),
                folder: "kept/apart".to_owned(),
                created_by: request.actor,
                created_at: now,
                updated_at: now,
                ended_at: None,
                reason: None,
            };
            self.store.create_rollout(&rollout).await?;
            let line = NewLogLine { at: now, level: "info".to_owned(), text: "begun".to_owned() };
            self.store.append_logs(&rollout.id, &[line]).await?;
            Ok(rollout)
        })
    }

    fn act(&self, act: Act) -> Pending<'_, Rollout> {
        Box::pin(async move {
            self.calls.lock().expect("whole").push(act.verb.word().to_owned());
            let mut rollout = self.store.get_rollout(&act.rollout_id).await?;
            if rollout.revision != act.expected_revision {
                return Err(ControlError::Stale {
                    expected: act.expected_revision,
                    found: rollout.revision,
                });
            }
            act.verb.word().clone_into(&mut rollout.state);
            if act.verb == Verb::Abort {
                rollout.ended_at = Some(rollout.created_at);
            }
            let place = Place {
                subject: &rollout.id,
                system: &rollout.system,
                environment: &rollout.environment,
                candidate_digest: &rollout.candidate_digest,
            };
            let events = Happening::StepProgress.events(&place, rollout.created_at, &json!({}));
            Ok(self.store.update_rollout(&rollout, act.expected_revision, &events).await?)
        })
    }

    fn approve(&self, _rollout_id: String, _signed: Value) -> Pending<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn logs(&self, rollout_id: String, after: u64, limit: u32) -> Pending<'_, Vec<LogLine>> {
        Box::pin(async move { Ok(self.store.list_logs(&rollout_id, after, limit).await?) })
    }
}

/// A running control plane.
pub(crate) struct House {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) store: Arc<Store>,
    pub(crate) fake: Arc<Fake>,
    pub(crate) server: Server,
    pub(crate) admin: String,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// Limits that no test of something else meets.
pub(crate) fn wide() -> Limits {
    Limits {
        requests_per_second: 1e6,
        requests_burst: 1e6,
        failures_per_second: 1e6,
        failures_burst: 1e6,
        delivery_backoff: Duration::from_millis(20),
        delivery_attempts: 3,
        ..Limits::default()
    }
}

impl House {
    pub(crate) async fn with(limits: Limits) -> Self {
        Self::observed(limits, None).await
    }

    /// With a collector of traces.
    pub(crate) async fn observed(limits: Limits, collector: Option<SocketAddr>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let url = format!("sqlite:{}", folder.path().join("store.db").display());
        let store = Arc::new(Store::open(&url).await.expect("a new store"));
        let fake = Arc::new(Fake {
            store: Arc::clone(&store),
            made: AtomicU64::new(0),
            calls: Mutex::default(),
        });
        let mut options =
            ServeOptions::new(Arc::clone(&store), Arc::clone(&fake) as Arc<dyn Rollouts>, [7; 32]);
        options.limits = limits;
        options.collector = collector;
        let server = Server::start(options).await.expect("a free port");
        let admin = token(&store, Role::Admin, &Scope::everywhere(), None).await;
        Self { folder, store, fake, server, admin }
    }

    pub(crate) async fn new() -> Self {
        Self::with(wide()).await
    }

    pub(crate) async fn token(&self, role: Role) -> String {
        token(&self.store, role, &Scope::everywhere(), None).await
    }

    /// Sends a request as the admin.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.ask_as(&self.admin, method, path, &[], body).await
    }

    /// Sends a request with a token and more headers.
    pub(crate) async fn ask_as(
        &self,
        token: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Answer {
        let body = body.map_or_else(String::new, Value::to_string);
        let mut all = vec![("content-type", "application/json")];
        let bearer = format!("Bearer {token}");
        if !token.is_empty() {
            all.push(("authorization", &bearer));
        }
        all.extend(headers);
        self.send(method, path, &all, body.as_bytes()).await
    }

    /// Sends bytes, and reads to the end.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut stream = self.open(method, path, headers, body).await;
        let mut bytes = Vec::new();
        let read = stream.read_to_end(&mut bytes);
        // A server that refuses a body may reset the connection after its answer.
        let _read = tokio::time::timeout(Duration::from_secs(40), read).await.expect("an answer");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Answer { status: status.unwrap_or(0), head: head.to_owned(), body: body.to_owned() }
    }

    /// Sends a request and leaves the answer to be read.
    pub(crate) async fn open(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> TcpStream {
        let mut stream = TcpStream::connect(self.server.address()).await.expect("it listens");
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
        stream.write_all(head.as_bytes()).await.expect("it reads");
        // It may answer before it has read all.
        let _sent = stream.write_all(body).await.is_ok();
        stream
    }

    /// Registers a prediction of a system and returns its id.
    pub(crate) async fn prediction(&self, verdict: &str, risk: f64) -> String {
        let path = "/api/v1/predictions?environment=production";
        let answer = self.ask("POST", path, Some(&report(verdict, risk))).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()["id"].as_str().expect("an id").to_owned()
    }

    /// Begins a rollout and returns its id.
    pub(crate) async fn rollout(&self, candidate: &str) -> String {
        let answer = self.ask("POST", "/api/v1/rollouts", Some(&plan(candidate))).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()["id"].as_str().expect("an id").to_owned()
    }
}

/// Stores a token and returns its text.
pub(crate) async fn token(
    store: &Store,
    role: Role,
    scope: &Scope,
    expires_at: Option<Timestamp>,
) -> String {
    let new = NewSecret::make("test", role, scope, Timestamp(1), expires_at).expect("randomness");
    new.store(store).await.expect("it is stored")
}

pub(crate) fn plan(candidate: &str) -> Value {
    json!({
        "system": "shop", "environment": "production", "candidate_digest": candidate,
        "strategy": "canary", "plan": {},
    })
}

pub(crate) fn report(verdict: &str, risk: f64) -> Value {
    let quantiles = json!({
        "p5": 10.0, "p10": 11.0, "p25": 12.0, "p50": 14.0, "p75": 16.0, "p90": 18.0, "p95": 20.0,
    });
    json!({
        "schema": "prophecy.report/1", "engine": "0.1.0", "system": "shop", "verdict": verdict,
        "reasons": [],
        "risk": {
            "score": (risk * 100.0).round() as u32, "probability": risk,
            "interval": [0.0, 1.0], "max_score": 20.0,
        },
        "claims": [{
            "id": "checkout/p99", "service": "checkout", "route": "POST /checkout",
            "metric": "latency_p99", "threshold": 30.0, "unit": "ms", "bound": "the manifest",
            "probability": risk, "interval": [0.0, 1.0], "caused": risk,
            "baseline": quantiles, "candidate": quantiles, "because": [], "exchanges": [10, 10],
        }],
        "routes": [], "differences": [], "mitigations": [],
        "evidence": {
            "offered": 10, "sent": 10, "lost": 0, "send_lag_ms_p50": 0.1, "send_lag_ms_p99": 0.2,
            "speed": 1.0, "aa": { "noise": 0.01, "passed": true },
            "fidelity": { "passed": true, "error": 0.01, "held_out": true, "routes": [] },
            "ended": [], "deltas": [], "not_claimed": [], "notes": [],
        },
        "inputs": {
            "dataset": "d", "baseline": "b", "candidate": "c", "policy": "replayable",
            "window": ["x", "y"], "exchanges": 10,
        },
        "seed": 1, "replications": 10,
    })
}

/// Waits, not for ever, until a condition holds.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let end = tokio::time::Instant::now() + Duration::from_secs(15);
    while !holds().await {
        assert!(tokio::time::Instant::now() < end, "{what}: waited too long");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
