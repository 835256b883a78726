//! What many visits come to: summaries that are updated one by one, merge, and give a model.
//!
//! A summary takes the same room for a thousand visits and for a billion. Up to a bound it is exact, so that few
//! visits give the model that they gave before there were summaries.
//!
//! # Determinism
//!
//! Merging in the order of time gives the model that one pass gives, however the visits were cut.

mod values;

use std::collections::BTreeMap;

use prophecy_core::System;

pub use self::values::Values;
use crate::model::{CallModel, Model, RouteModel, SCHEMA, Station};
use crate::observation::{Policies, Visit, Workers};

/// What is known of a system.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// By service.
    pub services: BTreeMap<String, ServiceSummary>,
}

/// What is known of a service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceSummary {
    /// Requests that one instance works on at once.
    pub workers: Workers,
    /// The most calls at once to each destination, where that limit was seen to bind.
    pub pools: BTreeMap<String, u32>,
    /// How long it waits for answers and how often it tries again, where that was recognized.
    pub policies: Policies,
    /// By route.
    pub routes: BTreeMap<String, RouteSummary>,
}

/// What is known of the visits on a route.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouteSummary {
    visits: u64,
    /// Visits that failed though none of their calls did.
    own_failures: u64,
    /// Own times of visits none of whose calls failed.
    whole: Values,
    /// Own times of the others, which say little about the cost of a whole one.
    cut_short: Values,
    /// Of visits that did not fail, and of those that did.
    tallies: [Tally; 2],
    /// Calls, in the order in which a request first made them.
    calls: Vec<CallSummary>,
}

/// Counts of visits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    visits: u64,
    /// Those with more than one call, and of them those whose calls do not fit one after another.
    several: u64,
    too_long: u64,
}

/// What is known of the calls from one route to another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct CallSummary {
    service: String,
    route: String,
    /// Visits by the number of such calls, from one on; of visits that did not fail, and of those that did.
    counts: [Vec<u64>; 2],
    /// Visits of which such a call failed, and those of them that failed.
    failed: u64,
    spread: u64,
}

// === impl Summary ===

impl Summary {
    /// Adds what came after.
    pub fn merge(&mut self, later: Self) {
        for (name, service) in later.services {
            let known = self.services.entry(name).or_default();
            known.workers = service.workers;
            known.pools = service.pools;
            known.policies = service.policies;
            for (route, visits) in service.routes {
                known.routes.entry(route).or_default().merge(visits);
            }
        }
    }

    /// Returns the model of the system in production: what was seen, with the manifest's replicas.
    pub fn model(&self, entry: &str, system: &System) -> Model {
        let services = self.services.iter().map(|(name, seen)| {
            let declared = system.services.get(name);
            let declared_workers = declared.and_then(|service| service.concurrency);
            let station = Station {
                replicas: declared.map_or(1, |service| service.replicas),
                workers: declared_workers.or_else(|| seen.workers.limit()),
                queue_limit: declared.and_then(|service| service.queue),
                pools: seen.pools.clone(),
                routes: self.routes(seen),
                ..Station::default()
            };
            (name.clone(), station)
        });
        Model {
            schema: SCHEMA.to_owned(),
            system: system.name.clone(),
            entry: entry.to_owned(),
            hosts: BTreeMap::new(),
            services: services.collect(),
        }
    }

    fn routes(&self, seen: &ServiceSummary) -> BTreeMap<String, RouteModel> {
        let visited = seen.routes.iter().filter(|(_, route)| route.visits > 0);
        visited.map(|(name, route)| (name.clone(), self.route(route, &seen.policies))).collect()
    }

    fn route(&self, route: &RouteSummary, policies: &Policies) -> RouteModel {
        let own = if route.whole.count() > 0 { &route.whole } else { &route.cut_short };
        let called = route.calls.iter().filter(|call| {
            let service = self.services.get(&call.service);
            let visits = service.and_then(|service| service.routes.get(&call.route));
            visits.is_some_and(|visits| visits.visits > 0)
        });
        RouteModel {
            own_nanos: own.spread(),
            failure: route.own_failures as f64 / route.visits as f64,
            calls: called.map(|call| route.call(call, policies)).collect(),
            ..RouteModel::default()
        }
    }
}

