//! The verdict: `go` only on positive evidence, `no_go` only on positive evidence.

use super::claims::Registered;
use crate::report::{Claim, EvidenceSummary, Metric, Risk, Verdict};

/// Two arms of one build may differ this much, relatively; more hides any change worth seeing.
pub(super) const NOISE_LIMIT: f64 = 0.25;

/// The share of replayed requests that may be lost.
const LOST_LIMIT: f64 = 0.01;

/// How late requests may leave, at the 99th percentile \[ms\].
const LAG_LIMIT_MS: f64 = 20.0;

/// A single claim this probable, and at the low end of its interval still this probable, is enough.
const NEAR_CERTAIN: (f64, f64) = (0.9, 0.5);

/// Decides, and says why.
pub(super) fn decide(
    risk: &Risk,
    claims: &[Claim],
    evidence: &EvidenceSummary,
    registered: &Registered,
) -> (Verdict, Vec<String>) {
    // Both baseline arms got the same requests and lived.
    if !evidence.ended.is_empty() {
        return (Verdict::NoGo, evidence.ended.clone());
    }
    let certain = |claim: &&Claim| {
        claim.caused.get() >= NEAR_CERTAIN.0 && claim.interval.lo() >= NEAR_CERTAIN.1
    };
    let mut reasons = missing(evidence);
    // Failures were counted in the arms; no model of queues can take them back.
    let counted = |claim: &&Claim| {
        matches!(claim.metric, Metric::ErrorRate | Metric::ClientErrorRate) && certain(claim)
    };
    if reasons.is_empty()
        && !evidence.fidelity.passed
        && let Some(claim) = claims.iter().find(counted)
    {
        return (Verdict::NoGo, vec![sentence(claim), unfaithful(evidence)]);
    }
    if !evidence.fidelity.passed {
        reasons.push(unfaithful(evidence));
    }
    if claims.is_empty() {
        reasons.push("no claim could be made: too few exchanges on every route".to_owned());
    }
    let unjudged = registered.promises_without_evidence.iter();
    let mut unjudged: Vec<String> =
        unjudged.map(|promise| format!("a promise cannot be judged: {promise}")).collect();
    // That one promise cannot be judged does not save another that will be broken.
    let broken: Vec<&Claim> = claims.iter().filter(certain).take(3).collect();
    if reasons.is_empty() && !unjudged.is_empty() && !broken.is_empty() {
        reasons.extend(broken.into_iter().map(sentence));
        reasons.append(&mut unjudged);
        return (Verdict::NoGo, reasons);
    }
    reasons.splice(0..0, unjudged);
    if !reasons.is_empty() {
        return (Verdict::NotEnoughEvidence, reasons);
    }
    let limit = risk.max_score / 100.0;
    let bad = claims.iter().any(|claim| certain(&claim)) || risk.interval.lo() > limit;
    let likely = || claims.iter().filter(|claim| claim.caused.get() > limit.min(0.5));
    if risk.probability.get() > limit && bad {
        reasons.extend(likely().take(3).map(sentence));
        reasons.extend(claims.first().filter(|_| likely().next().is_none()).map(sentence));
        return (Verdict::NoGo, reasons);
    }
    if risk.probability.get() <= limit {
        let promises = claims.len();
        reasons.push(format!(
            "{promises} claims were simulated {} and the probability that the change breaks any is {:.0} %, at most {:.0} %",
            "under the captured traffic,", 100.0 * risk.probability.get(), risk.max_score
        ));
        return (Verdict::Go, reasons);
    }
    reasons.push(format!(
        "the risk is {:.0} %, but its 90 % interval {:.0}–{:.0} % does not exclude the limit of {:.0} %",
        100.0 * risk.probability.get(),
        100.0 * risk.interval.lo(),
        100.0 * risk.interval.hi(),
        risk.max_score
    ));
    reasons.extend(claims.first().map(sentence));
    (Verdict::NotEnoughEvidence, reasons)
}

/// Says what is missing for any answer, whatever the model is worth.
fn missing(evidence: &EvidenceSummary) -> Vec<String> {
    let mut missing = Vec::new();
    let offered = 3.0 * evidence.offered.max(1) as f64;
    if evidence.lost as f64 > LOST_LIMIT * offered {
        missing.push(format!("{} of {offered:.0} replayed requests were lost", evidence.lost));
    }
    if evidence.send_lag_ms_p99 > LAG_LIMIT_MS {
        missing.push(format!(
            "the replay was late: send lag p99 {:.1} ms, at most {LAG_LIMIT_MS:.0} ms",
            evidence.send_lag_ms_p99
        ));
    }
    if !evidence.aa.passed {
        missing.push(format!(
            "two arms of the same build differ by {:.0} %: this machine is too noisy to see a change",
            100.0 * evidence.aa.noise
        ));
    }
    missing
}

fn unfaithful(evidence: &EvidenceSummary) -> String {
    format!(
        "the model does not reproduce the captured present: median error {:.0} %",
        100.0 * evidence.fidelity.error
    )
}

fn sentence(claim: &Claim) -> String {
    format!(
        "{}: {} will exceed {} with probability {:.0} % ({:.0}–{:.0})",
        claim.subject(),
        claim.metric.words(),
        claim.value(claim.threshold),
        100.0 * claim.probability.get(),
        100.0 * claim.interval.lo(),
        100.0 * claim.interval.hi()
    )
}
