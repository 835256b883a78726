//! Whether a model reproduces the captured present; one that cannot must not speak of the future.

use prophecy_core::{Seed, quantile};
use prophecy_simulator::fidelity::{FIT_SHARE, HELD_OUT_FROM, ROUTE_NEEDED, range_of, reproduces};
use prophecy_simulator::{CompiledModel, CompiledTraffic, Traffic, replication, simulate};

use super::draw::{Change, Sampler};
use crate::evidence::Evidence;
use crate::report::{Fidelity, RouteFidelity};

/// The quantiles checked; the verdict rests on the first two.
const LEVELS: [f64; 3] = [0.5, 0.95, 0.99];

/// Runs, each of another model that fits the evidence; all but the outermost on each side make the
/// range that chance and ignorance explain.
const DRAWS: u32 = 32;

/// Simulates what was captured, and compares.
pub(super) fn check(evidence: &Evidence, seed: Seed, threads: usize) -> Fidelity {
    let held_out = evidence.production.arrivals.len() >= HELD_OUT_FROM;
    let cut =
        if held_out { (FIT_SHARE * evidence.production.window_nanos as f64) as u64 } else { 0 };
    let fitted_on =
        if held_out { evidence.production.part(0, cut) } else { evidence.production.clone() };
    let checked_on = evidence.production.part(cut, cut.saturating_add(super::WINDOW_LIMIT_NANOS));
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
            range_ms: LEVELS.map(|level| range_of(&outcomes, entry, route, level)),
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
        let within = |((captured, simulated), range): ((&f64, &f64), &[f64; 2])| {
            reproduces(*captured, *simulated, *range)
        };
        all += route.exchanges;
        good += if pairs().zip(&route.range_ms).all(within) { route.exchanges } else { 0 };
    }
    errors.sort_by(f64::total_cmp);
    let error = quantile::of_sorted(&errors, 0.5).unwrap_or(f64::from(u8::from(routes.is_empty())));
    (error, all > 0 && 2 * good > all)
}

fn millis(nanos: &mut [u64], level: f64) -> f64 {
    quantile::select(nanos, level).map_or(0.0, |nanos| nanos as f64 / 1e6)
}
