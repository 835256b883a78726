//! Separates waiting for a worker from work.
//!
//! With `c` workers and requests taken up in the order of their arrival, a request starts when it
//! arrives or when the first worker is free, whichever is later; workers are free at the ends that
//! were seen. So the recursion of the queue can be run backwards, without assuming any law.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use prophecy_core::quantile;
use prophecy_core::system::Service;
use prophecy_datasets::Sighting;
use prophecy_simulator::observation::Workers;

/// The largest number of workers that is looked for.
const WORKERS_LIMIT: u32 = 64;

/// Fewer visits than this say nothing about workers.
const VISITS_NEEDED: usize = 200;

/// Visits that found the fewest others before them, which hardly waited.
const REFERENCE_NEEDED: usize = 100;

/// A visit may call this long before its worker is free \[ns\], and this share of visits longer: ends are
/// seen a little late.
const EARLY_NANOS: u64 = 1_000_000;
const EARLY_SHARE: f64 = 0.02;

/// What slices said about the workers of one service.
#[derive(Clone, Debug, Default)]
pub(super) struct Evidence {
    /// Visits in slices that queued for so many workers.
    votes: BTreeMap<u32, usize>,
    /// Visits in slices that did not queue, by the smallest number of workers that explains that.
    free: BTreeMap<u32, usize>,
    /// The most visits at one instance at once.
    most_at_once: u32,
}

/// What one slice says about workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Estimate {
    /// It queued for so many.
    Queued(u32),
    /// It did not queue; there are at least so many.
    Free(u32),
}

/// What is known about waiting at one service.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queueing {
    pub(super) workers: Workers,
    /// The most visits at one instance at once.
    pub(super) most_at_once: u32,
    /// Whether its queue is bounded, so that it refuses requests.
    pub(super) bounded: bool,
}

/// The workers of one service, by the time when each is free.
#[derive(Debug)]
pub(super) struct Recursion {
    count: u32,
    bounded: bool,
    free_at: BTreeMap<u32, BinaryHeap<Reverse<i64>>>,
}

// === impl Evidence ===

impl Evidence {
    /// Looks at the visits of one slice, ordered by start. `until_call` is how long each was there before it
    /// made its first call \[ns\], if it made one. Workers that are declared need no estimate.
    pub(super) fn add(
        &mut self,
        visits: &[&Sighting],
        until_call: &[Option<u64>],
        is_declared: bool,
    ) {
        let before = in_system(visits);
        let most = before.iter().max().map_or(0, |before| before + 1);
        self.most_at_once = self.most_at_once.max(most);
        if is_declared {
            return;
        }
        match estimate(visits, until_call, &before) {
            Some(Estimate::Queued(count)) => *self.votes.entry(count).or_default() += visits.len(),
            Some(Estimate::Free(least)) => *self.free.entry(least).or_default() += visits.len(),
            None => {}
        }
    }

    /// Weighs what the slices said: the number that most visits queued for, unless more visits went
    /// through a smaller number of workers than they can have had.
    pub(super) fn conclude(&self, declared: Option<&Service>) -> Queueing {
        let workers = match declared.and_then(|service| service.concurrency) {
            Some(workers) => Workers::Declared(workers),
            None => self.estimated().map_or(Workers::Unlimited, Workers::Estimated),
        };
        let bounded = declared.is_some_and(|service| service.queue.is_some());
        Queueing { workers, most_at_once: self.most_at_once, bounded }
    }

    fn estimated(&self) -> Option<u32> {
        let (count, visits) = self.votes.iter().max_by_key(|(_, visits)| **visits)?;
        let against: usize = self.free.range(count + 1..).map(|(_, visits)| visits).sum();
        (*visits > against).then_some(*count)
    }
}

// === impl Recursion ===

impl Recursion {
    /// Returns the recursion of a service's workers, if they are limited.
    pub(super) fn of(queueing: &Queueing) -> Option<Self> {
        Some(Self::new(queueing.workers.limit()?, queueing.bounded))
    }

    fn new(count: u32, bounded: bool) -> Self {
        Self { count, bounded, free_at: BTreeMap::new() }
    }

