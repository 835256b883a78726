//! TCP: order, loss, starts and ends.

use super::reading::read_segments;
use super::talk::{ACK, FIN, RST, SYN, Segment, Talk};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// Two exchanges on one connection, the first answer in three segments: the handshake is 0 to 2,
/// the requests are 3 and 7, and the end is 9 to 11.
fn talk(sequence: u32) -> Talk {
    let mut talk = Talk::open(40_000, sequence);
    talk.client("GET /a HTTP/1.1\r\n\r\n");
    talk.server(&OK[..20]).server(&OK[20..40]).server(&OK[40..]);
    talk.client("GET /b HTTP/1.1\r\n\r\n").server(OK).close();
    talk
}

const BOTH: [&str; 2] = ["GET /a 200 0+5 complete", "GET /b 200 0+5 complete"];

#[test]
fn puts_segments_in_order_wherever_the_numbers_wrap_around() {
    for sequence in [7, u32::MAX - 5, u32::MAX - 1_000_030, u32::MAX - 1_000_000] {
        let in_order = talk(sequence).segments;
        read_segments(&in_order).check(&BOTH);
        for (from, to) in [(4, 5), (4, 6), (5, 6), (3, 4), (3, 6), (7, 8)] {
            let mut segments = in_order.clone();
            segments.swap(from, to);
            let reading = read_segments(&segments);
            reading.check(&BOTH);
            assert_eq!(reading.counts.segments.gaps, 0);
            assert_eq!(reading.counts.segments.retransmitted, 0);
        }
    }
}

#[test]
fn takes_every_byte_once() {
    let mut segments = talk(7).segments;
    let mut overlap = segments[5].clone();
    // It starts within the segment before, and what it repeats is other bytes.
    overlap.sequence -= 10;
    overlap.payload.splice(0..0, *b"XXXXXXXXXX");
    let again = segments[4].clone();
    segments.insert(6, again);
    segments[5] = overlap;
    let reading = read_segments(&segments);
    reading.check(&BOTH);
    assert_eq!(reading.counts.segments.retransmitted, 1);
    assert_eq!(reading.connections[0].retransmitted_segments, 1);
    assert_eq!(reading.connections[0].server_bytes, 2 * OK.len() as u64);
}

#[test]
fn ignores_probes_of_idle_connections() {
    let mut talk = talk(7);
    let mut probe = talk.segments[8].clone();
    probe.payload.truncate(1);
    let mut empty = talk.segments[6].clone();
    empty.payload.clear();
    empty.sequence -= 1;
    talk.segments.insert(9, probe);
    talk.segments.insert(7, empty);
    read_segments(&talk.segments).check(&BOTH);
}

#[test]
fn goes_on_after_a_hole_in_a_body() {
    let mut segments = Talk::open(40_000, 7);
    let body = "b".repeat(3_000);
    segments.client("GET /a HTTP/1.1\r\n\r\n");
    segments.server(&["HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n", &body].concat());
    segments.server(&body).server(&body);
    segments.client("GET /b HTTP/1.1\r\n\r\n").server(OK).close();
    let mut segments = segments.segments;
    segments.remove(5);
    let reading = read_segments(&segments);
    reading.check(&["GET /a 200 0+9000 gap", BOTH[1]]);
    assert_eq!(reading.counts.segments.gaps, 1);
    assert_eq!(reading.counts.segments.lost_bytes, 3_000);
    assert_eq!(reading.connections[0].lost_bytes, 3_000);
    let body = reading.exchanges[0].response_body.as_ref().unwrap();
    assert_eq!(body.len(), 3_000, "what follows the hole is not kept as if it followed");
}

#[test]
fn does_not_slip_when_a_whole_message_is_missing() {
    let mut talk = Talk::open(40_000, 7);
    for path in ["a", "b", "c"] {
        talk.client(&["GET /", path, " HTTP/1.1\r\n\r\n"].concat());
        talk.server(&OK.replace("hello", &path.repeat(5)));
    }
    let talk = talk.close().segments.clone();
    let without = |index: usize| {
        let mut segments = talk.clone();
        segments.remove(index);
        let reading = read_segments(&segments);
        let exchanges = reading.exchanges.iter();
        let answers: Vec<String> = exchanges
            .map(|exchange| {
                let body = exchange.response_body.clone().unwrap_or_default();
                let first = String::from_utf8_lossy(&body).chars().take(1).collect::<String>();
                [&exchange.path, ">", &first].concat()
            })
            .collect();
        answers.join(" ")
    };
    assert_eq!(without(3), ">a /b>b /c>c");
    assert_eq!(without(4), "/a> /b>b /c>c");
    assert_eq!(without(5), "/a>a >b /c>c");
    assert_eq!(without(6), "/a>a /b> /c>c");
    assert_eq!(without(8), "/a>a /b>b /c>");
}

