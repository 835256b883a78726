//! Beginning rollouts, steering them, approving their stages.

use axum::http::StatusCode;
use prophecy_core::Timestamp;
use prophecy_store::{Approval, Page, Rollout, RolloutFilter};
use serde::Deserialize;
use serde_json::{Value, json};

use super::forecast;
use crate::call::Actor;
use crate::cloud_event::{Happening, Place};
use crate::control::{Act, ControlError, PlanRequest, Verb};
use crate::gateway::App;
use crate::problem::Problem;
use crate::token::new_id;

const STRATEGIES: [&str; 6] = ["immediate", "rolling", "blue_green", "canary", "shadow", "ab"];

/// What is to be rolled out.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RolloutRequest {
    pub(crate) system: String,
    pub(crate) environment: String,
    pub(crate) candidate_digest: String,
    pub(crate) strategy: String,
    pub(crate) prediction_id: Option<String>,
    pub(crate) plan: serde_json::Map<String, Value>,
}

/// How a caller saw the rollout that is steered.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Steering {
    pub(crate) revision: Option<u64>,
    pub(crate) stage: Option<u64>,
    pub(crate) reason: Option<String>,
}

/// An approval to be recorded.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApprovalRequest {
    pub(crate) stage: u64,
    pub(crate) revision: u64,
    pub(crate) signed: serde_json::Map<String, Value>,
}

/// Begins a rollout, or returns the one of the same candidate to the same place that is under way.
pub(crate) async fn create(
    app: &App,
    actor: &Actor,
    request: RolloutRequest,
    idempotency_key: Option<&str>,
) -> Result<(Rollout, bool), Problem> {
    forecast::name("system", &request.system)?;
    forecast::name("environment", &request.environment)?;
    forecast::name("candidate_digest", &request.candidate_digest)?;
    if !STRATEGIES.contains(&request.strategy.as_str()) {
        return Err(Problem::invalid(format!("`strategy` is one of {}", STRATEGIES.join(", "))));
    }
    actor.reach(&request.system, &request.environment)?;
    if let Some(id) = &request.prediction_id {
        let prediction = forecast::get(app, actor, id).await?;
        if prediction.candidate_digest != request.candidate_digest
            || prediction.system != request.system
        {
            return Err(Problem::invalid("the prediction is of another candidate or system"));
        }
    }
    // One at a time, so that two requests cannot both find that nothing is under way.
    let _alone = app.creating.lock().await;
    if let Some(active) = under_way(app, &request).await? {
        return Ok((active, false));
    }
    let plan = PlanRequest {
        system: request.system,
        environment: request.environment,
        candidate_digest: request.candidate_digest,
        strategy: request.strategy,
        prediction_id: request.prediction_id,
        plan: Value::Object(request.plan),
        actor: actor.label(),
        idempotency_key: idempotency_key.map(|key| format!("{}:{key}", actor.label())),
    };
    Ok((app.rollouts.create(plan).await?, true))
}

async fn under_way(app: &App, request: &RolloutRequest) -> Result<Option<Rollout>, Problem> {
    let filter = RolloutFilter {
        system: Some(request.system.clone()),
        environment: Some(request.environment.clone()),
        active: Some(true),
        ..RolloutFilter::default()
    };
    let active = app.store.list_rollouts(&filter, &Page::newest(500)).await?;
    Ok(active.into_iter().find(|rollout| rollout.candidate_digest == request.candidate_digest))
}

/// Returns a rollout that an actor may see.
pub(crate) async fn get(app: &App, actor: &Actor, id: &str) -> Result<Rollout, Problem> {
    let rollout = app.store.get_rollout(id).await?;
    actor.reach(&rollout.system, &rollout.environment)?;
    Ok(rollout)
}

