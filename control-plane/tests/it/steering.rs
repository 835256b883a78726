//! Predictions, gates, rollouts, outcomes and what is left of them in the audit log.

use prophecy_store::Role;
use serde_json::json;

use crate::house::{House, plan};

#[tokio::test]
async fn a_create_replayed_twice_begins_one_rollout() {
    let house = House::new().await;
    let key = [("idempotency-key", "deploy-1")];
    let ask = |candidate: &'static str| {
        let (house, key) = (&house, &key);
        async move {
            let body = plan(candidate);
            house.ask_as(&house.admin, "POST", "/api/v1/rollouts", key, Some(&body)).await
        }
    };
    let (first, second) = (ask("c").await, ask("c").await);
    assert_eq!((first.status, second.status), (201, 201), "{second:?}");
    assert_eq!(first.json()["id"], second.json()["id"]);
    assert_eq!(second.header("idempotent-replayed"), Some("true"));
    let other = ask("d").await;
    assert_eq!(other.status, 422);
    assert!(other.body.contains("idempotency-key-reused"));
    let same = house.ask("POST", "/api/v1/rollouts", Some(&plan("c"))).await;
    assert_eq!(same.status, 200, "the one under way is given");
    assert_eq!(same.json()["id"], first.json()["id"]);
    assert_eq!(*house.fake.calls.lock().expect("whole"), ["create"]);
    house.server.stop().await;
}

#[tokio::test]
async fn a_stale_steerer_is_refused_and_the_executor_never_asked() {
    let house = House::new().await;
    let id = house.rollout("c").await;
    let path = format!("/api/v1/rollouts/{id}/pause");
    let ask = |headers: &'static [(&str, &str)], body| {
        let (house, path) = (&house, &path);
        async move { house.ask_as(&house.admin, "POST", path, headers, Some(&body)).await.status }
    };
    assert_eq!(ask(&[], json!({})).await, 428);
    assert_eq!(ask(&[], json!({ "revision": 7 })).await, 409);
    assert_eq!(ask(&[("if-match", "\"r7\"")], json!({})).await, 412);
    assert_eq!(ask(&[], json!({ "revision": 1, "stage": 3 })).await, 409);
    assert_eq!(*house.fake.calls.lock().expect("whole"), ["create"]);
    assert_eq!(ask(&[("if-match", "\"r1\"")], json!({ "stage": 0 })).await, 200);
    assert_eq!(ask(&[("if-match", "\"r1\"")], json!({})).await, 412, "it has changed");
    let got = house.ask("GET", &format!("/api/v1/rollouts/{id}"), None).await;
    assert_eq!(got.header("etag"), Some("\"r2\""));
    assert!(!got.body.contains("kept/apart"), "the folder is not shown");
    let same = [("if-none-match", "\"r2\"")];
    let path = format!("/api/v1/rollouts/{id}");
    assert_eq!(house.ask_as(&house.admin, "GET", &path, &same, None).await.status, 304);
    house.server.stop().await;
}

#[tokio::test]
async fn only_positive_evidence_passes_a_gate_and_a_revoked_prediction_invalidates_it() {
    let house = House::new().await;
    let decide = |id: String, max_risk: f64| {
        let house = &house;
        async move {
            let body = json!({ "prediction_id": id, "max_risk": max_risk });
            let answer = house.ask("POST", "/api/v1/gates", Some(&body)).await;
            assert_eq!(answer.status, 201, "{answer:?}");
            answer.json()["decision"].as_str().expect("a word").to_owned()
        }
    };
    let good = house.prediction("go", 0.05).await;
    let bad = house.prediction("no_go", 0.01).await;
    let unknown = house.prediction("not_enough_evidence", 0.01).await;
    assert_eq!(decide(good.clone(), 20.0).await, "go");
    assert_eq!(decide(good.clone(), 4.0).await, "no_go");
    assert_eq!(decide(bad, 20.0).await, "no_go");
    assert_eq!(decide(unknown, 20.0).await, "not_enough_evidence");
    let gates = format!("/api/v1/predictions/{good}/gates");
    assert_eq!(house.ask("GET", &gates, None).await.json()["items"][0]["valid"], true);
    let revoke = format!("/api/v1/predictions/{good}/revoke");
    assert_eq!(house.ask("POST", &revoke, None).await.status, 200);
    assert_eq!(house.ask("GET", &gates, None).await.json()["items"][0]["valid"], false);
    assert_eq!(decide(good, 20.0).await, "no_go");
    house.server.stop().await;
}

