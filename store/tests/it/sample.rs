//! Records to store: each number makes another, the same number the same.

use prophecy_core::Timestamp;
use prophecy_store::{
    Approval, Claim, Delivery, DeliveryState, IdempotencyKey, NewAudit, NewEvent, NewLogLine,
    NewPrediction, Outcome, OutcomeClaim, Prediction, PublicStatus, Role, Rollout, Step, Store,
    Token, Verdict, Webhook, sortable_id,
};

/// 2026-01-01T00:00:00Z.
pub(crate) const START: i64 = 1_767_225_600_000_000_000;

pub(crate) const SECOND: i64 = 1_000_000_000;

pub(crate) const DAY: i64 = 86_400 * SECOND;

pub(crate) fn time(n: u64) -> Timestamp {
    Timestamp(START + n as i64 * SECOND + 7)
}

pub(crate) fn id(n: u64) -> String {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&n.to_be_bytes());
    sortable_id(time(n), random)
}

pub(crate) fn prediction(n: u64) -> NewPrediction {
    let share = |of: u64| (n % of) as f64 / of as f64;
    let prediction = Prediction {
        id: id(n),
        created_at: time(n),
        system: ["shop", "Bank"][(n % 2) as usize].to_owned(),
        environment: "production".to_owned(),
        baseline_digest: format!("base-{}", n / 2),
        candidate_digest: format!("candidate-{n}"),
        report_digest: format!("report-{n}"),
        verdict: ["go", "no_go", "not_enough_evidence"][(n % 3) as usize].to_owned(),
        risk: share(7),
        risk_lo: share(7) / 2.0,
        risk_hi: 1.0 - (1.0 - share(7)) / 3.0,
        window_seconds: 3_600,
        revoked_at: None,
        expires_at: n.is_multiple_of(2).then(|| time(n + 86_400)),
    };
    let claim = |index: u64| Claim {
        prediction_id: id(n),
        claim_id: format!("claim-{index}"),
        service: "storefront".to_owned(),
        route: "GET /naïve/\"quoted\"\n".to_owned(),
        metric: ["latency_p99", "error_rate"][(index % 2) as usize].to_owned(),
        unit: "ms".to_owned(),
        threshold: 300.0,
        probability: share(11),
        caused: 0.1 + 0.2,
        p5: 1e-300,
        p10: -0.0,
        p25: 1.0 / 3.0,
        p50: 5e-324,
        p75: f64::MAX,
        p90: 9_007_199_254_740_991.0,
        p95: 1e23,
    };
    let report_json = format!("{{\"n\": {n}, \"text\": \"’\"}}");
    NewPrediction { prediction, claims: (0..2).map(claim).collect(), report_json }
}

pub(crate) fn outcome(n: u64) -> (Outcome, Vec<OutcomeClaim>) {
    let outcome = Outcome {
        prediction_id: id(n),
        rollout_id: n.is_multiple_of(2).then(|| id(n + 1)),
        settled_at: time(n + 3_600),
        dataset_digest: format!("dataset-{n}"),
        source: "rollout".to_owned(),
    };
    let claim = |index: u64| OutcomeClaim {
        prediction_id: id(n),
        claim_id: format!("claim-{index}"),
        measured: 301.5 + n as f64,
        breached: index == 0,
        exchanges: 1_000 + n,
    };
    (outcome, (0..2).map(claim).collect())
}

pub(crate) fn rollout(n: u64) -> Rollout {
    Rollout {
        id: id(n),
        idempotency_key: n.is_multiple_of(2).then(|| format!("key-{n}")),
        system: ["shop", "Bank"][(n % 2) as usize].to_owned(),
        environment: "production".to_owned(),
        candidate_digest: format!("candidate-{n}"),
        strategy: "canary".to_owned(),
        state: "step".to_owned(),
        public_status: PublicStatus::Deploying,
        stage: 2,
        weight: 12_345,
        revision: 0,
        prediction_id: Some(id(n)),
        plan_json: "{}".to_owned(),
        folder: format!("rollouts/{n}"),
        created_by: "ada".to_owned(),
        created_at: time(n),
        updated_at: time(n),
        ended_at: None,
        reason: None,
    }
}

