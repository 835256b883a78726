//! The plan as a document for people, in Markdown.

use std::fmt::Write;

use prophecy_core::Timestamp;
use prophecy_predictor::report::Metric;

use super::{Expectation, Plan};
use crate::judge::{Control, Gauge, JudgeOptions};
use crate::settings::Undecided;
use crate::strategy::{Stage, Strategy, Weight};

/// Renders the deployment plan: what, when, step by step, what ends it, how to go back, who is told.
pub fn markdown(plan: &Plan) -> String {
    let mut text = String::new();
    let mut section = |part: String| {
        text.push_str(part.trim_end());
        text.push_str("\n\n");
    };
    section(format!("# Deployment plan: {} to {}", plan.system, plan.environment));
    section(info(plan));
    section(components(plan));
    section(checklist(plan));
    section(steps(plan));
    section(monitoring(plan));
    section(rollback(plan));
    section(communication(plan));
    section(afterwards());
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut text = format!("| {} |\n|{}\n", head.join(" | "), " --- |".repeat(head.len()));
    for row in rows {
        let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
        writeln!(text, "| {} |", cells.join(" | ")).expect("to a string");
    }
    text
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.into_iter().map(str::to_owned).collect()
}

fn info(plan: &Plan) -> String {
    let forecast = plan.forecast.as_ref().map_or("none".to_owned(), |it| {
        let [lo, hi] = it.interval;
        format!(
            "{}, risk {} of 100 (90 % interval {:.0}–{:.0})",
            it.verdict.as_str(),
            it.risk,
            100.0 * lo,
            100.0 * hi
        )
    });
    let duration: u64 = plan.stages.iter().map(|stage| stage.observe.0.as_secs()).sum();
    let soak = plan.settings.soak.0.as_secs();
    let rows = [
        row(["Rollout", &plan.id]),
        row(["Environment", &plan.environment]),
        row(["Made", &Timestamp(plan.created_at).to_string()]),
        row(["Strategy", plan.strategy.name()]),
        row(["Takes at least", &format!("{duration} s of steps, {soak} s of soak")]),
        row(["Forecast", &forecast]),
        row(["Rollback owner", known(&plan.settings.people.owner)]),
        row(["Plan digest", &format!("`{}`", &plan.digest()[..16])]),
    ];
    format!("## Deployment info\n\n{}", table(&["Attribute", "Value"], &rows))
}

fn known(text: &str) -> &str {
    if text.is_empty() { "not named" } else { text }
}

fn components(plan: &Plan) -> String {
    let version = |digest: Option<&String>| {
        digest.map_or("none".to_owned(), |digest| format!("`{}`", &digest[..12.min(digest.len())]))
    };
    let before = version(plan.previous.as_ref().map(|build| &build.digest));
    let after = version(Some(&plan.candidate.digest));
    let rows: Vec<Vec<String>> = plan
        .components
        .iter()
        .map(|it| row([&it.service, &before, &after, &it.changes.join(", ")]))
        .collect();
    let mut text = format!(
        "## What is being deployed\n\n{}",
        table(&["Component", "Current", "New", "Changes"], &rows)
    );
    let carried: Vec<&str> = plan
        .replaced
        .iter()
        .filter(|name| plan.components.iter().all(|it| it.service != **name))
        .map(String::as_str)
        .collect();
    if !carried.is_empty() {
        write!(
            text,
            "\nStarted anew beside them, unchanged, because they call what changes: {}.\n",
            carried.join(", ")
        )
        .expect("to a string");
    }
    if !plan.removed.is_empty() {
        let removed: Vec<&str> = plan.removed.iter().map(String::as_str).collect();
        writeln!(text, "\nNo longer there: {}.", removed.join(", ")).expect("to a string");
    }
    text
}

