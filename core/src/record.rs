//! The other rows of a dataset: connections, operations, metrics.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::time::Timestamp;

/// A transport connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Unique within a dataset.
    pub connection_id: u64,
    /// Who opened it.
    pub client: SocketAddr,
    /// Who accepted it.
    pub server: SocketAddr,
    /// When its first packet or its accept was seen.
    pub opened_at: Timestamp,
    /// When it was closed or reset.
    pub closed_at: Option<Timestamp>,
    /// Time from SYN to the ACK that ends the handshake \[ns\].
    pub handshake_rtt_ns: Option<u64>,
    /// Segments that carried only bytes seen before.
    pub retransmitted_segments: u64,
    /// Segments that came before bytes they follow.
    pub out_of_order_segments: u64,
    /// Bytes that were sent but never seen.
    pub lost_bytes: u64,
    /// Payload bytes from the client.
    pub client_bytes: u64,
    /// Payload bytes from the server.
    pub server_bytes: u64,
}

/// A call in another protocol than HTTP: SQL, Redis, DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The protocol, such as `postgres`.
    pub protocol: String,
    /// The calling service.
    pub source: String,
    /// The called service.
    pub destination: String,
    /// The statement with its literals taken out.
    pub statement: String,
    /// A hash of the normalized statement.
    pub fingerprint: u64,
    /// When it was sent.
    pub started_at: Timestamp,
    /// When it was answered.
    pub ended_at: Option<Timestamp>,
    /// Rows returned or changed.
    pub rows: Option<u64>,
    /// The class of the error, if it failed.
    pub error: Option<String>,
    /// The transport connection.
    pub connection_id: u64,
}

/// One value of one series at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// The series, with its unit: `process_resident_bytes`.
    pub name: String,
    /// What tells series of one name apart: `service`, `arm`.
    pub labels: BTreeMap<String, String>,
    /// When it was measured.
    pub at: Timestamp,
    /// The value, in the unit of the name.
    pub value: f64,
}
