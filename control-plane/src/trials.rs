//! Deployments on record elsewhere, as predictions with outcomes.

use std::collections::BTreeMap;

use prophecy_core::Timestamp;
use prophecy_datasets::TrialRecords;
use prophecy_datasets::trials::{Deployment, TrialClaim};
use prophecy_predictor::report::Metric;
use prophecy_store::{
    Claim, NewPrediction, Outcome, OutcomeClaim, Prediction, Store, StoreError, sortable_id,
};

/// What is enough to call a claim true or not: chance alone says as much in one case of twenty.
pub(crate) const ENOUGH: f64 = 20.0;

/// What was taken into the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Predictions that were new.
    pub predictions: u64,
    /// Of those, the ones with an outcome; a disturbed measurement settles nothing.
    pub settled: u64,
    /// Predictions that were there.
    pub known: u64,
}

/// Takes records into a store; the same records again change nothing.
///
/// # Errors
///
/// When the store cannot take them; what was taken stays.
pub async fn import(store: &Store, records: &TrialRecords) -> Result<Imported, StoreError> {
    let mut claims: BTreeMap<&str, Vec<&TrialClaim>> = BTreeMap::new();
    for claim in &records.claims {
        claims.entry(&claim.trial).or_default().push(claim);
    }
    let mut imported = Imported::default();
    for deployment in &records.deployments {
        let claims = claims.get(deployment.trial.as_str()).map(Vec::as_slice).unwrap_or_default();
        let id = id(deployment);
        match store.get_prediction(&id).await {
            Ok(_) => {
                imported.known += 1;
                continue;
            }
            Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        store.insert_prediction(&prediction(&id, deployment, claims)).await?;
        imported.predictions += 1;
        if !deployment.disturbed {
            let settled: Vec<_> = claims.iter().filter_map(|claim| outcome(&id, claim)).collect();
            let outcome = Outcome {
                prediction_id: id,
                rollout_id: None,
                settled_at: Timestamp(deployment.deployed_at)
                    .plus_nanos((deployment.deployed_seconds * 1e9) as u64),
                dataset_digest: deployment.prediction_digest.clone(),
                source: "trial".to_owned(),
            };
            store.insert_outcome(&outcome, &settled).await?;
            imported.settled += 1;
        }
    }
    Ok(imported)
}

/// The same for the same deployment.
fn id(deployment: &Deployment) -> String {
    let named = format!("{}\0{}", deployment.trial, deployment.prediction_digest);
    let mut unique = [0; 10];
    unique.copy_from_slice(&blake3::hash(named.as_bytes()).as_bytes()[..10]);
    sortable_id(Timestamp(deployment.predicted_at), unique)
}

fn prediction(id: &str, deployment: &Deployment, claims: &[&TrialClaim]) -> NewPrediction {
    let digest = |what: &str| {
        blake3::hash(format!("{}\0{what}", deployment.trial).as_bytes()).to_hex().to_string()
    };
    NewPrediction {
        prediction: Prediction {
            id: id.to_owned(),
            created_at: Timestamp(deployment.predicted_at),
            system: deployment.topology.clone(),
            environment: deployment.campaign.clone(),
            baseline_digest: digest("baseline"),
            candidate_digest: digest("candidate"),
            report_digest: deployment.prediction_digest.clone(),
            verdict: deployment.verdict.clone(),
            risk: deployment.risk,
            risk_lo: deployment.risk_lo,
            risk_hi: deployment.risk_hi,
            window_seconds: deployment.window_seconds as u64,
            revoked_at: None,
            expires_at: None,
        },
        claims: claims.iter().filter_map(|claim| stored(id, claim)).collect(),
        // The report itself is not on record; its digest is.
        report_json: "{}".to_owned(),
    }
}

fn stored(id: &str, claim: &TrialClaim) -> Option<Claim> {
    let metric = Metric::of_slug(&claim.metric)?;
    let unit = match metric {
        Metric::ErrorRate | Metric::ClientErrorRate => "1",
        Metric::Memory => "B",
        _ => "ms",
    };
    Some(Claim {
        prediction_id: id.to_owned(),
        claim_id: claim.claim.clone(),
        service: claim.claim.split('/').next().unwrap_or_default().to_owned(),
        route: claim.route.clone(),
        metric: claim.metric.clone(),
        unit: unit.to_owned(),
        threshold: claim.threshold?,
        probability: claim.probability?,
        caused: claim.caused.unwrap_or_default(),
        p5: claim.p5,
        p10: claim.p10,
        p25: claim.p25,
        p50: claim.p50,
        p75: claim.p75,
        p90: claim.p90,
        p95: claim.p95,
    })
}

/// Returns what became of a claim, if enough was measured to say so.
pub(crate) fn outcome(id: &str, claim: &TrialClaim) -> Option<OutcomeClaim> {
    claim.probability?;
    let exceeded = claim.evidence_exceeded? >= ENOUGH;
    let kept = claim.evidence_kept? >= ENOUGH;
    (exceeded != kept).then_some(OutcomeClaim {
        prediction_id: id.to_owned(),
        claim_id: claim.claim.clone(),
        measured: claim.measured?,
        breached: exceeded,
        exchanges: claim.exchanges,
    })
}
