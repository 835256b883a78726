//! `prophecy accuracy`: how true forecasts were, from deployments really carried out.

use prophecy_core::Seed;
use prophecy_datasets::{TrialRecords, write_whole};
use prophecy_predictor::accuracy::scoreboard;
use prophecy_predictor::render;

use crate::arguments::AccuracyArguments;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::printer::Printer;

/// Scores the records and shows the scoreboard.
pub(crate) fn run(arguments: &AccuracyArguments, printer: &Printer) -> Result<ExitCode, Failure> {
    let mut records = TrialRecords::read(&arguments.records)?;
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
    let board = scoreboard(&records, Seed(arguments.seed));
    if let Some(path) = &arguments.html {
        let page = render::accuracy::page(&board);
        write_whole(path, page.as_bytes()).map_err(|error| {
            Failure::of(ExitCode::Environment, &error)
                .during(format!("cannot write `{}`", path.display()))
        })?;
        printer.say(&format!("wrote `{}`", path.display()));
    }
    printer.data(&render::accuracy::terminal(&board), &board);
    Ok(ExitCode::Done)
}
