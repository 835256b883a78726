//! Separates waiting for a worker from work.
//!
//! With `c` workers and requests taken up in the order of their arrival, a request starts when it
//! arrives or when the first worker is free, whichever is later; workers are free at the ends that
//! were seen. So the recursion of the queue can be run backwards, without assuming any law.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use prophecy_core::system::Service;
use prophecy_core::{Exchange, quantile};
use prophecy_simulator::observation::Workers;

use super::end_of;

/// The largest number of workers that is looked for.
const WORKERS_LIMIT: u32 = 64;

/// Fewer visits than this say nothing about workers.
const VISITS_NEEDED: usize = 200;

/// Visits that found the fewest others before them, which hardly waited.
const REFERENCE_NEEDED: usize = 100;

/// What was found about waiting at one service.
#[derive(Debug)]
pub(super) struct Queueing {
    pub(super) workers: Workers,
    /// The most visits at one instance at once.
    pub(super) most_at_once: u32,
    /// The wait of each visit \[ns\]; `None` for one that was refused and never held a worker.
    pub(super) waited_nanos: Vec<Option<u64>>,
    refused: usize,
}

/// A visit may call this long before its worker is free \[ns\], and this share of visits longer: ends are
/// seen a little late.
const EARLY_NANOS: u64 = 1_000_000;
const EARLY_SHARE: f64 = 0.02;

/// Separates waiting from work in the visits of one service, ordered by start. `until_call` is how
/// long each was there before it made its first call \[ns\], if it made one.
pub(super) fn separate(
    visits: &[&Exchange],
    until_call: &[Option<u64>],
    declared: Option<&Service>,
) -> Queueing {
    let workers = match declared.and_then(|service| service.concurrency) {
        Some(workers) => Workers::Declared(workers),
        None => estimate(visits, until_call),
    };
    let most_at_once = in_system(visits).into_iter().max().map_or(0, |before| before + 1);
    let Some(count) = workers.limit() else {
        let waited_nanos = vec![Some(0); visits.len()];
        return Queueing { workers, most_at_once, waited_nanos, refused: 0 };
    };
    let bounded = declared.is_some_and(|service| service.queue.is_some());
    let waited_nanos = waits(visits, count, bounded);
    let refused = waited_nanos.iter().filter(|wait| wait.is_none()).count();
    Queueing { workers, most_at_once, waited_nanos, refused }
}

/// Runs the recursion of `count` workers for each instance, told apart by its address.
pub(super) fn waits(visits: &[&Exchange], count: u32, bounded: bool) -> Vec<Option<u64>> {
    let mut free_at: BTreeMap<_, BinaryHeap<Reverse<i64>>> = BTreeMap::new();
    let wait = |visit: &&Exchange| {
        let free_at = free_at.entry(visit.server).or_default();
        let (arrived, ended) = (visit.started_at.0, end_of(visit).0);
        let full = free_at.len() >= count as usize;
        let earliest =
            if full { free_at.peek().map_or(arrived, |Reverse(at)| *at) } else { arrived };
        if bounded && earliest > arrived && visit.status == Some(503) && ended < earliest {
            return None;
        }
        if full {
            free_at.pop();
        }
        free_at.push(Reverse(ended));
        // A wait cannot be longer than the visit: workers may be taken out of order by a hair.
        Some((earliest.min(ended) - arrived).max(0) as u64)
    };
    visits.iter().map(wait).collect()
}

