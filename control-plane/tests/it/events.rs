//! Streams that resume, and webhooks that get everything at least once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use prophecy_control_plane::{Scope, signature};
use prophecy_store::{DeliveryState, Page, Role};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::house::{House, token, until, wide};

/// Reads the ids of the next messages of a stream.
async fn ids(house: &House, after: Option<&str>, count: usize) -> Vec<u64> {
    let bearer = format!("Bearer {}", house.admin);
    let mut headers = vec![("authorization", bearer.as_str())];
    headers.extend(after.map(|after| ("last-event-id", after)));
    let stream = house.open("GET", "/api/v1/events/stream", &headers, b"").await;
    let mut lines = BufReader::new(stream).lines();
    let mut ids = Vec::new();
    while ids.len() < count {
        let line = tokio::time::timeout(Duration::from_secs(10), lines.next_line());
        let line = line.await.expect("in time").expect("readable").expect("not ended");
        if let Some(id) = line.strip_prefix("id: ") {
            ids.push(id.parse().expect("a number"));
        }
    }
    ids
}

#[tokio::test]
async fn a_resumed_stream_loses_and_repeats_nothing() {
    let house = House::new().await;
    for _ in 0..6 {
        house.prediction("go", 0.1).await;
    }
    let first = ids(&house, None, 3).await;
    let last = first.last().expect("three").to_string();
    let adding = async {
        for _ in 0..6 {
            house.prediction("go", 0.1).await;
        }
    };
    let (rest, ()) = tokio::join!(ids(&house, Some(&last), 9), adding);
    let all: Vec<u64> = first.into_iter().chain(rest).collect();
    assert_eq!(all, (1..=12).collect::<Vec<u64>>());
    house.server.stop().await;
}

#[tokio::test]
async fn a_stream_of_a_foreign_scope_holds_nothing_of_others() {
    let house = House::new().await;
    house.prediction("go", 0.1).await;
    let scope = Scope { systems: vec!["bank".to_owned()], environments: vec!["*".to_owned()] };
    let foreign = token(&house.store, Role::Viewer, &scope, None).await;
    let bearer = format!("Bearer {foreign}");
    let headers = [("authorization", bearer.as_str())];
    let mut stream = house.open("GET", "/api/v1/events/stream", &headers, b"").await;
    let mut bytes = Vec::new();
    // The first sign of life comes after what was stored before has been read.
    while !String::from_utf8_lossy(&bytes).contains(": heartbeat") {
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read_buf(&mut bytes));
        assert!(read.await.expect("in time").expect("readable") > 0, "it ended too soon");
    }
    // Ending the server ends the stream.
    let (read, ()) = tokio::join!(stream.read_to_end(&mut bytes), house.server.stop());
    read.expect("it ended");
    let text = String::from_utf8_lossy(&bytes);
    assert!(!text.contains("\nid: ") && !text.contains("shop"), "{text}");
}

#[tokio::test]
async fn a_log_is_streamed_to_its_end() {
    let house = House::new().await;
    let id = house.rollout("c").await;
    let abort = format!("/api/v1/rollouts/{id}/abort");
    assert_eq!(house.ask("POST", &abort, Some(&json!({ "revision": 1 }))).await.status, 200);
    let path = format!("/api/v1/rollouts/{id}/logs/stream");
    let log = house.ask("GET", &path, None).await;
    assert_eq!(log.body.matches("\"text\":\"begun\"").count(), 1, "{log:?}");
    house.server.stop().await;
}

/// A receiver that answers with a status that can be changed, and passes on what it got.
async fn receiver(status: Arc<AtomicU16>) -> (String, mpsc::UnboundedReceiver<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/hook", listener.local_addr().expect("bound"));
    let (sender, got) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut reader = BufReader::new(stream);
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).await.unwrap_or(0) < 3 {
                    break;
                }
                if let Some(value) = line.to_lowercase().strip_prefix("content-length: ") {
                    length = value.trim().parse().unwrap_or(0);
                }
                head.push_str(&line);
            }
            let mut body = vec![0; length];
            if reader.read_exact(&mut body).await.is_err() {
                continue;
            }
            let status = status.load(Ordering::SeqCst);
            let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
            let _answered = reader.get_mut().write_all(answer.as_bytes()).await.is_ok();
            let _passed = sender.send((head, String::from_utf8_lossy(&body).into_owned())).is_ok();
        }
    });
    (url, got)
}

async fn register(house: &House, url: &str) -> (String, String) {
    let body = json!({ "url": url, "events": ["prophecy.prediction.*"] });
    let made = house.ask("POST", "/api/v1/webhooks", Some(&body)).await;
    assert_eq!(made.status, 201, "{made:?}");
    let text = |name: &str| made.json()[name].as_str().expect("text").to_owned();
    (text("id"), text("secret"))
}

