//! `prophecy simulate`: what a model does under traffic, and what happens to it meanwhile.

mod picture;
mod setting;

use std::fs;
use std::path::Path;

use prophecy_core::Seed;
use prophecy_datasets::Dataset;
use prophecy_simulator::recovery::{Question, Recovery, critical_size, recovery};
use prophecy_simulator::replication::{self, Summary};
use prophecy_simulator::{
    CompiledModel, CompiledTraffic, Model, Outcome, Scenario, Traffic, simulate, simulate_scenario,
};
use serde::Serialize;

pub(crate) use self::setting::read_model;
use self::setting::{Push, Setting};
use super::report::threads;
use crate::arguments::SimulateArguments;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::printer::Printer;

/// What came out, as JSON.
#[derive(Debug, Serialize)]
struct Simulated {
    schema: &'static str,
    replications: u32,
    seed: u64,
    #[serde(flatten)]
    summary: Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery: Option<RecoveryRows>,
}

/// Whether the system recovers from a trigger.
#[derive(Debug, Serialize)]
struct RecoveryRows {
    sizes: Vec<Recovery>,
    /// From which size on it recovers in less than half of the runs.
    critical_size: Option<f64>,
}

/// Simulates a model, and says what came out.
pub(crate) fn run(arguments: &SimulateArguments, printer: &Printer) -> Result<ExitCode, Failure> {
    let model = read_model(&arguments.model)?;
    let seed = Seed(arguments.chance.seed);
    let (setting, candidate) = match &arguments.setting {
        Some(path) => Setting::read(path, &model)?,
        None => (Setting::default(), None),
    };
    let traffic = traffic(arguments, &model, seed)?;
    let compiled = match &candidate {
        Some(candidate) => CompiledModel::of_builds(&[&model, candidate]),
        None => CompiledModel::new(&model),
    };
    let known = compiled.known(&traffic);
    if known.arrivals.len() < traffic.arrivals.len() {
        let lost = traffic.arrivals.len() - known.arrivals.len();
        printer.warn(&format!(
            "{lost} arrivals are on routes that the model does not know, and are left out"
        ));
    }
    let replications = arguments.replications.max(2);
    let threads = threads(arguments.chance.threads);
    let draw = |index: u32| {
        let drawn = match arguments.rate {
            Some(rate) => poisson(arguments, &model, rate, seed, index),
            None => known.resample(&mut seed.stream(index, 0, "traffic")),
        };
        CompiledTraffic::new(&compiled.known(&drawn), &compiled)
            .expect("unknown routes were left out")
    };
    let scenario = Scenario::of(setting.incidents);
    let outcomes = replication::in_order(replications, threads, |index| {
        if scenario.incidents.is_empty() {
            simulate(&compiled, &draw(index), seed, index)
        } else {
            simulate_scenario(&compiled, &draw(index), seed, index, &scenario)
        }
    });
    let mut simulated = Simulated {
        schema: "prophecy.simulation/1",
        replications,
        seed: seed.0,
        summary: Summary::of(&outcomes),
        recovery: None,
    };
    if let Some(push) = &setting.trigger {
        let traffic = draw(0);
        simulated.recovery = Some(recover(&compiled, &traffic, push, seed, replications, threads));
    }
    if let Some(folder) = &arguments.trace {
        let scenario = Scenario { trace: true, ..scenario };
        let outcome = simulate_scenario(&compiled, &draw(0), seed, 0, &scenario);
        write_trace(folder, &model.system, &compiled, outcome)?;
        printer.say(&format!("one run as a page: {}", folder.join("trace.html").display()));
    }
    printer.data(&render(&simulated), &simulated);
    Ok(ExitCode::Done)
}

