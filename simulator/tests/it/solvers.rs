//! Event engine and recursion give the same departures, to the last nanosecond.

use std::collections::BTreeMap;

use prophecy_core::Seed;
use prophecy_simulator::model::{Law, Model, RouteModel, SCHEMA, Station};
use prophecy_simulator::recursion::departures;
use prophecy_simulator::{
    CompiledModel, CompiledTraffic, Outcome, Scenario, Traffic, simulate, simulate_scenario,
};

const SYSTEMS: u64 = 10_000;

/// Draws a station: workers, a law, a failure rate; and traffic on two routes.
fn draw(index: u64) -> (Model, Traffic) {
    let mut stream = Seed(11).stream(0, index, "system");
    let mean_nanos = 1e5 + 1e6 * stream.uniform();
    let law = match stream.below(5) {
        0 => Law::Constant { nanos: mean_nanos as u64 },
        1 => Law::Exponential { mean_nanos },
        2 => Law::Erlang { mean_nanos, stages: 3 },
        3 => Law::Hyperexponential { mean_nanos, variation: 6.0 },
        // Whole tens of microseconds: times that are equal are common.
        _ => Law::Constant { nanos: 10_000 * (1 + stream.below(20) as u64) },
    };
    let workers = (stream.below(8) > 0).then(|| 1 + stream.below(5) as u32);
    let failure = if stream.below(3) == 0 { 0.1 } else { 0.0 };
    let route = |law| RouteModel { law: Some(law), failure, ..RouteModel::default() };
    let other = Law::Exponential { mean_nanos: 0.5 * mean_nanos };
    let routes = BTreeMap::from([("A".to_owned(), route(law)), ("B".to_owned(), route(other))]);
    let station = Station { workers, routes, ..Station::default() };
    let load = 0.3 + 1.0 * stream.uniform();
    let rate_hz = load * f64::from(workers.unwrap_or(3)) * 1e9 / mean_nanos;
    let names = ["A".to_owned(), "B".to_owned()];
    let mut traffic = Traffic::poisson(rate_hz, (60.0 * 1e9 / rate_hz) as u64, &names, &mut stream);
    if stream.below(4) == 0 {
        // Arrivals at once.
        traffic
            .arrivals
            .iter_mut()
            .for_each(|arrival| arrival.at_nanos -= arrival.at_nanos % 100_000);
    }
    let model = Model {
        schema: SCHEMA.to_owned(),
        system: "station".to_owned(),
        entry: "a".to_owned(),
        hosts: BTreeMap::new(),
        services: BTreeMap::from([("a".to_owned(), station)]),
    };
    (model, traffic)
}

fn sorted(outcome: &Outcome) -> Vec<(u64, u64, Vec<u64>)> {
    let route = |route: &prophecy_simulator::RouteOutcome| {
        let mut latencies = route.latencies_nanos.clone();
        latencies.sort_unstable();
        (route.arrived, route.failed, latencies)
    };
    outcome.routes.iter().map(route).collect()
}

#[test]
fn engine_and_recursion_agree_on_ten_thousand_systems() {
    for index in 0..SYSTEMS {
        let (model, traffic) = draw(index);
        let compiled = CompiledModel::new(&model);
        let traffic = CompiledTraffic::new(&traffic, &compiled).expect("the routes are there");
        let fast = simulate(&compiled, &traffic, Seed(index), 0);
        let engine = simulate_scenario(&compiled, &traffic, Seed(index), 0, &Scenario::default());
        assert_eq!(sorted(&fast), sorted(&engine), "system {index}");
        let areas = |outcome: &Outcome| {
            let station = &outcome.stations[0];
            (station.own_nanos, station.held_nanos, station.waited_nanos)
        };
        assert_eq!(areas(&fast), areas(&engine), "system {index}");
    }
}

/// Little's law, as an identity: the time integral of the queue is the sum of the waits.
#[test]
fn waits_add_up_to_the_area_of_the_queue() {
    for index in 0..200 {
        let (model, traffic) = draw(index);
        let compiled = CompiledModel::new(&model);
        let traffic = CompiledTraffic::new(&traffic, &compiled).expect("the routes are there");
        let scenario = Scenario { trace: true, ..Scenario::default() };
        let outcome = simulate_scenario(&compiled, &traffic, Seed(index), 0, &scenario);
        let spans = &outcome.trace.as_ref().expect("asked for").spans;
        let waits: u64 = spans.iter().map(|span| span.begun_nanos - span.arrived_nanos).sum();
        let held: u64 = spans.iter().map(|span| span.ended_nanos - span.begun_nanos).sum();
        let station = &outcome.stations[0];
        assert_eq!((waits, held), (station.waited_nanos, station.held_nanos), "system {index}");
    }
}

#[test]
fn departures_follow_lindley() {
    assert_eq!(departures([(0, 5), (1, 5), (20, 5)], 1), [5, 10, 25]);
    assert_eq!(departures([(0, 9), (1, 2), (2, 2), (3, 1)], 2), [9, 3, 5, 6]);
}
