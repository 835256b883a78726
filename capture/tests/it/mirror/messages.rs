//! Whole messages in every framing.

use prophecy_core::{Completeness, Protocol};
use tokio::io::AsyncWriteExt;

use super::rig::{Rig, Upstream, read_all, read_exactly, read_head};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn keeps_connections_alive_on_both_sides() {
    let upstream = Upstream::answering(OK).await;
    let rig = Rig::start(upstream.address).await;
    let mut client = rig.connect().await;
    for path in ["/first", "/second?q=1"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: shop.test\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(read_exactly(&mut client, OK.len()).await, OK);
    }
    assert_eq!(upstream.connection_count(), 1);
    let recorded = rig.stop().await;
    let [first, second] = &recorded.exchanges[..] else { panic!("{:#?}", recorded.exchanges) };
    assert_eq!((&*first.path, first.query.as_deref()), ("/first", None));
    assert_eq!((&*second.path, second.query.as_deref()), ("/second", Some("q=1")));
    assert_eq!(first.connection_id, second.connection_id);
    assert!(first.exchange_id < second.exchange_id);
    assert_eq!(second.route, "GET /second");
    assert_eq!(second.authority, "shop.test");
    assert_eq!((&*second.source, &*second.destination), ("client", "shop"));
    assert_eq!(second.server, upstream.address);
    assert_eq!(second.response_body.as_deref(), Some(&b"ok"[..]));
    for exchange in [first, second] {
        assert_eq!(exchange.completeness, Completeness::Complete);
        assert_eq!(exchange.protocol, Protocol::Http11);
        let (response_started, response_ended) =
            (exchange.response_started_at.unwrap(), exchange.response_ended_at.unwrap());
        assert!(exchange.started_at <= exchange.request_ended_at);
        assert!(exchange.request_ended_at <= response_started);
        assert!(response_started <= response_ended);
    }
    assert!(first.response_ended_at.unwrap() <= second.started_at);
}

#[tokio::test]
async fn opens_one_upstream_connection_per_client_connection() {
    let upstream = Upstream::answering(OK).await;
    let rig = Rig::start(upstream.address).await;
    for _ in 0..3 {
        let mut client = rig.connect().await;
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        read_exactly(&mut client, OK.len()).await;
    }
    assert_eq!(upstream.connection_count(), 3);
    let exchanges = rig.stop().await.exchanges;
    let mut connections: Vec<u64> = exchanges.iter().map(|e| e.connection_id).collect();
    connections.sort_unstable();
    assert_eq!(connections, [0, 1, 2]);
}

