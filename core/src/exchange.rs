//! One request with its response, or the lack of it.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// One request with its response, or the lack of it, as seen between two services.
///
/// Times are taken where the bytes passed (a packet's timestamp, a proxy's socket), never where
/// they were parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Unique within a dataset, ascending by start where the source is ordered.
    pub exchange_id: u64,
    /// Exchanges of one client in order share a session; by default the connection's number.
    pub session_id: u64,
    /// The transport connection that carried it.
    pub connection_id: u64,
    /// The trace it belongs to, from W3C `traceparent`.
    pub trace_id: Option<[u8; 16]>,
    /// The calling service, or `client` at the entry.
    pub source: String,
    /// The called service.
    pub destination: String,
    /// Where the request came from.
    pub client: SocketAddr,
    /// Where it went.
    pub server: SocketAddr,
    /// The protocol spoken.
    pub protocol: Protocol,
    /// The request method, such as `GET`.
    pub method: String,
    /// The host asked for: `Host` or `:authority`.
    pub authority: String,
    /// The path, without the query.
    pub path: String,
    /// The query, without `?`.
    pub query: Option<String>,
    /// Method and path template: `GET /users/{id}`.
    pub route: String,
    /// Request headers in wire order, names in lower case.
    pub request_headers: Vec<Header>,
    /// Response headers in wire order, names in lower case.
    pub response_headers: Vec<Header>,
    /// The request body after transfer decoding, if kept; possibly cut.
    pub request_body: Option<Vec<u8>>,
    /// The response body after transfer decoding, if kept; possibly cut.
    pub response_body: Option<Vec<u8>>,
    /// Bytes of the request body on the wire, before any cut.
    pub request_bytes: u64,
    /// Bytes of the response body on the wire, before any cut.
    pub response_bytes: u64,
    /// When the first byte of the request passed.
    pub started_at: Timestamp,
    /// When the last byte of the request passed.
    pub request_ended_at: Timestamp,
    /// When the first byte of the final response passed.
    pub response_started_at: Option<Timestamp>,
    /// When the last byte of the response passed.
    pub response_ended_at: Option<Timestamp>,
    /// The final status code.
    pub status: Option<u16>,
    /// How much of the exchange was seen.
    pub completeness: Completeness,
}

/// A header field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The name, in lower case.
    pub name: String,
    /// The value; bytes that are not UTF-8 are replaced.
    pub value: String,
}

/// The protocol of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// HTTP/1.0 (and 0.9).
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2.
    H2,
    /// gRPC over HTTP/2.
    Grpc,
}

/// How much of an exchange was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Completeness {
    /// Request and response, whole.
    Complete,
    /// A request whose response never came.
    RequestOnly,
    /// A response whose request was not seen.
    ResponseOnly,
    /// Request and response, but one of them ended early.
    Truncated,
    /// Bytes in the middle are missing.
    Gap,
}

// === impl Exchange ===

impl Exchange {
    /// Returns the time from the first byte of the request to the last byte of the response \[ns\].
    pub fn latency_nanos(&self) -> Option<u64> {
        self.response_ended_at.map(|end| end.nanos_since(self.started_at))
    }

    /// Says whether the service failed it: a 5xx status, or no whole response.
    pub fn failed(&self) -> bool {
        match self.status {
            Some(status) => status >= 500 || self.response_ended_at.is_none(),
            None => true,
        }
    }

    /// Returns the value of a request header, by lower-case name.
    pub fn request_header(&self, name: &str) -> Option<&str> {
        header(&self.request_headers, name)
    }

    /// Returns the value of a response header, by lower-case name.
    pub fn response_header(&self, name: &str) -> Option<&str> {
        header(&self.response_headers, name)
    }
}

// === impl Header ===

impl Header {
    /// Returns a header with its name in lower case.
    pub fn new(name: &str, value: impl Into<String>) -> Self {
        Self { name: name.to_ascii_lowercase(), value: value.into() }
    }
}

// === impl Protocol ===

impl Protocol {
    /// Every protocol, in order.
    pub const ALL: [Self; 4] = [Self::Http10, Self::Http11, Self::H2, Self::Grpc];

    /// Returns the name used in datasets.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "http/1.0",
            Self::Http11 => "http/1.1",
            Self::H2 => "h2",
            Self::Grpc => "grpc",
        }
    }

    /// Returns the protocol of a dataset name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.as_str() == name)
    }
}

// === impl Completeness ===

impl Completeness {
    /// Every degree, in order.
    pub const ALL: [Self; 5] =
        [Self::Complete, Self::RequestOnly, Self::ResponseOnly, Self::Truncated, Self::Gap];

    /// Returns the name used in datasets.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::RequestOnly => "request_only",
            Self::ResponseOnly => "response_only",
            Self::Truncated => "truncated",
            Self::Gap => "gap",
        }
    }

    /// Returns the degree of a dataset name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|degree| degree.as_str() == name)
    }
}

/// Returns the 16 bytes of an address, IPv4 mapped into IPv6 (RFC 4291, section 2.5.5.2).
pub fn address_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// Returns the address of 16 bytes, IPv4 where it is mapped.
pub fn address_from_bytes(bytes: [u8; 16]) -> IpAddr {
    std::net::Ipv6Addr::from(bytes).to_canonical()
}

/// Returns the trace id of a W3C `traceparent` value (Trace Context, section 3.2).
pub fn trace_id_of(traceparent: &str) -> Option<[u8; 16]> {
    let hex = traceparent.trim().split('-').nth(1).filter(|hex| hex.len() == 32)?;
    let id = u128::from_str_radix(hex, 16).ok().filter(|id| *id != 0)?;
    Some(id.to_be_bytes())
}

fn header<'a>(headers: &'a [Header], name: &str) -> Option<&'a str> {
    headers.iter().find(|header| header.name == name).map(|header| header.value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_traceparent() {
        let value = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let id = trace_id_of(value).expect("well formed");
        assert_eq!(u128::from_be_bytes(id), 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        for bad in ["", "00-zz-1-01", "00-00000000000000000000000000000000-1-01"] {
            assert_eq!(trace_id_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn keeps_addresses_through_sixteen_bytes() {
        for text in ["10.1.2.3", "2001:db8::7"] {
            let address: IpAddr = text.parse().expect("an address");
            assert_eq!(address_from_bytes(address_bytes(address)), address);
        }
    }
}
