//! Runs draws times replications, and counts how often each claim comes true.

use std::sync::atomic::{AtomicU64, Ordering};

use prophecy_core::proportion::wilson_95;
use prophecy_core::{Interval, Probability, Seed, quantile};
use prophecy_simulator::{
    CompiledModel, CompiledTraffic, Outcome, RouteOutcome, Traffic, replication, simulate,
};

use super::claims::{Limit, Question, Registered};
use super::draw::{Change, Sampler};
use crate::report::{Metric, Risk};

/// A change breaks a promise that is broken without it only where it makes things this much worse.
const WORSE_FACTOR: f64 = 1.2;
const WORSE_POINTS: f64 = 0.005;

/// What is run.
pub(super) struct Plan<'a> {
    pub(super) sampler: &'a Sampler<'a>,
    pub(super) traffic: &'a Traffic,
    pub(super) claims: &'a Registered,
    pub(super) change: &'a Change,
    pub(super) draws: u32,
    pub(super) replications: u32,
    pub(super) threads: usize,
    /// Told how many draws are done.
    pub(super) progress: &'a (dyn Fn(u64) + Sync),
}

/// What came of it: by draw, by replication, by claim, and after the claims by what is tracked.
#[derive(Debug)]
pub(super) struct Tally {
    runs: Vec<Vec<Vec<Value>>>,
}

/// One claim in one run.
#[derive(Clone, Copy, Debug, Default)]
struct Value {
    baseline: f64,
    candidate: f64,
    threshold: f64,
    /// The change is why: without it the claim would hold, or be broken clearly less.
    caused: bool,
}

/// A share of runs with its 90 % interval.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub(super) probability: Probability,
    pub(super) interval: Interval,
}

/// Runs a plan.
pub(super) fn run(plan: &Plan<'_>) -> Tally {
    let done = AtomicU64::new(0);
    let runs = replication::in_order(plan.draws, plan.threads, |index| {
        let values = run_draw(plan, index);
        (plan.progress)(done.fetch_add(1, Ordering::SeqCst) + 1);
        values
    });
    Tally { runs }
}

fn run_draw(plan: &Plan<'_>, index: u32) -> Vec<Vec<Value>> {
    let draw = plan.sampler.draw(index, plan.change);
    let (baseline, candidate) =
        (CompiledModel::new(&draw.baseline), CompiledModel::new(&draw.candidate));
    let seed = plan.sampler.seed();
    (0..plan.replications)
        .map(|nth| {
            let run = index * plan.replications + nth;
            let traffic = plan.traffic.resample(&mut seed.stream(run, 0, "traffic"));
            let runs = Runs::new(plan.change, &baseline, &candidate, traffic, seed, run);
            let value = |question: &Question| value(plan, question, &runs, index);
            plan.claims.claims.iter().chain(&plan.claims.tracked).map(value).collect()
        })
        .collect()
}

/// The outcomes of one replication: each a part of what clients meet.
struct Runs {
    baseline: Vec<Outcome>,
    candidate: Vec<Outcome>,
}

// === impl Runs ===

impl Runs {
    fn new(
        change: &Change,
        baseline: &CompiledModel,
        candidate: &CompiledModel,
        mut traffic: Traffic,
        seed: Seed,
        run: u32,
    ) -> Self {
        if let Some(share) = change.traffic_share {
            traffic = traffic.thin(share, &mut seed.stream(run, 0, "thinning"));
        }
        let simulated = |model: &CompiledModel, traffic: &Traffic| {
            let known = model.known(traffic);
            let compiled =
                CompiledTraffic::new(&known, model).expect("unknown routes were left out");
            simulate(model, &compiled, seed, run)
        };
        let before = simulated(baseline, &traffic);
        let after = match change.exposure {
            None => vec![simulated(candidate, &traffic)],
            Some(share) => {
                let (exposed, rest) = traffic.split(share, &mut seed.stream(run, 0, "exposure"));
                vec![simulated(candidate, &exposed), simulated(baseline, &rest)]
            }
        };
        Self { baseline: vec![before], candidate: after }
    }
}

