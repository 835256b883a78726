//! The event engine: one replication of a model under traffic.
//!
//! Simulated time is integer nanoseconds, and the order of events is total: time, then events
//! before timeouts before arrivals, then the order in which they were made. Every draw is keyed by
//! the root request and the path of calls that led to it, so two models share their luck even where
//! their events happen in another order.

mod balance;
mod cache;
mod calendar;
mod call;
mod delays;
mod flight;
mod guard;
mod host;
mod luck;
mod scene;
mod slab;
mod visit;
mod waits;

use prophecy_core::Seed;

use crate::compiled::{CompiledModel, CompiledTraffic, Entrance, NONE};
use crate::outcome::Outcome;
use crate::recursion;
use crate::scenario::Scenario;
use crate::trace::Trace;

use self::calendar::{Calendar, Kind};
use self::delays::{Delayed, Delays};
use self::flight::{Call, Pool, Replica, StationState, Visit};
use self::host::HostState;
pub(crate) use self::luck::Luck;
use self::slab::Slab;

/// How long requests may go on after the last arrival, at least \[ns\].
const DRAIN_NANOS: u64 = 60_000_000_000;

/// Runs one replication.
///
/// # Determinism
///
/// A function of its arguments alone.
pub fn simulate(
    model: &CompiledModel,
    traffic: &CompiledTraffic,
    seed: Seed,
    replication: u32,
) -> Outcome {
    if model.is_simple {
        return recursion::simulate(model, traffic, seed, replication);
    }
    simulate_scenario(model, traffic, seed, replication, &Scenario::default())
}

/// Runs one replication in which something happens.
///
/// # Determinism
///
/// A function of its arguments alone.
pub fn simulate_scenario(
    model: &CompiledModel,
    traffic: &CompiledTraffic,
    seed: Seed,
    replication: u32,
    scenario: &Scenario,
) -> Outcome {
    let mut engine = Engine::new(model, seed, replication, traffic.window_nanos, scenario);
    engine.run(traffic);
    engine.end()
}

#[derive(Clone)]
pub(crate) struct Engine<'a> {
    model: &'a CompiledModel,
    scenario: &'a Scenario,
    now: u64,
    calendar: Calendar,
    delays: Delays,
    luck: Luck,
    visits: Slab<Visit>,
    calls: Slab<Call>,
    /// Calls that wait for their retry, besides the visits under way.
    pending_retries: usize,
    stations: Vec<StationState>,
    /// By slot.
    replicas: Vec<Replica>,
    /// Of all replicas; each knows its first.
    pools: Vec<Pool>,
    hosts: Vec<HostState>,
    /// Pairs of services that cannot reach each other, and until when.
    partitions: Vec<(u32, u32, u64)>,
    scratch: Vec<u32>,
    trace: Option<Trace>,
    outcome: Outcome,
}

// === impl Engine ===

impl<'a> Engine<'a> {
    pub(crate) fn new(
        model: &'a CompiledModel,
        seed: Seed,
        replication: u32,
        window_nanos: u64,
        scenario: &'a Scenario,
    ) -> Self {
        let slots = *model.first_slots.last().expect("one more than stations") as usize;
        let mut engine = Self {
            model,
            scenario,
            now: 0,
            calendar: Calendar::new(scenario.shuffle_ties),
            delays: Delays::new(&model.delays),
            luck: Luck::new(model, seed, replication),
            visits: Slab::new(),
            calls: Slab::new(),
            pending_retries: 0,
            stations: Vec::with_capacity(model.builds[0].stations.len()),
            replicas: vec![Replica::default(); slots],
            pools: Vec::new(),
            hosts: model.hosts.iter().map(|host| HostState::new(host.cores)).collect(),
            partitions: Vec::new(),
            scratch: Vec::new(),
            trace: scenario.trace.then(Trace::default),
            outcome: Outcome::new(model, window_nanos, scenario.bin_nanos),
        };
        engine.set_up();
        engine
    }

    fn run(&mut self, traffic: &CompiledTraffic) {
        let end = end_of(traffic.window_nanos);
        for (number, entrance) in traffic.arrivals.iter().enumerate() {
            while self.step(entrance.at) {}
            self.enter(number as u64, *entrance);
        }
        while self.has_work() && self.step(end) {}
        if self.has_work() {
            self.now = end;
        }
    }

    /// Lets the next event happen, or the next delay expire, unless it is later than `until`.
    pub(crate) fn step(&mut self, until: u64) -> bool {
        let event_at = self.calendar.next_at();
        let delay_at = self.delays.next_at();
        let at = event_at.min(delay_at);
        if at > until || at == u64::MAX {
            return false;
        }
        self.now = at;
        self.outcome.events += 1;
        if event_at == at {
            self.happen();
        } else {
            self.expire();
        }
        true
    }

    /// Says whether anything is under way.
    pub(crate) fn has_work(&self) -> bool {
        self.visits.len() > 0 || self.pending_retries > 0
    }

