//! `prophecy report`: what a candidate will do to production.

use std::fs;
use std::path::{Path, PathBuf};

use prophecy_core::{Probability, Seed, Timestamp};
use prophecy_datasets::{Dataset, Probe, Run, write_whole};
use prophecy_predictor::{Evidence, ForecastOptions, Report, Verdict, forecast, render};
use prophecy_twin::fit;
use prophecy_twin::run::{ARMS, dataset_digest};

use super::replay::{self, Inputs};
use super::runtime;
use crate::arguments::{ReportArguments, TwinArguments};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::printer::{Format, Printer, Tone};
use crate::progress;
use crate::stop::Stop;

/// Replays if needed, forecasts, and writes the report.
pub(crate) fn run(arguments: &ReportArguments, printer: &Printer) -> Result<ExitCode, Failure> {
    let twin = TwinArguments {
        dataset: arguments.dataset.clone(),
        baseline: arguments.baseline.clone(),
        candidate: arguments.candidate.clone(),
        speed: arguments.speed,
        limit: arguments.limit,
        allow: arguments.allow.clone(),
    };
    let inputs = Inputs::read(&twin)?;
    prepare(&arguments.out)?;
    let seed = Seed(arguments.chance.seed);
    let runtime = runtime()?;
    let folder = arguments.run.clone().unwrap_or_else(|| arguments.out.join("run"));
    let report = runtime.block_on(async {
        let stop = Stop::listen().map_err(|error| Failure::of(ExitCode::Environment, &error))?;
        if arguments.run.is_none() {
            replay::replay(&inputs, &twin, &folder, seed, &stop, printer).await?;
        }
        let forecasting = Forecasting {
            inputs: &inputs,
            run: &folder,
            seed,
            draws: arguments.draws,
            replications: arguments.replications,
            threads: threads(arguments.chance.threads),
            max_risk: Probability::clamped(arguments.max_risk / 100.0),
        };
        tokio::task::block_in_place(|| forecasting.report(printer))
    })?;
    write(&report, &arguments.out)?;
    match printer.format() {
        Format::Human => printer.data(&highlighted(&report, printer), &report),
        Format::Json => printer.raw(&report.to_json()),
    }
    let out = arguments.out.display();
    printer.say(&format!(
        "open `{out}/report.html`, or gate with `prophecy gate {out} --max-risk {}`",
        arguments.max_risk
    ));
    Ok(ExitCode::Done)
}

/// A forecast to be made from a run.
pub(crate) struct Forecasting<'a> {
    pub(crate) inputs: &'a Inputs,
    pub(crate) run: &'a Path,
    pub(crate) seed: Seed,
    pub(crate) draws: u32,
    pub(crate) replications: u32,
    pub(crate) threads: usize,
    pub(crate) max_risk: Probability,
}

// === impl Forecasting ===

