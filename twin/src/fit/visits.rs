//! The second pass: each request taken apart into waiting, calls and own time.

use std::collections::BTreeMap;

use prophecy_core::{System, Timestamp};
use prophecy_datasets::{Sighting, Sightings};
use prophecy_simulator::observation::{Call, Policies, Visit};

use super::link::{Called, Linked, LinkedSlice, Linker};
use super::patience;
use super::pool;
use super::queue::Recursion;
use super::slices::Slice;
use super::survey::Surveyed;
use super::{at_entry, from_outside, is_request};

/// What takes the requests of a window, each once.
pub(super) trait Sink {
    /// A request from outside.
    fn arrival(&mut self, at_nanos: u64, row: &Sighting, names: &Sightings);
    /// A request that a service got, refused or not.
    fn request(&mut self, service: &str, row: &Sighting);
    /// Visits of one route, by time.
    fn visits(&mut self, service: &str, route: &str, visits: Vec<Visit>);
}

/// A call with its retries, from the start of the first attempt.
#[derive(Clone, Copy, Debug)]
struct Tried {
    started_at: Timestamp,
    last: Sighting,
}

/// How much sooner than the timeout a call may be seen to be given up \[ns\].
const GIVEN_UP_NANOS: u64 = 5_000_000;

/// Takes requests apart; slices are added in the order of time.
#[derive(Debug)]
pub(super) struct Anatomy<'s> {
    system: &'s System,
    known: &'s Surveyed,
    linker: Linker,
    recursions: BTreeMap<u32, Recursion>,
    refused: BTreeMap<u32, u64>,
}

// === impl Anatomy ===

impl<'s> Anatomy<'s> {
    /// Returns one that knows what the first pass found.
    pub(super) fn new(system: &'s System, known: &'s Surveyed) -> Self {
        let recursion = |(service, (_, queueing)): (&u32, &(String, _))| {
            Some((*service, Recursion::of(queueing)?))
        };
        Self {
            system,
            known,
            linker: Linker::experienced(known.experience.clone()),
            recursions: known.services.iter().filter_map(recursion).collect(),
            refused: BTreeMap::new(),
        }
    }

    /// Adds what comes next.
    pub(super) fn add(&mut self, mut slice: Slice<'_>, sink: &mut impl Sink) {
        let (origin, names) = (self.known.origin, slice.names);
        slice.rows.retain(|row| is_request(row) && row.started_at >= origin);
        let (entry, outside) = (at_entry(self.system, names), from_outside(self.system, names));
        for row in &slice.rows {
            sink.request(&names.names[row.destination as usize], row);
            if entry(row) && outside(row) {
                sink.arrival(row.started_at.nanos_since(origin), row, names);
            }
        }
        let mut linked = self.linker.link(slice);
        self.take_waits(&mut linked);
        self.mark_handovers(&mut linked);
        let (ended, open) = linked.split();
        self.linker.carry(open);
        self.hand_out(ended, names, sink);
    }

    /// Runs the recursions of the workers over what started in the slice.
    fn take_waits(&mut self, linked: &mut LinkedSlice) {
        for visit in &mut linked.visits[linked.carried..] {
            if let Some(recursion) = self.recursions.get_mut(&visit.row.destination) {
                visit.waited_nanos = recursion.wait(&visit.row);
                if visit.waited_nanos.is_none() {
                    *self.refused.entry(visit.row.destination).or_default() += 1;
                }
            }
        }
    }

    fn mark_handovers(&self, linked: &mut LinkedSlice) {
        if self.known.pools.is_empty() {
            return;
        }
        let mut waited = Vec::new();
        let is_limited = |source: u32| self.known.pools.keys().any(|edge| edge.0 == source);
        for (edge, calls) in pool::edges(linked, &is_limited) {
            if let Some(limit) = self.known.pools.get(&edge) {
                pool::look(linked, &calls, Some(*limit), &mut |call| waited.push(call));
            }
        }
        waited.into_iter().for_each(|call| linked.waited(call));
    }

    fn hand_out(&self, ended: Vec<Linked>, names: &Sightings, sink: &mut impl Sink) {
        let mut routes: BTreeMap<(u32, u32), (Vec<Visit>, Vec<bool>)> = BTreeMap::new();
        for visit in ended {
            let Some(waited_nanos) = visit.waited_nanos else { continue };
            let place = (visit.row.destination, visit.row.route);
            let (visits, waited) = routes.entry(place).or_default();
            visits.push(self.visit(&visit, waited_nanos, names));
            waited.push(visit.calls.iter().any(|call| call.waited));
        }
        for ((service, route), (mut visits, waited)) in routes {
            pool::take_waits_out(&mut visits, &waited);
            let name = |number: u32| names.names[number as usize].as_str();
            sink.visits(name(service), name(route), visits);
        }
    }

