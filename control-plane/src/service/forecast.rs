//! Registering predictions, and withdrawing them.

use axum::http::StatusCode;
use prophecy_core::Timestamp;
use prophecy_predictor::Report;
use prophecy_store::{Claim, NewPrediction, Prediction};
use serde_json::json;

use crate::call::Actor;
use crate::cloud_event::{Happening, Place};
use crate::gateway::App;
use crate::problem::Problem;
use crate::token::new_id;

const SECOND: u64 = 1_000_000_000;

/// What is said about a report beside it.
#[derive(Clone, Debug)]
pub(crate) struct Registration {
    pub(crate) environment: String,
    pub(crate) window_seconds: u64,
    pub(crate) expires_in_seconds: u64,
}

/// Registers the forecast of a report, kept byte for byte.
pub(crate) async fn register(
    app: &App,
    actor: &Actor,
    registration: &Registration,
    report_json: &str,
    now: Timestamp,
) -> Result<Prediction, Problem> {
    let report = Report::from_json(report_json)
        .map_err(|_| Problem::invalid("the body is not a report of schema `prophecy.report/1`"))?;
    if report_json.contains("\\u0000") {
        return Err(Problem::invalid("the report holds a zero character"));
    }
    actor.reach(&report.system, &registration.environment)?;
    let id = new_id(now);
    let expires_at = now.plus_nanos(registration.expires_in_seconds.saturating_mul(SECOND));
    let prediction = Prediction {
        window_seconds: registration.window_seconds,
        expires_at: Some(expires_at),
        ..record(&id, &report, report_json, &registration.environment, now)
    };
    let claims = claims(&id, &report);
    let new = NewPrediction {
        prediction: prediction.clone(),
        claims,
        report_json: report_json.to_owned(),
    };
    app.store.insert_prediction(&new).await?;
    let data = json!({ "verdict": prediction.verdict, "risk": prediction.risk });
    tell(app, Happening::PredictionRegistered, &prediction, now, &data).await?;
    Ok(prediction)
}

/// Withdraws a prediction.
pub(crate) async fn revoke(
    app: &App,
    actor: &Actor,
    id: &str,
    now: Timestamp,
) -> Result<Prediction, Problem> {
    let known = get(app, actor, id).await?;
    if known.revoked_at.is_some() {
        return Ok(known);
    }
    let prediction = app.store.revoke_prediction(id, now).await?;
    tell(app, Happening::PredictionRevoked, &prediction, now, &json!({})).await?;
    Ok(prediction)
}

/// Returns a prediction that an actor may see.
pub(crate) async fn get(app: &App, actor: &Actor, id: &str) -> Result<Prediction, Problem> {
    let prediction = app.store.get_prediction(id).await?;
    actor.reach(&prediction.system, &prediction.environment)?;
    Ok(prediction)
}

/// Stores what happened to a prediction.
pub(crate) async fn tell(
    app: &App,
    happening: Happening,
    prediction: &Prediction,
    now: Timestamp,
    data: &serde_json::Value,
) -> Result<(), Problem> {
    let place = Place {
        subject: &prediction.id,
        system: &prediction.system,
        environment: &prediction.environment,
        candidate_digest: &prediction.candidate_digest,
    };
    for event in happening.events(&place, now, data) {
        app.store.insert_event(&event).await?;
    }
    Ok(())
}

/// Returns the record of a report's prediction.
pub(crate) fn record(
    id: &str,
    report: &Report,
    report_json: &str,
    environment: &str,
    at: Timestamp,
) -> Prediction {
    Prediction {
        id: id.to_owned(),
        created_at: at,
        system: report.system.clone(),
        environment: environment.to_owned(),
        baseline_digest: report.inputs.baseline.clone(),
        candidate_digest: report.inputs.candidate.clone(),
        report_digest: blake3::hash(report_json.as_bytes()).to_hex().to_string(),
        verdict: verdict(report).to_owned(),
        risk: report.risk.probability.get(),
        risk_lo: report.risk.interval.lo(),
        risk_hi: report.risk.interval.hi(),
        window_seconds: 0,
        revoked_at: None,
        expires_at: None,
    }
}

/// Returns the records of a report's claims.
pub(crate) fn claims(prediction_id: &str, report: &Report) -> Vec<Claim> {
    report.claims.iter().map(|claim| stored(prediction_id, claim)).collect()
}

fn verdict(report: &Report) -> &'static str {
    match report.verdict {
        prophecy_predictor::Verdict::Go => "go",
        prophecy_predictor::Verdict::NoGo => "no_go",
        prophecy_predictor::Verdict::NotEnoughEvidence => "not_enough_evidence",
    }
}

fn stored(prediction_id: &str, claim: &prophecy_predictor::Claim) -> Claim {
    let foretold = &claim.candidate;
    Claim {
        prediction_id: prediction_id.to_owned(),
        claim_id: claim.id.clone(),
        service: claim.service.clone(),
        route: claim.route.clone(),
        metric: claim.metric.slug().to_owned(),
        unit: claim.unit.clone(),
        threshold: claim.threshold,
        probability: claim.probability.get(),
        caused: claim.caused.get(),
        p5: foretold.p5,
        p10: foretold.p10,
        p25: foretold.p25,
        p50: foretold.p50,
        p75: foretold.p75,
        p90: foretold.p90,
        p95: foretold.p95,
    }
}

/// Refuses text that names nothing.
pub(crate) fn name(field: &str, text: &str) -> Result<(), Problem> {
    if !text.is_empty() && text.len() <= 128 && !text.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "invalid-request",
        format!("`{field}` must be 1 to 128 bytes without control characters"),
    ))
}
