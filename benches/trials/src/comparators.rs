//! What others would have said from the same arms: a smoke test, and a canary judge.

use prophecy_core::quantile;
use prophecy_simulator::Observations;
use prophecy_simulator::observation::Visit;

use crate::kayenta::{self, Metric};

/// Requests that a route needs in both arms.
const NEEDED: usize = 50;

/// A step of the judge's series \[ns\].
const STEP_NANOS: u64 = 1_000_000_000;

/// Returns the largest ratio of the arms' 99th percentiles over the routes of the entry.
pub(crate) fn smoke_ratio(baseline: &Observations, candidate: &Observations) -> Option<f64> {
    let ratios = pairs(baseline, candidate).into_iter().filter_map(|(_, before, after)| {
        let p99 = |visits: &[Visit]| {
            let mut latencies: Vec<u64> = visits.iter().map(|visit| visit.latency_nanos).collect();
            quantile::select(&mut latencies, 0.99).map(|nanos| nanos as f64)
        };
        let failed = |visits: &[Visit]| visits.iter().all(|visit| visit.status.is_none());
        if failed(after) { Some(f64::MAX) } else { Some(p99(after)? / p99(before)?.max(1.0)) }
    });
    ratios.max_by(f64::total_cmp)
}

/// Returns the judge's score, 0 to 100, on metrics of each second: of each route of the entry, the
/// mean and the 99th percentile of latency, and the share of errors.
pub(crate) fn judge_score(baseline: &Observations, candidate: &Observations) -> Option<f64> {
    let window = baseline.window_nanos.min(candidate.window_nanos);
    let mut metrics = Vec::new();
    for (route, before, after) in pairs(baseline, candidate) {
        let mut add = |name: &str, of: fn(&[&Visit]) -> f64| {
            metrics.push(Metric {
                name: format!("{route} {name}"),
                control: series(before, window, of),
                experiment: series(after, window, of),
            });
        };
        add("mean latency", |visits| {
            visits.iter().map(|visit| visit.latency_nanos as f64).sum::<f64>() / visits.len() as f64
        });
        add("p99 latency", |visits| {
            let mut latencies: Vec<u64> = visits.iter().map(|visit| visit.latency_nanos).collect();
            quantile::select(&mut latencies, 0.99).map_or(f64::NAN, |nanos| nanos as f64)
        });
        add("errors", |visits| {
            visits.iter().filter(|visit| visit.failed).count() as f64 / visits.len() as f64
        });
    }
    (!metrics.is_empty()).then(|| kayenta::score(&metrics))
}

type Pair<'a> = (&'a str, &'a [Visit], &'a [Visit]);

fn pairs<'a>(baseline: &'a Observations, candidate: &'a Observations) -> Vec<Pair<'a>> {
    let Some(before) = baseline.services.get(&baseline.entry) else { return Vec::new() };
    let Some(after) = candidate.services.get(&candidate.entry) else { return Vec::new() };
    let pair = |(route, visits): (&'a String, &'a Vec<Visit>)| {
        let others = after.routes.get(route)?;
        let enough = visits.len() >= NEEDED && others.len() >= NEEDED;
        enough.then_some((route.as_str(), visits.as_slice(), others.as_slice()))
    };
    before.routes.iter().filter_map(pair).collect()
}

fn series(visits: &[Visit], window_nanos: u64, of: fn(&[&Visit]) -> f64) -> Vec<f64> {
    let steps = window_nanos.div_ceil(STEP_NANOS) as usize;
    let mut seconds: Vec<Vec<&Visit>> = vec![Vec::new(); steps];
    for visit in visits {
        if let Some(second) = seconds.get_mut((visit.at_nanos / STEP_NANOS) as usize) {
            second.push(visit);
        }
    }
    seconds.iter().map(|visits| if visits.is_empty() { f64::NAN } else { of(visits) }).collect()
}
