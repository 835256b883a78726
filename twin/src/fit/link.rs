//! Which visit made which call.
//!
//! A call was made by a visit at the calling service that encloses it in time. Where a trace id
//! picks one of several such visits, it decides. Otherwise visits whose routes are often the only
//! candidates for such calls come first; among those the one that has no other call under way, then
//! the one with the fewest such calls, then the one that came first.

use std::collections::BTreeMap;

use prophecy_core::{Exchange, Timestamp};

use super::end_of;

/// Calls by the visit that made them; both are indices of exchanges.
#[derive(Debug, Default)]
pub(super) struct Links {
    calls: BTreeMap<usize, Vec<usize>>,
    made_by: BTreeMap<usize, usize>,
    by_trace: usize,
    forced: usize,
    guessed: usize,
    unlinked: usize,
}

/// How often calls on a route could only come from visits on another.
type Affinity<'a> = BTreeMap<(&'a str, &'a str), f64>;

/// Links calls to visits; `exchanges` are ordered by start.
pub(super) fn link(exchanges: &[&Exchange]) -> Links {
    let mut visits: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, exchange) in exchanges.iter().enumerate() {
        visits.entry(exchange.destination.as_str()).or_default().push(index);
    }
    let longest: BTreeMap<&str, u64> = visits
        .iter()
        .map(|(service, visits)| {
            let nanos = visits.iter().map(|visit| nanos_of(exchanges[*visit]));
            (*service, nanos.max().unwrap_or(0))
        })
        .collect();
    let candidates = |call: &Exchange| -> Vec<usize> {
        let Some(visits) = visits.get(call.source.as_str()) else { return Vec::new() };
        let earliest =
            Timestamp(call.started_at.0.saturating_sub(longest[call.source.as_str()] as i64));
        let from = visits.partition_point(|visit| exchanges[*visit].started_at < earliest);
        let to = visits.partition_point(|visit| exchanges[*visit].started_at <= call.started_at);
        let enclosing = visits[from..to].iter().copied();
        enclosing.filter(|visit| end_of(exchanges[*visit]) >= end_of(call)).collect()
    };
    let mut links = Links::default();
    let mut affinity = Affinity::new();
    let mut open = Vec::new();
    for (index, call) in exchanges.iter().enumerate() {
        if !visits.contains_key(call.source.as_str()) {
            continue;
        }
        let candidates = candidates(call);
        let same_trace = |visit: &&usize| {
            call.trace_id.is_some() && exchanges[**visit].trace_id == call.trace_id
        };
        let traced: Vec<usize> = candidates.iter().filter(same_trace).copied().collect();
        match (traced.as_slice(), candidates.as_slice()) {
            ([visit], _) => {
                links.by_trace += 1;
                links.add(*visit, index);
            }
            (_, [visit]) => {
                links.forced += 1;
                links.add(*visit, index);
                *affinity.entry((&exchanges[*visit].route, &call.route)).or_default() += 1.0;
            }
            (_, []) => links.unlinked += 1,
            _ => open.push((index, candidates)),
        }
    }
    let mut count: BTreeMap<&str, f64> = BTreeMap::new();
    exchanges.iter().for_each(|exchange| *count.entry(&exchange.route).or_default() += 1.0);
    for (index, candidates) in open {
        let call = exchanges[index];
        let score = |visit: usize| {
            let route = exchanges[visit].route.as_str();
            let seen = affinity.get(&(route, call.route.as_str())).copied().unwrap_or(0.0);
            seen / count[route]
        };
        let likeliest = candidates.iter().map(|visit| score(*visit)).fold(0.0, f64::max);
        let best =
            candidates.iter().copied().filter(|visit| score(*visit) >= 0.5 * likeliest).min_by_key(
                |visit| {
                    let known = links.calls.get(visit).map_or(&[][..], Vec::as_slice);
                    let at_once = known.iter().any(|other| overlap(exchanges[*other], call));
                    let alike =
                        known.iter().filter(|other| exchanges[**other].route == call.route).count();
                    (at_once, alike, *visit)
                },
            );
        links.guessed += 1;
        links.add(best.expect("the likeliest is at least half as likely as itself"), index);
    }
    links.calls.values_mut().for_each(|calls| calls.sort_unstable());
    links
}

/// Says whether two exchanges were under way at one time.
fn overlap(a: &Exchange, b: &Exchange) -> bool {
    a.started_at < end_of(b) && b.started_at < end_of(a)
}

fn nanos_of(exchange: &Exchange) -> u64 {
    end_of(exchange).nanos_since(exchange.started_at)
}

// === impl Links ===

impl Links {
    fn add(&mut self, visit: usize, call: usize) {
        self.calls.entry(visit).or_default().push(call);
        self.made_by.insert(call, visit);
    }

    /// Returns the visit that made a call.
    pub(super) fn visit_of(&self, call: usize) -> Option<usize> {
        self.made_by.get(&call).copied()
    }

    /// Returns the calls of a visit, by start.
    pub(super) fn calls_of(&self, visit: usize) -> impl Iterator<Item = usize> {
        self.calls.get(&visit).into_iter().flatten().copied()
    }

    /// Says how the calls were linked, if there were any.
    pub(super) fn note(&self) -> Option<String> {
        let total = self.by_trace + self.forced + self.guessed + self.unlinked;
        (total > 0).then(|| {
            format!(
                "{total} calls between services: {} linked by trace, {} by time alone, {} by time and likelihood, {} not linked",
                self.by_trace, self.forced, self.guessed, self.unlinked
            )
        })
    }
}
