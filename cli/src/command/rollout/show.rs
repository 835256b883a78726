//! What a rollout looks like on a terminal.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use prophecy_core::Timestamp;
use prophecy_runner::State;
use prophecy_runner::abort::Ended;
use prophecy_runner::environment::EnvironmentFolder;
use prophecy_runner::executor::Observer;
use prophecy_runner::journal::{self, Entry};
use prophecy_runner::judge::{Finding, Judgement};
use prophecy_runner::outcome::{self, Outcome};
use prophecy_runner::plan::Plan;
use serde::Serialize;

use super::find;
use crate::arguments::RolloutName;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::printer::{Printer, Tone};

/// Looks between two lines about a comparison.
const LOOKS: u32 = 10;

/// Tells a person at a terminal.
#[derive(Debug)]
pub(super) struct Terminal {
    printer: Printer,
    looks: Mutex<u32>,
}

/// A rollout, as JSON.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    schema: &'static str,
    id: &'a str,
    revision: u64,
    #[serde(flatten)]
    state: State,
    status: &'static str,
    reason: &'a str,
    journal: &'a [Entry],
    outcome: Option<Outcome>,
}

// === impl Terminal ===

impl Terminal {
    pub(super) fn new(printer: &Printer) -> Self {
        Self { printer: printer.clone(), looks: Mutex::new(0) }
    }
}

impl Observer for Terminal {
    fn reached(&self, plan: &Plan, entry: &Entry) {
        *self.looks.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = 0;
        self.printer.say(&line(plan, entry, &self.printer));
    }

    fn judged(&self, _plan: &Plan, _stage: u32, judgement: &Judgement) {
        let mut looks = self.looks.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *looks += 1;
        if looks.is_multiple_of(LOOKS) {
            self.printer.say(&format!("           {}", judged(judgement)));
        }
    }

    fn noted(&self, _plan: &Plan, words: &str) {
        self.printer.say(&format!("           {words}"));
    }
}

/// One line about a state.
fn line(plan: &Plan, entry: &Entry, printer: &Printer) -> String {
    let at = Timestamp(entry.at).to_string();
    let clock = &at[11..19];
    let share = entry.state.stage().and_then(|stage| plan.stages.get(stage as usize));
    let share = match (entry.state, share) {
        (State::Shifting { .. }, Some(stage)) => format!(" {}", stage.weight),
        _ => String::new(),
    };
    let tone = match entry.state {
        State::Succeeded => Tone::Good,
        State::Aborting | State::RollbackFailed => Tone::Bad,
        State::Paused { .. } | State::RolledBack => Tone::Warning,
        _ => Tone::Accent,
    };
    let by = if entry.actor.is_empty() { String::new() } else { format!(" ({})", entry.actor) };
    let name = printer.paint(tone, &format!("{}{share}", entry.state));
    format!("  {clock} {name}: {}{by}", entry.reason)
}

/// A comparison in one line.
fn judged(judgement: &Judgement) -> String {
    let [control, candidate] = judgement.requests;
    let words = judgement.checks.iter().filter(|it| it.needed || it.finding == Finding::Fail);
    let words: Vec<String> = words
        .map(|it| {
            let found = match it.finding {
                Finding::Pass => "pass",
                Finding::Fail => "FAIL",
                Finding::Inconclusive => "open",
                Finding::NoData => "no data",
            };
            format!("{} {found}", it.name)
        })
        .collect();
    if words.is_empty() {
        return format!("{candidate} requests, no promise broken");
    }
    format!("{candidate} requests beside {control}: {}", words.join(", "))
}

/// Says where a rollout is.
pub(super) fn status(name: &RolloutName, printer: &Printer) -> Result<ExitCode, Failure> {
    let (folder, id) = find(name)?;
    let path = folder.rollout(&id);
    let plan = read_plan(&path)?;
    let entries =
        journal::entries(&path).map_err(|error| Failure::of(ExitCode::Environment, &error))?;
    let mut human = format!(
        "rollout {id}: {} of {} to {}\n",
        plan.strategy.name(),
        plan.system,
        plan.environment
    );
    for entry in &entries {
        human.push_str(&line(&plan, entry, printer));
        human.push('\n');
    }
    let outcome = outcome::read(&path);
    if let Some(outcome) = &outcome {
        human.push_str(&compared(outcome));
    }
    let state = entries.last().map_or(State::Queued, |entry| entry.state);
    let moved =
        entries.iter().any(|it| matches!(it.state, State::Shifting { .. } | State::Promoting));
    human.push_str(&format!("{state}, revision {}", entries.len()));
    let status = Shown {
        schema: "prophecy.rollout/1",
        id: &id,
        revision: entries.last().map_or(0, |entry| entry.revision),
        state,
        status: state.public_status(moved).as_str(),
        reason: entries.last().map_or("", |entry| entry.reason.as_str()),
        journal: &entries,
        outcome,
    };
    printer.data(&human, &status);
    Ok(ExitCode::Done)
}

