//! What can be set about a rollout: `rollout.yaml`, every field with a default.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use prophecy_core::system::{ByteSize, Share, Span};
use prophecy_core::{Probability, Timestamp};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::hook::{HookConfigError, HookSpec};
use crate::instant;
use crate::metric::{Metric, MetricError};
use crate::migration::Reversal;
use crate::window::{ParseWindowError, Window, WindowSpec};

/// What can be set about a rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How long each step is observed at least.
    pub observe: Span,
    /// How long after a shift nothing is judged.
    pub settle: Span,
    /// How long the previous build is kept warm after the candidate has everything.
    pub soak: Span,
    /// How long requests in flight may take to end before what serves them is ended.
    pub drain: Span,
    /// The steps, from 1, before which somebody has to say so.
    pub confirm: BTreeSet<u32>,
    /// What is asked of the forecast.
    pub gate: Gate,
    /// How the arms are compared.
    pub analysis: Analysis,
    /// When a rollout that makes no progress is given up.
    pub deadlines: Deadlines,
    /// When health alone ends it.
    pub health: Health,
    /// When rollouts may begin.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<WindowSpec>,
    /// Who has to agree before anything is started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approvals: Option<Approvals>,
    /// Who is asked or told on the way.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<HookSpec>,
    /// What is done to the data before the candidate starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub migration: Option<Migration>,
    /// What other systems are asked about the arms.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<Metric>,
    /// Who is to know.
    pub people: People,
}

/// Who has to agree before anything is started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approvals {
    /// How many people.
    pub required: u32,
    /// The file with their public keys.
    pub keys: PathBuf,
    /// Whether whoever asked for the rollout may be one of them.
    #[serde(default)]
    pub own: bool,
}

/// What is done to the data before the candidate starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Migration {
    /// The program and its arguments; run again after a crash, so it must bear that.
    pub command: Vec<String>,
    /// Whether what ran before can run on what it leaves.
    #[serde(default)]
    pub rollback: Reversal,
    /// How long it may take.
    #[serde(default = "five_minutes")]
    pub within: Span,
}

/// What is asked of the forecast.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gate {
    /// The highest risk score that may pass.
    pub max_risk: f64,
    /// Whether a rollout without a forecast is refused.
    pub required: bool,
    /// Why a verdict other than `go` is passed over, and by whom; on record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pass_over: Option<String>,
    /// When it may begin at the earliest.
    #[serde(with = "instant::optional", skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Whether it waits until freeze windows are open, instead of being refused.
    pub wait: bool,
}

/// How the arms are compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Analysis {
    /// The probability that a healthy candidate is stopped by chance, over the whole rollout.
    pub alpha: Probability,
    /// How sure a pass has to be that the candidate is within the tolerances, at any time.
    pub confidence: Probability,
    /// Requests on each arm below which a step is not passed.
    pub minimum_requests: u64,
    /// By how much the error rate may be higher than the control's.
    pub errors: Share,
    /// By how much a latency quantile may be higher than the control's, relatively.
    pub latency: Share,
    /// By how much the candidate may use more than the control of what is sampled each second, relatively.
    pub gauges: Share,
    /// By how much what can leak may grow beside the control's in an hour, relatively.
    pub growth: Share,
    /// What the candidate must not use more of, whatever the control uses.
    pub ceilings: Ceilings,
    /// Checks of gauges and metrics without which nothing passes, by name.
    pub needed: BTreeSet<String>,
    /// What happens if a step stays undecided after having been extended once.
    pub undecided: Undecided,
    /// Checks that are made and never decide, by name.
    pub dry_run: BTreeSet<String>,
    /// Whether a candidate outside of its forecast is stopped though it keeps its promises.
    pub forecast: bool,
}

/// What a candidate must not use more of, over all of its processes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ceilings {
    /// Processor time, in cores.
    pub cpu_cores: Option<f64>,
    /// Resident memory.
    pub memory_bytes: Option<ByteSize>,
    /// Open descriptors.
    pub descriptors: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
}

/// What happens with a step that stays undecided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Undecided {
    /// Somebody has to say.
    Pause,
    /// The rollout is given up.
    RollBack,
}

