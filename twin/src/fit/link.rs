//! Which visit made which call.
//!
//! A call was made by a visit at the calling service that encloses it in time. Where a trace id
//! picks one of several such visits, it decides. Otherwise visits whose routes are often the only
//! candidates for such calls come first; among those the one that has no other call under way, then
//! the one with the fewest such calls, then the one that came first.
//!
//! Slices are linked in the order of time. Visits that are still open at the end of one are carried
//! into the next, so that each call is linked once, to the visit that any cut would have given it,
//! unless that was a matter of likelihood.

use std::collections::{BTreeMap, BTreeSet};

use prophecy_core::Timestamp;
use prophecy_datasets::Sighting;

use super::slices::Slice;

/// A visit with what it did.
#[derive(Clone, Debug)]
pub(super) struct Linked {
    pub(super) row: Sighting,
    /// The calls it made so far, by start.
    pub(super) calls: Vec<Called>,
    /// How long it waited for a worker \[ns\]; `None` if it was refused and never held one.
    pub(super) waited_nanos: Option<u64>,
}

/// A call of a visit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Called {
    pub(super) row: Sighting,
    /// Whether it waited for another call to end.
    pub(super) waited: bool,
}

/// A stretch of time with its links.
#[derive(Debug)]
pub(super) struct LinkedSlice {
    /// What was open when it began, and what started in it, by start.
    pub(super) visits: Vec<Linked>,
    /// How many of them were open before.
    pub(super) carried: usize,
    /// The visit that made each, by index.
    pub(super) made_by: Vec<Option<u32>>,
    /// When the next one begins.
    pub(super) until: Timestamp,
}

/// Links slices in the order of time.
#[derive(Debug, Default)]
pub(super) struct Linker {
    open: Vec<Linked>,
    counts: Counts,
    experience: Experience,
    /// Whether the experience comes from an earlier pass, and is complete.
    experienced: bool,
    callable: BTreeSet<u32>,
}

/// How calls were linked.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    by_trace: u64,
    forced: u64,
    guessed: u64,
    unlinked: u64,
}

/// How often calls on a route could only come from visits on another, and how often each route was asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Experience {
    affinity: BTreeMap<(u32, u32), f64>,
    asked: BTreeMap<u32, f64>,
}

/// A call with several candidates: a range of them.
struct Choice {
    call: usize,
    candidates: std::ops::Range<usize>,
}

// === impl Linker ===

impl Linker {
    /// Returns a linker that knows from an earlier pass what calls what.
    pub(super) fn experienced(experience: Experience) -> Self {
        Self { experience, experienced: true, ..Self::default() }
    }

    /// Returns what calls what, as far as that was certain.
    pub(super) fn experience(self) -> Experience {
        self.experience
    }

    /// Links the calls that start in a slice.
    pub(super) fn link(&mut self, slice: Slice<'_>) -> LinkedSlice {
        let mut visits = std::mem::take(&mut self.open);
        let carried = visits.len();
        visits.extend(slice.rows.into_iter().map(|row| Linked {
            row,
            calls: Vec::new(),
            waited_nanos: Some(0),
        }));
        self.callable.extend(visits.iter().map(|visit| visit.row.destination));
        let mut linked =
            LinkedSlice { made_by: vec![None; visits.len()], visits, carried, until: slice.until };
        if !self.experienced {
            for visit in &linked.visits[carried..] {
                *self.experience.asked.entry(visit.row.route).or_default() += 1.0;
            }
        }
        let (choices, candidates) = self.link_certain(&mut linked);
        for choice in choices {
            let visit = self.likeliest(&linked, choice.call, &candidates[choice.candidates]);
            self.counts.guessed += 1;
            linked.add(visit, choice.call);
        }
        for visit in &mut linked.visits {
            visit.calls.sort_unstable_by_key(|call| (call.row.started_at, call.row.exchange_id));
        }
        linked
    }

