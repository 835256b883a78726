//! `trials`: deployments that are forecast, really carried out, and measured.
//!
//! Each trial draws a system of real processes, or takes one from a catalogue; runs it as production;
//! forecasts a change with the `prophecy` program; deploys the change; and measures what came of it.
//! The records are read by `prophecy accuracy`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program of its own")]

mod campaign;
mod catalogue;
mod change;
mod comparators;
mod files;
mod kayenta;
mod machine;
mod outcome;
mod plan;
mod topology;
mod traffic;
mod trial;

use std::path::PathBuf;
use std::process::{Command as Program, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::campaign::{Campaign, CampaignError};
use crate::trial::Settings;

/// Deployments that are forecast, really carried out, and measured.
#[derive(Debug, Parser)]
#[command(name = "trials", version, about, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a campaign, or what is left of it, and print the scoreboard
    Run {
        /// How many trials are drawn
        #[arg(long, default_value_t = 20, value_name = "COUNT")]
        count: u32,
        /// The seed that they are drawn from
        #[arg(long, default_value_t = 1, value_name = "NUMBER")]
        seed: u64,
        /// Try the entries of this folder instead
        #[arg(long, value_name = "FOLDER")]
        catalogue: Option<PathBuf>,
        /// Where the trials leave their files
        #[arg(long, default_value = "target/trials", value_name = "FOLDER")]
        out: PathBuf,
        /// Where the records are kept
        #[arg(long, default_value = "datasets/trials", value_name = "FOLDER")]
        results: PathBuf,
        /// How long production is captured, in seconds
        #[arg(long, default_value_t = 16.0, value_name = "SECONDS")]
        window: f64,
        /// How long the candidate is deployed, in seconds
        #[arg(long, default_value_t = 32.0, value_name = "SECONDS")]
        deployed: f64,
    },
}

fn main() -> ExitCode {
    let Command::Run { count, seed, catalogue, out, results, window, deployed } =
        Arguments::parse().command;
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start the async runtime: {error}");
            return ExitCode::from(3);
        }
    };
    let prophecy = beside("prophecy");
    let ran = runtime.block_on(async {
        let settings = Settings {
            prophecy: prophecy.clone(),
            window_seconds: window,
            deployed_seconds: deployed,
            stop: stop_on_signals(),
        };
        Campaign { out, results, catalogue, count, seed, settings }.run().await
    });
    match ran {
        Ok(records) => scoreboard(&prophecy, &records),
        Err(error) => {
            eprintln!("error: {error}");
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                eprintln!("  because: {cause}");
                source = cause.source();
            }
            match error {
                CampaignError::File { .. } => ExitCode::from(3),
                CampaignError::Content { .. } | CampaignError::EmptyCatalogue { .. } => {
                    ExitCode::from(2)
                }
                CampaignError::Interrupted { .. } => ExitCode::from(130),
            }
        }
    }
}

/// Returns the path of a program that is built together with this one.
fn beside(name: &str) -> PathBuf {
    let own = std::env::current_exe().ok();
    let path = own.and_then(|own| Some(own.parent()?.join(name)));
    path.filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(name))
}

/// Returns a flag that Ctrl-C and SIGTERM raise.
fn stop_on_signals() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
        if let Ok(mut stream) = signal(kind) {
            let flag = Arc::clone(&flag);
            tokio::spawn(async move {
                stream.recv().await;
                flag.store(true, Ordering::SeqCst);
            });
        }
    }
    flag
}

/// Prints the scoreboard of what was recorded.
fn scoreboard(prophecy: &std::path::Path, records: &std::path::Path) -> ExitCode {
    match Program::new(prophecy).arg("accuracy").arg(records).status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: cannot run `prophecy accuracy`: {error}");
            ExitCode::from(3)
        }
    }
}
