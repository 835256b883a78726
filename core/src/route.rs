//! Routes: a method and a path template, `GET /users/{id}`.

/// Returns the route of a request: its method and its path with identifiers replaced by `{id}`.
///
/// A segment counts as an identifier if it has a digit (but for version markers such as `v2`),
/// an `@`, a percent escape, or more than 32 characters. The file name of a last segment with a
/// short extension is kept whole unless it is an identifier itself.
///
/// # Examples
///
/// ```
/// use prophecy_core::route::route_of;
/// assert_eq!(route_of("GET", "/v2/users/8814/cart"), "GET /v2/users/{id}/cart");
/// ```
pub fn route_of(method: &str, path: &str) -> String {
    format!("{method} {}", template_of(path))
}

/// Returns the path with identifiers replaced by `{id}`.
pub fn template_of(path: &str) -> String {
    if !path.starts_with('/') {
        // An asterisk form (`OPTIONS *`), an authority (`CONNECT`) or something malformed.
        return if path == "*" { path.to_owned() } else { "{target}".to_owned() };
    }
    let segments =
        path.split('/').map(|segment| if is_identifier(segment) { "{id}" } else { segment });
    segments.collect::<Vec<_>>().join("/")
}

/// Says whether a path segment names one thing of many rather than a kind of thing.
pub fn is_identifier(segment: &str) -> bool {
    if segment.len() > 32 || segment.bytes().any(|byte| byte == b'@' || byte == b'%') {
        return true;
    }
    !is_version(segment) && segment.bytes().any(|byte| byte.is_ascii_digit())
}

/// Says whether a path segment is a version marker: `v1`, `v12`.
pub fn is_version(segment: &str) -> bool {
    segment.strip_prefix('v').is_some_and(|digits| {
        !digits.is_empty() && digits.len() <= 2 && digits.bytes().all(|b| b.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_identifiers_and_nothing_else() {
        let cases = [
            ("/", "/"),
            ("/cart/", "/cart/"),
            ("/users/42", "/users/{id}"),
            ("/v1/items/0b54f3a2-aa0e-4b0c-9f3d-1d2f3a4b5c6d/price", "/v1/items/{id}/price"),
            ("/users/ann%40example.com", "/users/{id}"),
            ("/static/app.js", "/static/app.js"),
            ("*", "*"),
            ("example.com:443", "{target}"),
        ];
        for (path, expected) in cases {
            assert_eq!(template_of(path), expected);
        }
    }
}
