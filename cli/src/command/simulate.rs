//! `prophecy simulate`: what a model does under traffic.

use std::fs;

use prophecy_core::{Seed, quantile};
use prophecy_datasets::Dataset;
use prophecy_simulator::{
    CompiledModel, CompiledTraffic, Model, Outcome, Traffic, replication, simulate,
};
use serde::Serialize;

use super::report::threads;
use crate::arguments::SimulateArguments;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::printer::Printer;

/// A mean over replications with its 95 % interval.
#[derive(Clone, Copy, Debug, Serialize)]
struct Estimate {
    mean: f64,
    half_width: f64,
}

/// What came out, as JSON.
#[derive(Debug, Serialize)]
struct Simulated {
    schema: &'static str,
    replications: u32,
    seed: u64,
    routes: Vec<RouteRow>,
    services: Vec<ServiceRow>,
}

#[derive(Debug, Serialize)]
struct RouteRow {
    service: String,
    route: String,
    requests: Estimate,
    latency_ms_p50: Estimate,
    latency_ms_p95: Estimate,
    latency_ms_p99: Estimate,
    error_rate: Estimate,
}

#[derive(Debug, Serialize)]
struct ServiceRow {
    service: String,
    utilization: Option<Estimate>,
    queue_max: Estimate,
}

/// Simulates a model, and says what came out.
pub(crate) fn run(arguments: &SimulateArguments, printer: &Printer) -> Result<ExitCode, Failure> {
    let attempt = format!("cannot use model `{}`", arguments.model.display());
    let text = fs::read_to_string(&arguments.model).map_err(|error| {
        Failure::of(ExitCode::Environment, &error)
            .during(&attempt)
            .hint("fit one with `prophecy fit DATASET --system FILE`")
    })?;
    let model = Model::from_json(&text).map_err(|error| Failure::from(error).during(&attempt))?;
    let seed = Seed(arguments.chance.seed);
    let traffic = traffic(arguments, &model, seed)?;
    let compiled = CompiledModel::new(&model);
    let known = compiled.known(&traffic);
    if known.arrivals.len() < traffic.arrivals.len() {
        let lost = traffic.arrivals.len() - known.arrivals.len();
        printer.warn(&format!(
            "{lost} arrivals are on routes that the model does not know, and are left out"
        ));
    }
    let outcomes = replication::in_order(
        arguments.replications.max(2),
        threads(arguments.chance.threads),
        |index| {
            let drawn = match arguments.rate {
                Some(rate) => poisson(arguments, &model, rate, seed, index),
                None => known.resample(&mut seed.stream(index, 0, "traffic")),
            };
            let drawn = CompiledTraffic::new(&compiled.known(&drawn), &compiled)
                .expect("unknown routes were left out");
            simulate(&compiled, &drawn, seed, index)
        },
    );
    let simulated = summarize(&outcomes, arguments.replications.max(2), seed);
    printer.data(&render(&simulated), &simulated);
    Ok(ExitCode::Done)
}

fn traffic(arguments: &SimulateArguments, model: &Model, seed: Seed) -> Result<Traffic, Failure> {
    if let Some(rate) = arguments.rate {
        if !(rate > 0.0 && rate.is_finite()) {
            return Err(Failure::new(
                ExitCode::Usage,
                format!("`--rate` is {rate}; it needs a positive number"),
            ));
        }
        return Ok(poisson(arguments, model, rate, seed, 0));
    }
    let path = arguments.dataset.as_ref().expect("the command line has either");
    let dataset = Dataset::open(path)?;
    let exchanges = dataset.exchanges()?;
    let at_entry: Vec<_> =
        exchanges.iter().filter(|exchange| exchange.destination == model.entry).collect();
    let Some(first) = at_entry.first() else {
        let message = format!("the dataset has no exchange with the entry `{}`", model.entry);
        return Err(Failure::new(ExitCode::NotEnoughEvidence, message));
    };
    let arrivals: Vec<_> = at_entry
        .iter()
        .map(|exchange| prophecy_simulator::observation::Arrival {
            at_nanos: exchange.started_at.nanos_since(first.started_at),
            session: exchange.session_id,
            route: exchange.route.clone(),
        })
        .collect();
    let window_nanos = arrivals.last().map_or(1, |last| last.at_nanos + 1);
    Ok(Traffic { window_nanos, arrivals })
}

