//! Rows to record batches.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arrow_array::builder::{
    BinaryBuilder, FixedSizeBinaryBuilder, Float64Builder, ListBuilder, MapBuilder, StringBuilder,
    StringDictionaryBuilder, StructBuilder, TimestampNanosecondBuilder, UInt16Builder,
    UInt64Builder,
};
use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, RecordBatch};
use prophecy_core::exchange::address_bytes;
use prophecy_core::{Connection, Exchange, Header, Metric, Operation, Timestamp};

use crate::schema::{Table, header_fields};

/// Columns in the making; the order of pushes is the order of the schema.
#[derive(Default)]
struct Columns(Vec<ArrayRef>);

/// Encodes exchanges.
pub(crate) fn exchanges(rows: &[Exchange]) -> RecordBatch {
    let mut columns = Columns::default();
    columns.u64(rows.iter().map(|row| Some(row.exchange_id)));
    columns.u64(rows.iter().map(|row| Some(row.session_id)));
    columns.u64(rows.iter().map(|row| Some(row.connection_id)));
    columns.sixteen(rows.iter().map(|row| row.trace_id));
    columns.names(rows.iter().map(|row| row.source.as_str()));
    columns.names(rows.iter().map(|row| row.destination.as_str()));
    columns.addresses(rows.iter().map(|row| row.client), rows.iter().map(|row| row.server));
    columns.names(rows.iter().map(|row| row.protocol.as_str()));
    columns.names(rows.iter().map(|row| row.method.as_str()));
    columns.names(rows.iter().map(|row| row.authority.as_str()));
    columns.text(rows.iter().map(|row| Some(row.path.as_str())));
    columns.text(rows.iter().map(|row| row.query.as_deref()));
    columns.names(rows.iter().map(|row| row.route.as_str()));
    columns.headers(rows.iter().map(|row| row.request_headers.as_slice()));
    columns.headers(rows.iter().map(|row| row.response_headers.as_slice()));
    columns.bytes(rows.iter().map(|row| row.request_body.as_deref()));
    columns.bytes(rows.iter().map(|row| row.response_body.as_deref()));
    columns.u64(rows.iter().map(|row| Some(row.request_bytes)));
    columns.u64(rows.iter().map(|row| Some(row.response_bytes)));
    columns.instants(rows.iter().map(|row| Some(row.started_at)));
    columns.instants(rows.iter().map(|row| Some(row.request_ended_at)));
    columns.instants(rows.iter().map(|row| row.response_started_at));
    columns.instants(rows.iter().map(|row| row.response_ended_at));
    columns.u16(rows.iter().map(|row| row.status));
    columns.names(rows.iter().map(|row| row.completeness.as_str()));
    columns.batch(Table::Exchanges)
}

/// Encodes operations.
pub(crate) fn operations(rows: &[Operation]) -> RecordBatch {
    let mut columns = Columns::default();
    columns.names(rows.iter().map(|row| row.protocol.as_str()));
    columns.names(rows.iter().map(|row| row.source.as_str()));
    columns.names(rows.iter().map(|row| row.destination.as_str()));
    columns.text(rows.iter().map(|row| Some(row.statement.as_str())));
    columns.u64(rows.iter().map(|row| Some(row.fingerprint)));
    columns.instants(rows.iter().map(|row| Some(row.started_at)));
    columns.instants(rows.iter().map(|row| row.ended_at));
    columns.u64(rows.iter().map(|row| row.rows));
    columns.text(rows.iter().map(|row| row.error.as_deref()));
    columns.u64(rows.iter().map(|row| Some(row.connection_id)));
    columns.batch(Table::Operations)
}

/// Encodes connections.
pub(crate) fn connections(rows: &[Connection]) -> RecordBatch {
    let mut columns = Columns::default();
    columns.u64(rows.iter().map(|row| Some(row.connection_id)));
    columns.addresses(rows.iter().map(|row| row.client), rows.iter().map(|row| row.server));
    columns.instants(rows.iter().map(|row| Some(row.opened_at)));
    columns.instants(rows.iter().map(|row| row.closed_at));
    columns.u64(rows.iter().map(|row| row.handshake_rtt_ns));
    columns.u64(rows.iter().map(|row| Some(row.retransmitted_segments)));
    columns.u64(rows.iter().map(|row| Some(row.out_of_order_segments)));
    columns.u64(rows.iter().map(|row| Some(row.lost_bytes)));
    columns.u64(rows.iter().map(|row| Some(row.client_bytes)));
    columns.u64(rows.iter().map(|row| Some(row.server_bytes)));
    columns.batch(Table::Connections)
}

