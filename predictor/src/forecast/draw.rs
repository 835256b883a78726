//! One draw of what is not known: a model of production, and one of production with the change.

use std::collections::BTreeSet;

use prophecy_core::proportion::fisher_greater;
use prophecy_core::{Philox, Seed, quantile};
use prophecy_simulator::model::{CallModel, RouteModel};
use prophecy_simulator::observation::Visit;
use prophecy_simulator::{Model, Observations, model_of};

use super::unchanged::Unchanged;
use super::{combine, memory, workers};
use crate::evidence::Evidence;

/// How many blocks a window is cut into, and their length \[ns\].
const BLOCKS: u64 = 20;
const BLOCK_NANOS: (u64, u64) = (1_000_000_000, 10_000_000_000);

/// Two counts of failures are one rate unless this unlikely (two-sided).
const SAME_RATE: f64 = 0.05;

/// Two distributions of call counts are the same below this total variation.
const SAME_CALLS: f64 = 0.05;

/// The smallest noise between two arms that is believed.
const NOISE_FLOOR: f64 = 0.01;

/// Draws models.
#[derive(Debug)]
pub(super) struct Sampler<'a> {
    pub(super) evidence: &'a Evidence,
    pub(super) baseline: Observations,
    seed: Seed,
    noise: f64,
    unchanged: Unchanged,
    /// Production was seen at the entry alone: the arms tell what lies behind.
    pub(super) entry_only: bool,
}

/// What is asked besides the change itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Change {
    /// Parts of the change that are undone.
    pub(super) undo: BTreeSet<Part>,
    /// Services with twice the workers and twice the pools.
    pub(super) widened: BTreeSet<String>,
    /// The share of the traffic that comes, if not all.
    pub(super) traffic_share: Option<f64>,
    /// The share of the traffic that meets the candidate, if not all.
    pub(super) exposure: Option<f64>,
}

/// A part of a change that can be undone by itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// The own time of a route.
    Own(String, String),
    /// The failures of a route.
    Failure(String, String),
    /// The calls of a route.
    Calls(String, String),
    /// The limit on calls to a destination.
    Pool(String, String),
    /// The workers of a service.
    Workers(String),
    /// The memory of a service.
    Memory(String),
    /// The 4xx answers of an entry's route.
    ClientErrors(String),
}

/// Both models of one draw.
#[derive(Clone, Debug)]
pub(super) struct Draw {
    pub(super) baseline: Model,
    pub(super) candidate: Model,
}

/// The observations that one draw rests on.
struct Resampled {
    production: Observations,
    baseline: Observations,
    candidate: Observations,
}

// === impl Sampler ===

impl<'a> Sampler<'a> {
    pub(super) fn new(evidence: &'a Evidence, seed: Seed) -> Self {
        let baseline = pooled(&evidence.baseline, &evidence.baseline_again);
        let noise = arm_noise(&evidence.baseline, &evidence.baseline_again);
        let behind =
            baseline.services.keys().any(|name| !evidence.production.services.contains_key(name));
        let entry_only = behind && evidence.production.services.len() == 1;
        let unchanged = Unchanged::new(&baseline, &evidence.candidate, noise);
        Self { evidence, baseline, seed, noise, unchanged, entry_only }
    }

    /// Returns the seed of everything drawn.
    pub(super) fn seed(&self) -> Seed {
        self.seed
    }

    /// Returns how much two arms of one build differ, relatively.
    pub(super) fn arm_noise(&self) -> f64 {
        self.noise
    }

    /// Draws both models.
    pub(super) fn draw(&self, index: u32, change: &Change) -> Draw {
        let mut blocks = self.seed.stream(index, 0, "blocks of the arms");
        let mut production_blocks = self.seed.stream(index, 0, "blocks of production");
        let evidence = self.evidence;
        let chosen = choose_blocks(&self.baseline, &mut blocks);
        let data = Resampled {
            production: resample(
                &evidence.production,
                &choose_blocks(&evidence.production, &mut production_blocks),
            ),
            baseline: resample(&self.baseline, &chosen),
            candidate: resample(&evidence.candidate, &chosen),
        };
        self.models(&data, index, change)
    }

