//! Labels: what a deployment turned out to be, decided by measurement.

use std::collections::BTreeMap;

use prophecy_core::quantile;
use prophecy_datasets::TrialRecords;
use prophecy_datasets::trials::{Deployment, TrialClaim};
use serde::{Deserialize, Serialize};

/// What a deployment, or a claim, turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Label {
    /// A bound was exceeded.
    Harmful,
    /// Every bound was kept, or was exceeded without the change as well.
    Harmless,
    /// The machine's noise covers a bound.
    Undecidable,
}

/// The labels of records, in their order.
#[derive(Clone, Debug, Default)]
pub struct Labels {
    /// Of each deployment.
    pub deployments: Vec<Label>,
    /// Of each row of claims; nothing for rows without a bound or a measurement.
    pub claims: Vec<Option<Label>>,
    /// What a metric of one build differs from one deployment to the next, relatively.
    pub noise: BTreeMap<String, f64>,
}

/// Evidence that chance gives once in twenty times.
const EVIDENCE: f64 = 20.0;

/// The noise that is taken for granted until this many pairs of equal builds have been measured.
const PAIRS_NEEDED: usize = 20;
const NOISE: [(&str, f64); 4] =
    [("latency-mean", 0.06), ("latency-p50", 0.06), ("latency-p95", 0.12), ("latency-p99", 0.25)];

/// A share counts as kept if it is below the bound by this factor: counts are small.
const RATE_NOISE: f64 = std::f64::consts::LN_2;

/// A bound that is exceeded without the change is exceeded by it only if it gets worse by this much.
const WORSE_FACTOR: f64 = 1.2;
const WORSE_POINTS: f64 = 0.005;

// === impl Labels ===

impl Labels {
    /// Labels records.
    pub fn of(records: &TrialRecords) -> Self {
        let noise = noise(records);
        let claims: Vec<Option<Label>> =
            records.claims.iter().map(|claim| label(claim, &noise)).collect();
        let mut of_trial: BTreeMap<&str, Vec<(&TrialClaim, Label)>> = BTreeMap::new();
        for (claim, label) in records.claims.iter().zip(&claims) {
            if let Some(label) = label {
                of_trial.entry(&claim.trial).or_default().push((claim, *label));
            }
        }
        let deployments = records.deployments.iter().map(|deployment| {
            let claims = of_trial.get(deployment.trial.as_str());
            label_of_deployment(deployment, claims.map_or(&[], Vec::as_slice))
        });
        Self { deployments: deployments.collect(), claims, noise }
    }
}

/// Returns what equal builds differ by, by metric.
fn noise(records: &TrialRecords) -> BTreeMap<String, f64> {
    let same: Vec<&str> = records
        .deployments
        .iter()
        .filter(|deployment| deployment.change == "same-build")
        .map(|deployment| deployment.trial.as_str())
        .collect();
    NOISE
        .into_iter()
        .map(|(metric, given)| {
            let pairs = records.claims.iter().filter(|claim| {
                claim.metric == metric
                    && claim.threshold.is_none()
                    && same.contains(&claim.trial.as_str())
            });
            let mut differences: Vec<f64> = pairs
                .filter_map(|claim| Some((claim.measured? / claim.before?).ln().abs()))
                .filter(|difference| difference.is_finite())
                .collect();
            differences.sort_by(f64::total_cmp);
            let found = quantile::of_sorted(&differences, 0.9);
            let enough = differences.len() >= PAIRS_NEEDED;
            (metric.to_owned(), found.filter(|_| enough).unwrap_or(given))
        })
        .collect()
}

/// Labels a claim: harmful means exceeded. The burden of proof is on that.
fn label(claim: &TrialClaim, noise: &BTreeMap<String, f64>) -> Option<Label> {
    let (bound, measured) = (claim.threshold?, claim.measured?);
    let margin = noise.get(&claim.metric).copied();
    let distance = (measured.max(1e-9) / bound.max(1e-9)).ln();
    let exceeded = claim.evidence_exceeded.unwrap_or(0.0) >= EVIDENCE;
    let kept = claim.evidence_kept.unwrap_or(0.0) >= EVIDENCE;
    Some(if exceeded && distance > margin.unwrap_or(0.0) {
        Label::Harmful
    } else if distance < -margin.unwrap_or(RATE_NOISE) || (kept && margin.is_none()) {
        Label::Harmless
    } else {
        Label::Undecidable
    })
}

/// Says whether a claim that came true did so because of the change.
fn worse(claim: &TrialClaim) -> bool {
    let (Some(bound), Some(measured)) = (claim.threshold, claim.measured) else { return false };
    let Some(before) = claim.before else { return true };
    let clearly = if claim.metric.starts_with("latency") {
        measured > WORSE_FACTOR * before
    } else {
        measured > before + WORSE_POINTS
    };
    before <= bound || clearly
}

/// A build that is known to be harmless is; another is what its claims say.
fn label_of_deployment(deployment: &Deployment, claims: &[(&TrialClaim, Label)]) -> Label {
    match deployment.known.as_deref() {
        Some("harmless") => return Label::Harmless,
        Some("harmful") => return Label::Harmful,
        _ => {}
    }
    let harmful = |(claim, label): &&(&TrialClaim, Label)| *label == Label::Harmful && worse(claim);
    let open =
        |(claim, label): &&(&TrialClaim, Label)| *label == Label::Undecidable && worse(claim);
    if claims.iter().find(harmful).is_some() {
        Label::Harmful
    } else if claims.is_empty() || claims.iter().find(open).is_some() {
        Label::Undecidable
    } else {
        Label::Harmless
    }
}
