//! The event engine: one replication of a model under traffic.
//!
//! Simulated time is integer nanoseconds, and the order of events is total: (time, priority,
//! sequence). Every draw is keyed by the root request and the path of calls that led to it, so two
//! models share their luck even where their events happen in another order.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use prophecy_core::{Philox, Seed};

use crate::compiled::{CompiledModel, CompiledTraffic, UNLIMITED};
use crate::outcome::Outcome;

/// How long requests may go on after the last arrival, at least \[ns\].
const DRAIN_NANOS: u64 = 60_000_000_000;

const NOBODY: u32 = u32::MAX;

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
    let mut engine = Engine::new(model, seed, replication, traffic.window_nanos);
    engine.run(traffic);
    engine.outcome
}

struct Engine<'a> {
    model: &'a CompiledModel,
    now: u64,
    sequence: u64,
    events: BinaryHeap<Reverse<Event>>,
    requests: Vec<Request>,
    free: Vec<u32>,
    replicas: Vec<Vec<Replica>>,
    next_replica: Vec<u32>,
    streams: Vec<RouteStreams>,
    outcome: Outcome,
}

/// Ordered by time, then by kind (ends before timeouts), then by insertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Event {
    at: u64,
    priority: u8,
    sequence: u64,
    request: u32,
    generation: u32,
}

const SEGMENT_END: u8 = 0;
const TIMEOUT: u8 = 1;

#[derive(Clone, Debug, Default)]
struct Request {
    generation: u32,
    route: u32,
    replica: u32,
    /// The caller's request, or `NOBODY` at the root, and the generation that it then had.
    parent: u32,
    parent_generation: u32,
    /// The key of its draws: the root's number mixed with the path of calls.
    draw_key: u64,
    arrived_at: u64,
    begun_at: u64,
    segment_nanos: u64,
    last_segment_nanos: u64,
    /// The call being made: which entry of the route's calls, how many are left of it.
    call_index: u32,
    calls_left: u32,
    calls_made: u32,
    outstanding: u32,
    failed: bool,
    /// As a call: which entry of the caller's calls it is, and which attempt.
    as_call: u32,
    attempt: u32,
    holds_pool_slot: bool,
    reached_service: bool,
}

#[derive(Clone, Debug, Default)]
struct Replica {
    busy: u32,
    queue: VecDeque<u32>,
    pools: Vec<Pool>,
}

#[derive(Clone, Debug, Default)]
struct Pool {
    in_use: u32,
    /// Calls that wait for a slot, with the generation of the waiting call.
    queue: VecDeque<(u32, u32)>,
}

struct RouteStreams {
    own: Philox,
    counts: Philox,
    failure: Philox,
    spread: Philox,
}

// === impl Engine ===

impl<'a> Engine<'a> {
    fn new(model: &'a CompiledModel, seed: Seed, replication: u32, window_nanos: u64) -> Self {
        let replicas = model.stations.iter().map(|station| {
            let pools = vec![Pool::default(); station.pools.len()];
            vec![Replica { pools, ..Replica::default() }; station.replicas as usize]
        });
        let streams = model.routes.iter().map(|route| RouteStreams {
            own: seed.stream(replication, route.entity, "own"),
            counts: seed.stream(replication, route.entity, "counts"),
            failure: seed.stream(replication, route.entity, "failure"),
            spread: seed.stream(replication, route.entity, "spread"),
        });
        Self {
            model,
            now: 0,
            sequence: 0,
            events: BinaryHeap::new(),
            requests: Vec::new(),
            free: Vec::new(),
            replicas: replicas.collect(),
            next_replica: vec![0; model.stations.len()],
            streams: streams.collect(),
            outcome: Outcome::new(model, window_nanos),
        }
    }

