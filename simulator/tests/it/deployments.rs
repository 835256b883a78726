//! The transients of deployments.

use std::collections::BTreeMap;

use prophecy_core::Seed;
use prophecy_simulator::model::{Law, Model, RouteModel, SCHEMA, Station};
use prophecy_simulator::scenario::{Deployment, Strategy, WarmUp};
use prophecy_simulator::{CompiledModel, CompiledTraffic, Outcome, Scenario, simulate_scenario};

const ROUTE: &str = "GET /";
const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

/// A service of four instances with two workers each; a request takes 20 ms, or fails.
fn model(own_millis: u64, failure: f64) -> Model {
    let law = Some(Law::Constant { nanos: own_millis * MS });
    let route = RouteModel { law, failure, ..RouteModel::default() };
    let station = Station {
        replicas: 4,
        workers: Some(2),
        routes: BTreeMap::from([(ROUTE.to_owned(), route)]),
        ..Station::default()
    };
    Model {
        schema: SCHEMA.to_owned(),
        system: "deployed".to_owned(),
        entry: "service".to_owned(),
        hosts: BTreeMap::new(),
        services: BTreeMap::from([("service".to_owned(), station)]),
    }
}

/// Deploys after 10 s of 40.
fn deploy(
    after: &Model,
    strategy: &Strategy,
    warm_up: Option<WarmUp>,
    rolled_back_after_nanos: Option<u64>,
) -> Outcome {
    let before = model(20, 0.0);
    let compiled = CompiledModel::of_builds(&[&before, after]);
    let deployment = Deployment {
        service: "service",
        strategy,
        at_nanos: 10 * SECOND,
        warm_up,
        rolled_back_after_nanos,
    };
    let incidents = deployment.incidents(&before, after);
    let mut stream = Seed(2).stream(0, 0, "arrivals");
    let traffic = CompiledTraffic::poisson(&compiled, ROUTE, 200.0, 40 * SECOND, &mut stream);
    let scenario = Scenario { bin_nanos: SECOND, ..Scenario::of(incidents) };
    simulate_scenario(&compiled, &traffic, Seed(2), 0, &scenario)
}

fn bad(outcome: &Outcome) -> Vec<u64> {
    outcome.bins.iter().map(|bin| bin.bad).collect()
}

/// The share of answers of the new build, which fails all, in a second.
fn share_of_new(outcome: &Outcome, second: usize) -> f64 {
    let bin = outcome.bins[second];
    bin.bad as f64 / (bin.bad + bin.good) as f64
}

#[test]
fn an_immediate_deployment_is_away_while_it_starts() {
    let outcome =
        deploy(&model(20, 0.0), &Strategy::Immediate { start_nanos: 3 * SECOND }, None, None);
    let bad = bad(&outcome);
    assert_eq!(bad[..10].iter().sum::<u64>() + bad[13..].iter().sum::<u64>(), 0);
    for second in 10..13 {
        assert!(bad[second] > 150, "{bad:?}");
    }
}

#[test]
fn nobody_notices_the_other_strategies() {
    let rolling = |surge| Strategy::Rolling { start_nanos: 2 * SECOND, pause_nanos: SECOND, surge };
    let canary =
        Strategy::Canary { steps: vec![0.1, 0.5], step_nanos: 5 * SECOND, start_nanos: 2 * SECOND };
    let blue_green = Strategy::BlueGreen { start_nanos: 2 * SECOND };
    for strategy in [rolling(true), rolling(false), blue_green, canary] {
        let outcome = deploy(&model(20, 0.0), &strategy, None, None);
        assert_eq!(bad(&outcome).iter().sum::<u64>(), 0, "{strategy:?}");
        assert_eq!(outcome.routes[0].in_system, 0);
    }
}

#[test]
fn the_new_build_takes_over_as_the_strategy_says() {
    let failing = model(20, 1.0);
    let rolling =
        Strategy::Rolling { start_nanos: 2 * SECOND, pause_nanos: 3 * SECOND, surge: true };
    let outcome = deploy(&failing, &rolling, None, None);
    // New instances run from 12, 17, 22 and 27 s on; each gets its part.
    for (second, share) in [(11, 0.0), (14, 0.25), (19, 0.5), (24, 0.75), (29, 1.0)] {
        assert!((share_of_new(&outcome, second) - share).abs() < 0.02, "second {second}");
    }
    let canary =
        Strategy::Canary { steps: vec![0.1, 0.5], step_nanos: 5 * SECOND, start_nanos: 2 * SECOND };
    let outcome = deploy(&failing, &canary, None, None);
    // From 12 s a tenth of the sessions, from 17 s half, from 22 s all. A second has 200 requests, each of
    // its own session: four standard deviations are 0.085 and 0.14.
    for (second, share, off) in [(11, 0.0, 0.0), (14, 0.1, 0.085), (19, 0.5, 0.14), (25, 1.0, 0.0)]
    {
        let found = share_of_new(&outcome, second);
        assert!((found - share).abs() <= off, "second {second}: {found}");
    }
}

#[test]
fn a_rollback_ends_what_a_canary_began() {
    let canary =
        Strategy::Canary { steps: vec![0.1, 0.5], step_nanos: 5 * SECOND, start_nanos: 2 * SECOND };
    let outcome = deploy(&model(20, 1.0), &canary, None, Some(4 * SECOND));
    let bad = bad(&outcome);
    // The canary runs from 12 s to 14 s, with a tenth of the sessions.
    assert!(bad[12] + bad[13] > 10, "{bad:?}");
    assert_eq!(bad[15..].iter().sum::<u64>(), 0, "{bad:?}");
}

#[test]
fn cold_instances_are_slow_at_first() {
    let slowest = |warm_up| {
        let rolling = Strategy::Rolling { start_nanos: SECOND, pause_nanos: SECOND, surge: true };
        let outcome = deploy(&model(20, 0.0), &rolling, warm_up, None);
        outcome.routes[0].latencies_nanos.iter().copied().max().expect("there are answers") / MS
    };
    let cold = Some(WarmUp { factor: 10.0, nanos: 2 * SECOND });
    assert!(slowest(None) < 150 && slowest(cold) >= 195, "{} {}", slowest(None), slowest(cold));
}
