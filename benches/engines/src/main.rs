//! Event engines side by side: events per second of processor time on the same models, in one run.
//!
//! `make engines` runs it with SimPy and Ciw in a virtual environment.

mod nexosim_queue;

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use prophecy_core::Seed;
use prophecy_simulator::model::{
    Backoff, Balancing, Breaker, Budget, CallModel, Law, Model, Policy, RouteModel, SCHEMA, Station,
};
use prophecy_simulator::recursion::Departures;
use prophecy_simulator::{
    CompiledModel, CompiledTraffic, Outcome, Scenario, replication, simulate, simulate_scenario,
};

const ROUTE: &str = "GET /";
const MS: f64 = 1e6;

/// What a run of an engine gave.
struct Measured {
    events_per_second: f64,
    mean_wait: f64,
}

fn main() {
    let requests: u64 = std::env::args().nth(1).and_then(|it| it.parse().ok()).unwrap_or(2_000_000);
    let python = std::env::var("PROPHECY_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    for (workers, utilization) in [(1, 0.9), (16, 0.9)] {
        println!("M/M/{workers} at {utilization}");
        let ours = own_queue(workers, utilization, requests);
        let row = |name: &str, measured: &Measured| {
            println!(
                "  {name:<28} {:>8.2} million events/s   ours is {:>6.1} times as fast   mean wait {:.4}",
                measured.events_per_second / 1e6,
                ours.events_per_second / measured.events_per_second,
                measured.mean_wait
            );
        };
        row("ours, event engine", &ours);
        row("ours, recursion", &own_recursion(workers, utilization, requests));
        row("nexosim, one thread", &nexosim_queue::run(workers, utilization, requests / 4));
        for (name, script) in [("SimPy", "simpy_mmc.py"), ("Ciw", "ciw_mmc.py")] {
            match peer(&python, script, workers, utilization, requests / 40) {
                Some(measured) => row(name, &measured),
                None => println!("  {name:<28} not run: `{python}` does not have it"),
            }
        }
    }
    bare_recursion(requests * 10);
    graph();
    triage();
}

/// Returns what `work` gave and the processor time that it took.
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let now = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    };
    let begun = now();
    let result = work();
    (result, now() - begun)
}

fn queue(workers: u32) -> CompiledModel {
    let law = Some(Law::Exponential { mean_nanos: MS });
    let route = RouteModel { law, ..RouteModel::default() };
    CompiledModel::new(&model([("queue", station(Some(workers), route))]))
}

fn station(workers: Option<u32>, route: RouteModel) -> Station {
    Station { workers, routes: BTreeMap::from([(ROUTE.to_owned(), route)]), ..Station::default() }
}

fn model(services: impl IntoIterator<Item = (&'static str, Station)>) -> Model {
    let services: Vec<(&str, Station)> = services.into_iter().collect();
    Model {
        schema: SCHEMA.to_owned(),
        system: "bench".to_owned(),
        entry: services[0].0.to_owned(),
        hosts: BTreeMap::new(),
        services: services.into_iter().map(|(name, it)| (name.to_owned(), it)).collect(),
    }
}

/// Arrivals are drawn within the measured time, as the peers draw theirs.
fn own(
    workers: u32,
    utilization: f64,
    requests: u64,
    run: fn(&CompiledModel, &CompiledTraffic) -> Outcome,
) -> Measured {
    let model = queue(workers);
    let rate_hz = utilization * f64::from(workers) * 1e9 / MS;
    let (outcome, took) = timed(|| {
        let window = (requests as f64 / rate_hz * 1e9) as u64;
        let mut stream = Seed(1).stream(0, 0, "arrivals");
        let traffic = CompiledTraffic::poisson(&model, ROUTE, rate_hz, window, &mut stream);
        run(&model, &traffic)
    });
    Measured {
        events_per_second: outcome.events as f64 / took.as_secs_f64(),
        mean_wait: outcome.stations[0].waited_nanos as f64 / outcome.routes[0].arrived as f64 / MS,
    }
}

fn own_queue(workers: u32, utilization: f64, requests: u64) -> Measured {
    own(workers, utilization, requests, |model, traffic| {
        simulate_scenario(model, traffic, Seed(1), 0, &Scenario::default())
    })
}

fn own_recursion(workers: u32, utilization: f64, requests: u64) -> Measured {
    own(workers, utilization, requests, |model, traffic| simulate(model, traffic, Seed(1), 0))
}

/// Runs a peer, which prints its events per second of processor time and the mean wait.
fn peer(
    python: &str,
    script: &str,
    workers: u32,
    utilization: f64,
    requests: u64,
) -> Option<Measured> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(script);
    let output = Command::new(python)
        .arg(path)
        .args([workers.to_string(), utilization.to_string(), requests.to_string()])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut numbers = text.split_whitespace().map(str::parse::<f64>);
    Some(Measured {
        events_per_second: numbers.next()?.ok()?,
        mean_wait: numbers.next()?.ok()?,
    })
}

