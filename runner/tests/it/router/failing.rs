//! Instances that die, hang or refuse, and callers that do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hyper::Method;
use prophecy_runner::router::{Arm, Hold};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::instance::Instance;
use super::rig::{PATIENCE, Rig, arm, free_address, front};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_killed_under_load_costs_no_request() {
    let (candidate, stable) = (Instance::start("candidate").await, Instance::start("stable").await);
    let arms = vec![arm("candidate", 50_000, &[&candidate]), arm("stable", 50_000, &[&stable])];
    let rig = Rig::start(arms).await;
    let (over, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut callers = JoinSet::new();
    for _ in 0..8 {
        let (mut caller, over, asked) = (rig.caller().await, Arc::clone(&over), Arc::clone(&asked));
        callers.spawn(async move {
            while !over.load(Ordering::SeqCst) {
                assert_eq!(caller.get("/").await.status, 200);
                asked.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    rig.until("both take requests", |arms, _| arms["candidate"].requests > 200).await;
    candidate.kill();
    let before = asked.load(Ordering::SeqCst);
    rig.until("the other takes them", |arms, _| arms["candidate"].refused > 200).await;
    assert!(asked.load(Ordering::SeqCst) > before);
    over.store(true, Ordering::SeqCst);
    while let Some(done) = callers.join_next().await {
        done.unwrap();
    }
    rig.until("none failed", |arms, _| {
        arms["candidate"].failures == 0 && arms["stable"].failures == 0
    })
    .await;
    rig.stop().await;
}

/// Answers the first request of each connection if it is the second connection or later, or the first one's
/// first: the first connection ends with its second request on it.
async fn forgetful() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut buffer = [0; 4_096];
                if stream.read(&mut buffer).await.unwrap() > 0 {
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                    stream.write_all(answer).await.unwrap();
                }
                // It reads the next request, and says nothing to it.
                drop(stream.read(&mut buffer).await);
            });
        }
    });
    address
}

#[tokio::test]
async fn what_may_be_sent_twice_is_when_a_connection_dies_with_it() {
    let listen = free_address();
    let only = Arm { name: "app".to_owned(), weight: 100_000, backends: vec![forgetful().await] };
    let rig = Rig::with(front(listen, vec![only])).await;
    let mut caller = rig.caller().await;
    for _ in 0..4 {
        assert_eq!(caller.get("/").await.status, 200);
    }
    rig.until("none failed", |arms, _| arms["app"].requests == 4 && arms["app"].failures == 0)
        .await;
    assert_eq!(caller.ask(Method::POST, "/", &[]).await.status, 502, "it may have been done");
    rig.until("it failed", |arms, _| arms["app"].failures == 1).await;
    rig.stop().await;
}

#[tokio::test]
async fn an_instance_that_hangs_has_failed() {
    let app = Instance::start("app").await;
    let rig = Rig::start(vec![arm("app", 100_000, &[&app])]).await;
    rig.change_front(|front| front.answer_limit_ms = 100).await;
    assert_eq!(rig.caller().await.get("/hang").await.status, 504);
    rig.until("counted", |arms, _| arms["app"].failures == 1 && arms["app"].in_flight == 0).await;
    assert_eq!(rig.caller().await.get("/broken").await.status, 500);
    rig.until("counted", |arms, _| arms["app"].failures == 2).await;
    rig.stop().await;
}

#[tokio::test]
async fn no_instance_is_blamed_for_a_caller_that_breaks_off() {
    let app = Instance::start("app").await;
    let rig = Rig::start(vec![arm("app", 100_000, &[&app])]).await;
    let mut stream = TcpStream::connect(rig.listen).await.unwrap();
    let head = b"POST /echo HTTP/1.1\r\nhost: app\r\ncontent-length: 1000\r\n\r\nthe beginning";
    stream.write_all(head).await.unwrap();
    rig.until("it has begun", |arms, _| arms["app"].in_flight == 1).await;
    drop(stream);
    rig.until("it is over", |arms, _| arms["app"].in_flight == 0).await;
    assert_eq!(rig.caller().await.get("/").await.status, 200);
    rig.until("none failed", |arms, _| arms["app"].failures == 0).await;
    rig.stop().await;
}

#[tokio::test]
async fn says_so_when_nobody_answers() {
    let dead = Arm { name: "dead".to_owned(), weight: 100_000, backends: vec![free_address()] };
    let rig = Rig::with(front(free_address(), vec![dead])).await;
    let answer = rig.caller().await.get("/").await;
    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (502, "no instance answers"));
    rig.until("counted", |arms, _| arms["dead"].failures == 1).await;
    rig.stop().await;
}

#[tokio::test]
async fn slow_and_silent_callers_cost_others_nothing() {
    let app = Instance::start("app").await;
    let rig = Rig::start(vec![arm("app", 100_000, &[&app])]).await;
    let mut slow = Vec::new();
    for index in 0..200 {
        let mut stream = TcpStream::connect(rig.listen).await.unwrap();
        if index % 2 == 0 {
            stream.write_all(b"GET / HTTP/1.1\r\nx-endless: ").await.unwrap();
        }
        slow.push(stream);
    }
    let started = Instant::now();
    for _ in 0..100 {
        assert_eq!(rig.caller().await.get("/").await.status, 200);
    }
    assert!(started.elapsed() < PATIENCE / 4, "{:?}", started.elapsed());
    drop(slow);
    rig.stop().await;
}

#[tokio::test]
async fn what_is_not_http_is_refused_and_reaches_nobody() {
    let app = Instance::start("app").await;
    let rig = Rig::start(vec![arm("app", 100_000, &[&app])]).await;
    let endless = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(100_000));
    for (bytes, expected) in [
        ("\u{1}\u{2} nonsense\r\n\r\n", "HTTP/1.1 400"),
        ("GET / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", "HTTP/1.1 400"),
        (endless.as_str(), "HTTP/1.1 431"),
    ] {
        let mut stream = TcpStream::connect(rig.listen).await.unwrap();
        // It may be refused before all of it is written.
        drop(stream.write_all(bytes.as_bytes()).await);
        let mut answer = vec![0; 12];
        let read = timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap();
        assert!(read.is_ok(), "no answer to {:?}", &bytes[..12]);
        assert_eq!(String::from_utf8(answer).unwrap(), expected);
    }
    assert_eq!(app.requests(), 0);
    assert_eq!(rig.caller().await.get("/").await.status, 200);
    rig.stop().await;
}

#[tokio::test]
async fn a_held_edge_keeps_requests_and_lets_them_go() {
    let app = Instance::start("app").await;
    let rig = Rig::start(vec![arm("app", 100_000, &[&app])]).await;
    rig.change_front(|front| front.hold = Some(Hold { limit_ms: 15_000, limit_count: 2 })).await;
    let mut waiting = JoinSet::new();
    for _ in 0..2 {
        let mut caller = rig.caller().await;
        waiting.spawn(async move { caller.get("/").await.status });
    }
    rig.until("two wait", |_, waiting| waiting == 2).await;
    let third = rig.caller().await.get("/").await;
    assert_eq!(third.status, 503, "there is no place for a third");
    assert!(third.headers.contains_key("retry-after"));
    assert_eq!(app.requests(), 0);
    rig.change_front(|front| front.hold = None).await;
    while let Some(status) = waiting.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
    rig.change_front(|front| front.hold = Some(Hold { limit_ms: 50, limit_count: 2 })).await;
    let started = Instant::now();
    assert_eq!(rig.caller().await.get("/").await.status, 503);
    assert!(started.elapsed() >= Duration::from_millis(50));
    rig.stop().await;
}