// === impl RouteSummary ===

impl RouteSummary {
    /// Returns the summary of these visits.
    pub fn of<'a>(visits: impl IntoIterator<Item = &'a Visit>) -> Self {
        let mut summary = Self::default();
        visits.into_iter().for_each(|visit| summary.add(visit));
        summary
    }

    /// Adds one visit.
    pub fn add(&mut self, visit: &Visit) {
        let call_failed = visit.calls.iter().any(|call| call.failed);
        self.visits += 1;
        self.own_failures += u64::from(visit.failed && !call_failed && !visit.given_up);
        let values = if call_failed { &mut self.cut_short } else { &mut self.whole };
        values.add(visit.own_nanos);
        let group = usize::from(visit.failed);
        let tally = &mut self.tallies[group];
        tally.visits += 1;
        if visit.calls.len() >= 2 {
            let sum: u64 = visit.calls.iter().map(|call| call.nanos).sum();
            tally.several += 1;
            tally.too_long += u64::from(sum as f64 > 1.1 * visit.latency_nanos as f64);
        }
        for (index, call) in visit.calls.iter().enumerate() {
            let same = |other: &&crate::observation::Call| {
                other.destination == call.destination && other.route == call.route
            };
            if visit.calls[..index].iter().any(|other| same(&other)) {
                continue;
            }
            let (mut count, mut failed) = (0, false);
            for other in visit.calls.iter().filter(same) {
                count += 1;
                failed |= other.failed;
            }
            let known = self.entry(&call.destination, &call.route);
            let counts = &mut known.counts[group];
            counts.resize(counts.len().max(count), 0);
            counts[count - 1] += 1;
            known.failed += u64::from(failed);
            known.spread += u64::from(failed && visit.failed);
        }
    }

    /// Adds what came after.
    pub fn merge(&mut self, later: Self) {
        self.visits += later.visits;
        self.own_failures += later.own_failures;
        self.whole.merge(later.whole);
        self.cut_short.merge(later.cut_short);
        for (tally, other) in self.tallies.iter_mut().zip(later.tallies) {
            tally.visits += other.visits;
            tally.several += other.several;
            tally.too_long += other.too_long;
        }
        for call in later.calls {
            let known = self.entry(&call.service, &call.route);
            for (counts, others) in known.counts.iter_mut().zip(call.counts) {
                counts.resize(counts.len().max(others.len()), 0);
                counts.iter_mut().zip(others).for_each(|(count, other)| *count += other);
            }
            known.failed += call.failed;
            known.spread += call.spread;
        }
    }

    /// Returns how many visits there were.
    pub fn visits(&self) -> u64 {
        self.visits
    }

    fn entry(&mut self, service: &str, route: &str) -> &mut CallSummary {
        let known = self.calls.iter().position(|it| it.route == route && it.service == service);
        let index = known.unwrap_or_else(|| {
            let (service, route) = (service.to_owned(), route.to_owned());
            self.calls.push(CallSummary { service, route, ..CallSummary::default() });
            self.calls.len() - 1
        });
        &mut self.calls[index]
    }

    fn call(&self, call: &CallSummary, policies: &Policies) -> CallModel {
        // Requests that did not fail say what is called; where all failed, those have to do.
        let group = usize::from(self.tallies[0].visits == 0);
        let (tally, counts) = (self.tallies[group], &call.counts[group]);
        // NUMERICS: whole numbers are added up and divided once, so that certainty is exactly 1.
        let none = tally.visits - counts.iter().sum::<u64>();
        let share = |visits: &u64| *visits as f64 / tally.visits as f64;
        let policy = policies.get(&call.service).and_then(|routes| routes.get(&call.route));
        let policy = policy.copied().unwrap_or_default();
        CallModel {
            service: call.service.clone(),
            route: call.route.clone(),
            timeout_nanos: policy.timeout_nanos,
            retries: policy.retries,
            backoff: policy.backoff,
            counts: std::iter::once(&none).chain(counts).map(share).collect(),
            parallel: tally.several > 0 && 2 * tally.too_long > tally.several,
            failure_spreads: if call.failed == 0 {
                1.0
            } else {
                call.spread as f64 / call.failed as f64
            },
            ..CallModel::default()
        }
    }
}