    fn visit(&self, visit: &Linked, waited_nanos: u64, names: &Sightings) -> Visit {
        let row = &visit.row;
        let latency_nanos = row.ended_at.nanos_since(row.started_at);
        let timeout_nanos = self
            .known
            .patience
            .get(&[row.source, row.destination, row.route])
            .and_then(|found| found.policy.timeout_nanos);
        let given_up = timeout_nanos
            .filter(|timeout| row.abandoned && latency_nanos + GIVEN_UP_NANOS >= *timeout);
        // The timeout is the low end of what was seen: whoever was given up on took at least that long.
        let latency_nanos = given_up.map_or(latency_nanos, |least| latency_nanos.max(least + 1));
        let tried = self.tried(visit);
        let call = |call: &Tried| Call {
            destination: names.names[call.last.destination as usize].clone(),
            route: names.names[call.last.route as usize].clone(),
            nanos: call.last.ended_at.nanos_since(call.started_at),
            failed: call.last.failed,
        };
        Visit {
            at_nanos: row.started_at.nanos_since(self.known.origin),
            latency_nanos,
            own_nanos: latency_nanos
                .saturating_sub(covered_nanos(&tried))
                .saturating_sub(waited_nanos),
            waited_nanos,
            status: row.status,
            failed: row.failed,
            given_up: given_up.is_some(),
            calls: tried.iter().map(call).collect(),
        }
    }

    /// Returns the calls of a visit, each with its retries, by start.
    fn tried(&self, visit: &Linked) -> Vec<Tried> {
        let retries = |call: &Called| {
            let target = [visit.row.destination, call.row.destination, call.row.route];
            self.known.patience.get(&target).map_or(0, |found| found.policy.retries as usize)
        };
        if visit.calls.iter().all(|call| !call.row.failed || retries(call) == 0) {
            return visit.calls.iter().map(|call| Tried::of(&[*call])).collect();
        }
        let chains = patience::by_target(&visit.calls)
            .into_iter()
            .flat_map(|calls| patience::chains(&calls, retries(&calls[0])));
        let mut tried: Vec<Tried> = chains.map(|chain| Tried::of(&chain)).collect();
        tried.sort_by_key(|tried| (tried.started_at, tried.last.exchange_id));
        tried
    }

    /// Says how calls were linked, and, by service, what was assumed about it.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> = self.linker.note().into_iter().collect();
        let mut services: Vec<_> = self.known.services.iter().collect();
        services.sort_by_key(|(_, (name, _))| name);
        for (number, (name, queueing)) in services {
            let refused = self.refused.get(number).copied().unwrap_or(0);
            notes.extend(queueing.note(name, refused));
            notes.extend(pool::notes(name, &self.known.pools_of(*number)));
        }
        let seen = |name: &str| self.known.services.values().any(|(seen, _)| seen == name);
        let unseen = self.system.services.keys().filter(|name| !seen(name));
        notes.extend(unseen.map(|name| format!("service `{name}` was never seen to be called")));
        notes
    }
}

/// Returns the time that at least one of these calls, ordered by start, was under way \[ns\].
fn covered_nanos(calls: &[Tried]) -> u64 {
    let mut covered = 0;
    let mut until = Timestamp(i64::MIN);
    for call in calls {
        let end = call.last.ended_at;
        if end > until {
            covered += end.nanos_since(call.started_at.max(until));
            until = end;
        }
    }
    covered
}

// === impl Tried ===

impl Tried {
    /// Returns the call that these attempts were, by start.
    fn of(attempts: &[Called]) -> Self {
        let (first, last) = (attempts[0].row, attempts[attempts.len() - 1].row);
        Self { started_at: first.started_at, last }
    }
}

// === impl Surveyed ===

impl Surveyed {
    /// Returns the limits on calls at once of a service, by destination.
    pub(super) fn pools_of(&self, service: u32) -> BTreeMap<String, u32> {
        let of_service = self.pools.iter().filter(|((source, _), _)| *source == service);
        let named = of_service.filter_map(|((_, destination), limit)| {
            Some((self.services.get(destination)?.0.clone(), *limit))
        });
        named.collect()
    }

    /// Returns what is known of the patience of a service, by destination and route.
    pub(super) fn policies_of(&self, service: u32) -> Policies {
        let mut policies = Policies::new();
        for ([caller, callee, route], found) in &self.patience {
            if let (true, Some((name, _))) = (*caller == service, self.services.get(callee)) {
                let route = self.routes[route].clone();
                policies.entry(name.clone()).or_default().insert(route, found.policy);
            }
        }
        policies
    }

    /// Says in words which timeouts and retries were recognized.
    pub(super) fn recognized(&self) -> Vec<String> {
        let mut said: Vec<String> = Vec::new();
        for ([caller, callee, route], found) in &self.patience {
            let name = |service: &u32| self.services.get(service).map_or("", |(name, _)| name);
            let alike = self.patience.iter().filter(|([a, b, _], other)| {
                (a, b) == (caller, callee) && other.words == found.words
            });
            let place = if alike.count() > 1 {
                format!("`{}` to `{}`", name(caller), name(callee))
            } else {
                format!("`{}` to `{}`, `{}`", name(caller), name(callee), self.routes[route])
            };
            for words in &found.words {
                let sentence = format!("{place}: {words}");
                if !said.contains(&sentence) {
                    said.push(sentence);
                }
            }
        }
        said
    }
}
