//! Instant queries to Prometheus, each over a connection of its own.
//!
//! # Source
//!
//! Prometheus documentation, *HTTP API*, "Instant queries" and "Expression query result formats".

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, HOST, USER_AGENT};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use thiserror::Error;

use crate::hook::{AddressList, NoAnswer};

/// The largest answer that is read: it has one number in it.
const ANSWER_BYTES: usize = 1 << 20;

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PrometheusUrl(Uri);

/// Why a question has no value.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum NoValueError {
    /// There is no answer.
    #[error("the server {}", words(*.0))]
    NoAnswer(NoAnswer),
    /// It answers with something else.
    #[error("the server answers with status {0}")]
    Status(u16),
    /// It cannot be read.
    #[error("the answer is not one to an instant query")]
    Format,
    /// The question is not one.
    #[error("the query is refused: {0}")]
    Refused(String),
    /// There is nothing, or too much.
    #[error("the query has {0} values, expected 1")]
    Count(usize),
    /// It is not a number, or infinite.
    #[error("the value is not a finite number")]
    NotFinite,
}

/// An answer.
#[derive(Debug, Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    error: String,
    data: Option<Data>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: serde_json::Value,
}

#[derive(Debug, Deserialize)]
struct Series {
    value: (f64, String),
}

// === impl PrometheusUrl ===

impl PrometheusUrl {
    /// Takes plain HTTP without a user; a path in it goes before the API's.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let is_plain = uri.scheme_str() == Some("http") && uri.query().is_none();
        let has_user = uri.authority()?.as_str().contains('@');
        (is_plain && !has_user && uri.host().is_some()).then_some(Self(uri))
    }

    /// Asks for the value of a query now, within a time and only where it may be asked.
    pub(crate) async fn value(
        &self,
        query: &str,
        within: Duration,
        allowed: &AddressList,
    ) -> Result<f64, NoValueError> {
        let asked = tokio::time::timeout(within, self.exchange(query, allowed)).await;
        let (status, body) =
            asked.unwrap_or(Err(NoAnswer::TimedOut)).map_err(NoValueError::NoAnswer)?;
        value_of(status, &body)
    }

    async fn exchange(&self, query: &str, allowed: &AddressList) -> Result<(u16, Bytes), NoAnswer> {
        let stream = allowed.connect(&self.0).await?;
        let handshake = http1::handshake::<_, Empty<Bytes>>(TokioIo::new(stream)).await;
        let (mut calls, connection) = handshake.map_err(|_| NoAnswer::Broken)?;
        let path = format!(
            "{}/api/v1/query?query={}",
            self.0.path().trim_end_matches('/'),
            encoded(query)
        );
        let authority = self.0.authority().ok_or(NoAnswer::Broken)?;
        let request = Request::get(path)
            .header(HOST, authority.as_str())
            .header(USER_AGENT, concat!("prophecy/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, "application/json")
            .body(Empty::new())
            .map_err(|_| NoAnswer::Broken)?;
        let answered = async {
            let response = calls.send_request(request).await.map_err(|_| NoAnswer::Broken)?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), ANSWER_BYTES).collect().await;
            Ok((status, body.map_err(|_| NoAnswer::Broken)?.to_bytes()))
        };
        let (mut answered, mut connection) = (pin!(answered), pin!(connection));
        let mut is_closed = false;
        loop {
            tokio::select! {
                biased;
                answer = &mut answered => return answer,
                _ = &mut connection, if !is_closed => is_closed = true,
            }
        }
    }
}

/// Returns the number of an answer, if it is one number.
fn value_of(status: u16, body: &[u8]) -> Result<f64, NoValueError> {
    let answer: Result<Answer, _> = serde_json::from_slice(body);
    let answer = match (status, answer) {
        (200, Ok(answer)) => answer,
        (200, Err(_)) => return Err(NoValueError::Format),
        // What is wrong with a query is said in the body, with status 400 or 422.
        (400 | 422, Ok(answer)) if answer.status == "error" => {
            return Err(NoValueError::Refused(answer.error));
        }
        (status, _) => return Err(NoValueError::Status(status)),
    };
    let data = answer.data.filter(|_| answer.status == "success").ok_or(NoValueError::Format)?;
    let series = match data.result_type.as_str() {
        "scalar" => serde_json::from_value(data.result).map(|value| vec![Series { value }]),
        "vector" => serde_json::from_value(data.result),
        _ => return Err(NoValueError::Format),
    };
    let series = series.map_err(|_| NoValueError::Format)?;
    let [Series { value: (_, text) }] = series.as_slice() else {
        return Err(NoValueError::Count(series.len()));
    };
    let value: f64 = text.parse().map_err(|_| NoValueError::Format)?;
    if value.is_finite() { Ok(value) } else { Err(NoValueError::NotFinite) }
}

/// Returns a text as a part of a URL's query.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn words(missing: NoAnswer) -> &'static str {
    match missing {
        NoAnswer::TimedOut => "does not answer in time",
        NoAnswer::Unreachable => "cannot be reached",
        NoAnswer::NotAllowed => "is at an address that may not be called",
        NoAnswer::Broken => "does not speak HTTP, or stops short",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_one_finite_number_and_nothing_else() {
        let vector = |values: &str| {
            format!(
                r#"{{"status":"success","data":{{"resultType":"vector","result":[{values}]}}}}"#
            )
        };
        let one = r#"{"metric":{"job":"a"},"value":[1435781451.781,"2.5"]}"#;
        let taken = value_of(200, vector(one).as_bytes());
        assert!(taken.is_ok_and(|value| (value - 2.5).abs() < 1e-12));
        let scalar =
            br#"{"status":"success","data":{"resultType":"scalar","result":[1.5,"-3e2"]}}"#;
        assert!(value_of(200, scalar).is_ok_and(|value| (value + 300.0).abs() < 1e-9));
        let bad = |value: &str| vector(&one.replace("2.5", value));
        let cases = [
            (200, vector(""), NoValueError::Count(0)),
            (200, vector(&format!("{one},{one}")), NoValueError::Count(2)),
            (200, bad("NaN"), NoValueError::NotFinite),
            (200, bad("+Inf"), NoValueError::NotFinite),
            (200, bad("much"), NoValueError::Format),
            (200, "<html>".to_owned(), NoValueError::Format),
            (
                200,
                r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#.to_owned(),
                NoValueError::Format,
            ),
            (
                400,
                r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#.to_owned(),
                NoValueError::Refused("parse error".to_owned()),
            ),
            (503, "busy".to_owned(), NoValueError::Status(503)),
        ];
        for (status, body, expected) in cases {
            assert_eq!(value_of(status, body.as_bytes()), Err(expected), "{body}");
        }
    }

    #[test]
    fn encodes_every_query() {
        assert_eq!(
            encoded(r#"rate(x{g="a b"}[5s])+1"#),
            "rate%28x%7Bg%3D%22a%20b%22%7D%5B5s%5D%29%2B1"
        );
        assert_eq!(encoded("é"), "%C3%A9");
    }

    #[tokio::test]
    async fn asks_only_where_it_may() {
        let url = PrometheusUrl::parse("http://192.0.2.1:9090/").expect("an address");
        let asked = url.value("up", Duration::from_secs(1), &AddressList::default()).await;
        assert_eq!(asked, Err(NoValueError::NoAnswer(NoAnswer::NotAllowed)));
    }
}
