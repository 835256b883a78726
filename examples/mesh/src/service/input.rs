//! What a request brings: parameters, query, headers, body, and its trace.

use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::{HeaderMap, Request, StatusCode};
use prophecy_core::{Philox, Seed};
use serde_json::{Map, Value};

use crate::route_table::percent_decoded;
use crate::scope::Scope;
use crate::steps::Answer;
use crate::trace::Trace;

/// A larger body is answered 413.
const LARGEST_BODY_BYTES: usize = 1 << 20;

/// Reads a request into a scope.
///
/// # Errors
///
/// The answer to a body that is too large, broken off, or said to be JSON and is not.
pub(super) async fn read(
    request: Request<Incoming>,
    parameters: Vec<(String, String)>,
    mut luck: Philox,
    data_seed: Seed,
) -> Result<Scope, Answer> {
    let (head, body) = request.into_parts();
    let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let trace = Trace::continued(text("traceparent"), text("x-request-id"), &mut luck);
    let is_json = text("content-type").is_some_and(|kind| kind.contains("json"));
    let mut scope = Scope::new(trace, luck, data_seed);
    scope.bind("header", headers(&head.headers));
    scope.bind("query", query(head.uri.query().unwrap_or_default()));
    scope.bind("body", read_body(body, is_json).await?);
    for (name, value) in parameters {
        scope.bind(&name, Value::from(value));
    }
    Ok(scope)
}

async fn read_body(body: Incoming, is_json: bool) -> Result<Value, Answer> {
    let limited = Limited::new(body, LARGEST_BODY_BYTES);
    let bytes = match limited.collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            return Err(Answer::error(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large"));
        }
        Err(_) => return Err(Answer::error(StatusCode::BAD_REQUEST, "the body broke off")),
    };
    match serde_json::from_slice(&bytes) {
        Ok(value) => Ok(value),
        Err(_) if bytes.is_empty() => Ok(Value::Null),
        Err(_) if is_json => Err(Answer::error(StatusCode::BAD_REQUEST, "the body is not JSON")),
        Err(_) => Ok(Value::from(String::from_utf8_lossy(&bytes).into_owned())),
    }
}

fn headers(headers: &HeaderMap) -> Value {
    let fields = headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.into())));
    Value::Object(fields.collect::<Map<_, _>>())
}

fn query(text: &str) -> Value {
    let decode = |text: &str| percent_decoded(&text.replace('+', " "));
    let fields = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name), Value::from(decode(value)))
    });
    Value::Object(fields.collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_query_fields() {
        assert_eq!(query("a=1&b=x+y%21&c"), json!({ "a": "1", "b": "x y!", "c": "" }));
        assert_eq!(query(""), json!({}));
    }
}
