//! A call: attempts at it, their way there and back, giving up, trying again, and its end.

use crate::compiled::{CompiledCall, NONE};

use super::Engine;
use super::calendar::Kind;
use super::delays::Delayed;
use super::flight::{Call, Stage, Visit};
use super::guard::Guard;
use super::spread;

// === impl Engine ===

impl<'a> Engine<'a> {
    /// A visit makes a call.
    pub(super) fn call(&mut self, caller: u32, call_index: u32) {
        let generation = self.visits.generation(caller);
        let parent = &mut self.visits[caller];
        let number = parent.calls_made;
        parent.calls_made += 1;
        let (build, route) = (parent.build, parent.route);
        let description = &self.model.route(build, route).calls[call_index as usize];
        let place = spread(u64::from(call_index) << 40 | u64::from(number) << 8);
        let call = Call {
            caller: if description.asynchronous { NONE } else { caller },
            caller_generation: generation,
            station: self.model.builds[0].routes[route as usize].station,
            slot: parent.slot,
            build,
            route,
            index: call_index,
            draw_key: spread(parent.draw_key ^ place),
            root: parent.root,
            session: parent.session,
            deadline: if description.passes_deadline { parent.deadline } else { u64::MAX },
            attempts: 0,
            retries: 0,
            hedges: 0,
            outstanding: 0,
            span: parent.span,
        };
        if let (Some(budget), Some(guard)) = (&description.budget, self.guard(&call, description)) {
            guard.earn(budget);
        }
        let hedge = description.hedge;
        let handle = self.calls.insert(call);
        if hedge != NONE {
            let generation = self.calls.generation(handle);
            self.delays.push(hedge, self.now, Delayed::Hedge, handle, generation);
        }
        self.attempt(handle);
    }

