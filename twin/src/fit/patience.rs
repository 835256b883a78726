//! How long a caller waits for an answer, and how often it tries again.
//!
//! A client that gives up closes its connection, so the capture shows a request without an answer whose
//! connection closed when the patience ended. Many of them with one duration, and no answer that took longer,
//! are a timeout. A retry is a call on the same route, by the same visit, after one that failed. A visit that makes
//! several calls anyhow would show that as well; so visits with a failed call must also have more calls than others.
//!
//! # Limits
//!
//! A callee that goes on after its client has left hides when that was. With few events nothing is claimed.

use std::collections::BTreeMap;

use prophecy_core::quantile;
use prophecy_core::time::human_nanos;
use prophecy_simulator::model::Backoff;
use prophecy_simulator::observation::CallPolicy;

use super::link::{Called, Linked};

/// Calls given up at one duration that make a timeout.
const TIMEOUTS_NEEDED: usize = 10;

/// The share of given-up calls that must have that duration, and how far they may be from it: relatively, or
/// absolutely \[ns\].
const ATOM_SHARE: f64 = 0.6;
const ATOM_WIDTH: f64 = 0.03;
const ATOM_NANOS: u64 = 5_000_000;

/// Failed calls that say whether they are tried again, and that say so of the last retry.
const FAILED_NEEDED: u64 = 20;
const LAST_NEEDED: u64 = 5;

/// Gaps that say how long a caller waits before a retry.
const GAPS_NEEDED: usize = 10;

/// What is kept of one kind of call: durations of those given up, gaps by retry, the longest answers.
const KEPT: usize = 8_192;
const RETRIES_LIMIT: usize = 8;
const LONGEST_KEPT: usize = 64;

/// How long before a failed call is seen to end its retry may start \[ns\].
const SLACK_NANOS: u64 = 5_000_000;

/// A caller, its route, the called service, and its route.
pub(super) type Place = [u32; 4];

/// What was seen of one kind of call.
#[derive(Clone, Debug, Default)]
pub(super) struct Attempts {
    given_up: Vec<u64>,
    longest: Vec<u64>,
    /// Failed attempts by how many came before them, those of them that were tried again, and when.
    failed: [u64; RETRIES_LIMIT],
    again: [u64; RETRIES_LIMIT],
    gaps: [Vec<u64>; RETRIES_LIMIT],
    /// Calls of visits none of which failed, and their squares by visit.
    clean: [u64; 2],
    /// Visits with a failed call, their calls, and how many were after a failed one; those that succeeded.
    hurt: [[u64; 3]; 2],
}

/// What was recognized about the calls from one service to another, or to one of its routes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Recognized {
    pub(super) policy: CallPolicy,
    /// In words, after "`caller` → `callee`".
    pub(super) words: Vec<String>,
}

/// Sorts calls on one route, by start, into what was first tried and tried again.
pub(super) fn chains(calls: &[Called], most_retries: usize) -> Vec<Vec<Called>> {
    let mut chain_of: Vec<Option<usize>> = vec![None; calls.len()];
    let mut chains: Vec<Vec<Called>> = Vec::new();
    for (index, call) in calls.iter().enumerate() {
        let chain = chain_of[index].unwrap_or_else(|| {
            chains.push(Vec::new());
            chains.len() - 1
        });
        chains[chain].push(*call);
        if !call.row.failed || chains[chain].len() > most_retries {
            continue;
        }
        let end = call.row.ended_at.0 - SLACK_NANOS as i64;
        let next = (index + 1..calls.len())
            .find(|next| chain_of[*next].is_none() && calls[*next].row.started_at.0 >= end);
        if let Some(next) = next {
            chain_of[next] = Some(chain);
        }
    }
    chains
}

/// Returns the calls of a visit by target, each by start, in the order of the first.
pub(super) fn by_target(calls: &[Called]) -> Vec<Vec<Called>> {
    let mut targets: Vec<Vec<Called>> = Vec::new();
    for call in calls {
        let same = |known: &&mut Vec<Called>| {
            known[0].row.route == call.row.route && known[0].row.destination == call.row.destination
        };
        match targets.iter_mut().find(same) {
            Some(known) => known.push(*call),
            None => targets.push(vec![*call]),
        }
    }
    targets
}

/// Looks at the calls of one visit.
pub(super) fn look(visit: &Linked, places: &mut BTreeMap<Place, Attempts>) {
    for calls in by_target(&visit.calls) {
        let called = calls[0].row;
        let place = [visit.row.destination, visit.row.route, called.destination, called.route];
        places.entry(place).or_default().add(&calls, visit.row.failed);
    }
}

