//! The forecast: measure the change, simulate production, count how often promises break.
//!
//! 1. **Production with the change** is `P + (C − B)`: what production was seen to do, plus how the
//!    candidate arm differs from the baseline arms beside it. Differences are taken quantile by
//!    quantile of own time, failure by failure, call by call. What contention among the arms adds to
//!    all of them cancels.
//! 2. **Outer loop, what is not known:** each draw resamples the arms and production by blocks of time
//!    (the arms by the same blocks, since they got the same requests at the same time), draws failure
//!    rates from their posterior, and moves the candidate by as much as two arms of one build differ.
//! 3. **Inner loop, what is random:** replications of both models under the same random numbers and the
//!    same traffic, which is the captured day in other luck.
//! 4. A claim's probability is the share of runs that break it; the risk is the share of runs in which
//!    the change is why: without it the claim would hold, or be broken clearly less. An interval
//!    covers 90 % of the draws, and never claims more than the number of runs can.
//!
//! # Source
//!
//! Nested Monte Carlo with common random numbers: Law, *Simulation Modeling and Analysis*, chapters 9
//! and 11; block bootstrap: Künsch (1989).

mod claims;
mod combine;
mod delta;
mod draw;
mod fidelity;
mod memory;
mod mitigation;
mod tally;
mod unchanged;
mod verdict;
mod workers;

use prophecy_core::{Probability, Seed};
use prophecy_datasets::run::EndedService;
use prophecy_simulator::Traffic;
use thiserror::Error;

use crate::evidence::Evidence;
use crate::report::{AaCheck, Claim, EvidenceSummary, Quantiles, Report, RouteForecast, SCHEMA};

use self::claims::Registered;
use self::draw::{Change, Sampler};
use self::tally::Tally;

/// The longest window that is simulated \[ns\]; a longer capture is represented by its start.
const WINDOW_LIMIT_NANOS: u64 = 600_000_000_000;

/// Draws and replications of the questions asked besides the main one: what if this were undone?
const SIDE_DRAWS: u32 = 16;
const SIDE_REPLICATIONS: u32 = 4;

/// How a forecast is made.
pub struct ForecastOptions<'a> {
    /// The seed of everything drawn.
    pub seed: Seed,
    /// Draws of what is not known.
    pub draws: u32,
    /// Simulated runs of each build for each draw.
    pub replications: u32,
    /// Threads; they change nothing but the time that it takes.
    pub threads: usize,
    /// The probability up to which the verdict may be `go`.
    pub max_risk: Probability,
    /// Told how much is done, of how much.
    pub progress: &'a (dyn Fn(u64, u64) + Sync),
}

/// Why a forecast could not be made.
#[derive(Debug, Error)]
pub enum ForecastError {
    /// Production was not seen.
    #[error("the dataset has no exchange with the entry `{entry}`")]
    NoTraffic {
        /// The entry.
        entry: String,
    },
    /// An arm was not seen.
    #[error("arm `{arm}` has no exchange with the entry `{entry}`")]
    NoArm {
        /// The arm.
        arm: &'static str,
        /// The entry.
        entry: String,
    },
}

/// Makes a forecast.
///
/// # Errors
///
/// Each variant of [`ForecastError`].
///
/// # Determinism
///
/// The report depends on `evidence`, and on `options` without its threads.
pub fn forecast(
    evidence: &Evidence,
    options: &ForecastOptions<'_>,
) -> Result<Report, ForecastError> {
    check(evidence)?;
    let registered = claims::register(evidence);
    let sampler = Sampler::new(evidence, options.seed);
    let traffic = Traffic::observed(&evidence.production, WINDOW_LIMIT_NANOS);
    let deltas = delta::material(&sampler);
    let side_runs = u64::from(SIDE_DRAWS) * (deltas.len() as u64 + mitigation::EXTRA);
    let total = u64::from(options.draws) + side_runs;
    let main = tally::run(&tally::Plan {
        sampler: &sampler,
        traffic: &traffic,
        claims: &registered,
        change: &Change::default(),
        draws: options.draws,
        replications: options.replications,
        threads: options.threads,
        progress: &|done| (options.progress)(done, total),
    });
    let mut done = u64::from(options.draws);
    let mut side = |change: &Change| {
        let before = done;
        done += u64::from(SIDE_DRAWS);
        tally::run(&tally::Plan {
            sampler: &sampler,
            traffic: &traffic,
            claims: &registered,
            change,
            draws: SIDE_DRAWS,
            replications: SIDE_REPLICATIONS,
            threads: options.threads,
            progress: &|part| (options.progress)(before + part, total),
        })
    };
    let at_risk = main.any().probability.get() >= 0.02;
    let asked = if at_risk { deltas.as_slice() } else { &[] };
    let undone: Vec<Tally> = asked.iter().map(|delta| side(&delta.undo())).collect();
    let claims = claims_of(&registered, &main, &deltas, &undone);
    let mitigations =
        if at_risk { mitigation::rank(&deltas, &undone, &main, &mut side) } else { Vec::new() };
    let fidelity = fidelity::check(evidence, options.seed, options.threads);
    let summary = summary(evidence, &sampler, &registered, fidelity, &deltas);
    let risk = main.any().risk(options.max_risk);
    let (verdict, reasons) = verdict::decide(&risk, &claims, &summary, &registered);
    (options.progress)(total, total);
    Ok(Report {
        schema: SCHEMA.to_owned(),
        engine: env!("CARGO_PKG_VERSION").to_owned(),
        system: evidence.system.name.clone(),
        verdict,
        reasons,
        risk,
        claims,
        routes: routes_of(&registered, &main),
        differences: evidence.run.differences.clone(),
        mitigations,
        evidence: summary,
        inputs: evidence.inputs.clone(),
        seed: options.seed.0,
        replications: u64::from(options.draws) * u64::from(options.replications),
    })
}

