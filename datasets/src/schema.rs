//! The columns of a dataset's tables: a contract with whoever reads it.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

/// A table of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Requests with their responses.
    Exchanges,
    /// Calls in other protocols.
    Operations,
    /// Transport connections.
    Connections,
    /// Measured series.
    Metrics,
}

// === impl Table ===

impl Table {
    /// Every table, in order.
    pub const ALL: [Self; 4] =
        [Self::Exchanges, Self::Operations, Self::Connections, Self::Metrics];

    /// Returns the name used in files and manifests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exchanges => "exchanges",
            Self::Operations => "operations",
            Self::Connections => "connections",
            Self::Metrics => "metrics",
        }
    }

    /// Returns the columns.
    pub fn schema(self) -> SchemaRef {
        Arc::new(Schema::new(match self {
            Self::Exchanges => exchanges(),
            Self::Operations => operations(),
            Self::Connections => connections(),
            Self::Metrics => metrics(),
        }))
    }
}

fn exchanges() -> Vec<Field> {
    vec![
        required("exchange_id", DataType::UInt64),
        required("session_id", DataType::UInt64),
        required("connection_id", DataType::UInt64),
        optional("trace_id", DataType::FixedSizeBinary(16)),
        required("source", names()),
        required("destination", names()),
        required("client_address", DataType::FixedSizeBinary(16)),
        required("server_address", DataType::FixedSizeBinary(16)),
        required("client_port", DataType::UInt16),
        required("server_port", DataType::UInt16),
        required("protocol", names()),
        required("method", names()),
        required("authority", names()),
        required("path", DataType::Utf8),
        optional("query", DataType::Utf8),
        required("route", names()),
        required("request_headers", headers()),
        required("response_headers", headers()),
        optional("request_body", DataType::Binary),
        optional("response_body", DataType::Binary),
        required("request_bytes", DataType::UInt64),
        required("response_bytes", DataType::UInt64),
        required("started_at", instant()),
        required("request_ended_at", instant()),
        optional("response_started_at", instant()),
        optional("response_ended_at", instant()),
        optional("status", DataType::UInt16),
        required("completeness", names()),
    ]
}

fn operations() -> Vec<Field> {
    vec![
        required("protocol", names()),
        required("source", names()),
        required("destination", names()),
        required("statement", DataType::Utf8),
        required("fingerprint", DataType::UInt64),
        required("started_at", instant()),
        optional("ended_at", instant()),
        optional("rows", DataType::UInt64),
        optional("error", DataType::Utf8),
        required("connection_id", DataType::UInt64),
    ]
}

fn connections() -> Vec<Field> {
    vec![
        required("connection_id", DataType::UInt64),
        required("client_address", DataType::FixedSizeBinary(16)),
        required("server_address", DataType::FixedSizeBinary(16)),
        required("client_port", DataType::UInt16),
        required("server_port", DataType::UInt16),
        required("opened_at", instant()),
        optional("closed_at", instant()),
        optional("handshake_rtt_ns", DataType::UInt64),
        required("retransmitted_segments", DataType::UInt64),
        required("out_of_order_segments", DataType::UInt64),
        required("lost_bytes", DataType::UInt64),
        required("client_bytes", DataType::UInt64),
        required("server_bytes", DataType::UInt64),
    ]
}

fn metrics() -> Vec<Field> {
    vec![
        required("name", names()),
        required("labels", labels()),
        required("at", instant()),
        required("value", DataType::Float64),
    ]
}

fn required(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, false)
}

fn optional(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

fn names() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
}

fn headers() -> DataType {
    DataType::List(Arc::new(Field::new("item", DataType::Struct(header_fields()), false)))
}

/// Returns the fields of one header.
pub(crate) fn header_fields() -> Fields {
    Fields::from(vec![required("name", DataType::Utf8), required("value", DataType::Utf8)])
}

fn labels() -> DataType {
    let entry =
        Fields::from(vec![required("keys", DataType::Utf8), optional("values", DataType::Utf8)]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entry), false)), false)
}
