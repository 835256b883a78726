//! Rollouts as records that the scoreboard reads: what was foretold, and what clients met.

use std::fs;
use std::path::Path;

use prophecy_datasets::TrialRecords;
use prophecy_datasets::trials::{Deployment, TrialClaim};
use prophecy_predictor::outcome::betting;
use prophecy_predictor::report::{Metric, Quantiles};
use prophecy_predictor::{Claim, Report};

use crate::environment::{EnvironmentError, EnvironmentFolder};
use crate::evidence;
use crate::journal::{self, Entry};
use crate::machine::State;
use crate::outcome::{self, value};
use crate::plan::Plan;
use crate::slice::{Histogram, Slice};

/// Returns the records of every rollout that had a forecast and met traffic.
///
/// # Errors
///
/// [`EnvironmentError`] if the folder cannot be read; a rollout without a forecast or an outcome has no record.
pub fn records(folder: &EnvironmentFolder) -> Result<TrialRecords, EnvironmentError> {
    let mut records = TrialRecords::default();
    for id in folder.rollouts()? {
        if let Some((deployment, claims)) = record(&folder.rollout(&id)) {
            records.deployments.push(deployment);
            records.claims.extend(claims);
        }
    }
    Ok(records)
}

/// Returns the record of one rollout, by its folder; nothing if it had no forecast or has no outcome.
pub fn record(path: &Path) -> Option<(Deployment, Vec<TrialClaim>)> {
    let plan: Plan = serde_json::from_slice(&fs::read(path.join("plan.json")).ok()?).ok()?;
    let report = Report::from_json(&fs::read_to_string(path.join("report.json")).ok()?).ok()?;
    let outcome = outcome::read(path)?;
    let entries = journal::entries(path).ok()?;
    let began =
        entries.iter().find(|it| matches!(it.state, State::Shifting { .. } | State::Promoting))?;
    let groups = evidence::read(path);
    let candidate = groups.get(&plan.candidate_group()).cloned().unwrap_or_default();
    let beside: Vec<Slice> = groups
        .iter()
        .filter(|(id, _)| **id != plan.candidate_group())
        .flat_map(|(_, slices)| slices.clone())
        .collect();
    let seconds = |entry: &Entry| (entry.at - began.at) as f64 / 1e9;
    let requests: u64 = candidate.iter().chain(&beside).map(|slice| slice.requests).sum();
    let deployed = entries.last().map_or(0.0, seconds);
    let [risk_lo, risk_hi] = report.risk.interval.into();
    let changes: Vec<String> = plan
        .components
        .iter()
        .map(|it| format!("{}: {}", it.service, it.changes.join(", ")))
        .collect();
    let deployment = Deployment {
        trial: plan.id.clone(),
        campaign: plan.environment.clone(),
        commit: report.engine.clone(),
        topology: plan.system.clone(),
        change: "rollout".to_owned(),
        detail: changes.join("; "),
        rate_hz: requests as f64 / deployed.max(1.0),
        prediction_digest: outcome.report.unwrap_or_default(),
        predicted_at: plan.created_at,
        deployed_at: began.at,
        window_seconds: deployed,
        deployed_seconds: deployed,
        verdict: report.verdict.as_str().to_owned(),
        risk: report.risk.probability.get(),
        risk_lo,
        risk_hi,
        ..Deployment::default()
    };
    let row = |route: &str, metric: Metric, forecast: &Quantiles| {
        let measured = value(&candidate, route, metric);
        TrialClaim {
            trial: plan.id.clone(),
            claim: format!("{}/{route}/{}", plan.entry, metric.slug()),
            route: route.to_owned(),
            metric: metric.slug().to_owned(),
            p5: forecast.p5,
            p10: forecast.p10,
            p25: forecast.p25,
            p50: forecast.p50,
            p75: forecast.p75,
            p90: forecast.p90,
            p95: forecast.p95,
            before: value(&beside, route, metric).map(|(value, _)| value),
            measured: measured.map(|(value, _)| value),
            exchanges: measured.map_or(0, |(_, requests)| requests),
            ..TrialClaim::default()
        }
    };
    let of_entry = report.claims.iter().filter(|claim| claim.service == plan.entry);
    let claims = of_entry.map(|claim| {
        let found = settled(claim, &candidate);
        TrialClaim {
            claim: claim.id.clone(),
            threshold: Some(claim.threshold),
            probability: Some(claim.probability.get()),
            caused: Some(claim.caused.get()),
            measured: found.map(|found| found.measured),
            exchanges: found.map_or(0, |found| found.requests),
            evidence_exceeded: found.map(|found| found.exceeded),
            evidence_kept: found.map(|found| found.kept),
            ..row(&claim.route, claim.metric, &claim.candidate)
        }
    });
    let routes = report.routes.iter().filter(|route| route.service == plan.entry);
    let routes = routes.map(|route| row(&route.route, route.metric, &route.candidate));
    let all = claims.chain(routes).collect();
    Some((deployment, all))
}

/// A claim beside what clients met.
#[derive(Clone, Copy, Debug)]
struct Found {
    measured: f64,
    requests: u64,
    exceeded: f64,
    kept: f64,
}

/// Settles a claim: a quantile above a bound is more than the rest of the requests above it. However few they are,
/// the evidence says how much they say.
fn settled(claim: &Claim, slices: &[Slice]) -> Option<Found> {
    let mut latency = Histogram::default();
    let (mut requests, mut failures) = (0, 0);
    for slice in slices.iter().filter(|slice| slice.route == claim.route) {
        latency.merge(&slice.latency);
        requests += slice.requests;
        failures += slice.failures;
    }
    let (measured, bad, of, bound) = match claim.metric {
        Metric::ErrorRate if requests > 0 => {
            (failures as f64 / requests as f64, failures, requests, claim.threshold)
        }
        _ => {
            let level = claim.metric.level()?;
            let measured = latency.quantile(level)? as f64 / 1e6;
            let late = latency.count_above((claim.threshold * 1e6) as u64);
            (measured, late, latency.count(), 1.0 - level)
        }
    };
    let exceeded = betting::above(bad, of, bound);
    let kept = betting::below(bad, of, bound);
    Some(Found { measured, requests, exceeded, kept })
}