fn check(evidence: &Evidence) -> Result<(), ForecastError> {
    let entry = &evidence.system.entry;
    if evidence.production.arrivals.is_empty() {
        return Err(ForecastError::NoTraffic { entry: entry.clone() });
    }
    let arms = [
        ("baseline", &evidence.baseline),
        ("baseline-again", &evidence.baseline_again),
        ("candidate", &evidence.candidate),
    ];
    match arms.into_iter().find(|(_, arm)| arm.arrivals.is_empty()) {
        Some((arm, _)) => Err(ForecastError::NoArm { arm, entry: entry.clone() }),
        None => Ok(()),
    }
}

fn claims_of(
    registered: &Registered,
    main: &Tally,
    deltas: &[delta::Delta],
    undone: &[Tally],
) -> Vec<Claim> {
    let mut claims: Vec<Claim> = registered
        .claims
        .iter()
        .enumerate()
        .map(|(index, question)| {
            let share = main.claim(index);
            let caused = main.caused(index).probability;
            let mut because: Vec<String> = deltas
                .iter()
                .zip(undone)
                .filter(|(_, undone)| undone.caused(index).probability.get() + 0.1 < caused.get())
                .map(|(delta, _)| delta.sentence.clone())
                .collect();
            if share.probability.get() > 0.5 && caused.get() < 0.5 {
                because.push("it is broken without the change as well".to_owned());
            }
            Claim {
                id: question.id.clone(),
                service: question.service.clone(),
                route: question.route.clone(),
                metric: question.metric,
                threshold: main.threshold(index),
                unit: question.unit.to_owned(),
                bound: question.bound.clone(),
                probability: share.probability,
                interval: share.interval,
                caused,
                baseline: Quantiles::of(main.baseline_values(index)),
                candidate: Quantiles::of(main.candidate_values(index)),
                because,
                exchanges: question.exchanges,
            }
        })
        .collect();
    // The most costly first: by probability, then by how many requests the route gets.
    claims.sort_by(|a, b| {
        let caused = b.caused.get().total_cmp(&a.caused.get());
        let probability = b.probability.get().total_cmp(&a.probability.get());
        caused.then(probability).then(b.exchanges[0].cmp(&a.exchanges[0])).then(a.id.cmp(&b.id))
    });
    claims
}

/// Returns what is foretold of each route beside the claims.
fn routes_of(registered: &Registered, main: &Tally) -> Vec<RouteForecast> {
    let first = registered.claims.len();
    let forecast = |(index, question): (usize, &claims::Question)| RouteForecast {
        service: question.service.clone(),
        route: question.route.clone(),
        metric: question.metric,
        unit: question.unit.to_owned(),
        baseline: Quantiles::of(main.baseline_values(first + index)),
        candidate: Quantiles::of(main.candidate_values(first + index)),
    };
    registered.tracked.iter().enumerate().map(forecast).collect()
}

fn summary(
    evidence: &Evidence,
    sampler: &Sampler<'_>,
    registered: &Registered,
    fidelity: crate::report::Fidelity,
    deltas: &[delta::Delta],
) -> EvidenceSummary {
    let arms = &evidence.run.arms;
    let worst = |of: fn(&prophecy_datasets::run::ArmCounts) -> u64| {
        arms.iter().map(of).max().unwrap_or(0) as f64 / 1e6
    };
    let sum = |of: fn(&prophecy_datasets::run::ArmCounts) -> u64| arms.iter().map(of).sum::<u64>();
    let noise = sampler.arm_noise();
    EvidenceSummary {
        offered: arms.iter().map(|arm| arm.offered).max().unwrap_or(0),
        sent: sum(|arm| arm.sent),
        // A candidate that does not answer has failed, which its claims say; it is not lost evidence.
        lost: sum(|arm| arm.offered - arm.sent)
            + arms.iter().take(2).map(|arm| arm.unanswered).sum::<u64>(),
        send_lag_ms_p50: worst(|arm| arm.send_lag_p50_nanos),
        send_lag_ms_p99: worst(|arm| arm.send_lag_p99_nanos),
        speed: evidence.run.speed,
        aa: AaCheck { noise, passed: noise <= verdict::NOISE_LIMIT },
        fidelity,
        ended: evidence.run.ended.iter().map(crash).collect(),
        deltas: deltas.iter().map(|delta| delta.sentence.clone()).collect(),
        not_claimed: registered.not_claimed.clone(),
        notes: evidence.notes.clone(),
    }
}

fn crash(ended: &EndedService) -> String {
    let EndedService { service, status } = ended;
    format!("service `{service}` of the candidate ended with {status} during the replay")
}

impl std::fmt::Debug for ForecastOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ForecastOptions")
            .field("seed", &self.seed)
            .field("draws", &self.draws)
            .field("replications", &self.replications)
            .finish_non_exhaustive()
    }
}
