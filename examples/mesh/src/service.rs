//! The running service: what its requests share, and how one is answered.

mod input;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response, StatusCode};
use prophecy_core::Seed;
use thiserror::Error;

use crate::cache::Cache;
use crate::client::Client;
use crate::config::{Config, RouteConfig, Step};
use crate::database::{Database, OpenDatabaseError};
use crate::gate::Gate;
use crate::route_table::{Match, RouteTable};
use crate::steps::{self, Answer};

/// A service that answers requests.
#[derive(Debug)]
pub(crate) struct Service {
    config: Config,
    routes: RouteTable,
    gate: Gate,
    clients: BTreeMap<String, Arc<Client>>,
    caches: BTreeMap<String, Cache>,
    database: Option<Arc<Database>>,
    kept: Mutex<Vec<Vec<u8>>>,
    luck: Seed,
    request_count: AtomicU64,
}

/// Why a service cannot start.
#[derive(Debug, Error)]
pub(crate) enum StartServiceError {
    /// Its database cannot be used.
    #[error("cannot start `{name}`")]
    Database {
        /// The service.
        name: String,
        /// Why.
        source: OpenDatabaseError,
    },
}

// === impl Service ===

impl Service {
    /// Makes a service ready to answer.
    ///
    /// # Errors
    ///
    /// [`StartServiceError`].
    pub(crate) fn start(config: Config) -> Result<Arc<Self>, StartServiceError> {
        let database = open_database(&config)
            .map_err(|source| StartServiceError::Database { name: config.name.clone(), source })?;
        let clients = config.clients.iter();
        let clients = clients.map(|(name, client)| (name.clone(), Arc::new(Client::new(client))));
        let caches = config.caches.iter();
        let caches =
            caches.map(|(name, cache)| (name.clone(), Cache::new(cache.capacity, cache.ttl.0)));
        Ok(Arc::new(Self {
            routes: RouteTable::new(&config.routes),
            gate: Gate::new(config.workers, config.queue),
            clients: clients.collect(),
            caches: caches.collect(),
            database: database.map(Arc::new),
            kept: Mutex::default(),
            luck: config.luck.map_or_else(own_luck, Seed),
            request_count: AtomicU64::new(0),
            config,
        }))
    }

    /// Returns its name.
    pub(crate) fn name(&self) -> &str {
        &self.config.name
    }

    /// Returns a client.
    ///
    /// # Panics
    ///
    /// If the name was not checked.
    pub(crate) fn client(&self, name: &str) -> Arc<Client> {
        Arc::clone(self.clients.get(name).expect("names were checked"))
    }

    /// Returns a cache.
    ///
    /// # Panics
    ///
    /// If the name was not checked.
    pub(crate) fn cache(&self, name: &str) -> &Cache {
        self.caches.get(name).expect("names were checked")
    }

    /// Returns its database.
    ///
    /// # Panics
    ///
    /// If it has none; a query step is refused then.
    pub(crate) fn database(&self) -> &Arc<Database> {
        self.database.as_ref().expect("query steps were checked")
    }

    /// Keeps memory for good.
    pub(crate) fn keep(&self, memory: Vec<u8>) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).push(memory);
    }

    /// Answers a request.
    pub(crate) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Response<Full<Bytes>> {
        let (method, path) = (request.method().as_str(), request.uri().path());
        if path == "/healthz" {
            let body = Some(serde_json::json!({ "service": self.name(), "status": "ok" }));
            return response(Answer { status: StatusCode::OK, body }, None);
        }
        let (index, parameters) = match self.routes.find(method, path) {
            Match::Route(index, parameters) => (index, parameters),
            Match::MethodNotAllowed => {
                let status = StatusCode::METHOD_NOT_ALLOWED;
                return response(Answer::error(status, "the path has no such method"), None);
            }
            Match::NotFound => {
                return response(
                    Answer::error(StatusCode::NOT_FOUND, "there is no such path"),
                    None,
                );
            }
        };
        // A server thread would not notice that its client has gone: the work goes on regardless.
        let work = tokio::spawn(async move {
            let route = &self.config.routes[index];
            self.work(route, parameters, request).await
        });
        work.await.unwrap_or_else(|_| {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            response(Answer::error(status, "the request failed in an unexpected way"), None)
        })
    }

    async fn work(
        self: &Arc<Self>,
        route: &RouteConfig,
        parameters: Vec<(String, String)>,
        request: Request<Incoming>,
    ) -> Response<Full<Bytes>> {
        let number = self.request_count.fetch_add(1, Ordering::Relaxed);
        let luck = self.luck.stream(0, number, "request");
        let data_seed = Seed(self.config.seed);
        let mut scope = match input::read(request, parameters, luck, data_seed).await {
            Ok(scope) => scope,
            Err(answer) => return response(answer, None),
        };
        let request_id = scope.trace().request_id().to_owned();
        let Ok(worker) = self.gate.enter().await else {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            let answer = Answer::error(status, "too many requests are waiting");
            return response(answer, Some(&request_id));
        };
        let answer = match steps::run(self, &route.steps, &mut scope).await {
            ControlFlow::Break(answer) => answer,
            ControlFlow::Continue(()) => Answer { status: StatusCode::NO_CONTENT, body: None },
        };
        drop(worker);
        response(answer, Some(&request_id))
    }
}

fn open_database(config: &Config) -> Result<Option<Database>, OpenDatabaseError> {
    let Some(settings) = &config.database else { return Ok(None) };
    let database = Database::open(settings, Seed(config.seed))?;
    for route in &config.routes {
        check_queries(
            &database,
            &format!("route `{} {}`", route.method, route.path),
            &route.steps,
        )?;
    }
    Ok(Some(database))
}

fn check_queries(
    database: &Database,
    place: &str,
    steps: &[Step],
) -> Result<(), OpenDatabaseError> {
    for step in steps {
        match step {
            Step::Query(query) => database.check(place, &query.sql, query.params.len())?,
            Step::Cache(cached) => check_queries(database, place, &cached.miss)?,
            _ => {}
        }
    }
    Ok(())
}

/// Returns a seed that this process alone has.
fn own_luck() -> Seed {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Seed(since.as_nanos() as u64).derive(&std::process::id().to_string())
}

fn response(answer: Answer, request_id: Option<&str>) -> Response<Full<Bytes>> {
    let bytes = answer.body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
    let has_body = !bytes.is_empty();
    let mut response = Response::new(Full::new(bytes));
    *response.status_mut() = answer.status;
    if has_body {
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
    }
    if let Some(id) = request_id.and_then(|id| HeaderValue::from_str(id).ok()) {
        response.headers_mut().insert("x-request-id", id);
    }
    response
}
