//! A machine: those who compute share its cores equally.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Virtual time runs in parts of a nanosecond: 2²⁰ of them are one.
const FINE: u32 = 20;

/// Egalitarian processor sharing: of `n` who compute on `c` cores each gets `min(1, c/n)` of one.
///
/// # Source
///
/// Virtual time as in Parekh and Gallager (1993): it runs at the pace that each of those present
/// is served with, so that who is done first is known when it comes.
#[derive(Clone, Debug)]
pub(super) struct HostState {
    cores: u64,
    /// Each by the virtual time at which it is done, then by arrival.
    jobs: BinaryHeap<Reverse<(u128, u64, u32)>>,
    joined: u64,
    virtual_now: u128,
    at: u64,
    /// Time that cores were busy \[ns of one core\].
    pub(super) busy_nanos: u64,
    /// Which of the announced ends still counts.
    pub(super) epoch: u32,
}

// === impl HostState ===

impl HostState {
    pub(super) fn new(cores: u32) -> Self {
        Self {
            cores: u64::from(cores),
            jobs: BinaryHeap::new(),
            joined: 0,
            virtual_now: 0,
            at: 0,
            busy_nanos: 0,
            epoch: 0,
        }
    }

    /// Someone comes with work; returns when the next is done.
    pub(super) fn join(&mut self, now: u64, nanos: u64, visit: u32) -> u64 {
        self.advance(now);
        self.joined += 1;
        self.jobs.push(Reverse((
            self.virtual_now + (u128::from(nanos) << FINE),
            self.joined,
            visit,
        )));
        self.announce(now)
    }

    /// Returns those who are done, and when the next will be.
    pub(super) fn leave(&mut self, now: u64, done: &mut Vec<u32>) -> Option<u64> {
        self.advance(now);
        while let Some(Reverse((at, _, visit))) = self.jobs.peek().copied()
            && at <= self.virtual_now
        {
            self.jobs.pop();
            done.push(visit);
        }
        (!self.jobs.is_empty()).then(|| self.announce(now))
    }

    /// Forgets some, as when their instance has ended; returns when the next will be done.
    pub(super) fn drop_all(&mut self, now: u64, gone: &dyn Fn(u32) -> bool) -> Option<u64> {
        self.advance(now);
        self.jobs.retain(|Reverse((_, _, visit))| !gone(*visit));
        (!self.jobs.is_empty()).then(|| self.announce(now))
    }

    /// Runs virtual time up to now.
    pub(super) fn advance(&mut self, now: u64) {
        let elapsed = now - self.at;
        self.at = now;
        let present = self.jobs.len() as u64;
        if present == 0 || elapsed == 0 {
            return;
        }
        let served = present.min(self.cores);
        self.busy_nanos += elapsed * served;
        self.virtual_now +=
            (u128::from(elapsed) << FINE) * u128::from(served) / u128::from(present);
    }

    fn announce(&mut self, now: u64) -> u64 {
        self.epoch = self.epoch.wrapping_add(1);
        let Some(Reverse((at, _, _))) = self.jobs.peek() else { return u64::MAX };
        let present = self.jobs.len() as u128;
        let served = present.min(u128::from(self.cores));
        // Rounded up, so that at this instant virtual time has reached it.
        let left = at.saturating_sub(self.virtual_now) * present;
        now.saturating_add(left.div_ceil(served << FINE) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_cores_equally() {
        // Two jobs of 100 on one core: the one that came at 0 has 50 done when, at 50, the other
        // comes. Both then get half: the first is done at 150, the second at 200.
        let mut host = HostState::new(1);
        let mut done = Vec::new();
        assert_eq!(host.join(0, 100, 1), 100);
        assert_eq!(host.join(50, 100, 2), 150);
        assert_eq!(host.leave(150, &mut done), Some(200));
        assert_eq!(host.leave(200, &mut done), None);
        assert_eq!((done, host.busy_nanos), (vec![1, 2], 200));
    }

    #[test]
    fn gives_nobody_more_than_a_core() {
        let mut host = HostState::new(4);
        assert_eq!(host.join(0, 100, 1), 100);
        assert_eq!(host.join(0, 70, 2), 70);
        let mut done = Vec::new();
        assert_eq!(host.leave(70, &mut done), Some(100));
        host.advance(100);
        assert_eq!(host.busy_nanos, 170);
    }
}