#[test]
fn reads_one_direction_alone() {
    let talk = talk(7);
    let only = |from_client: bool| {
        let of = |segment: &&Segment| segment.from_client == from_client;
        read_segments(talk.segments.iter().filter(of))
    };
    only(true).check(&["GET /a - 0+0 request_only", "GET /b - 0+0 request_only"]);
    only(false).check(&["  200 0+5 response_only", "  200 0+5 response_only"]);
}

#[test]
fn reads_a_connection_whose_start_is_missing() {
    for first in 1..4 {
        read_segments(&talk(7).segments[first..]).check(&BOTH);
    }
    // From the middle of an answer: the ports say who is who, and the next heads start over.
    let reading = read_segments(&talk(7).segments[5..]);
    reading.check(&[BOTH[1]]);
    assert_eq!(reading.counts.segments.unparsed_bytes, OK.len() as u64 - 20);
    let client = reading.connections[0].client;
    assert_eq!(client.port(), 40_000);
}

#[test]
fn learns_from_a_message_which_end_is_the_client() {
    let mut talk = Talk::midway(20, 7);
    talk.send(false, ACK, b"...").client("GET /a HTTP/1.1\r\n\r\n").server(OK);
    let reading = read_segments(&talk.segments);
    reading.check(&[BOTH[0]]);
    assert_eq!(reading.exchanges[0].client.port(), 20);
}

#[test]
fn starts_another_connection_when_ports_are_used_again() {
    let mut segments = talk(7).segments;
    let mut again = talk(90_000).segments;
    // A SYN that is sent again starts nothing.
    again.insert(1, again[0].clone());
    segments.extend(again);
    let reading = read_segments(&segments);
    reading.check(&[BOTH[0], BOTH[1], BOTH[0], BOTH[1]]);
    assert_eq!(reading.connections.len(), 2);
    assert!(reading.connections.iter().all(|connection| connection.closed_at.is_some()));
}

#[test]
fn starts_another_connection_though_the_first_never_ended() {
    let mut segments = talk(7).segments[..9].to_vec();
    segments.extend(talk(90_000).segments);
    let reading = read_segments(&segments);
    reading.check(&[BOTH[0], BOTH[1], BOTH[0], BOTH[1]]);
    assert_eq!(reading.connections[0].closed_at, None);
}

#[test]
fn does_not_take_late_packets_for_a_connection() {
    let mut talk = talk(7);
    talk.send(true, RST, b"").send(true, FIN | ACK, b"");
    let reading = read_segments(&talk.segments);
    reading.check(&BOTH);
    assert_eq!(reading.connections.len(), 1);
    let stray = [Talk::midway(41_000, 7).send(true, ACK, b"").segments[0].clone()];
    assert_eq!(read_segments(&stray).connections.len(), 0);
}

#[test]
fn records_a_reset_as_an_early_end() {
    let mut talk = Talk::open(40_000, 7);
    talk.client("GET /a HTTP/1.1\r\n\r\n");
    talk.server("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello").send(false, RST, b"");
    let reading = read_segments(&talk.segments);
    reading.check(&["GET /a 200 0+5 truncated"]);
    assert_eq!(reading.exchanges[0].response_ended_at, None);
    assert!(reading.connections[0].closed_at.is_some());
}

#[test]
fn reads_data_that_comes_with_the_syn() {
    let mut talk = Talk::midway(40_000, 7);
    let request = b"GET /a HTTP/1.1\r\n\r\n";
    talk.send(true, SYN, request).send(false, SYN | ACK, b"").server(OK);
    read_segments(&talk.segments).check(&[BOTH[0]]);
}

#[test]
fn takes_times_from_the_packets_that_carried_the_bytes() {
    let mut segments = talk(7).segments;
    // The answer's second segment comes last: the answer ends with it.
    segments.swap(5, 6);
    let reading = read_segments(&segments);
    let exchange = &reading.exchanges[0];
    assert_eq!(exchange.latency_nanos(), Some(3_000_000));
    let first_byte = exchange.response_started_at.unwrap();
    assert_eq!(first_byte.nanos_since(exchange.started_at), 1_000_000);
}
