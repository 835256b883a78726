//! Metastability: does a system recover once what pushed it is gone, and how hard must it be pushed?
//!
//! # Source
//!
//! Bronson et al. (2021), *Metastable Failures in Distributed Systems*; Huang et al. (2022), *Metastable
//! Failures in the Wild*: a trigger ends, and the load that it made keeps the system overloaded.

use prophecy_core::{Interval, Probability, Seed, proportion, quantile};
use serde::{Deserialize, Serialize};

use crate::compiled::{CompiledModel, CompiledTraffic, Entrance};
use crate::engine::simulate_scenario;
use crate::outcome::Outcome;
use crate::replication::in_order;
use crate::scenario::{Happening, Incident, Scenario};

/// The bins in which recovery is looked for \[ns\].
const BIN_NANOS: u64 = 500_000_000;

/// Of the requests that come, the share that must be answered well for the system to have recovered.
const GOOD_SHARE: f64 = 0.95;

/// Something that pushes a system for a while and is then gone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Trigger {
    /// `size` times the load.
    Load {
        /// For how long \[ns\].
        nanos: u64,
    },
    /// A service takes `size` times as long.
    Slow {
        /// The service.
        service: String,
        /// For how long \[ns\].
        nanos: u64,
    },
    /// A cache loses its entries; the size does not matter.
    Flush {
        /// The service.
        service: String,
        /// The cache.
        cache: String,
    },
    /// The first `size` instances of a service end, and start again.
    Loss {
        /// The service.
        service: String,
        /// Until they start again \[ns\].
        nanos: u64,
    },
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// The model.
    pub model: &'a CompiledModel,
    /// The traffic, without the trigger.
    pub traffic: &'a CompiledTraffic,
    /// What pushes.
    pub trigger: &'a Trigger,
    /// When it begins \[ns\].
    pub at_nanos: u64,
    /// Within how long after its end the system must have recovered \[ns\].
    pub within_nanos: u64,
    /// The seed of everything drawn.
    pub seed: Seed,
    /// Replications.
    pub replications: u32,
    /// Threads.
    pub threads: usize,
}

/// Whether a system recovers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recovery {
    /// The size of the trigger.
    pub size: f64,
    /// The probability that it recovers in time.
    pub probability: Probability,
    /// Its 95 % interval (Wilson).
    pub interval: Interval,
    /// The median time that it took, of the runs that recovered \[ns\].
    pub median_nanos: Option<u64>,
}

/// Computes how probable it is that the system recovers from a trigger of a size.
///
/// The system has recovered at the start of the first bin of half a second after the trigger's end from
/// which on, over two seconds, at least 95 % as many requests are answered well as come.
///
/// # Panics
///
/// If the question asks for no replication.
///
/// # Determinism
///
/// A function of the question and the size; threads change nothing but the time that it takes.
pub fn recovery(question: &Question<'_>, size: f64) -> Recovery {
    let (traffic, mut scenario, ends_at) = pushed(question, size);
    scenario.bin_nanos = BIN_NANOS;
    let times = in_order(question.replications, question.threads, |replication| {
        let outcome =
            simulate_scenario(question.model, &traffic, question.seed, replication, &scenario);
        recovered_after(&outcome, ends_at, question.within_nanos)
    });
    let mut recovered: Vec<u64> = times.iter().flatten().copied().collect();
    let (good, all) = (recovered.len() as u64, u64::from(question.replications.max(1)));
    Recovery {
        size,
        probability: Probability::clamped(good as f64 / all as f64),
        interval: proportion::wilson_95(good, all),
        median_nanos: quantile::select(&mut recovered, 0.5),
    }
}

