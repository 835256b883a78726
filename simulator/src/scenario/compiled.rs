//! Models and traffic with names turned into indices, once, before thousands of runs.

use std::collections::BTreeMap;
use std::ops::Range;

use prophecy_core::random::fnv1a;

use super::traffic::Traffic;
use crate::model::{CallModel, CheckModelError, Law, Model, RouteModel, Station as StationModel};

/// The index that stands for nothing.
pub(crate) const NONE: u32 = u32::MAX;

/// A checked model, ready to run.
#[derive(Clone, Debug)]
pub struct CompiledModel {
    pub(crate) entry: u32,
    pub(crate) stations: Vec<Station>,
    pub(crate) routes: Vec<Route>,
    pub(crate) edges: Vec<Edge>,
    /// The distinct timeouts; edges refer to them by index.
    pub(crate) timeouts: Vec<u64>,
    /// Routes by (station, name), to compile traffic.
    route_index: BTreeMap<(u32, String), u32>,
}

/// Traffic ready to run through one model.
#[derive(Clone, Debug)]
pub struct CompiledTraffic {
    pub(crate) window_nanos: u64,
    pub(crate) warm_up_nanos: u64,
    pub(crate) arrivals: Vec<Entrance>,
    pub(crate) unknown_count: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Entrance {
    pub(crate) at: u64,
    pub(crate) route: u32,
    /// Its place among the arrivals of its route: the address of its luck.
    pub(crate) number: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Station {
    pub(crate) name: String,
    pub(crate) replicas: u32,
    /// Workers of one replica; `u32::MAX` without a limit.
    pub(crate) workers: u32,
    /// Places to wait at one replica; `u32::MAX` without a limit.
    pub(crate) queue_limit: u32,
    /// Pools of one replica: called service and limit.
    pub(crate) pools: Vec<(String, u32)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) name: String,
    pub(crate) station: u32,
    pub(crate) demand: Demand,
    pub(crate) failure: f64,
    pub(crate) edges: Range<u32>,
    /// The address of its luck: the hash of `service/route`.
    pub(crate) entity: u64,
}

#[derive(Clone, Debug)]
pub(crate) enum Demand {
    Quantiles(Box<[u64]>),
    Law(Law),
}

#[derive(Clone, Debug)]
pub(crate) struct Edge {
    /// The called route.
    pub(crate) route: u32,
    /// The index among the pools of the caller's replica, or [`NONE`].
    pub(crate) pool: u32,
    pub(crate) counts: Counts,
    pub(crate) parallel: bool,
    /// The index among the model's timeouts, or [`NONE`].
    pub(crate) timeout: u32,
    pub(crate) retries: u32,
    pub(crate) failure_spreads: f64,
    /// The address of its luck: the hash of caller, callee, and how many equal edges come before.
    pub(crate) entity: u64,
}

/// How many calls a request makes along an edge.
#[derive(Clone, Debug)]
pub(crate) enum Counts {
    /// Always the same.
    Fixed(u32),
    /// Item `k` is the probability of at most `k`.
    Cumulative(Box<[f64]>),
}

// === impl CompiledModel ===

impl CompiledModel {
    /// Checks a model and turns its names into indices.
    ///
    /// # Errors
    ///
    /// [`CheckModelError`] if the model does not pass [`Model::check`].
    pub fn new(model: &Model) -> Result<Self, CheckModelError> {
        model.check()?;
        let mut route_index = BTreeMap::new();
        for (station, (_, station_model)) in (0u32..).zip(&model.services) {
            for route in station_model.routes.keys() {
                let index = route_index.len() as u32;
                route_index.insert((station, route.clone()), index);
            }
        }
        let station_of = |name: &str| {
            let names = (0u32..).zip(model.services.keys());
            names.into_iter().find(|(_, known)| *known == name).map(|(index, _)| index)
        };
        let mut compiled = Self {
            entry: station_of(&model.entry).expect("a checked model defines its entry"),
            stations: Vec::with_capacity(model.services.len()),
            routes: Vec::with_capacity(route_index.len()),
            edges: Vec::new(),
            timeouts: Vec::new(),
            route_index,
        };
        for (name, station_model) in &model.services {
            let station = Station::new(name, station_model);
            for (route, route_model) in &station_model.routes {
                compiled.add_route(&station, route, route_model, &station_of);
            }
            compiled.stations.push(station);
        }
        Ok(compiled)
    }

    /// Returns the index of a route of the entry.
    pub(crate) fn entry_route(&self, name: &str) -> Option<u32> {
        self.route_index.get(&(self.entry, name.to_owned())).copied()
    }