    fn run(&mut self, traffic: &CompiledTraffic) {
        let horizon = traffic.window_nanos + DRAIN_NANOS.max(3 * traffic.window_nanos);
        let mut arrivals = traffic.arrivals.iter().enumerate().peekable();
        loop {
            // Arrivals are merged from their own list, before events of the same instant.
            let next_event = self.events.peek().map_or(u64::MAX, |Reverse(event)| event.at);
            if let Some((number, &(at, route))) = arrivals.next_if(|(_, (at, _))| *at <= next_event)
            {
                self.advance(at);
                let root = Request {
                    route,
                    parent: NOBODY,
                    draw_key: spread(number as u64),
                    ..Request::default()
                };
                let request = self.admit(root);
                self.arrive(request);
                continue;
            }
            let Some(Reverse(event)) = self.events.pop() else { break };
            if event.at > horizon {
                break;
            }
            self.advance(event.at);
            if self.requests[event.request as usize].generation == event.generation {
                match event.priority {
                    SEGMENT_END => self.segment_ended(event.request),
                    _ => self.timed_out(event.request),
                }
            }
        }
        self.outcome.finish();
    }

    fn advance(&mut self, at: u64) {
        self.now = at;
    }

    fn admit(&mut self, request: Request) -> u32 {
        if let Some(index) = self.free.pop() {
            let generation = self.requests[index as usize].generation;
            self.requests[index as usize] = Request { generation, ..request };
            return index;
        }
        self.requests.push(request);
        (self.requests.len() - 1) as u32
    }

    fn release(&mut self, index: u32) {
        let request = &mut self.requests[index as usize];
        request.generation = request.generation.wrapping_add(1);
        self.free.push(index);
    }

    fn schedule(&mut self, at: u64, priority: u8, request: u32) {
        let generation = self.requests[request as usize].generation;
        self.sequence += 1;
        let event = Event { at, priority, sequence: self.sequence, request, generation };
        self.events.push(Reverse(event));
    }

    /// A request reaches its service.
    fn arrive(&mut self, index: u32) {
        let route = self.requests[index as usize].route;
        let station_index = self.model.routes[route as usize].station as usize;
        let station = &self.model.stations[station_index];
        let replica_index = self.next_replica[station_index];
        self.next_replica[station_index] = (replica_index + 1) % station.replicas;
        let request = &mut self.requests[index as usize];
        request.replica = replica_index;
        request.reached_service = true;
        request.arrived_at = self.now;
        self.outcome.arrived(route);
        let replica = &mut self.replicas[station_index][replica_index as usize];
        if station.workers == UNLIMITED || replica.busy < station.workers {
            self.begin(index);
        } else if (replica.queue.len() as u64) < u64::from(station.queue_limit) {
            replica.queue.push_back(index);
            self.outcome.queued(station_index, replica.queue.len());
        } else {
            self.outcome.refused(route);
            self.answer_caller(index, true);
        }
    }

    /// A worker takes the request up.
    fn begin(&mut self, index: u32) {
        let request = &self.requests[index as usize];
        let (route_index, key, replica) =
            (request.route as usize, request.draw_key, request.replica);
        let route = &self.model.routes[route_index];
        self.replicas[route.station as usize][replica as usize].busy += 1;
        let own_nanos = route.demand.draw(self.streams[route_index].own.at(key));
        let call_count: u32 = (0..route.calls.len()).map(|call| self.call_count(index, call)).sum();
        let first_calls = if route.calls.is_empty() { 0 } else { self.call_count(index, 0) };
        let pieces = u64::from(self.rounds(index, call_count)) + 1;
        let request = &mut self.requests[index as usize];
        request.begun_at = self.now;
        request.segment_nanos = own_nanos / pieces;
        request.last_segment_nanos = own_nanos - (pieces - 1) * request.segment_nanos;
        request.calls_left = first_calls;
        let first =
            if call_count == 0 { request.last_segment_nanos } else { request.segment_nanos };
        self.outcome.worked(route.station as usize, own_nanos);
        self.schedule(self.now + first, SEGMENT_END, index);
    }

