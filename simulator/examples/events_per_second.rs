//! How many events per second does one core simulate? M/M/16 at 90 % utilization.
//!
//! `cargo run --release -p prophecy-simulator --example events_per_second`

use std::collections::BTreeMap;
use std::time::Instant;

use prophecy_core::Seed;
use prophecy_simulator::model::{Law, Model, RouteModel, SCHEMA, Station};
use prophecy_simulator::{CompiledModel, CompiledTraffic, Traffic, simulate};

#[expect(clippy::print_stdout, reason = "an example prints its answer")]
fn main() {
    let law = Law::Exponential { mean_nanos: 1e6 };
    let station = Station {
        replicas: 1,
        workers: Some(16),
        queue_limit: None,
        pools: BTreeMap::new(),
        routes: BTreeMap::from([(
            "GET /".to_owned(),
            RouteModel { law: Some(law), ..RouteModel::default() },
        )]),
    };
    let model = Model {
        schema: SCHEMA.to_owned(),
        system: "queue".to_owned(),
        entry: "a".to_owned(),
        services: BTreeMap::from([("a".to_owned(), station)]),
    };
    let compiled = CompiledModel::new(&model);
    let mut stream = Seed(1).stream(0, 0, "arrivals");
    let traffic = Traffic::poisson(14_400.0, 200_000_000_000, &["GET /".to_owned()], &mut stream);
    let traffic = CompiledTraffic::new(&traffic, &compiled).expect("the route is there");
    let begun = Instant::now();
    let outcome = simulate(&compiled, &traffic, Seed(1), 0);
    let seconds = begun.elapsed().as_secs_f64();
    let events = 2 * outcome.routes[0].arrived;
    let sum: u64 = outcome.routes[0].latencies_nanos.iter().sum();
    let wait = sum as f64 / outcome.routes[0].arrived as f64 / 1e6 - 1.0;
    println!(
        "{events} events in {seconds:.2} s: {:.1} million/s; mean wait {wait:.4} (theory 0.3696)",
        events as f64 / seconds / 1e6
    );
}
