//! Evidence drawn from a system whose truth is known: `web` in front of `db`.

use std::collections::BTreeMap;
use std::time::Duration;

use prophecy_core::system::Span;
use prophecy_core::{Philox, Probability, Seed, System};
use prophecy_datasets::Run;
use prophecy_datasets::run::{ArmCounts, RunInputs};
use prophecy_predictor::{Evidence, ForecastOptions, Inputs, Report, forecast};
use prophecy_simulator::model::{CallModel, Law, Model, RouteModel, SCHEMA, Station};
use prophecy_simulator::observation::{
    Call, MemoryPoint, Observations, ServiceObservations, Visit, Workers,
};
use prophecy_simulator::{CompiledModel, CompiledTraffic, Traffic, simulate};

pub(crate) const ITEMS: &str = "GET /items";
pub(crate) const ORDERS: &str = "POST /orders";
pub(crate) const ABOUT: &str = "GET /about";
const ROWS: &str = "GET /rows";

const MILLI: f64 = 1e6;
const RATE_HZ: f64 = 40.0;
const SIGMA: f64 = 0.3;
const DB_MILLIS: f64 = 30.0;
pub(crate) const WINDOW_NANOS: u64 = 30_000_000_000;

/// The truth about a build.
#[derive(Clone, Debug)]
pub(crate) struct Build {
    /// What the own time of `ITEMS` is multiplied by.
    pub(crate) items_factor: f64,
    /// The share of `ITEMS` that `web` fails.
    pub(crate) items_failure: f64,
    /// The share of `ORDERS` that is answered with 422.
    pub(crate) orders_rejected: f64,
    /// The most calls from `web` to `db` at once.
    pub(crate) pool: Option<u32>,
    /// Bytes of `web` that each request leaves behind.
    pub(crate) leak_bytes: f64,
}

impl Default for Build {
    fn default() -> Self {
        Self {
            items_factor: 1.0,
            items_failure: 0.0,
            orders_rejected: 0.0,
            pool: None,
            leak_bytes: 0.0,
        }
    }
}

impl Build {
    /// The median own time of a route of `web` \[ms\].
    fn own_millis(&self, route: &str) -> f64 {
        match route {
            ITEMS => 20.0 * self.items_factor,
            ORDERS => 10.0,
            _ => 15.0,
        }
    }

    /// The model that this truth is.
    fn model(&self) -> Model {
        let law = |millis| Some(Law::Lognormal { median_nanos: millis * MILLI, sigma: SIGMA });
        let call =
            CallModel { service: "db".to_owned(), route: ROWS.to_owned(), ..CallModel::default() };
        let web = [ITEMS, ORDERS, ABOUT].map(|route| {
            let calls = if route == ABOUT { Vec::new() } else { vec![call.clone()] };
            let law = law(self.own_millis(route));
            (route.to_owned(), RouteModel { law, calls, ..RouteModel::default() })
        });
        let db = RouteModel { law: law(DB_MILLIS), ..RouteModel::default() };
        let station = |routes, pools| Station { pools, routes, ..Station::default() };
        let pools = self.pool.map(|limit| ("db".to_owned(), limit)).into_iter().collect();
        let services = [
            ("web".to_owned(), station(BTreeMap::from(web), pools)),
            ("db".to_owned(), station([(ROWS.to_owned(), db)].into(), BTreeMap::new())),
        ];
        Model {
            schema: SCHEMA.to_owned(),
            system: "town".to_owned(),
            entry: "web".to_owned(),
            hosts: BTreeMap::new(),
            services: BTreeMap::from(services),
        }
    }

    /// What production would show of this build on another day: the 95th percentile of `ITEMS` \[ms\].
    pub(crate) fn fresh_p95_ms(&self, seed: Seed) -> f64 {
        let model = CompiledModel::new(&self.model());
        let traffic = traffic(seed.derive("fresh"), WINDOW_NANOS);
        let traffic = CompiledTraffic::new(&traffic, &model).expect("the routes are there");
        let outcome = simulate(&model, &traffic, seed.derive("fresh"), 0);
        let route = outcome.route("web", ITEMS).expect("the route is there");
        route.quantile(0.95).expect("it was visited") as f64 / MILLI
    }
}

pub(crate) fn system() -> System {
    let yaml = "
apiVersion: prophecy/v1
kind: System
name: town
entry: web
services:
  web: { url: 'http://127.0.0.1:1', memory_limit: 256MiB }
  db: { url: 'http://127.0.0.1:2' }
slo:
  - { service: web, route: GET /items, latency_p95: 100ms, error_rate: 1% }
  - { service: web, route: POST /orders, latency_p95: 100ms, error_rate: 1% }
";
    System::from_yaml(yaml).expect("the manifest is right")
}

fn traffic(seed: Seed, window_nanos: u64) -> Traffic {
    let routes = [ITEMS, ORDERS, ABOUT].map(str::to_owned);
    Traffic::poisson(RATE_HZ, window_nanos, &routes, &mut seed.stream(0, 0, "arrivals"))
}

