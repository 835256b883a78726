//! A request as handlers see it, and the reply they give.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use bytes::Bytes;
use prophecy_core::Timestamp;
use prophecy_store::{Page, Role};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::problem::Problem;
use crate::token::Scope;

const MOST_PER_PAGE: u32 = 500;
const PER_PAGE: u32 = 50;

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) struct Actor {
    pub(crate) token_id: String,
    pub(crate) role: Role,
    pub(crate) scope: Scope,
}

/// A request that may be carried out.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) actor: Option<Actor>,
    pub(crate) path: String,
    pub(crate) parameters: BTreeMap<String, String>,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) now: Timestamp,
}

/// What is answered.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) content: Content,
}

#[derive(Debug)]
pub(crate) enum Content {
    Text(&'static str, String),
    Stream(Body),
}

// === impl Actor ===

impl Actor {
    /// Returns the name under which the actor is audited: it tells the token, never its secret.
    pub(crate) fn label(&self) -> String {
        format!("token:{}", self.token_id)
    }

    /// Refuses what lies outside the actor's scope.
    pub(crate) fn reach(&self, system: &str, environment: &str) -> Result<(), Problem> {
        if self.scope.holds(system, environment) {
            return Ok(());
        }
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            "out-of-scope",
            "the token's scope does not hold this system and environment",
        ))
    }
}

// === impl Call ===

impl Call {
    pub(crate) fn actor(&self) -> Result<&Actor, Problem> {
        self.actor.as_ref().ok_or_else(Problem::unauthenticated)
    }

    /// Returns a parameter of the path.
    pub(crate) fn parameter(&self, name: &str) -> &str {
        self.parameters.get(name).map_or("", String::as_str)
    }

    /// Returns a parameter of the query.
    pub(crate) fn asked(&self, name: &str) -> Option<String> {
        self.query.get(name).filter(|value| !value.is_empty()).cloned()
    }

    /// Returns a number of the query.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, Problem> {
        self.query
            .get(name)
            .map(|text| {
                text.parse().ok().filter(|number| i64::try_from(*number).is_ok()).ok_or_else(|| {
                    Problem::malformed(format!("`{name}` is not a whole number from 0"))
                })
            })
            .transpose()
    }

    /// Returns the page asked for.
    pub(crate) fn page(&self) -> Result<Page, Problem> {
        let page = Page::newest(self.limit()?);
        Ok(match self.asked("after") {
            Some(after) if after.len() <= 128 && after.bytes().all(|b| b.is_ascii_graphic()) => {
                page.after(&after)
            }
            Some(_) => return Err(Problem::malformed("`after` is not a cursor")),
            None => page,
        })
    }

    /// Returns how many are asked for.
    pub(crate) fn limit(&self) -> Result<u32, Problem> {
        let limit = self.number("limit")?.unwrap_or(u64::from(PER_PAGE));
        if limit == 0 {
            return Err(Problem::malformed("`limit` is at least 1"));
        }
        Ok(u32::try_from(limit).unwrap_or(MOST_PER_PAGE).min(MOST_PER_PAGE))
    }

    /// Parses the body.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        self.expect_json()?;
        let value: Value = serde_json::from_slice(&self.body).map_err(|error| {
            Problem::malformed(format!(
                "the body is not JSON: line {}, column {}",
                error.line(),
                error.column()
            ))
        })?;
        // What serde says may quote the value, which may be a secret: only its kind is told.
        serde_json::from_value(value)
            .map_err(|_| Problem::invalid("the body does not have the fields of its schema"))
    }

    /// Refuses a body of another type.
    pub(crate) fn expect_json(&self) -> Result<(), Problem> {
        let sent = self.headers.get(header::CONTENT_TYPE).and_then(|sent| sent.to_str().ok());
        let kind = sent.unwrap_or("").split(';').next().unwrap_or("").trim();
        if kind.eq_ignore_ascii_case("application/json") {
            return Ok(());
        }
        Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            "the body must be `application/json`",
        ))
    }
}

// === impl Reply ===

impl Reply {
    pub(crate) fn json(status: StatusCode, value: &Value) -> Self {
        Self::text(status, "application/json", value.to_string())
    }

    pub(crate) fn ok(value: &Value) -> Self {
        Self::json(StatusCode::OK, value)
    }

    pub(crate) fn text(status: StatusCode, kind: &'static str, text: String) -> Self {
        Self { status, headers: HeaderMap::new(), content: Content::Text(kind, text) }
    }

    pub(crate) fn stream(body: Body) -> Self {
        Self { status: StatusCode::OK, headers: HeaderMap::new(), content: Content::Stream(body) }
    }

    /// Adds a header; a value that cannot be one is left out.
    pub(crate) fn with(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// Answers a list with where it goes on.
    pub(crate) fn list(call: &Call, items: &[Value], next: Option<String>) -> Self {
        let value = serde_json::json!({ "items": items, "next": next });
        let Some(next) = next else { return Self::ok(&value) };
        let mut link = format!("<{}?after={}", call.path, crate::dashboard::markup::segment(&next));
        for (name, value) in call.query.iter().filter(|(name, _)| *name != "after") {
            link.push_str(&format!("&{}={}", name, crate::dashboard::markup::segment(value)));
        }
        Self::ok(&value).with(header::LINK, &format!("{link}>; rel=\"next\""))
    }

    /// Writes the answer; a reader that has it already is told so.
    pub(crate) fn response(self, if_none_match: Option<&HeaderValue>) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        match self.content {
            Content::Stream(body) => {
                let headers = response.headers_mut();
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
                headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
                *response.body_mut() = body;
            }
            Content::Text(kind, text) => {
                let headers = response.headers_mut();
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
                headers
                    .insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
                if self.status == StatusCode::OK && !headers.contains_key(header::ETAG) {
                    let tag = format!("\"{}\"", &blake3::hash(text.as_bytes()).to_hex()[..32]);
                    headers.insert(
                        header::ETAG,
                        HeaderValue::from_str(&tag).expect("hexadecimal digits and quotes"),
                    );
                }
                let known = if_none_match.and_then(|known| known.to_str().ok());
                let tag = headers.get(header::ETAG).and_then(|tag| tag.to_str().ok());
                if self.status == StatusCode::OK && matches(known, tag) {
                    *response.status_mut() = StatusCode::NOT_MODIFIED;
                } else {
                    *response.body_mut() = Body::from(text);
                }
            }
        }
        response
    }
}

fn matches(known: Option<&str>, tag: Option<&str>) -> bool {
    let (Some(known), Some(tag)) = (known, tag) else { return false };
    known.split(',').map(str::trim).any(|one| one == "*" || one.trim_start_matches("W/") == tag)
}
