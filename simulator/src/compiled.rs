//! A model and its traffic with names turned into indices, once for many replications.

mod demand;
mod keys;

use std::collections::{BTreeMap, BTreeSet};

use prophecy_core::random::fnv1a;
use thiserror::Error;

use crate::model::{
    Backoff, Balancing, Breaker, Budget, CacheModel, CallModel, Concurrency, DependencyState, Leak,
    Model, Network, Pauses, RateLimit, Replication, RouteModel, Scaling, Station,
};
use crate::traffic::Traffic;

pub(crate) use self::demand::Demand;
pub(crate) use self::keys::CompiledKeys;

/// Marks a limit that does not exist.
pub(crate) const UNLIMITED: u32 = u32::MAX;

/// Stands for no index.
pub(crate) const NONE: u32 = u32::MAX;

/// A model ready to run, or two: what runs now, and what replaces it during a deployment.
#[derive(Clone, Debug)]
pub struct CompiledModel {
    pub(crate) builds: Vec<Build>,
    pub(crate) hosts: Vec<CompiledHost>,
    /// The first slot of each station, and their number in the end.
    pub(crate) first_slots: Vec<u32>,
    pub(crate) entry: usize,
    /// The distinct times after which something is given up or hedged \[ns\].
    pub(crate) delays: Vec<u64>,
    /// Whether it is one station whose departures follow from a recursion.
    pub(crate) is_simple: bool,
}

/// One build. All builds of a model have the same stations and routes, by index.
#[derive(Clone, Debug)]
pub(crate) struct Build {
    pub(crate) stations: Vec<CompiledStation>,
    pub(crate) routes: Vec<CompiledRoute>,
}

/// Arrivals ready to run, ascending.
#[derive(Clone, Debug)]
pub struct CompiledTraffic {
    pub(crate) window_nanos: u64,
    pub(crate) arrivals: Vec<Entrance>,
}

