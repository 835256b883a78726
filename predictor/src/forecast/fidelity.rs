//! Whether a model reproduces the captured present; one that cannot must not speak of the future.

use prophecy_core::{Seed, quantile};
use prophecy_simulator::observation::Visit;
use prophecy_simulator::{
    CompiledModel, CompiledTraffic, Observations, Outcome, Traffic, replication, simulate,
};

use super::draw::{Change, Sampler};
use crate::evidence::Evidence;
use crate::report::{Fidelity, RouteFidelity};

/// The quantiles checked; the verdict rests on the first two.
const LEVELS: [f64; 3] = [0.5, 0.95, 0.99];

/// How far a quantile may be off: relatively, or absolutely \[ms\]; or as far as the runs are from each
/// other, for a queue near its limit is far from itself an hour later.
const TOLERANCE: f64 = 0.25;
const TOLERANCE_MS: f64 = 5.0;

/// Exchanges with the entry from which on the last part of the window is held out from the fit.
const HELD_OUT_FROM: usize = 500;
const FIT_SHARE: f64 = 0.6;

/// Exchanges on a route that a check needs.
const ROUTE_NEEDED: usize = 30;

/// Runs, each of another model that fits the evidence; all but the outermost on each side make the
/// range that chance and ignorance explain.
const DRAWS: u32 = 32;

/// Simulates what was captured, and compares.
pub(super) fn check(evidence: &Evidence, seed: Seed, threads: usize) -> Fidelity {
    let held_out = evidence.production.arrivals.len() >= HELD_OUT_FROM;
    let cut =
        if held_out { (FIT_SHARE * evidence.production.window_nanos as f64) as u64 } else { 0 };
    let fitted_on =
        if held_out { between(&evidence.production, 0, cut) } else { evidence.production.clone() };
    let checked_on =
        between(&evidence.production, cut, cut.saturating_add(super::WINDOW_LIMIT_NANOS));
    let fit_evidence = Evidence { production: fitted_on, ..evidence.clone() };
    let traffic = Traffic::observed(&checked_on, super::WINDOW_LIMIT_NANOS);
    let seed = seed.derive("fidelity");
    let sampler = Sampler::new(&fit_evidence, seed);
    let outcomes = replication::in_order(DRAWS, threads, |index| {
        let model = CompiledModel::new(&sampler.draw(index, &Change::default()).baseline);
        let known = model.known(&traffic);
        let compiled = CompiledTraffic::new(&known, &model).expect("unknown routes were left out");
        simulate(&model, &compiled, seed, index)
    });
    let entry = &evidence.system.entry;
    let mut routes = Vec::new();
    let none = std::collections::BTreeMap::new();
    let seen = checked_on.services.get(entry).map_or(&none, |service| &service.routes);
    for (route, visits) in seen.iter().filter(|(_, visits)| visits.len() >= ROUTE_NEEDED) {
        let mut simulated: Vec<u64> = outcomes
            .iter()
            .filter_map(|outcome| outcome.route(entry, route))
            .flat_map(|outcome| outcome.latencies_nanos.iter().copied())
            .collect();
        let mut captured: Vec<u64> = visits
            .iter()
            .filter(|visit| visit.status.is_some())
            .map(|visit| visit.latency_nanos)
            .collect();
        routes.push(RouteFidelity {
            route: route.clone(),
            exchanges: visits.len() as u64,
            captured_ms: LEVELS.map(|level| millis(&mut captured, level)),
            simulated_ms: LEVELS.map(|level| millis(&mut simulated, level)),
            range_ms: LEVELS.map(|level| range(&outcomes, entry, route, level)),
        });
    }
    let (error, passed) = judge(&routes);
    Fidelity { passed, error, held_out, routes }
}

/// Returns the median relative error, and whether most exchanges are on routes within tolerance.
fn judge(routes: &[RouteFidelity]) -> (f64, bool) {
    let (mut errors, mut good, mut all) = (Vec::new(), 0, 0);
    for route in routes {
        let pairs = || route.captured_ms.iter().zip(&route.simulated_ms).take(2);
        errors.extend(
            pairs().map(|(captured, simulated)| (simulated - captured).abs() / captured.max(1e-6)),
        );
        let within = |((captured, simulated), [lo, hi]): ((&f64, &f64), &[f64; 2])| {
            (simulated - captured).abs() <= (TOLERANCE * captured).max(TOLERANCE_MS)
                || (lo..=hi).contains(&captured)
        };
        all += route.exchanges;
        good += if pairs().zip(&route.range_ms).all(within) { route.exchanges } else { 0 };
    }
    errors.sort_by(f64::total_cmp);
    let error = quantile::of_sorted(&errors, 0.5).unwrap_or(f64::from(u8::from(routes.is_empty())));
    (error, all > 0 && 2 * good > all)
}

/// Returns what a quantile of a route comes to in the runs, without the outermost \[ms\].
fn range(outcomes: &[Outcome], entry: &str, route: &str, level: f64) -> [f64; 2] {
    let of_run = |outcome: &Outcome| {
        let mut latencies = outcome.route(entry, route)?.latencies_nanos.clone();
        quantile::select(&mut latencies, level).map(|nanos| nanos as f64 / 1e6)
    };
    let mut values: Vec<f64> = outcomes.iter().filter_map(of_run).collect();
    values.sort_by(f64::total_cmp);
    match values.as_slice() {
        [_, lo, .., hi, _] => [*lo, *hi],
        _ => [0.0, 0.0],
    }
}

fn millis(nanos: &mut [u64], level: f64) -> f64 {
    quantile::select(nanos, level).map_or(0.0, |nanos| nanos as f64 / 1e6)
}

/// Returns the observations of a part of the window, its start being zero.
fn between(observations: &Observations, from: u64, to: u64) -> Observations {
    let mut part = observations.clone();
    let within = |at: u64| from <= at && at < to;
    part.arrivals.retain(|arrival| within(arrival.at_nanos));
    part.arrivals.iter_mut().for_each(|arrival| arrival.at_nanos -= from);
    part.window_nanos = observations.window_nanos.min(to).saturating_sub(from);
    for service in part.services.values_mut() {
        for visits in service.routes.values_mut() {
            visits.retain(|visit: &Visit| within(visit.at_nanos));
            visits.iter_mut().for_each(|visit| visit.at_nanos -= from);
        }
        service.routes.retain(|_, visits| !visits.is_empty());
    }
    part
}
