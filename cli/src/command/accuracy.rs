//! `prophecy accuracy`: how true forecasts were, from deployments really carried out.

use std::path::Path;

use prophecy_core::Seed;
use prophecy_datasets::{TrialRecords, write_whole};
use prophecy_predictor::accuracy::{Scoreboard, scoreboard};
use prophecy_predictor::render;
use prophecy_runner::environment::EnvironmentFolder;
use prophecy_runner::record;

use crate::arguments::AccuracyArguments;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::printer::Printer;

/// Scores the records and shows the scoreboard.
pub(crate) fn run(arguments: &AccuracyArguments, printer: &Printer) -> Result<ExitCode, Failure> {
    let mut records = match &arguments.environment {
        None => TrialRecords::read(&arguments.records)?,
        Some(folder) => of_environment(folder)?,
    };
    if !arguments.commit.is_empty() {
        records.retain(|deployment| {
            arguments.commit.iter().any(|commit| deployment.commit.starts_with(commit.as_str()))
        });
        if records.deployments.is_empty() {
            let asked = arguments.commit.join("`, `");
            let message = format!("no trial was forecast by commit `{asked}`");
            return Err(Failure::new(ExitCode::NotEnoughEvidence, message)
                .hint("leave out `--commit` to see every commit on record"));
        }
    }
    let board = score(&records, arguments.seed, arguments.html.as_deref(), printer)?;
    printer.data(&render::accuracy::terminal(&board), &board);
    Ok(ExitCode::Done)
}

/// Reads what was forecast of an environment's rollouts, and what became of it.
pub(crate) fn of_environment(folder: &Path) -> Result<TrialRecords, Failure> {
    let records = record::records(&EnvironmentFolder::new(folder))?;
    if records.deployments.is_empty() {
        let message =
            format!("no rollout in `{}` had a forecast and met traffic", folder.display());
        return Err(Failure::new(ExitCode::NotEnoughEvidence, message)
            .hint("give rollouts their forecast with `--report FOLDER`"));
    }
    Ok(records)
}

/// Scores records, and writes the page if asked to.
pub(crate) fn score(
    records: &TrialRecords,
    seed: u64,
    html: Option<&Path>,
    printer: &Printer,
) -> Result<Scoreboard, Failure> {
    let board = scoreboard(records, Seed(seed));
    if let Some(path) = html {
        let page = render::accuracy::page(&board);
        write_whole(path, page.as_bytes()).map_err(|error| {
            Failure::of(ExitCode::Environment, &error)
                .during(format!("cannot write `{}`", path.display()))
        })?;
        printer.say(&format!("wrote `{}`", path.display()));
    }
    Ok(board)
}
