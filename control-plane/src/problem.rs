//! What went wrong, as `application/problem+json` (RFC 9457).

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use prophecy_store::StoreError;
use serde_json::json;

/// An error as it is told to a caller; it never holds a secret or a captured byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The status.
    pub status: StatusCode,
    /// The stable end of the `type`, after `urn:prophecy:problem:`.
    pub slug: &'static str,
    /// What happened this time, in a sentence.
    pub detail: String,
    /// The seconds after which another attempt makes sense.
    pub retry_after: Option<u64>,
}

// === impl Problem ===

impl Problem {
    /// Makes a problem.
    pub fn new(status: StatusCode, slug: &'static str, detail: impl Into<String>) -> Self {
        Self { status, slug, detail: detail.into(), retry_after: None }
    }

    /// A request that cannot be read.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed-request", detail)
    }

    /// A request that can be read but makes no sense.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-request", detail)
    }

    /// Something that is not there.
    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", format!("there is no such {what}"))
    }

    /// A caller who proved nothing.
    pub fn unauthenticated() -> Self {
        let detail = "the request has no valid token; send `authorization: Bearer prophecy_…`";
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
    }

    /// A caller who may not.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// A bug; what it was is not told to the caller.
    pub fn internal() -> Self {
        let detail = "the request could not be carried out; its id helps to find out why";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    /// Adds after how many seconds to try again.
    #[must_use]
    pub fn after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds.max(1));
        self
    }

    /// Writes the answer.
    pub fn response(&self, request_id: &str) -> Response<Body> {
        let body = json!({
            "type": format!("urn:prophecy:problem:{}", self.slug),
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "instance": format!("urn:prophecy:request:{request_id}"),
        });
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let unavailable =
            |slug, detail: &str| Self::new(StatusCode::SERVICE_UNAVAILABLE, slug, detail).after(1);
        match error {
            StoreError::Locked { .. } => unavailable("store-locked", "the store is locked"),
            StoreError::Gone { .. } => unavailable("store-gone", "the store cannot be reached"),
            StoreError::Full { .. } => unavailable("store-full", "the store's disk is full"),
            StoreError::ReadOnly { .. } => {
                unavailable("store-read-only", "the store cannot be written")
            }
            StoreError::Conflict { .. } => Self::new(
                StatusCode::CONFLICT,
                "conflict",
                "the record was changed or made by somebody else meanwhile",
            ),
            StoreError::NotFound { .. } => Self::not_found("record"),
            StoreError::Invalid { .. } => {
                Self::invalid("the store cannot hold such a value in this field")
            }
            _ => Self::internal(),
        }
    }
}
