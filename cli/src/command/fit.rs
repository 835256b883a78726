//! `prophecy fit`: a model of what a dataset shows.

use prophecy_core::Seed;
use prophecy_datasets::probe::{ArmProbe, Probe};
use prophecy_datasets::{Dataset, write_whole};
use prophecy_simulator::Model;
use prophecy_simulator::fidelity::{self, Check};
use prophecy_twin::fit::{self, HeldOut, Reading};
use prophecy_twin::load_system;
use serde::Serialize;

use super::replay::answer;
use super::report::threads;
use crate::arguments::FitArguments;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::printer::Printer;

/// A model with its check, as JSON.
#[derive(Serialize)]
struct Checked<'a> {
    model: &'a Model,
    check: &'a Check,
}

/// Fits a model and writes it; checks it if asked to.
pub(crate) fn run(arguments: &FitArguments, printer: &Printer) -> Result<ExitCode, Failure> {
    let loaded = load_system(&arguments.system)?;
    let dataset = Dataset::open(&arguments.dataset)?;
    let threads = threads(arguments.chance.threads);
    let reading = Reading { threads, ..Reading::default() };
    let probe = probe(arguments)?;
    let probed = probe.as_ref().map(|probe| arm_of(probe, &arguments.probe_arm)).transpose()?;
    if probed.is_some_and(|probed| probed.manifest != loaded.digest) {
        printer.warn("the probe was made with another manifest than this one");
    }
    let system = loaded.system;
    let fit = match probe.as_ref().zip(probed) {
        Some((probe, probed)) => {
            let mut fit = fit::summarize_probed(&dataset, &system, probe, probed)?;
            fit.notes.push(format!("the probe of arm `{}`: {}", probed.name, answer(probed)));
            fit
        }
        None => fit::summarize(&dataset, &system, reading)?,
    };
    if fit.arrivals == 0 {
        let message = format!("the dataset has no exchange with the entry `{}`", system.entry);
        return Err(Failure::new(ExitCode::NotEnoughEvidence, message)
            .hint("was it captured with `--service` named like the manifest's `entry`?"));
    }
    let model = fit.model;
    write_whole(&arguments.out, model.to_json().as_bytes()).map_err(|error| {
        Failure::of(ExitCode::Environment, &error)
            .during(format!("cannot write model `{}`", arguments.out.display()))
    })?;
    let mut human = format!("wrote model `{}`\n", arguments.out.display());
    for (name, station) in &model.services {
        let workers =
            station.workers.map_or_else(|| "unlimited".to_owned(), |workers| workers.to_string());
        human.push_str(&format!(
            "{name:16} {} instance(s), {workers} workers each, {} route(s)\n",
            station.replicas,
            station.routes.len()
        ));
    }
    for found in &fit.recognized {
        human.push_str(&format!("recognized: {found}\n"));
    }
    for note in &fit.notes {
        human.push_str(&format!("note: {note}\n"));
    }
    if arguments.check {
        let seed = Seed(arguments.chance.seed);
        let HeldOut { model: first, rest, is_held_out: held_out } = &fit.held_out;
        let check = Check { held_out: *held_out, ..fidelity::compare(first, rest, seed, threads) };
        human.push_str(&render(&check));
        printer.data(&human, &Checked { model: &model, check: &check });
        return Ok(if check.passed { ExitCode::Done } else { ExitCode::NotEnoughEvidence });
    }
    printer.data(&human, &model);
    let words =
        format!("simulate it with `prophecy simulate {} --rate 50`", arguments.out.display());
    printer.say(&words);
    Ok(ExitCode::Done)
}

/// Reads the probe that is asked for.
fn probe(arguments: &FitArguments) -> Result<Option<Probe>, Failure> {
    let Some(folder) = &arguments.probe else { return Ok(None) };
    let missing = || {
        Failure::new(ExitCode::Usage, format!("run `{}` has no probe", folder.display()))
            .hint("make one with `prophecy replay --probe`")
    };
    Probe::read(folder)?.ok_or_else(missing).map(Some)
}

fn arm_of<'a>(probe: &'a Probe, name: &str) -> Result<&'a ArmProbe, Failure> {
    probe.arm(name).ok_or_else(|| {
        let names: Vec<&str> = probe.arms.iter().map(|arm| arm.name.as_str()).collect();
        let message = format!("the probe has no arm `{name}`; it has {}", names.join(", "));
        Failure::new(ExitCode::Usage, message)
    })
}

fn render(check: &Check) -> String {
    let mut text = format!(
        "\n{}, seen and simulated\n{:44} {:>7}  {:>17} {:>17} {:>17}  {:>13}\n",
        if check.held_out {
            "the last part of the window, held out from the fit"
        } else {
            "the same window"
        },
        "",
        "visits",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "CRPS, least"
    );
    for route in &check.routes {
        let pair = |index: usize| {
            format!("{:.1} → {:.1}", route.seen_ms[index], route.simulated_ms[index])
        };
        text.push_str(&format!(
            "{:44} {:>7}  {:>17} {:>17} {:>17}  {:>6.1} {:>6.1}{}\n",
            format!("{} {}", route.service, route.route),
            route.visits,
            pair(1),
            pair(2),
            pair(3),
            route.crps_ms,
            route.crps_least_ms,
            if route.passed { "" } else { "  off" }
        ));
    }
    for service in &check.services {
        let ([rate, rate_simulated], [busy, busy_simulated]) = (service.per_second, service.busy);
        text.push_str(&format!(
            "{:44} {rate:.1} → {rate_simulated:.1} requests/s, {busy:.2} → {busy_simulated:.2} workers held\n",
            service.service
        ));
    }
    if check.passed {
        text.push_str("the model is fit for prediction\n");
    }
    for problem in &check.problems {
        text.push_str(&format!("not fit for prediction: {problem}\n"));
    }
    text
}