    /// Links calls without a choice; returns the others, with their candidates.
    fn link_certain(&mut self, linked: &mut LinkedSlice) -> (Vec<Choice>, Vec<u32>) {
        let (mut choices, mut arena) = (Vec::new(), Vec::new());
        let mut open: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        let (mut seen, mut candidates) = (0, Vec::new());
        for index in linked.carried..linked.visits.len() {
            let call = linked.visits[index].row;
            while let Some(visit) =
                linked.visits.get(seen).filter(|visit| visit.row.started_at <= call.started_at)
            {
                open.entry(visit.row.destination).or_default().push(seen as u32);
                seen += 1;
            }
            if !self.callable.contains(&call.source) {
                continue;
            }
            let row = |visit: u32| &linked.visits[visit as usize].row;
            let open = open.entry(call.source).or_default();
            open.retain(|visit| row(*visit).ended_at >= call.started_at);
            candidates.clear();
            // Where a caller went away, the end of its call may be seen after that of its visit.
            let encloses = |visit: &u32| {
                (call.abandoned || row(*visit).ended_at >= call.ended_at)
                    && *visit as usize != index
            };
            candidates.extend(open.iter().copied().filter(encloses));
            let mut traced = candidates
                .iter()
                .copied()
                .filter(|visit| call.trace_id.is_some() && row(*visit).trace_id == call.trace_id);
            match (traced.next(), traced.next(), candidates.as_slice()) {
                (Some(visit), None, _) => {
                    self.counts.by_trace += 1;
                    linked.add(visit, index);
                }
                (_, _, [visit]) => {
                    self.counts.forced += 1;
                    if !self.experienced {
                        let routes = (row(*visit).route, call.route);
                        *self.experience.affinity.entry(routes).or_default() += 1.0;
                    }
                    linked.add(*visit, index);
                }
                (_, _, []) => self.counts.unlinked += 1,
                _ => {
                    let from = arena.len();
                    arena.extend(candidates.iter().copied());
                    choices.push(Choice { call: index, candidates: from..arena.len() });
                }
            }
        }
        (choices, arena)
    }

    fn likeliest(&self, linked: &LinkedSlice, call: usize, candidates: &[u32]) -> u32 {
        let call = linked.visits[call].row;
        let score = |visit: u32| {
            let route = linked.visits[visit as usize].row.route;
            let seen = self.experience.affinity.get(&(route, call.route)).copied().unwrap_or(0.0);
            seen / self.experience.asked.get(&route).copied().unwrap_or(1.0)
        };
        let highest = candidates.iter().map(|visit| score(*visit)).fold(0.0, f64::max);
        let likely = candidates.iter().copied().filter(|visit| score(*visit) >= 0.5 * highest);
        let rank = |visit: &u32| {
            let known = &linked.visits[*visit as usize].calls;
            let at_once = known.iter().any(|other| overlap(&other.row, &call));
            let alike = known.iter().filter(|other| other.row.route == call.route).count();
            (at_once, alike, *visit)
        };
        likely.min_by_key(rank).expect("the likeliest is at least half as likely as itself")
    }

    /// Takes back what was still open when a slice ended.
    pub(super) fn carry(&mut self, open: Vec<Linked>) {
        self.open = open;
    }

    /// Says how the calls were linked, if there were any.
    pub(super) fn note(&self) -> Option<String> {
        let Counts { by_trace, forced, guessed, unlinked } = self.counts;
        let total = by_trace + forced + guessed + unlinked;
        (total > 0).then(|| {
            format!(
                "{total} calls between services: {by_trace} linked by trace, {forced} by time alone, {guessed} by time and likelihood, {unlinked} not linked"
            )
        })
    }
}

/// Says whether two exchanges were under way at one time.
fn overlap(a: &Sighting, b: &Sighting) -> bool {
    a.started_at < b.ended_at && b.started_at < a.ended_at
}

// === impl LinkedSlice ===

impl LinkedSlice {
    fn add(&mut self, visit: u32, call: usize) {
        let row = self.visits[call].row;
        self.visits[visit as usize].calls.push(Called { row, waited: false });
        self.made_by[call] = Some(visit);
    }

    /// Notes that a call waited for another one to end.
    pub(super) fn waited(&mut self, call: usize) {
        let Some(visit) = self.made_by[call] else { return };
        let exchange_id = self.visits[call].row.exchange_id;
        let calls = &mut self.visits[visit as usize].calls;
        let known = calls.iter_mut().find(|known| known.row.exchange_id == exchange_id);
        known.expect("it was linked to this visit").waited = true;
    }

    /// Splits off what is still open at its end: the visits that ended, and those that did not.
    pub(super) fn split(self) -> (Vec<Linked>, Vec<Linked>) {
        let until = self.until;
        self.visits.into_iter().partition(|visit| visit.row.ended_at < until)
    }
}
