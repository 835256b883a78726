//! What becomes of connections behind HAProxy, and who is blamed for what.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::super::instance::Instance;
use super::super::rig::{PATIENCE, Rig, arm};
use super::{counted, until_counted};

#[tokio::test]
async fn a_tunnel_survives_another_process_and_counts_as_in_flight() {
    let (old, new) = (Instance::start("old").await, Instance::start("new").await);
    let rig = Rig::behind_haproxy(vec![arm("old", 100_000, &[&old])]).await;
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
    rig.until("it is over", |arms, _| arms.get("old").is_none_or(|it| it.in_flight == 0)).await;
    rig.stop().await;
}

#[tokio::test]
async fn bodies_come_back_whole_and_http2_is_understood() {
    let app = Instance::start("app").await;
    let rig = Rig::behind_haproxy(vec![arm("app", 100_000, &[&app])]).await;
    let stream = TcpStream::connect(rig.listen).await.unwrap();
    let (mut sender, carrying) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(carrying);
    let sent = Bytes::from((0..8 << 20).map(|index| (index / 977) as u8).collect::<Vec<_>>());
    let request = Request::post("/echo").header("host", "app").body(Full::new(sent.clone()));
    let asked = timeout(PATIENCE, sender.send_request(request.unwrap())).await.unwrap().unwrap();
    assert!(asked.into_body().collect().await.unwrap().to_bytes() == sent, "another body");
    let stream = TcpStream::connect(rig.listen).await.unwrap();
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (mut sender, carrying) = handshake.unwrap();
    tokio::spawn(carrying);
    let request = Request::get("http://app/").body(Full::<Bytes>::default()).unwrap();
    let response = timeout(PATIENCE, sender.send_request(request)).await.unwrap().unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "app");
    assert_eq!(until_counted(&rig, 2).await, (2, 0, 2));
    rig.stop().await;
}

#[tokio::test]
async fn failures_are_the_instances_and_not_the_callers() {
    let app = Instance::start("app").await;
    let rig = Rig::behind_haproxy(vec![arm("app", 100_000, &[&app])]).await;
    rig.change_front(|front| front.answer_limit_ms = 300).await;
    assert_eq!(rig.caller().await.get("/").await.status, 200);
    assert_eq!(rig.caller().await.get("/broken").await.status, 500);
    assert_eq!(rig.caller().await.get("/hang").await.status, 504);
    // A caller that leaves blames nobody, and neither does one that does not speak HTTP.
    let mut leaving = TcpStream::connect(rig.listen).await.unwrap();
    leaving.write_all(b"GET /hang HTTP/1.1\r\nhost: app\r\n\r\n").await.unwrap();
    rig.until("it is in flight", |arms, _| arms["app"].in_flight == 1).await;
    drop(leaving);
    let mut odd = TcpStream::connect(rig.listen).await.unwrap();
    odd.write_all(b"\x00\x01\x02\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, odd.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&answer));
    rig.until("none is in flight", |arms, _| arms["app"].in_flight == 0).await;
    assert_eq!(rig.caller().await.get("/").await.status, 200);
    let sums = until_counted(&rig, 4).await;
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    assert_eq!(counted(&rig).await.1, 2, "{sums:?}");
    assert_eq!(rig.client.lost(0).await.unwrap(), 0);
    rig.stop().await;
}