    /// Draws the memory of a service after an hour \[MiB\]: with the baseline, and with the candidate.
    pub(super) fn memory(&self, service: &str, index: u32, change: &Change) -> Option<(f64, f64)> {
        let entity = prophecy_core::random::fnv1a(service);
        let of = |arm: &Observations| {
            memory::after_an_hour(
                self.evidence,
                arm,
                service,
                change.traffic_share.unwrap_or(1.0),
                &mut self.seed.stream(index, entity, "memory"),
            )
        };
        let baseline = of(&self.evidence.baseline)?;
        let undone = change.undo.contains(&Part::Memory(service.to_owned()));
        let candidate = if undone { baseline } else { of(&self.evidence.candidate)? };
        let exposed = change.exposure.unwrap_or(1.0);
        Some((baseline, baseline + exposed * (candidate - baseline)))
    }

    /// Draws the rate of 4xx answers on an entry's route: with the baseline, and with the candidate.
    pub(super) fn client_errors(&self, route: &str, index: u32, change: &Change) -> (f64, f64) {
        let entry = &self.evidence.system.entry;
        let baseline = memory::client_errors(&self.baseline, entry, route);
        let candidate = memory::client_errors(&self.evidence.candidate, entry, route);
        let mut stream =
            self.seed.stream(index, prophecy_core::random::fnv1a(route), "client errors");
        let (before, after) = rates(baseline, candidate, &mut stream);
        let undone = change.undo.contains(&Part::ClientErrors(route.to_owned()));
        let exposed = if undone { 0.0 } else { change.exposure.unwrap_or(1.0) };
        (before, before + exposed * (after - before))
    }

    fn models(&self, data: &Resampled, index: u32, change: &Change) -> Draw {
        let evidence = self.evidence;
        let arms = model_of(&data.baseline, &evidence.system);
        let mut candidate_arm = model_of(&data.candidate, &evidence.candidate_system);
        let mut production = model_of(&data.production, &evidence.system);
        if self.entry_only {
            self.put_structure_behind(&mut production, &arms, data);
        }
        // What production was not seen to do, the baseline arms tell.
        for (name, station) in &arms.services {
            let known = production.services.entry(name.clone()).or_insert_with(|| station.clone());
            for (route, model) in &station.routes {
                known.routes.entry(route.clone()).or_insert_with(|| model.clone());
            }
        }
        drop_unknown_calls(&mut production);
        workers::share_estimates(self, &mut production, &candidate_arm);
        workers::draw_unseen(self, &mut production, index);
        for (name, station) in &mut production.services {
            workers::draw_probed(self, (name, station), &self.baseline, index);
        }
        // Before the copy: what the candidate arm does not show fails alike in both models.
        self.draw_failures(&mut production, index);
        let mut with_change = production.clone();
        for (name, station) in std::mem::take(&mut candidate_arm.services) {
            let before = arms.services.get(&name);
            let Some(target) = with_change.services.get_mut(&name) else {
                with_change.services.insert(name, station);
                continue;
            };
            let keep_workers = change.undo.contains(&Part::Workers(name.clone()));
            if !keep_workers && workers::differ(self, &name) {
                target.workers = station.workers;
                workers::draw_probed(self, (&name, target), &evidence.candidate, index);
            }
            if !keep_workers {
                let declared = evidence.candidate_system.services.get(&name);
                target.replicas = declared.map_or(target.replicas, |service| service.replicas);
                target.queue_limit = declared.map_or(target.queue_limit, |service| service.queue);
            }
            let known_pools = before.map(|before| before.pools.clone()).unwrap_or_default();
            for to in known_pools.keys().chain(station.pools.keys()) {
                let (old, new) = (known_pools.get(to), station.pools.get(to));
                if old == new || change.undo.contains(&Part::Pool(name.clone(), to.clone())) {
                    continue;
                }
                match new {
                    Some(limit) => target.pools.insert(to.clone(), *limit),
                    None => target.pools.remove(to),
                };
            }
            let entity = prophecy_core::random::fnv1a(&name);
            let mut noise = self.seed.stream(index, entity, "noise of an arm");
            let factor = (self.noise * noise.normal()).exp();
            for (route, model) in station.routes {
                let parts = Parts { service: &name, route: &route, factor, index, change };
                let before = before.and_then(|before| before.routes.get(&route));
                let combined = match (target.routes.get(&route), before) {
                    (Some(known), Some(before)) => self.route(known, before, &model, &parts),
                    _ => model,
                };
                target.routes.insert(route, combined);
            }
        }
        for name in &change.widened {
            if let Some(station) = with_change.services.get_mut(name) {
                station.workers = station.workers.map(|workers| 2 * workers);
                station.pools.values_mut().for_each(|limit| *limit *= 2);
            }
        }
        drop_unknown_calls(&mut with_change);
        Draw { baseline: production, candidate: with_change }
    }

