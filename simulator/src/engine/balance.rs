//! Which instance of a service a request goes to.

use crate::model::Policy;

use super::Engine;
use super::spread;

// === impl Engine ===

impl Engine<'_> {
    /// Returns the slot for a visit, or none where no instance takes requests.
    pub(super) fn choose(&mut self, station: usize, visit: u32) -> Option<u32> {
        let state = &mut self.stations[station];
        if state.takes_turns {
            let count = state.up.len() as u32;
            if count <= 1 {
                return state.up.first().copied();
            }
            let next = if state.next >= count { 0 } else { state.next };
            state.next = next + 1;
            return Some(state.up[next as usize]);
        }
        let mut eligible = std::mem::take(&mut self.scratch);
        eligible.clear();
        self.collect_eligible(station, visit, &mut eligible);
        let chosen = self.choose_among(station, visit, &eligible);
        eligible.clear();
        self.scratch = eligible;
        chosen
    }

    /// Collects the instances that may get the visit: those up, of the build whose turn it is, not
    /// left out for their failures, and those that have just started only now and then.
    fn collect_eligible(&mut self, station: usize, visit: u32, eligible: &mut Vec<u32>) {
        let now = self.now;
        let balancing = &self.model.builds[0].stations[station].balancing;
        let (slow_start, ejects) = (balancing.slow_start_nanos, balancing.ejection.is_some());
        let state = &self.stations[station];
        eligible.extend_from_slice(&state.up);
        if let Some(share) = state.second_share {
            let session = u64::from(self.visits[visit].session);
            // A session stays with its build.
            let place = (spread(session ^ 0x5ECD) >> 11) as f64 / (1u64 << 53) as f64;
            let build = u32::from(place < share);
            let is_of = |slot: &u32| self.replicas[*slot as usize].build == build;
            if eligible.iter().any(is_of) {
                eligible.retain(is_of);
            }
        }
        if ejects {
            let is_in = |slot: &u32| self.replicas[*slot as usize].ejected_until <= now;
            if eligible.iter().any(is_in) {
                eligible.retain(is_in);
            }
        }
        if slow_start > 0 && eligible.len() > 1 {
            let mut kept = Vec::with_capacity(eligible.len());
            for &slot in eligible.iter() {
                let replica = &self.replicas[slot as usize];
                let age = now - replica.started_at;
                // What has run from the beginning has been there before it.
                let is_new = replica.starts > 1 || replica.started_at > 0;
                let weight = if is_new { age as f64 / slow_start as f64 } else { 1.0 };
                if weight >= 1.0 || self.luck.station(station).balance.uniform() < weight {
                    kept.push(slot);
                }
            }
            if !kept.is_empty() {
                *eligible = kept;
            }
        }
    }

    fn choose_among(&mut self, station: usize, visit: u32, eligible: &[u32]) -> Option<u32> {
        if eligible.len() <= 1 {
            return eligible.first().copied();
        }
        let balancing = &self.model.builds[0].stations[station].balancing;
        let first = self.model.first_slots[station];
        match &balancing.policy {
            Policy::RoundRobin => {
                let state = &mut self.stations[station];
                let next = state.next as usize % eligible.len();
                state.next = next as u32 + 1;
                Some(eligible[next])
            }
            Policy::Random => {
                Some(eligible[self.luck.station(station).balance.below(eligible.len())])
            }
            Policy::Weighted(weights) => {
                let weight =
                    |slot: &u32| weights.get((slot - first) as usize).copied().unwrap_or(1.0);
                let sum: f64 = eligible.iter().map(weight).sum();
                let mut place = self.luck.station(station).balance.uniform() * sum;
                let chosen = eligible.iter().find(|slot| {
                    place -= weight(slot);
                    place < 0.0
                });
                chosen.or(eligible.last()).copied()
            }
            Policy::LeastRequests => {
                self.look(station, balancing.stale_nanos);
                let load = |slot: &u32| self.load(station, *slot, balancing.stale_nanos);
                // Of equals the one whose turn it is, so that an idle service takes turns.
                let turn = self.stations[station].next as usize % eligible.len();
                let (early, late) = eligible.split_at(turn);
                let chosen = late.iter().chain(early).min_by_key(|slot| load(slot)).copied();
                self.stations[station].next = (turn + 1) as u32;
                chosen
            }
            Policy::PowerOfTwo => {
                self.look(station, balancing.stale_nanos);
                let stream = &mut self.luck.station(station).balance;
                let first = stream.below(eligible.len());
                let second = (first + 1 + stream.below(eligible.len() - 1)) % eligible.len();
                let (first, second) = (eligible[first], eligible[second]);
                let load = |slot: u32| self.load(station, slot, balancing.stale_nanos);
                Some(if load(second) < load(first) { second } else { first })
            }
            Policy::Sticky => {
                let session = u64::from(self.visits[visit].session);
                let place = |slot: &&u32| spread(spread(session) ^ u64::from(**slot));
                eligible.iter().max_by_key(place).copied()
            }
        }
    }

    /// Looks at the load of the instances, if the last look is too old.
    fn look(&mut self, station: usize, stale_nanos: u64) {
        let state = &mut self.stations[station];
        let is_fresh = state.seen_at.is_some_and(|at| self.now - at < stale_nanos);
        if stale_nanos == 0 || is_fresh {
            return;
        }
        state.seen_at = Some(self.now);
        let load = |slot: &u32| (*slot, self.replicas[*slot as usize].assigned);
        state.seen = state.up.iter().map(load).collect();
    }

    fn load(&self, station: usize, slot: u32, stale_nanos: u64) -> u32 {
        if stale_nanos == 0 {
            return self.replicas[slot as usize].assigned;
        }
        self.stations[station].seen.get(&slot).copied().unwrap_or(0)
    }

    /// Keeps count of an instance's failures, and leaves it out after too many.
    pub(super) fn judge(&mut self, station: usize, slot: u32, failed: bool) {
        let Some(ejection) = self.model.builds[0].stations[station].balancing.ejection else {
            return;
        };
        let replica = &mut self.replicas[slot as usize];
        replica.failures_in_row = if failed { replica.failures_in_row + 1 } else { 0 };
        if replica.failures_in_row >= ejection.failures {
            replica.failures_in_row = 0;
            replica.ejected_until = self.now.saturating_add(ejection.nanos);
        }
    }
}