    fn description(&self, handle: u32) -> &'a CompiledCall {
        let call = &self.calls[handle];
        &self.model.route(call.build, call.route).calls[call.index as usize]
    }

    fn guard(&mut self, call: &Call, description: &CompiledCall) -> Option<&mut Guard> {
        let guards = &mut self.replicas[call.slot as usize].guards;
        guards.get_mut(description.guard as usize)
    }

    /// Makes one attempt at a call, as soon as the caller's pool has a connection.
    pub(super) fn attempt(&mut self, handle: u32) {
        let description = self.description(handle);
        let now = self.now;
        let call = &mut self.calls[handle];
        let attempt = call.attempts;
        call.attempts += 1;
        call.outstanding += 1;
        let call = call.clone();
        if description.breaker.is_some()
            && let Some(guard) = self.guard(&call, description)
            && !guard.admits(now)
        {
            self.outcome.routes[description.route as usize].short_circuited += 1;
            return self.attempt_failed(handle);
        }
        let child = self.visits.insert(Visit {
            route: description.route,
            call: handle,
            call_generation: self.calls.generation(handle),
            draw_key: spread(call.draw_key ^ u64::from(attempt)),
            root: call.root,
            session: call.session,
            deadline: call.deadline,
            parent_span: call.span,
            ..Visit::default()
        });
        if description.timeout != NONE {
            let generation = self.visits.generation(child);
            let at =
                self.delays.push(description.timeout, now, Delayed::Timeout, child, generation);
            if description.passes_deadline {
                let visit = &mut self.visits[child];
                visit.deadline = visit.deadline.min(at);
            }
        }
        if description.pool == NONE {
            return self.send(child, description);
        }
        let first_pool = self.replicas[call.slot as usize].first_pool;
        let pool_index = first_pool + description.pool;
        let pool = &mut self.pools[pool_index as usize];
        if pool.in_use < pool.limit {
            pool.in_use += 1;
            self.visits[child].pool = pool_index;
            self.send(child, description);
        } else {
            let generation = self.visits.generation(child);
            pool.queue.push_back((child, generation));
        }
    }

    /// Sends an attempt on its way.
    fn send(&mut self, visit: u32, description: &CompiledCall) {
        self.visits[visit].stage = Stage::Sent;
        let route = self.visits[visit].route;
        let to = self.station_of(route) as u32;
        let cut = if self.partitions.is_empty() {
            None
        } else {
            self.is_lost_in_partition(self.caller_station(visit), to)
        };
        let way = self.way_nanos(visit, description, 0);
        match cut {
            // What is lost in a partition is sent again, and gets through once it has gone.
            Some(until) => {
                let resend = description.network.unwrap_or_default().resend();
                let at = until.saturating_add(self.resend_phase(visit, resend)).saturating_add(way);
                self.schedule(at, Kind::Arrive, visit);
            }
            None if way == 0 => self.arrive(visit),
            None => self.schedule(self.now.saturating_add(way), Kind::Arrive, visit),
        }
    }

    /// Resends after a partition do not all come at once: they are spread over one resend time.
    fn resend_phase(&mut self, visit: u32, resend_nanos: u64) -> u64 {
        let visit = &self.visits[visit];
        let uniform = self.luck.route(visit.route).network.at(spread(visit.draw_key ^ 7)).uniform();
        (uniform * resend_nanos as f64) as u64
    }

    /// Draws the time of one way; `direction` is 0 there and 1 back.
    fn way_nanos(&mut self, visit: u32, description: &CompiledCall, direction: u64) -> u64 {
        let Some(network) = &description.network else { return 0 };
        let visit = &self.visits[visit];
        let stream = self.luck.route(visit.route).network.at(spread(visit.draw_key ^ direction));
        let mut nanos = network.latency_nanos;
        if network.jitter_nanos > 0 {
            nanos += (stream.exponential() * network.jitter_nanos as f64).round() as u64;
        }
        let mut resend = network.resend();
        while network.loss > 0.0 && stream.uniform() < network.loss {
            nanos = nanos.saturating_add(resend);
            resend = resend.saturating_mul(2);
        }
        nanos
    }

    /// A service has an answer, or a refusal; it goes back to the caller.
    pub(super) fn respond(&mut self, index: u32, failed: bool) {
        let visit = &mut self.visits[index];
        visit.failed = failed;
        visit.stage = Stage::Answering;
        if visit.is_root {
            self.outcome.left(self.now, failed);
        }
        let (call, generation) = (visit.call, visit.call_generation);
        if call == NONE {
            return self.visits.remove(index);
        }
        let way = if self.calls.holds(call, generation) {
            let description = self.description(call);
            self.way_nanos(index, description, 1)
        } else {
            0
        };
        if way == 0 {
            self.answered(index);
        } else {
            self.schedule(self.now.saturating_add(way), Kind::Answer, index);
        }
    }

    /// An answer reaches the caller; its connection is free.
    pub(super) fn answered(&mut self, index: u32) {
        let visit = &self.visits[index];
        let (call, generation, failed) = (visit.call, visit.call_generation, visit.failed);
        self.disconnect(index);
        self.visits.remove(index);
        if call == NONE || !self.calls.holds(call, generation) {
            return;
        }
        self.record(call, failed);
        if failed {
            self.attempt_failed(call);
        } else {
            self.conclude(call, false);
        }
    }

    fn record(&mut self, handle: u32, failed: bool) {
        let description = self.description(handle);
        let Some(breaker) = &description.breaker else { return };
        let now = self.now;
        let call = self.calls[handle].clone();
        if let Some(guard) = self.guard(&call, description) {
            guard.record(breaker, failed, now);
        }
    }

    /// A caller gives up on an attempt.
    ///
    /// What has reached its service goes on there, answered to nobody; what still waits for a
    /// connection is forgotten.
    pub(super) fn timed_out(&mut self, index: u32) {
        let visit = &self.visits[index];
        let (call, generation) = (visit.call, visit.call_generation);
        if call == NONE || !self.calls.holds(call, generation) {
            return;
        }
        self.outcome.routes[visit.route as usize].timed_out += 1;
        let is_at_home = matches!(visit.stage, Stage::Pooled | Stage::Answering);
        self.disconnect(index);
        if is_at_home {
            self.visits.remove(index);
        } else {
            self.visits[index].call = NONE;
        }
        self.record(call, true);
        self.attempt_failed(call);
    }

    /// Gives a connection back, to the next that waits for it.
    pub(super) fn disconnect(&mut self, index: u32) {
        let pool_index = std::mem::replace(&mut self.visits[index].pool, NONE);
        if pool_index == NONE {
            return;
        }
        let pool = &mut self.pools[pool_index as usize];
        while let Some((waiting, generation)) = pool.queue.pop_front() {
            if !self.visits.holds(waiting, generation) {
                continue;
            }
            self.visits[waiting].pool = pool_index;
            let call = self.visits[waiting].call;
            let description = self.description(call);
            return self.send(waiting, description);
        }
        pool.in_use -= 1;
    }

    /// An attempt failed: it is made again, or another one is still under way, or the call failed.
    pub(super) fn attempt_failed(&mut self, handle: u32) {
        let description = self.description(handle);
        let now = self.now;
        let call = &mut self.calls[handle];
        call.outstanding -= 1;
        if call.retries < description.retries {
            let call = call.clone();
            let may = description.budget.is_none()
                || self.guard(&call, description).is_some_and(Guard::spend);
            if may {
                let uniform = if description.backoff.jitter > 0.0 {
                    let key = spread(call.draw_key ^ u64::from(call.attempts) << 32);
                    self.luck.route(description.route).backoff.at(key).uniform()
                } else {
                    1.0
                };
                let wait = description.backoff.wait_nanos(call.retries + 1, uniform);
                self.calls[handle].retries += 1;
                self.outcome.routes[description.route as usize].retried += 1;
                self.pending_retries += 1;
                let generation = self.calls.generation(handle);
                let at = now.saturating_add(wait);
                return self.calendar.push(at, Kind::Retry, handle, generation);
            }
        }
        // A retry that is still to come counts as under way.
        let call = &self.calls[handle];
        let is_last = call.outstanding == 0 && call.attempts_done();
        if is_last {
            self.conclude(handle, true);
        }
    }

    /// A call that takes long is made a second time.
    pub(super) fn hedge(&mut self, handle: u32) {
        let route = self.description(handle).route;
        self.outcome.routes[route as usize].hedged += 1;
        self.calls[handle].hedges += 1;
        self.attempt(handle);
    }

    /// A call is over: its caller learns of it.
    fn conclude(&mut self, handle: u32, failed: bool) {
        let description = self.description(handle);
        let call = self.calls[handle].clone();
        self.calls.remove(handle);
        let caller = call.caller;
        if caller == NONE || !self.visits.holds(caller, call.caller_generation) {
            return;
        }
        let spreads = failed
            && (description.failure_spreads >= 1.0 || {
                let key = spread(call.draw_key ^ 0xFA11);
                self.luck.route(call.route).spread.at(key).uniform() < description.failure_spreads
            });
        let parent = &mut self.visits[caller];
        parent.failed |= spreads;
        parent.outstanding -= 1;
        if parent.outstanding == 0 {
            self.calls_ended(caller);
        }
    }
}

// === impl Call ===

impl Call {
    /// Says whether every attempt that was announced has been made.
    fn attempts_done(&self) -> bool {
        self.attempts == 1 + self.retries + self.hedges
    }
}