    /// Production was seen at the entry alone: the arms' structure, moved so that the median fits.
    fn put_structure_behind(&self, production: &mut Model, arms: &Model, data: &Resampled) {
        let entry = &self.evidence.system.entry;
        let (Some(seen), Some(station)) =
            (data.production.services.get(entry), arms.services.get(entry))
        else {
            return;
        };
        let target = production.services.get_mut(entry).expect("production was seen at the entry");
        for (route, model) in &station.routes {
            let (Some(seen), Some(arm)) =
                (seen.routes.get(route), data.baseline.services[entry].routes.get(route))
            else {
                continue;
            };
            let nanos = median_latency(seen) - median_latency(arm);
            let own_nanos = combine::offset(&model.own_nanos, nanos);
            target.routes.insert(route.clone(), RouteModel { own_nanos, ..model.clone() });
        }
    }

    /// Combines what is known of one route.
    fn route(
        &self,
        known: &RouteModel,
        before: &RouteModel,
        after: &RouteModel,
        parts: &Parts<'_>,
    ) -> RouteModel {
        let place = (parts.service.to_owned(), parts.route.to_owned());
        let undo = &parts.change.undo;
        let undone = undo.contains(&Part::Own(place.0.clone(), place.1.clone()));
        let own_nanos = if undone || self.unchanged.draw(&place, self.seed, parts.index) {
            known.own_nanos.clone()
        } else {
            combine::shift(&known.own_nanos, &before.own_nanos, &after.own_nanos, parts.factor)
        };
        let changed_calls = calls_differ(&before.calls, &after.calls);
        let calls =
            if changed_calls && !undo.contains(&Part::Calls(place.0.clone(), place.1.clone())) {
                with_patience_of(&after.calls, &known.calls)
            } else {
                with_spread_of(&known.calls, &after.calls)
            };
        let undone = undo.contains(&Part::Failure(place.0, place.1));
        let failure = self.failure(parts.service, parts.route, parts.index, undone).1;
        RouteModel { own_nanos, failure, calls, ..RouteModel::default() }
    }

    /// Draws the own failure rate of a route in production: with the baseline, and with the candidate.
    fn failure(&self, service: &str, route: &str, index: u32, undone: bool) -> (f64, f64) {
        // Counts are those of the evidence: their uncertainty is the posterior's, not the blocks'.
        let evidence = self.evidence;
        let count = |observations: &Observations| own_failures(observations, service, route);
        let (arms, candidate, production) =
            (count(&self.baseline), count(&evidence.candidate), count(&evidence.production));
        let entity = prophecy_core::random::fnv1a(&format!("{service}/{route}"));
        let mut stream = self.seed.stream(index, entity, "failures");
        let (before, after) = rates(arms, candidate, &mut stream);
        let known =
            if production.1 == 0 || (self.entry_only && service == self.evidence.system.entry) {
                before
            } else {
                // Production and the baseline run the same build: one rate, unless they clearly differ.
                rates(production, arms, &mut stream).0
            };
        let moved = if undone { known } else { (known + after - before).clamp(0.0, 1.0) };
        (known, moved)
    }

