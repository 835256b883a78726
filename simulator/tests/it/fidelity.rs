//! Fitting what a known model did: the model comes back, and the check knows a present that it does not fit.

use std::collections::BTreeMap;

use prophecy_core::{Seed, System};
use prophecy_simulator::fidelity::check;
use prophecy_simulator::model::{CallModel, Law, Model, RouteModel, SCHEMA, Station};
use prophecy_simulator::observation::{
    Arrival, Call, Observations, ServiceObservations, Visit, Workers,
};
use prophecy_simulator::replication::Estimate;
use prophecy_simulator::trace::Trace;
use prophecy_simulator::{CompiledModel, CompiledTraffic, Scenario, model_of, simulate_scenario};

const ROUTE: &str = "GET /";
const MS: f64 = 1e6;
const SECOND: u64 = 1_000_000_000;

/// A front with unlimited workers that calls a back with some.
fn model(front_ms: f64, back_ms: f64, workers: u32, calls: Vec<f64>) -> Model {
    let route = |mean_ms: f64, calls| RouteModel {
        law: Some(Law::Exponential { mean_nanos: mean_ms * MS }),
        calls,
        ..RouteModel::default()
    };
    let call = CallModel {
        service: "back".to_owned(),
        route: ROUTE.to_owned(),
        counts: calls,
        ..CallModel::default()
    };
    let station = |workers, route| Station {
        workers,
        routes: BTreeMap::from([(ROUTE.to_owned(), route)]),
        ..Station::default()
    };
    Model {
        schema: SCHEMA.to_owned(),
        system: "pair".to_owned(),
        entry: "front".to_owned(),
        hosts: BTreeMap::new(),
        services: BTreeMap::from([
            ("back".to_owned(), station(Some(workers), route(back_ms, Vec::new()))),
            ("front".to_owned(), station(None, route(front_ms, vec![call]))),
        ]),
    }
}

fn system(workers: u32) -> System {
    let yaml = format!(
        "{{ apiVersion: prophecy/v1, kind: System, name: pair, entry: front, services: \
         {{ front: {{ url: 'http://127.0.0.1:1' }}, back: {{ url: 'http://127.0.0.1:2', concurrency: {workers} }} }} }}"
    );
    System::from_yaml(&yaml).expect("the manifest is right")
}

/// What a perfect observer would see of a model under Poisson traffic.
fn observe(
    model: &Model,
    workers: u32,
    rate_hz: f64,
    window_nanos: u64,
    seed: Seed,
) -> Observations {
    let compiled = CompiledModel::new(model);
    let mut stream = seed.stream(0, 0, "arrivals");
    let traffic = CompiledTraffic::poisson(&compiled, ROUTE, rate_hz, window_nanos, &mut stream);
    let scenario = Scenario { trace: true, ..Scenario::default() };
    let outcome = simulate_scenario(&compiled, &traffic, seed, 0, &scenario);
    let trace: &Trace = outcome.trace.as_ref().expect("asked for");
    let mut calls: BTreeMap<u32, Vec<Call>> = BTreeMap::new();
    for span in trace.spans.iter().filter(|span| span.parent > 0) {
        let nanos = span.ended_nanos - span.arrived_nanos;
        let (destination, route) = ("back".to_owned(), ROUTE.to_owned());
        calls.entry(span.parent).or_default().push(Call {
            destination,
            route,
            nanos,
            failed: false,
        });
    }
    let mut services: BTreeMap<String, ServiceObservations> = BTreeMap::new();
    let mut arrivals = Vec::new();
    for (number, span) in (1u32..).zip(&trace.spans) {
        let (service, _) = trace.names(span, &compiled);
        let calls = calls.remove(&number).unwrap_or_default();
        let called: u64 = calls.iter().map(|call| call.nanos).sum();
        let observed = services.entry(service.to_owned()).or_default();
        observed.routes.entry(ROUTE.to_owned()).or_default().push(Visit {
            at_nanos: span.arrived_nanos,
            latency_nanos: span.ended_nanos - span.arrived_nanos,
            own_nanos: span.ended_nanos - span.begun_nanos - called,
            waited_nanos: span.begun_nanos - span.arrived_nanos,
            status: Some(200),
            calls,
            ..Visit::default()
        });
        if span.parent == 0 {
            let route = ROUTE.to_owned();
            arrivals.push(Arrival {
                at_nanos: span.arrived_nanos,
                session: u64::from(number),
                route,
            });
        }
    }
    if let Some(back) = services.get_mut("back") {
        back.workers = Workers::Declared(workers);
    }
    Observations { entry: "front".to_owned(), window_nanos, arrivals, services }
}

