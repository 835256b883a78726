//! HTTP/1 in packets.

use super::file::{raw, stamped};
use super::reading::{Reading, read_segments, try_read};
use super::talk::{Segment, Talk};

/// Reads a connection in which each text is a segment, those of the client start with `>`.
fn read_texts(texts: &[&str]) -> Reading {
    read_segments(&talk_of(texts).segments)
}

fn talk_of(texts: &[&str]) -> Talk {
    let mut talk = Talk::open(40_000, 7);
    for text in texts {
        match text.strip_prefix('>') {
            Some(text) => talk.client(text),
            None => talk.server(text),
        };
    }
    talk.close();
    talk
}

fn check(texts: &[&str], expected: &[&str]) {
    read_texts(texts).check(expected);
    // The same bytes, one at a time.
    let mut bytewise = Vec::new();
    for text in texts {
        let (mark, text) = text.strip_prefix('>').map_or(("", *text), |text| (">", text));
        bytewise.extend(text.chars().map(|byte| format!("{mark}{byte}")));
    }
    let bytewise: Vec<&str> = bytewise.iter().map(String::as_str).collect();
    read_texts(&bytewise).check(expected);
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

#[test]
fn reads_every_framing() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
        3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nSum: 1\r\n\r\n";
    check(
        &[
            ">POST /a HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody",
            OK,
            ">\r\nPUT /b HTTP/1.1\nTransfer-Encoding: chunked\n\n2\r\nab\r\n0\r\n\r\n",
            chunked,
            ">HEAD /c HTTP/1.1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            ">GET /d HTTP/1.1\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
            ">DELETE /e HTTP/1.1\r\n\r\n",
            "HTTP/1.1 204 No Content\r\n\r\n",
            ">GET /f HTTP/1.0\r\n\r\n",
            "HTTP/1.0 200 OK\r\n\r\nuntil the end",
        ],
        &[
            "POST /a 200 4+5 complete",
            "PUT /b 200 2+5 complete",
            "HEAD /c 200 0+0 complete",
            "GET /d 304 0+0 complete",
            "DELETE /e 204 0+0 complete",
            "GET /f 200 0+13 complete",
        ],
    );
}

#[test]
fn keeps_bodies_without_the_framing_of_chunks() {
    let reading = read_texts(&[
        ">PUT /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
        OK,
    ]);
    assert_eq!(reading.exchanges[0].request_body.as_deref(), Some(b"abc".as_slice()));
}

#[test]
fn cuts_bodies_and_counts_them_whole() {
    let talk = talk_of(&[">POST /a HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody", OK]);
    let file = raw(&stamped(talk.segments.iter().map(Segment::ipv4)));
    let reading = try_read(&file, 3).unwrap();
    reading.check(&["POST /a 200 4+5 complete"]);
    assert_eq!(reading.exchanges[0].response_body.as_deref(), Some(b"hel".as_slice()));
    assert_eq!(try_read(&file, 0).unwrap().exchanges[0].response_body, None);
}

#[test]
fn pairs_pipelined_messages_in_order() {
    let requests = ">GET /a HTTP/1.1\r\n\r\nHEAD /b HTTP/1.1\r\n\r\nGET /c HTTP/1.1\r\n\r\n";
    let answers = [OK, "HTTP/1.1 404 No\r\nContent-Length: 9\r\n\r\n", OK].concat();
    check(
        &[requests, &answers],
        &["GET /a 200 0+5 complete", "HEAD /b 404 0+0 complete", "GET /c 200 0+5 complete"],
    );
}

#[test]
fn passes_over_interim_responses() {
    let texts = [
        ">POST /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
        ">body",
        "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n",
        OK,
    ];
    check(&texts, &["POST /a 200 4+5 complete"]);
    assert_eq!(read_texts(&texts).counts.interim_responses, 2);
}

#[test]
fn leaves_other_protocols_alone_once_they_have_taken_over() {
    check(
        &[
            ">CONNECT shop:443 HTTP/1.1\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            ">GET /inside HTTP/1.1\r\n\r\n",
            OK,
        ],
        &["CONNECT shop:443 200 0+0 complete"],
    );
    let reading = read_texts(&[
        ">GET /chat HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "\u{1}ab",
        ">xyz",
    ]);
    reading.check(&["GET /chat 101 0+0 complete"]);
    assert_eq!(reading.counts.segments.unparsed_bytes, 6);
    // A refused tunnel is an exchange like any other.
    check(
        &[">CONNECT shop:443 HTTP/1.1\r\n\r\n", OK.replace("200", "407").as_str()],
        &["CONNECT shop:443 407 0+5 complete"],
    );
}

#[test]
fn counts_other_protocols_as_unparsed() {
    let reading =
        read_texts(&[">\u{16}\u{3}\u{1}ab", "\u{16}\u{3}\u{1}cde", ">PRI * HTTP/2.0\r\n\r\n"]);
    reading.check(&[]);
    assert_eq!(reading.counts.segments.unparsed_bytes, 5 + 6 + 18);
    assert_eq!(reading.connections.len(), 1);
}

#[test]
fn records_messages_that_stand_alone() {
    check(&[">GET /a HTTP/1.1\r\n\r\n"], &["GET /a - 0+0 request_only"]);
    check(&["HTTP/1.1 408 Late\r\nContent-Length: 0\r\n\r\n"], &["  408 0+0 response_only"]);
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello";
    check(&[">GET /a HTTP/1.1\r\n\r\n", cut], &["GET /a 200 0+5 truncated"]);
    let upload = ">PUT /a HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf";
    check(&[upload, OK], &["PUT /a 200 4+5 truncated"]);
}

#[test]
fn finds_the_next_message_after_junk() {
    let reading = read_texts(&[
        ">GET /a HTTP/1.1\r\n\r\n",
        OK,
        "left over",
        ">GET /b HTTP/1.1\r\n\r\n",
        OK,
        ">\u{0}\u{1}",
        ">GET /c HTTP/1.1\r\n\r\n",
        OK,
    ]);
    let expected =
        ["GET /a 200 0+5 complete", "GET /b 200 0+5 complete", "GET /c 200 0+5 complete"];
    reading.check(&expected);
    assert_eq!(reading.counts.segments.unparsed_bytes, 9 + 2);
}

#[test]
fn reads_heads_of_any_number_of_headers() {
    let headers: Vec<String> = (0..500).map(|index| format!("X-{index}: {index}\r\n")).collect();
    let request = [">GET /a HTTP/1.1\r\n", &headers.concat(), "\r\n"].concat();
    let reading = read_texts(&[&request, OK]);
    reading.check(&["GET /a 200 0+5 complete"]);
    assert_eq!(reading.exchanges[0].request_headers.len(), 500);
}

#[test]
fn notes_who_where_and_which_trace() {
    let reading = read_texts(&[
        ">GET http://shop:80/a?b=c HTTP/1.0\r\n\
          Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n",
        OK,
    ]);
    let exchange = &reading.exchanges[0];
    assert_eq!(exchange.authority, "shop:80");
    assert_eq!((&*exchange.path, exchange.query.as_deref()), ("/a", Some("b=c")));
    assert_eq!(exchange.protocol.as_str(), "http/1.0");
    assert_eq!((&*exchange.source, &*exchange.destination), ("client", "port-80"));
    assert_eq!(exchange.trace_id.map(|id| id[0]), Some(0x4b));
    assert_eq!(exchange.session_id, exchange.connection_id);
}
