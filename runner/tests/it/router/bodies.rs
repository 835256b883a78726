//! Bodies, tunnels and the second version of HTTP.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Frame;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::instance::Instance;
use super::rig::{PATIENCE, Rig, arm};

/// A body that is told piece by piece.
struct Piecewise(tokio::sync::mpsc::Receiver<Bytes>);

impl hyper::body::Body for Piecewise {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_is_passed_on_while_it_comes() {
    let app = Instance::start("app").await;
    let rig = Rig::start(vec![arm("app", 100_000, &[&app])]).await;
    let stream = TcpStream::connect(rig.listen).await.unwrap();
    let (mut sender, carrying) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(carrying);
    let (pieces, told) = tokio::sync::mpsc::channel(1);
    let request = Request::post("/echo").header("host", "app").body(Piecewise(told)).unwrap();
    let exchange = async {
        // 64 MB, of which the next piece is sent only when the one before has come back.
        let asked = tokio::spawn(async move { sender.send_request(request).await.unwrap() });
        let piece = |index: u8| Bytes::from(vec![index; 1 << 20]);
        pieces.send(piece(0)).await.unwrap();
        let mut body = asked.await.unwrap().into_body();
        for index in 0..64 {
            let mut read = 0;
            while read < 1 << 20 {
                let data = body.frame().await.unwrap().unwrap().into_data().unwrap();
                assert!(data.iter().all(|byte| *byte == index));
                read += data.len();
            }
            assert_eq!(read, 1 << 20);
            if index < 63 {
                pieces.send(piece(index + 1)).await.unwrap();
            }
        }
        drop(pieces);
        assert!(body.frame().await.is_none(), "nothing follows");
    };
    timeout(PATIENCE, exchange).await.expect("it is not kept until it is whole");
    rig.until("counted", |arms, _| arms["app"].requests == 1 && arms["app"].failures == 0).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_tunnel_counts_as_in_flight_and_survives_the_end_of_its_arm() {
    let (old, new) = (Instance::start("old").await, Instance::start("new").await);
    let rig = Rig::start(vec![arm("old", 100_000, &[&old])]).await;
    let mut stream = TcpStream::connect(rig.listen).await.unwrap();
    let head =
        b"GET /upgrade HTTP/1.1\r\nhost: app\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    stream.write_all(head).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap());
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
    let replaced = arm("new", 100_000, &[&new]);
    rig.change_front(|front| front.arms = vec![replaced]).await;
    for words in [b"first", b"after"] {
        stream.write_all(words).await.unwrap();
        let mut echo = [0; 5];
        timeout(PATIENCE, stream.read_exact(&mut echo)).await.unwrap().unwrap();
        assert_eq!(&echo, words);
    }
    rig.until("it is in flight", |arms, _| arms["old"].in_flight == 1).await;
    assert_eq!(rig.caller().await.get("/").await.body, "new");
    drop(stream);
    rig.until("it is over", |arms, _| arms["old"].in_flight == 0).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_request_in_flight_outlives_its_arm() {
    let (old, new) = (Instance::start("old").await, Instance::start("new").await);
    let rig = Rig::start(vec![arm("old", 100_000, &[&old])]).await;
    let mut caller = rig.caller().await;
    let asked = tokio::spawn(async move { caller.get("/wait").await });
    rig.until("it is in flight", |arms, _| arms["old"].in_flight == 1).await;
    let replaced = arm("new", 100_000, &[&new]);
    rig.change_front(|front| front.arms = vec![replaced]).await;
    assert_eq!(rig.caller().await.get("/").await.body, "new");
    old.seen.gate.add_permits(1);
    let answer = asked.await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, "old"));
    rig.until("it is over", |arms, _| arms["old"].in_flight == 0).await;
    rig.stop().await;
}

#[tokio::test]
async fn http2_reaches_the_instance_as_http2_and_trailers_come_back() {
    let app = Instance::start("app").await;
    let rig = Rig::start(vec![arm("app", 100_000, &[&app])]).await;
    let stream = TcpStream::connect(rig.listen).await.unwrap();
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (sender, carrying) = handshake.unwrap();
    tokio::spawn(carrying);
    for _ in 0..3 {
        let mut sender = sender.clone();
        let request = Request::post("http://app/trailers").body(Full::new(Bytes::from("ask")));
        let asked = sender.send_request(request.unwrap());
        let response = timeout(PATIENCE, asked).await.unwrap().unwrap();
        assert_eq!(response.status(), 200);
        let whole = response.into_body().collect().await.unwrap();
        assert_eq!(whole.trailers().unwrap()["grpc-status"], "0");
        assert_eq!(whole.to_bytes(), "app");
    }
    rig.until("counted", |arms, _| arms["app"].requests == 3 && arms["app"].failures == 0).await;
    rig.stop().await;
}
