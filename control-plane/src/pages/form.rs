//! Forms and cookies as browsers send them.

use std::collections::BTreeMap;

use axum::extract::Request;
use axum::http::{HeaderMap, header};
use http_body_util::{BodyExt, Collected, Limited};

use crate::gateway::decode;

/// The largest form.
const FORM_BYTES: usize = 16 << 10;

/// Returns the value of a cookie.
pub(super) fn cookie(headers: &HeaderMap, wanted: &str) -> Option<String> {
    let lines = headers.get_all(header::COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.split_once('='));
    pairs.find(|(name, _)| name.trim() == wanted).map(|(_, value)| value.trim().to_owned())
}

/// Reads the form of a request; one that is too long has no fields.
pub(super) async fn form(request: Request) -> BTreeMap<String, String> {
    let body = Limited::new(request.into_body(), FORM_BYTES).collect().await;
    let bytes = body.map(Collected::to_bytes).unwrap_or_default();
    pairs(&String::from_utf8_lossy(&bytes))
}

/// Reads `application/x-www-form-urlencoded` (WHATWG URL, section 5.1).
pub(super) fn pairs(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .filter_map(|(name, value)| Some((decode(name)?, decode(value)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_forms_as_browsers_send_them() {
        let read = pairs("token=a%2Bb+c&empty=&%zz=1&lone");
        assert_eq!(read["token"], "a+b c");
        assert_eq!(read["empty"], "");
        assert!(!read.contains_key("%zz"));
        assert_eq!(read["lone"], "");
    }
}
