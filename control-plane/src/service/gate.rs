//! Go or no-go on a prediction: decided once, stored, good for a while only.

use prophecy_core::Timestamp;
use prophecy_store::{EventFilter, Prediction};
use serde::Deserialize;
use serde_json::{Value, json};

use super::forecast;
use crate::call::Actor;
use crate::clock::rfc3339;
use crate::cloud_event::{Happening, data};
use crate::gateway::App;
use crate::problem::Problem;
use crate::token::new_id;

/// How long a decision is good \[s\], unless asked for less.
const GOOD_SECONDS: u64 = 3_600;

/// What is asked of a gate.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GateRequest {
    pub(crate) prediction_id: String,
    /// The highest risk that may pass \[0 to 100\].
    pub(crate) max_risk: f64,
    /// What is about to be deployed; must be what was forecast.
    pub(crate) candidate_digest: Option<String>,
    pub(crate) good_for_seconds: Option<u64>,
}

/// Decides, and stores the decision as an event of the prediction.
pub(crate) async fn decide(
    app: &App,
    actor: &Actor,
    request: &GateRequest,
    now: Timestamp,
) -> Result<Value, Problem> {
    if !(0.0..=100.0).contains(&request.max_risk) {
        return Err(Problem::invalid("`max_risk` must be from 0 to 100"));
    }
    let prediction = forecast::get(app, actor, &request.prediction_id).await?;
    let (decision, because) = weigh(&prediction, request, now);
    let seconds = request.good_for_seconds.unwrap_or(GOOD_SECONDS).min(GOOD_SECONDS * 24);
    let own_end = now.plus_nanos(seconds.saturating_mul(1_000_000_000));
    let end = prediction.expires_at.map_or(own_end, |end| end.min(own_end));
    let gate = json!({
        "id": new_id(now),
        "prediction_id": prediction.id,
        "decision": decision,
        "because": because,
        "risk": prediction.risk,
        "max_risk": request.max_risk,
        "report_digest": prediction.report_digest,
        "candidate_digest": prediction.candidate_digest,
        "decided_by": actor.label(),
        "decided_at": rfc3339(now),
        "expires_at": rfc3339(end),
    });
    forecast::tell(app, Happening::GateDecided, &prediction, now, &gate).await?;
    Ok(with_validity(gate, &prediction, now))
}

/// Returns the decisions made on a prediction, each with whether it still holds.
pub(crate) async fn list(
    app: &App,
    actor: &Actor,
    prediction_id: &str,
    now: Timestamp,
) -> Result<Vec<Value>, Problem> {
    let prediction = forecast::get(app, actor, prediction_id).await?;
    let filter = EventFilter {
        subject: Some(prediction.id.clone()),
        event_type: Some(Happening::GateDecided.event_type().to_owned()),
        ..EventFilter::default()
    };
    let events = app.store.events_since(&filter, 500).await?;
    Ok(events.iter().map(|event| with_validity(data(event), &prediction, now)).collect())
}

/// Only positive evidence passes.
fn weigh(prediction: &Prediction, request: &GateRequest, now: Timestamp) -> (&'static str, String) {
    let other = request.candidate_digest.as_ref();
    if prediction.revoked_at.is_some() {
        ("no_go", "the prediction was revoked".to_owned())
    } else if prediction.expires_at.is_some_and(|end| end <= now) {
        ("not_enough_evidence", "the prediction has expired".to_owned())
    } else if other.is_some_and(|digest| *digest != prediction.candidate_digest) {
        ("not_enough_evidence", "the prediction is of another candidate".to_owned())
    } else if prediction.verdict == "not_enough_evidence" {
        ("not_enough_evidence", "the report says that its evidence is not enough".to_owned())
    } else if prediction.verdict != "go" {
        ("no_go", "the report advises against it".to_owned())
    } else if prediction.risk * 100.0 > request.max_risk {
        let percent = prediction.risk * 100.0;
        ("no_go", format!("the risk of {percent:.1} is above {:.1}", request.max_risk))
    } else {
        ("go", "the report advises it, within the risk allowed".to_owned())
    }
}

/// A stored decision counts only as long as its prediction does.
fn with_validity(mut gate: Value, prediction: &Prediction, now: Timestamp) -> Value {
    let end = gate.get("expires_at").and_then(Value::as_str).unwrap_or("");
    // Times of one form and one zone sort like text.
    let valid = prediction.revoked_at.is_none() && *end > *rfc3339(now);
    gate["valid"] = Value::Bool(valid);
    gate
}
