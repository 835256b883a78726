//! Rare events by multilevel splitting: a probability of one in a million is an answer, not a zero.
//!
//! # Source
//!
//! Kahn and Harris (1951); fixed effort as in Garvels (2000), *The Splitting Method in Rare Event
//! Simulation*: the way to the rare level is cut into stages; from the states in which runs entered a level,
//! as many runs as ever are started for the next, each with luck of its own. The product of the stages'
//! shares is an unbiased estimate of the probability.

use prophecy_core::{Probability, Seed};
use serde::Serialize;

use crate::compiled::{CompiledModel, Entrance};
use crate::engine::Engine;
use crate::replication::in_order;
use crate::scenario::Scenario;

/// What is asked: how probable is it that a service gets as many requests at once?
#[derive(Clone, Debug)]
pub struct RareQuestion<'a> {
    /// The model.
    pub model: &'a CompiledModel,
    /// The service.
    pub service: &'a str,
    /// Requests present at it, those that wait included.
    pub level: u64,
    /// The route that requests from outside ask for, at the entry.
    pub route: &'a str,
    /// How many come, on average; a Poisson process \[1/s\].
    pub rate_hz: f64,
    /// When a run ends without having got there.
    pub until: Until,
    /// Runs of each stage.
    pub effort: u32,
    /// Independent estimates, from which the interval comes; at least 2.
    pub repeats: u32,
    /// The seed of everything drawn.
    pub seed: Seed,
    /// Threads.
    pub threads: usize,
}

/// When a run ends without having got there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// The system is empty again; a run starts with its first request.
    Empty,
    /// Time is over \[ns\].
    Time(u64),
}

/// A small probability.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RareProbability {
    /// The estimate.
    pub probability: Probability,
    /// Half the width of its 95 % interval, from the spread of the repeats.
    pub half_width: f64,
    /// How many runs were started, over all stages and repeats.
    pub runs: u64,
}

/// A run that can be gone on with.
#[derive(Clone)]
struct Run<'a> {
    engine: Engine<'a>,
    arrivals: prophecy_core::Philox,
    next_at: u64,
    number: u64,
}

/// Estimates the probability; none if the model has no such service or route.
///
/// # Determinism
///
/// A function of the question; threads change nothing but the time that it takes.
///
/// # Panics
///
/// If there is no effort, or the rate is not positive.
pub fn probability(question: &RareQuestion<'_>) -> Option<RareProbability> {
    assert!(question.effort > 0 && question.rate_hz > 0.0, "a question asks for something");
    let station = question.model.station(question.service)?;
    let route = question.model.entry_route(question.route)?;
    let scenario = Scenario::default();
    let estimates = in_order(question.repeats.max(2), question.threads, |repeat| {
        let seed = Seed(question.seed.derive("splitting").0 ^ u64::from(repeat) << 40);
        Stages { question, station, route, seed, scenario: &scenario }.estimate()
    });
    let n = estimates.len() as f64;
    let mean = estimates.iter().map(|(share, _)| share).sum::<f64>() / n;
    let variance =
        estimates.iter().map(|(share, _)| (share - mean).powi(2)).sum::<f64>() / (n - 1.0);
    Some(RareProbability {
        probability: Probability::clamped(mean),
        half_width: 1.96 * (variance / n).sqrt(),
        runs: estimates.iter().map(|(_, runs)| runs).sum(),
    })
}

struct Stages<'a> {
    question: &'a RareQuestion<'a>,
    station: usize,
    route: u32,
    seed: Seed,
    scenario: &'a Scenario,
}

// === impl Stages ===

impl<'a> Stages<'a> {
    /// Returns the product of the stages' shares, and how many runs it took.
    fn estimate(&self) -> (f64, u64) {
        let effort = self.question.effort;
        let mut product = 1.0;
        let mut runs = 0;
        let mut starts: Vec<Run<'a>> = Vec::new();
        for level in 1..=self.question.level {
            let mut entered = Vec::new();
            for index in 0..effort {
                let run = match starts.get(index as usize % starts.len().max(1)) {
                    Some(start) => start.clone().with_luck(self.seed, index, level),
                    None => self.first(index),
                };
                runs += 1;
                if let Some(run) = self.advance(run, level) {
                    entered.push(run);
                }
            }
            if entered.is_empty() {
                return (0.0, runs);
            }
            // A run that starts with its first request is at the first level for certain.
            product *= entered.len() as f64 / f64::from(effort);
            starts = entered;
        }
        (product, runs)
    }

    fn first(&self, index: u32) -> Run<'a> {
        let engine = Engine::new(self.question.model, self.seed, index, 0, self.scenario);
        let mut run =
            Run { engine, arrivals: self.seed.stream(index, 0, "arrivals"), next_at: 0, number: 0 };
        if self.question.until != Until::Empty {
            run.draw_next(self.question.rate_hz);
        }
        run
    }

    /// Runs until the level is entered; none if it is not.
    fn advance(&self, mut run: Run<'a>, level: u64) -> Option<Run<'a>> {
        loop {
            if run.engine.present(self.station) >= level {
                return Some(run);
            }
            if run.engine.step(run.next_at) {
                if self.question.until == Until::Empty && !run.engine.has_work() {
                    return None;
                }
                continue;
            }
            if let Until::Time(end) = self.question.until
                && run.next_at > end
            {
                return None;
            }
            let entrance =
                Entrance { at: run.next_at, route: self.route, session: run.number as u32 };
            run.engine.enter(run.number, entrance);
            run.number += 1;
            run.draw_next(self.question.rate_hz);
        }
    }
}

// === impl Run ===

impl Run<'_> {
    fn draw_next(&mut self, rate_hz: f64) {
        let gap = self.arrivals.exponential() * 1e9 / rate_hz;
        self.next_at = self.next_at.saturating_add(gap.round() as u64);
    }

    /// Goes on with luck of its own.
    fn with_luck(self, seed: Seed, index: u32, level: u64) -> Self {
        let seed = seed.derive(&format!("level {level}"));
        Self {
            engine: self.engine.with_luck(seed, index),
            arrivals: seed.stream(index, 0, "arrivals"),
            ..self
        }
    }
}
