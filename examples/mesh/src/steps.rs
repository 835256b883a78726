//! Doing the steps of a route, one after the other.

mod burn;
mod calls;
mod duration;
mod failure;

use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use hyper::StatusCode;
use serde_json::{Value, json};

use crate::config::{Cached, Query, Step};
use crate::scope::Scope;
use crate::service::Service;

/// What a request is answered with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: StatusCode,
    /// The JSON body; none for a 204.
    pub(crate) body: Option<Value>,
}

/// The steps go on, or there is an answer.
pub(crate) type Flow = ControlFlow<Answer>;

// === impl Answer ===

impl Answer {
    /// Makes an answer that says what went wrong.
    pub(crate) fn error(status: StatusCode, message: &str) -> Self {
        Self { status, body: Some(json!({ "error": message })) }
    }
}

/// Does steps until one answers.
pub(crate) fn run<'a>(
    service: &'a Arc<Service>,
    steps: &'a [Step],
    scope: &'a mut Scope,
) -> Pin<Box<dyn Future<Output = Flow> + Send + 'a>> {
    // Boxed, since the steps of a cache are run from within.
    Box::pin(async move {
        for step in steps {
            run_step(service, step, scope).await?;
        }
        ControlFlow::Continue(())
    })
}

async fn run_step(service: &Arc<Service>, step: &Step, scope: &mut Scope) -> Flow {
    match step {
        Step::Cpu(timing) => burn::burn(duration::draw(timing, scope.luck())).await,
        Step::Wait(timing) => duration::wait(duration::draw(timing, scope.luck())).await,
        Step::Call(call) => return calls::call(service, call, scope).await,
        Step::Query(query) => return run_query(service, query, scope).await,
        Step::Cache(cached) => return look_up(service, cached, scope).await,
        Step::Leak(size) => service.keep(touched(size.0)),
        Step::Allocate(size) => scope.hold(touched(size.0)),
        Step::Fail(fail) if failure::applies(fail, scope) => {
            if fail.crash {
                failure::crash();
            }
            let status = StatusCode::from_u16(fail.status).expect("statuses were checked");
            return ControlFlow::Break(Answer::error(status, "the request could not be served"));
        }
        Step::Fail(_) => {}
        Step::Respond(respond) => {
            let status = StatusCode::from_u16(respond.status).expect("statuses were checked");
            let body = Some(respond.json.value(scope)).filter(|_| status != StatusCode::NO_CONTENT);
            return ControlFlow::Break(Answer { status, body });
        }
    }
    ControlFlow::Continue(())
}

async fn run_query(service: &Arc<Service>, query: &Query, scope: &mut Scope) -> Flow {
    let params = query.params.iter().map(|param| param.value(scope)).collect();
    let Ok(rows) = service.database().query(query.sql.clone(), params).await else {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        return ControlFlow::Break(Answer::error(status, "the database failed"));
    };
    scope.bind(&query.bind, rows.first().cloned().unwrap_or(Value::Null));
    scope.bind("rows", Value::Array(rows));
    ControlFlow::Continue(())
}

async fn look_up(service: &Arc<Service>, cached: &Cached, scope: &mut Scope) -> Flow {
    let cache = service.cache(&cached.name);
    let key = cached.key.text(scope);
    if let Some(entry) = cache.get(&key, Instant::now()) {
        for (name, value) in entry {
            scope.bind(&name, value);
        }
        return ControlFlow::Continue(());
    }
    run(service, &cached.miss, scope).await?;
    let names = cached.miss.iter().flat_map(bound_by);
    let entry = names.filter_map(|name| Some((name.to_owned(), scope.get(name)?.clone())));
    cache.put(&key, entry.collect(), Instant::now());
    ControlFlow::Continue(())
}

fn bound_by(step: &Step) -> Vec<&str> {
    match step {
        Step::Call(call) => vec![&call.bind],
        Step::Query(query) => vec![&query.bind, "rows"],
        Step::Cache(cached) => cached.miss.iter().flat_map(bound_by).collect(),
        _ => Vec::new(),
    }
}

/// Returns memory that is resident: zeros would be mapped to one shared page.
fn touched(bytes: u64) -> Vec<u8> {
    vec![0x5A; usize::try_from(bytes).unwrap_or(usize::MAX)]
}