impl Forecasting<'_> {
    /// Reads the run, and forecasts.
    pub(crate) fn report(&self, printer: &Printer) -> Result<Report, Failure> {
        let evidence = self.evidence()?;
        let bar = progress::bar(printer, "simulating", 1, "draws");
        let tell = |done: u64, total: u64| {
            bar.set_length(total);
            bar.set_position(done);
        };
        let options = ForecastOptions {
            seed: self.seed,
            draws: self.draws,
            replications: self.replications,
            threads: self.threads,
            max_risk: self.max_risk,
            progress: &tell,
        };
        let report = forecast(&evidence, &options);
        bar.finish_and_clear();
        Ok(report?)
    }

    fn evidence(&self) -> Result<Evidence, Failure> {
        let Inputs { dataset, baseline, candidate } = self.inputs;
        let run = Run::read(self.run)?;
        let same_run = run.inputs.dataset == dataset_digest(dataset)
            && run.inputs.baseline == baseline.digest
            && run.inputs.candidate == candidate.digest;
        if !same_run {
            let message = format!(
                "run `{}` was made from another dataset or other manifests",
                self.run.display()
            );
            return Err(
                Failure::new(ExitCode::Usage, message).hint("replay again: leave out `--run`")
            );
        }
        let probe = Probe::read(self.run)?;
        let probed = |arm: usize| {
            let name = ARMS[if arm == 2 { 2 } else { 0 }];
            probe.as_ref().and_then(|probe| probe.arm(name))
        };
        let production = fit::observe_probed(dataset, &baseline.system, 0, probed(0))?;
        let arm = |index: usize| -> Result<fit::Fit, Failure> {
            let system = if index == 2 { &candidate.system } else { &baseline.system };
            let dataset = Dataset::open(&self.run.join(ARMS[index]))?;
            Ok(fit::observe_probed(&dataset, system, run.warmup_nanos, probed(index))?)
        };
        let (first, again, changed) = (arm(0)?, arm(1)?, arm(2)?);
        let mut notes: Vec<String> =
            production.notes.iter().map(|note| format!("production: {note}")).collect();
        notes.extend(first.notes.iter().map(|note| format!("baseline arm: {note}")));
        notes.extend(changed.notes.iter().map(|note| format!("candidate arm: {note}")));
        let arms = probe.iter().flat_map(|probe| &probe.arms);
        notes.extend(arms.map(|arm| format!("{} arm, probed: {}", arm.name, replay::answer(arm))));
        if run.share < 1.0 {
            notes.push(format!(
                "{:.0} % of the sessions were replayed: the load of one instance",
                100.0 * run.share
            ));
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        if run.load_average > 0.5 * cores {
            notes.push(format!(
                "the machine was busy before the replay: load average {:.1}",
                run.load_average
            ));
        }
        let window =
            dataset.manifest().window.unwrap_or_default().map(|at| Timestamp(at).to_string());
        Ok(Evidence {
            system: baseline.system.clone(),
            candidate_system: candidate.system.clone(),
            inputs: prophecy_predictor::Inputs {
                dataset: run.inputs.dataset.clone(),
                baseline: run.inputs.baseline.clone(),
                candidate: run.inputs.candidate.clone(),
                policy: run.inputs.policy.clone(),
                window,
                exchanges: production.observations.arrivals.len() as u64,
            },
            production: production.observations,
            baseline: first.observations,
            baseline_again: again.observations,
            candidate: changed.observations,
            run,
            notes,
        })
    }
}

/// Makes the report's folder, which must not hold anything.
pub(crate) fn prepare(out: &Path) -> Result<(), Failure> {
    let attempt = || format!("cannot use `{}` for a report", out.display());
    let environment =
        |error: std::io::Error| Failure::of(ExitCode::Environment, &error).during(attempt());
    fs::create_dir_all(out).map_err(environment)?;
    if fs::read_dir(out).map_err(environment)?.next().is_some() {
        return Err(Failure::new(
            ExitCode::Environment,
            format!("`{}` is not empty", out.display()),
        )
        .during(attempt())
        .hint("choose a new folder with `--out`"));
    }
    Ok(())
}

/// Writes every form of a report; `report.json` last, so that where it is, the others are.
pub(crate) fn write(report: &Report, out: &Path) -> Result<(), Failure> {
    let files = [
        ("report.html", render::html(report)),
        ("report.md", render::markdown(report)),
        ("junit.xml", render::junit(report)),
        ("report.json", report.to_json()),
    ];
    for (name, text) in files {
        let path: PathBuf = out.join(name);
        write_whole(&path, text.as_bytes()).map_err(|error| {
            Failure::of(ExitCode::Environment, &error)
                .during(format!("cannot write `{}`", path.display()))
        })?;
    }
    Ok(())
}

/// Returns the summary with the verdict in its color.
pub(crate) fn highlighted(report: &Report, printer: &Printer) -> String {
    let text = render::terminal(report);
    let (head, last) = text.rsplit_once('\n').unwrap_or(("", &text));
    let tone = match report.verdict {
        Verdict::Go => Tone::Good,
        Verdict::NoGo => Tone::Bad,
        Verdict::NotEnoughEvidence => Tone::Warning,
    };
    format!("{head}\n{}", printer.paint(tone, last))
}

/// Returns the number of threads to use.
pub(crate) fn threads(asked: Option<usize>) -> usize {
    asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1)
}
