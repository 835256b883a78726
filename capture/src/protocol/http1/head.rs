//! The heads of requests and responses, and what they say about the body.

use prophecy_core::{Header, Protocol};

use super::framing::Framing;
use super::lenient;

/// The methods that are believed where not much else tells a request from other bytes (RFC 9110,
/// section 9; RFC 5789).
pub(crate) const KNOWN_METHODS: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// Which side sent a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Request,
    Response,
}

/// The head of a message.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) start: Start,
    pub(crate) protocol: Protocol,
    pub(crate) headers: Vec<Header>,
}

/// The first line of a head.
#[derive(Debug)]
pub(crate) enum Start {
    Request { method: String, target: String },
    Response { status: u16 },
}

/// What the bytes at the start of a message are.
#[derive(Debug)]
pub(crate) enum Parsed {
    /// A head of this many bytes.
    Head(Box<Head>, usize),
    /// The beginning of one.
    Partial,
    /// Something else.
    Foreign,
}

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) authority: Option<String>,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
}

/// Parses a head at the start of `bytes`.
pub(crate) fn parse_head(bytes: &[u8], side: Side) -> Parsed {
    // Few heads have more headers than the first try has room for, and clearing room costs time.
    let parsed = match parse_into(&mut [httparse::EMPTY_HEADER; 64], bytes, side) {
        Err(httparse::Error::TooManyHeaders) => {
            let mut room = vec![httparse::EMPTY_HEADER; 2_048];
            parse_into(&mut room, bytes, side)
        }
        parsed => parsed,
    };
    parsed.unwrap_or_else(|_| lenient::parse(bytes, side))
}

fn parse_into<'b>(
    room: &mut [httparse::Header<'b>],
    bytes: &'b [u8],
    side: Side,
) -> Result<Parsed, httparse::Error> {
    let mut config = httparse::ParserConfig::default();
    let (start, version, headers, length) = match side {
        Side::Request => {
            config.ignore_invalid_headers_in_requests(true);
            let mut request = httparse::Request::new(room);
            let httparse::Status::Complete(length) = config.parse_request(&mut request, bytes)?
            else {
                return Ok(Parsed::Partial);
            };
            let method = request.method.unwrap_or_default().to_owned();
            let target = request.path.unwrap_or_default().to_owned();
            (Start::Request { method, target }, request.version, request.headers, length)
        }
        Side::Response => {
            config
                .allow_spaces_after_header_name_in_responses(true)
                .allow_obsolete_multiline_headers_in_responses(true)
                .allow_multiple_spaces_in_response_status_delimiters(true)
                .ignore_invalid_headers_in_responses(true);
            let mut response = httparse::Response::new(room);
            let httparse::Status::Complete(length) = config.parse_response(&mut response, bytes)?
            else {
                return Ok(Parsed::Partial);
            };
            let status = response.code.unwrap_or_default();
            (Start::Response { status }, response.version, response.headers, length)
        }
    };
    let protocol = if version == Some(0) { Protocol::Http10 } else { Protocol::Http11 };
    let headers = headers
        .iter()
        .map(|header| Header::new(header.name, String::from_utf8_lossy(header.value)))
        .collect();
    Ok(Parsed::Head(Box::new(Head { start, protocol, headers }), length))
}

// === impl Head ===

impl Head {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|header| header.name == name).map(|header| header.value.as_str())
    }

    /// Returns how the body of a request ends (RFC 9112, section 6.3).
    pub(crate) fn request_framing(&self) -> Framing {
        match self.coding() {
            Some(Coding::Chunked) => Framing::Chunked,
            // A request cannot end with the connection: a server must refuse this one.
            Some(Coding::Other) => Framing::Tunnel,
            None => Framing::Length(self.content_length().unwrap_or(0)),
        }
    }

    /// Returns how the body of a response to a request with `method` ends.
    pub(crate) fn response_framing(&self, method: &str, status: u16) -> Framing {
        let switches = status == 101 || (method == "CONNECT" && (200..300).contains(&status));
        match status {
            _ if switches => Framing::Tunnel,
            100..200 | 204 | 304 => Framing::Empty,
            _ if method == "HEAD" => Framing::Empty,
            _ => match self.coding() {
                Some(Coding::Chunked) => Framing::Chunked,
                Some(Coding::Other) => Framing::UntilClose,
                None => self.content_length().map_or(Framing::UntilClose, Framing::Length),
            },
        }
    }

    fn coding(&self) -> Option<Coding> {
        let values = self.headers.iter().filter(|header| header.name == "transfer-encoding");
        let last = values.flat_map(|header| header.value.split(',')).next_back()?;
        let is_chunked = last.trim().eq_ignore_ascii_case("chunked");
        Some(if is_chunked { Coding::Chunked } else { Coding::Other })
    }

    fn content_length(&self) -> Option<u64> {
        // Some senders repeat the length; the first of equal ones is as good as any.
        let value = self.header("content-length")?;
        value.split(',').next()?.trim().parse().ok()
    }
}

#[derive(Clone, Copy, Debug)]
enum Coding {
    Chunked,
    Other,
}

// === impl Target ===

impl Target {
    /// Splits a request target of any form (RFC 9112, section 3.2).
    pub(crate) fn parse(method: &str, target: &str) -> Self {
        if method == "CONNECT" {
            let authority = Some(target.to_owned());
            return Self { authority, path: target.to_owned(), query: None };
        }
        let (authority, local) = match target.split_once("://") {
            Some((scheme, rest)) if !scheme.contains(['/', '?']) => {
                let end = rest.find(['/', '?']).unwrap_or(rest.len());
                let (authority, local) = rest.split_at(end);
                (Some(authority.to_owned()), local)
            }
            _ => (None, target),
        };
        let (path, query) = match local.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (local, None),
        };
        let path = if path.is_empty() { "/" } else { path };
        Self { authority, path: path.to_owned(), query }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_every_form_of_target() {
        let check = |method: &str, target: &str, expected: (Option<&str>, &str, Option<&str>)| {
            let found = Target::parse(method, target);
            let found = (found.authority.as_deref(), &*found.path, found.query.as_deref());
            assert_eq!(found, expected, "{method} {target}");
        };
        check("GET", "/a/b?c=d?e", (None, "/a/b", Some("c=d?e")));
        check("GET", "http://shop:80/a?b", (Some("shop:80"), "/a", Some("b")));
        check("GET", "http://shop", (Some("shop"), "/", None));
        check("GET", "/go?to=http://shop/", (None, "/go", Some("to=http://shop/")));
        check("OPTIONS", "*", (None, "*", None));
        check("CONNECT", "shop:443", (Some("shop:443"), "shop:443", None));
    }
}