/// Estimates the workers of one instance from visits that queued, if they did.
///
/// Too few assumed workers leave requests that would have been done in almost no time: more of them
/// than there are among requests that hardly anything was before. The smallest number that does not
/// is the estimate, if requests that found that many before them really took longer. A service that
/// never queued is unlimited for all we know.
///
/// Whoever calls has a worker: a number that would let visits call before they have one is too small,
/// and only the time before the first call can have been spent waiting for it. Otherwise the queue of
/// a called service would be taken for one of its caller.
fn estimate(visits: &[&Exchange], until_call: &[Option<u64>]) -> Workers {
    if visits.len() < VISITS_NEEDED {
        return Workers::Unlimited;
    }
    let before = in_system(visits);
    let latency = |visit: &&Exchange| end_of(visit).nanos_since(visit.started_at);
    let mut ranks = before.clone();
    ranks.sort_unstable();
    let few = ranks[REFERENCE_NEEDED.min(ranks.len()) - 1];
    let mut reference: Vec<u64> = visits
        .iter()
        .zip(&before)
        .filter(|(_, before)| **before <= few)
        .map(|(visit, _)| latency(visit))
        .collect();
    let Some(short) = quantile::select(&mut reference, 0.1).map(|short| short / 2) else {
        return Workers::Unlimited;
    };
    let count = reference.len() as f64;
    let usual = reference.iter().filter(|nanos| **nanos < short).count() as f64 / count;
    // Two standard errors of the usual share, and a hundredth for workers that overlap by a hair.
    let most_short = usual + 0.01 + 2.0 * (usual * (1.0 - usual) / count).sqrt();
    for count in 1..=WORKERS_LIMIT {
        let waits = waits(visits, count, false);
        let holds = visits
            .iter()
            .zip(&waits)
            .map(|(visit, wait)| latency(visit).saturating_sub(wait.unwrap_or(0)));
        let too_short = holds.filter(|hold| *hold < short).count();
        let too_early = waits.iter().zip(until_call).filter(|(wait, until_call)| {
            until_call.is_some_and(|until| wait.unwrap_or(0) > until + EARLY_NANOS)
        });
        if too_short as f64 > most_short * visits.len() as f64
            || too_early.count() as f64 > EARLY_SHARE * visits.len() as f64
        {
            continue;
        }
        let (mut queued, mut free): (Vec<u64>, Vec<u64>) = (Vec::new(), Vec::new());
        for ((visit, before), until_call) in visits.iter().zip(&before).zip(until_call) {
            let side = if *before >= count { &mut queued } else { &mut free };
            side.push(until_call.unwrap_or_else(|| latency(visit)));
        }
        let enough = 20 * queued.len() >= visits.len();
        let medians = quantile::select(&mut queued, 0.5).zip(quantile::select(&mut free, 0.5));
        let slower = medians.is_some_and(|(queued, free)| 4 * queued > 5 * free);
        return if enough && slower { Workers::Estimated(count) } else { Workers::Unlimited };
    }
    Workers::Unlimited
}

/// Counts for each visit how many at the same instance had started and not ended.
pub(super) fn in_system(visits: &[&Exchange]) -> Vec<u32> {
    let mut ends: BTreeMap<_, BinaryHeap<Reverse<i64>>> = BTreeMap::new();
    let count = |visit: &&Exchange| {
        let ends = ends.entry(visit.server).or_default();
        while ends.peek().is_some_and(|Reverse(end)| *end <= visit.started_at.0) {
            ends.pop();
        }
        let before = ends.len() as u32;
        ends.push(Reverse(end_of(visit).0));
        before
    };
    visits.iter().map(count).collect()
}

// === impl Queueing ===

impl Queueing {
    /// Says what was assumed.
    pub(super) fn note(&self, service: &str) -> Vec<String> {
        let mut notes = match self.workers {
            Workers::Declared(_) | Workers::Probed { .. } => Vec::new(),
            Workers::Estimated(count) => {
                vec![format!(
                    "`{service}` works on {count} requests at once, estimated from its queueing"
                )]
            }
            Workers::Unlimited => {
                vec![format!(
                    "`{service}` was never seen to queue: it has at least {} workers; `concurrency` would say how many",
                    self.most_at_once
                )]
            }
        };
        if self.refused > 0 {
            notes.push(format!("`{service}` refused {} requests", self.refused));
        }
        notes
    }
}