fn checklist(plan: &Plan) -> String {
    let gate = &plan.settings.gate;
    let forecast = match (&plan.forecast, gate.required) {
        (Some(_), _) => format!("the forecast is `go` and its risk at most {:.0}", gate.max_risk),
        (None, true) => "a forecast is there (it is required, and there is none)".to_owned(),
        (None, false) => "no forecast was asked for".to_owned(),
    };
    format!(
        "## Before\n\nChecked by the executor:\n\n- [ ] {forecast}\n- [ ] no freeze window is closed\n- [ ] approvals are there \
         and bound to this plan\n- [ ] the hooks `confirm-rollout` and `pre-rollout` agree\n- [ ] what runs now is healthy: it is what a rollback goes \
         back to\n- [ ] the candidate's instances are ready\n\nBy people:\n\n- [ ] tests pass, the change is reviewed\n- [ ] {} know\n- [ ] on call: {}\n",
        known(&plan.settings.people.team),
        known(&plan.settings.people.on_call)
    )
}

fn steps(plan: &Plan) -> String {
    let mut rows = Vec::new();
    let mut elapsed = 0;
    for stage in &plan.stages {
        rows.push(vec![
            (stage.index + 1).to_string(),
            format!("T+{elapsed} s"),
            action(plan, stage),
            success(plan, stage),
            triggers(plan),
        ]);
        elapsed += plan.settings.settle.0.as_secs() + stage.observe.0.as_secs();
    }
    let number = plan.stages.len() + 1;
    if plan.strategy.promotes() {
        rows.push(vec![
            number.to_string(),
            format!("T+{elapsed} s"),
            "100 % to the candidate; wait until nothing is in flight on what ran before".to_owned(),
            "every instance healthy".to_owned(),
            triggers(plan),
        ]);
        rows.push(vec![
            (number + 1).to_string(),
            format!("T+{elapsed} s"),
            format!("soak for {} s; what ran before stays warm", plan.settings.soak.0.as_secs()),
            "promises kept, forecast not left".to_owned(),
            triggers(plan),
        ]);
    } else {
        rows.push(vec![
            number.to_string(),
            format!("T+{elapsed} s"),
            "take the candidate down; no client has met it".to_owned(),
            "what runs now serves as before".to_owned(),
            "none needed".to_owned(),
        ]);
    }
    let head = ["Step", "Time", "Action", "Success criteria", "Rollback trigger"];
    format!("## Rollout\n\n{}", table(&head, &rows))
}

fn action(plan: &Plan, stage: &Stage) -> String {
    let mut text = match &plan.strategy {
        Strategy::Shadow { .. } => {
            format!("copy {} of the requests to the candidate", stage.mirrored)
        }
        Strategy::Ab { select: Some(_), .. } => "the chosen group meets the candidate".to_owned(),
        _ => format!("{} to the candidate", stage.weight),
    };
    if stage.control > Weight::ZERO {
        write!(text, ", {} to a fresh copy of what runs now", stage.control).expect("to a string");
    }
    if let Some(instances) = stage.instances {
        write!(text, " on {instances} instance(s)").expect("to a string");
    }
    if stage.confirm {
        text.push_str("; somebody has to say so first");
    }
    text
}

fn success(plan: &Plan, stage: &Stage) -> String {
    if !stage.compared {
        return "every instance healthy".to_owned();
    }
    let analysis = &plan.settings.analysis;
    format!(
        "at least {} requests on each arm in {} s; error rate shown to be at most {:.1} points, latency at most {:.0} % above the control's",
        analysis.minimum_requests,
        stage.observe.0.as_secs(),
        100.0 * analysis.errors.0.get(),
        100.0 * analysis.latency.0.get()
    )
}

fn triggers(plan: &Plan) -> String {
    let health = &plan.settings.health;
    let undecided = match plan.settings.analysis.undecided {
        Undecided::Pause => "undecided twice pauses",
        Undecided::RollBack => "undecided twice",
    };
    let forecast = if plan.forecast.is_some() && plan.settings.analysis.forecast {
        ", outside of the forecast"
    } else {
        ""
    };
    format!(
        "worse than the control or a promise broken (anytime-valid, {:.1} % false alarms per rollout){forecast}, {} failed health checks in a row; {undecided}",
        100.0 * plan.settings.analysis.alpha.get(),
        health.failures
    )
}