/// Of 200 random systems, two means and a number of calls each: 600 intervals of 95 %, of which 570 hold the
/// truth, give or take four standard deviations (21).
#[test]
fn a_known_model_comes_back() {
    let mut held = 0;
    for index in 0..200 {
        let mut draw = Seed(17).stream(0, index, "system");
        let (front_ms, back_ms) = (1.0 + 9.0 * draw.uniform(), 2.0 + 18.0 * draw.uniform());
        let workers = 1 + draw.below(6) as u32;
        let twice = draw.uniform();
        let rate_hz =
            (0.2 + 0.6 * draw.uniform()) * f64::from(workers) * 1e3 / back_ms / (1.0 + twice);
        let truth = model(front_ms, back_ms, workers, vec![0.0, 1.0 - twice, twice]);
        let window = (800.0 / rate_hz * 1e9) as u64;
        let seen = observe(&truth, workers, rate_hz, window, Seed(index));
        let fitted = model_of(&seen, &system(workers));
        assert_eq!(fitted.services["back"].workers, Some(workers));
        let visits = |service: &str| &seen.services[service].routes[ROUTE];
        let own = |service: &str, mean_ms: f64| {
            let values: Vec<f64> =
                visits(service).iter().map(|visit| visit.own_nanos as f64 / MS).collect();
            let estimate = Estimate::of(&values).expect("it was visited");
            let fitted = &fitted.services[service].routes[ROUTE].own_nanos;
            let fitted_ms =
                fitted.iter().map(|it| *it as f64 / MS).sum::<f64>() / fitted.len() as f64;
            assert!((fitted_ms - estimate.mean).abs() < 1e-9, "the fit is what was seen");
            u32::from((estimate.mean - mean_ms).abs() <= estimate.half_width)
        };
        held += own("front", front_ms) + own("back", back_ms);
        let counts: Vec<f64> =
            visits("front").iter().map(|visit| visit.calls.len() as f64).collect();
        let estimate = Estimate::of(&counts).expect("it was visited");
        let fitted = &fitted.services["front"].routes[ROUTE].calls[0].counts;
        let fitted_mean: f64 = fitted.iter().zip(0u32..).map(|(p, k)| p * f64::from(k)).sum();
        assert!((fitted_mean - estimate.mean).abs() < 1e-9, "{fitted:?}");
        held += u32::from((estimate.mean - 1.0 - twice).abs() <= estimate.half_width);
    }
    assert!((549..=591).contains(&held), "{held} of 600");
}

#[test]
fn the_check_knows_what_fits_and_what_does_not() {
    let truth = model(5.0, 10.0, 4, vec![0.0, 1.0]);
    let seen = observe(&truth, 4, 200.0, 20 * SECOND, Seed(1));
    let found = check(&seen, &system(4), Seed(1), 2);
    assert!(found.passed && found.held_out, "{:?}", found.problems);
    let front = found.routes.iter().find(|route| route.service == "front").expect("compared");
    for (seen, simulated) in front.seen_ms.iter().zip(&front.simulated_ms) {
        // 1,600 held out: the 99th percentile has 16 beyond it, a quarter is three standard deviations.
        assert!((simulated / seen - 1.0).abs() < 0.25, "{seen} {simulated}");
    }
    assert!(front.crps_ms >= front.crps_least_ms && front.crps_ms < 1.1 * front.crps_least_ms);
    let back = found.services.iter().find(|service| service.service == "back").expect("compared");
    assert!((back.busy[1] / back.busy[0] - 1.0).abs() < 0.1, "{:?}", back.busy);

    // The service becomes three times as slow after the part that the model is fitted to.
    let mut changed = seen.clone();
    for service in changed.services.values_mut() {
        for visit in service.routes.values_mut().flatten() {
            if visit.at_nanos > 12 * SECOND {
                visit.latency_nanos *= 3;
            }
        }
    }
    let found = check(&changed, &system(4), Seed(1), 2);
    assert!(!found.passed && found.problems[0].contains("most requests"), "{:?}", found.problems);
    assert_eq!(check(&seen, &system(4), Seed(1), 1), check(&seen, &system(4), Seed(1), 3));
}
