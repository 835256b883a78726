//! A model and its traffic with names turned into indices, once for many replications.

use prophecy_core::Philox;
use prophecy_core::random::fnv1a;
use thiserror::Error;

use crate::model::{Law, Model};
use crate::traffic::Traffic;

/// Marks a limit that does not exist.
pub(crate) const UNLIMITED: u32 = u32::MAX;

/// A model ready to run.
#[derive(Clone, Debug)]
pub struct CompiledModel {
    pub(crate) stations: Vec<CompiledStation>,
    pub(crate) routes: Vec<CompiledRoute>,
    pub(crate) entry: usize,
}

/// Arrivals ready to run: ascending, each with the index of its route.
#[derive(Clone, Debug)]
pub struct CompiledTraffic {
    pub(crate) window_nanos: u64,
    pub(crate) arrivals: Vec<(u64, u32)>,
}

/// Why traffic does not fit a model.
#[derive(Debug, Error)]
#[error(
    "the traffic has requests on `{route}`, a route that the model of `{service}` does not know"
)]
pub struct CompileTrafficError {
    route: String,
    service: String,
}

#[derive(Clone, Debug)]
pub(crate) struct CompiledStation {
    pub(crate) name: String,
    pub(crate) replicas: u32,
    pub(crate) workers: u32,
    pub(crate) queue_limit: u32,
    /// Limits of the pools of one replica; a call names its pool by index.
    pub(crate) pools: Vec<u32>,
}

#[derive(Clone, Debug)]
pub(crate) struct CompiledRoute {
    pub(crate) station: u32,
    pub(crate) name: String,
    pub(crate) entity: u64,
    pub(crate) demand: Demand,
    pub(crate) failure: f64,
    pub(crate) calls: Vec<CompiledCall>,
}

#[derive(Clone, Debug)]
pub(crate) struct CompiledCall {
    pub(crate) route: u32,
    /// `cumulative[k]` is the probability of at most `k` calls.
    pub(crate) cumulative: Vec<f64>,
    pub(crate) parallel: bool,
    pub(crate) timeout_nanos: Option<u64>,
    pub(crate) retries: u32,
    pub(crate) failure_spreads: f64,
    pub(crate) pool: Option<u32>,
}

#[derive(Clone, Debug)]
pub(crate) enum Demand {
    Values(Vec<u64>),
    Law(Law),
}

// === impl CompiledModel ===

impl CompiledModel {
    /// Compiles a model.
    ///
    /// # Panics
    ///
    /// If the model was not checked by [`Model::check`].
    pub fn new(model: &Model) -> Self {
        model.check().expect("a model is checked when it is read or made");
        let stations: Vec<_> = model
            .services
            .iter()
            .map(|(name, station)| CompiledStation {
                name: name.clone(),
                replicas: station.replicas,
                workers: station.workers.unwrap_or(UNLIMITED),
                queue_limit: station.queue_limit.unwrap_or(UNLIMITED),
                pools: station.pools.values().copied().collect(),
            })
            .collect();
        let names: Vec<(&String, &String)> = model
            .services
            .iter()
            .flat_map(|(service, station)| station.routes.keys().map(move |route| (service, route)))
            .collect();
        let index_of = |service: &String, route: &String| {
            names.binary_search(&(service, route)).expect("checked: calls name routes") as u32
        };
        let mut routes = Vec::with_capacity(names.len());
        for (station_index, (service, station)) in model.services.iter().enumerate() {
            for (name, route) in &station.routes {
                let calls = route.calls.iter().map(|call| CompiledCall {
                    route: index_of(&call.service, &call.route),
                    cumulative: cumulative(&call.counts),
                    parallel: call.parallel,
                    timeout_nanos: call.timeout_nanos,
                    retries: call.retries,
                    failure_spreads: call.failure_spreads,
                    pool: station.pools.keys().position(|to| *to == call.service).map(|i| i as u32),
                });
                routes.push(CompiledRoute {
                    station: station_index as u32,
                    name: name.clone(),
                    entity: fnv1a(&format!("{service}/{name}")),
                    demand: route
                        .law
                        .map_or_else(|| Demand::Values(route.own_nanos.clone()), Demand::Law),
                    failure: route.failure,
                    calls: calls.collect(),
                });
            }
        }
        let entry = model.services.keys().position(|name| *name == model.entry);
        Self { stations, routes, entry: entry.expect("checked: the entry is a service") }
    }

    /// Returns traffic without the arrivals on routes that the entry does not have.
    #[must_use]
    pub fn known(&self, traffic: &Traffic) -> Traffic {
        let known =
            traffic.arrivals.iter().filter(|arrival| self.entry_route(&arrival.route).is_some());
        Traffic { window_nanos: traffic.window_nanos, arrivals: known.cloned().collect() }
    }

    /// Returns the index of a route of the entry service.
    pub(crate) fn entry_route(&self, name: &str) -> Option<u32> {
        let at_entry =
            |route: &CompiledRoute| route.station as usize == self.entry && route.name == name;
        self.routes.iter().position(at_entry).map(|index| index as u32)
    }
}

// === impl CompiledTraffic ===

impl CompiledTraffic {
    /// Turns the routes of arrivals into indices of a model.
    ///
    /// # Errors
    ///
    /// [`CompileTrafficError`] for the first route that the model's entry does not have.
    pub fn new(traffic: &Traffic, model: &CompiledModel) -> Result<Self, CompileTrafficError> {
        let arrivals = traffic.arrivals.iter().map(|arrival| {
            let route = model.entry_route(&arrival.route).ok_or_else(|| CompileTrafficError {
                route: arrival.route.clone(),
                service: model.stations[model.entry].name.clone(),
            })?;
            Ok((arrival.at_nanos, route))
        });
        Ok(Self {
            window_nanos: traffic.window_nanos,
            arrivals: arrivals.collect::<Result<_, _>>()?,
        })
    }
}

// === impl Demand ===

impl Demand {
    /// Draws an own time \[ns\].
    pub(crate) fn draw(&self, stream: &mut Philox) -> u64 {
        match self {
            Self::Values(values) => values[(stream.uniform() * values.len() as f64) as usize],
            Self::Law(Law::Constant { nanos }) => *nanos,
            Self::Law(Law::Exponential { mean_nanos }) => {
                (stream.exponential() * mean_nanos).round() as u64
            }
            Self::Law(Law::Lognormal { median_nanos, sigma }) => {
                (median_nanos * (sigma * stream.normal()).exp()).round() as u64
            }
        }
    }
}

fn cumulative(counts: &[f64]) -> Vec<f64> {
    let mut sum = 0.0;
    let sums = counts.iter().map(|probability| {
        sum += probability;
        sum
    });
    sums.collect()
}
