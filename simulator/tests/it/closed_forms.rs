//! Means and quantiles of queues whose answers are known exactly.
//!
//! Each check runs 20 replications after a warm-up and asks that the exact value lies in the 99 %
//! interval of their mean (Student's t, 19 degrees of freedom). Seeds are fixed, so a check either
//! always passes or always fails; the half-width is bounded too, or a wide interval would hide an error.

use std::collections::BTreeMap;

use prophecy_core::{Seed, quantile};
use prophecy_simulator::closed_form::Mmc;
use prophecy_simulator::model::{
    CacheModel, CacheUse, CallModel, DependencyState, Host, Keys, Law, Model, Replication,
    RouteModel, SCHEMA, Station,
};
use prophecy_simulator::observation::Arrival;
use prophecy_simulator::rare::{RareQuestion, Until, probability};
use prophecy_simulator::{CompiledModel, CompiledTraffic, Outcome, Traffic, replication, simulate};

/// The 0.995 quantile of Student's t with 19 degrees of freedom.
const T_19: f64 = 2.860_934_6;
const REPLICATIONS: u32 = 20;
/// One unit of the closed forms' time \[ns\].
const UNIT: f64 = 1e6;

fn station(workers: u32, law: Law) -> Station {
    let route = RouteModel { law: Some(law), ..RouteModel::default() };
    Station {
        workers: Some(workers),
        routes: BTreeMap::from([("GET /".to_owned(), route)]),
        ..Station::default()
    }
}