fn recover(
    model: &CompiledModel,
    traffic: &CompiledTraffic,
    push: &Push,
    seed: Seed,
    replications: u32,
    threads: usize,
) -> RecoveryRows {
    let question = Question {
        model,
        traffic,
        trigger: &push.kind,
        at_nanos: push.at_nanos,
        within_nanos: push.within_nanos,
        seed,
        replications,
        threads,
    };
    let sizes: Vec<Recovery> = push.sizes.iter().map(|size| recovery(&question, *size)).collect();
    let least = push.sizes.iter().copied().fold(f64::INFINITY, f64::min);
    let most = push.sizes.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let precision = (most - least) / 32.0;
    let critical_size =
        if precision > 0.0 { critical_size(&question, least, most, precision) } else { None };
    RecoveryRows { sizes, critical_size }
}

/// Writes one run as a trace of the OpenTelemetry protocol and as a page.
fn write_trace(
    folder: &Path,
    system: &str,
    model: &CompiledModel,
    mut outcome: Outcome,
) -> Result<(), Failure> {
    let trace = outcome.trace.take().expect("it was asked for");
    let write = |name: &str, text: String| {
        fs::create_dir_all(folder).and_then(|()| fs::write(folder.join(name), text)).map_err(
            |error| {
                Failure::of(ExitCode::Environment, &error)
                    .during(format!("cannot write the trace to `{}`", folder.display()))
            },
        )
    };
    write("trace.json", trace.to_otlp(model).to_string())?;
    write("trace.html", picture::page(system, &outcome, &trace, model))
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

fn render(simulated: &Simulated) -> String {
    let mut text = format!(
        "{} simulated runs, seed {}; mean ± 95 % interval over runs\n\n",
        simulated.replications, simulated.seed
    );
    for row in &simulated.summary.routes {
        text.push_str(&format!(
            "{:12} {:32} {:>7.0} requests  p50 {:.1} ± {:.1} ms  p95 {:.1} ± {:.1} ms  p99 {:.1} ± {:.1} ms  errors {:.2} %\n",
            row.service,
            row.route,
            row.requests.mean,
            row.latency_ms_p50.mean,
            row.latency_ms_p50.half_width,
            row.latency_ms_p95.mean,
            row.latency_ms_p95.half_width,
            row.latency_ms_p99.mean,
            row.latency_ms_p99.half_width,
            100.0 * row.error_rate.mean
        ));
    }
    text.push('\n');
    for row in &simulated.summary.services {
        let utilization = row.utilization.map_or_else(
            || "unlimited workers".to_owned(),
            |u| {
                format!(
                    "{:.1} ± {:.1} % of workers held, saturated in {:.0} % of runs",
                    100.0 * u.mean,
                    100.0 * u.half_width,
                    100.0 * row.saturated.map_or(0.0, |share| share.mean)
                )
            },
        );
        text.push_str(&format!(
            "{:12} {utilization}, queue {:.2} ± {:.2}, longest {:.0}\n",
            row.service, row.queue_mean.mean, row.queue_mean.half_width, row.queue_max.mean
        ));
    }
    for row in &simulated.summary.hosts {
        text.push_str(&format!(
            "{:12} {:.1} ± {:.1} % of its cores busy\n",
            row.host,
            100.0 * row.utilization.mean,
            100.0 * row.utilization.half_width
        ));
    }
    if let Some(recovery) = &simulated.recovery {
        text.push_str("\nafter the trigger has gone\n");
        for row in &recovery.sizes {
            let after = row.median_nanos.map_or_else(String::new, |nanos| {
                format!(", in the median after {:.1} s", nanos as f64 / 1e9)
            });
            text.push_str(&format!(
                "size {:<8} recovers with probability {:.0} % ({:.0}–{:.0}){after}\n",
                row.size,
                100.0 * row.probability.get(),
                100.0 * row.interval.lo(),
                100.0 * row.interval.hi()
            ));
        }
        let critical = recovery.critical_size.map_or_else(
            || "no size between these is critical".to_owned(),
            |size| format!("critical size {size:.2}"),
        );
        text.push_str(&critical);
        text.push('\n');
    }
    text
}
