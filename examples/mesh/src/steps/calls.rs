//! Calling other services, once or several times.

use std::ops::ControlFlow;
use std::sync::Arc;

use hyper::{Method, StatusCode};
use serde_json::Value;

use super::{Answer, Flow};
use crate::client::{CallError, Client, Outgoing, Reply};
use crate::config::{Call, Times};
use crate::scope::Scope;
use crate::service::Service;
use crate::template::text_of;

/// More calls than this of one step are a mistake in the input, not a workload.
const MOST_CALLS: u64 = 1_000;

/// Makes the calls of a step and names what came back.
pub(super) async fn call(service: &Arc<Service>, call: &Call, scope: &mut Scope) -> Flow {
    let elements = elements(&call.times, scope);
    let outgoing: Vec<_> = elements
        .into_iter()
        .enumerate()
        .map(|(index, element)| {
            scope.bind("index", Value::from(index));
            scope.bind("each", element);
            outgoing(call, scope)
        })
        .collect();
    let client = service.client(&call.client);
    let results = if call.parallel {
        at_once(&client, outgoing).await
    } else {
        one_by_one(&client, outgoing, call.optional).await
    };
    let mut bodies = Vec::new();
    for result in results {
        match result {
            Ok(reply) if reply.status.is_client_error() && !call.optional => {
                return ControlFlow::Break(Answer { status: reply.status, body: Some(reply.body) });
            }
            Ok(reply) if !reply.status.is_client_error() => bodies.push(reply.body),
            Err(error) if !call.optional => {
                let message = format!("the call of {} failed: {error}", call.client);
                return ControlFlow::Break(Answer::error(StatusCode::BAD_GATEWAY, &message));
            }
            Ok(_) | Err(_) => bodies.push(Value::Null),
        }
    }
    let value = match call.times {
        Times::Once => bodies.pop().unwrap_or(Value::Null),
        Times::Count(_) | Times::Of(_) => Value::Array(bodies),
    };
    scope.bind(&call.bind, value);
    ControlFlow::Continue(())
}

/// Returns what `each` is in each call.
fn elements(times: &Times, scope: &mut Scope) -> Vec<Value> {
    let count = match times {
        Times::Once => 1,
        Times::Count(count) => *count,
        Times::Of(template) => match template.value(scope) {
            Value::Array(elements) => return elements,
            other => text_of(&other).parse().unwrap_or(0),
        },
    };
    vec![Value::Null; count.min(MOST_CALLS) as usize]
}

fn outgoing(call: &Call, scope: &mut Scope) -> Outgoing {
    let trace = scope.trace().clone();
    Outgoing {
        method: Method::from_bytes(call.method.as_bytes()).expect("methods were checked"),
        path: call.path.path(scope),
        body: call.body.as_ref().map(|body| body.value(scope)),
        traceparent: trace.child(scope.luck()),
        request_id: trace.request_id().to_owned(),
    }
}

async fn one_by_one(
    client: &Client,
    outgoing: Vec<Outgoing>,
    is_optional: bool,
) -> Vec<Result<Reply, CallError>> {
    let mut results = Vec::new();
    for outgoing in &outgoing {
        let result = client.call(outgoing).await;
        // The rest would be in vain.
        let is_last =
            !is_optional && result.as_ref().map_or(true, |reply| reply.status.is_client_error());
        results.push(result);
        if is_last {
            break;
        }
    }
    results
}

async fn at_once(client: &Arc<Client>, outgoing: Vec<Outgoing>) -> Vec<Result<Reply, CallError>> {
    let calls: Vec<_> = outgoing
        .into_iter()
        .map(|outgoing| {
            let client = Arc::clone(client);
            tokio::spawn(async move { client.call(&outgoing).await })
        })
        .collect();
    let mut results = Vec::new();
    for call in calls {
        results.push(call.await.expect("a call does not panic"));
    }
    results
}
