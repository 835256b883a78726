//! Connections that end badly, on either side.

use prophecy_core::Completeness;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc::unbounded_channel;

use super::rig::{Rig, Upstream, read_all, read_exactly, read_head, within};

/// Returns an address at which nothing listens.
async fn vacant() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

#[tokio::test]
async fn answers_502_in_its_own_name_where_nothing_listens() {
    let rig = Rig::start(vacant().await).await;
    for (method, body_count) in [("GET", 1), ("HEAD", 0), ("POST", 1)] {
        let mut client = rig.connect().await;
        let request = format!("{method} /a HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi");
        client.write_all(request.as_bytes()).await.unwrap();
        let answer = read_all(&mut client).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{head}");
        assert_eq!(body.matches("prophecy: ").count(), body_count, "{method}");
        if body_count == 1 {
            assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
        }
    }
    let exchanges = rig.stop().await.exchanges;
    assert_eq!(exchanges.len(), 3);
    for exchange in exchanges {
        assert_eq!(exchange.status, Some(502));
        assert_eq!(exchange.completeness, Completeness::Complete);
        assert_eq!(exchange.request_body.as_deref(), Some(&b"hi"[..]));
    }
}

#[tokio::test]
async fn says_nothing_in_a_protocol_it_does_not_speak() {
    let rig = Rig::start(vacant().await).await;
    let mut client = rig.connect().await;
    client.write_all(b"\x16\x03\x01\x00\x05hello").await.unwrap();
    let mut answer = Vec::new();
    // Whether this ends with a close or a reset, no byte comes.
    drop(within(client.read_to_end(&mut answer)).await);
    assert_eq!(answer, b"");
    let recorded = rig.stop().await;
    assert_eq!(recorded.ledger.exchanges.seen, 0);
    assert_eq!(recorded.ledger.segments.unparsed_bytes, 10);
}

#[tokio::test]
async fn passes_on_an_upstream_that_closes_in_the_middle_of_a_body() {
    let upstream = Upstream::start(|mut stream| async move {
        read_head(&mut stream).await.unwrap();
        let beginning = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this";
        stream.write_all(beginning).await.unwrap();
    })
    .await;
    let rig = Rig::start(upstream.address).await;
    let mut client = rig.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert!(read_all(&mut client).await.ends_with("only this"));
    drop(client);
    let exchange = rig.stop().await.only();
    assert_eq!(exchange.completeness, Completeness::Truncated);
    assert_eq!((exchange.status, exchange.response_bytes), (Some(200), 9));
    assert_eq!(exchange.response_ended_at, None);
}

#[tokio::test]
async fn passes_on_an_upstream_that_resets_the_connection() {
    let upstream = Upstream::start(|mut stream| async move {
        read_head(&mut stream).await.unwrap();
        stream.set_zero_linger().unwrap();
    })
    .await;
    let rig = Rig::start(upstream.address).await;
    let mut client = rig.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let error = within(client.read_to_end(&mut Vec::new())).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let exchange = rig.stop().await.only();
    assert_eq!((exchange.status, exchange.completeness), (None, Completeness::RequestOnly));
}

#[tokio::test]
async fn closes_a_client_whose_idle_connection_the_upstream_closed() {
    let upstream = Upstream::start(|mut stream| async move {
        read_head(&mut stream).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    })
    .await;
    let rig = Rig::start(upstream.address).await;
    let mut client = rig.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert!(read_all(&mut client).await.ends_with("\r\n\r\n"));
    assert_eq!(rig.stop().await.only().completeness, Completeness::Complete);
}

#[tokio::test]
async fn records_what_a_client_did_not_wait_for_as_truncated() {
    let (tell, mut told) = unbounded_channel();
    let upstream = Upstream::start(move |mut stream| {
        let tell = tell.clone();
        async move {
            read_head(&mut stream).await.unwrap();
            let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n";
            stream.write_all(head).await.unwrap();
            while stream.write_all(&[b'x'; 10_000]).await.is_ok() {}
            tell.send(()).unwrap();
        }
    })
    .await;
    let rig = Rig::start(upstream.address).await;
    let mut client = rig.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    read_head(&mut client).await.unwrap();
    drop(client);
    // The upstream is told, as it would be without the proxy.
    within(told.recv()).await.unwrap();
    let exchange = rig.stop().await.only();
    assert_eq!((exchange.status, exchange.completeness), (Some(200), Completeness::Truncated));
    assert!(exchange.response_bytes < 1_000_000_000);
}

#[tokio::test]
async fn tells_the_upstream_of_a_client_that_resets() {
    let (tell, mut told) = unbounded_channel();
    let upstream = Upstream::start(move |mut stream| {
        let tell = tell.clone();
        async move {
            read_head(&mut stream).await.unwrap();
            assert_eq!(read_exactly(&mut stream, 5).await, "12345");
            tell.send(None).unwrap();
            let error = stream.read_u8().await.unwrap_err();
            tell.send(Some(error.kind())).unwrap();
        }
    })
    .await;
    let rig = Rig::start(upstream.address).await;
    let mut client = rig.connect().await;
    client.write_all(b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n12345").await.unwrap();
    assert_eq!(within(told.recv()).await, Some(None));
    client.set_zero_linger().unwrap();
    drop(client);
    let kind = within(told.recv()).await.unwrap();
    assert_eq!(kind, Some(std::io::ErrorKind::ConnectionReset));
    let exchange = rig.stop().await.only();
    assert_eq!(exchange.completeness, Completeness::RequestOnly);
    assert_eq!(exchange.request_bytes, 5);
}
