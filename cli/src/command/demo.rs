//! `prophecy demo`: forecasts two deployments of a sample shop, carries them out, and compares.
//!
//! Everything is real: processes, sockets, SQLite files, captured traffic, three arms for each
//! forecast, and the deployments afterwards. Only the visitors are made up.

mod production;
mod rollout;
mod shop;
mod traffic;

use std::path::Path;

use prophecy_core::{Probability, Seed};
use prophecy_datasets::Dataset;
use prophecy_predictor::outcome::{Settled, settle};
use prophecy_predictor::{Claim, Report, Verdict};
use prophecy_twin::{fit, load_system};
use serde::Serialize;

use self::traffic::Day;
use super::doctor::find_program;
use super::replay::{self, Inputs};
use super::report::{self, Forecasting, threads};
use super::runtime;
use crate::arguments::{DemoArguments, TwinArguments};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::printer::{Printer, Tone};
use crate::stop::Stop;

/// The day that is captured, and the days on which the candidates are deployed.
const CAPTURED: Day = Day { seconds: 36.0, rate_hz: 34.0 };
const DEPLOYED: Day = Day { seconds: 24.0, rate_hz: 34.0 };

/// What is deployed: the candidate's manifest, and what it is.
const CANDIDATES: [(&str, &str); 2] = [
    ("refactor.yaml", "harmless: the same behaviour in another form"),
    ("n-plus-one.yaml", "harmful: one call per item instead of one per order"),
];

/// Forecast and truth of one candidate, as JSON.
#[derive(Debug, Serialize)]
struct Deployment {
    candidate: String,
    verdict: Verdict,
    risk: u32,
    claims: Vec<Comparison>,
    promises_broken: usize,
    agrees: bool,
}

/// Forecast and truth of one claim.
#[derive(Debug, Serialize)]
struct Comparison {
    id: String,
    threshold: f64,
    unit: String,
    probability: Probability,
    forecast: [f64; 3],
    measured: f64,
    breached: bool,
    within_interval: bool,
}

/// Everything, as JSON.
#[derive(Debug, Serialize)]
struct Demonstration {
    schema: &'static str,
    seed: u64,
    deployments: Vec<Deployment>,
}

/// Runs the demo.
pub(crate) fn run(arguments: &DemoArguments, printer: &Printer) -> Result<ExitCode, Failure> {
    if find_program("mesh").is_none() {
        let message = "the sample service `mesh` is neither beside `prophecy` nor in `PATH`";
        return Err(Failure::new(ExitCode::Environment, message)
            .hint("run `make demo`, or `cargo build --release -p mesh`"));
    }
    report::prepare(&arguments.out)?;
    let shop = shop::unpack(&arguments.out.join("shop"))?;
    let runtime = runtime()?;
    let (deployments, as_hoped) = runtime.block_on(async {
        let stop = Stop::listen().map_err(|error| Failure::of(ExitCode::Environment, &error))?;
        let deployments = demonstrate(arguments, &shop, &stop, printer).await?;
        let seed = Seed(arguments.seed);
        let stage = rollout::Stage { out: &arguments.out, shop: &shop, seed, stop: &stop, printer };
        Ok::<_, Failure>((deployments, stage.roll_out().await?))
    })?;
    let agree = as_hoped && deployments.iter().all(|deployment| deployment.agrees);
    let mut human =
        deployments.iter().map(|deployment| render(deployment, printer)).collect::<String>();
    human.push_str(if agree {
        "the forecast was right about both deployments, and so were the rollouts"
    } else {
        "the forecast and what happened differ; see above"
    });
    let demonstration =
        Demonstration { schema: "prophecy.demo/1", seed: arguments.seed, deployments };
    printer.data(&human, &demonstration);
    printer.say(&format!(
        "the pages: `{0}/report-…/report.html`, `{0}/accuracy.html`; as a dashboard: `prophecy serve --store sqlite:{0}/prophecy.db --environment {0}/environment`",
        arguments.out.display()
    ));
    Ok(if agree { ExitCode::Done } else { ExitCode::No })
}

