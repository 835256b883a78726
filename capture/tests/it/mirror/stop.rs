//! Stopping, and refusing to start.

use std::sync::Arc;

use prophecy_capture::mirror::{Mirror, MirrorOptions, StartMirrorError};
use prophecy_capture::recorder::RecordingOptions;
use prophecy_core::Completeness;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::sync::mpsc::unbounded_channel;

use super::rig::{Rig, Upstream, mirror_options, read_all, read_head, recording, within};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn lets_an_exchange_in_flight_end_and_closes_its_connection() {
    let (asked, mut is_asked) = unbounded_channel();
    let answer = Arc::new(Notify::new());
    let answers = Arc::clone(&answer);
    let upstream = Upstream::start(move |mut stream| {
        let (asked, answers) = (asked.clone(), Arc::clone(&answers));
        async move {
            read_head(&mut stream).await.unwrap();
            asked.send(()).unwrap();
            answers.notified().await;
            stream.write_all(OK.as_bytes()).await.unwrap();
            // The proxy closes the connection although neither side did.
            assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
        }
    })
    .await;
    let rig = Rig::start(upstream.address).await;
    let address = rig.mirror.address();
    let mut idle = rig.connect().await;
    let mut busy = rig.connect().await;
    busy.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    within(is_asked.recv()).await.unwrap();
    let stopping = tokio::spawn(rig.stop());
    // An idle connection is closed at once, which also shows that stopping has begun.
    assert_eq!(read_all(&mut idle).await, "");
    answer.notify_one();
    assert_eq!(read_all(&mut busy).await, OK);
    let exchange = stopping.await.unwrap().only();
    assert_eq!(exchange.completeness, Completeness::Complete);
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn records_what_is_never_answered_as_request_only() {
    let (asked, mut is_asked) = unbounded_channel();
    let upstream = Upstream::start(move |mut stream| {
        let asked = asked.clone();
        async move {
            while read_head(&mut stream).await.is_some() {
                asked.send(()).unwrap();
            }
        }
    })
    .await;
    let rig = Rig::start(upstream.address).await;
    let mut client = rig.connect().await;
    client.write_all(b"GET /slow HTTP/1.1\r\n\r\nGET /behind HTTP/1.1\r\n\r\n").await.unwrap();
    for _ in 0..2 {
        within(is_asked.recv()).await.unwrap();
    }
    let recorded = rig.stop().await;
    let found: Vec<_> = recorded.exchanges.iter().map(|e| (&*e.path, e.completeness)).collect();
    let request_only = Completeness::RequestOnly;
    assert_eq!(found, [("/slow", request_only), ("/behind", request_only)]);
    assert_eq!(recorded.ledger.exchanges.request_only, 2);
}

#[tokio::test]
async fn refuses_an_address_that_is_taken() {
    let upstream = Upstream::answering(OK).await;
    let (_folder, recorder, _recording) = recording(RecordingOptions::default());
    let taken = Upstream::answering(OK).await;
    let options = MirrorOptions { listen: taken.address, ..mirror_options(upstream.address) };
    let error = Mirror::start(options, recorder).await.unwrap_err();
    assert!(matches!(error, StartMirrorError::Listen { .. }), "{error}");
    let expected = format!("cannot start the proxy for `shop`: cannot listen on {}", taken.address);
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn closes_its_connections_when_it_is_dropped() {
    let upstream = Upstream::answering(OK).await;
    let (_folder, recorder, recording) = recording(RecordingOptions::default());
    let mirror = Mirror::start(mirror_options(upstream.address), recorder).await.unwrap();
    let mut client = tokio::net::TcpStream::connect(mirror.address()).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    read_head(&mut client).await.unwrap();
    drop(mirror);
    assert_eq!(read_all(&mut client).await, "ok");
    assert_eq!(recording.finish().unwrap().ledger.exchanges.complete, 1);
}
