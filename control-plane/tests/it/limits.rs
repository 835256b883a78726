//! Bad requests, too many of them, and a store that is not there.

use prophecy_control_plane::Limits;
use serde_json::json;

use crate::house::{House, plan, wide};

#[tokio::test]
async fn bodies_that_are_too_large_or_malformed_are_problems() {
    let house = House::new().await;
    let bearer = format!("Bearer {}", house.admin);
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let large = vec![b' '; 70_000];
    for (body, status) in [
        (&b"{"[..], 400),
        (&b"\xff\xfe"[..], 400),
        (&b"[]"[..], 422),
        (&b"{\"surprise\": 1}"[..], 422),
        (&large[..], 413),
    ] {
        let answer = house.send("POST", "/api/v1/rollouts", &headers, body).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    }
    let plain = [("authorization", bearer.as_str()), ("content-type", "text/plain")];
    let answer = house.send("POST", "/api/v1/rollouts", &plain, b"{}").await;
    assert_eq!(answer.status, 415);
    let answer = house.ask("PATCH", "/api/v1/rollouts", None).await;
    assert_eq!((answer.status, answer.json()["status"].as_u64()), (405, Some(405)));
    assert_eq!(house.ask("GET", "/nowhere", None).await.status, 404);
    house.server.stop().await;
}

#[tokio::test]
async fn a_token_that_asks_too_often_is_told_when_to_come_back() {
    let limits = Limits { requests_per_second: 0.1, requests_burst: 3.0, ..wide() };
    let house = House::with(limits).await;
    for _ in 0..3 {
        assert_eq!(house.ask("GET", "/api/v1/rollouts", None).await.status, 200);
    }
    let refused = house.ask("GET", "/api/v1/rollouts", None).await;
    assert_eq!(refused.status, 429);
    let seconds: u64 = refused.header("retry-after").and_then(|s| s.parse().ok()).expect("told");
    assert!((1..=10).contains(&seconds), "{seconds}");
    house.server.stop().await;
}

#[tokio::test]
async fn guessing_tokens_is_stopped_by_address() {
    let limits = Limits { failures_per_second: 0.01, failures_burst: 3.0, ..wide() };
    let house = House::with(limits).await;
    let guess = format!("prophecy_{}_{}", "A".repeat(26), "0".repeat(64));
    for _ in 0..3 {
        let answer = house.ask_as(&guess, "GET", "/api/v1/rollouts", &[], None).await;
        assert_eq!(answer.status, 401);
    }
    let answer = house.ask_as(&guess, "GET", "/api/v1/rollouts", &[], None).await;
    assert_eq!(answer.status, 429);
    house.server.stop().await;
}

#[tokio::test]
async fn a_locked_store_is_a_problem_with_a_time_to_come_back() {
    let house = House::new().await;
    let file = house.folder.path().join("store.db");
    let held = rusqlite::Connection::open(file).expect("the store's file");
    held.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    let answer = house.ask("POST", "/api/v1/rollouts", Some(&plan("c"))).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.json()["type"], json!("urn:prophecy:problem:store-locked"));
    assert!(answer.header("retry-after").is_some());
    held.execute_batch("ROLLBACK").expect("the lock is given back");
    assert_eq!(house.ask("POST", "/api/v1/rollouts", Some(&plan("c"))).await.status, 201);
    house.server.stop().await;
}

#[tokio::test]
async fn answers_carry_security_headers_and_metrics_count_them() {
    let house = House::new().await;
    let health = house.ask_as("", "GET", "/health", &[], None).await;
    assert_eq!(health.status, 200, "{health:?}");
    assert_eq!(health.header("x-content-type-options"), Some("nosniff"));
    assert!(health.header("content-security-policy").expect("one").contains("default-src 'none'"));
    assert!(health.header("x-request-id").is_some());
    let metrics = house.ask("GET", "/metrics", None).await;
    let line = "prophecy_http_requests_total{operation=\"health\",status=\"200\"} 1";
    assert!(metrics.body.contains(line), "{}", metrics.body);
    house.server.stop().await;
}
