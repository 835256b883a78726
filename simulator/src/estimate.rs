//! From observations to a model.

use std::collections::BTreeMap;

use prophecy_core::System;

use crate::model::{CallModel, Model, RouteModel, SCHEMA, Station};
use crate::observation::{Observations, ServiceObservations, Visit};

/// The most values kept of an empirical distribution.
const VALUES_LIMIT: usize = 4_096;

/// Estimates a model of the system in production: what was observed, with the manifest's replicas.
pub fn model_of(observations: &Observations, system: &System) -> Model {
    let services = observations.services.iter().map(|(name, observed)| {
        let declared = system.services.get(name);
        let station = Station {
            replicas: declared.map_or(1, |service| service.replicas),
            workers: declared
                .and_then(|service| service.concurrency)
                .or_else(|| observed.workers.limit()),
            queue_limit: declared.and_then(|service| service.queue),
            pools: observed.pools.clone(),
            routes: routes_of(observed, observations),
            ..Station::default()
        };
        (name.clone(), station)
    });
    Model {
        schema: SCHEMA.to_owned(),
        system: system.name.clone(),
        entry: observations.entry.clone(),
        hosts: BTreeMap::new(),
        services: services.collect(),
    }
}

fn routes_of(observed: &ServiceObservations, all: &Observations) -> BTreeMap<String, RouteModel> {
    let visited = observed.routes.iter().filter(|(_, visits)| !visits.is_empty());
    visited.map(|(route, visits)| (route.clone(), route_of(visits, all))).collect()
}

/// Estimates what a request on one route costs from its visits.
pub fn route_of(visits: &[Visit], all: &Observations) -> RouteModel {
    let own_failures =
        visits.iter().filter(|visit| visit.failed && !any_call_failed(visit)).count();
    // A visit that a failed call cut short says little about the cost of a whole one.
    let mut own_nanos: Vec<u64> = visits
        .iter()
        .filter(|visit| !any_call_failed(visit))
        .map(|visit| visit.own_nanos)
        .collect();
    if own_nanos.is_empty() {
        own_nanos = visits.iter().map(|visit| visit.own_nanos).collect();
    }
    own_nanos.sort_unstable();
    RouteModel {
        own_nanos: thin(own_nanos),
        failure: own_failures as f64 / visits.len() as f64,
        calls: calls_of(visits, all),
        ..RouteModel::default()
    }
}

fn calls_of(visits: &[Visit], all: &Observations) -> Vec<CallModel> {
    // Destinations in the order of their first call, which is the order that requests make them in.
    let mut order: Vec<(&str, &str)> = Vec::new();
    for call in visits.iter().flat_map(|visit| &visit.calls) {
        let key = (call.destination.as_str(), call.route.as_str());
        let observed = all.services.get(key.0).is_some_and(|service| {
            service.routes.get(key.1).is_some_and(|visits| !visits.is_empty())
        });
        if observed && !order.contains(&key) {
            order.push(key);
        }
    }
    let whole: Vec<&Visit> = visits.iter().filter(|visit| !visit.failed).collect();
    let basis: Vec<&Visit> = if whole.is_empty() { visits.iter().collect() } else { whole };
    let model = |(service, route): (&str, &str)| {
        let is_this =
            |call: &&crate::observation::Call| call.destination == service && call.route == route;
        // NUMERICS: whole numbers are added up and divided once, so that certainty is exactly 1.
        let mut visits_by_count: Vec<u64> = Vec::new();
        for visit in &basis {
            let count = visit.calls.iter().filter(is_this).count();
            visits_by_count.resize(visits_by_count.len().max(count + 1), 0);
            visits_by_count[count] += 1;
        }
        let share = |visits: &u64| *visits as f64 / basis.len() as f64;
        let counts: Vec<f64> = visits_by_count.iter().map(share).collect();
        let failed = visits
            .iter()
            .filter(|visit| visit.calls.iter().filter(is_this).any(|call| call.failed));
        let (mut failed_calls, mut spread) = (0u32, 0u32);
        failed.for_each(|visit| {
            failed_calls += 1;
            spread += u32::from(visit.failed);
        });
        CallModel {
            service: service.to_owned(),
            route: route.to_owned(),
            counts,
            parallel: overlaps(&basis),
            failure_spreads: if failed_calls == 0 {
                1.0
            } else {
                f64::from(spread) / f64::from(failed_calls)
            },
            ..CallModel::default()
        }
    };
    order.into_iter().map(model).collect()
}

/// Says whether calls of these visits ran at once: their times do not fit one after another.
fn overlaps(visits: &[&Visit]) -> bool {
    let several: Vec<_> = visits.iter().filter(|visit| visit.calls.len() >= 2).collect();
    let too_long = several.iter().filter(|visit| {
        let sum: u64 = visit.calls.iter().map(|call| call.nanos).sum();
        sum as f64 > 1.1 * visit.latency_nanos as f64
    });
    !several.is_empty() && 2 * too_long.count() > several.len()
}

fn any_call_failed(visit: &Visit) -> bool {
    visit.calls.iter().any(|call| call.failed)
}

/// Keeps at most [`VALUES_LIMIT`] of ascending values, evenly, the largest always.
fn thin(sorted: Vec<u64>) -> Vec<u64> {
    if sorted.len() <= VALUES_LIMIT {
        return sorted;
    }
    let last = sorted.len() - 1;
    (0..VALUES_LIMIT).map(|index| sorted[index * last / (VALUES_LIMIT - 1)]).collect()
}
