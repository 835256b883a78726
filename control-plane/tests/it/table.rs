//! Every operation of the served document, for every role and every kind of bad token.

use std::time::Duration;

use prophecy_control_plane::Scope;
use prophecy_control_plane::policy::{Need, RULES, permits};
use prophecy_core::Timestamp;
use prophecy_store::Role;
use serde_json::Value;

use crate::house::{House, token};

const ROLES: [Role; 4] = [Role::Viewer, Role::Deployer, Role::Approver, Role::Admin];

fn filled(path: &str) -> String {
    path.replace("{id}", "none").replace("{verb}", "pause").replace("{delivery}", "none")
}

/// Reads the status alone, so that streams need not end.
async fn status(house: &House, token: &str, method: &str, path: &str) -> u16 {
    use tokio::io::AsyncReadExt;
    let bearer = format!("Bearer {token}");
    let headers: &[(&str, &str)] =
        if token.is_empty() { &[] } else { &[("authorization", bearer.as_str())] };
    let mut stream = house.open(method, &filled(path), headers, b"").await;
    let mut start = [0; 12];
    let read = stream.read_exact(&mut start);
    tokio::time::timeout(Duration::from_secs(10), read).await.expect("in time").expect("an answer");
    String::from_utf8_lossy(&start[9..]).parse().expect("a status")
}

#[tokio::test]
async fn every_operation_obeys_the_table_for_every_role() {
    let house = House::new().await;
    let document = house.ask_as("", "GET", "/openapi.json", &[], None).await.json();
    let mut tokens = Vec::new();
    for role in ROLES {
        tokens.push((role, house.token(role).await));
    }
    let expired = token(&house.store, Role::Admin, &Scope::everywhere(), Some(Timestamp(2))).await;
    let revoked = house.token(Role::Admin).await;
    let id = revoked.split('_').nth(1).expect("an id");
    house.store.revoke_token(id, Timestamp(3)).await.expect("it is there");
    let forged = format!("{}0", &house.admin[..house.admin.len() - 1]);
    let forged = if forged == house.admin { forged.replace('0', "1") } else { forged };
    let paths = document["paths"].as_object().expect("paths");
    let mut walked = 0;
    for (path, methods) in paths {
        for method in methods.as_object().expect("methods").keys() {
            let method = method.to_uppercase();
            let rule = RULES
                .iter()
                .find(|rule| rule.path == path && rule.method == method)
                .unwrap_or_else(|| panic!("{method} {path} is not in the table"));
            walked += 1;
            for bad in ["", expired.as_str(), revoked.as_str(), forged.as_str()] {
                let got = status(&house, bad, &method, path).await;
                let open = rule.need == Need::Nothing;
                assert_eq!(got == 401, !open, "{method} {path} with a bad token: {got}");
            }
            for (role, text) in &tokens {
                let got = status(&house, text, &method, path).await;
                let may = permits(rule.need, Some(*role), true);
                assert_eq!(got == 403, !may, "{method} {path} as {role:?}: {got}");
                assert!(got != 401 && got < 500, "{method} {path} as {role:?}: {got}");
            }
        }
    }
    assert_eq!(walked, RULES.len(), "the document holds the whole table");
    house.server.stop().await;
}

#[tokio::test]
async fn a_foreign_scope_sees_and_changes_nothing() {
    let house = House::new().await;
    let prediction = house.prediction("go", 0.05).await;
    let rollout = house.rollout("c").await;
    let scope = Scope { systems: vec!["bank".to_owned()], environments: vec!["*".to_owned()] };
    let foreign = token(&house.store, Role::Admin, &scope, None).await;
    for rule in RULES.iter().filter(|rule| rule.need != Need::Nothing) {
        let of = if rule.path.contains("/rollouts") { &rollout } else { &prediction };
        let path = rule.path.replace("{id}", of).replace("{verb}", "pause");
        let path = path.replace("{delivery}", "none");
        if rule.answers.1 == "Stream" && !rule.path.contains("{id}") {
            continue; // Tested with what it says, in `events`.
        }
        let body: Option<Value> = match rule.takes {
            Some("Report") => Some(crate::house::report("go", 0.1)),
            Some("RolloutRequest") => Some(crate::house::plan("c")),
            Some("Steering") => Some(serde_json::json!({ "revision": 1 })),
            Some("ApprovalRequest") => {
                Some(serde_json::json!({ "stage": 0, "revision": 1, "signed": {} }))
            }
            Some("GateRequest") => {
                Some(serde_json::json!({ "prediction_id": prediction, "max_risk": 20 }))
            }
            Some("OutcomeRequest") => Some(serde_json::json!({
                "prediction_id": prediction, "dataset_digest": "d", "source": "dataset",
                "claims": [],
            })),
            Some("TokenRequest") => Some(serde_json::json!({
                "name": "wide", "role": "viewer",
                "scope": { "systems": ["*"], "environments": ["*"] },
            })),
            _ => None,
        };
        let path = if rule.takes == Some("Report") {
            format!("{path}?environment=production")
        } else {
            path
        };
        let answer = house.ask_as(&foreign, rule.method, &path, &[], body.as_ref()).await;
        if rule.need == Need::AdministerEverywhere
            || rule.path.contains("{id}")
            || rule.is_mutation()
        {
            // A token's id is no prediction's: there is none to be refused.
            let nowhere = rule.path.starts_with("/api/v1/tokens/") && answer.status == 404;
            assert!(answer.status == 403 || nowhere, "{} {path}: {answer:?}", rule.method);
        } else if rule.path.starts_with("/api/v1") {
            assert!(!answer.body.contains(&prediction), "{path}: {answer:?}");
            assert!(!answer.body.contains(&rollout), "{path}: {answer:?}");
        }
    }
    house.server.stop().await;
}