    fn draw_failures(&self, model: &mut Model, index: u32) {
        for (service, station) in &mut model.services {
            for (route, model) in &mut station.routes {
                model.failure = self.failure(service, route, index, true).0;
            }
        }
    }
}

/// What the combination of one route depends on.
struct Parts<'a> {
    service: &'a str,
    route: &'a str,
    factor: f64,
    index: u32,
    change: &'a Change,
}

/// Draws two rates from their posteriors (Jeffreys), one for both unless the counts clearly differ.
fn rates(a: (u64, u64), b: (u64, u64), stream: &mut Philox) -> (f64, f64) {
    let same = a.1 == 0
        || b.1 == 0
        || fisher_greater(a.0, a.1, b.0, b.1).min(fisher_greater(b.0, b.1, a.0, a.1))
            > SAME_RATE / 2.0;
    let both = (a.0 + b.0, a.1 + b.1);
    let mut draw =
        |(count, of): (u64, u64)| stream.beta(count as f64 + 0.5, (of - count) as f64 + 0.5);
    if same {
        // Where nothing ever failed, the posterior still gives the odd failure, which is right: a
        // few hundred successes do not rule out one in a thousand.
        let rate = if both.1 == 0 { 0.0 } else { draw(both) };
        return (rate, rate);
    }
    (draw(a), draw(b))
}

fn own_failures(observations: &Observations, service: &str, route: &str) -> (u64, u64) {
    let visits = observations.services.get(service).and_then(|service| service.routes.get(route));
    let visits = visits.map_or(&[][..], Vec::as_slice);
    let own =
        visits.iter().filter(|visit| visit.failed && !visit.calls.iter().any(|call| call.failed));
    (own.count() as u64, visits.len() as u64)
}

fn pooled(a: &Observations, b: &Observations) -> Observations {
    let mut both = a.clone();
    for (name, service) in &b.services {
        let target = both.services.entry(name.clone()).or_insert_with(|| service.clone());
        if !a.services.contains_key(name) {
            continue;
        }
        for (route, visits) in &service.routes {
            let known = target.routes.entry(route.clone()).or_default();
            known.extend(visits.iter().cloned());
            known.sort_by_key(|visit| visit.at_nanos);
        }
        // A limit that only one of two equal arms shows is luck.
        target.pools.retain(|to, limit| service.pools.get(to) == Some(limit));
    }
    both
}

/// Returns the typical relative difference of mean own times between two arms of one build.
fn arm_noise(a: &Observations, b: &Observations) -> f64 {
    let (mut sum, mut weight) = (0.0, 0.0);
    for (name, service) in &a.services {
        for (route, visits) in &service.routes {
            let Some(others) = b.services.get(name).and_then(|service| service.routes.get(route))
            else {
                continue;
            };
            let (mean, other) = (mean_own(visits), mean_own(others));
            let count = visits.len().min(others.len()) as f64;
            // Own times below a millisecond are mostly the proxy's and the scheduler's.
            if count >= 20.0 && mean.min(other) >= 1e6 {
                sum += count * (mean / other).ln().powi(2);
                weight += count;
            }
        }
    }
    let noise = if weight > 0.0 { (sum / weight).sqrt() } else { 0.0 };
    noise.max(NOISE_FLOOR)
}

fn mean_own(visits: &[Visit]) -> f64 {
    visits.iter().map(|visit| visit.own_nanos as f64).sum::<f64>() / visits.len().max(1) as f64
}

fn median_latency(visits: &[Visit]) -> i64 {
    let mut latencies: Vec<u64> = visits.iter().map(|visit| visit.latency_nanos).collect();
    quantile::select(&mut latencies, 0.5).unwrap_or(0) as i64
}