async fn demonstrate(
    arguments: &DemoArguments,
    shop: &Path,
    stop: &Stop,
    printer: &Printer,
) -> Result<Vec<Deployment>, Failure> {
    let seed = Seed(arguments.seed);
    let out = &arguments.out;
    let baseline = shop.join("system.yaml");
    let captured = out.join("production");
    printer
        .say("1. a shop of four services runs as production; its traffic is captured, sanitized");
    let day = production::Deployment {
        system: &load_system(&baseline)?,
        dataset: &captured,
        logs: &out.join("logs/production"),
    };
    day.run(&traffic::requests(CAPTURED, seed), "capturing", stop, printer).await?;
    let mut deployments = Vec::new();
    for (step, (manifest, what)) in CANDIDATES.into_iter().enumerate() {
        let name = manifest.trim_end_matches(".yaml");
        let candidate = shop.join(manifest);
        printer.say(&format!("\n{}. {name} ({what}): forecast", 2 * step + 2));
        let twin = TwinArguments {
            dataset: captured.clone(),
            baseline: baseline.clone(),
            candidate: candidate.clone(),
            speed: 1.0,
            limit: None,
            allow: Vec::new(),
        };
        let report_folder = out.join(format!("report-{name}"));
        let report = foretell(&twin, &report_folder, seed, stop, printer).await?;
        printer.say(&report::highlighted(&report, printer));
        printer.say(&format!(
            "\n{}. {name}: deployed to production, under another day's traffic",
            2 * step + 3
        ));
        let dataset = out.join(format!("outcome-{name}"));
        let system = load_system(&candidate)?;
        let logs = out.join("logs").join(name);
        let deployment = production::Deployment { system: &system, dataset: &dataset, logs: &logs };
        let another_day = traffic::requests(DEPLOYED, seed.derive("another day"));
        deployment.run(&another_day, "deployed", stop, printer).await?;
        let outcome = fit::observe(&Dataset::open(&dataset)?, &system.system, 0)?.observations;
        let settled =
            report.claims.iter().filter_map(|claim| Some((claim, settle(claim, &outcome)?)));
        deployments.push(Deployment::of(name, &report, settled.collect()));
    }
    Ok(deployments)
}

async fn foretell(
    twin: &TwinArguments,
    out: &Path,
    seed: Seed,
    stop: &Stop,
    printer: &Printer,
) -> Result<Report, Failure> {
    let inputs = Inputs::read(twin)?;
    report::prepare(out)?;
    let run = out.join("run");
    replay::replay(&inputs, twin, &run, seed, stop, printer).await?;
    let forecasting = Forecasting {
        inputs: &inputs,
        run: &run,
        seed,
        draws: 64,
        replications: 8,
        threads: threads(None),
        max_risk: Probability::clamped(0.2),
    };
    let report = tokio::task::block_in_place(|| forecasting.report(printer))?;
    report::write(&report, out)?;
    Ok(report)
}

fn render(deployment: &Deployment, printer: &Printer) -> String {
    let (tone, verdict) = match deployment.verdict {
        Verdict::Go => (Tone::Good, "go"),
        Verdict::NoGo => (Tone::Bad, "no_go"),
        Verdict::NotEnoughEvidence => (Tone::Warning, "not_enough_evidence"),
    };
    let mut text = format!(
        "\n{}: forecast {} (risk {}); deployed, it broke {} of {} promises\n",
        deployment.candidate,
        printer.paint(tone, verdict),
        deployment.risk,
        deployment.promises_broken,
        deployment.claims.len()
    );
    text.push_str("  claim                                        bound   chance   forecast (90 %)          truth\n");
    for claim in &deployment.claims {
        let (scale, unit) = if claim.unit == "ms" { (1.0, "ms") } else { (100.0, "%") };
        let number = |value: f64| format!("{:.1}", scale * value);
        let [lo, mid, hi] = claim.forecast.map(number);
        text.push_str(&format!(
            "  {:42} {:>5} {unit:2} {:>5.0} %   {:>6} ({lo} – {hi})  {:>12} {unit:2} {}{}\n",
            claim.id,
            number(claim.threshold),
            100.0 * claim.probability.get(),
            mid,
            number(claim.measured),
            if claim.breached { "broken" } else { "kept" },
            if claim.within_interval { "" } else { ", outside the interval" },
        ));
    }
    text.push('\n');
    text
}

// === impl Deployment ===

impl Deployment {
    fn of(name: &str, report: &Report, settled: Vec<(&Claim, Settled)>) -> Self {
        let broken = settled.iter().filter(|(_, settled)| settled.breached).count();
        let agrees = match report.verdict {
            Verdict::Go => broken == 0,
            Verdict::NoGo => broken > 0,
            Verdict::NotEnoughEvidence => false,
        };
        let claims = settled.into_iter().map(|(claim, settled)| Comparison {
            id: claim.id.clone(),
            threshold: claim.threshold,
            unit: claim.unit.clone(),
            probability: claim.probability,
            forecast: [claim.candidate.p5, claim.candidate.p50, claim.candidate.p95],
            measured: settled.measured,
            breached: settled.breached,
            within_interval: claim.candidate.p5 <= settled.measured
                && settled.measured <= claim.candidate.p95,
        });
        Self {
            candidate: name.to_owned(),
            verdict: report.verdict,
            risk: report.risk.score,
            claims: claims.collect(),
            promises_broken: broken,
            agrees,
        }
    }
}
