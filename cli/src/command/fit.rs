//! `prophecy fit`: a model of what a dataset shows.

use prophecy_datasets::{Dataset, write_whole};
use prophecy_simulator::model_of;
use prophecy_twin::{fit, load_system};

use crate::arguments::FitArguments;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::printer::Printer;

/// Fits a model and writes it.
pub(crate) fn run(arguments: &FitArguments, printer: &Printer) -> Result<ExitCode, Failure> {
    let system = load_system(&arguments.system)?.system;
    let dataset = Dataset::open(&arguments.dataset)?;
    let fit = fit::observe(&dataset, &system, 0)?;
    if fit.observations.arrivals.is_empty() {
        let message = format!("the dataset has no exchange with the entry `{}`", system.entry);
        return Err(Failure::new(ExitCode::NotEnoughEvidence, message)
            .hint("was it captured with `--service` named like the manifest's `entry`?"));
    }
    let model = model_of(&fit.observations, &system);
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
    for note in &fit.notes {
        human.push_str(&format!("note: {note}\n"));
    }
    printer.data(&human, &model);
    let words =
        format!("simulate it with `prophecy simulate {} --rate 50`", arguments.out.display());
    printer.say(&words);
    Ok(ExitCode::Done)
}