/// The recursion alone, on arrivals and own times that are there.
fn bare_recursion(requests: u64) {
    let mut stream = Seed(2).stream(0, 0, "bare");
    let pairs: Vec<(u64, u64)> = (0..1_000_000u64)
        .map(|number| (number * 1_000_000, (0.8 * MS * stream.exponential()) as u64))
        .collect();
    for workers in [1, 16] {
        let rounds = requests / pairs.len() as u64;
        let (sum, took) = timed(|| {
            (0..rounds).fold(0u64, |sum, _| {
                let mut station = Departures::new(workers);
                pairs.iter().fold(sum, |sum, (at, own)| sum ^ station.depart(*at, *own))
            })
        });
        std::hint::black_box(sum);
        let rate = (rounds * pairs.len() as u64) as f64 / took.as_secs_f64();
        println!("recursion alone, {workers:>2} workers: {:.0} million requests/s", rate / 1e6);
    }
}

/// Twenty services with all that calls can have.
fn graph() {
    let name = |index: usize| format!("s{index:02}");
    let services = (0..20).map(|index| {
        // A tree: each calls up to three others.
        let calls = (3 * index + 1..=3 * index + 3).filter(|callee| *callee < 20);
        let calls = calls.map(|callee| CallModel {
            service: name(callee),
            route: ROUTE.to_owned(),
            timeout_nanos: Some(200_000_000),
            passes_deadline: true,
            retries: 2,
            backoff: Backoff { base_nanos: 5_000_000, jitter: 1.0, ..Backoff::default() },
            budget: Some(Budget { ratio: 0.1, burst: 100.0 }),
            breaker: Some(Breaker { window: 100, failures: 0.5, open_nanos: 1_000_000_000 }),
            ..CallModel::default()
        });
        let calls: Vec<CallModel> = calls.collect();
        let pools = calls.iter().map(|call| (call.service.clone(), 32)).collect();
        let route = RouteModel {
            law: Some(Law::Lognormal { median_nanos: MS, sigma: 0.5 }),
            failure: 0.001,
            calls,
            ..RouteModel::default()
        };
        let station = Station {
            replicas: 3,
            workers: Some(64),
            pools,
            balancing: Balancing { policy: Policy::LeastRequests, ..Balancing::default() },
            routes: BTreeMap::from([(ROUTE.to_owned(), route)]),
            ..Station::default()
        };
        (name(index), station)
    });
    let model = Model {
        schema: SCHEMA.to_owned(),
        system: "graph".to_owned(),
        entry: name(0),
        hosts: BTreeMap::new(),
        services: services.collect(),
    };
    let compiled = CompiledModel::new(&model);
    let mut stream = Seed(3).stream(0, 0, "arrivals");
    let traffic = CompiledTraffic::poisson(&compiled, ROUTE, 1_000.0, 60_000_000_000, &mut stream);
    let (outcome, took) = timed(|| simulate(&compiled, &traffic, Seed(3), 0));
    let visits: u64 = outcome.routes.iter().map(|route| route.arrived).sum();
    println!(
        "20 services, timeouts, deadlines, retries, budgets, breakers, pools, least requests: \
         {:.2} million events/s, {:.2} million visits/s",
        outcome.events as f64 / took.as_secs_f64() / 1e6,
        visits as f64 / took.as_secs_f64() / 1e6
    );
}

/// A hundred replications of one minute of 1,000 requests per second over five services, two threads.
fn triage() {
    let names = ["a", "b", "c", "d", "e"];
    let services = names.iter().enumerate().map(|(index, name)| {
        let next = names.get(index + 1).map(|next| CallModel {
            service: (*next).to_owned(),
            route: ROUTE.to_owned(),
            ..CallModel::default()
        });
        let law = Some(Law::Exponential { mean_nanos: 5.0 * MS });
        let route = RouteModel { law, calls: next.into_iter().collect(), ..RouteModel::default() };
        (*name, station(Some(128), route))
    });
    let compiled = CompiledModel::new(&model(services));
    let begun = std::time::Instant::now();
    let p99s = replication::in_order(100, 2, |index| {
        let mut stream = Seed(4).stream(index, 0, "arrivals");
        let traffic =
            CompiledTraffic::poisson(&compiled, ROUTE, 1_000.0, 60_000_000_000, &mut stream);
        simulate(&compiled, &traffic, Seed(4), index).routes[0].quantile(0.99)
    });
    println!(
        "triage, 100 replications of a minute of 1,000 requests/s over 5 services, 2 threads: {:.2} s ({} answers)",
        begun.elapsed().as_secs_f64(),
        p99s.iter().flatten().count()
    );
}
