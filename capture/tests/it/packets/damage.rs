//! Damaged captures: nothing is promised but an end, and counts that add up.

use prophecy_capture::pcap::{CaptureCounts, fuzz_capture, fuzz_http};
use prophecy_core::{Ledger, Seed};

use super::file::{Block, Kind, pcap, pcapng, stamped};
use super::talk::{Segment, Talk};

const ROUNDS: u64 = 3_000;

fn talk() -> Talk {
    let mut talk = Talk::open(40_000, u32::MAX - 60);
    for _ in 0..3 {
        talk.client("PUT /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n");
        talk.server("HTTP/1.1 100 Continue\r\n\r\n");
        talk.server("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nhello");
        talk.server(", you!\n");
    }
    talk.close();
    talk
}

/// Cuts, overwrites, repeats and removes at places that the seed decides.
fn damaged(original: &[u8], random: &mut impl FnMut(usize) -> usize) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for _ in 0..=random(6) {
        let at = random(bytes.len().max(1)).min(bytes.len().saturating_sub(1));
        let end = (at + random(40)).min(bytes.len());
        match random(5) {
            0 => bytes.truncate(at.max(30)),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            3 => bytes[at..end].fill([0x00, 0xff][random(2)]),
            _ if at < bytes.len() => bytes[at] = random(256) as u8,
            _ => {}
        }
    }
    bytes
}

fn numbers(name: &str) -> impl FnMut(usize) -> usize {
    let mut stream = Seed(20).stream(0, 0, name);
    move |below| stream.below(below.max(1))
}

fn check(counts: &CaptureCounts) {
    let CaptureCounts { packets, segments, .. } = counts.clone();
    let ledger = Ledger { packets, segments, ..Ledger::default() };
    assert_eq!(ledger.imbalance(), None);
}

#[test]
fn survives_damaged_captures() {
    let packets = stamped(talk().segments.iter().map(Segment::ipv4));
    let ether = |segment: &Segment| [vec![0; 12], vec![0x08, 0x00], segment.ipv4()].concat();
    let fragments = talk().segments.into_iter().zip(0..).flat_map(|(segment, id)| {
        [segment.fragment_of_ipv4(16..usize::MAX, id), segment.fragment_of_ipv4(0..16, id)]
    });
    let originals = [
        pcap(101, Kind::MicrosLittle, &packets),
        pcap(1, Kind::NanosBig, &stamped(talk().segments.iter().map(ether))),
        pcap(101, Kind::MicrosLittle, &stamped(talk().segments.iter().map(Segment::ipv6))),
        pcap(101, Kind::MicrosLittle, &stamped(fragments)),
        pcapng(false, Block::Enhanced, &packets),
        pcapng(true, Block::Simple, &packets),
    ];
    let mut random = numbers("captures");
    for original in &originals {
        check(&fuzz_capture(original));
        for _ in 0..ROUNDS / 6 {
            check(&fuzz_capture(&damaged(original, &mut random)));
        }
    }
}

#[test]
fn survives_packets_that_are_lost_repeated_and_swapped() {
    let mut random = numbers("packets");
    for _ in 0..ROUNDS {
        let mut segments = talk().segments;
        for _ in 0..=random(8) {
            let (a, b) = (random(segments.len()), random(segments.len()));
            match random(4) {
                0 => segments.swap(a, b),
                1 => drop(segments.remove(a)),
                2 => segments.insert(a, segments[b].clone()),
                _ => {
                    let shift = random(50) as u32;
                    segments[a].sequence = segments[a].sequence.wrapping_sub(shift);
                    segments[a].acknowledgment = segments[a].acknowledgment.wrapping_add(shift);
                }
            }
        }
        let packets = stamped(segments.iter().map(Segment::ipv4));
        check(&fuzz_capture(&pcap(101, Kind::MicrosLittle, &packets)));
    }
}

#[test]
fn survives_damaged_messages() {
    let mut original = Vec::new();
    for segment in talk().segments.iter().filter(|segment| !segment.payload.is_empty()) {
        original.extend([u8::from(segment.from_client), segment.payload.len() as u8]);
        original.extend(&segment.payload);
    }
    assert_eq!(fuzz_http(&original), 3);
    let mut random = numbers("messages");
    for _ in 0..ROUNDS {
        fuzz_http(&damaged(&original, &mut random));
    }
}