#[tokio::test]
async fn pairs_pipelined_requests_with_their_responses() {
    let upstream = Upstream::start(|mut stream| async move {
        for status in [200, 404, 500] {
            read_head(&mut stream).await.unwrap();
            let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    let rig = Rig::start(upstream.address).await;
    let mut client = rig.connect().await;
    client
        .write_all(b"GET /a HTTP/1.1\r\n\r\n\r\nGET /b HTTP/1.1\r\n\r\nGET /c HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    for status in ["200", "404", "500"] {
        assert!(read_head(&mut client).await.unwrap().contains(status));
    }
    let exchanges = rig.stop().await.exchanges;
    let found: Vec<_> = exchanges.iter().map(|e| (&*e.path, e.status)).collect();
    assert_eq!(found, [("/a", Some(200)), ("/b", Some(404)), ("/c", Some(500))]);
}

#[tokio::test]
async fn changes_no_byte_of_a_head() {
    const HEAD: &str = "POST /A%2fb?x=%20&&y HTTP/1.1\r\nhOsT: Shop:80\r\nX-b:  two  spaces \r\n\
        X-A: 1\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nX-a: 2\r\nContent-Length: 0\r\n\r\n";
    const ANSWER: &str = "HTTP/1.1 299 Odd Reason\r\nsEt-CoOkIe: a\r\nX: \r\n\
        Set-Cookie: b\r\nContent-Length: 0\r\n\r\n";
    let upstream = Upstream::start(|mut stream| async move {
        assert_eq!(read_head(&mut stream).await.unwrap(), HEAD);
        stream.write_all(ANSWER.as_bytes()).await.unwrap();
    })
    .await;
    let rig = Rig::start(upstream.address).await;
    let mut client = rig.connect().await;
    client.write_all(HEAD.as_bytes()).await.unwrap();
    assert_eq!(read_all(&mut client).await, ANSWER);
    let exchange = rig.stop().await.only();
    let names: Vec<&str> = exchange.request_headers.iter().map(|h| &*h.name).collect();
    assert_eq!(names, ["host", "x-b", "x-a", "connection", "x-hop", "x-a", "content-length"]);
    assert_eq!(exchange.request_header("x-b"), Some("two  spaces"));
    assert_eq!(exchange.status, Some(299));
}

#[tokio::test]
async fn reads_chunks_and_trailers_in_both_directions() {
    const REQUEST: &str = "PUT /up HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
        4;ext=\"1\"\r\nWiki\r\n5\r\npedia\r\n0\r\nX-Sum: 9\r\n\r\n";
    const ANSWER: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n\
        A\r\n0123456789\r\n0\r\n\r\n";
    let upstream = Upstream::start(|mut stream| async move {
        assert_eq!(read_exactly(&mut stream, REQUEST.len()).await, REQUEST);
        stream.write_all(ANSWER.as_bytes()).await.unwrap();
        // The next request shows that the end of the first was found.
        read_head(&mut stream).await.unwrap();
        stream.write_all(OK.as_bytes()).await.unwrap();
    })
    .await;
    let rig = Rig::start(upstream.address).await;
    let mut client = rig.connect().await;
    for byte in REQUEST.as_bytes() {
        client.write_all(std::slice::from_ref(byte)).await.unwrap();
    }
    assert_eq!(read_exactly(&mut client, ANSWER.len()).await, ANSWER);
    client.write_all(b"GET /next HTTP/1.1\r\n\r\n").await.unwrap();
    assert_eq!(read_all(&mut client).await, OK);
    let recorded = rig.stop().await;
    let [first, second] = &recorded.exchanges[..] else { panic!("{:#?}", recorded.exchanges) };
    assert_eq!(first.request_body.as_deref(), Some(&b"Wikipedia"[..]));
    assert_eq!(first.request_bytes, 9);
    assert_eq!(first.response_body.as_deref(), Some(&b"0123456789"[..]));
    assert_eq!(first.completeness, Completeness::Complete);
    assert_eq!(second.path, "/next");
}

#[tokio::test]
async fn expects_no_body_where_there_is_none() {
    let upstream = Upstream::start(|mut stream| async move {
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
            "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
            OK,
        ] {
            read_head(&mut stream).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    let rig = Rig::start(upstream.address).await;
    let mut client = rig.connect().await;
    for method in ["HEAD", "GET", "GET"] {
        client.write_all(format!("{method} / HTTP/1.1\r\n\r\n").as_bytes()).await.unwrap();
        read_head(&mut client).await.unwrap();
    }
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert_eq!(read_all(&mut client).await, OK);
    let exchanges = rig.stop().await.exchanges;
    let found: Vec<_> = exchanges.iter().map(|e| (e.status.unwrap(), e.response_bytes)).collect();
    assert_eq!(found, [(200, 0), (204, 0), (304, 0), (200, 2)]);
    assert!(exchanges.iter().all(|e| e.completeness == Completeness::Complete));
}

#[tokio::test]
async fn lets_a_client_wait_for_100_continue() {
    let upstream = Upstream::start(|mut stream| async move {
        read_head(&mut stream).await.unwrap();
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
        assert_eq!(read_exactly(&mut stream, 4).await, "body");
        stream.write_all(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n").await.unwrap();
        stream.write_all(OK.as_bytes()).await.unwrap();
    })
    .await;
    let rig = Rig::start(upstream.address).await;
    let mut client = rig.connect().await;
    client
        .write_all(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        .await
        .unwrap();
    assert!(read_head(&mut client).await.unwrap().starts_with("HTTP/1.1 100"));
    client.write_all(b"body").await.unwrap();
    assert!(read_head(&mut client).await.unwrap().starts_with("HTTP/1.1 103"));
    assert_eq!(read_all(&mut client).await, OK);
    let exchange = rig.stop().await.only();
    assert_eq!(exchange.status, Some(200));
    assert_eq!(exchange.request_body.as_deref(), Some(&b"body"[..]));
    assert_eq!(exchange.response_headers.len(), 1);
}

#[tokio::test]
async fn tunnels_after_an_upgrade() {
    let upstream = Upstream::start(|mut stream| async move {
        read_head(&mut stream).await.unwrap();
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\n\r\nhello";
        stream.write_all(answer).await.unwrap();
        let said = read_exactly(&mut stream, 4).await;
        stream.write_all(said.as_bytes()).await.unwrap();
    })
    .await;
    let rig = Rig::start(upstream.address).await;
    let mut client = rig.connect().await;
    client
        .write_all(b"GET /chat HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        .await
        .unwrap();
    read_head(&mut client).await.unwrap();
    assert_eq!(read_exactly(&mut client, 5).await, "hello");
    client.write_all(b"\x00\x01\r\n").await.unwrap();
    assert_eq!(read_all(&mut client).await, "\x00\x01\r\n");
    drop(client);
    let recorded = rig.stop().await;
    assert_eq!(recorded.ledger.segments.unparsed_bytes, 5 + 4 + 4);
    let exchange = recorded.only();
    assert_eq!((exchange.status, exchange.completeness), (Some(101), Completeness::Complete));
}

#[tokio::test]
async fn tunnels_after_connect() {
    let upstream = Upstream::start(|mut stream| async move {
        read_head(&mut stream).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await.unwrap();
        assert_eq!(read_exactly(&mut stream, 3).await, "\x16\x03\x01");
        stream.write_all(b"\x16").await.unwrap();
    })
    .await;
    let rig = Rig::start(upstream.address).await;
    let mut client = rig.connect().await;
    client.write_all(b"CONNECT db:5432 HTTP/1.1\r\nHost: db:5432\r\n\r\n").await.unwrap();
    read_head(&mut client).await.unwrap();
    client.write_all(b"\x16\x03\x01").await.unwrap();
    assert_eq!(read_all(&mut client).await, "\x16");
    drop(client);
    let exchange = rig.stop().await.only();
    assert_eq!((&*exchange.path, &*exchange.authority), ("db:5432", "db:5432"));
    assert_eq!(exchange.route, "CONNECT {target}");
}

#[tokio::test]
async fn passes_other_protocols_and_counts_their_bytes() {
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let upstream = Upstream::start(move |mut stream| async move {
        assert_eq!(read_exactly(&mut stream, preface.len()).await, preface);
        stream.write_all(b"\x00\x00\x00\x04\x00").await.unwrap();
    })
    .await;
    let rig = Rig::start(upstream.address).await;
    let mut client = rig.connect().await;
    client.write_all(preface.as_bytes()).await.unwrap();
    assert_eq!(read_all(&mut client).await, "\x00\x00\x00\x04\x00");
    drop(client);
    let recorded = rig.stop().await;
    assert_eq!(recorded.ledger.exchanges.seen, 0);
    assert_eq!(recorded.ledger.segments.unparsed_bytes, preface.len() as u64 + 5);
}

#[tokio::test]
async fn ends_an_http_1_0_response_with_the_connection() {
    let upstream = Upstream::start(|mut stream| async move {
        read_head(&mut stream).await.unwrap();
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nall there is").await.unwrap();
    })
    .await;
    let rig = Rig::start(upstream.address).await;
    let mut client = rig.connect().await;
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    assert!(read_all(&mut client).await.ends_with("all there is"));
    drop(client);
    let exchange = rig.stop().await.only();
    assert_eq!(exchange.protocol, Protocol::Http10);
    assert_eq!(exchange.response_bytes, 12);
    assert_eq!(exchange.completeness, Completeness::Complete);
    assert!(exchange.response_ended_at.is_some());
}

#[tokio::test]
async fn answers_a_client_that_has_closed_its_side() {
    let upstream = Upstream::start(|mut stream| async move {
        let request = read_all(&mut stream).await;
        stream.write_all(OK.as_bytes()).await.unwrap();
        assert!(request.starts_with("GET /"));
    })
    .await;
    let rig = Rig::start(upstream.address).await;
    let mut client = rig.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(read_all(&mut client).await, OK);
    assert_eq!(rig.stop().await.only().completeness, Completeness::Complete);
}

#[tokio::test]
async fn reads_the_trace_id_and_adds_none() {
    let upstream = Upstream::answering(OK).await;
    let rig = Rig::start(upstream.address).await;
    let mut client = rig.connect().await;
    client
        .write_all(
            b"GET / HTTP/1.1\r\nTraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n\
              GET / HTTP/1.1\r\n\r\n",
        )
        .await
        .unwrap();
    read_exactly(&mut client, 2 * OK.len()).await;
    let exchanges = rig.stop().await.exchanges;
    let id = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128;
    assert_eq!(exchanges[0].trace_id, Some(id.to_be_bytes()));
    assert_eq!(exchanges[1].trace_id, None);
    assert!(exchanges[1].request_headers.is_empty());
}
