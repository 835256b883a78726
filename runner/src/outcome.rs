//! What became of a forecast: each number that was foretold beside what clients met.

use std::fs;
use std::path::Path;

use prophecy_datasets::write_whole;
use prophecy_predictor::report::Metric;
use serde::{Deserialize, Serialize};

use crate::environment::EnvironmentFolder;
use crate::evidence;
use crate::journal::Journal;
use crate::machine::State;
use crate::plan::Plan;
use crate::slice::{Histogram, Slice};

/// Exchanges below which a metric of a route is not measured.
const FEWEST: u64 = 30;

/// What became of a rollout and of its forecast: `outcome.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Always `prophecy.outcome/1`.
    pub schema: String,
    /// The rollout.
    pub rollout: String,
    /// BLAKE3 of the report that foretold it, if one did.
    pub report: Option<String>,
    /// How it ended: promoted, or rolled back.
    pub state: State,
    /// Why, in a sentence.
    pub reason: String,
    /// Whether the candidate was stopped or broke a promise.
    pub harmful: bool,
    /// The largest share of the traffic that the candidate had, in thousandths of a percent.
    pub share: u32,
    /// When it was settled, in nanoseconds since 1970 (UTC).
    pub settled_at: i64,
    /// Each metric of each route of the entry that was promised or foretold.
    pub measures: Vec<Measure>,
}

/// One metric of one route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// The route.
    pub route: String,
    /// What is measured.
    pub metric: Metric,
    /// What clients of the candidate met, in the metric's unit.
    pub measured: f64,
    /// What clients of what ran before met meanwhile, if it served any.
    pub beside: Option<f64>,
    /// Requests of the candidate it was measured on.
    pub requests: u64,
    /// The 90 % interval that was foretold.
    pub foretold: Option<[f64; 2]>,
    /// The bound that was promised.
    pub bound: Option<f64>,
    /// Whether the bound was exceeded.
    pub broken: bool,
}

/// Measures what became of a rollout from its evidence.
pub fn measure(folder: &Path, plan: &Plan, journal: &Journal) -> Outcome {
    let groups = evidence::read(folder);
    let candidate = groups.get(&plan.candidate_group()).cloned().unwrap_or_default();
    let beside: Vec<Slice> = groups
        .iter()
        .filter(|(id, _)| **id != plan.candidate_group())
        .flat_map(|(_, slices)| slices.clone())
        .collect();
    let mut wanted: Vec<(String, Metric)> =
        plan.promises.iter().map(|promise| (promise.route.clone(), promise.metric)).collect();
    let foretold = plan.forecast.iter().flat_map(|it| &it.expectations);
    for expectation in foretold.clone().filter(|it| it.service == plan.entry) {
        let pair = (expectation.route.clone(), expectation.metric);
        if !wanted.contains(&pair) {
            wanted.push(pair);
        }
    }
    let measures: Vec<Measure> = wanted
        .into_iter()
        .filter_map(|(route, metric)| {
            let (measured, requests) = value(&candidate, &route, metric)?;
            let promise = plan.promises.iter().find(|it| it.route == route && it.metric == metric);
            let bound = promise.map(|promise| promise.bound);
            let expected = foretold
                .clone()
                .find(|it| it.service == plan.entry && it.route == route && it.metric == metric);
            Some(Measure {
                measured,
                beside: value(&beside, &route, metric).map(|(value, _)| value),
                requests,
                foretold: expected.map(|it| it.interval),
                bound,
                broken: bound.is_some_and(|bound| measured > bound),
                route,
                metric,
            })
        })
        .collect();
    let last = journal.last();
    let state = journal.state();
    let stopped = journal.entries().iter().find(|entry| entry.state == State::Aborting);
    let judged = stopped.is_some_and(|entry| {
        entry.evidence.as_ref().is_some_and(|it| it.get("judgement").is_some())
    });
    Outcome {
        schema: "prophecy.outcome/1".to_owned(),
        rollout: plan.id.clone(),
        report: plan.forecast.as_ref().map(|it| it.digest.clone()),
        state: if state == State::Soaking { State::Succeeded } else { state },
        reason: stopped.or(last).map(|entry| entry.reason.clone()).unwrap_or_default(),
        harmful: judged || measures.iter().any(|it| it.broken),
        share: share(plan, journal),
        settled_at: last.map_or(0, |entry| entry.at),
        measures,
    }
}

/// Measures and writes `outcome.json`, where traffic has met the candidate; a full disk costs only the file.
pub(crate) fn write(folder: &EnvironmentFolder, plan: &Plan, journal: &Journal) {
    if !journal.moved() {
        return;
    }
    let path = folder.rollout(&plan.id);
    let outcome = measure(&path, plan, journal);
    let text = serde_json::to_string_pretty(&outcome).expect("plain data");
    drop(write_whole(&path.join("outcome.json"), text.as_bytes()));
}

/// Reads `outcome.json`, if it is there.
pub fn read(folder: &Path) -> Option<Outcome> {
    serde_json::from_slice(&fs::read(folder.join("outcome.json")).ok()?).ok()
}

fn share(plan: &Plan, journal: &Journal) -> u32 {
    let of = |state| match state {
        State::Promoting if plan.strategy.promotes() => crate::strategy::WHOLE,
        State::Shifting { stage } => {
            plan.stages.get(stage as usize).map_or(0, |it| it.weight.parts())
        }
        _ => 0,
    };
    journal.entries().iter().map(|entry| of(entry.state)).max().unwrap_or(0)
}

/// Returns a metric of a route, and the requests that it was measured on.
pub(crate) fn value(slices: &[Slice], route: &str, metric: Metric) -> Option<(f64, u64)> {
    let mut latency = Histogram::default();
    let (mut requests, mut failures) = (0, 0);
    for slice in slices.iter().filter(|slice| slice.route == route) {
        latency.merge(&slice.latency);
        requests += slice.requests;
        failures += slice.failures;
    }
    if requests < FEWEST {
        return None;
    }
    let value = match metric {
        Metric::ErrorRate => failures as f64 / requests as f64,
        Metric::LatencyMean => latency.mean()? / 1e6,
        Metric::LatencyP50 | Metric::LatencyP95 | Metric::LatencyP99 => {
            latency.quantile(metric.level()?)? as f64 / 1e6
        }
        Metric::ClientErrorRate | Metric::Memory => return None,
    };
    Some((value, requests))
}
