//! One module per command; each turns arguments into calls and results into text.

mod accuracy;
mod capture;
mod completions;
mod dataset;
mod demo;
mod doctor;
mod fit;
mod gate;
mod init;
mod replay;
mod report;
mod rollout;
mod serve;
mod simulate;
mod store;

use crate::arguments::{Command, DatasetCommand};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::printer::Printer;

/// Runs a command.
pub(crate) fn run(command: Command, printer: &Printer) -> Result<ExitCode, Failure> {
    match command {
        Command::Init(arguments) => init::run(&arguments, printer),
        Command::Doctor => Ok(doctor::run(printer)),
        Command::Capture(arguments) => capture::run(&arguments, printer),
        Command::Dataset(DatasetCommand::Info { dataset }) => dataset::info(&dataset, printer),
        Command::Dataset(DatasetCommand::Verify { dataset }) => dataset::verify(&dataset, printer),
        Command::Replay(arguments) => replay::run(&arguments, printer),
        Command::Fit(arguments) => fit::run(&arguments, printer),
        Command::Simulate(arguments) => simulate::run(&arguments, printer),
        Command::Report(arguments) => report::run(&arguments, printer),
        Command::Gate(arguments) => gate::run(&arguments, printer),
        Command::Accuracy(arguments) => accuracy::run(&arguments, printer),
        Command::Rollout(command) => rollout::run(&command, printer),
        Command::Serve(arguments) => serve::run(&arguments, printer),
        Command::Store(command) => store::run(&command, printer),
        Command::Router(arguments) => rollout::router(&arguments),
        Command::Demo(arguments) => demo::run(&arguments, printer),
        Command::Completions { shell } => {
            completions::run(shell, printer);
            Ok(ExitCode::Done)
        }
    }
}

/// Returns a runtime for commands that talk to sockets and processes.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
        Failure::of(ExitCode::Environment, &error).during("cannot start the async runtime")
    })
}