fn value(plan: &Plan<'_>, question: &Question, runs: &Runs, index: u32) -> Value {
    let both = match question.metric {
        Metric::Memory => plan.sampler.memory(&question.service, index, plan.change),
        Metric::ClientErrorRate => {
            Some(plan.sampler.client_errors(&question.route, index, plan.change))
        }
        _ => measure(question, &runs.baseline).zip(measure(question, &runs.candidate)),
    };
    let Some((baseline, candidate)) = both else { return Value::default() };
    let threshold = match question.limit {
        Limit::Fixed(limit) => limit,
        Limit::Times(factor) => factor * baseline,
        Limit::Plus(points) => baseline + points,
    };
    let exceeded = candidate > threshold;
    let worse = match question.metric {
        Metric::ErrorRate | Metric::ClientErrorRate => candidate > baseline + WORSE_POINTS,
        _ => candidate > baseline * WORSE_FACTOR,
    };
    let caused = exceeded && (baseline <= threshold || worse);
    Value { baseline, candidate, threshold, caused }
}

/// Measures a metric on a route over all parts of what clients meet.
fn measure(question: &Question, outcomes: &[Outcome]) -> Option<f64> {
    let routes: Vec<&RouteOutcome> = outcomes
        .iter()
        .filter_map(|outcome| outcome.route(&question.service, &question.route))
        .collect();
    if let Some(level) = question.metric.level() {
        let mut latencies: Vec<u64> =
            routes.iter().flat_map(|route| &route.latencies_nanos).copied().collect();
        return quantile::select(&mut latencies, level).map(|nanos| nanos as f64 / 1e6);
    }
    if question.metric == Metric::LatencyMean {
        let latencies = routes.iter().flat_map(|route| &route.latencies_nanos);
        let (sum, count) =
            latencies.fold((0.0, 0_u64), |(sum, count), nanos| (sum + *nanos as f64, count + 1));
        return (count > 0).then(|| sum / count as f64 / 1e6);
    }
    let (mut bad, mut all) = (0, 0);
    for route in routes {
        let open = route.refused + route.in_system;
        bad += route.failed + open;
        all += route.latencies_nanos.len() as u64 + open;
    }
    (all > 0).then(|| bad as f64 / all as f64)
}

// === impl Tally ===

impl Tally {
    /// Returns the share of runs in which a claim came true, as an outcome will settle it: by the
    /// registered threshold, since nobody will know what the baseline would have done that day.
    pub(super) fn claim(&self, index: usize) -> Share {
        let threshold = self.threshold(index);
        self.share(|values| values[index].candidate > threshold)
    }

    /// Returns the share of runs in which a claim came true because of the change.
    pub(super) fn caused(&self, index: usize) -> Share {
        self.share(|values| values[index].caused)
    }

    /// Returns the share of runs in which any claim came true because of the change.
    pub(super) fn any(&self) -> Share {
        self.share(|values| values.iter().any(|value| value.caused))
    }

    /// Returns the median threshold of a claim.
    pub(super) fn threshold(&self, index: usize) -> f64 {
        crate::report::Quantiles::of(self.values(|value| value.threshold, index)).p50
    }

    pub(super) fn baseline_values(&self, index: usize) -> Vec<f64> {
        self.values(|value| value.baseline, index)
    }

    pub(super) fn candidate_values(&self, index: usize) -> Vec<f64> {
        self.values(|value| value.candidate, index)
    }

    fn values(&self, of: impl Fn(&Value) -> f64, index: usize) -> Vec<f64> {
        self.runs.iter().flatten().map(|values| of(&values[index])).collect()
    }

    fn share(&self, came_true: impl Fn(&[Value]) -> bool) -> Share {
        let mut by_draw: Vec<f64> = Vec::with_capacity(self.runs.len());
        let (mut count, mut all) = (0, 0);
        for draw in &self.runs {
            let true_runs = draw.iter().filter(|values| came_true(values)).count() as u64;
            by_draw.push(true_runs as f64 / draw.len().max(1) as f64);
            count += true_runs;
            all += draw.len() as u64;
        }
        by_draw.sort_by(f64::total_cmp);
        let at = |level| quantile::of_sorted(&by_draw, level).unwrap_or(0.0);
        let runs = wilson_95(count, all.max(1));
        let interval = Interval::try_new(at(0.05).min(runs.lo()), at(0.95).max(runs.hi()));
        Share {
            probability: Probability::clamped(count as f64 / all.max(1) as f64),
            interval: interval.expect("shares are finite and in order"),
        }
    }
}

// === impl Share ===

impl Share {
    /// Returns the share as the risk of a change.
    pub(super) fn risk(self, max_risk: Probability) -> Risk {
        Risk {
            score: (100.0 * self.probability.get()).round() as u32,
            probability: self.probability,
            interval: self.interval,
            max_score: 100.0 * max_risk.get(),
        }
    }
}