/// Says which rollouts there were.
pub(super) fn list(environment: &Path, printer: &Printer) -> Result<ExitCode, Failure> {
    let folder = EnvironmentFolder::new(environment);
    let mut human = String::new();
    let mut all = Vec::new();
    for id in folder.rollouts()? {
        let path = folder.rollout(&id);
        let Ok(plan) = read_plan(&path) else { continue };
        let entries = journal::entries(&path).unwrap_or_default();
        let state = entries.last().map_or(State::Queued, |entry| entry.state);
        let why = entries.iter().find(|it| it.state == State::Aborting).or(entries.last());
        let why = why.map_or("", |entry| entry.reason.as_str());
        human.push_str(&format!("{id:20} {:10} {:16} {why}\n", plan.strategy.name(), state.name()));
        all.push(serde_json::json!({
            "id": id, "strategy": plan.strategy.name(), "state": state.name(), "reason": why,
        }));
    }
    if all.is_empty() {
        human.push_str("nothing was rolled out here");
    }
    printer.data(&human, &serde_json::json!({ "schema": "prophecy.rollouts/1", "rollouts": all }));
    Ok(ExitCode::Done)
}

/// Waits for the end of a rollout that another process carries out.
pub(super) fn wait(
    folder: &EnvironmentFolder,
    id: &str,
    printer: &Printer,
) -> Result<ExitCode, Failure> {
    let path = folder.rollout(id);
    let plan = read_plan(&path)?;
    let until =
        std::time::Instant::now() + plan.settings.deadlines.abort.0 + Duration::from_secs(30);
    while std::time::Instant::now() < until {
        let entries = journal::entries(&path).unwrap_or_default();
        if let Some(last) = entries.last().filter(|entry| entry.state.is_final()) {
            let ended = Ended { state: last.state, notes: Vec::new() };
            return Ok(self::ended(folder, id, &ended, printer));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(Failure::new(ExitCode::Environment, format!("rollout `{id}` does not come to its end")))
}

/// Says how a rollout ended.
pub(super) fn ended(
    folder: &EnvironmentFolder,
    id: &str,
    ended: &Ended,
    printer: &Printer,
) -> ExitCode {
    let path = folder.rollout(id);
    let entries = journal::entries(&path).unwrap_or_default();
    let outcome = outcome::read(&path);
    let gate = entries
        .iter()
        .find_map(|entry| Some(entry.evidence.as_ref()?.get("gate")?.as_str()?.to_owned()));
    let code = match (ended.state, gate.as_deref()) {
        (State::Succeeded, _) => ExitCode::Done,
        (_, Some("not_enough_evidence")) => ExitCode::NotEnoughEvidence,
        (_, Some(_)) => ExitCode::No,
        _ => ExitCode::RolledBack,
    };
    let why = entries.iter().find(|it| it.state == State::Aborting).or(entries.last());
    let why = why.map_or("", |entry| entry.reason.as_str());
    let mut human = outcome.as_ref().map(compared).unwrap_or_default();
    let tone = if code == ExitCode::Done { Tone::Good } else { Tone::Bad };
    human.push_str(&format!("{}: {why}", printer.paint(tone, ended.state.name())));
    if ended.state == State::RollbackFailed {
        human.push_str(&format!("\nneither build is known to serve: {}", ended.notes.join("; ")));
    }
    let moved =
        entries.iter().any(|it| matches!(it.state, State::Shifting { .. } | State::Promoting));
    let status = Shown {
        schema: "prophecy.rollout/1",
        id,
        revision: entries.last().map_or(0, |entry| entry.revision),
        state: ended.state,
        status: ended.state.public_status(moved).as_str(),
        reason: why,
        journal: &entries,
        outcome,
    };
    printer.data(&human, &status);
    code
}

/// What was foretold beside what clients met.
fn compared(outcome: &Outcome) -> String {
    if outcome.measures.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "  {:44} {:>19} {:>10} {:>10} {:>9}\n",
        "what clients of the candidate met", "foretold (90 %)", "measured", "promised", "requests"
    );
    for measure in &outcome.measures {
        let (scale, unit) =
            if measure.metric.unit() == "share" { (100.0, "%") } else { (1.0, "ms") };
        let number = |value: f64| format!("{:.1}", scale * value);
        let foretold = measure
            .foretold
            .map_or_else(|| "–".to_owned(), |[lo, hi]| format!("{} – {}", number(lo), number(hi)));
        let bound = measure.bound.map_or_else(|| "–".to_owned(), number);
        text.push_str(&format!(
            "  {:44} {foretold:>19} {:>7} {unit:2} {bound:>7} {unit:2} {:>8}{}\n",
            format!("{} {}", measure.route, measure.metric.words()),
            number(measure.measured),
            measure.requests,
            if measure.broken { "  broken" } else { "" }
        ));
    }
    text
}

pub(super) fn read_plan(path: &Path) -> Result<Plan, Failure> {
    let file = path.join("plan.json");
    let attempt = format!("cannot read plan `{}`", file.display());
    let text = std::fs::read_to_string(&file)
        .map_err(|error| Failure::of(ExitCode::Environment, &error).during(&attempt))?;
    serde_json::from_str(&text)
        .map_err(|error| Failure::of(ExitCode::Usage, &error).during(&attempt))
}
