//! Recognizes limits on calls at once between two services.
//!
//! Where such a limit binds, calls wait for one another: the most calls at once is reached for a good
//! part of the time, and the next call starts just when one ends. A visit that makes its calls one
//! after another starts each when its last one ends as well, so only the ends of others count.

use std::collections::{BTreeMap, BTreeSet};

use prophecy_core::Exchange;
use prophecy_simulator::observation::{Visit, Workers};

use super::end_of;
use super::link::Links;

/// Fewer calls than this say nothing about a limit.
const CALLS_NEEDED: usize = 50;

/// How soon after an end a waiting call starts, at most \[ns\].
const HANDOVER_NANOS: f64 = 2e6;

/// The share of calls that must start at a handover, and of time spent at the limit.
const HANDOVER_SHARE: f64 = 0.3;
const FULL_SHARE: f64 = 0.02;

/// Visits without a wait that are needed to know what those with one would have cost.
const FREE_NEEDED: usize = 30;

/// The limits of one calling service.
#[derive(Debug, Default)]
pub(super) struct Pools {
    /// The most calls at once, by destination.
    pub(super) limits: BTreeMap<String, u32>,
    /// Calls that waited, by exchange number.
    waited: BTreeSet<u64>,
}

/// What happened on one edge.
#[derive(Debug)]
struct Edge {
    most: u32,
    full_share: f64,
    /// Calls that brought the number in flight to the most, and those of them at a handover.
    reaching: usize,
    handed_over: Vec<u64>,
    /// The probability that a call starts at a handover by chance.
    by_chance: f64,
}

/// Finds the limits of the calls that `service`, with these workers, makes.
pub(super) fn limits(
    service: &str,
    exchanges: &[&Exchange],
    links: &Links,
    workers: Workers,
) -> Pools {
    let mut calls: BTreeMap<&String, Vec<usize>> = BTreeMap::new();
    for (index, exchange) in exchanges.iter().enumerate() {
        if exchange.source == service {
            calls.entry(&exchange.destination).or_default().push(index);
        }
    }
    let mut pools = Pools::default();
    for (destination, calls) in calls.into_iter().filter(|(_, calls)| calls.len() >= CALLS_NEEDED) {
        let edge = observe(&calls, exchanges, links);
        // As many calls as workers are explained by the workers.
        let by_workers = workers.limit().is_some_and(|count| edge.most >= count);
        let needed = HANDOVER_SHARE.max(3.0 * edge.by_chance) * edge.reaching as f64;
        let handed_over = edge.handed_over.len() as f64 >= needed.max(10.0);
        if edge.full_share >= FULL_SHARE && handed_over && !by_workers {
            pools.limits.insert(destination.clone(), edge.most);
            pools.waited.extend(edge.handed_over);
        }
    }
    pools
}

fn observe(calls: &[usize], exchanges: &[&Exchange], links: &Links) -> Edge {
    // Starts and ends in one line; at equal times an end comes first.
    let mut moments: Vec<(i64, bool, usize)> = Vec::with_capacity(2 * calls.len());
    for call in calls {
        moments.push((exchanges[*call].started_at.0, true, *call));
        moments.push((end_of(exchanges[*call]).0, false, *call));
    }
    moments.sort_unstable();
    let window = (moments[moments.len() - 1].0 - moments[0].0).max(1) as f64;
    let handover = HANDOVER_NANOS.min(0.2 * window / calls.len() as f64);
    let mut in_flight = 0u32;
    let mut levels = Vec::with_capacity(moments.len());
    for (_, starts, _) in &moments {
        in_flight = if *starts { in_flight + 1 } else { in_flight.saturating_sub(1) };
        levels.push(in_flight);
    }
    let most = levels.iter().copied().max().unwrap_or(0);
    let (mut full, mut reaching, mut handed_over) = (0.0, 0, Vec::new());
    let mut last_end: Option<(i64, usize)> = None;
    for (index, (at, starts, call)) in moments.iter().enumerate() {
        if levels[index] == most {
            let until = moments.get(index + 1).map_or(*at, |next| next.0);
            full += (until - at) as f64;
            let visit = links.visit_of(*call);
            let soon = last_end.filter(|(end, _)| (at - end) as f64 <= handover);
            match soon {
                // The visit went on to its next call, which says nothing about a limit.
                Some((_, ended))
                    if *starts && visit.is_some() && links.visit_of(ended) == visit => {}
                _ if *starts => {
                    reaching += 1;
                    handed_over.extend(soon.map(|_| exchanges[*call].exchange_id));
                }
                _ => {}
            }
        }
        if !starts {
            last_end = Some((*at, *call));
        }
    }
    let by_chance = 1.0 - (-handover * calls.len() as f64 / window).exp();
    Edge { most, full_share: full / window, reaching, handed_over, by_chance }
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

// === impl Pools ===

impl Pools {
    /// Says whether a call waited for another to end.
    pub(super) fn waited(&self, call: &Exchange) -> bool {
        self.waited.contains(&call.exchange_id)
    }

    /// Says what was found.
    pub(super) fn notes(&self, service: &str) -> Vec<String> {
        let note = |(destination, limit): (&String, &u32)| {
            format!(
                "`{service}` makes at most {limit} call(s) to `{destination}` at once, and calls wait for that"
            )
        };
        self.limits.iter().map(note).collect()
    }
}
