//! Recognizes limits on calls at once between two services.
//!
//! Where such a limit binds, calls wait for one another: the most calls at once is reached for a good
//! part of the time, and the next call starts just when one ends. A visit that makes its calls one
//! after another starts each when its last one ends as well, so only the ends of others count.

use std::collections::BTreeMap;
use std::ops::Range;

use prophecy_simulator::observation::{Visit, Workers};

use super::link::LinkedSlice;

/// Fewer calls than this say nothing about a limit.
const CALLS_NEEDED: usize = 50;

/// How soon after an end a waiting call starts, at most \[ns\].
const HANDOVER_NANOS: f64 = 2e6;

/// The share of calls that must start at a handover, and of time spent at the limit.
const HANDOVER_SHARE: f64 = 0.3;
const FULL_SHARE: f64 = 0.02;

/// Visits without a wait that are needed to know what those with one would have cost.
const FREE_NEEDED: usize = 30;

/// A calling service and a called one.
pub(super) type Edge = (u32, u32);

/// What happened on one edge.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Traffic {
    calls: usize,
    /// The most calls at once.
    most: u32,
    /// The time that was looked at, and that with the most calls at once \[ns\].
    window: f64,
    full: f64,
    /// Calls that brought the number in flight to the most, those of them at a handover, and how many would have been
    /// by chance.
    reaching: usize,
    handed_over: usize,
    by_chance: f64,
}

/// Returns the calls of a slice by edge, by start, those that were open before it included.
pub(super) fn edges(
    slice: &LinkedSlice,
    is_service: &dyn Fn(u32) -> bool,
) -> BTreeMap<Edge, Vec<u32>> {
    let mut edges: BTreeMap<Edge, Vec<u32>> = BTreeMap::new();
    for (index, visit) in slice.visits.iter().enumerate() {
        if is_service(visit.row.source) {
            let edge = (visit.row.source, visit.row.destination);
            edges.entry(edge).or_default().push(index as u32);
        }
    }
    edges
}

/// Looks at the calls on one edge; `handed_over` is told those that started at a handover while there were `at_limit`
/// at once, or the most that there ever were.
pub(super) fn look(
    slice: &LinkedSlice,
    calls: &[u32],
    at_limit: Option<u32>,
    handed_over: &mut dyn FnMut(usize),
) -> Traffic {
    let row = |call: u32| &slice.visits[call as usize].row;
    // Starts and ends in one line; at equal times an end comes first.
    let mut moments: Vec<(i64, bool, u32)> = Vec::with_capacity(2 * calls.len());
    for call in calls {
        moments.push((row(*call).started_at.0, true, *call));
        moments.push((row(*call).ended_at.0, false, *call));
    }
    moments.sort_unstable();
    let within = within(slice);
    let from = moments[0].0.max(within.start);
    let window = (moments[moments.len() - 1].0.min(within.end) - from).max(1) as f64;
    let handover = HANDOVER_NANOS.min(0.2 * window / calls.len() as f64);
    let mut in_flight = 0u32;
    let levels: Vec<u32> = moments
        .iter()
        .map(|(_, starts, _)| {
            in_flight = if *starts { in_flight + 1 } else { in_flight.saturating_sub(1) };
            in_flight
        })
        .collect();
    let most = at_limit.unwrap_or_else(|| levels.iter().copied().max().unwrap_or(0));
    let mut traffic = Traffic { calls: calls.len(), most, window, ..Traffic::default() };
    let mut last_end: Option<(i64, u32)> = None;
    for (index, (at, starts, call)) in moments.iter().enumerate() {
        if levels[index] == most && within.contains(at) {
            let until = moments.get(index + 1).map_or(*at, |next| next.0);
            traffic.full += (until - at) as f64;
            let visit = slice.made_by[*call as usize];
            let soon = last_end.filter(|(end, _)| (at - end) as f64 <= handover);
            match soon {
                // The visit went on to its next call, which says nothing about a limit.
                Some((_, ended))
                    if *starts && visit.is_some() && slice.made_by[ended as usize] == visit => {}
                _ if *starts => {
                    traffic.reaching += 1;
                    if soon.is_some() {
                        traffic.handed_over += 1;
                        handed_over(*call as usize);
                    }
                }
                _ => {}
            }
        }
        if !starts {
            last_end = Some((*at, *call));
        }
    }
    let by_chance = 1.0 - (-handover * calls.len() as f64 / window).exp();
    traffic.by_chance = by_chance * traffic.reaching as f64;
    traffic
}

/// Returns the time that a slice looks at: what was open before it began was looked at then.
fn within(slice: &LinkedSlice) -> Range<i64> {
    let first = slice.visits.get(slice.carried).filter(|_| slice.carried > 0);
    first.map_or(i64::MIN, |first| first.row.started_at.0)..slice.until.0
}

/// Replaces the own times of visits whose calls waited by those of visits whose calls did not.
///
/// The time of asking for a connection cannot be seen from outside, so the wait cannot be subtracted;
/// with enough visits on both sides, it can be replaced.
pub(super) fn take_waits_out(visits: &mut [Visit], waited: &[bool]) {
    let free: Vec<u64> = visits
        .iter()
        .zip(waited)
        .filter(|(_, waited)| !**waited)
        .map(|(visit, _)| visit.own_nanos)
        .collect();
    if free.len() < FREE_NEEDED {
        return;
    }
    let mut next = free.iter().cycle();
    for (visit, _) in visits.iter_mut().zip(waited).filter(|(_, waited)| **waited) {
        visit.own_nanos = *next.next().expect("a cycle of some does not end");
    }
}

// === impl Traffic ===

impl Traffic {
    /// Adds what came after.
    pub(super) fn merge(&mut self, later: &Self) {
        let (calls, window) = (self.calls + later.calls, self.window + later.window);
        if later.most > self.most {
            *self = *later;
        } else if later.most == self.most {
            self.full += later.full;
            self.reaching += later.reaching;
            self.handed_over += later.handed_over;
            self.by_chance += later.by_chance;
        }
        (self.calls, self.window) = (calls, window);
    }

    /// Returns the limit on calls at once of a caller with these workers, if there is one.
    pub(super) fn limit(&self, workers: Workers) -> Option<u32> {
        // As many calls as workers are explained by the workers.
        let by_workers = workers.limit().is_some_and(|count| self.most >= count);
        let needed = (HANDOVER_SHARE * self.reaching as f64).max(3.0 * self.by_chance);
        let handed_over = self.handed_over as f64 >= needed.max(10.0);
        let full = self.full / self.window >= FULL_SHARE;
        (self.calls >= CALLS_NEEDED && full && handed_over && !by_workers).then_some(self.most)
    }
}

/// Says what was found.
pub(super) fn notes(service: &str, limits: &BTreeMap<String, u32>) -> Vec<String> {
    let note = |(destination, limit): (&String, &u32)| {
        format!(
            "`{service}` makes at most {limit} call(s) to `{destination}` at once, and calls wait for that"
        )
    };
    limits.iter().map(note).collect()
}
