//! From the written address of a service to one that answers.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpStream;

/// How long an address may take to accept before the next one is tried.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Why the address of a service could not be used.
#[derive(Debug, Error)]
pub enum ResolveUpstreamError {
    /// It is written in a way we do not read.
    #[error("cannot use `{text}` as an upstream: found {found}, expected `http://host:port`")]
    Form {
        /// What was written.
        text: String,
        /// What is in the way.
        found: &'static str,
    },
    /// The name has no address.
    #[error("cannot use `{text}` as an upstream: its name does not resolve")]
    Name {
        /// What was written.
        text: String,
        /// What the resolver said, if it said anything.
        #[source]
        source: Option<io::Error>,
    },
}

/// Returns an address for `http://host:port`, preferring one that accepts connections.
///
/// A name such as `localhost` may stand for an IPv6 and an IPv4 address while the service listens
/// on one of them. A service that is not up yet is no error.
pub(super) async fn resolve(text: &str) -> Result<SocketAddr, ResolveUpstreamError> {
    let (host, port) = split(text)?;
    let fail = |source| ResolveUpstreamError::Name { text: text.to_owned(), source };
    let found = tokio::net::lookup_host((host, port)).await;
    let addresses: Vec<SocketAddr> = found.map_err(|source| fail(Some(source)))?.collect();
    for address in &addresses {
        let probe = tokio::time::timeout(PROBE_TIMEOUT, TcpStream::connect(address)).await;
        if matches!(probe, Ok(Ok(_))) {
            return Ok(*address);
        }
    }
    addresses.first().copied().ok_or_else(|| fail(None))
}

/// Splits `http://host:port`, where the scheme and the port may be left out.
fn split(text: &str) -> Result<(&str, u16), ResolveUpstreamError> {
    let fail = |found| ResolveUpstreamError::Form { text: text.to_owned(), found };
    let rest = match text.split_once("://") {
        Some(("http", rest)) => rest,
        Some(("https", _)) => return Err(fail("TLS, which a proxy cannot read along")),
        Some(_) => return Err(fail("another scheme")),
        None => text,
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#']) {
        return Err(fail("a path"));
    }
    if authority.contains('@') {
        return Err(fail("a user name"));
    }
    let (host, port) = match authority.rsplit_once(':') {
        // The last colon of a bare IPv6 address does not begin a port.
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            (host, port.parse().map_err(|_| fail("something else than a port after the colon"))?)
        }
        _ => (authority, 80),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() {
        return Err(fail("no host"));
    }
    Ok((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        let check = |text: &str, expected: (&str, u16)| {
            assert_eq!(split(text).unwrap(), expected, "{text}");
        };
        check("http://127.0.0.1:8080", ("127.0.0.1", 8080));
        check("http://shop.test:8080/", ("shop.test", 8080));
        check("localhost:3000", ("localhost", 3000));
        check("http://shop", ("shop", 80));
        check("http://[::1]:8080", ("::1", 8080));
        check("::1", ("::1", 80));
    }

    #[test]
    fn says_what_it_cannot_use() {
        let check = |text: &str, expected: &str| {
            let message = split(text).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        };
        check("https://shop:443", "found TLS");
        check("redis://shop:443", "found another scheme");
        check("http://shop:80/api", "found a path");
        check("http://me@shop:80", "found a user name");
        check("http://shop:http", "found something else than a port");
        check("http://:80", "found no host");
    }
}
