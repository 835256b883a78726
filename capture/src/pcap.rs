//! Packet captures in, exchanges and connections out.
//!
//! A capture is read once, from front to back, in memory that does not grow with it. What the
//! capture has lost, what makes no sense and what belongs to other protocols is passed over and
//! counted; only a file that is no capture at all is an error.

mod dialog;
mod direction;
mod flow;
mod flows;
mod fuzz;
mod lane;
mod services;

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use prophecy_core::ledger::{Packets, Segments};
use prophecy_core::{Connection, Exchange};
use thiserror::Error;

use self::flows::Flows;
pub use self::fuzz::{fuzz_capture, fuzz_http};
pub use self::services::ServiceNames;
use crate::source::{OpenSourceError, Source};
use crate::wire::{Decoded, Decoder};

/// How many packets are read between two looks at the watch.
const WATCH_PACKETS: u64 = 1_024;

/// How to read captures.
#[derive(Clone, Debug)]
pub struct PcapOptions {
    /// The names of the services in the capture.
    pub services: ServiceNames,
    /// The most bytes kept of a body.
    pub body_limit: usize,
}

/// What a capture holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one is made at a time, and most are the large one")]
pub enum Captured {
    /// A request with its response, or one of them.
    Exchange(Exchange),
    /// A connection that is over, in the capture or with it.
    Connection(Connection),
}

/// The numbers of exchanges and connections, which go on from one file to the next.
#[derive(Clone, Debug, Default)]
pub struct Ids {
    exchanges: u64,
    connections: u64,
}

/// What was seen in a capture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaptureCounts {
    /// Where each packet went.
    pub packets: Packets,
    /// What became of TCP payload.
    pub segments: Segments,
    /// Interim responses, such as `100 Continue`, which are no exchange of their own.
    pub interim_responses: u64,
    /// What was strange, by name.
    pub oddities: BTreeMap<&'static str, u64>,
}

/// Why a capture could not be read.
#[derive(Debug, Error)]
pub enum ReadCaptureError {
    /// The file could not be read.
    #[error("cannot read the capture `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The file has no bytes.
    #[error("cannot read the capture `{}`: found an empty file", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The file is something else.
    #[error(
        "cannot read the capture `{}`: found a file that starts with {}, expected pcap or pcapng \
         (possibly gzipped)",
        path.display(),
        hex(*magic)
    )]
    Magic {
        /// The file.
        path: PathBuf,
        /// Its first four bytes.
        magic: [u8; 4],
    },
}

/// What the parts of the reading share.
struct Context<'a> {
    options: &'a PcapOptions,
    ids: &'a mut Ids,
    counts: CaptureCounts,
    sink: &'a mut dyn FnMut(Captured),
}

/// Reads a capture and hands over what it holds, exchanges as they end.
///
/// # Errors
///
/// [`ReadCaptureError`]; what came before a read error was handed over.
pub fn read_capture(
    path: &Path,
    options: &PcapOptions,
    ids: &mut Ids,
    sink: &mut dyn FnMut(Captured),
) -> Result<CaptureCounts, ReadCaptureError> {
    read_watched_capture(path, options, ids, sink, &mut |_| ControlFlow::Continue(()))
}

/// Reads a capture like [`read_capture`], and now and then tells `watch` how many bytes of the
/// file were read. The watch may break off the reading, as if the file ended there.
///
/// # Errors
///
/// [`ReadCaptureError`]; what came before a read error was handed over.
pub fn read_watched_capture(
    path: &Path,
    options: &PcapOptions,
    ids: &mut Ids,
    sink: &mut dyn FnMut(Captured),
    watch: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<CaptureCounts, ReadCaptureError> {
    let path_buf = || path.to_owned();
    let source = Source::open(path).map_err(|error| match error {
        OpenSourceError::Read(source) => ReadCaptureError::Read { path: path_buf(), source },
        OpenSourceError::Empty => ReadCaptureError::Empty { path: path_buf() },
        OpenSourceError::Foreign(magic) => ReadCaptureError::Magic { path: path_buf(), magic },
    })?;
    let mut context = Context { options, ids, counts: CaptureCounts::default(), sink };
    read_source(source, &mut context, watch)
        .map_err(|source| ReadCaptureError::Read { path: path_buf(), source })?;
    Ok(context.counts)
}

fn read_source(
    mut source: Source<'_>,
    context: &mut Context<'_>,
    watch: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> io::Result<()> {
    let mut decoder = Decoder::default();
    let mut flows = Flows::default();
    let ended = loop {
        if context.counts.packets.seen.is_multiple_of(WATCH_PACKETS)
            && watch(source.position()).is_break()
        {
            break Ok(());
        }
        let packet = match source.next() {
            Ok(Some(packet)) => packet,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        };
        context.counts.packets.seen += 1;
        match decoder.decode(&packet) {
            Decoded::Tcp(addressed) => match addressed.segment() {
                Some(segment) => {
                    context.counts.packets.tcp += 1;
                    if segment.cut > 0 {
                        context.odd("packet cut by the capture");
                    }
                    flows.segment(&segment, packet.at, context);
                }
                None => context.counts.packets.not_decodable += 1,
            },
            Decoded::NotTcp => context.counts.packets.not_tcp += 1,
            Decoded::NotDecodable => context.counts.packets.not_decodable += 1,
        }
    };
    flows.finish(context);
    context.counts.packets.dropped_by_kernel = source.dropped();
    if source.is_truncated() {
        context.odd("truncated file");
    }
    if source.is_damaged() {
        context.odd("damaged file");
    }
    // The last word, so that whoever shows the progress sees the end.
    let _ = watch(source.position());
    ended
}

// === impl Ids ===

impl Ids {
    fn next_exchange(&mut self) -> u64 {
        self.exchanges += 1;
        self.exchanges
    }

    fn next_connection(&mut self) -> u64 {
        self.connections += 1;
        self.connections
    }
}

// === impl CaptureCounts ===

impl CaptureCounts {
    /// Adds the counts of another file.
    pub fn add(&mut self, other: &Self) {
        let Packets { seen, dropped_by_kernel, filtered, not_decodable, not_tcp, tcp } =
            &other.packets;
        self.packets.seen += seen;
        self.packets.dropped_by_kernel += dropped_by_kernel;
        self.packets.filtered += filtered;
        self.packets.not_decodable += not_decodable;
        self.packets.not_tcp += not_tcp;
        self.packets.tcp += tcp;
        let Segments {
            with_payload,
            retransmitted,
            out_of_order,
            gaps,
            lost_bytes,
            unparsed_bytes,
        } = &other.segments;
        self.segments.with_payload += with_payload;
        self.segments.retransmitted += retransmitted;
        self.segments.out_of_order += out_of_order;
        self.segments.gaps += gaps;
        self.segments.lost_bytes += lost_bytes;
        self.segments.unparsed_bytes += unparsed_bytes;
        self.interim_responses += other.interim_responses;
        for (name, count) in &other.oddities {
            *self.oddities.entry(name).or_default() += count;
        }
    }
}

// === impl Context ===

impl Context<'_> {
    /// Counts something strange.
    fn odd(&mut self, name: &'static str) {
        *self.counts.oddities.entry(name).or_default() += 1;
    }
}

fn hex(bytes: [u8; 4]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}