/// An arrival with the index of its route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entrance {
    pub(crate) at: u64,
    pub(crate) route: u32,
    pub(crate) session: u32,
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
pub(crate) struct CompiledHost {
    pub(crate) name: String,
    pub(crate) cores: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct CompiledStation {
    pub(crate) name: String,
    pub(crate) replicas: u32,
    pub(crate) workers: u32,
    pub(crate) queue_limit: u32,
    /// Limits of the pools of one replica; a call names its pool by index.
    pub(crate) pools: Vec<u32>,
    /// How many calls of one replica have a budget or a breaker.
    pub(crate) guards: u32,
    pub(crate) host: u32,
    pub(crate) is_event_loop: bool,
    pub(crate) balancing: Balancing,
    pub(crate) rate_limit: Option<RateLimit>,
    pub(crate) pauses: Option<Pauses>,
    pub(crate) states: Vec<DependencyState>,
    pub(crate) leak: Option<Leak>,
    pub(crate) scaling: Option<Scaling>,
    pub(crate) cache_names: Vec<String>,
    pub(crate) caches: Vec<CacheModel>,
    /// How many keys each cache is asked for.
    pub(crate) cache_keys: Vec<u32>,
    pub(crate) replication: Option<Replication>,
    pub(crate) written_keys: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct CompiledRoute {
    pub(crate) station: u32,
    pub(crate) name: String,
    pub(crate) entity: u64,
    /// Whether this build has the route at all.
    pub(crate) is_there: bool,
    pub(crate) demand: Demand,
    pub(crate) cpu_share: f64,
    pub(crate) failure: f64,
    pub(crate) calls: Vec<CompiledCall>,
    /// How often a request stops for calls, where that is certain.
    pub(crate) certain_stops: Option<u32>,
    pub(crate) cache: Option<CompiledCacheUse>,
    pub(crate) row: Option<CompiledKeys>,
    pub(crate) writes: Option<CompiledKeys>,
    pub(crate) reads_copy: Option<CompiledKeys>,
    /// Whether nothing can stand between a worker and the work.
    pub(crate) is_direct: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct CompiledCacheUse {
    pub(crate) cache: u32,
    pub(crate) keys: CompiledKeys,
    pub(crate) hit_share: f64,
}

#[derive(Clone, Debug)]
pub(crate) struct CompiledCall {
    pub(crate) route: u32,
    pub(crate) counts: Counts,
    pub(crate) parallel: bool,
    pub(crate) asynchronous: bool,
    /// Indices among the delays.
    pub(crate) timeout: u32,
    pub(crate) hedge: u32,
    pub(crate) passes_deadline: bool,
    pub(crate) retries: u32,
    pub(crate) backoff: Backoff,
    pub(crate) guard: u32,
    pub(crate) budget: Option<Budget>,
    pub(crate) breaker: Option<Breaker>,
    pub(crate) network: Option<Network>,
    pub(crate) failure_spreads: f64,
    pub(crate) pool: u32,
}

/// How many calls a request makes.
#[derive(Clone, Debug)]
pub(crate) enum Counts {
    /// Always as many.
    Certain(u32),
    /// `cumulative[k]` is the probability of at most `k`.
    Cumulative(Vec<f64>),
}

// === impl CompiledModel ===

impl CompiledModel {
    /// Compiles a model.
    ///
    /// # Panics
    ///
    /// If the model was not checked by [`Model::check`].
    pub fn new(model: &Model) -> Self {
        Self::of_builds(&[model])
    }

    /// Compiles what runs now and what replaces it: requests go to instances of either, as a
    /// [`Scenario`](crate::Scenario) says. How requests are spread, the hosts, the states of services and
    /// their copies are those of the first build that has the service.
    ///
    /// # Panics
    ///
    /// If a model was not checked by [`Model::check`], or there is none, or the entries differ.
    pub fn of_builds(models: &[&Model]) -> Self {
        for model in models {
            model.check().expect("a model is checked when it is read or made");
            assert_eq!(model.entry, models[0].entry, "builds share their entry");
        }
        let mut compiler = Compiler::new(models);
        let builds: Vec<Build> = models.iter().map(|model| compiler.build(model)).collect();
        let mut first_slots = vec![0];
        for station in 0..compiler.stations.len() {
            let most = |build: &Build| {
                let station = &build.stations[station];
                station.scaling.map_or(station.replicas, |it| it.most.max(station.replicas))
            };
            let slots: u32 = builds.iter().map(most).sum();
            first_slots.push(first_slots[station] + slots);
        }
        let entry = compiler.stations.iter().position(|name| *name == models[0].entry.as_str());
        let hosts = compiler
            .hosts
            .iter()
            .map(|(name, cores)| CompiledHost { name: (*name).to_owned(), cores: *cores });
        let mut compiled = Self {
            hosts: hosts.collect(),
            first_slots,
            entry: entry.expect("checked: the entry is a service"),
            delays: compiler.delays,
            is_simple: false,
            builds,
        };
        compiled.is_simple = compiled.is_simple();
        compiled
    }

    /// Returns traffic without the arrivals on routes that the entry does not have.
    #[must_use]
    pub fn known(&self, traffic: &Traffic) -> Traffic {
        let known =
            traffic.arrivals.iter().filter(|arrival| self.entry_route(&arrival.route).is_some());
        Traffic { window_nanos: traffic.window_nanos, arrivals: known.cloned().collect() }
    }

    /// Returns the index of a service.
    pub(crate) fn station(&self, name: &str) -> Option<usize> {
        self.builds[0].stations.iter().position(|station| station.name == name)
    }

    /// Returns the slots of a station.
    pub(crate) fn slots(&self, station: usize) -> std::ops::Range<u32> {
        self.first_slots[station]..self.first_slots[station + 1]
    }

    pub(crate) fn route(&self, build: u32, route: u32) -> &CompiledRoute {
        &self.builds[build as usize].routes[route as usize]
    }

    /// Returns the index of a route of the entry service.
    pub(crate) fn entry_route(&self, name: &str) -> Option<u32> {
        let at_entry =
            |route: &CompiledRoute| route.station as usize == self.entry && route.name == name;
        self.builds[0].routes.iter().position(at_entry).map(|index| index as u32)
    }

    fn is_simple(&self) -> bool {
        let [build] = self.builds.as_slice() else { return false };
        let [station] = build.stations.as_slice() else { return false };
        station.replicas == 1
            && station.queue_limit == UNLIMITED
            && station.rate_limit.is_none()
            && station.pauses.is_none()
            && station.states.is_empty()
            && station.leak.is_none()
            && station.scaling.is_none()
            && build
                .routes
                .iter()
                .all(|route| route.is_direct && (route.cpu_share == 0.0 || station.host == NONE))
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
        let mut known: BTreeMap<&str, u32> = BTreeMap::new();
        let mut arrivals = Vec::with_capacity(traffic.arrivals.len());
        for arrival in &traffic.arrivals {
            let route = if let Some(route) = known.get(arrival.route.as_str()) {
                *route
            } else {
                let found = model.entry_route(&arrival.route);
                let route = found.ok_or_else(|| CompileTrafficError {
                    route: arrival.route.clone(),
                    service: model.builds[0].stations[model.entry].name.clone(),
                })?;
                known.insert(&arrival.route, route);
                route
            };
            let session = (arrival.session ^ (arrival.session >> 32)) as u32;
            arrivals.push(Entrance { at: arrival.at_nanos, route, session });
        }
        Ok(Self { window_nanos: traffic.window_nanos, arrivals })
    }

    /// Returns arrivals of a Poisson process on one route, without the detour over names.
    ///
    /// # Panics
    ///
    /// If the model's entry does not have the route, or the rate is not positive and finite.
    pub fn poisson(
        model: &CompiledModel,
        route: &str,
        rate_hz: f64,
        window_nanos: u64,
        stream: &mut prophecy_core::Philox,
    ) -> Self {
        assert!(rate_hz > 0.0 && rate_hz.is_finite(), "a rate is positive, not {rate_hz}");
        let route = model.entry_route(route).expect("a route of the entry");
        let mut arrivals = Vec::with_capacity((rate_hz * window_nanos as f64 * 1.01e-9) as usize);
        let mut at = 0.0;
        loop {
            at += stream.exponential() * 1e9 / rate_hz;
            if at >= window_nanos as f64 {
                return Self { window_nanos, arrivals };
            }
            arrivals.push(Entrance { at: at as u64, route, session: arrivals.len() as u32 });
        }
    }

    /// Returns how many requests arrive.
    pub fn len(&self) -> usize {
        self.arrivals.len()
    }

    /// Says whether no request arrives.
    pub fn is_empty(&self) -> bool {
        self.arrivals.is_empty()
    }
}

/// The names of all builds, and what they share.
struct Compiler<'a> {
    stations: Vec<&'a str>,
    routes: Vec<(&'a str, &'a str)>,
    hosts: Vec<(&'a str, u32)>,
    /// The model that a station is taken from where a build does not have it.
    models: &'a [&'a Model],
    delays: Vec<u64>,
}

// === impl Compiler ===

impl<'a> Compiler<'a> {
    fn new(models: &'a [&'a Model]) -> Self {
        let mut stations = BTreeSet::new();
        let mut routes = BTreeSet::new();
        let mut hosts: BTreeMap<&str, u32> = BTreeMap::new();
        for model in models {
            for (service, station) in &model.services {
                stations.insert(service.as_str());
                routes
                    .extend(station.routes.keys().map(|route| (service.as_str(), route.as_str())));
            }
            for (name, host) in &model.hosts {
                hosts.entry(name.as_str()).or_insert(host.cores);
            }
        }
        Self {
            stations: stations.into_iter().collect(),
            routes: routes.into_iter().collect(),
            hosts: hosts.into_iter().collect(),
            models,
            delays: Vec::new(),
        }
    }

    fn build(&mut self, model: &'a Model) -> Build {
        let nothing = Station { replicas: 0, ..Station::default() };
        let station_names = self.stations.clone();
        let stations = station_names.iter().map(|name| {
            let own = model.services.get(*name);
            self.station(name, own.unwrap_or(&nothing))
        });
        let mut stations: Vec<CompiledStation> = stations.collect();
        let absent = RouteModel {
            law: Some(crate::model::Law::Constant { nanos: 0 }),
            ..RouteModel::default()
        };
        let mut routes = Vec::with_capacity(self.routes.len());
        for (service, name) in self.routes.clone() {
            let station = station_names.binary_search(&service).expect("from the same models");
            let own = model.services.get(service).and_then(|it| it.routes.get(name));
            let place = Place { station, service, name };
            let route =
                self.route(&place, own.unwrap_or(&absent), own.is_some(), &mut stations[station]);
            routes.push(route);
        }
        Build { stations, routes }
    }

    fn station(&self, name: &str, station: &Station) -> CompiledStation {
        // What is not of one build alone: of the first that has the service.
        let shared = self.models.iter().find_map(|model| model.services.get(name));
        let shared = shared.unwrap_or(station);
        let host = shared
            .host
            .as_ref()
            .and_then(|host| self.hosts.iter().position(|(known, _)| known == host));
        CompiledStation {
            name: name.to_owned(),
            replicas: station.replicas,
            workers: station.workers.unwrap_or(UNLIMITED),
            queue_limit: station.queue_limit.unwrap_or(UNLIMITED),
            pools: station.pools.values().copied().collect(),
            guards: 0,
            host: host.map_or(NONE, |index| index as u32),
            is_event_loop: station.concurrency == Concurrency::EventLoop,
            balancing: shared.balancing.clone(),
            rate_limit: station.rate_limit,
            pauses: station.pauses,
            states: shared.states.clone(),
            leak: station.leak,
            scaling: shared.scaling,
            cache_names: station.caches.keys().cloned().collect(),
            caches: station.caches.values().copied().collect(),
            cache_keys: vec![0; station.caches.len()],
            replication: shared.replication,
            written_keys: 0,
        }
    }

    fn route(
        &mut self,
        place: &Place<'_>,
        route: &RouteModel,
        is_there: bool,
        station: &mut CompiledStation,
    ) -> CompiledRoute {
        let pools: Vec<&String> = self
            .models
            .iter()
            .filter_map(|model| model.services.get(place.service))
            .find(|it| {
                it.pools.len() == station.pools.len() && it.routes.get(place.name) == Some(route)
            })
            .map(|it| it.pools.keys().collect())
            .unwrap_or_default();
        let calls: Vec<CompiledCall> =
            route.calls.iter().map(|call| self.call(call, &pools, station)).collect();
        let cache = route.cache.as_ref().map(|used| {
            let index = station.cache_names.iter().position(|name| *name == used.name);
            let index = index.expect("checked: the cache is there");
            station.cache_keys[index] = station.cache_keys[index].max(used.keys.count);
            CompiledCacheUse {
                cache: index as u32,
                keys: CompiledKeys::new(&used.keys),
                hit_share: used.hit_share,
            }
        });
        let row = route.row.as_ref().map(|row| CompiledKeys::new(&row.keys));
        let writes = route.writes.as_ref().map(CompiledKeys::new);
        let reads_copy = route.reads_copy.as_ref().map(CompiledKeys::new);
        for keys in [&writes, &reads_copy].into_iter().flatten() {
            station.written_keys = station.written_keys.max(keys.count());
        }
        CompiledRoute {
            station: place.station as u32,
            name: place.name.to_owned(),
            entity: fnv1a(&format!("{}/{}", place.service, place.name)),
            is_there,
            demand: Demand::new(route),
            cpu_share: route.cpu_share,
            failure: route.failure,
            certain_stops: certain_stops(&calls),
            is_direct: is_there
                && calls.is_empty()
                && cache.is_none()
                && row.is_none()
                && writes.is_none()
                && reads_copy.is_none(),
            calls,
            cache,
            row,
            writes,
            reads_copy,
        }
    }

    fn call(
        &mut self,
        call: &CallModel,
        pools: &[&String],
        station: &mut CompiledStation,
    ) -> CompiledCall {
        let key = (call.service.as_str(), call.route.as_str());
        let guard = if call.budget.is_some() || call.breaker.is_some() {
            station.guards += 1;
            station.guards - 1
        } else {
            NONE
        };
        let pool = pools.iter().position(|service| **service == call.service);
        CompiledCall {
            route: self.routes.binary_search(&key).expect("checked: calls name routes") as u32,
            counts: Counts::new(&call.counts),
            parallel: call.parallel,
            asynchronous: call.asynchronous,
            timeout: self.delay(call.timeout_nanos),
            hedge: self.delay(call.hedge_nanos),
            passes_deadline: call.passes_deadline,
            retries: call.retries,
            backoff: call.backoff,
            guard,
            budget: call.budget,
            breaker: call.breaker,
            network: (!call.network.is_instant()).then_some(call.network),
            failure_spreads: call.failure_spreads,
            pool: pool.map_or(NONE, |index| index as u32),
        }
    }

    fn delay(&mut self, nanos: Option<u64>) -> u32 {
        let Some(nanos) = nanos else { return NONE };
        let known = self.delays.iter().position(|delay| *delay == nanos);
        known.unwrap_or_else(|| {
            self.delays.push(nanos);
            self.delays.len() - 1
        }) as u32
    }
}

struct Place<'a> {
    station: usize,
    service: &'a str,
    name: &'a str,
}

// === impl Counts ===

impl Counts {
    fn new(counts: &[f64]) -> Self {
        if let Some(certain) = counts.iter().position(|probability| *probability >= 1.0) {
            return Self::Certain(certain as u32);
        }
        let mut sum = 0.0;
        let sums = counts.iter().map(|probability| {
            sum += probability;
            sum
        });
        Self::Cumulative(sums.collect())
    }
}

fn certain_stops(calls: &[CompiledCall]) -> Option<u32> {
    let stops = calls.iter().map(|call| match call.counts {
        _ if call.asynchronous => Some(0),
        Counts::Certain(count) if call.parallel => Some(count.min(1)),
        Counts::Certain(count) => Some(count),
        Counts::Cumulative(_) => None,
    });
    stops.sum()
}
