//! What a request with a worker may still have to wait for: a lock, a row, an entry of a cache.

use std::collections::VecDeque;

use crate::compiled::NONE;

use super::Engine;
use super::cache::CacheState;
use super::calendar::Kind;
use super::flight::Stage;

/// What the keys of a visit are drawn for.
const ROW: u64 = 1 << 60;
const CACHE: u64 = 2 << 60;
const COPY: u64 = 3 << 60;

// === impl Engine ===

impl Engine<'_> {
    /// Asks for what is still missing, and works once nothing is.
    pub(super) fn proceed(&mut self, index: u32) {
        if self.visits[index].stage == Stage::Lock {
            if !self.shares_lock(index) {
                return;
            }
            self.visits[index].stage = Stage::Row;
        }
        if self.visits[index].stage == Stage::Row {
            if !self.locks_row(index) {
                return;
            }
            self.visits[index].stage = Stage::Cache;
        }
        if !self.asks_cache(index) {
            return;
        }
        self.use_copies(index);
        self.work(index);
    }

    fn shares_lock(&mut self, index: u32) -> bool {
        let station = self.station_of(self.visits[index].route);
        let generation = self.visits.generation(index);
        let state = &mut self.stations[station];
        if !state.is_lockable {
            return true;
        }
        // Whoever comes after one that wants it alone queues behind it, as databases do.
        if state.locked.is_exclusive || state.locked.wanted_nanos.is_some() {
            state.locked.waiting.push_back((index, generation));
            return false;
        }
        state.locked.holders += 1;
        self.visits[index].holds_lock = true;
        true
    }

    /// Somebody wants a service's lock for itself.
    pub(super) fn lock(&mut self, station: usize, nanos: u64) {
        let locked = &mut self.stations[station].locked;
        locked.wanted_nanos = Some(locked.wanted_nanos.unwrap_or(0) + nanos);
        self.grant(station);
    }

    fn grant(&mut self, station: usize) {
        let locked = &mut self.stations[station].locked;
        if locked.holders == 0
            && !locked.is_exclusive
            && let Some(nanos) = locked.wanted_nanos.take()
        {
            locked.is_exclusive = true;
            self.calendar.push(self.now.saturating_add(nanos), Kind::Unlock, station as u32, 0);
        }
    }

    /// The lock is given back, and all who waited go on.
    pub(super) fn unlock(&mut self, station: u32) {
        let locked = &mut self.stations[station as usize].locked;
        locked.is_exclusive = false;
        if locked.wanted_nanos.is_some() {
            return self.grant(station as usize);
        }
        let waiting = std::mem::take(&mut locked.waiting);
        for (visit, generation) in waiting {
            if self.visits.holds(visit, generation) && self.visits[visit].stage == Stage::Lock {
                self.proceed(visit);
            }
        }
    }

    fn locks_row(&mut self, index: u32) -> bool {
        let visit = &self.visits[index];
        let route = self.model.route(visit.build, visit.route);
        let Some(row) = &route.row else { return true };
        let station = route.station as usize;
        let key = row.at(self.key_place(index, ROW));
        self.visits[index].row = key;
        if let Some(waiting) = self.stations[station].rows.get_mut(&key) {
            waiting.push_back(index);
            return false;
        }
        self.stations[station].rows.insert(key, VecDeque::new());
        self.visits[index].holds_row = true;
        true
    }

    fn asks_cache(&mut self, index: u32) -> bool {
        let visit = &self.visits[index];
        let (route_index, slot) = (visit.route, visit.slot);
        let route = self.model.route(visit.build, route_index);
        let Some(used) = &route.cache else { return true };
        let (station, position) = (route.station as usize, used.cache as usize);
        let key = used.keys.at(self.key_place(index, CACHE));
        let now = self.now;
        let cache = self.cache(station, slot, position);
        let is_hit = cache.get(key, now);
        let waits = !is_hit && cache.coalesces && cache.joins_fetch(key, index);
        if waits {
            return false;
        }
        let outcome = &mut self.outcome.routes[route_index as usize];
        if is_hit {
            outcome.hits += 1;
        } else {
            outcome.misses += 1;
            self.visits[index].fetches = key;
        }
        self.visits[index].is_hit = is_hit;
        true
    }

    fn cache(&mut self, station: usize, slot: u32, position: usize) -> &mut CacheState {
        let build = self.replicas[slot as usize].build;
        if self.model.builds[build as usize].stations[station].caches[position].shared {
            &mut self.stations[station].shared_caches[position]
        } else {
            &mut self.replicas[slot as usize].caches[position]
        }
    }

    /// Writes to, or reads from, the copies.
    fn use_copies(&mut self, index: u32) {
        let visit = &self.visits[index];
        let route_index = visit.route;
        let route = self.model.route(visit.build, route_index);
        let station = route.station as usize;
        if let Some(keys) = &route.writes {
            let key = keys.at(self.key_place(index, COPY));
            self.replicate(station, key);
        }
        if let Some(keys) = &route.reads_copy {
            let key = keys.at(self.key_place(index, COPY));
            let copies = &self.stations[station].copies;
            if !copies.applied_at.is_empty() {
                let copy = self.luck.station(station).balance.below(copies.applied_at.len());
                let stale = copies.keys[copy][key as usize] > self.now;
                let outcome = &mut self.outcome.routes[route_index as usize];
                outcome.copy_reads += 1;
                outcome.stale_reads += u64::from(stale);
            }
        }
    }

    /// Each copy applies the write after those before it: Lindley's recursion.
    fn replicate(&mut self, station: usize, key: u32) {
        let Some(replication) = self.model.builds[0].stations[station].replication else { return };
        let stream = &mut self.luck.station(station).copies;
        let copies = &mut self.stations[station].copies;
        let mut longest = 0;
        for (copy, applied_at) in copies.applied_at.iter_mut().enumerate() {
            let counter = copies.writes * u64::from(replication.copies) + copy as u64;
            let apply = stream.at(counter).exponential() * replication.apply_nanos as f64;
            let arrives = self.now.saturating_add(replication.delay_nanos);
            *applied_at = arrives.max(*applied_at).saturating_add(apply.round() as u64);
            copies.keys[copy][key as usize] = *applied_at;
            longest = longest.max(*applied_at - self.now);
        }
        copies.writes += 1;
        let outcome = &mut self.outcome.stations[station];
        outcome.lag_max_nanos = outcome.lag_max_nanos.max(longest);
    }

    /// Gives back what a request held, to whoever waits for it.
    pub(super) fn give_back(&mut self, index: u32, failed: bool) {
        let visit = &mut self.visits[index];
        let (route_index, slot, build) = (visit.route, visit.slot, visit.build);
        let (row, fetches) = (visit.row, visit.fetches);
        let (holds_row, holds_lock) = (visit.holds_row, visit.holds_lock);
        (visit.holds_row, visit.holds_lock, visit.fetches) = (false, false, NONE);
        let station = self.station_of(route_index);
        if holds_lock {
            self.stations[station].locked.holders -= 1;
            self.grant(station);
        }
        if holds_row {
            let state = &mut self.stations[station];
            let next = state.rows.get_mut(&row).and_then(VecDeque::pop_front);
            match next {
                Some(next) => {
                    let visit = &mut self.visits[next];
                    (visit.holds_row, visit.stage) = (true, Stage::Cache);
                    self.proceed(next);
                }
                None => {
                    state.rows.remove(&row);
                }
            }
        }
        if fetches != NONE {
            let used = self.model.route(build, route_index).cache.as_ref();
            let position = used.map_or(0, |used| used.cache as usize);
            let now = self.now;
            let cache = self.cache(station, slot, position);
            if !failed {
                cache.put(fetches, now);
            }
            let waiting = if cache.coalesces { cache.end_fetch(fetches) } else { Vec::new() };
            for visit in waiting {
                self.proceed(visit);
            }
        }
    }
}