pub(crate) fn step(n: u64, step_index: u64) -> Step {
    Step {
        rollout_id: id(n),
        step_index,
        state: "observe".to_owned(),
        weight: 1_000 * step_index,
        started_at: time(n + step_index),
        ended_at: None,
        verdict: None,
    }
}

pub(crate) fn verdict(n: u64, at: u64) -> Verdict {
    Verdict {
        rollout_id: id(n),
        stage: 1,
        at: time(at),
        verdict: "inconclusive".to_owned(),
        judgement_json: "{\"checks\": []}".to_owned(),
    }
}

pub(crate) fn approval(n: u64) -> Approval {
    Approval {
        id: id(n + 10),
        rollout_id: id(n),
        stage: 1,
        revision: 4,
        approver: "grace".to_owned(),
        at: time(n + 10),
        signed_json: "{\"signature\": \"x\"}".to_owned(),
    }
}

pub(crate) fn log_line(n: u64) -> NewLogLine {
    NewLogLine { at: time(n), level: "info".to_owned(), text: format!("line {n}") }
}

pub(crate) fn event(n: u64) -> NewEvent {
    NewEvent {
        id: format!("event-{n}"),
        event_type: ["deployment.started", "deployment.failed"][(n % 2) as usize].to_owned(),
        source: "prophecy".to_owned(),
        subject: id(n % 3),
        at: time(n),
        data_json: "{}".to_owned(),
    }
}

pub(crate) fn webhook(n: u64) -> Webhook {
    Webhook {
        id: id(n),
        url: "https://hooks.invalid/a".to_owned(),
        events_json: "[\"deployment.failed\"]".to_owned(),
        secret_sealed: "sealed".to_owned(),
        created_at: time(n),
        disabled_at: None,
    }
}

pub(crate) fn delivery(n: u64, webhook: u64, event_seq: u64) -> Delivery {
    Delivery {
        id: id(n),
        webhook_id: id(webhook),
        event_seq,
        attempt: 0,
        next_at: time(n),
        state: DeliveryState::Pending,
        last_status: None,
        last_error: None,
    }
}

pub(crate) fn token(n: u64) -> Token {
    Token {
        id: id(n),
        name: "laptop".to_owned(),
        hash: format!("hash-{n}"),
        role: [Role::Viewer, Role::Deployer, Role::Approver, Role::Admin][(n % 4) as usize],
        scope_json: "{\"systems\": [\"shop\"]}".to_owned(),
        created_at: time(n),
        expires_at: None,
        revoked_at: None,
        last_used_at: None,
    }
}

pub(crate) fn idempotency_key(n: u64) -> IdempotencyKey {
    IdempotencyKey {
        actor: "ada".to_owned(),
        key: format!("key-{n}"),
        request_digest: format!("digest-{n}"),
        response_status: None,
        response_body: None,
        created_at: time(n),
    }
}

pub(crate) fn audit(n: u64) -> NewAudit {
    NewAudit {
        at: time(n),
        actor: "ada".to_owned(),
        action: "rollout.promote".to_owned(),
        object: id(n),
        detail_json: format!("{{\"n\": {n}}}"),
    }
}

/// Stores some of every kind of record.
pub(crate) async fn fill(store: &Store, count: u64) {
    for n in 0..count {
        store.insert_prediction(&prediction(n)).await.expect("stored");
        let (outcome, claims) = outcome(n);
        store.insert_outcome(&outcome, &claims).await.expect("stored");
        store.create_rollout(&rollout(n)).await.expect("stored");
        store.put_step(&step(n, 0)).await.expect("stored");
        store.insert_verdict(&verdict(n, n)).await.expect("stored");
        store.insert_approval(&approval(n)).await.expect("stored");
        store.append_logs(&id(n), &[log_line(n), log_line(n + 1)]).await.expect("stored");
        let seq = store.insert_event(&event(n)).await.expect("stored");
        store.insert_webhook(&webhook(n)).await.expect("stored");
        store.insert_delivery(&delivery(n, n, seq)).await.expect("stored");
        store.insert_token(&token(n)).await.expect("stored");
        store.reserve_idempotency_key(&idempotency_key(n)).await.expect("stored");
        store.append_audit(&audit(n)).await.expect("stored");
    }
}