/// Steers a rollout, if it is as its steerer saw it: a stale `If-Match` fails the precondition, a
/// stale revision or stage of the body is a conflict, and neither is not enough.
pub(crate) async fn steer(
    app: &App,
    actor: &Actor,
    id: &str,
    verb: Verb,
    seen: &Steering,
    if_match: Option<&str>,
) -> Result<Rollout, Problem> {
    let rollout = get(app, actor, id).await?;
    if if_match.is_some_and(|tag| tag.trim_matches('"') != format!("r{}", rollout.revision)) {
        return Err(Problem::new(
            StatusCode::PRECONDITION_FAILED,
            "stale-etag",
            format!("the rollout is at revision {}; its ETag was another", rollout.revision),
        ));
    }
    let Some(expected_revision) = seen.revision.or(if_match.map(|_| rollout.revision)) else {
        return Err(Problem::new(
            StatusCode::PRECONDITION_REQUIRED,
            "revision-required",
            "name the revision that was seen, by `if-match` or by `revision`",
        ));
    };
    if expected_revision != rollout.revision {
        return Err(stale(expected_revision, rollout.revision));
    }
    if seen.stage.is_some_and(|stage| stage != rollout.stage) {
        let detail = format!("the rollout is at stage {}; another was seen", rollout.stage);
        return Err(Problem::new(StatusCode::CONFLICT, "stale-stage", detail));
    }
    let act = Act {
        rollout_id: rollout.id,
        verb,
        expected_revision,
        actor: actor.label(),
        reason: seen.reason.clone(),
    };
    Ok(app.rollouts.act(act).await?)
}

/// Records an approval of a stage at the revision that its giver saw. Who began a rollout cannot
/// approve it.
pub(crate) async fn approve(
    app: &App,
    actor: &Actor,
    id: &str,
    request: &ApprovalRequest,
    now: Timestamp,
) -> Result<Approval, Problem> {
    let rollout = get(app, actor, id).await?;
    if rollout.created_by == actor.label() {
        return Err(Problem::forbidden("who began a rollout cannot approve it"));
    }
    if request.revision != rollout.revision {
        return Err(stale(request.revision, rollout.revision));
    }
    if request.stage != rollout.stage {
        let detail = format!("the rollout is at stage {}; another was seen", rollout.stage);
        return Err(Problem::new(StatusCode::CONFLICT, "stale-stage", detail));
    }
    // What is signed counts where the rollout is carried out; the rest is on record here.
    if request.signed.contains_key("signature") {
        app.rollouts.approve(rollout.id.clone(), Value::Object(request.signed.clone())).await?;
    }
    let mut record = json!({
        "rollout_id": rollout.id, "stage": request.stage, "revision": request.revision,
        "candidate_digest": rollout.candidate_digest, "approver": actor.label(),
        "at": crate::clock::rfc3339(now), "signed": request.signed,
    });
    // Sealed by the server's key: a record changed in the store is told from one that was given.
    let seal = blake3::keyed_hash(&app.key, record.to_string().as_bytes());
    record["seal"] = Value::String(seal.to_hex().to_string());
    let approval = Approval {
        id: new_id(now),
        rollout_id: rollout.id.clone(),
        stage: request.stage,
        revision: request.revision,
        approver: actor.label(),
        at: now,
        signed_json: record.to_string(),
    };
    app.store.insert_approval(&approval).await?;
    let place = Place {
        subject: &rollout.id,
        system: &rollout.system,
        environment: &rollout.environment,
        candidate_digest: &rollout.candidate_digest,
    };
    let data = json!({ "stage": request.stage, "revision": request.revision });
    for event in Happening::ApprovalGiven.events(&place, now, &data) {
        app.store.insert_event(&event).await?;
    }
    Ok(approval)
}

fn stale(expected: u64, found: u64) -> Problem {
    let detail = format!("the rollout is at revision {found}; revision {expected} was expected");
    Problem::new(StatusCode::CONFLICT, "stale-revision", detail)
}

impl From<ControlError> for Problem {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::NotFound(_) => Self::not_found("rollout"),
            ControlError::Stale { expected, found } => stale(expected, found),
            ControlError::Refused { .. } => {
                Self::new(StatusCode::CONFLICT, "refused", error.to_string())
            }
            ControlError::Plan(_) => Self::invalid(error.to_string()),
            ControlError::Unavailable(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "executor-unavailable",
                "whoever carries rollouts out cannot be reached",
            )
            .after(5),
            ControlError::Store(error) => error.into(),
        }
    }
}