/// Draws conclusions for each caller and called service: for all routes if that holds, else for single ones.
pub(super) fn conclude(places: &BTreeMap<Place, Attempts>) -> BTreeMap<[u32; 3], Recognized> {
    let mut edges: BTreeMap<[u32; 2], BTreeMap<u32, Vec<&Attempts>>> = BTreeMap::new();
    for ([caller, _, callee, route], attempts) in places {
        let routes = edges.entry([*caller, *callee]).or_default();
        routes.entry(*route).or_default().push(attempts);
    }
    let mut recognized = BTreeMap::new();
    for ([caller, callee], routes) in edges {
        let all: Vec<&Attempts> = routes.values().flatten().copied().collect();
        let (timeout, retries) = (timeout_of(&all), retries_of(&all));
        for (route, attempts) in routes {
            let timeout = timeout.clone().or_else(|| timeout_of(&attempts));
            let retries = retries.clone().or_else(|| retries_of(&attempts));
            let mut found = Recognized { policy: CallPolicy::default(), words: Vec::new() };
            if let Some((nanos, words)) = timeout {
                found.policy.timeout_nanos = Some(nanos);
                found.words.push(words);
            }
            if let Some((count, backoff, words)) = retries {
                (found.policy.retries, found.policy.backoff) = (count, backoff);
                found.words.push(words);
            }
            if !found.words.is_empty() {
                recognized.insert([caller, callee, route], found);
            }
        }
    }
    recognized
}

/// Returns the timeout that these calls have in common, and how that is known.
fn timeout_of(attempts: &[&Attempts]) -> Option<(u64, String)> {
    let mut given_up: Vec<u64> =
        attempts.iter().flat_map(|attempts| attempts.given_up.iter().copied()).collect();
    given_up.sort_unstable();
    let middle = quantile::of_sorted(&given_up, 0.5)?;
    let width = ATOM_NANOS.max((ATOM_WIDTH * middle as f64) as u64);
    let atom: Vec<u64> =
        given_up.iter().copied().filter(|nanos| nanos.abs_diff(middle) <= width).collect();
    let longer = attempts
        .iter()
        .flat_map(|attempts| &attempts.longest)
        .filter(|nanos| **nanos > middle + width)
        .count();
    // Crashes and the end of a capture leave requests without an answer, too, but not at one duration. An atom is
    // one where what is around it is empty: within five widths below, at most a tenth as many.
    let around = given_up.iter().filter(|nanos| {
        let distance = nanos.abs_diff(middle);
        distance > width && distance <= 5 * width
    });
    let is_atom = atom.len() >= TIMEOUTS_NEEDED
        && atom.len() as f64 >= ATOM_SHARE * given_up.len() as f64
        && 10 * around.count() <= atom.len()
        && 50 * longer <= atom.len()
        && middle > width;
    if !is_atom {
        return None;
    }
    // A client leaves at its timeout or a little later, never before: the low end is it.
    let at = |level| quantile::of_sorted(&atom, level).unwrap_or(middle);
    let words = format!(
        "gives up after {} ({} of {} calls without an answer ended there, half of them by {})",
        human_nanos(at(0.05)),
        atom.len(),
        given_up.len(),
        human_nanos(at(0.5)),
    );
    Some((at(0.05), words))
}

/// Returns how often these calls are tried again, when, and how that is known.
fn retries_of(attempts: &[&Attempts]) -> Option<(u32, Backoff, String)> {
    let sum = |of: &dyn Fn(&Attempts) -> u64| attempts.iter().map(|it| of(it)).sum::<u64>();
    let failed: Vec<u64> = (0..RETRIES_LIMIT).map(|retry| sum(&|it| it.failed[retry])).collect();
    let again: Vec<u64> = (0..RETRIES_LIMIT).map(|retry| sum(&|it| it.again[retry])).collect();
    if failed[0] < FAILED_NEEDED || 2 * again[0] < failed[0] || !more_calls(attempts) {
        return None;
    }
    let last = (0..RETRIES_LIMIT)
        .find(|retry| failed[*retry] < LAST_NEEDED || 2 * again[*retry] < failed[*retry])
        .unwrap_or(RETRIES_LIMIT);
    let is_known = failed.get(last).is_some_and(|failed| *failed >= LAST_NEEDED);
    let (backoff, waits) = backoff_of(attempts, last);
    let words = format!(
        "tries again {} {} time{}{waits} ({} failed calls, {} of them tried again)",
        if is_known { "up to" } else { "at least" },
        last,
        if last == 1 { "" } else { "s" },
        failed[0],
        again[0],
    );
    Some((last as u32, backoff, words))
}

/// Says whether visits with a failed call have more calls than others, nearly one for each that came after a failed
/// one.
fn more_calls(attempts: &[&Attempts]) -> bool {
    // Visits that succeeded made all their calls; where there are too few of them, all have to do.
    let after = |group: usize| attempts.iter().map(|it| it.hurt[group][2]).sum::<u64>();
    let group = usize::from(after(1) >= FAILED_NEEDED / 2);
    let excess = |it: &&Attempts| {
        let [visits, calls, _] = it.hurt[group];
        // The more calls a visit makes, the likelier it has a failed one: visits count by their calls.
        let usual = if it.clean[0] == 0 { 1.0 } else { it.clean[1] as f64 / it.clean[0] as f64 };
        calls as f64 - usual * visits as f64
    };
    let excess: f64 = attempts.iter().map(excess).sum();
    excess >= 0.5 * after(group) as f64
}

