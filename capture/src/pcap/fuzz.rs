//! Entries for fuzzing: any bytes in, no panic out.

use std::net::SocketAddr;
use std::ops::ControlFlow;

use prophecy_core::Timestamp;

use super::dialog::{Dialog, Place};
use super::lane::Mark;
use super::{CaptureCounts, Context, Ids, PcapOptions, ServiceNames, read_source};
use crate::protocol::http1::head::Side;
use crate::source::Source;

/// Reads any bytes as a capture file: what fuzzing calls.
pub fn fuzz_capture(bytes: &[u8]) -> CaptureCounts {
    let options = PcapOptions { services: ServiceNames::default(), body_limit: 1 << 10 };
    let mut context = Context {
        options: &options,
        ids: &mut Ids::default(),
        counts: CaptureCounts::default(),
        sink: &mut |_| (),
    };
    if let Ok(source) = Source::read(bytes) {
        // A damaged compressed stream is an error of reading; there is nothing more to see.
        read_source(source, &mut context, &mut |_| ControlFlow::Continue(())).unwrap_or_default();
    }
    context.counts
}

/// Reads any bytes as the messages of a connection: what fuzzing calls. Returns how many exchanges
/// were found.
///
/// # Shapes and units
///
/// Each piece has two bytes in front: whether the client sends it (1), the server sends it (0) or
/// it is lost (2 and above), and its length.
pub fn fuzz_http(mut bytes: &[u8]) -> u64 {
    let options = PcapOptions { services: ServiceNames::default(), body_limit: 1 << 10 };
    let mut exchanges = 0;
    let mut context = Context {
        options: &options,
        ids: &mut Ids::default(),
        counts: CaptureCounts::default(),
        sink: &mut |_| exchanges += 1,
    };
    let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
    let place = Place { connection_id: 1, client: unknown, server: unknown };
    let mut dialog = Dialog::new(false);
    let mut positions = [0_u64; 2];
    while let [kind, length, rest @ ..] = bytes {
        let (piece, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        bytes = rest;
        let end = usize::from(*kind % 2);
        let side = [Side::Response, Side::Request][end];
        let mark = Mark { position: positions[end], heard: Some(positions[1 - end]) };
        positions[end] += piece.len() as u64;
        if *kind < 2 {
            dialog.bytes(side, piece, Timestamp(0), mark, (&place, &mut context));
        } else {
            dialog.gap(side, piece.len() as u64, positions[end], &mut context);
        }
    }
    dialog.finish(&mut context);
    exchanges
}
