//! Laws that any system obeys, on random small systems.

use std::collections::BTreeMap;

use prophecy_core::Seed;
use prophecy_simulator::model::{CallModel, Law, Model, RouteModel, SCHEMA, Station};
use prophecy_simulator::{CompiledModel, CompiledTraffic, Outcome, Traffic, replication, simulate};
use proptest::prelude::*;

const ROUTE: &str = "GET /";

/// A chain of services, each with its own limits.
#[derive(Clone, Debug)]
struct Link {
    workers: Option<u32>,
    queue_limit: Option<u32>,
    pool: Option<u32>,
    own_nanos: Vec<u64>,
    failure: f64,
    calls: u32,
    parallel: bool,
    timeout_nanos: Option<u64>,
    retries: u32,
}

fn link() -> impl Strategy<Value = Link> {
    let limits = (
        proptest::option::of(1..5u32),
        proptest::option::of(0..6u32),
        proptest::option::of(1..3u32),
    );
    let own = proptest::collection::vec(0..3_000_000u64, 1..5).prop_map(|mut values| {
        values.sort_unstable();
        values
    });
    let calls = (0..3u32, any::<bool>(), proptest::option::of(100_000..5_000_000u64), 0..3u32);
    (limits, own, 0.0..0.2f64, calls).prop_map(|(limits, own_nanos, failure, calls)| Link {
        workers: limits.0,
        queue_limit: limits.1,
        pool: limits.2,
        own_nanos,
        failure,
        calls: calls.0,
        parallel: calls.1,
        timeout_nanos: calls.2,
        retries: calls.3,
    })
}

fn chain(links: &[Link]) -> Model {
    let name = |index: usize| format!("s{index}");
    let stations = links.iter().enumerate().map(|(index, link)| {
        let next = (index + 1 < links.len()).then(|| name(index + 1));
        let mut counts = vec![0.0; link.calls as usize + 1];
        counts[link.calls as usize] = 1.0;
        let calls = next.iter().map(|next| CallModel {
            service: next.clone(),
            route: ROUTE.to_owned(),
            counts: counts.clone(),
            parallel: link.parallel,
            timeout_nanos: link.timeout_nanos,
            retries: link.retries,
            failure_spreads: 0.7,
            ..CallModel::default()
        });
        let route = RouteModel {
            own_nanos: link.own_nanos.clone(),
            failure: link.failure,
            calls: calls.collect(),
            ..RouteModel::default()
        };
        let pools = next.iter().cloned().zip(link.pool).collect();
        let station = Station {
            replicas: 1 + index as u32 % 2,
            workers: link.workers,
            queue_limit: link.queue_limit,
            pools,
            routes: BTreeMap::from([(ROUTE.to_owned(), route)]),
            ..Station::default()
        };
        (name(index), station)
    });
    Model {
        schema: SCHEMA.to_owned(),
        system: "chain".to_owned(),
        entry: name(0),
        hosts: BTreeMap::new(),
        services: stations.collect(),
    }
}

fn run(model: &Model, rate_hz: f64, seed: u64, replication: u32) -> Outcome {
    let compiled = CompiledModel::new(model);
    let mut stream = Seed(seed).stream(replication, 0, "arrivals");
    let traffic = Traffic::poisson(rate_hz, 500_000_000, &[ROUTE.to_owned()], &mut stream);
    let traffic = CompiledTraffic::new(&traffic, &compiled).expect("the route is there");
    simulate(&compiled, &traffic, Seed(seed), replication)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn nothing_is_lost(links in proptest::collection::vec(link(), 1..4), rate in 10.0..3_000.0f64, seed: u64) {
        let outcome = run(&chain(&links), rate, seed, 0);
        for route in &outcome.routes {
            let answered = route.latencies_nanos.len() as u64;
            prop_assert_eq!(route.arrived, answered + route.refused + route.in_system);
            prop_assert_eq!(route.in_system, 0, "the run drains");
            prop_assert!(route.failed <= answered);
        }
    }

    #[test]
    fn the_same_arguments_give_the_same_outcome(links in proptest::collection::vec(link(), 1..4), seed: u64) {
        let model = chain(&links);
        prop_assert_eq!(run(&model, 400.0, seed, 3), run(&model, 400.0, seed, 3));
    }

    #[test]
    fn no_request_is_faster_than_its_own_time(own in 1..5_000_000u64, workers in 1..4u32, seed: u64) {
        let link = Link {
            workers: Some(workers), queue_limit: None, pool: None, own_nanos: vec![own], failure: 0.0,
            calls: 0, parallel: false, timeout_nanos: None, retries: 0,
        };
        let outcome = run(&chain(&[link]), 500.0, seed, 0);
        prop_assert!(outcome.routes[0].latencies_nanos.iter().all(|latency| *latency >= own));
        // Workers are held for exactly the work that was brought.
        prop_assert_eq!(outcome.stations[0].held_nanos, own * outcome.routes[0].arrived);
    }

    #[test]
    fn a_model_survives_a_round_trip(links in proptest::collection::vec(link(), 1..4)) {
        let model = chain(&links);
        prop_assert_eq!(Model::from_json(&model.to_json()).expect("just written"), model);
    }
}

/// Common random numbers: making one service slower does not change the draws of another.
#[test]
fn a_change_in_one_place_shifts_no_luck_elsewhere() {
    let law = |mean_nanos| RouteModel {
        law: Some(Law::Exponential { mean_nanos }),
        ..RouteModel::default()
    };
    let model = |slow: f64| {
        let mut front = law(1e6);
        front.calls = vec![CallModel {
            service: "b".to_owned(),
            route: ROUTE.to_owned(),
            counts: vec![0.5, 0.5],
            ..CallModel::default()
        }];
        let station = |route| Station {
            routes: BTreeMap::from([(ROUTE.to_owned(), route)]),
            ..Station::default()
        };
        Model {
            schema: SCHEMA.to_owned(),
            system: "pair".to_owned(),
            entry: "a".to_owned(),
            hosts: BTreeMap::new(),
            services: BTreeMap::from([
                ("a".to_owned(), station(front)),
                ("b".to_owned(), station(law(slow))),
            ]),
        }
    };
    let (fast, slow) = (run(&model(1e6), 200.0, 7, 0), run(&model(9e6), 200.0, 7, 0));
    assert_eq!(fast.stations[0].own_nanos, slow.stations[0].own_nanos);
    let sum = |outcome: &Outcome| {
        outcome.route("b", ROUTE).expect("there").latencies_nanos.iter().sum::<u64>()
    };
    let ratio = sum(&slow) as f64 / sum(&fast) as f64;
    assert!((ratio - 9.0).abs() < 1e-3, "the same draws, nine times as long: {ratio}");
}

#[test]
fn thread_count_changes_nothing() {
    let links = [4, 2].map(|workers| Link {
        workers: Some(workers),
        queue_limit: Some(9),
        pool: Some(2),
        own_nanos: vec![100_000, 2_000_000],
        failure: 0.01,
        calls: 2,
        parallel: false,
        timeout_nanos: Some(4_000_000),
        retries: 1,
    });
    let model = chain(&links);
    let runs = |threads| replication::in_order(16, threads, |index| run(&model, 700.0, 7, index));
    let one = runs(1);
    assert_eq!(one, runs(2));
    assert_eq!(one, runs(4));
}
