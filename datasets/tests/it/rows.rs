//! Rows of every table, made from a seed, and datasets made of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use prophecy_anonymizer::{Key, Policy, Sanitizer};
use prophecy_core::{
    Completeness, Connection, Exchange, Header, Ledger, Metric, Operation, Philox, Protocol, Seed,
    Timestamp,
};
use prophecy_datasets::{Dataset, DatasetOptions, DatasetWriter};

/// What a dataset is made from.
pub(crate) struct Rows {
    pub(crate) exchanges: Vec<Exchange>,
    pub(crate) operations: Vec<Operation>,
    pub(crate) connections: Vec<Connection>,
    pub(crate) metrics: Vec<Metric>,
}

pub(crate) fn rows(seed: u64, count: u64) -> Rows {
    let mut stream = Seed(seed).stream(0, 0, "rows");
    Rows {
        exchanges: (0..count).map(|id| exchange(id, &mut stream)).collect(),
        operations: (0..count / 2).map(|id| operation(id, &mut stream)).collect(),
        connections: (0..count / 3).map(|id| connection(id, &mut stream)).collect(),
        metrics: (0..count / 4).map(|id| metric(id, &mut stream)).collect(),
    }
}

fn at(id: u64) -> Timestamp {
    Timestamp(1_700_000_000_000_000_000 + id as i64 * 1_000_003)
}

fn address(stream: &mut Philox) -> SocketAddr {
    let port = stream.below(65_536) as u16;
    match stream.below(2) {
        0 => SocketAddr::from(([127, 0, 0, 1], port)),
        _ => SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, 7], port)),
    }
}

fn exchange(id: u64, stream: &mut Philox) -> Exchange {
    let some = |stream: &mut Philox| stream.below(2) == 0;
    let headers = |stream: &mut Philox| {
        (0..stream.below(3)).map(|n| Header::new(&format!("x-{n}"), "värde")).collect()
    };
    let body = |stream: &mut Philox| some(stream).then(|| (0..stream.below(9) as u8).collect());
    let ended = some(stream).then(|| at(id).plus_nanos(9));
    let path = format!("/items/{id}");
    Exchange {
        exchange_id: id,
        session_id: stream.below(5) as u64,
        connection_id: stream.below(5) as u64,
        trace_id: some(stream).then_some([7; 16]),
        source: "client".to_owned(),
        destination: ["web", "api"][stream.below(2)].to_owned(),
        client: address(stream),
        server: address(stream),
        protocol: Protocol::ALL[stream.below(4)],
        method: "GET".to_owned(),
        authority: "shop.example".to_owned(),
        query: some(stream).then(|| "page=2".to_owned()),
        route: prophecy_core::route::route_of("GET", &path),
        path,
        request_headers: headers(stream),
        response_headers: headers(stream),
        request_body: body(stream),
        response_body: body(stream),
        request_bytes: stream.next_u64() >> 20,
        response_bytes: stream.next_u64() >> 20,
        started_at: at(id),
        request_ended_at: at(id).plus_nanos(5),
        response_started_at: ended,
        response_ended_at: ended,
        status: some(stream).then_some(200),
        completeness: Completeness::ALL[stream.below(5)],
    }
}

fn operation(id: u64, stream: &mut Philox) -> Operation {
    Operation {
        protocol: "postgres".to_owned(),
        source: "api".to_owned(),
        destination: "db".to_owned(),
        statement: "select * from items where id = $1".to_owned(),
        fingerprint: stream.next_u64(),
        started_at: at(id),
        ended_at: id.is_multiple_of(2).then(|| at(id + 1)),
        rows: id.is_multiple_of(3).then_some(id),
        error: id.is_multiple_of(5).then(|| "23505".to_owned()),
        connection_id: id,
    }
}

fn connection(id: u64, stream: &mut Philox) -> Connection {
    Connection {
        connection_id: id,
        client: address(stream),
        server: address(stream),
        opened_at: at(id),
        closed_at: id.is_multiple_of(2).then(|| at(id + 1)),
        handshake_rtt_ns: (id % 2 == 1).then_some(40_000),
        retransmitted_segments: id,
        out_of_order_segments: 1,
        lost_bytes: 2,
        client_bytes: 3,
        server_bytes: 4,
    }
}

fn metric(id: u64, stream: &mut Philox) -> Metric {
    let labels = [("service", "web"), ("arm", "baseline")];
    Metric {
        name: "process_open_fds".to_owned(),
        labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        at: at(id),
        value: stream.uniform(),
    }
}

/// Starts a dataset of synthetic data, in parts of 64 rows.
pub(crate) fn writer(folder: &Path) -> (DatasetWriter, Sanitizer) {
    let policy = Policy::named("synthetic").expect("built in");
    let sanitizer = Sanitizer::new(policy, Key::from_bytes([7; 32]));
    let options = DatasetOptions {
        sources: vec!["a test".to_owned()],
        policy_name: sanitizer.policy().name().to_owned(),
        policy_digest: sanitizer.policy().digest(),
        key_id: sanitizer.key_id(),
        part_rows: 64,
    };
    (DatasetWriter::create(folder, options).expect("creates"), sanitizer)
}

/// Writes exchanges, counting them.
pub(crate) fn write_exchanges(
    writer: &mut DatasetWriter,
    sanitizer: &Sanitizer,
    exchanges: &[Exchange],
    ledger: &mut Ledger,
) {
    for exchange in exchanges {
        ledger.exchanges.record(exchange.completeness);
        writer.exchange(sanitizer.exchange(exchange.clone())).expect("writes");
    }
}

/// Writes a complete dataset.
pub(crate) fn write(folder: &Path, rows: &Rows) {
    let (mut writer, sanitizer) = writer(folder);
    let mut ledger = Ledger::default();
    write_exchanges(&mut writer, &sanitizer, &rows.exchanges, &mut ledger);
    for row in &rows.operations {
        writer.operation(sanitizer.operation(row.clone())).expect("writes");
    }
    for row in &rows.connections {
        writer.connection(sanitizer.connection(row.clone())).expect("writes");
    }
    for row in &rows.metrics {
        writer.metric(sanitizer.metric(row.clone())).expect("writes");
    }
    writer.finish(&ledger).expect("finishes");
}

#[test]
fn every_row_comes_back_as_it_was() {
    for (seed, count) in [(1, 0), (2, 1), (3, 64), (4, 65), (5, 400)] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let rows = rows(seed, count);
        write(folder.path(), &rows);
        let dataset = Dataset::open(folder.path()).expect("opens");
        assert_eq!(dataset.exchanges().expect("reads"), rows.exchanges);
        assert_eq!(dataset.operations().expect("reads"), rows.operations);
        assert_eq!(dataset.connections().expect("reads"), rows.connections);
        assert_eq!(dataset.metrics().expect("reads"), rows.metrics);
        let found = prophecy_datasets::verify(folder.path()).expect("verifies");
        assert!(found.passed() && found.notes.is_empty(), "{found:?}");
        let parts: BTreeMap<_, _> = dataset
            .manifest()
            .tables
            .iter()
            .map(|(table, parts)| (table.as_str(), parts.len()))
            .collect();
        assert_eq!(parts.get("exchanges").copied().unwrap_or(0), count.div_ceil(64) as usize);
    }
}