/// Encodes metrics.
pub(crate) fn metrics(rows: &[Metric]) -> RecordBatch {
    let mut columns = Columns::default();
    columns.names(rows.iter().map(|row| row.name.as_str()));
    let mut labels = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    for row in rows {
        for (key, value) in &row.labels {
            labels.keys().append_value(key);
            labels.values().append_value(value);
        }
        labels.append(true).expect("keys and values are pushed in pairs");
    }
    columns.0.push(Arc::new(labels.finish()));
    columns.instants(rows.iter().map(|row| Some(row.at)));
    let mut values = Float64Builder::new();
    rows.iter().for_each(|row| values.append_value(row.value));
    columns.0.push(Arc::new(values.finish()));
    columns.batch(Table::Metrics)
}

// === impl Columns ===

impl Columns {
    fn u64(&mut self, values: impl Iterator<Item = Option<u64>>) {
        let mut builder = UInt64Builder::new();
        values.for_each(|value| builder.append_option(value));
        self.0.push(Arc::new(builder.finish()));
    }

    fn u16(&mut self, values: impl Iterator<Item = Option<u16>>) {
        let mut builder = UInt16Builder::new();
        values.for_each(|value| builder.append_option(value));
        self.0.push(Arc::new(builder.finish()));
    }

    fn sixteen(&mut self, values: impl Iterator<Item = Option<[u8; 16]>>) {
        let mut builder = FixedSizeBinaryBuilder::new(16);
        for value in values {
            match value {
                Some(bytes) => builder.append_value(bytes).expect("sixteen bytes"),
                None => builder.append_null(),
            }
        }
        self.0.push(Arc::new(builder.finish()));
    }

    /// Pushes client and server addresses, then client and server ports.
    fn addresses(
        &mut self,
        clients: impl Iterator<Item = SocketAddr> + Clone,
        servers: impl Iterator<Item = SocketAddr> + Clone,
    ) {
        let bytes = |address: SocketAddr| -> Option<[u8; 16]> {
            let ip: IpAddr = address.ip();
            Some(address_bytes(ip))
        };
        self.sixteen(clients.clone().map(bytes));
        self.sixteen(servers.clone().map(bytes));
        self.u16(clients.map(|address| Some(address.port())));
        self.u16(servers.map(|address| Some(address.port())));
    }

    fn names<'a>(&mut self, values: impl Iterator<Item = &'a str>) {
        let mut builder = StringDictionaryBuilder::<Int32Type>::new();
        values.for_each(|value| builder.append_value(value));
        self.0.push(Arc::new(builder.finish()));
    }

    fn text<'a>(&mut self, values: impl Iterator<Item = Option<&'a str>>) {
        let mut builder = StringBuilder::new();
        values.for_each(|value| builder.append_option(value));
        self.0.push(Arc::new(builder.finish()));
    }

    fn bytes<'a>(&mut self, values: impl Iterator<Item = Option<&'a [u8]>>) {
        let mut builder = BinaryBuilder::new();
        values.for_each(|value| builder.append_option(value));
        self.0.push(Arc::new(builder.finish()));
    }

    fn headers<'a>(&mut self, values: impl Iterator<Item = &'a [Header]>) {
        let item = arrow_schema::Field::new(
            "item",
            arrow_schema::DataType::Struct(header_fields()),
            false,
        );
        let fields = StructBuilder::from_fields(header_fields(), 0);
        let mut builder = ListBuilder::new(fields).with_field(item);
        for headers in values {
            let rows = builder.values();
            for header in headers {
                let name: &mut StringBuilder = rows.field_builder(0).expect("a header has a name");
                name.append_value(&header.name);
                let value: &mut StringBuilder =
                    rows.field_builder(1).expect("a header has a value");
                value.append_value(&header.value);
                rows.append(true);
            }
            builder.append(true);
        }
        self.0.push(Arc::new(builder.finish()));
    }

    fn instants(&mut self, values: impl Iterator<Item = Option<Timestamp>>) {
        let mut builder = TimestampNanosecondBuilder::new().with_timezone("UTC");
        values.for_each(|value| builder.append_option(value.map(|at| at.0)));
        self.0.push(Arc::new(builder.finish()));
    }

    fn batch(self, table: Table) -> RecordBatch {
        RecordBatch::try_new(table.schema(), self.0).expect("columns follow the schema")
    }
}