#[tokio::test]
async fn a_receiver_that_fails_and_then_works_gets_the_signed_event() {
    let house = House::new().await;
    let status = Arc::new(AtomicU16::new(500));
    let (url, mut got) = receiver(Arc::clone(&status)).await;
    let (_, secret) = register(&house, &url).await;
    house.prediction("go", 0.1).await;
    let (first, body) = got.recv().await.expect("an attempt");
    status.store(204, Ordering::SeqCst);
    let (second, again) = got.recv().await.expect("another attempt");
    assert_eq!(body, again);
    let header = |head: &str, name: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(name)).expect("the header");
        line.trim().to_owned()
    };
    assert_eq!(header(&first, "ce-id: "), header(&second, "ce-id: "), "the id is stable");
    let signed = header(&second, "prophecy-signature: ");
    let time: i64 = signed[2..].split(',').next().expect("a time").parse().expect("seconds");
    assert_eq!(signature::verify(&secret, &signed, again.as_bytes(), time, 300), Ok(()));
    assert!(signature::verify(&secret, &signed, b"changed", time, 300).is_err());
    let event: Value = serde_json::from_str(&again).expect("a CloudEvent");
    assert_eq!(event["specversion"], "1.0");
    assert_eq!(event["type"], "prophecy.prediction.registered.v1");
    house.server.stop().await;
}

#[tokio::test]
async fn a_receiver_that_never_works_leaves_a_dead_letter_that_can_be_sent_again() {
    let house = House::new().await;
    let status = Arc::new(AtomicU16::new(500));
    let (url, mut got) = receiver(Arc::clone(&status)).await;
    let (id, _) = register(&house, &url).await;
    house.prediction("go", 0.1).await;
    let dead = || async {
        let state = Some(DeliveryState::Dead);
        let found = house.store.list_deliveries(Some(&id), state, &Page::newest(9)).await;
        found.is_ok_and(|found| found.len() == 1)
    };
    until("a dead letter", dead).await;
    let list = format!("/api/v1/webhooks/{id}/deliveries");
    let listed = house.ask("GET", &format!("{list}?state=dead"), None).await.json();
    assert_eq!(listed["items"][0]["attempt"], 3, "{listed}");
    let delivery = listed["items"][0]["id"].as_str().expect("an id");
    status.store(200, Ordering::SeqCst);
    let again = house.ask("POST", &format!("{list}/{delivery}/redeliver"), None).await;
    assert_eq!(again.status, 200, "{again:?}");
    let delivered = || async {
        let state = Some(DeliveryState::Delivered);
        let found = house.store.list_deliveries(Some(&id), state, &Page::newest(9)).await;
        found.is_ok_and(|found| found.len() == 1)
    };
    until("a delivery", delivered).await;
    let mut bodies = BTreeSet::new();
    while let Ok((_, body)) = got.try_recv() {
        bodies.insert(body);
    }
    assert_eq!(bodies.len(), 1, "every attempt carried the same event");
    house.server.stop().await;
}

#[tokio::test]
async fn webhooks_go_only_where_they_are_allowed() {
    let house = House::new().await;
    for url in [
        "http://192.0.2.1/",
        "https://127.0.0.1/",
        "http://example.com/",
        "file:///etc/passwd",
        "http://127.0.0.1@192.0.2.1/",
        "http://169.254.169.254/",
    ] {
        let body = json!({ "url": url, "events": ["*"] });
        let answer = house.ask("POST", "/api/v1/webhooks", Some(&body)).await;
        assert_eq!(answer.status, 422, "{url}");
    }
    house.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_reach_a_collector_and_name_their_caller() {
    let (url, mut spans) = receiver(Arc::new(AtomicU16::new(200))).await;
    let address =
        url.trim_start_matches("http://").split('/').next().and_then(|it| it.parse().ok());
    let house = House::observed(wide(), address).await;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let caller = format!("00-{trace}-b7ad6b7169203331-01");
    let admin = house.admin.clone();
    let headers = [("traceparent", caller.as_str())];
    house.ask_as(&admin, "GET", "/api/v1/predictions", &headers, None).await;
    let received = tokio::time::timeout(Duration::from_secs(15), spans.recv()).await;
    let (_, body) = received.expect("in time").expect("a batch");
    let batch: Value = serde_json::from_str(&body).expect("JSON");
    let span = &batch["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
    assert_eq!(span["traceId"], trace);
    assert_eq!(span["parentSpanId"], "b7ad6b7169203331");
    assert_eq!(span["name"], "prediction.list");
    assert!(!body.contains(&admin), "a token is in a span");
    assert!(span["endTimeUnixNano"].as_str() >= span["startTimeUnixNano"].as_str());

    // A collector that is gone costs spans, and nothing else.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).ok();
    let house = House::observed(wide(), gone).await;
    assert_eq!(house.ask("GET", "/api/v1/predictions", None).await.status, 200);
    until("spans are counted as dropped", || async {
        let text = house.ask("GET", "/metrics", None).await.body;
        text.lines().any(|line| {
            line.strip_prefix("prophecy_spans_dropped_total ").is_some_and(|count| count != "0")
        })
    })
    .await;
}