    /// Returns how many requests are at a service.
    pub(crate) fn present(&self, station: usize) -> u64 {
        let state = &self.stations[station];
        state.busy + state.waiting
    }

    /// Goes on with other luck: what was drawn stays, what will be drawn is drawn anew.
    pub(crate) fn with_luck(mut self, seed: Seed, replication: u32) -> Self {
        self.luck = Luck::new(self.model, seed, replication);
        self
    }

    fn end(mut self) -> Outcome {
        let now = self.now;
        for host in &mut self.hosts {
            host.advance(now);
        }
        for (outcome, host) in self.outcome.hosts.iter_mut().zip(&self.hosts) {
            outcome.busy_nanos = host.busy_nanos;
        }
        for (outcome, station) in self.outcome.stations.iter_mut().zip(&mut self.stations) {
            station.touch(now);
            outcome.held_nanos = station.busy_area;
            outcome.waited_nanos = station.waiting_area;
            outcome.queue_max = station.waiting_max;
        }
        self.outcome.finish();
        self.outcome.trace = self.trace.map(Box::new);
        self.outcome
    }

    /// A request comes from outside.
    pub(crate) fn enter(&mut self, number: u64, entrance: Entrance) {
        self.now = entrance.at;
        self.outcome.events += 1;
        self.outcome.entered(entrance.at);
        let visit = self.visits.insert(Visit {
            route: entrance.route,
            draw_key: spread(number),
            root: number as u32,
            session: entrance.session,
            is_root: true,
            ..Visit::default()
        });
        self.arrive(visit);
    }

    fn happen(&mut self) {
        let Some(action) = self.calendar.take() else { return };
        let (subject, generation) = (action.subject, action.generation);
        match action.kind {
            Kind::SegmentEnd if self.visits.holds(subject, generation) => {
                self.segment_ended(subject);
            }
            Kind::Arrive if self.visits.holds(subject, generation) => self.arrive(subject),
            Kind::Answer if self.visits.holds(subject, generation) => self.answered(subject),
            Kind::SegmentEnd | Kind::Arrive | Kind::Answer => {}
            Kind::Retry => {
                self.pending_retries -= 1;
                if self.calls.holds(subject, generation) {
                    self.attempt(subject);
                }
            }
            Kind::CoreFree => self.core_freed(subject, generation),
            Kind::Pause => self.pause(subject, generation),
            Kind::State => self.change_state(subject),
            Kind::Incident => self.incident(subject),
            Kind::Unlock => self.unlock(subject),
            Kind::Start => self.start(subject, generation),
            Kind::Scale => self.scale(subject),
        }
    }

    fn expire(&mut self) {
        let Some(delay) = self.delays.take() else { return };
        match delay.what {
            Delayed::Timeout if self.visits.holds(delay.subject, delay.generation) => {
                self.timed_out(delay.subject);
            }
            Delayed::Hedge if self.calls.holds(delay.subject, delay.generation) => {
                self.hedge(delay.subject);
            }
            Delayed::Timeout | Delayed::Hedge => {}
        }
    }

    /// Schedules something of a visit.
    fn schedule(&mut self, at: u64, kind: Kind, visit: u32) {
        let generation = self.visits.generation(visit);
        self.calendar.push(at, kind, visit, generation);
    }

    fn core_freed(&mut self, host: u32, epoch: u32) {
        if self.hosts[host as usize].epoch != epoch {
            return;
        }
        let mut done = std::mem::take(&mut self.scratch);
        let next = self.hosts[host as usize].leave(self.now, &mut done);
        self.announce(host, next);
        for visit in done.drain(..) {
            self.computed(visit);
        }
        self.scratch = done;
    }

    /// Schedules when the next of a host is done.
    fn announce(&mut self, host: u32, at: Option<u64>) {
        if let Some(at) = at {
            let epoch = self.hosts[host as usize].epoch;
            self.calendar.push(at, Kind::CoreFree, host, epoch);
        }
    }

    fn station_of(&self, route: u32) -> usize {
        self.model.builds[0].routes[route as usize].station as usize
    }

    fn is_lost_in_partition(&self, from: u32, to: u32) -> Option<u64> {
        let cut = |pair: &&(u32, u32, u64)| {
            let (a, b, until) = **pair;
            until > self.now && ((a, b) == (from, to) || (b, a) == (from, to))
        };
        self.partitions.iter().find(cut).map(|(_, _, until)| *until)
    }

    /// The service that makes a call; `NONE` at the root.
    fn caller_station(&self, visit: u32) -> u32 {
        let call = self.visits[visit].call;
        if call == NONE { NONE } else { self.calls[call].station }
    }
}

/// Returns when a run is cut off, whatever is still under way.
pub(crate) fn end_of(window_nanos: u64) -> u64 {
    window_nanos.saturating_add(DRAIN_NANOS.max(window_nanos.saturating_mul(3)))
}

/// Spreads the bits of a key (the finalizer of SplitMix64).
pub(crate) fn spread(value: u64) -> u64 {
    let z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
