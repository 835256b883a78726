//! What a made-up capture is read as, in lines that a test can compare.

use std::io::Write;

use prophecy_capture::pcap::{
    CaptureCounts, Captured, Ids, PcapOptions, ReadCaptureError, ServiceNames, read_capture,
};
use prophecy_core::{Connection, Exchange, Ledger};

use super::file::{raw, stamped};
use super::talk::Segment;

/// What was read.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) exchanges: Vec<Exchange>,
    pub(super) connections: Vec<Connection>,
    pub(super) counts: CaptureCounts,
}

pub(super) fn try_read(file: &[u8], body_limit: usize) -> Result<Reading, ReadCaptureError> {
    let mut on_disk = tempfile::NamedTempFile::new().unwrap();
    on_disk.write_all(file).unwrap();
    let options = PcapOptions { services: ServiceNames::default(), body_limit };
    let (mut exchanges, mut connections) = (Vec::new(), Vec::new());
    let mut sink = |captured| match captured {
        Captured::Exchange(exchange) => exchanges.push(exchange),
        Captured::Connection(connection) => connections.push(connection),
    };
    let counts = read_capture(on_disk.path(), &options, &mut Ids::default(), &mut sink)?;
    exchanges.sort_by_key(|exchange| exchange.exchange_id);
    let (packets, segments) = (counts.packets.clone(), counts.segments.clone());
    let ledger = Ledger { packets, segments, ..Ledger::default() };
    assert_eq!(ledger.imbalance(), None);
    Ok(Reading { exchanges, connections, counts })
}

pub(super) fn read(file: &[u8]) -> Reading {
    try_read(file, 1 << 20).unwrap()
}

/// Reads segments over raw IPv4, a millisecond each.
pub(super) fn read_segments<'a>(segments: impl IntoIterator<Item = &'a Segment>) -> Reading {
    read(&raw(&stamped(segments.into_iter().map(Segment::ipv4))))
}

impl Reading {
    /// One line for each exchange: `GET /a 200 0+5 complete`.
    pub(super) fn lines(&self) -> Vec<String> {
        let line = |exchange: &Exchange| {
            let status = exchange.status.map_or("-".to_owned(), |status| status.to_string());
            format!(
                "{} {} {status} {}+{} {}",
                exchange.method,
                exchange.path,
                exchange.request_bytes,
                exchange.response_bytes,
                exchange.completeness.as_str()
            )
        };
        self.exchanges.iter().map(line).collect()
    }

    pub(super) fn check(&self, expected: &[&str]) {
        assert_eq!(self.lines(), expected, "{:?}", self.counts);
    }
}
