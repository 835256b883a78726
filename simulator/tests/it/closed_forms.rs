//! Means and quantiles of queues whose answers are known exactly.
//!
//! Each check runs 20 replications after a warm-up and asks that the exact value lies in the 99 %
//! interval of their mean (Student's t, 19 degrees of freedom). Seeds are fixed, so a check either
//! always passes or always fails; the half-width is bounded too, or a wide interval would hide an error.

use std::collections::BTreeMap;

use prophecy_core::{Seed, quantile};
use prophecy_simulator::model::{CallModel, Law, Model, RouteModel, SCHEMA, Station};
use prophecy_simulator::observation::Arrival;
use prophecy_simulator::{CompiledModel, CompiledTraffic, Outcome, Traffic, replication, simulate};

/// The 0.995 quantile of Student's t with 19 degrees of freedom.
const T_19: f64 = 2.860_934_6;
const REPLICATIONS: u32 = 20;
/// One unit of the closed forms' time \[ns\].
const UNIT: f64 = 1e6;

fn station(workers: u32, law: Law) -> Station {
    let route = RouteModel { law: Some(law), ..RouteModel::default() };
    Station {
        replicas: 1,
        workers: Some(workers),
        queue_limit: None,
        pools: BTreeMap::new(),
        routes: BTreeMap::from([("GET /".to_owned(), route)]),
    }
}

fn model(services: impl IntoIterator<Item = (&'static str, Station)>) -> Model {
    Model {
        schema: SCHEMA.to_owned(),
        system: "queue".to_owned(),
        entry: "a".to_owned(),
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
        counts: vec![0.0, 1.0],
        parallel: false,
        timeout_nanos: None,
        retries: 0,
        failure_spreads: 1.0,
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
