//! Instances that come and go, and whatever else happens around the requests.

use crate::compiled::{NONE, UNLIMITED};
use crate::scenario::Happening;

use super::Engine;
use super::cache::CacheState;
use super::calendar::Kind;
use super::flight::{Condition, Pool, Replica, Stage, StationState};
use super::guard::Guard;

use crate::model::Policy;

// === impl Engine ===

impl Engine<'_> {
    /// Starts what runs from the beginning, and schedules what happens by itself.
    pub(super) fn set_up(&mut self) {
        let build = &self.model.builds[0];
        for (index, station) in build.stations.iter().enumerate() {
            let balancing = &station.balancing;
            let mut state = StationState {
                takes_turns: balancing.policy == Policy::RoundRobin
                    && balancing.ejection.is_none()
                    && balancing.slow_start_nanos == 0,
                slowdown: 1.0,
                is_lockable: self.scenario.locks(&station.name),
                ..StationState::default()
            };
            for (cache, keys) in station.caches.iter().zip(&station.cache_keys) {
                state
                    .shared_caches
                    .push(CacheState::new(cache, if cache.shared { *keys } else { 0 }));
            }
            if let Some(replication) = station.replication {
                state.copies.applied_at = vec![0; replication.copies as usize];
                state.copies.keys =
                    vec![vec![0; station.written_keys as usize]; replication.copies as usize];
            }
            self.stations.push(state);
            for slot in self.model.slots(index) {
                self.replicas[slot as usize].station = index as u32;
            }
            for slot in self.model.slots(index).take(station.replicas as usize) {
                self.bring_up(slot, 0, None);
            }
            if let Some(first) = station.states.first() {
                let dwell = self.luck.station(index).states.exponential() * first.mean_nanos as f64;
                self.calendar.push(dwell.round() as u64, Kind::State, index as u32, 0);
            }
            if let Some(scaling) = station.scaling {
                self.calendar.push(scaling.every_nanos, Kind::Scale, index as u32, 0);
            }
        }
        for (index, incident) in self.scenario.incidents.iter().enumerate() {
            self.calendar.push(incident.at_nanos, Kind::Incident, index as u32, 0);
        }
    }

    /// An instance takes requests from now on.
    fn bring_up(&mut self, slot: u32, build: u32, warm_up: Option<(f64, u64)>) {
        let old = &self.replicas[slot as usize];
        let (station, starts) = (old.station as usize, old.starts + 1);
        let parameters = &self.model.builds[build as usize].stations[station];
        let first_pool = self.pools.len() as u32;
        self.pools
            .extend(parameters.pools.iter().map(|limit| Pool { limit: *limit, ..Pool::default() }));
        let mut guards = vec![Guard::default(); parameters.guards as usize];
        let routes = self.model.builds[build as usize].routes.iter();
        for call in
            routes.filter(|route| route.station as usize == station).flat_map(|it| &it.calls)
        {
            if call.guard != NONE {
                guards[call.guard as usize] = Guard::new(call.budget.as_ref());
            }
        }
        let caches = parameters.caches.iter().zip(&parameters.cache_keys);
        let (warm_factor, warm_nanos) = warm_up.unwrap_or((1.0, 0));
        self.replicas[slot as usize] = Replica {
            station: station as u32,
            build,
            condition: Condition::Up,
            starts,
            started_at: self.now,
            warm_factor,
            warm_nanos,
            first_pool,
            guards,
            caches: caches
                .map(|(cache, keys)| CacheState::new(cache, if cache.shared { 0 } else { *keys }))
                .collect(),
            tokens: parameters.rate_limit.map_or(0.0, |limit| limit.burst),
            tokens_at: self.now,
            pause_began: self.now,
            paused_until: self.now,
            ..Replica::default()
        };
        if parameters.pauses.is_some() {
            self.schedule_pause(slot);
        }
        self.refresh(station);
    }

    /// Notes anew which instances of a service take requests.
    fn refresh(&mut self, station: usize) {
        let up = self.model.slots(station);
        let is_up = |slot: &u32| self.replicas[*slot as usize].condition == Condition::Up;
        let up = up.filter(is_up).collect();
        self.stations[station].up = up;
    }

    fn schedule_pause(&mut self, slot: u32) {
        let replica = &self.replicas[slot as usize];
        let (station, starts) = (replica.station as usize, replica.starts);
        let parameters = &self.model.builds[replica.build as usize].stations[station];
        let Some(pauses) = parameters.pauses else { return };
        let from = replica.paused_until.max(self.now);
        let wait = self.luck.station(station).pauses.exponential() * pauses.every_nanos as f64;
        let at = from.saturating_add(wait.round() as u64);
        self.calendar.push(at, Kind::Pause, slot, starts);
    }

    pub(super) fn pause(&mut self, slot: u32, starts: u32) {
        let replica = &self.replicas[slot as usize];
        if replica.starts != starts || replica.condition == Condition::Down {
            return;
        }
        let station = replica.station as usize;
        let parameters = &self.model.builds[replica.build as usize].stations[station];
        let Some(pauses) = parameters.pauses else { return };
        let now = self.now;
        self.replicas[slot as usize].pause(now, pauses.nanos);
        self.schedule_pause(slot);
    }

    pub(super) fn change_state(&mut self, station: u32) {
        let index = station as usize;
        let states = &self.model.builds[0].stations[index].states;
        let stream = &mut self.luck.station(index).states;
        let state = &mut self.stations[index];
        if states.len() > 1 {
            let step = 1 + stream.below(states.len() - 1) as u32;
            state.state = (state.state + step) % states.len() as u32;
        }
        let dwell = stream.exponential() * states[state.state as usize].mean_nanos as f64;
        let at = self.now.saturating_add(dwell.round().max(1.0) as u64);
        self.calendar.push(at, Kind::State, station, 0);
    }

    pub(super) fn incident(&mut self, index: u32) {
        let model = self.model;
        let scenario = self.scenario;
        let station_of = |name: &str| model.station(name);
        match &scenario.incidents[index as usize].happening {
            Happening::Start { service, instance, build, warm_up } => {
                if let Some(slot) = self.slot(service, *instance) {
                    let warm_up = warm_up.map(|it| (it.factor, it.nanos));
                    // Whoever had not ended by now is ended.
                    self.crash(slot);
                    self.bring_up(slot, *build, warm_up);
                }
            }
            Happening::Stop { service, instance } => {
                if let Some(slot) = self.slot(service, *instance) {
                    self.drain(slot);
                }
            }
            Happening::Crash { service, instance } => {
                if let Some(slot) = self.slot(service, *instance) {
                    self.crash(slot);
                }
            }
            Happening::Shift { service, share } => {
                if let Some(station) = station_of(service) {
                    let state = &mut self.stations[station];
                    state.second_share = Some(*share);
                    state.takes_turns = false;
                }
            }
            Happening::Flush { service, cache } => {
                if let Some(station) = station_of(service) {
                    self.flush(station, cache);
                }
            }
            Happening::Lock { service, nanos } => {
                if let Some(station) = station_of(service) {
                    self.lock(station, *nanos);
                }
            }
            Happening::Slow { service, factor, failure } => {
                if let Some(station) = station_of(service) {
                    let state = &mut self.stations[station];
                    (state.slowdown, state.failure) = (*factor, *failure);
                }
            }
            Happening::Partition { from, to, nanos } => {
                if let (Some(from), Some(to)) = (station_of(from), station_of(to)) {
                    let until = self.now.saturating_add(*nanos);
                    self.partitions.retain(|(_, _, until)| *until > self.now);
                    self.partitions.push((from as u32, to as u32, until));
                }
            }
        }
    }

    fn slot(&self, service: &str, instance: u32) -> Option<u32> {
        let mut slots = self.model.slots(self.model.station(service)?);
        slots.nth(instance as usize)
    }

    fn flush(&mut self, station: usize, name: &str) {
        for slot in self.model.slots(station) {
            let replica = &mut self.replicas[slot as usize];
            let names = &self.model.builds[replica.build as usize].stations[station].cache_names;
            for (cache, _) in
                replica.caches.iter_mut().zip(names).filter(|(_, known)| *known == name)
            {
                cache.flush();
            }
        }
        let names = &self.model.builds[0].stations[station].cache_names;
        let shared = self.stations[station].shared_caches.iter_mut().zip(names);
        shared.filter(|(_, known)| *known == name).for_each(|(cache, _)| cache.flush());
    }

    fn drain(&mut self, slot: u32) {
        let replica = &mut self.replicas[slot as usize];
        if replica.condition == Condition::Up {
            let is_idle = replica.assigned == 0;
            replica.condition = if is_idle { Condition::Down } else { Condition::Draining };
            let station = replica.station as usize;
            self.refresh(station);
        }
    }

    /// An instance ends with all that it was working on.
    fn crash(&mut self, slot: u32) {
        if self.replicas[slot as usize].condition == Condition::Down {
            return;
        }
        let station = self.replicas[slot as usize].station as usize;
        let now = self.now;
        let lost: Vec<u32> = self
            .visits
            .used()
            .filter(|(_, visit)| visit.slot == slot && visit.stage != Stage::Answering)
            .map(|(index, _)| index)
            .collect();
        let replica = &mut self.replicas[slot as usize];
        replica.condition = Condition::Down;
        let (busy, queued) = (replica.busy, replica.queue.len() as u64);
        (replica.busy, replica.assigned) = (0, 0);
        replica.queue.clear();
        replica.resuming.clear();
        let state = &mut self.stations[station];
        state.touch(now);
        state.busy -= u64::from(busy);
        state.waiting -= queued;
        let is_lost = |visit: &u32| lost.binary_search(visit).is_ok();
        state.rows.values_mut().for_each(|waiting| waiting.retain(|visit| !is_lost(visit)));
        state.shared_caches.iter_mut().for_each(|cache| cache.forget(&is_lost));
        self.replicas[slot as usize].caches.clear();
        let host = self.model.builds[0].stations[station].host;
        if host != NONE {
            let next = self.hosts[host as usize].drop_all(now, &|visit| is_lost(&visit));
            self.announce(host, next);
        }
        self.outcome.stations[station].crashes += u64::from(!lost.is_empty());
        self.refresh(station);
        // Lost ones are marked before any of them is answered: an answer may start another.
        for &index in &lost {
            let visit = &mut self.visits[index];
            visit.stage = Stage::Answering;
            visit.has_worker = false;
        }
        for index in lost {
            let visit = &self.visits[index];
            let (route, arrived_at) = (visit.route, visit.arrived_at);
            // A local cache is gone with its instance.
            let uses_local =
                visit.fetches != NONE && self.replicas[slot as usize].caches.is_empty();
            if uses_local && !self.has_shared_cache(station) {
                self.visits[index].fetches = NONE;
            }
            self.outcome.answered(route, now - arrived_at, true);
            if self.visits[index].holds_row
                || self.visits[index].holds_lock
                || self.visits[index].fetches != NONE
            {
                self.give_back(index, true);
            }
            self.end_span(index, true);
            self.respond(index, true);
        }
    }

    fn has_shared_cache(&self, station: usize) -> bool {
        self.model.builds[0].stations[station].caches.iter().any(|cache| cache.shared)
    }

    /// A request has used up some of what an instance leaks.
    pub(super) fn leak(&mut self, station: usize, slot: u32) {
        let replica = &mut self.replicas[slot as usize];
        let parameters = &self.model.builds[replica.build as usize].stations[station];
        let Some(leak) = parameters.leak else { return };
        replica.leaked += leak.per_request;
        if replica.leaked < leak.limit || replica.condition == Condition::Down {
            return;
        }
        self.crash(slot);
        let starts = self.replicas[slot as usize].starts;
        let at = self.now.saturating_add(leak.restart_nanos);
        self.calendar.push(at, Kind::Start, slot, starts);
    }

    /// An instance that was started takes requests, unless it was started otherwise meanwhile.
    pub(super) fn start(&mut self, slot: u32, starts: u32) {
        let replica = &self.replicas[slot as usize];
        let (station, build) = (replica.station as usize, replica.build);
        if replica.starts == starts && replica.condition == Condition::Down {
            self.bring_up(slot, build, None);
        }
        let state = &mut self.stations[station];
        state.starting = state.starting.saturating_sub(1);
    }

    /// Compares the share of busy workers since the last look with the target.
    pub(super) fn scale(&mut self, station: u32) {
        let index = station as usize;
        let parameters = &self.model.builds[0].stations[index];
        let Some(scaling) = parameters.scaling else { return };
        let now = self.now;
        let state = &mut self.stations[index];
        state.touch(now);
        let busy = (state.busy_area - state.scaled_area) as f64 / scaling.every_nanos as f64;
        state.scaled_area = state.busy_area;
        let workers = if parameters.workers == UNLIMITED { 1 } else { parameters.workers };
        let wanted = (busy / (f64::from(workers) * scaling.target)).ceil() as u32;
        let wanted = wanted.clamp(scaling.least, scaling.most);
        let (up, starting) = (state.up.len() as u32, state.starting);
        if wanted > up + starting {
            let down: Vec<u32> = self
                .model
                .slots(index)
                .filter(|slot| self.replicas[*slot as usize].condition == Condition::Down)
                .skip(starting as usize)
                .take((wanted - up - starting) as usize)
                .collect();
            for slot in down {
                let starts = self.replicas[slot as usize].starts;
                let at = now.saturating_add(scaling.delay_nanos);
                self.calendar.push(at, Kind::Start, slot, starts);
                self.stations[index].starting += 1;
            }
        } else if wanted < up
            && let Some(last) = self.stations[index].up.last().copied()
        {
            self.drain(last);
        }
        let running = self.stations[index].up.len() as u32;
        let outcome = &mut self.outcome.stations[index];
        outcome.instances_max = outcome.instances_max.max(running);
        self.calendar.push(now.saturating_add(scaling.every_nanos), Kind::Scale, station, 0);
    }
}