/// Finds the size of the trigger from which on the system recovers in less than half of the runs, between
/// `least` and `most`, to within `precision`. None if it recovers even from the largest, or not even from
/// the least.
///
/// # Determinism
///
/// As that of [`recovery`]: all sizes are tried with the same luck.
pub fn critical_size(
    question: &Question<'_>,
    least: f64,
    most: f64,
    precision: f64,
) -> Option<f64> {
    let recovers = |size: f64| recovery(question, size).probability.get() >= 0.5;
    if !recovers(least) || recovers(most) {
        return None;
    }
    let (mut low, mut high) = (least, most);
    while high - low > precision {
        let middle = 0.5 * (low + high);
        if recovers(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(0.5 * (low + high))
}

/// Returns the traffic and the incidents of a trigger, and when it is over.
fn pushed(question: &Question<'_>, size: f64) -> (CompiledTraffic, Scenario, u64) {
    let at = question.at_nanos;
    let incident = |at_nanos, happening| Incident { at_nanos, happening };
    match question.trigger {
        Trigger::Load { nanos } => {
            let traffic = multiplied(question, *nanos, size);
            (traffic, Scenario::default(), at.saturating_add(*nanos))
        }
        Trigger::Slow { service, nanos } => {
            let ends_at = at.saturating_add(*nanos);
            let slow = |factor| Happening::Slow { service: service.clone(), factor, failure: 0.0 };
            let incidents = vec![incident(at, slow(size)), incident(ends_at, slow(1.0))];
            (question.traffic.clone(), Scenario::of(incidents), ends_at)
        }
        Trigger::Flush { service, cache } => {
            let happening = Happening::Flush { service: service.clone(), cache: cache.clone() };
            (question.traffic.clone(), Scenario::of(vec![incident(at, happening)]), at)
        }
        Trigger::Loss { service, nanos } => {
            let ends_at = at.saturating_add(*nanos);
            let mut incidents = Vec::new();
            for instance in 0..size.round() as u32 {
                let service = service.clone();
                incidents.push(incident(at, Happening::Crash { service, instance }));
            }
            for instance in 0..size.round() as u32 {
                let service = service.clone();
                let start = Happening::Start { service, instance, build: 0, warm_up: None };
                incidents.push(incident(ends_at, start));
            }
            (question.traffic.clone(), Scenario::of(incidents), ends_at)
        }
    }
}

/// Adds arrivals while the trigger lasts: copies of those that are there, a little later.
fn multiplied(question: &Question<'_>, nanos: u64, size: f64) -> CompiledTraffic {
    let (from, until) = (question.at_nanos, question.at_nanos.saturating_add(nanos));
    let mut stream = question.seed.stream(0, 0, "trigger");
    let mut arrivals = question.traffic.arrivals.clone();
    let within = |entrance: &&Entrance| (from..until).contains(&entrance.at);
    let mut more = Vec::new();
    for entrance in question.traffic.arrivals.iter().filter(within) {
        let extra = (size - 1.0).max(0.0);
        let copies = extra.floor() as u64 + u64::from(stream.uniform() < extra.fract());
        for _ in 0..copies {
            let at = from + ((until - from) as f64 * stream.uniform()) as u64;
            more.push(Entrance { at, ..*entrance });
        }
    }
    arrivals.extend(more);
    arrivals.sort_by_key(|entrance| entrance.at);
    CompiledTraffic { window_nanos: question.traffic.window_nanos, arrivals }
}

/// Returns how long after the trigger's end the system was well again.
fn recovered_after(outcome: &Outcome, ends_at: u64, within_nanos: u64) -> Option<u64> {
    const RUN: usize = 4;
    let first = ends_at.div_ceil(BIN_NANOS) as usize;
    // Bins that lie wholly in the window: after it nothing comes that could be answered.
    let whole = (outcome.window_nanos / BIN_NANOS) as usize;
    let last = (ends_at.saturating_add(within_nanos) / BIN_NANOS) as usize;
    let bins = outcome.bins.get(..whole.min(outcome.bins.len()))?;
    let is_well = |start: &usize| {
        let Some(run) = bins.get(*start..*start + RUN) else { return false };
        let arrived: u64 = run.iter().map(|bin| bin.arrived).sum();
        let good: u64 = run.iter().map(|bin| bin.good).sum();
        let bad: u64 = run.iter().map(|bin| bin.bad).sum();
        good as f64 >= GOOD_SHARE * arrived as f64
            && bad as f64 <= (1.0 - GOOD_SHARE) * arrived.max(1) as f64
    };
    let start = (first..=last).find(is_well)?;
    Some((start as u64 * BIN_NANOS).saturating_sub(ends_at))
}