fn monitoring(plan: &Plan) -> String {
    let expected = |route: &str, metric: Metric| {
        let expectations = plan.forecast.iter().flat_map(|it| &it.expectations);
        let mut of_entry = expectations.filter(|it| it.service == plan.entry);
        of_entry
            .find(|it| it.route == route && it.metric == metric)
            .map_or("not foretold".to_owned(), interval_words)
    };
    let rows: Vec<Vec<String>> = plan
        .promises
        .iter()
        .map(|promise| {
            vec![
                format!("{} of `{}`", promise.metric.words(), promise.route),
                expected(&promise.route, promise.metric),
                value(promise.metric, promise.bound),
            ]
        })
        .collect();
    let sampled = sampled(plan);
    if rows.is_empty() {
        return format!(
            "## Monitoring\n\nNothing is promised in the manifest's `slo`; the arms are compared with each other.\n{sampled}"
        );
    }
    format!(
        "## Monitoring\n\n{}{sampled}",
        table(&["Metric", "Expected (90 %)", "Ends the rollout above"], &rows)
    )
}

/// Says what is sampled beside what clients meet.
fn sampled(plan: &Plan) -> String {
    let is_copied = plan.stages.iter().any(Stage::has_copy);
    let control = if is_copied { Control::Copy } else { Control::Before };
    let is_reported = |name: &String| !JudgeOptions::dry_run_of(plan).contains(name);
    let rows: Vec<Vec<String>> = Gauge::of(plan, control)
        .into_iter()
        .filter(|gauge| is_reported(&gauge.name))
        .map(|gauge| vec![format!("`{}`", gauge.name), gauge.words()])
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    format!("\n{}", table(&["Sampled", "Ends the rollout if it is"], &rows))
}

fn interval_words(expectation: &Expectation) -> String {
    let [lo, hi] = expectation.interval;
    format!("{} – {}", value(expectation.metric, lo), value(expectation.metric, hi))
}

fn value(metric: Metric, value: f64) -> String {
    match metric.unit() {
        "share" => format!("{:.2} %", 100.0 * value),
        unit if value < 99.5 => format!("{value:.1} {unit}"),
        unit => format!("{value:.0} {unit}"),
    }
}

fn rollback(plan: &Plan) -> String {
    let Some(previous) = &plan.previous else {
        return "## Rollback\n\nThis is the first deployment: there is nothing to go back to.\n"
            .to_owned();
    };
    format!(
        "## Rollback\n\n**Trigger:** any of the above, or `prophecy rollout abort {id}`.\n\n1. Ask what ran before (`{digest}`) whether it is healthy\n\
         2. Send all traffic there; it is warm until the soak ends\n3. Wait until nothing is in flight on the candidate, at most {drain} s\n\
         4. Prove that it serves\n5. End the candidate; keep its output and the evidence\n6. Mark the candidate as rejected\n\n\
         **Recovery time objective:** traffic is back within 2 s; the whole within {abort} s, or somebody is paged.\n",
        id = plan.id,
        digest = &previous.digest[..12.min(previous.digest.len())],
        drain = plan.settings.drain.0.as_secs(),
        abort = plan.settings.deadlines.abort.0.as_secs()
    )
}

fn communication(plan: &Plan) -> String {
    let people = &plan.settings.people;
    let rows = [
        row([known(&people.team), "before and after", "event hooks", "rollout started, ended"]),
        row([
            known(&people.stakeholders),
            "after",
            "event hooks",
            "what became of it, and of the forecast",
        ]),
        row([
            known(&people.on_call),
            "if a rollback fails",
            "page",
            "neither build is known to serve",
        ]),
    ];
    format!("## Communication\n\n{}", table(&["Audience", "When", "Channel", "Message"], &rows))
}

fn afterwards() -> String {
    "## Afterwards\n\n- [ ] the outcome is settled against the forecast\n- [ ] documentation is up to date\n- [ ] a retrospective, if it was rolled back\n"
        .to_owned()
}
