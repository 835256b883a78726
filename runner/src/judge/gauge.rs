//! What is sampled on both arms rather than counted, and what it is held to.

use serde::{Deserialize, Serialize};

use super::Control;
use crate::metric::{Metric, Trigger, Worse};
use crate::plan::Plan;
use crate::usage::{CPU, DESCRIPTORS, MEMORY, MIB, THREADS};

/// What is sampled of every arm, with the unit, and the difference that never matters.
const USAGE: [(&str, &str, f64); 4] = [
    (CPU, "cores", 0.1),
    (MEMORY, "MiB", 32.0),
    (DESCRIPTORS, "descriptors", 32.0),
    (THREADS, "threads", 8.0),
];

/// What can leak.
const LEAKING: [&str; 2] = [MEMORY, DESCRIPTORS];

/// Something that is sampled, and what it is held to.
#[derive(Clone, Debug, PartialEq)]
pub struct Gauge {
    /// The name of the check.
    pub name: String,
    /// Whose samples they are.
    pub source: String,
    /// The unit of a sample.
    pub unit: String,
    /// What it is held to.
    pub rule: Rule,
}

/// What samples are held to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// The candidate's mean is not worse than the control's, by more than is tolerated.
    Beside {
        /// Which way is worse.
        worse: Worse,
        /// By which part of the control's value it may be.
        relative: f64,
        /// By how much more, in the unit.
        absolute: f64,
    },
    /// The candidate does not grow beside the control.
    Growth {
        /// By which part of the control's value it may grow in an hour.
        per_hour: f64,
        /// What has to have come together before it matters, in the unit.
        absolute: f64,
    },
    /// The candidate stays between bounds, whatever the control does.
    Within {
        /// The least that it may be.
        least: Option<f64>,
        /// The most that it may be.
        most: Option<f64>,
    },
}

/// What was seen at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Where it comes from.
    pub source: String,
    /// What control and candidate showed, where they showed something.
    pub values: [Option<f64>; 2],
    /// Why something is missing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub missing: String,
}

// === impl Gauge ===

impl Gauge {
    /// Returns what a plan asks for beside a control.
    pub(crate) fn of(plan: &Plan, control: Control) -> Vec<Self> {
        let analysis = &plan.settings.analysis;
        let mut gauges = Vec::new();
        for (source, unit, absolute) in USAGE.into_iter().filter(|_| control == Control::Copy) {
            let gauge =
                |kind: &str, rule| Self::new(format!("{kind}/{source}"), source, unit, rule);
            let relative = analysis.gauges.0.get();
            gauges.push(gauge("gauge", Rule::Beside { worse: Worse::Above, relative, absolute }));
            if LEAKING.contains(&source) {
                let per_hour = analysis.growth.0.get();
                gauges.push(gauge("growth", Rule::Growth { per_hour, absolute }));
            }
        }
        let ceilings = &analysis.ceilings;
        let most = [
            ceilings.cpu_cores,
            ceilings.memory_bytes.map(|bytes| bytes.0 as f64 / MIB),
            ceilings.descriptors.map(|count| count as f64),
            ceilings.threads.map(|count| count as f64),
        ];
        for ((source, unit, _), most) in USAGE.into_iter().zip(most) {
            if most.is_some() {
                let rule = Rule::Within { least: None, most };
                gauges.push(Self::new(format!("ceiling/{source}"), source, unit, rule));
            }
        }
        gauges.extend(plan.settings.metrics.iter().filter_map(|it| Self::of_metric(it, control)));
        gauges
    }

    /// Returns when it is a reason to stop, in words.
    pub(crate) fn words(&self) -> String {
        let unit = &self.unit;
        match self.rule {
            Rule::Beside { worse, relative, absolute } => {
                let than = if worse == Worse::Above { "more" } else { "less" };
                let part = 100.0 * relative;
                format!(
                    "shown to be {than} than the control's by over {part:.0} % and {absolute} {unit}"
                )
            }
            Rule::Growth { per_hour, absolute } => {
                let part = 100.0 * per_hour;
                format!(
                    "shown to grow beside the control by over {part:.0} % an hour, and {absolute} {unit} so far"
                )
            }
            Rule::Within { least, most } => {
                format!("not {} three times in a row", bounds_words(least, most, unit))
            }
        }
    }

    fn new(name: String, source: &str, unit: &str, rule: Rule) -> Self {
        Self { name, source: source.to_owned(), unit: unit.to_owned(), rule }
    }

    /// Returns what a metric is held to; nothing if it is compared, and there is nothing to compare it with.
    fn of_metric(metric: &Metric, control: Control) -> Option<Self> {
        let rule = match metric.trigger() {
            Trigger::Limit { min, max } => Rule::Within { least: min, most: max },
            Trigger::Beside { worse, tolerance, slack } if control != Control::Nobody => {
                Rule::Beside { worse, relative: tolerance, absolute: slack }
            }
            Trigger::Beside { .. } => return None,
        };
        let name = metric.check_name();
        Some(Self::new(name.clone(), &name, &metric.unit, rule))
    }
}

/// Returns what something is to be.
pub(super) fn bounds_words(least: Option<f64>, most: Option<f64>, unit: &str) -> String {
    let bounds = [(least, "at least"), (most, "at most")].into_iter();
    let words = bounds.filter_map(|(bound, words)| Some(format!("{words} {} {unit}", bound?)));
    words.map(|it| it.trim_end().to_owned()).collect::<Vec<_>>().join(" and ")
}

impl Rule {
    /// Says whether it can be wrong by chance.
    pub(super) fn is_statistical(&self) -> bool {
        !matches!(self, Self::Within { .. })
    }
}
