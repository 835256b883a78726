//! Settling predictions with what was measured.

use std::collections::BTreeMap;

use prophecy_core::Timestamp;
use prophecy_store::{Outcome, OutcomeClaim};
use serde::Deserialize;
use serde_json::json;

use super::forecast;
use crate::call::Actor;
use crate::cloud_event::Happening;
use crate::gateway::App;
use crate::problem::Problem;

/// What was measured.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OutcomeRequest {
    pub(crate) prediction_id: String,
    pub(crate) rollout_id: Option<String>,
    pub(crate) dataset_digest: String,
    pub(crate) source: String,
    pub(crate) claims: Vec<Reading>,
}

/// What was measured for one claim.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reading {
    pub(crate) claim_id: String,
    pub(crate) measured: f64,
    pub(crate) exchanges: u64,
}

/// Settles a prediction, once; whether a threshold was exceeded is found here, not told.
pub(crate) async fn settle(
    app: &App,
    actor: &Actor,
    request: &OutcomeRequest,
    now: Timestamp,
) -> Result<(Outcome, Vec<OutcomeClaim>), Problem> {
    forecast::name("dataset_digest", &request.dataset_digest)?;
    forecast::name("source", &request.source)?;
    let prediction = forecast::get(app, actor, &request.prediction_id).await?;
    if let Some(rollout) = &request.rollout_id {
        app.store.get_rollout(rollout).await?;
    }
    let claims = app.store.list_claims(&prediction.id).await?;
    let mut thresholds: BTreeMap<&str, f64> =
        claims.iter().map(|claim| (claim.claim_id.as_str(), claim.threshold)).collect();
    let mut settled = Vec::new();
    for measured in &request.claims {
        // Taken out, so that a claim named twice is not found the second time.
        let Some(threshold) = thresholds.remove(measured.claim_id.as_str()) else {
            return Err(Problem::invalid("a claim is not of this prediction, or comes twice"));
        };
        if !measured.measured.is_finite() || measured.exchanges > i64::MAX as u64 {
            return Err(Problem::invalid("a measured value is out of range"));
        }
        settled.push(OutcomeClaim {
            prediction_id: prediction.id.clone(),
            claim_id: measured.claim_id.clone(),
            measured: measured.measured,
            breached: measured.measured > threshold,
            exchanges: measured.exchanges,
        });
    }
    let outcome = Outcome {
        prediction_id: prediction.id.clone(),
        rollout_id: request.rollout_id.clone(),
        settled_at: now,
        dataset_digest: request.dataset_digest.clone(),
        source: request.source.clone(),
    };
    app.store.insert_outcome(&outcome, &settled).await?;
    let broken = settled.iter().filter(|claim| claim.breached).count();
    let data = json!({ "claims": settled.len(), "breached": broken });
    forecast::tell(app, Happening::OutcomeSettled, &prediction, now, &data).await?;
    Ok((outcome, settled))
}
