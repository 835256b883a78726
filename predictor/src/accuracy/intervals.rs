//! Intervals and medians: how often and how far the measured values were off.

use std::collections::BTreeMap;

use prophecy_core::{Seed, quantile};
use prophecy_datasets::TrialRecords;
use prophecy_datasets::trials::TrialClaim;

use super::bootstrap::estimate;
use super::{Coverage, ErrorBand, Point, RankBin};
use crate::score::binomial_band;

/// Points that a picture can show.
const POINTS: usize = 1_500;

/// The levels that records keep.
const LEVELS: [f64; 9] = [0.0, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 1.0];

/// An interval of a forecast.
type Interval = fn(&TrialClaim) -> [f64; 2];

/// The bands of utilization.
const LOADS: [(&str, f64, f64); 4] =
    [("all", 0.0, 1.1), ("< 60 %", 0.0, 0.6), ("60–85 %", 0.6, 0.85), ("> 85 %", 0.85, 1.1)];

/// The rows without a bound: each metric of each route once.
fn numbers(records: &TrialRecords) -> impl Iterator<Item = (&TrialClaim, f64)> {
    let rows = records.claims.iter().filter(|claim| claim.threshold.is_none());
    rows.filter_map(|claim| Some((claim, claim.measured?)))
}

fn is_latency(claim: &TrialClaim) -> bool {
    claim.metric.starts_with("latency")
}

/// Groups values by trial, so that they are resampled together.
fn by_trial<T>(values: impl Iterator<Item = (String, T)>) -> Vec<Vec<T>> {
    let mut groups: BTreeMap<String, Vec<T>> = BTreeMap::new();
    for (trial, value) in values {
        groups.entry(trial).or_default().push(value);
    }
    groups.into_values().collect()
}

/// Returns how often measured latencies and rates lay inside the stated intervals.
pub(super) fn coverage(records: &TrialRecords, seed: Seed) -> Vec<Coverage> {
    let stated: [(f64, Interval); 3] = [
        (0.5, |claim| [claim.p25, claim.p75]),
        (0.8, |claim| [claim.p10, claim.p90]),
        (0.9, |claim| [claim.p5, claim.p95]),
    ];
    let mut found = Vec::new();
    for (of, latency) in [("latency", true), ("rates", false)] {
        for (share, interval) in stated {
            let rows = numbers(records).filter(|(claim, _)| is_latency(claim) == latency);
            let groups = by_trial(rows.map(|(claim, measured)| {
                let [lo, hi] = interval(claim);
                (claim.trial.clone(), (lo..=hi).contains(&measured))
            }));
            let count = groups.iter().map(Vec::len).sum::<usize>() as u64;
            let (lo, hi) = binomial_band(count, share, 0.95);
            found.push(Coverage {
                of: of.to_owned(),
                stated: share,
                found: estimate(&groups, seed, |inside| {
                    let hits = inside.iter().filter(|inside| **inside).count();
                    (!inside.is_empty()).then(|| hits as f64 / inside.len() as f64)
                }),
                accepted: [lo, hi],
                count,
            });
        }
    }
    found
}

/// Returns where in their forecast the measured latencies lay.
pub(super) fn ranks(records: &TrialRecords) -> Vec<RankBin> {
    let mut bins: Vec<RankBin> = LEVELS
        .windows(2)
        .map(|levels| RankBin { from: levels[0], to: levels[1], count: 0 })
        .collect();
    for (claim, measured) in numbers(records).filter(|(claim, _)| is_latency(claim)) {
        let ends = [claim.p5, claim.p10, claim.p25, claim.p50, claim.p75, claim.p90, claim.p95];
        bins[ends.iter().filter(|end| measured > **end).count()].count += 1;
    }
    bins
}

/// Returns how far medians were off, by metric and load.
pub(super) fn errors(records: &TrialRecords, seed: Seed) -> Vec<ErrorBand> {
    let loads: BTreeMap<&str, f64> = records
        .deployments
        .iter()
        .filter_map(|deployment| Some((deployment.trial.as_str(), deployment.utilization_after?)))
        .collect();
    let mut bands = Vec::new();
    for metric in ["latency-mean", "latency-p95", "latency-p99"] {
        for (load, from, to) in LOADS {
            let rows = numbers(records).filter(|(claim, _)| claim.metric == metric);
            let inside = rows.filter(|(claim, measured)| {
                let load = loads.get(claim.trial.as_str());
                *measured > 0.0
                    && load.map_or(from <= 0.0 && to > 1.0, |it| (from..to).contains(it))
            });
            let groups = by_trial(inside.map(|(claim, measured)| {
                (claim.trial.clone(), ((claim.p50 - measured) / measured).abs())
            }));
            bands.push(ErrorBand {
                metric: metric.to_owned(),
                load: load.to_owned(),
                count: groups.iter().map(Vec::len).sum::<usize>() as u64,
                median: estimate(&groups, seed, |errors| {
                    let mut sorted = errors.to_vec();
                    sorted.sort_by(f64::total_cmp);
                    quantile::of_sorted(&sorted, 0.5)
                }),
            });
        }
    }
    bands
}

/// Returns predicted and measured 95th percentiles.
pub(super) fn points(records: &TrialRecords) -> Vec<Point> {
    let rows = numbers(records).filter(|(claim, _)| claim.metric == "latency-p95");
    rows.map(|(claim, measured)| Point {
        predicted: claim.p50,
        measured,
        inside: (claim.p5..=claim.p95).contains(&measured),
    })
    .take(POINTS)
    .collect()
}
