//! Answers of pages: what every one of them says about itself.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};

use crate::clock;
use crate::gateway::secure;
use crate::token::new_id;

/// Answers with a page; only what carries the nonce may style it or run in it.
pub(super) fn html_response(status: StatusCode, html: String, nonce: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(html));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; \
         img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    secure(headers, &new_id(clock::now()));
    response
}

/// Answers with another place, and with a cookie if there is one.
pub(super) fn see_other(place: &str, cookie: Option<&str>) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    response.headers_mut().insert(
        header::LOCATION,
        HeaderValue::from_str(place).unwrap_or(HeaderValue::from_static("/")),
    );
    if let Some(cookie) = cookie.and_then(|cookie| HeaderValue::from_str(cookie).ok()) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    secure(response.headers_mut(), &new_id(clock::now()));
    response
}