fn block_nanos(observations: &Observations) -> u64 {
    (observations.window_nanos / BLOCKS).clamp(BLOCK_NANOS.0, BLOCK_NANOS.1)
}

/// Draws blocks of a window with replacement, as many as there are; returns their bounds \[ns\].
fn choose_blocks(observations: &Observations, stream: &mut Philox) -> Vec<(u64, u64)> {
    let length = block_nanos(observations);
    let count = observations.window_nanos.div_ceil(length).max(1);
    let block = |index: u64| (index * length, (index + 1) * length);
    (0..count).map(|_| block(stream.below(count as usize) as u64)).collect()
}

/// Keeps the visits in these blocks; a route that would be left with none keeps all of its own.
fn resample(observations: &Observations, blocks: &[(u64, u64)]) -> Observations {
    let mut resampled = observations.clone();
    for service in resampled.services.values_mut() {
        for visits in service.routes.values_mut() {
            let from = |at| visits.partition_point(|visit: &Visit| visit.at_nanos < at);
            let chosen: Vec<Visit> = blocks
                .iter()
                .flat_map(|(start, end)| visits[from(*start)..from(*end)].iter().cloned())
                .collect();
            if !chosen.is_empty() {
                *visits = chosen;
            }
        }
    }
    resampled
}

/// Says whether two routes make other calls: another target, or clearly other counts.
pub(super) fn calls_differ(before: &[CallModel], after: &[CallModel]) -> bool {
    let find = |calls: &'_ [CallModel], call: &CallModel| {
        calls
            .iter()
            .find(|other| other.service == call.service && other.route == call.route)
            .cloned()
    };
    let differs = |call: &CallModel, others: &[CallModel]| {
        let none = vec![1.0];
        let other = find(others, call).map_or(none, |other| other.counts);
        let length = call.counts.len().max(other.len());
        let at = |counts: &[f64], index: usize| counts.get(index).copied().unwrap_or(0.0);
        let distance: f64 =
            (0..length).map(|index| (at(&call.counts, index) - at(&other, index)).abs()).sum();
        distance / 2.0 > SAME_CALLS
    };
    before.iter().any(|call| differs(call, after)) || after.iter().any(|call| differs(call, before))
}

/// Returns known calls, with what becomes of a failed one as the candidate showed it: where nothing failed
/// before, nobody could know that the caller copes.
fn with_spread_of(known: &[CallModel], after: &[CallModel]) -> Vec<CallModel> {
    let mut calls = known.to_vec();
    for call in &mut calls {
        let same = |other: &&CallModel| other.service == call.service && other.route == call.route;
        if let Some(shown) = after.iter().find(same).filter(|other| other.failure_spreads < 1.0) {
            call.failure_spreads = shown.failure_spreads;
        }
    }
    calls
}

/// Returns calls with the timeouts and retries that production showed for the same target: an arm has too few failures to
/// show them.
fn with_patience_of(calls: &[CallModel], known: &[CallModel]) -> Vec<CallModel> {
    let mut calls = calls.to_vec();
    for call in &mut calls {
        let same = |other: &&CallModel| other.service == call.service && other.route == call.route;
        let Some(shown) = known.iter().find(same) else { continue };
        if call.timeout_nanos.is_none() {
            call.timeout_nanos = shown.timeout_nanos;
        }
        if call.retries == 0 {
            (call.retries, call.backoff) = (shown.retries, shown.backoff);
        }
    }
    calls
}

/// Drops calls to routes that a model does not have.
fn drop_unknown_calls(model: &mut Model) {
    let known: BTreeSet<(String, String)> = model
        .services
        .iter()
        .flat_map(|(service, station)| {
            station.routes.keys().map(|route| (service.clone(), route.clone()))
        })
        .collect();
    for station in model.services.values_mut() {
        for route in station.routes.values_mut() {
            route.calls.retain(|call| known.contains(&(call.service.clone(), call.route.clone())));
        }
    }
}
