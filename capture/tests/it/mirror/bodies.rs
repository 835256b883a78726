//! Bodies of any size pass unchanged, and are never held.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prophecy_core::Completeness;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::rig::{BODY_LIMIT, Rig, Upstream, read_head, within};

#[tokio::test]
async fn relays_a_megabyte_each_way_and_keeps_its_beginning() {
    let body: Vec<u8> = (0..1_000_000_u32).map(|index| (index % 251) as u8).collect();
    let echoed = body.clone();
    let upstream = Upstream::start(move |mut stream| {
        let length = echoed.len();
        async move {
            read_head(&mut stream).await.unwrap();
            let mut received = vec![0; length];
            stream.read_exact(&mut received).await.unwrap();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(&received).await.unwrap();
        }
    })
    .await;
    let rig = Rig::start(upstream.address).await;
    let mut client = rig.connect().await;
    let head = format!("POST /echo HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len());
    client.write_all(head.as_bytes()).await.unwrap();
    client.write_all(&body).await.unwrap();
    read_head(&mut client).await.unwrap();
    let mut received = vec![0; body.len()];
    within(client.read_exact(&mut received)).await.unwrap();
    assert!(received == body, "the body came back changed");
    let exchange = rig.stop().await.only();
    assert_eq!((exchange.request_bytes, exchange.response_bytes), (1_000_000, 1_000_000));
    assert_eq!(exchange.request_body.as_deref(), Some(&body[..BODY_LIMIT]));
    assert_eq!(exchange.response_body.as_deref(), Some(&body[..BODY_LIMIT]));
    assert_eq!(exchange.completeness, Completeness::Complete);
}

#[tokio::test]
async fn holds_back_an_upstream_whose_client_does_not_read() {
    const LENGTH: u64 = 100_000_000;
    let sent = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&sent);
    let upstream = Upstream::start(move |mut stream| {
        let counted = Arc::clone(&counted);
        async move {
            read_head(&mut stream).await.unwrap();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let piece = vec![b'x'; 100_000];
            for _ in 0..LENGTH / piece.len() as u64 {
                stream.write_all(&piece).await.unwrap();
                counted.fetch_add(piece.len() as u64, Ordering::SeqCst);
            }
        }
    })
    .await;
    let rig = Rig::start(upstream.address).await;
    let mut client = rig.connect().await;
    client.write_all(b"GET /export HTTP/1.1\r\n\r\n").await.unwrap();
    read_head(&mut client).await.unwrap();
    // The upstream comes to a halt once every buffer on the way is full. A machine that is too
    // slow to notice in the interval makes the count smaller, never larger.
    let mut before = u64::MAX;
    while before != sent.load(Ordering::SeqCst) {
        before = sent.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(before < LENGTH / 2, "{before} bytes are held between an upstream and its client");
    let mut received = 0;
    let mut piece = vec![0; 1 << 20];
    while received < LENGTH {
        received += within(client.read(&mut piece)).await.unwrap() as u64;
    }
    let exchange = rig.stop().await.only();
    assert_eq!((received, exchange.response_bytes), (LENGTH, LENGTH));
    assert_eq!(exchange.response_body.unwrap().len(), BODY_LIMIT);
    assert_eq!(exchange.completeness, Completeness::Complete);
}

#[tokio::test]
async fn relays_a_response_that_comes_before_the_end_of_its_request() {
    let upstream = Upstream::start(|mut stream| async move {
        read_head(&mut stream).await.unwrap();
        let answer = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest.len(), 5_000);
    })
    .await;
    let rig = Rig::start(upstream.address).await;
    let mut client = rig.connect().await;
    client.write_all(b"POST / HTTP/1.1\r\nContent-Length: 5000\r\n\r\n").await.unwrap();
    read_head(&mut client).await.unwrap();
    client.write_all(&[b'x'; 5_000]).await.unwrap();
    client.shutdown().await.unwrap();
    within(client.read_to_end(&mut Vec::new())).await.unwrap();
    let exchange = rig.stop().await.only();
    assert_eq!((exchange.status, exchange.request_bytes), (Some(413), 5_000));
    assert_eq!(exchange.completeness, Completeness::Complete);
    assert!(exchange.request_ended_at > exchange.response_started_at.unwrap());
}