    /// Returns how many times a request stops to wait for calls.
    fn rounds(&mut self, index: u32, call_count: u32) -> u32 {
        let route = &self.model.routes[self.requests[index as usize].route as usize];
        if route.calls.iter().all(|call| !call.parallel) {
            return call_count;
        }
        (0..route.calls.len())
            .map(|call| {
                let count = self.call_count(index, call);
                if route.calls[call].parallel { count.min(1) } else { count }
            })
            .sum()
    }

    /// Draws how often a request makes one of its route's calls; the same answer each time.
    fn call_count(&mut self, index: u32, call: usize) -> u32 {
        let request = &self.requests[index as usize];
        let cumulative = &self.model.routes[request.route as usize].calls[call].cumulative;
        if let [_, .., last] = cumulative.as_slice()
            && cumulative.len() == 2
            && *last - cumulative[0] >= 1.0
        {
            return 1;
        }
        let stream = &mut self.streams[request.route as usize].counts;
        let u = stream.at(spread(request.draw_key ^ call as u64)).uniform();
        cumulative.partition_point(|probability| *probability <= u).min(cumulative.len() - 1) as u32
    }

    /// A stretch of own time ends: the next call, or the end of the request.
    fn segment_ended(&mut self, index: u32) {
        let route = &self.model.routes[self.requests[index as usize].route as usize];
        loop {
            let request = &self.requests[index as usize];
            let Some(call) = route.calls.get(request.call_index as usize) else { break };
            let calls_left = request.calls_left;
            if calls_left > 0 {
                let count = if call.parallel { calls_left } else { 1 };
                let request = &mut self.requests[index as usize];
                request.calls_left -= count;
                request.outstanding = count;
                let call_index = request.call_index;
                for _ in 0..count {
                    self.call(index, call_index, 0);
                }
                return;
            }
            let next = request.call_index + 1;
            let count = if (next as usize) < route.calls.len() {
                self.call_count(index, next as usize)
            } else {
                0
            };
            let request = &mut self.requests[index as usize];
            request.call_index = next;
            request.calls_left = count;
        }
        let key = self.requests[index as usize].draw_key;
        let failed = route.failure > 0.0
            && self.streams[self.requests[index as usize].route as usize].failure.at(key).uniform()
                < route.failure;
        self.complete(index, failed);
    }

    /// Makes one attempt at a call, as soon as the caller's pool has a slot.
    fn call(&mut self, caller: u32, call_index: u32, attempt: u32) {
        let parent = &mut self.requests[caller as usize];
        let (route, replica, generation) = (parent.route, parent.replica, parent.generation);
        let number = parent.calls_made;
        parent.calls_made += 1;
        let call = &self.model.routes[route as usize].calls[call_index as usize];
        let draw_key = spread(
            parent.draw_key
                ^ spread(u64::from(call_index) << 40 | u64::from(number) << 8 | u64::from(attempt)),
        );
        let child = self.admit(Request {
            route: call.route,
            parent: caller,
            parent_generation: generation,
            draw_key,
            as_call: call_index,
            attempt,
            ..Request::default()
        });
        if let Some(timeout) = call.timeout_nanos {
            self.schedule(self.now + timeout, TIMEOUT, child);
        }
        let Some(pool_index) = call.pool else { return self.arrive(child) };
        let station = self.model.routes[route as usize].station as usize;
        let limit = self.model.stations[station].pools[pool_index as usize];
        let pool = &mut self.replicas[station][replica as usize].pools[pool_index as usize];
        if pool.in_use < limit {
            pool.in_use += 1;
            self.requests[child as usize].holds_pool_slot = true;
            self.arrive(child);
        } else {
            let generation = self.requests[child as usize].generation;
            pool.queue.push_back((child, generation));
        }
    }