/// When a rollout that makes no progress is given up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Deadlines {
    /// Starting the candidate.
    pub provisioning: Span,
    /// Moving the traffic of a step.
    pub shifting: Span,
    /// Waiting for somebody.
    pub paused: Span,
    /// Giving up: after it, somebody is paged.
    pub abort: Span,
}

/// When health alone ends a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Health {
    /// How often every instance is asked.
    pub every: Span,
    /// Failed checks in a row that end the rollout.
    pub failures: u32,
}

/// Who is to know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct People {
    /// Who decides about a rollback by hand.
    pub owner: String,
    /// Who is told when it starts and ends, and where.
    pub team: String,
    /// Who is told afterwards.
    pub stakeholders: String,
    /// Who is paged when a rollback fails.
    pub on_call: String,
}

/// Why settings were refused.
#[derive(Debug, Error)]
pub enum ReadSettingsError {
    /// The text does not fit the format.
    #[error("the settings do not fit the format: {message}")]
    Format {
        /// What does not fit.
        message: String,
    },
    /// A freeze window cannot be used; one that is left out would let through what it should stop.
    #[error("cannot use the freeze windows")]
    Window(#[source] Box<ParseWindowError>),
    /// A hook cannot be used.
    #[error("cannot use the hooks")]
    Hook(#[from] HookConfigError),
    /// A metric cannot be used.
    #[error("cannot use the metrics")]
    Metric(#[from] MetricError),
    /// A number is out of range.
    #[error("`{place}` is {found}; it needs {expected}")]
    Range {
        /// Which field.
        place: &'static str,
        /// What was found.
        found: String,
        /// What was expected.
        expected: &'static str,
    },
}

// === impl Settings ===

impl Settings {
    /// Parses `rollout.yaml`.
    ///
    /// # Errors
    ///
    /// Each variant of [`ReadSettingsError`].
    pub fn from_yaml(text: &str) -> Result<Self, ReadSettingsError> {
        let format = |message: String| ReadSettingsError::Format { message };
        let settings: Self = serde_saphyr::from_str(text).map_err(|error| {
            // What is wrong may be a secret that was written where it does not belong.
            let place = error.location();
            let place = place.map(|it| format!("line {}, column {}", it.line(), it.column()));
            match place.filter(|_| text.contains("hooks")) {
                Some(place) => format(format!("{place} is not what is expected there")),
                None => format(error.to_string()),
            }
        })?;
        settings.check()?;
        Ok(settings)
    }

    /// Checks what the types cannot.
    ///
    /// # Errors
    ///
    /// [`ReadSettingsError::Range`].
    pub fn check(&self) -> Result<(), ReadSettingsError> {
        let range = |place, found: String, expected| {
            Err(ReadSettingsError::Range { place, found, expected })
        };
        if !(0.0..=100.0).contains(&self.gate.max_risk) {
            return range("gate.max_risk", self.gate.max_risk.to_string(), "0 to 100");
        }
        let alpha = self.analysis.alpha.get();
        if !(1e-9..=0.2).contains(&alpha) {
            return range("analysis.alpha", alpha.to_string(), "1e-9 to 0.2");
        }
        let confidence = self.analysis.confidence.get();
        if !(0.5..=0.9999).contains(&confidence) {
            return range("analysis.confidence", confidence.to_string(), "0.5 to 0.9999");
        }
        if self.health.failures == 0 {
            return range("health.failures", "0".to_owned(), "at least 1");
        }
        if self.health.every.0 < Duration::from_millis(50) {
            return range("health.every", format!("{:?}", self.health.every.0), "at least 50ms");
        }
        if self.confirm.contains(&0) {
            return range("confirm", "0".to_owned(), "steps from 1");
        }
        if self.migration.as_ref().is_some_and(|migration| migration.command.is_empty()) {
            return range("migration.command", "empty".to_owned(), "a program");
        }
        self.check_metrics()?;
        self.checked_windows()?;
        for hook in &self.hooks {
            hook.clone().open()?;
        }
        Ok(())
    }
}

impl Settings {
    fn check_metrics(&self) -> Result<(), ReadSettingsError> {
        let range = |place, found: &str, expected| {
            Err(ReadSettingsError::Range { place, found: found.to_owned(), expected })
        };
        let mut names = BTreeSet::new();
        for metric in &self.metrics {
            metric.check()?;
            if !names.insert(&metric.name) {
                return range("metrics", &metric.name, "each name once");
            }
        }
        let cores = self.analysis.ceilings.cpu_cores;
        if cores.is_some_and(|cores| !cores.is_finite() || cores <= 0.0) {
            return range("analysis.ceilings.cpu_cores", "no number above zero", "one");
        }
        // Nothing ever shows that something will not grow.
        let kinds = ["gauge/", "ceiling/", "metric/"];
        let odd = |name: &&String| !kinds.iter().any(|kind| name.starts_with(kind));
        match self.analysis.needed.iter().find(odd) {
            Some(name) => {
                range("analysis.needed", name, "names of `gauge/`, `ceiling/` or `metric/`")
            }
            None => Ok(()),
        }
    }

    /// Returns the freeze windows, checked.
    ///
    /// # Errors
    ///
    /// [`ReadSettingsError::Window`].
    pub fn checked_windows(&self) -> Result<Vec<Window>, ReadSettingsError> {
        let windows = self.windows.iter().cloned().map(Window::try_from);
        windows
            .collect::<Result<_, _>>()
            .map_err(|error| ReadSettingsError::Window(Box::new(error)))
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            observe: seconds(60),
            settle: seconds(3),
            soak: seconds(60),
            drain: seconds(30),
            confirm: BTreeSet::new(),
            gate: Gate::default(),
            analysis: Analysis::default(),
            deadlines: Deadlines::default(),
            health: Health::default(),
            windows: Vec::new(),
            approvals: None,
            hooks: Vec::new(),
            migration: None,
            metrics: Vec::new(),
            people: People::default(),
        }
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self { max_risk: 20.0, required: false, pass_over: None, not_before: None, wait: false }
    }
}

impl Default for Analysis {
    fn default() -> Self {
        Self {
            alpha: Probability::clamped(0.01),
            confidence: Probability::clamped(0.95),
            minimum_requests: 200,
            errors: Share(Probability::clamped(0.01)),
            latency: Share(Probability::clamped(0.2)),
            gauges: Share(Probability::clamped(0.5)),
            growth: Share(Probability::clamped(0.5)),
            ceilings: Ceilings::default(),
            needed: BTreeSet::new(),
            undecided: Undecided::Pause,
            dry_run: BTreeSet::new(),
            forecast: true,
        }
    }
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            provisioning: seconds(300),
            shifting: seconds(60),
            paused: seconds(24 * 3_600),
            abort: seconds(120),
        }
    }
}

