//! Whether intervals cover what they promise to cover.

use std::time::Duration;

use prophecy_core::Seed;
use prophecy_core::system::Span;
use prophecy_predictor::report::Metric;

use crate::synthetic::{Build, ITEMS, evidence, report};

const SETS: u64 = 40;

/// Of 40 data sets, the 90 % interval of the candidate's 95th percentile covers that of another day
/// under the truth in 30 to 40: if it covers 90 %, fewer than 30 have probability 0.0015 (binomial,
/// 36 ± 1.9). It may cover more than it says, since noise between arms is never taken to be zero.
#[test]
fn the_interval_covers_another_day_under_the_truth() {
    let build = Build { items_factor: 1.5, ..Build::default() };
    let mut covered = 0;
    let mut widths = 0.0;
    for seed in 0..SETS {
        let mut evidence = evidence(seed, &build);
        for slo in &mut evidence.candidate_system.slo {
            slo.latency_p95 = Some(Span(Duration::from_secs(10)));
        }
        let report = report(&evidence, 2);
        let claim = report
            .claims
            .iter()
            .find(|claim| claim.route == ITEMS && claim.metric == Metric::LatencyP95);
        let forecast = claim.expect("it is promised").candidate;
        let truth = build.fresh_p95_ms(Seed(seed));
        covered += u64::from((forecast.p5..=forecast.p95).contains(&truth));
        widths += (forecast.p95 - forecast.p5) / truth / SETS as f64;
    }
    assert!((30..=SETS).contains(&covered), "{covered} of {SETS}");
    // An interval as wide as the world would cover anything. The luck of one day alone makes it 5 %
    // wide (400 visits: a standard error of 1.6 %); what is not known may make it four times as wide.
    assert!(widths < 0.2, "the mean relative width is {widths}");
}