fn model(services: impl IntoIterator<Item = (&'static str, Station)>) -> Model {
    Model {
        schema: SCHEMA.to_owned(),
        system: "queue".to_owned(),
        entry: "a".to_owned(),
        hosts: BTreeMap::new(),
        services: services.into_iter().map(|(name, station)| (name.to_owned(), station)).collect(),
    }
}

fn exponential() -> Law {
    Law::Exponential { mean_nanos: UNIT }
}

/// Runs replications of Poisson traffic and returns a statistic of each.
fn statistics(
    model: &Model,
    rate: f64,
    count: f64,
    of: impl Fn(&Outcome) -> f64 + Sync,
) -> Vec<f64> {
    let compiled = CompiledModel::new(model);
    let window_nanos = (count / rate * UNIT) as u64;
    replication::in_order(REPLICATIONS, 2, |index| {
        let mut stream = Seed(1).stream(index, 0, "arrivals");
        let routes = ["GET /".to_owned()];
        let traffic = Traffic::poisson(rate * 1e9 / UNIT, window_nanos, &routes, &mut stream);
        let traffic = CompiledTraffic::new(&traffic, &compiled).expect("the route is there");
        of(&simulate(&compiled, &traffic, Seed(1), index))
    })
}

/// Latencies at a service in units, the first tenth left out as warm-up.
fn latencies(outcome: &Outcome, service: &str) -> Vec<u64> {
    let all = &outcome.route(service, "GET /").expect("the route is there").latencies_nanos;
    all[all.len() / 10..].to_vec()
}

fn mean(values: &[u64]) -> f64 {
    values.iter().map(|value| *value as f64).sum::<f64>() / values.len() as f64 / UNIT
}

/// Asks that `exact` lies in the 99 % interval, and that the interval is narrower than `width`.
#[track_caller]
fn check(name: &str, values: &[f64], exact: f64, width: f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let half = T_19 * (variance / n).sqrt();
    assert!((mean - exact).abs() <= half, "{name}: {exact} is not in {mean} ± {half}");
    assert!(half <= width * exact, "{name}: ± {half} is too wide around {exact}");
}

fn mean_wait(workers: u32, law: Law, rate: f64) -> Vec<f64> {
    let model = model([("a", station(workers, law))]);
    statistics(&model, rate, 200_000.0, |outcome| mean(&latencies(outcome, "a")) - 1.0)
}

#[test]
fn m_m_1_waits_as_long_as_theory_says() {
    check("rho .5", &mean_wait(1, exponential(), 0.5), 1.0, 0.02);
    check("rho .8", &mean_wait(1, exponential(), 0.8), 4.0, 0.03);
}

/// Erlang's C formula.
#[test]
fn m_m_c_waits_as_long_as_theory_says() {
    check("c 3", &mean_wait(3, exponential(), 2.0), 0.444_444_444_4, 0.03);
    check("c 10", &mean_wait(10, exponential(), 8.0), 0.204_590_075_4, 0.05);
    check("c 16", &mean_wait(16, exponential(), 14.4), 0.369_589_621_2, 0.08);
    check("c 20", &mean_wait(20, exponential(), 18.0), 0.275_384_502_4, 0.08);
}

/// Pollaczek and Khinchine.
#[test]
fn m_d_1_and_m_g_1_wait_as_long_as_theory_says() {
    let constant = Law::Constant { nanos: UNIT as u64 };
    check("M/D/1 rho .5", &mean_wait(1, constant, 0.5), 0.5, 0.02);
    check("M/D/1 rho .8", &mean_wait(1, constant, 0.8), 2.0, 0.03);
    // A log-normal law of mean 1 and squared coefficient of variation 4: sigma² = ln 5.
    let sigma = 5.0f64.ln().sqrt();
    let law = Law::Lognormal { median_nanos: UNIT * (-0.5 * sigma * sigma).exp(), sigma };
    check("scv 4 rho .5", &mean_wait(1, law, 0.5), 2.5, 0.08);
}

/// The sojourn time of M/M/1 is exponential with rate mu − lambda.
#[test]
fn m_m_1_has_the_quantiles_of_theory() {
    let model = model([("a", station(1, exponential()))]);
    for (level, exact) in [(0.5, 3.465_736), (0.95, 14.978_661), (0.99, 23.025_851)] {
        let values = statistics(&model, 0.8, 200_000.0, |outcome| {
            let mut latencies = latencies(outcome, "a");
            quantile::select(&mut latencies, level).expect("there are latencies") as f64 / UNIT
        });
        check(&format!("p{level}"), &values, exact, 0.05);
    }
}

#[test]
fn m_m_c_k_refuses_as_often_as_theory_says() {
    let loss = |workers: u32, queue: u32, rate: f64| {
        let mut station = station(workers, exponential());
        station.queue_limit = Some(queue);
        statistics(&model([("a", station)]), rate, 100_000.0, |outcome| {
            let route = outcome.route("a", "GET /").expect("the route is there");
            route.refused as f64 / route.arrived as f64
        })
    };
    check("M/M/1/10 at .8", &loss(1, 9, 0.8), 0.023_492_857_6, 0.06);
    check("M/M/1/10 at 1.2", &loss(1, 9, 1.2), 0.192_586_495_1, 0.02);
    check("M/M/3/10", &loss(3, 7, 2.5), 0.039_040_087_4, 0.05);
    // Without a queue: Erlang's B formula.
    check("Erlang B (2, 3)", &loss(3, 0, 2.0), 0.210_526_315_8, 0.02);
}

/// Jackson's tandem, as calls at the end of an infinitely wide first station's work: a caller that
/// is never short of workers adds the latencies of those it calls.
#[test]
fn a_tandem_takes_the_sum_of_its_stations() {
    let call = |service: &str| CallModel {
        service: service.to_owned(),
        route: "GET /".to_owned(),
        ..CallModel::default()
    };
    let law = |rate: f64| Law::Exponential { mean_nanos: UNIT / rate };
    let mut front = station(1, Law::Constant { nanos: 0 });
    front.workers = None;
    let route = front.routes.get_mut("GET /").expect("made above");
    route.calls = vec![call("b"), call("c"), call("d")];
    let services = [
        ("a", front),
        ("b", station(1, law(2.0))),
        ("c", station(1, law(1.5))),
        ("d", station(1, law(1.25))),
    ];
    let values =
        statistics(&model(services), 1.0, 200_000.0, |outcome| mean(&latencies(outcome, "a")));
    check("tandem", &values, 7.0, 0.04);
}

/// A closed loop cannot be made of open arrivals, but a batch of simultaneous ones can: the last of
/// `n` that share one worker leaves after `n` service times.
#[test]
fn a_batch_leaves_one_by_one() {
    let compiled = CompiledModel::new(&model([("a", station(1, Law::Constant { nanos: 10 }))]));
    let arrival = |session| Arrival { at_nanos: 5, session, route: "GET /".to_owned() };
    let traffic = Traffic { window_nanos: 100, arrivals: (0..4).map(arrival).collect() };
    let traffic = CompiledTraffic::new(&traffic, &compiled).expect("the route is there");
    let outcome = simulate(&compiled, &traffic, Seed(1), 0);
    assert_eq!(outcome.routes[0].latencies_nanos, [10, 20, 30, 40]);
}

/// Under processor sharing the mean time depends on the law of service only by its mean.
#[test]
fn shared_cores_take_as_long_as_theory_says_whatever_the_law() {
    let sojourn = |law: Law, rate: f64| {
        let mut service = station(1, law);
        service.workers = None;
        service.host = Some("host".to_owned());
        service.routes.get_mut("GET /").expect("made above").cpu_share = 1.0;
        let mut model = model([("a", service)]);
        model.hosts.insert("host".to_owned(), Host { cores: 1 });
        statistics(&model, rate, 100_000.0, |outcome| mean(&latencies(outcome, "a")))
    };
    check("M/M/1-PS", &sojourn(exponential(), 0.5), 2.0, 0.03);
    let constant = Law::Constant { nanos: UNIT as u64 };
    check("M/D/1-PS", &sojourn(constant, 0.7), 1.0 / 0.3, 0.03);
    let law = Law::Hyperexponential { mean_nanos: UNIT, variation: 4.0 };
    check("M/H2/1-PS", &sojourn(law, 0.5), 2.0, 0.04);
}

/// Cores shared by as many as there are cores are a queue without workers' limits; with two cores the
/// mean number present is that of M/M/2, as both serve whoever is there at the same total rate.
#[test]
fn two_shared_cores_hold_as_many_as_two_workers() {
    let mut service = station(1, exponential());
    service.workers = None;
    service.host = Some("host".to_owned());
    service.routes.get_mut("GET /").expect("made above").cpu_share = 1.0;
    let mut model = model([("a", service)]);
    model.hosts.insert("host".to_owned(), Host { cores: 2 });
    let values = statistics(&model, 1.2, 100_000.0, |outcome| mean(&latencies(outcome, "a")));
    let exact = Mmc { arrival_rate: 1.2, service_rate: 1.0, workers: 2 };
    check("M/M/2-PS", &values, exact.mean_sojourn().expect("stable"), 0.03);
}

/// Two M/M/1 queues that get the same arrivals; a request is answered when both are done.
///
/// # Source
///
/// Nelson and Tantawi (1988): exactly (12 − ρ) / (8 (μ − λ)).
#[test]
fn a_fork_joins_when_theory_says() {
    let mut front = station(1, Law::Constant { nanos: 0 });
    front.workers = None;
    front.routes.get_mut("GET /").expect("made above").calls = vec![CallModel {
        service: "b".to_owned(),
        route: "GET /".to_owned(),
        counts: vec![0.0, 0.0, 1.0],
        parallel: true,
        ..CallModel::default()
    }];
    let mut back = station(1, exponential());
    back.replicas = 2;
    let model = model([("a", front), ("b", back)]);
    let values = statistics(&model, 0.5, 200_000.0, |outcome| mean(&latencies(outcome, "a")));
    check("fork-join rho .5", &values, 2.875, 0.02);
}

/// A cache with room for all, whose entries are good for a time T from when they were made: a key that
/// is asked for at rate r is found with probability r·T / (1 + r·T).
#[test]
fn a_cache_is_hit_as_often_as_theory_says() {
    let mut service = station(1, Law::Constant { nanos: 0 });
    service.workers = None;
    let ttl_nanos = Some((20.0 * UNIT) as u64);
    let cache = CacheModel { capacity: 10, ttl_nanos, shared: true, coalesce: false };
    service.caches.insert("c".to_owned(), cache);
    service.routes.get_mut("GET /").expect("made above").cache = Some(CacheUse {
        name: "c".to_owned(),
        keys: Keys { count: 10, skew: 0.0 },
        hit_share: 1.0,
    });
    let values = statistics(&model([("a", service)]), 1.0, 50_000.0, |outcome| {
        let route = outcome.route("a", "GET /").expect("the route is there");
        route.hits as f64 / route.arrived as f64
    });
    // Each of ten keys at rate 0.1, for 20.
    check("TTL", &values, 2.0 / 3.0, 0.01);
}

/// A copy that applies writes one after another is an M/M/1 queue, and a read of the one key is stale
/// as long as it is busy: with probability ρ.
#[test]
fn a_copy_is_behind_as_often_as_theory_says() {
    let mut service = station(1, Law::Constant { nanos: 0 });
    service.workers = None;
    service.replication = Some(Replication { copies: 1, delay_nanos: 0, apply_nanos: UNIT as u64 });
    let keys = Some(Keys { count: 1, skew: 0.0 });
    let free = || RouteModel { law: Some(Law::Constant { nanos: 0 }), ..RouteModel::default() };
    service.routes = BTreeMap::from([
        ("GET /".to_owned(), RouteModel { reads_copy: keys, ..free() }),
        ("PUT /".to_owned(), RouteModel { writes: keys, ..free() }),
    ]);
    let compiled = CompiledModel::new(&model([("a", service)]));
    let values = replication::in_order(REPLICATIONS, 2, |index| {
        let mut stream = Seed(1).stream(index, 0, "arrivals");
        let routes = ["GET /".to_owned(), "PUT /".to_owned()];
        // Half of 1.2 per unit write: ρ = 0.6.
        let traffic =
            Traffic::poisson(1.2 * 1e9 / UNIT, 50_000 * UNIT as u64, &routes, &mut stream);
        let traffic = CompiledTraffic::new(&traffic, &compiled).expect("the routes are there");
        let outcome = simulate(&compiled, &traffic, Seed(1), index);
        let route = outcome.route("a", "GET /").expect("the route is there");
        route.stale_reads as f64 / route.copy_reads as f64
    });
    check("stale reads", &values, 0.6, 0.02);
}

/// A service that is down for a third of the time, on average, fails a third of its requests.
#[test]
fn states_last_as_long_as_they_say() {
    let mut service = station(1, Law::Constant { nanos: 0 });
    service.workers = None;
    let state = |name: &str, mean: f64, failure| DependencyState {
        name: name.to_owned(),
        mean_nanos: (mean * UNIT) as u64,
        slowdown: 1.0,
        failure,
    };
    service.states = vec![state("healthy", 20.0, 0.0), state("failing", 10.0, 1.0)];
    let values = statistics(&model([("a", service)]), 1.0, 100_000.0, |outcome| {
        let route = outcome.route("a", "GET /").expect("the route is there");
        route.failed as f64 / route.arrived as f64
    });
    check("failing", &values, 1.0 / 3.0, 0.02);
}

/// The gambler's ruin: from one request, to get to `level` before the system is empty.
#[test]
fn rare_events_are_as_rare_as_theory_says() {
    let rare = |rho: f64, level: u64| {
        let compiled = CompiledModel::new(&model([("a", station(1, exponential()))]));
        probability(&RareQuestion {
            model: &compiled,
            service: "a",
            level,
            route: "GET /",
            rate_hz: rho * 1e9 / UNIT,
            until: Until::Empty,
            effort: 400,
            repeats: 20,
            seed: Seed(3),
            threads: 2,
        })
        .expect("the service is there")
    };
    for (rho, level, exact) in [(0.5, 20, 9.536_752_259e-7), (0.8, 50, 3.568_170_158e-6)] {
        let found = rare(rho, level);
        // The 0.995 quantile of t over the 0.975 quantile of the normal law.
        let half = found.half_width * T_19 / 1.96;
        let mean = found.probability.get();
        assert!((mean - exact).abs() <= half, "{exact} is not in {mean} ± {half}");
        assert!(half < 0.35 * exact, "± {half} is too wide around {exact}");
    }
}