impl Default for Health {
    fn default() -> Self {
        Self { every: seconds(1), failures: 3 }
    }
}

fn five_minutes() -> Span {
    seconds(300)
}

fn seconds(count: u64) -> Span {
    Span(Duration::from_secs(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_has_a_default_and_nothing_unknown_passes() {
        assert_eq!(Settings::from_yaml("{}").expect("defaults"), Settings::default());
        let text = "observe: 10s\nanalysis: { alpha: 0.05, undecided: roll_back }\n";
        let settings = Settings::from_yaml(text).expect("fits");
        assert_eq!(settings.observe, seconds(10));
        assert_eq!(settings.analysis.undecided, Undecided::RollBack);
        assert_eq!(settings.analysis.minimum_requests, 200);
        for bad in [
            "observ: 10s",
            "observe: 10",
            "gate: { max_risk: 101 }",
            "analysis: { alpha: 0.5 }",
            "confirm: [0]",
            "analysis: { needed: [growth/memory] }",
            "analysis: { ceilings: { cpu_cores: 0 } }",
            "metrics: [{ name: a, provider: { prometheus: 'http://127.0.0.1' }, query: up }]",
        ] {
            assert!(Settings::from_yaml(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn settings_survive_being_written() {
        let text = serde_json::to_string(&Settings::default()).expect("plain data");
        assert_eq!(
            serde_json::from_str::<Settings>(&text).expect("as written"),
            Settings::default()
        );
    }
}
