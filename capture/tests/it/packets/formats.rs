//! File formats, links and IP.

use std::io::Write;

use prophecy_capture::pcap::ReadCaptureError;
use prophecy_core::Timestamp;

use super::file::{Block, Kind, Stamped, pcap, pcapng, raw, stamped};
use super::reading::{Reading, read, try_read};
use super::talk::{ACK, Segment, Talk};

fn talk() -> Talk {
    let mut talk = Talk::open(40_000, 7);
    talk.client("GET /a HTTP/1.1\r\nHost: shop\r\n\r\n");
    talk.server("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    talk.close();
    talk
}

fn packets() -> Vec<Stamped> {
    stamped(talk().segments.iter().map(Segment::ipv4))
}

fn check(reading: &Reading) {
    reading.check(&["GET /a 200 0+5 complete"]);
    assert_eq!(reading.exchanges[0].response_body.as_deref(), Some(b"hello".as_slice()));
}

fn check_times(reading: &Reading) {
    let exchange = &reading.exchanges[0];
    let at = |millis: i64| Timestamp(1_700_000_000_000_000_000 + millis * 1_000_000);
    let off = |time: Timestamp, millis| (time.0 - at(millis).0).abs();
    // The second interface counts 2^-20 s.
    assert!(off(exchange.started_at, 3) < 1_000, "{exchange:?}");
    assert!(off(exchange.response_started_at.unwrap(), 4) < 1_000, "{exchange:?}");
    assert!(off(exchange.response_ended_at.unwrap(), 4) < 1_000, "{exchange:?}");
    assert!(off(reading.connections[0].opened_at, 0) < 1_000);
    let handshake = reading.connections[0].handshake_rtt_ns.unwrap();
    assert!(handshake.abs_diff(2_000_000) < 1_000, "{handshake}");
}

#[test]
fn reads_classic_files_in_both_byte_orders_and_both_units() {
    for kind in [Kind::MicrosLittle, Kind::MicrosBig, Kind::NanosLittle, Kind::NanosBig] {
        let reading = read(&pcap(101, kind, &packets()));
        check(&reading);
        check_times(&reading);
    }
}

#[test]
fn reads_files_in_blocks_with_interfaces_that_differ() {
    for big_endian in [false, true] {
        for block in [Block::Enhanced, Block::Obsolete] {
            let reading = read(&pcapng(big_endian, block, &packets()));
            check(&reading);
            check_times(&reading);
            assert_eq!(reading.counts.packets.dropped_by_kernel, 4);
        }
        check(&read(&pcapng(big_endian, Block::Simple, &packets())));
    }
}

#[test]
fn reads_sections_one_after_another() {
    let packets = packets();
    let (first, second) = packets.split_at(4);
    let sections = [pcapng(false, Block::Enhanced, first), pcapng(true, Block::Enhanced, second)];
    let reading = read(&sections.concat());
    check(&reading);
    assert_eq!(reading.counts.packets.dropped_by_kernel, 8);
}

#[test]
fn reads_compressed_files() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&raw(&packets())).unwrap();
    let compressed = encoder.finish().unwrap();
    check(&read(&compressed));
    let cut = read(&compressed[..compressed.len() - 60]);
    assert_eq!(cut.counts.oddities.get("truncated file"), Some(&1));
}

#[test]
fn reads_what_a_truncated_file_has() {
    for file in [raw(&packets()), pcapng(false, Block::Enhanced, &packets())] {
        for length in 25..file.len() {
            let reading = read(&file[..length]);
            assert!(reading.exchanges.len() <= 1);
        }
        let reading = read(&file[..file.len() - 3]);
        check(&reading);
        assert_eq!(reading.counts.oddities.get("truncated file"), Some(&1));
    }
}

#[test]
fn stops_at_a_record_that_makes_no_sense() {
    let mut file = raw(&packets());
    file.extend([0xff; 40]);
    let reading = read(&file);
    check(&reading);
    assert_eq!(reading.counts.oddities.get("damaged file"), Some(&1));
}

#[test]
fn refuses_what_is_no_capture() {
    let error = |file: &[u8]| try_read(file, 0).unwrap_err();
    assert!(matches!(error(b""), ReadCaptureError::Empty { .. }));
    assert!(matches!(error(b"PK\x03\x04...."), ReadCaptureError::Magic { .. }));
    let text = error(b"PK\x03\x04").to_string();
    assert!(text.contains("found a file that starts with 50 4b 03 04"), "{text}");
}

