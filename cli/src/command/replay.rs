//! `prophecy replay`: a dataset against two builds, as real processes.

mod probe;

use std::path::Path;
use std::time::Duration;

use prophecy_core::Seed;
use prophecy_datasets::{Dataset, Run};
use prophecy_twin::run::ARMS;
use prophecy_twin::{AllowList, LoadedSystem, Progress, TwinOptions, load_system, run_twin};

use self::probe::Probed;
pub(crate) use self::probe::answer;
use super::runtime;
use crate::arguments::{ReplayArguments, TwinArguments};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::stop::Stop;
use crate::{key_file, progress};

/// What is replayed against what, read and checked.
#[derive(Debug)]
pub(crate) struct Inputs {
    pub(crate) dataset: Dataset,
    pub(crate) baseline: LoadedSystem,
    pub(crate) candidate: LoadedSystem,
}

/// Replays, and says how it went.
pub(crate) fn run(arguments: &ReplayArguments, printer: &Printer) -> Result<ExitCode, Failure> {
    let inputs = Inputs::read(&arguments.twin)?;
    let bounds = probe::bounds(&arguments.probe)?;
    let runtime = runtime()?;
    let (run, probed) = runtime.block_on(async {
        let stop = Stop::listen().map_err(|error| Failure::of(ExitCode::Environment, &error))?;
        let (twin, out, seed) = (&arguments.twin, &arguments.out, Seed(arguments.seed));
        let run = replay(&inputs, twin, out, seed, &stop, printer).await?;
        let probed = match bounds {
            Some(bounds) => {
                let options = options(&inputs, twin, out, seed, &stop)?;
                Some(probe::run(&options, bounds, printer).await?)
            }
            None => None,
        };
        Ok::<_, Failure>((run, probed))
    })?;
    let mut human = format!("wrote run `{}`\n", arguments.out.display());
    for arm in &run.arms {
        human.push_str(&format!(
            "{:16} {} offered, {} sent, {} unanswered, send lag p50 {:.2} ms, p99 {:.2} ms, max {:.1} ms\n",
            arm.name,
            arm.offered,
            arm.sent,
            arm.unanswered,
            arm.send_lag_p50_nanos as f64 / 1e6,
            arm.send_lag_p99_nanos as f64 / 1e6,
            arm.send_lag_max_nanos as f64 / 1e6
        ));
    }
    human.push_str(&format!("{} difference(s) in answers", run.differences.len()));
    match &probed {
        Some(probe) => {
            human.push_str(&probe::render(probe));
            printer.data(&human, &Probed { run: &run, probe });
        }
        None => printer.data(&human, &run),
    }
    printer.say(&format!("forecast with `prophecy report … --run {}`", arguments.out.display()));
    Ok(ExitCode::Done)
}

// === impl Inputs ===

impl Inputs {
    /// Reads manifests and dataset.
    pub(crate) fn read(arguments: &TwinArguments) -> Result<Self, Failure> {
        if !(arguments.speed > 0.0 && arguments.speed.is_finite()) {
            let message = format!("`--speed` is {}; it needs a positive number", arguments.speed);
            return Err(Failure::new(ExitCode::Usage, message));
        }
        let baseline = load_system(&arguments.baseline)?;
        let candidate = load_system(&arguments.candidate)?;
        let dataset = Dataset::open(&arguments.dataset)?;
        Ok(Self { dataset, baseline, candidate })
    }
}

/// Runs the twin with progress on the terminal.
pub(crate) async fn replay(
    inputs: &Inputs,
    arguments: &TwinArguments,
    out: &Path,
    seed: Seed,
    stop: &Stop,
    printer: &Printer,
) -> Result<Run, Failure> {
    let options = options(inputs, arguments, out, seed, stop)?;
    let bar = progress::bar(printer, "starting", 1, "requests");
    let tell = |state| match state {
        Progress::Starting(arm) => {
            bar.set_message("starting");
            bar.set_prefix(ARMS[arm]);
        }
        Progress::Replaying(done, total) => {
            bar.set_message("replaying");
            bar.set_length(total);
            bar.set_position(done);
        }
        Progress::Stopping => bar.set_message("stopping"),
    };
    if printer.draws_progress() {
        bar.enable_steady_tick(Duration::from_millis(200));
    }
    let ran = run_twin(options, &tell).await;
    bar.finish_and_clear();
    Ok(ran?)
}

fn options<'a>(
    inputs: &'a Inputs,
    arguments: &TwinArguments,
    out: &Path,
    seed: Seed,
    stop: &Stop,
) -> Result<TwinOptions<'a>, Failure> {
    Ok(TwinOptions {
        dataset: &inputs.dataset,
        baseline: &inputs.baseline,
        candidate: &inputs.candidate,
        out: out.to_owned(),
        key: key_file::ephemeral()?,
        seed,
        speed: arguments.speed,
        limit: arguments.limit.map(|span| span.0),
        allow: AllowList::new(arguments.allow.clone()),
        stop: stop.flag(),
    })
}
