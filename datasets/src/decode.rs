//! Record batches to rows.

use std::net::SocketAddr;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, TimestampNanosecondType, UInt16Type, UInt64Type};
use arrow_array::{Array, RecordBatch};
use prophecy_core::exchange::address_from_bytes;
use prophecy_core::{
    Completeness, Connection, Exchange, Header, Metric, Operation, Protocol, Timestamp,
};

/// Reads columns of one batch by name; the schema was checked before.
struct Columns<'a>(&'a RecordBatch);

/// Decodes exchanges; `None` if a name of a protocol or a completeness is unknown.
pub(crate) fn exchanges(batch: &RecordBatch) -> Option<Vec<Exchange>> {
    let columns = Columns(batch);
    (0..batch.num_rows())
        .map(|row| {
            Some(Exchange {
                exchange_id: columns.u64("exchange_id", row)?,
                session_id: columns.u64("session_id", row)?,
                connection_id: columns.u64("connection_id", row)?,
                trace_id: columns.sixteen("trace_id", row),
                source: columns.name("source", row)?,
                destination: columns.name("destination", row)?,
                client: columns.socket("client", row)?,
                server: columns.socket("server", row)?,
                protocol: Protocol::from_name(&columns.name("protocol", row)?)?,
                method: columns.name("method", row)?,
                authority: columns.name("authority", row)?,
                path: columns.text("path", row)?,
                query: columns.text("query", row),
                route: columns.name("route", row)?,
                request_headers: columns.headers("request_headers", row)?,
                response_headers: columns.headers("response_headers", row)?,
                request_body: columns.bytes("request_body", row),
                response_body: columns.bytes("response_body", row),
                request_bytes: columns.u64("request_bytes", row)?,
                response_bytes: columns.u64("response_bytes", row)?,
                started_at: columns.instant("started_at", row)?,
                request_ended_at: columns.instant("request_ended_at", row)?,
                response_started_at: columns.instant("response_started_at", row),
                response_ended_at: columns.instant("response_ended_at", row),
                status: columns.u16("status", row),
                completeness: Completeness::from_name(&columns.name("completeness", row)?)?,
            })
        })
        .collect()
}

/// Decodes operations.
pub(crate) fn operations(batch: &RecordBatch) -> Option<Vec<Operation>> {
    let columns = Columns(batch);
    (0..batch.num_rows())
        .map(|row| {
            Some(Operation {
                protocol: columns.name("protocol", row)?,
                source: columns.name("source", row)?,
                destination: columns.name("destination", row)?,
                statement: columns.text("statement", row)?,
                fingerprint: columns.u64("fingerprint", row)?,
                started_at: columns.instant("started_at", row)?,
                ended_at: columns.instant("ended_at", row),
                rows: columns.u64("rows", row),
                error: columns.text("error", row),
                connection_id: columns.u64("connection_id", row)?,
            })
        })
        .collect()
}

/// Decodes connections.
pub(crate) fn connections(batch: &RecordBatch) -> Option<Vec<Connection>> {
    let columns = Columns(batch);
    (0..batch.num_rows())
        .map(|row| {
            Some(Connection {
                connection_id: columns.u64("connection_id", row)?,
                client: columns.socket("client", row)?,
                server: columns.socket("server", row)?,
                opened_at: columns.instant("opened_at", row)?,
                closed_at: columns.instant("closed_at", row),
                handshake_rtt_ns: columns.u64("handshake_rtt_ns", row),
                retransmitted_segments: columns.u64("retransmitted_segments", row)?,
                out_of_order_segments: columns.u64("out_of_order_segments", row)?,
                lost_bytes: columns.u64("lost_bytes", row)?,
                client_bytes: columns.u64("client_bytes", row)?,
                server_bytes: columns.u64("server_bytes", row)?,
            })
        })
        .collect()
}

/// Decodes metrics.
pub(crate) fn metrics(batch: &RecordBatch) -> Option<Vec<Metric>> {
    let columns = Columns(batch);
    let labels = batch.column_by_name("labels")?.as_map_opt()?;
    let values = batch.column_by_name("value")?.as_primitive_opt::<Float64Type>()?;
    (0..batch.num_rows())
        .map(|row| {
            let entries = labels.value(row);
            let keys = entries.column(0).as_string_opt::<i32>()?;
            let texts = entries.column(1).as_string_opt::<i32>()?;
            let pairs = (0..entries.len())
                .map(|index| (keys.value(index).to_owned(), texts.value(index).to_owned()));
            Some(Metric {
                name: columns.name("name", row)?,
                labels: pairs.collect(),
                at: columns.instant("at", row)?,
                value: values.value(row),
            })
        })
        .collect()
}

// === impl Columns ===

impl Columns<'_> {
    fn u64(&self, name: &str, row: usize) -> Option<u64> {
        let column = self.0.column_by_name(name)?.as_primitive_opt::<UInt64Type>()?;
        column.is_valid(row).then(|| column.value(row))
    }

    fn u16(&self, name: &str, row: usize) -> Option<u16> {
        let column = self.0.column_by_name(name)?.as_primitive_opt::<UInt16Type>()?;
        column.is_valid(row).then(|| column.value(row))
    }

    fn instant(&self, name: &str, row: usize) -> Option<Timestamp> {
        let column = self.0.column_by_name(name)?.as_primitive_opt::<TimestampNanosecondType>()?;
        column.is_valid(row).then(|| Timestamp(column.value(row)))
    }

    fn sixteen(&self, name: &str, row: usize) -> Option<[u8; 16]> {
        let column = self.0.column_by_name(name)?.as_fixed_size_binary_opt()?;
        column.is_valid(row).then(|| column.value(row).try_into().ok()).flatten()
    }

    fn socket(&self, side: &str, row: usize) -> Option<SocketAddr> {
        let address = address_from_bytes(self.sixteen(&format!("{side}_address"), row)?);
        Some(SocketAddr::new(address, self.u16(&format!("{side}_port"), row)?))
    }

    fn text(&self, name: &str, row: usize) -> Option<String> {
        let column = self.0.column_by_name(name)?.as_string_opt::<i32>()?;
        column.is_valid(row).then(|| column.value(row).to_owned())
    }

    fn bytes(&self, name: &str, row: usize) -> Option<Vec<u8>> {
        let column = self.0.column_by_name(name)?.as_binary_opt::<i32>()?;
        column.is_valid(row).then(|| column.value(row).to_vec())
    }

    fn name(&self, name: &str, row: usize) -> Option<String> {
        let column = self.0.column_by_name(name)?.as_dictionary_opt::<Int32Type>()?;
        let values = column.values().as_string_opt::<i32>()?;
        Some(values.value(column.key(row)?).to_owned())
    }

    fn headers(&self, name: &str, row: usize) -> Option<Vec<Header>> {
        let list = self.0.column_by_name(name)?.as_list_opt::<i32>()?.value(row);
        let headers = list.as_struct_opt()?;
        let names = headers.column(0).as_string_opt::<i32>()?;
        let values = headers.column(1).as_string_opt::<i32>()?;
        let header = |index| Header {
            name: names.value(index).to_owned(),
            value: values.value(index).to_owned(),
        };
        Some((0..headers.len()).map(header).collect())
    }
}