#[test]
fn opens_every_link() {
    let ether = |kind: u16| [vec![0; 12], kind.to_be_bytes().to_vec()].concat();
    let tag = |kind: u16| [vec![0, 5], kind.to_be_bytes().to_vec()].concat();
    let sll = |kind: u16| [vec![0; 14], kind.to_be_bytes().to_vec()].concat();
    let sll2 = |kind: u16| [kind.to_be_bytes().to_vec(), vec![0; 18]].concat();
    let links: [(u32, Vec<u8>); 16] = [
        (1, ether(0x0800)),
        (1, [ether(0x8100), tag(0x0800)].concat()),
        (1, [ether(0x88a8), tag(0x8100), tag(0x0800)].concat()),
        (1, [ether(0x8864), vec![0x11, 0, 0, 1, 0, 9, 0, 0x21]].concat()),
        (1, [ether(0x8864), vec![0x11, 0, 0, 1, 0, 9, 0x21]].concat()),
        (1, [ether(0x8847), vec![0, 1, 0, 9, 0, 2, 1, 9]].concat()),
        (113, sll(0x0800)),
        (113, [sll(0x8100), tag(0x0800)].concat()),
        (276, sll2(0x0800)),
        (101, Vec::new()),
        (12, Vec::new()),
        (228, Vec::new()),
        (0, vec![2, 0, 0, 0]),
        (0, vec![0, 0, 0, 2]),
        (108, vec![0, 0, 0, 2]),
        // The length of the frame check sequence is in the upper bits.
        (1 | 0x1400_0000, ether(0x0800)),
    ];
    for (link_type, header) in links {
        // Padding behind the packet must not become payload.
        let wrap = |segment: &Segment| [header.clone(), segment.ipv4(), vec![0; 9]].concat();
        let segments = talk().segments;
        let reading =
            read(&pcap(link_type, Kind::MicrosLittle, &stamped(segments.iter().map(wrap))));
        check(&reading);
        assert_eq!(reading.connections[0].client_bytes, 31, "{link_type}");
    }
}

#[test]
fn reads_ipv6_with_extension_headers() {
    for (link_type, header) in [(1, [vec![0; 12], vec![0x86, 0xdd]].concat()), (229, Vec::new())] {
        let wrap = |segment: &Segment| [header.clone(), segment.ipv6(), vec![0; 5]].concat();
        let segments = talk().segments;
        check(&read(&pcap(link_type, Kind::MicrosLittle, &stamped(segments.iter().map(wrap)))));
    }
}

#[test]
fn joins_fragments_in_any_order() {
    let mut packets = Vec::new();
    for (id, segment) in (0..).zip(&talk().segments) {
        let mut pieces = [
            segment.fragment_of_ipv4(0..16, id),
            segment.fragment_of_ipv4(16..24, id),
            segment.fragment_of_ipv4(24..usize::MAX, id),
        ];
        pieces.rotate_left(usize::from(id) % 3);
        if segment.payload.is_empty() {
            packets.push(segment.ipv4());
        } else {
            packets.extend(pieces);
        }
    }
    let reading = read(&raw(&stamped(packets)));
    check(&reading);
    assert_eq!(reading.counts.packets.not_tcp, 4);
}

#[test]
fn counts_what_is_not_decodable_and_what_is_not_tcp() {
    let arp = [vec![0; 12], vec![0x08, 0x06], vec![0; 28]].concat();
    let mut udp = [vec![0; 12], vec![0x08, 0x00], talk().segments[3].ipv4()].concat();
    udp[14 + 9] = 17;
    let short = vec![0; 9];
    let nonsense = [vec![0; 12], vec![0x08, 0x00, 0x75], vec![0; 60]].concat();
    let reading = read(&pcap(1, Kind::MicrosLittle, &stamped([arp, udp, short, nonsense])));
    assert_eq!(reading.counts.packets.not_tcp, 2);
    assert_eq!(reading.counts.packets.not_decodable, 2);
    let foreign = read(&pcap(147, Kind::MicrosLittle, &packets()));
    assert_eq!(foreign.counts.packets.not_decodable, foreign.counts.packets.seen);
}

#[test]
fn passes_over_what_the_capture_cut_off() {
    let mut talk = Talk::open(40_000, 7);
    talk.client("GET /a HTTP/1.1\r\n\r\n");
    talk.server(&["HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n", &"a".repeat(900)].concat());
    talk.client("GET /b HTTP/1.1\r\n\r\n");
    talk.server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").send(true, ACK, b"");
    let cut = |segment: &Segment| segment.ipv4().into_iter().take(200).collect::<Vec<_>>();
    let reading = read(&raw(&stamped(talk.segments.iter().map(cut))));
    reading.check(&["GET /a 200 0+900 gap", "GET /b 200 0+0 complete"]);
    assert_eq!(reading.counts.oddities.get("packet cut by the capture"), Some(&1));
}
