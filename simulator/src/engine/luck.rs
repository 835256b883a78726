//! The draws of a replication, each addressed by what it is for.

use prophecy_core::{Philox, Seed};

use crate::compiled::{CompiledModel, Counts};

use super::spread;

/// The streams of a replication.
#[derive(Clone, Debug)]
pub(crate) struct Luck {
    routes: Vec<RouteLuck>,
    stations: Vec<StationLuck>,
}

/// The streams of a route; the counter is the key of a visit.
#[derive(Clone, Debug)]
pub(crate) struct RouteLuck {
    pub(crate) own: Philox,
    counts: Philox,
    pub(crate) failure: Philox,
    pub(super) spread: Philox,
    pub(super) keys: Philox,
    pub(super) backoff: Philox,
    pub(super) network: Philox,
}

/// The streams of a service.
#[derive(Clone, Debug)]
pub(super) struct StationLuck {
    pub(super) balance: Philox,
    pub(super) pauses: Philox,
    pub(super) states: Philox,
    pub(super) copies: Philox,
}

// === impl Luck ===

impl Luck {
    pub(crate) fn new(model: &CompiledModel, seed: Seed, replication: u32) -> Self {
        let build = &model.builds[0];
        let routes = build.routes.iter().map(|route| {
            let stream = |purpose: &str| seed.stream(replication, route.entity, purpose);
            RouteLuck {
                own: stream("own"),
                counts: stream("counts"),
                failure: stream("failure"),
                spread: stream("spread"),
                keys: stream("keys"),
                backoff: stream("backoff"),
                network: stream("network"),
            }
        });
        let stations = build.stations.iter().map(|station| {
            let entity = prophecy_core::random::fnv1a(&station.name);
            let stream = |purpose: &str| seed.stream(replication, entity, purpose);
            StationLuck {
                balance: stream("balance"),
                pauses: stream("pauses"),
                states: stream("states"),
                copies: stream("copies"),
            }
        });
        Self { routes: routes.collect(), stations: stations.collect() }
    }

    pub(crate) fn route(&mut self, route: u32) -> &mut RouteLuck {
        &mut self.routes[route as usize]
    }

    pub(super) fn station(&mut self, station: usize) -> &mut StationLuck {
        &mut self.stations[station]
    }

    /// Draws how often a request makes one of its route's calls; the same answer each time.
    pub(super) fn count(&mut self, route: u32, call: u32, counts: &Counts, key: u64) -> u32 {
        let cumulative = match counts {
            Counts::Certain(count) => return *count,
            Counts::Cumulative(cumulative) => cumulative,
        };
        let stream = &mut self.routes[route as usize].counts;
        let u = stream.at(spread(key ^ u64::from(call))).uniform();
        cumulative.partition_point(|sum| *sum <= u).min(cumulative.len() - 1) as u32
    }
}