#[tokio::test]
async fn an_outcome_settles_a_prediction_once_and_is_scored() {
    let house = House::new().await;
    let id = house.prediction("go", 0.25).await;
    let body = json!({
        "prediction_id": id, "dataset_digest": "d", "source": "dataset",
        "claims": [{ "claim_id": "checkout/p99", "measured": 31.0, "exchanges": 500 }],
    });
    let settled = house.ask("POST", "/api/v1/outcomes", Some(&body)).await;
    assert_eq!(settled.status, 201, "{settled:?}");
    assert_eq!(settled.json()["claims"][0]["breached"], true);
    assert_eq!(house.ask("POST", "/api/v1/outcomes", Some(&body)).await.status, 409);
    let board = house.ask("GET", "/api/v1/accuracy", None).await.json();
    assert_eq!(board["claims"], 1);
    let brier = board["brier"].as_f64().expect("a number");
    assert!((brier - 0.5625).abs() < 1e-12, "(1 - 0.25)² = 0.5625, found {brier}");
    let none = house.ask("GET", "/api/v1/accuracy?system=bank", None).await.json();
    assert!(none["brier"].is_null() && none["claims"] == 0, "{none}");
    house.server.stop().await;
}

#[tokio::test]
async fn every_change_is_audited_in_a_chain_without_secrets() {
    let house = House::new().await;
    let body = json!({
        "name": "ci", "role": "deployer", "scope": { "systems": ["*"], "environments": ["*"] },
    });
    let made = house.ask("POST", "/api/v1/tokens", Some(&body)).await;
    let secret = made.json()["secret"].as_str().expect("shown once").to_owned();
    let id = house.rollout("c").await;
    let path = format!("/api/v1/rollouts/{id}/abort");
    house.ask_as(&secret, "POST", &path, &[], Some(&json!({ "revision": 1 }))).await;
    let log = house.ask("GET", "/api/v1/audit", None).await;
    for action in ["token.create", "rollout.create", "rollout.abort"] {
        assert!(log.body.contains(action), "{action}: {log:?}");
    }
    let tail = secret.rsplit('_').next().expect("a secret");
    let listed = house.ask("GET", "/api/v1/tokens", None).await;
    assert!(!log.body.contains(tail) && !listed.body.contains(tail));
    assert!(!listed.body.contains("hash"));
    let chain = house.ask("GET", "/api/v1/audit/verify", None).await.json();
    assert_eq!((chain["intact"].as_bool(), chain["entries"].as_u64()), (Some(true), Some(6)));
    house.server.stop().await;
}

#[tokio::test]
async fn who_began_a_rollout_cannot_approve_it() {
    let house = House::new().await;
    let id = house.rollout("c").await;
    let path = format!("/api/v1/rollouts/{id}/approvals");
    let body = json!({ "stage": 0, "revision": 1, "signed": { "ticket": "T-1" } });
    assert_eq!(house.ask("POST", &path, Some(&body)).await.status, 403);
    let approver = house.token(Role::Approver).await;
    let given = house.ask_as(&approver, "POST", &path, &[], Some(&body)).await;
    assert_eq!(given.status, 201, "{given:?}");
    assert!(given.json()["signed"]["seal"].is_string());
    let stale = json!({ "stage": 0, "revision": 9, "signed": {} });
    assert_eq!(house.ask_as(&approver, "POST", &path, &[], Some(&stale)).await.status, 409);
    house.server.stop().await;
}

#[tokio::test]
async fn pages_link_to_the_next_and_hold_everything_once() {
    let house = House::new().await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(house.prediction("go", 0.1).await);
    }
    made.sort();
    let (mut seen, mut path) = (Vec::new(), "/api/v1/predictions?limit=2".to_owned());
    loop {
        let page = house.ask("GET", &path, None).await;
        for item in page.json()["items"].as_array().expect("items") {
            seen.push(item["id"].as_str().expect("an id").to_owned());
        }
        let Some(link) = page.header("link") else { break };
        path = link.trim_start_matches('<').split('>').next().expect("a target").to_owned();
    }
    seen.sort();
    assert_eq!(seen, made);
    house.server.stop().await;
}