/// Fits the wait before retries; in words, how long it is.
fn backoff_of(attempts: &[&Attempts], retries: usize) -> (Backoff, String) {
    let waits: Vec<Option<Wait>> = (0..retries)
        .map(|retry| {
            let gaps = attempts.iter().flat_map(|attempts| attempts.gaps[retry].iter().copied());
            Wait::of(gaps.collect())
        })
        .collect();
    let Some(Some(first)) = waits.first().copied() else {
        let backoff = Backoff { base_nanos: 0, ..Backoff::default() };
        return (backoff, ", when was seen too rarely".to_owned());
    };
    let growth = waits.get(1).copied().flatten().map(|second| second.whole / first.whole.max(1.0));
    let factor = match growth {
        Some(growth) if growth >= 1.15 => growth,
        Some(_) => 1.0,
        None => Backoff::default().factor,
    };
    // Past its bound the wait grows no more.
    let third = waits.get(2).copied().flatten();
    let bound =
        third.filter(|third| factor > 1.15 && third.whole < 0.85 * factor * factor * first.whole);
    let weights = waits.iter().flatten().map(|wait| wait.count as f64);
    let jitter = waits.iter().flatten().map(|wait| wait.count as f64 * wait.jitter).sum::<f64>()
        / weights.sum::<f64>();
    let backoff = Backoff {
        base_nanos: first.whole as u64,
        factor,
        most_nanos: bound.map_or(Backoff::default().most_nanos, |bound| bound.whole as u64),
        jitter,
    };
    let mut words = format!(", after {}", human_nanos(backoff.base_nanos));
    if jitter > 0.0 {
        words.push_str(&format!(" of which {:.0} % is chance", 100.0 * jitter));
    }
    match growth {
        Some(_) if factor > 1.0 => words.push_str(&format!(", then {factor:.1} times as long")),
        Some(_) => words.push_str(" each"),
        None => {}
    }
    (backoff, words)
}

/// The wait before one retry.
#[derive(Clone, Copy, Debug)]
struct Wait {
    /// The longest \[ns\].
    whole: f64,
    /// The share of it that is drawn anew.
    jitter: f64,
    count: usize,
}

// === impl Wait ===

impl Wait {
    /// Fits a uniform distribution from `whole · (1 − jitter)` to `whole` by its tenths, which a few late retries do
    /// not move; one narrower than clocks and schedulers make it is constant.
    fn of(mut gaps: Vec<u64>) -> Option<Self> {
        if gaps.len() < GAPS_NEEDED {
            return None;
        }
        gaps.sort_unstable();
        let at = |level| quantile::of_sorted(&gaps, level).map_or(0.0, |gap| gap as f64);
        let (low, middle, high) = (at(0.1), at(0.5), at(0.9));
        let spread = (high - low) / 0.8;
        if spread < (0.15 * middle).max(2.5e6) {
            return Some(Self { whole: middle, jitter: 0.0, count: gaps.len() });
        }
        let whole = middle + spread / 2.0;
        Some(Self { whole, jitter: (spread / whole).min(1.0), count: gaps.len() })
    }
}

// === impl Attempts ===

impl Attempts {
    /// Adds the calls that one visit made on one route, by start.
    fn add(&mut self, calls: &[Called], visit_failed: bool) {
        let nanos = |call: &Called| call.row.ended_at.nanos_since(call.row.started_at);
        for call in calls {
            if !call.row.abandoned {
                self.keep_longest(nanos(call));
            } else if self.given_up.len() < KEPT {
                self.given_up.push(nanos(call));
            }
        }
        let count = calls.len() as u64;
        if calls.iter().all(|call| !call.row.failed) {
            self.clean[0] += count;
            self.clean[1] += count * count;
            return;
        }
        let mut after_failed = 0;
        for chain in chains(calls, RETRIES_LIMIT) {
            for (retry, call) in chain.iter().enumerate().take(RETRIES_LIMIT) {
                self.failed[retry] += u64::from(call.row.failed);
                let Some(next) = chain.get(retry + 1) else { continue };
                after_failed += 1;
                self.again[retry] += 1;
                if self.gaps[retry].len() < KEPT {
                    let gap = next.row.started_at.nanos_since(call.row.ended_at);
                    self.gaps[retry].push(gap);
                }
            }
        }
        let groups = if visit_failed { &[0][..] } else { &[0, 1] };
        for group in groups {
            let hurt = &mut self.hurt[*group];
            hurt[0] += 1;
            hurt[1] += count;
            hurt[2] += after_failed;
        }
    }

    fn keep_longest(&mut self, nanos: u64) {
        let full = self.longest.len() == LONGEST_KEPT;
        if full && self.longest.last().is_some_and(|least| *least >= nanos) {
            return;
        }
        let at = self.longest.partition_point(|longer| *longer > nanos);
        self.longest.insert(at, nanos);
        self.longest.truncate(LONGEST_KEPT);
    }
}