/// Draws what a build shows when it gets some traffic.
fn observe(build: &Build, traffic: &Traffic, seed: Seed) -> Observations {
    let (mut web, mut db) = (ServiceObservations::default(), ServiceObservations::default());
    for (index, arrival) in traffic.arrivals.iter().enumerate() {
        let mut stream = seed.stream(0, index as u64, "visit");
        let own_nanos = lognormal(build.own_millis(&arrival.route), &mut stream);
        let mut calls = Vec::new();
        if arrival.route != ABOUT {
            let nanos = lognormal(DB_MILLIS, &mut stream);
            let (destination, route) = ("db".to_owned(), ROWS.to_owned());
            calls.push(Call { destination, route, nanos, failed: false });
            let visit = Visit {
                at_nanos: arrival.at_nanos,
                latency_nanos: nanos,
                own_nanos: nanos,
                status: Some(200),
                ..Visit::default()
            };
            db.routes.entry(ROWS.to_owned()).or_default().push(visit);
        }
        let failed = arrival.route == ITEMS && stream.uniform() < build.items_failure;
        let rejected = arrival.route == ORDERS && stream.uniform() < build.orders_rejected;
        let visit = Visit {
            at_nanos: arrival.at_nanos,
            latency_nanos: own_nanos + calls.iter().map(|call| call.nanos).sum::<u64>(),
            own_nanos,
            waited_nanos: 0,
            status: Some(if failed { 500 } else { 200 + 222 * u16::from(rejected) }),
            failed,
            given_up: false,
            calls,
        };
        web.routes.entry(arrival.route.clone()).or_default().push(visit);
    }
    web.workers = Workers::Unlimited;
    web.pools = build.pool.map(|limit| ("db".to_owned(), limit)).into_iter().collect();
    web.memory = memory(build, traffic, &mut seed.stream(0, 0, "memory"));
    Observations {
        entry: "web".to_owned(),
        window_nanos: traffic.window_nanos,
        arrivals: traffic.arrivals.clone(),
        services: [("web".to_owned(), web), ("db".to_owned(), db)].into(),
    }
}

/// Resident memory in 100 measurements: 60 MiB, the leak, and noise of 16 KiB.
fn memory(build: &Build, traffic: &Traffic, stream: &mut Philox) -> Vec<MemoryPoint> {
    let point = |at_nanos| {
        let requests = traffic.arrivals.partition_point(|arrival| arrival.at_nanos <= at_nanos);
        let leaked = build.leak_bytes * requests as f64;
        let resident_bytes = (60.0 * 1_048_576.0 + leaked + 16_384.0 * stream.normal()) as u64;
        MemoryPoint { at_nanos, requests: requests as u64, resident_bytes }
    };
    (1..=100).map(|index| index * traffic.window_nanos / 100).map(point).collect()
}

fn lognormal(median_millis: f64, stream: &mut Philox) -> u64 {
    (median_millis * MILLI * (SIGMA * stream.normal()).exp()) as u64
}

/// Draws all the evidence about a candidate; the baseline is the default build.
pub(crate) fn evidence(seed: u64, candidate: &Build) -> Evidence {
    evidence_of(seed, candidate, WINDOW_NANOS)
}

pub(crate) fn evidence_of(seed: u64, candidate: &Build, window_nanos: u64) -> Evidence {
    let seed = Seed(seed).derive("evidence");
    let traffic = traffic(seed, window_nanos);
    let baseline = Build::default();
    let offered = traffic.arrivals.len() as u64;
    let arm = |name: &str| ArmCounts {
        name: name.to_owned(),
        offered,
        sent: offered,
        unanswered: 0,
        send_lag_p50_nanos: 100_000,
        send_lag_p99_nanos: 900_000,
        send_lag_max_nanos: 2_000_000,
    };
    let digest = |letter: &str| letter.repeat(64);
    Evidence {
        system: system(),
        candidate_system: system(),
        production: observe(&baseline, &traffic, seed.derive("production")),
        baseline: observe(&baseline, &traffic, seed.derive("baseline")),
        baseline_again: observe(&baseline, &traffic, seed.derive("baseline again")),
        candidate: observe(candidate, &traffic, seed.derive("candidate")),
        run: Run {
            schema: "prophecy.run/1".to_owned(),
            seed: 1,
            speed: 1.0,
            share: 1.0,
            window_nanos,
            warmup_nanos: 0,
            inputs: RunInputs {
                dataset: digest("a"),
                baseline: digest("b"),
                candidate: digest("c"),
                policy: "replayable".to_owned(),
            },
            left_out: 0,
            arms: ["baseline", "baseline-again", "candidate"].map(arm).to_vec(),
            differences: Vec::new(),
            standin_misses: 0,
            ended: Vec::new(),
            load_average: 0.1,
        },
        inputs: Inputs {
            dataset: digest("a"),
            baseline: digest("b"),
            candidate: digest("c"),
            policy: "replayable".to_owned(),
            window: ["2026-01-05T09:00:00Z", "2026-01-05T09:00:30Z"].map(str::to_owned),
            exchanges: offered,
        },
        notes: Vec::new(),
    }
}

/// Replaces both promises of a 95th percentile of 100 ms by another one.
pub(crate) fn promising(mut evidence: Evidence, latency_p95: Duration) -> Evidence {
    for slo in evidence.system.slo.iter_mut().chain(&mut evidence.candidate_system.slo) {
        slo.latency_p95 = Some(Span(latency_p95));
    }
    evidence
}

/// Forecasts with little work: 24 draws of 4 replications.
pub(crate) fn report(evidence: &Evidence, threads: usize) -> Report {
    let options = ForecastOptions {
        seed: Seed(7),
        draws: 24,
        replications: 4,
        threads,
        max_risk: Probability::clamped(0.2),
        progress: &|_, _| {},
    };
    forecast(evidence, &options).expect("there is traffic")
}