    /// Returns how long the next visit waited; `None` if it was refused. Instances are told apart by
    /// their address.
    pub(super) fn wait(&mut self, visit: &Sighting) -> Option<u64> {
        let free_at = self.free_at.entry(visit.server).or_default();
        let (arrived, ended) = (visit.started_at.0, visit.ended_at.0);
        let full = free_at.len() >= self.count as usize;
        let earliest =
            if full { free_at.peek().map_or(arrived, |Reverse(at)| *at) } else { arrived };
        if self.bounded && earliest > arrived && visit.status == Some(503) && ended < earliest {
            return None;
        }
        if full {
            free_at.pop();
        }
        free_at.push(Reverse(ended));
        // A wait cannot be longer than the visit: workers may be taken out of order by a hair.
        Some((earliest.min(ended) - arrived).max(0) as u64)
    }
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
fn estimate(visits: &[&Sighting], until_call: &[Option<u64>], before: &[u32]) -> Option<Estimate> {
    if visits.len() < VISITS_NEEDED {
        return None;
    }
    let latency = |visit: &&Sighting| visit.ended_at.nanos_since(visit.started_at);
    let mut ranks = before.to_vec();
    let few = *ranks.select_nth_unstable(REFERENCE_NEEDED.min(visits.len()) - 1).1;
    let mut reference: Vec<u64> = visits
        .iter()
        .zip(before)
        .filter(|(_, before)| **before <= few)
        .map(|(visit, _)| latency(visit))
        .collect();
    let short = quantile::select(&mut reference, 0.1)? / 2;
    let count = reference.len() as f64;
    let usual = reference.iter().filter(|nanos| **nanos < short).count() as f64 / count;
    // Two standard errors of the usual share, and a hundredth for workers that overlap by a hair.
    let most_short = usual + 0.01 + 2.0 * (usual * (1.0 - usual) / count).sqrt();
    let short_allowed = most_short * visits.len() as f64;
    let early_allowed = EARLY_SHARE * visits.len() as f64;
    for count in 1..=WORKERS_LIMIT {
        let mut recursion = Recursion::new(count, false);
        let (mut too_short, mut too_early) = (0_usize, 0_usize);
        for (visit, until_call) in visits.iter().zip(until_call) {
            let wait = recursion.wait(visit).unwrap_or(0);
            too_short += usize::from(latency(visit).saturating_sub(wait) < short);
            too_early += usize::from(until_call.is_some_and(|until| wait > until + EARLY_NANOS));
            if too_short as f64 > short_allowed || too_early as f64 > early_allowed {
                break;
            }
        }
        if too_short as f64 > short_allowed || too_early as f64 > early_allowed {
            continue;
        }
        let (mut queued, mut free): (Vec<u64>, Vec<u64>) = (Vec::new(), Vec::new());
        for ((visit, before), until_call) in visits.iter().zip(before).zip(until_call) {
            let side = if *before >= count { &mut queued } else { &mut free };
            side.push(until_call.unwrap_or_else(|| latency(visit)));
        }
        let enough = 20 * queued.len() >= visits.len();
        let medians = quantile::select(&mut queued, 0.5).zip(quantile::select(&mut free, 0.5));
        let slower = medians.is_some_and(|(queued, free)| 4 * queued > 5 * free);
        return Some(if enough && slower {
            Estimate::Queued(count)
        } else {
            Estimate::Free(count)
        });
    }
    Some(Estimate::Free(WORKERS_LIMIT + 1))
}

/// Returns how long each visit waited, if there were so many workers and nobody was refused.
pub(super) fn waits(visits: &[&Sighting], workers: u32) -> Vec<Option<u64>> {
    let mut recursion = Recursion::new(workers, false);
    visits.iter().map(|visit| recursion.wait(visit)).collect()
}

/// Counts for each visit how many at the same instance had started and not ended.
pub(super) fn in_system(visits: &[&Sighting]) -> Vec<u32> {
    let mut ends: BTreeMap<u32, BinaryHeap<Reverse<i64>>> = BTreeMap::new();
    let count = |visit: &&Sighting| {
        let ends = ends.entry(visit.server).or_default();
        while ends.peek().is_some_and(|Reverse(end)| *end <= visit.started_at.0) {
            ends.pop();
        }
        let before = ends.len() as u32;
        ends.push(Reverse(visit.ended_at.0));
        before
    };
    visits.iter().map(count).collect()
}

// === impl Queueing ===

impl Queueing {
    /// Says what was assumed, and how many requests were refused.
    pub(super) fn note(&self, service: &str, refused: u64) -> Vec<String> {
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
        if refused > 0 {
            notes.push(format!("`{service}` refused {refused} requests"));
        }
        notes
    }
}