    fn add_route(
        &mut self,
        station: &Station,
        name: &str,
        model: &RouteModel,
        station_of: &dyn Fn(&str) -> Option<u32>,
    ) {
        let first = self.edges.len() as u32;
        for (index, call) in model.calls.iter().enumerate() {
            let callee = station_of(&call.service).expect("a checked model defines its services");
            let equal = |other: &&CallModel| {
                other.service == call.service && other.route == call.route
            };
            let before = model.calls[..index].iter().filter(equal).count();
            let entity = fnv1a(&format!(
                "{}/{name} -> {}/{} #{before}",
                station.name, call.service, call.route
            ));
            let timeout = call.timeout_nanos.map_or(NONE, |nanos| self.timeout_index(nanos));
            let pool = station.pools.iter().position(|(service, _)| *service == call.service);
            self.edges.push(Edge {
                route: *self
                    .route_index
                    .get(&(callee, call.route.clone()))
                    .expect("a checked model defines its routes"),
                pool: pool.map_or(NONE, |index| index as u32),
                counts: Counts::new(&call.counts),
                parallel: call.parallel,
                timeout,
                retries: call.retries,
                failure_spreads: call.failure_spreads,
                entity,
            });
        }
        self.routes.push(Route {
            name: name.to_owned(),
            station: self.stations.len() as u32,
            demand: match model.law {
                Some(law) => Demand::Law(law),
                None => Demand::Quantiles(model.own_nanos.as_slice().into()),
            },
            failure: model.failure,
            edges: first..self.edges.len() as u32,
            entity: fnv1a(&format!("{}/{name}", station.name)),
        });
    }

    fn timeout_index(&mut self, nanos: u64) -> u32 {
        let known = self.timeouts.iter().position(|known| *known == nanos);
        known.unwrap_or_else(|| {
            self.timeouts.push(nanos);
            self.timeouts.len() - 1
        }) as u32
    }
}

// === impl CompiledTraffic ===

impl CompiledTraffic {
    /// Prepares traffic for a model. Requests of routes that the entry of the model does not have
    /// are left out, and counted.
    pub fn new(traffic: &Traffic, model: &CompiledModel) -> Self {
        let mut numbers = vec![0u64; model.routes.len()];
        let mut known: BTreeMap<&str, Option<u32>> = BTreeMap::new();
        let mut arrivals = Vec::with_capacity(traffic.arrivals.len());
        for arrival in &traffic.arrivals {
            let route =
                known.entry(&arrival.route).or_insert_with(|| model.entry_route(&arrival.route));
            let Some(route) = *route else { continue };
            let number = &mut numbers[route as usize];
            arrivals.push(Entrance { at: arrival.at_nanos, route, number: *number });
            *number += 1;
        }
        // Luck follows the place in the column; events follow time. A stable sort keeps ties as given.
        arrivals.sort_by_key(|arrival| arrival.at);
        let unknown_count = (traffic.arrivals.len() - arrivals.len()) as u64;
        Self { window_nanos: traffic.window_nanos, warm_up_nanos: 0, arrivals, unknown_count }
    }

    /// Leaves requests that arrive before `nanos`, and all that they cause, out of every count.
    #[must_use]
    pub fn warmed_up(self, nanos: u64) -> Self {
        Self { warm_up_nanos: nanos, ..self }
    }

    /// Returns how many requests were left out because the model does not know their route.
    pub fn unknown_count(&self) -> u64 {
        self.unknown_count
    }

    /// Returns how many requests will arrive.
    pub fn len(&self) -> usize {
        self.arrivals.len()
    }

    /// Says whether no request will arrive.
    pub fn is_empty(&self) -> bool {
        self.arrivals.is_empty()
    }
}

// === impl Station ===

impl Station {
    fn new(name: &str, model: &StationModel) -> Self {
        Self {
            name: name.to_owned(),
            replicas: model.replicas,
            workers: model.workers.unwrap_or(u32::MAX),
            queue_limit: model.queue_limit.unwrap_or(u32::MAX),
            pools: model.pools.iter().map(|(service, limit)| (service.clone(), *limit)).collect(),
        }
    }
}

// === impl Counts ===

impl Counts {
    fn new(shares: &[f64]) -> Self {
        let mut possible = (0u32..).zip(shares).filter(|(_, share)| **share > 0.0);
        if let (Some((count, _)), None) = (possible.next(), possible.next()) {
            return Self::Fixed(count);
        }
        let mut sum = 0.0;
        let cumulative = shares.iter().map(|share| {
            sum += share;
            sum
        });
        Self::Cumulative(cumulative.collect())
    }

    /// Returns the count at level `u` in `[0, 1)`.
    pub(crate) fn quantile(&self, u: f64) -> u32 {
        match self {
            Self::Fixed(count) => *count,
            // The last share may end a rounding error below 1; a draw above it takes the last count.
            Self::Cumulative(sums) => {
                sums.iter().take(sums.len() - 1).take_while(|sum| u >= **sum).count() as u32
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_counts_by_their_shares() {
        let counts = Counts::new(&[0.25, 0.0, 0.5, 0.25]);
        for (u, expected) in [(0.0, 0), (0.249, 0), (0.25, 2), (0.749, 2), (0.75, 3), (0.999, 3)] {
            assert_eq!(counts.quantile(u), expected, "{u}");
        }
        assert!(matches!(Counts::new(&[0.0, 0.0, 1.0]), Counts::Fixed(2)));
        assert!(matches!(Counts::new(&[1.0]), Counts::Fixed(0)));
    }
}