fn poisson(
    arguments: &SimulateArguments,
    model: &Model,
    rate: f64,
    seed: Seed,
    index: u32,
) -> Traffic {
    let routes: Vec<String> = model.services[&model.entry].routes.keys().cloned().collect();
    let window = arguments.duration.0.as_nanos() as u64;
    Traffic::poisson(rate, window, &routes, &mut seed.stream(index, 0, "arrivals"))
}

fn summarize(outcomes: &[Outcome], replications: u32, seed: Seed) -> Simulated {
    let first = &outcomes[0];
    let over = |of: &dyn Fn(&Outcome) -> Option<f64>| {
        Estimate::of(&outcomes.iter().filter_map(of).collect::<Vec<_>>())
    };
    let routes = (0..first.routes.len()).filter_map(|index| {
        let route = &first.routes[index];
        let at = |level: f64| {
            over(&|outcome| {
                let mut latencies = outcome.routes[index].latencies_nanos.clone();
                quantile::select(&mut latencies, level).map(|nanos| nanos as f64 / 1e6)
            })
        };
        Some(RouteRow {
            service: first.stations[route.station].name.clone(),
            route: route.name.clone(),
            requests: over(&|outcome| Some(outcome.routes[index].arrived as f64))?,
            latency_ms_p50: at(0.5)?,
            latency_ms_p95: at(0.95)?,
            latency_ms_p99: at(0.99)?,
            error_rate: over(&|outcome| outcome.routes[index].error_rate())?,
        })
    });
    let services = first.stations.iter().enumerate().map(|(index, station)| ServiceRow {
        service: station.name.clone(),
        utilization: over(&|outcome| outcome.stations[index].utilization(outcome.window_nanos)),
        queue_max: over(&|outcome| Some(outcome.stations[index].queue_max as f64))
            .expect("there are runs"),
    });
    Simulated {
        schema: "prophecy.simulation/1",
        replications,
        seed: seed.0,
        routes: routes.collect(),
        services: services.collect(),
    }
}

fn render(simulated: &Simulated) -> String {
    let mut text = format!(
        "{} simulated runs, seed {}; mean ± 95 % interval over runs\n\n",
        simulated.replications, simulated.seed
    );
    for row in &simulated.routes {
        text.push_str(&format!(
            "{:12} {:32} {:>7.0} requests  p50 {} ms  p95 {} ms  p99 {} ms  errors {:.2} %\n",
            row.service,
            row.route,
            row.requests.mean,
            row.latency_ms_p50,
            row.latency_ms_p95,
            row.latency_ms_p99,
            100.0 * row.error_rate.mean
        ));
    }
    text.push('\n');
    for row in &simulated.services {
        let utilization = row.utilization.map_or_else(
            || "unlimited workers".to_owned(),
            |u| format!("{:.0} % of workers held", 100.0 * u.mean),
        );
        text.push_str(&format!(
            "{:12} {utilization}, longest queue {:.0}\n",
            row.service, row.queue_max.mean
        ));
    }
    text
}

// === impl Estimate ===

impl Estimate {
    /// Returns the mean of some values with a normal 95 % interval, or `None` without values.
    fn of(values: &[f64]) -> Option<Self> {
        let n = values.len() as f64;
        if values.is_empty() {
            return None;
        }
        let mean = values.iter().sum::<f64>() / n;
        let variance =
            values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
        Some(Self { mean, half_width: 1.96 * (variance / n).sqrt() })
    }
}

impl std::fmt::Display for Estimate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} ± {:.1}", self.mean, self.half_width)
    }
}
