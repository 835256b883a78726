//! Where a service is: the base URL of a client, taken apart.

use hyper::Uri;

/// A base URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// What the `Host` header says.
    pub(crate) authority: String,
    /// What is connected to, `host:port`.
    pub(crate) address: String,
    /// What each path starts with, without a slash at its end.
    pub(crate) prefix: String,
}

// === impl Endpoint ===

impl Endpoint {
    /// Reads `http://host[:port][/prefix]`, if it is that.
    pub(crate) fn parse(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
        if uri.scheme_str() != Some("http") || uri.query().is_some() {
            return None;
        }
        Some(Self {
            authority: authority.to_string(),
            address: format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80)),
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_a_base_url_apart() {
        let check = |url: &str, expected: Option<(&str, &str)>| {
            let endpoint = Endpoint::parse(url);
            let found = endpoint.as_ref().map(|e| (e.address.as_str(), e.prefix.as_str()));
            assert_eq!(found, expected, "{url}");
        };
        check("http://127.0.0.1:8080", Some(("127.0.0.1:8080", "")));
        check("http://shop/", Some(("shop:80", "")));
        check("http://[::1]:81/api/v2/", Some(("[::1]:81", "/api/v2")));
        check("https://shop", None);
        check("shop:80", None);
        check("http://shop/?a=b", None);
    }
}
