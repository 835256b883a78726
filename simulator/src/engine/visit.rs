//! A request at a service: it comes, waits for a worker, computes, calls, and is answered.

use crate::compiled::{CompiledRoute, NONE, UNLIMITED};
use crate::trace::Span;

use super::Engine;
use super::calendar::Kind;
use super::flight::{Condition, Stage};
use super::spread;

// === impl Engine ===

impl Engine<'_> {
    /// A request reaches its service.
    pub(super) fn arrive(&mut self, index: u32) {
        let route = self.visits[index].route;
        let station = self.station_of(route);
        self.outcome.routes[route as usize].arrived += 1;
        self.visits[index].arrived_at = self.now;
        self.begin_span(index);
        let Some(slot) = self.choose(station, index) else { return self.refuse(index) };
        let replica = &mut self.replicas[slot as usize];
        replica.assigned += 1;
        let build = replica.build;
        let visit = &mut self.visits[index];
        (visit.slot, visit.build) = (slot, build);
        let parameters = &self.model.builds[build as usize].stations[station];
        if let Some(limit) = &parameters.rate_limit {
            let earned = (self.now - replica.tokens_at) as f64 * 1e-9 * limit.rate_hz;
            replica.tokens = (replica.tokens + earned).min(limit.burst);
            replica.tokens_at = self.now;
            // NUMERICS: tokens earned in parts add up to a little less than their sum.
            if replica.tokens < 1.0 - 1e-9 {
                return self.refuse(index);
            }
            replica.tokens -= 1.0;
        }
        if parameters.workers == UNLIMITED || replica.busy < parameters.workers {
            self.take_up(index);
        } else if (replica.queue.len() as u64) < u64::from(parameters.queue_limit) {
            replica.queue.push_back(index);
            self.visits[index].stage = Stage::Queued;
            let state = &mut self.stations[station];
            state.touch(self.now);
            state.waiting += 1;
            state.waiting_max = state.waiting_max.max(replica.queue.len());
        } else {
            self.refuse(index);
        }
    }

    fn refuse(&mut self, index: u32) {
        let route = self.visits[index].route;
        self.outcome.routes[route as usize].refused += 1;
        self.unassign(index);
        self.end_span(index, true);
        self.respond(index, true);
    }

    fn unassign(&mut self, index: u32) {
        let slot = self.visits[index].slot;
        if slot != NONE {
            self.replicas[slot as usize].assigned -= 1;
        }
    }

    /// A worker takes the request up.
    fn take_up(&mut self, index: u32) {
        let now = self.now;
        let visit = &mut self.visits[index];
        (visit.begun_at, visit.has_worker) = (now, true);
        let (route_index, build, slot, deadline) =
            (visit.route, visit.build, visit.slot, visit.deadline);
        let route = self.model.route(build, route_index);
        let state = &mut self.stations[route.station as usize];
        state.touch(now);
        state.busy += 1;
        self.replicas[slot as usize].busy += 1;
        if deadline <= now {
            self.outcome.routes[route_index as usize].expired += 1;
            return self.complete(index, true);
        }
        if !route.is_there {
            return self.complete(index, true);
        }
        if route.is_direct && !self.stations[route.station as usize].is_lockable {
            self.visits[index].stage = Stage::Cache;
            return self.work(index);
        }
        self.visits[index].stage = Stage::Lock;
        self.proceed(index);
    }

    /// Nothing stands between the worker and the work any more.
    pub(super) fn work(&mut self, index: u32) {
        let visit = &self.visits[index];
        let (route_index, build, slot, key, is_hit) =
            (visit.route, visit.build, visit.slot, visit.draw_key, visit.is_hit);
        let route = self.model.route(build, route_index);
        let mut own_nanos = route.demand.draw(self.luck.route(route_index).own.at(key));
        let factor = self.slowdown(route.station as usize, slot)
            * if is_hit { route.cache.as_ref().map_or(1.0, |used| used.hit_share) } else { 1.0 };
        if (factor - 1.0).abs() > 0.0 {
            own_nanos = (own_nanos as f64 * factor).round() as u64;
        }
        self.outcome.stations[route.station as usize].own_nanos += own_nanos;
        let stops = if is_hit { 0 } else { self.stops(index, route) };
        let pieces = u64::from(stops) + 1;
        let first_calls = match route.calls.first() {
            Some(call) if !is_hit => self.luck.count(route_index, 0, &call.counts, key),
            _ => 0,
        };
        let visit = &mut self.visits[index];
        visit.stage = Stage::Working;
        visit.segment_nanos = own_nanos / pieces;
        visit.last_segment_nanos = own_nanos - (pieces - 1) * visit.segment_nanos;
        visit.call_index = if is_hit { route.calls.len() as u32 } else { 0 };
        visit.calls_left = first_calls;
        let nanos = if stops == 0 { visit.last_segment_nanos } else { visit.segment_nanos };
        self.begin_segment(index, nanos);
    }

    fn slowdown(&self, station: usize, slot: u32) -> f64 {
        let state = &self.stations[station];
        let states = &self.model.builds[0].stations[station].states;
        let by_state = states.get(state.state as usize).map_or(1.0, |it| it.slowdown);
        let replica = &self.replicas[slot as usize];
        let warm_up = if replica.warm_nanos == 0 { 1.0 } else { replica.warm_up(self.now) };
        by_state * state.slowdown * warm_up
    }

    /// Returns how often a request stops for calls.
    fn stops(&mut self, index: u32, route: &CompiledRoute) -> u32 {
        if let Some(stops) = route.certain_stops {
            return stops;
        }
        let Self { visits, luck, .. } = self;
        let visit = &visits[index];
        let stops = (0u32..).zip(&route.calls).filter(|(_, call)| !call.asynchronous);
        stops
            .map(|(position, call)| {
                let count = luck.count(visit.route, position, &call.counts, visit.draw_key);
                if call.parallel { count.min(1) } else { count }
            })
            .sum()
    }

    /// Spends a stretch of own time: first what needs a core, then the rest.
    fn begin_segment(&mut self, index: u32, nanos: u64) {
        let visit = &self.visits[index];
        let (slot, build) = (visit.slot, visit.build);
        let route = self.model.route(build, visit.route);
        let replica = &self.replicas[slot as usize];
        let mark = replica.pause_clock(self.now);
        let host = self.model.builds[0].stations[route.station as usize].host;
        self.visits[index].pause_mark = mark;
        if host == NONE || route.cpu_share == 0.0 {
            return self.schedule(self.now.saturating_add(nanos), Kind::SegmentEnd, index);
        }
        let cpu_nanos = ((nanos as f64 * route.cpu_share).round() as u64).min(nanos);
        self.visits[index].held_nanos = nanos - cpu_nanos;
        let next = self.hosts[host as usize].join(self.now, cpu_nanos, index);
        self.announce(host, Some(next));
    }

    /// A core has done its part of a segment.
    pub(super) fn computed(&mut self, index: u32) {
        let held = self.visits[index].held_nanos;
        if held == 0 {
            return self.segment_ended(index);
        }
        self.schedule(self.now.saturating_add(held), Kind::SegmentEnd, index);
    }

    /// A stretch of own time ends: the next call, or the end of the request.
    pub(super) fn segment_ended(&mut self, index: u32) {
        let visit = &self.visits[index];
        let (route_index, build, slot) = (visit.route, visit.build, visit.slot);
        let replica = &self.replicas[slot as usize];
        let clock = replica.pause_clock(self.now);
        if clock != visit.pause_mark {
            // The instance stood still meanwhile: what it did not do then is still to be done.
            let lost = clock - visit.pause_mark;
            let resumes_at = self.now.max(replica.paused_until);
            let mark = replica.pause_clock(resumes_at);
            self.visits[index].pause_mark = mark;
            return self.schedule(resumes_at.saturating_add(lost), Kind::SegmentEnd, index);
        }
        let route = self.model.route(build, route_index);
        loop {
            let visit = &mut self.visits[index];
            let call_index = visit.call_index;
            let Some(call) = route.calls.get(call_index as usize) else { break };
            let left = visit.calls_left;
            if left > 0 && call.asynchronous {
                visit.calls_left = 0;
                for _ in 0..left {
                    self.call(index, call_index);
                }
                continue;
            }
            if left > 0 {
                let count = if call.parallel { left } else { 1 };
                visit.calls_left -= count;
                visit.outstanding = count;
                visit.stage = Stage::Calling;
                if self.is_event_loop(index) {
                    self.lay_down(index);
                }
                for _ in 0..count {
                    self.call(index, call_index);
                }
                return;
            }
            visit.call_index += 1;
            let (next, key) = (visit.call_index, visit.draw_key);
            if let Some(call) = route.calls.get(next as usize) {
                let count = self.luck.count(route_index, next, &call.counts, key);
                self.visits[index].calls_left = count;
            }
        }
        let failed = self.fails(index, route);
        self.complete(index, failed);
    }

    fn fails(&mut self, index: u32, route: &CompiledRoute) -> bool {
        let station = route.station as usize;
        let state = &self.stations[station];
        let states = &self.model.builds[0].stations[station].states;
        let by_state = states.get(state.state as usize).map_or(0.0, |it| it.failure);
        let holds = (1.0 - route.failure) * (1.0 - by_state) * (1.0 - state.failure);
        let visit = &self.visits[index];
        holds < 1.0 && self.luck.route(visit.route).failure.at(visit.draw_key).uniform() >= holds
    }

    fn is_event_loop(&self, index: u32) -> bool {
        let visit = &self.visits[index];
        let station = self.station_of(visit.route);
        self.model.builds[visit.build as usize].stations[station].is_event_loop
    }

    /// All calls of a stop are answered: the next stretch of own time, or the end.
    pub(super) fn calls_ended(&mut self, index: u32) {
        let visit = &self.visits[index];
        if visit.failed {
            return self.complete(index, true);
        }
        if !visit.has_worker {
            return self.resume(index);
        }
        self.go_on(index);
    }

    fn go_on(&mut self, index: u32) {
        let visit = &self.visits[index];
        let (route_index, build, key) = (visit.route, visit.build, visit.draw_key);
        let (call_index, calls_left) = (visit.call_index, visit.calls_left);
        let route = self.model.route(build, route_index);
        let later = (call_index + 1..).zip(route.calls.iter().skip(call_index as usize + 1));
        let mut more = calls_left > 0;
        for (position, call) in later {
            if more {
                break;
            }
            more =
                !call.asynchronous && self.luck.count(route_index, position, &call.counts, key) > 0;
        }
        let visit = &mut self.visits[index];
        visit.stage = Stage::Working;
        let nanos = if more { visit.segment_nanos } else { visit.last_segment_nanos };
        self.begin_segment(index, nanos);
    }

    /// Gives the worker back while calls are waited for.
    fn lay_down(&mut self, index: u32) {
        let visit = &mut self.visits[index];
        visit.has_worker = false;
        let (slot, route) = (visit.slot, visit.route);
        self.free_worker(self.station_of(route), slot);
    }

    /// Takes a worker again after calls.
    fn resume(&mut self, index: u32) {
        let visit = &self.visits[index];
        let (slot, build, route) = (visit.slot, visit.build, visit.route);
        let station = self.station_of(route);
        let workers = self.model.builds[build as usize].stations[station].workers;
        let replica = &mut self.replicas[slot as usize];
        if replica.busy >= workers {
            replica.resuming.push_back(index);
            self.visits[index].stage = Stage::Resuming;
            return;
        }
        replica.busy += 1;
        self.visits[index].has_worker = true;
        let state = &mut self.stations[station];
        state.touch(self.now);
        state.busy += 1;
        self.go_on(index);
    }

    fn free_worker(&mut self, station: usize, slot: u32) {
        let state = &mut self.stations[station];
        state.touch(self.now);
        state.busy -= 1;
        let replica = &mut self.replicas[slot as usize];
        replica.busy -= 1;
        if let Some(next) = replica.resuming.pop_front() {
            self.resume(next);
        } else if let Some(next) = replica.queue.pop_front() {
            state.waiting -= 1;
            self.take_up(next);
        }
    }

    /// A request ends at its service: its worker is free, its caller goes on.
    pub(super) fn complete(&mut self, index: u32, failed: bool) {
        let visit = &self.visits[index];
        let (route, slot, has_worker) = (visit.route, visit.slot, visit.has_worker);
        self.outcome.answered(route, self.now - visit.arrived_at, failed);
        let station = self.station_of(route);
        if visit.holds_row || visit.holds_lock || visit.fetches != NONE {
            self.give_back(index, failed);
        }
        self.unassign(index);
        self.judge(station, slot, failed);
        self.end_span(index, failed);
        self.visits[index].stage = Stage::Answering;
        if has_worker {
            self.visits[index].has_worker = false;
            self.free_worker(station, slot);
        }
        self.respond(index, failed);
        let replica = &mut self.replicas[slot as usize];
        if replica.condition == Condition::Draining && replica.assigned == 0 {
            replica.condition = Condition::Down;
        }
        self.leak(station, slot);
    }

    pub(super) fn begin_span(&mut self, index: u32) {
        let Some(trace) = &mut self.trace else { return };
        let visit = &mut self.visits[index];
        let station = self.model.builds[0].routes[visit.route as usize].station;
        visit.span = trace.begin(Span {
            root: visit.root,
            parent: visit.parent_span,
            station,
            route: visit.route,
            arrived_nanos: self.now,
            ..Span::default()
        });
    }

    pub(super) fn end_span(&mut self, index: u32, failed: bool) {
        let Some(trace) = &mut self.trace else { return };
        let visit = &self.visits[index];
        let slot = match visit.slot {
            NONE => 0,
            slot => {
                slot - self.model.first_slots
                    [self.model.builds[0].routes[visit.route as usize].station as usize]
            }
        };
        trace.end(visit.span, slot, visit.begun_at, self.now, failed);
    }

    /// Returns the place between 0 and 1 that decides which key a visit asks for.
    pub(super) fn key_place(&mut self, index: u32, purpose: u64) -> f64 {
        let visit = &self.visits[index];
        self.luck.route(visit.route).keys.at(spread(visit.draw_key ^ purpose)).uniform()
    }
}
