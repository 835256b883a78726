//! What a deployment really did, and what it says about everything that was foretold.

use std::collections::BTreeMap;

use prophecy_datasets::trials::TrialClaim;
use prophecy_predictor::outcome::{betting, measure};
use prophecy_predictor::report::{Metric, Quantiles};
use prophecy_predictor::{Claim, Report};
use prophecy_simulator::Observations;
use prophecy_simulator::observation::Visit;

/// Returns a row for each claim of a report, and for each number that it foretells beside them.
pub(crate) fn settle(
    trial: &str,
    report: &Report,
    before: &Observations,
    after: &Observations,
) -> Vec<TrialClaim> {
    let row = |service: &str, route: &str, metric: Metric, forecast: &Quantiles| {
        let measured = measure(metric, service, route, after);
        TrialClaim {
            trial: trial.to_owned(),
            claim: format!("{service}/{route}/{}", metric.slug()),
            route: route.to_owned(),
            metric: metric.slug().to_owned(),
            p5: forecast.p5,
            p10: forecast.p10,
            p25: forecast.p25,
            p50: forecast.p50,
            p75: forecast.p75,
            p90: forecast.p90,
            p95: forecast.p95,
            before: measure(metric, service, route, before).map(|(value, _)| value),
            measured: measured.map(|(value, _)| value),
            exchanges: measured.map_or(0, |(_, exchanges)| exchanges),
            ..TrialClaim::default()
        }
    };
    let claims = report.claims.iter().map(|claim| {
        let evidence = evidence(claim, after);
        TrialClaim {
            claim: claim.id.clone(),
            threshold: Some(claim.threshold),
            probability: Some(claim.probability.get()),
            caused: Some(claim.caused.get()),
            evidence_exceeded: evidence.map(|(exceeded, _)| exceeded),
            evidence_kept: evidence.map(|(_, kept)| kept),
            ..row(&claim.service, &claim.route, claim.metric, &claim.candidate)
        }
    });
    let routes = report.routes.iter().map(|forecast| {
        row(&forecast.service, &forecast.route, forecast.metric, &forecast.candidate)
    });
    claims.chain(routes).collect()
}

/// Bets on a claim being exceeded and on its being kept. That a quantile exceeds a bound is that more
/// than the rest of the requests exceed it.
fn evidence(claim: &Claim, after: &Observations) -> Option<(f64, f64)> {
    let visits: &Vec<Visit> = after.services.get(&claim.service)?.routes.get(&claim.route)?;
    let count =
        |is: &dyn Fn(&Visit) -> bool| visits.iter().filter(|visit| is(visit)).count() as u64;
    let all = visits.len() as u64;
    let (bad, of, bound) = match claim.metric {
        Metric::ErrorRate => (count(&|visit| visit.failed), all, claim.threshold),
        Metric::ClientErrorRate => {
            let rejected = |visit: &Visit| visit.status.is_some_and(|it| (400..500).contains(&it));
            (count(&rejected), all, claim.threshold)
        }
        _ => {
            let level = claim.metric.level()?;
            let bound_nanos = claim.threshold * 1e6;
            let late =
                |visit: &Visit| visit.status.is_some() && visit.latency_nanos as f64 > bound_nanos;
            (count(&late), count(&|visit| visit.status.is_some()), 1.0 - level)
        }
    };
    Some((betting::above(bad, of, bound), betting::below(bad, of, bound)))
}

/// Returns the busiest service's share of busy workers.
pub(crate) fn utilization(
    observations: &Observations,
    workers: &BTreeMap<String, u64>,
) -> Option<f64> {
    let window = observations.window_nanos.max(1) as f64;
    let busy = workers.iter().filter_map(|(name, workers)| {
        let visits = observations.services.get(name)?.routes.values().flatten();
        let held: u64 =
            visits.map(|visit| visit.latency_nanos.saturating_sub(visit.waited_nanos)).sum();
        Some((held as f64 / window / (*workers).max(1) as f64).min(1.0))
    });
    busy.max_by(f64::total_cmp)
}