    /// A request ends at its service: its worker is free, its caller goes on.
    fn complete(&mut self, index: u32, failed: bool) {
        let request = &self.requests[index as usize];
        let (route, replica_index) = (request.route, request.replica as usize);
        let station = self.model.routes[route as usize].station as usize;
        self.outcome.answered(route, self.now - request.arrived_at, failed);
        self.outcome.held(station, self.now - request.begun_at);
        let replica = &mut self.replicas[station][replica_index];
        replica.busy -= 1;
        if let Some(next) = replica.queue.pop_front() {
            self.begin(next);
        }
        self.answer_caller(index, failed);
    }

    /// Gives the caller its answer, and the pool its slot, and forgets the request.
    fn answer_caller(&mut self, index: u32, failed: bool) {
        let request = self.requests[index as usize].clone();
        self.release(index);
        if request.parent == NOBODY {
            return;
        }
        let parent = &self.requests[request.parent as usize];
        if parent.generation != request.parent_generation {
            return;
        }
        if request.holds_pool_slot {
            self.free_pool_slot(request.parent, request.as_call);
        }
        self.call_ended(request.parent, request.as_call, request.attempt, failed);
    }

    /// A call took longer than its caller waits: the caller goes on without its answer.
    ///
    /// A call that has reached its service goes on there, answered to nobody; one that still waits
    /// for a slot of the caller's pool is forgotten.
    fn timed_out(&mut self, index: u32) {
        let request = self.requests[index as usize].clone();
        if request.parent == NOBODY
            || self.requests[request.parent as usize].generation != request.parent_generation
        {
            return;
        }
        self.outcome.timed_out(request.route);
        if request.holds_pool_slot {
            self.requests[index as usize].parent = NOBODY;
            self.requests[index as usize].holds_pool_slot = false;
            self.free_pool_slot(request.parent, request.as_call);
        } else if request.reached_service {
            self.requests[index as usize].parent = NOBODY;
        } else {
            self.release(index);
        }
        self.call_ended(request.parent, request.as_call, request.attempt, true);
    }

    fn free_pool_slot(&mut self, caller: u32, call_index: u32) {
        let parent = &self.requests[caller as usize];
        let route = &self.model.routes[parent.route as usize];
        let pool_index =
            route.calls[call_index as usize].pool.expect("a slot is of a pool") as usize;
        let pool =
            &mut self.replicas[route.station as usize][parent.replica as usize].pools[pool_index];
        while let Some((waiting, generation)) = pool.queue.pop_front() {
            if self.requests[waiting as usize].generation == generation {
                self.requests[waiting as usize].holds_pool_slot = true;
                return self.arrive(waiting);
            }
        }
        pool.in_use -= 1;
    }

    /// The caller learns how a call ended: it retries, fails, or goes on.
    fn call_ended(&mut self, caller: u32, call_index: u32, attempt: u32, failed: bool) {
        let parent = &self.requests[caller as usize];
        let (route_index, key) = (parent.route as usize, parent.draw_key);
        let call = &self.model.routes[route_index].calls[call_index as usize];
        if failed && attempt < call.retries {
            return self.call(caller, call_index, attempt + 1);
        }
        let spreads = failed
            && (call.failure_spreads >= 1.0
                || self.streams[route_index]
                    .spread
                    .at(spread(key ^ u64::from(parent.calls_made)))
                    .uniform()
                    < call.failure_spreads);
        let parent = &mut self.requests[caller as usize];
        parent.failed |= spreads;
        parent.outstanding -= 1;
        if parent.outstanding > 0 {
            return;
        }
        if parent.failed {
            return self.complete(caller, true);
        }
        let calls = &self.model.routes[route_index].calls;
        let more = parent.calls_left > 0 || (parent.call_index as usize + 1) < calls.len();
        let nanos = if more { parent.segment_nanos } else { parent.last_segment_nanos };
        self.schedule(self.now + nanos, SEGMENT_END, caller);
    }
}

/// Spreads the bits of a key (the finalizer of SplitMix64).
fn spread(value: u64) -> u64 {
    let z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
