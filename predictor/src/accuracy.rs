//! The scoreboard: how true forecasts were, from the records of deployments really carried out.
//!
//! Nothing here tunes a forecast. The only numbers learned from outcomes are the machine's noise (from
//! pairs of equal builds), which decides what can be labelled, and the base rate, which is learned
//! from earlier trials alone.

mod bootstrap;
mod deployments;
mod intervals;
mod truth;

use std::collections::BTreeMap;

use prophecy_core::Seed;
use prophecy_datasets::TrialRecords;
use serde::{Deserialize, Serialize};

pub use self::truth::{Label, Labels};

/// The schema of a scoreboard.
pub const SCHEMA: &str = "prophecy.accuracy/1";

/// An estimate with the interval that 95 % of resampled sets of trials give; nothing where it is not
/// defined, as a precision is without an alarm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The value.
    pub value: Option<f64>,
    /// The low end.
    pub lo: Option<f64>,
    /// The high end.
    pub hi: Option<f64>,
}

/// How true forecasts were.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scoreboard {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// The commits whose forecasts are scored.
    pub commits: Vec<String>,
    /// The machines they ran on.
    pub machines: Vec<String>,
    /// What was counted and what was left out.
    pub counts: Counts,
    /// The forecast of deployments, ours first, then what others would have said.
    pub deployments: Vec<Scores>,
    /// The forecast of single claims.
    pub claims: Scores,
    /// How often what was measured lay inside the interval that was foretold.
    pub coverage: Vec<Coverage>,
    /// Where in the forecast distribution the measured values lay.
    pub ranks: Vec<RankBin>,
    /// How far medians of forecasts were off, by metric and load.
    pub errors: Vec<ErrorBand>,
    /// How much a metric of one build differs from one deployment to the next, relatively: the 90th
    /// percentile over pairs of equal builds. Bounds nearer than this are undecidable.
    pub noise: BTreeMap<String, f64>,
    /// The reliability of claims.
    pub reliability: Reliability,
    /// Predicted against measured latencies, relative to the bound or not.
    pub points: Vec<Point>,
    /// Deployments that were judged wrongly, the surest first.
    pub wrong: Vec<Wrong>,
}

/// What was counted and what was left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Trials on record.
    pub trials: u64,
    /// Those that did not come to an end.
    pub failed: u64,
    /// Those during which others used the machine; not scored.
    pub disturbed: u64,
    /// Those that are scored.
    pub scored: u64,
    /// Labelled harmful, harmless, and neither.
    pub harmful: u64,
    /// Labelled harmless.
    pub harmless: u64,
    /// Too near to a bound for this machine to tell.
    pub undecidable: u64,
    /// Those without an answer.
    pub not_enough_evidence: u64,
    /// Claims that were labelled, and those that could not be.
    pub claims: u64,
    /// Claims that could not be labelled.
    pub claims_undecidable: u64,
}

/// Scores of one forecaster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Who.
    pub forecaster: String,
    /// What was scored.
    pub count: u64,
    /// How many of it came true.
    pub events: u64,
    /// Of the alarms, those that were right.
    pub precision: Estimate,
    /// Of what came true, that of which there was an alarm.
    pub recall: Estimate,
    /// Of what came true, that of which it was said that it would not.
    pub let_through: Estimate,
    /// Of equal builds, those with an alarm.
    pub false_alarms: Estimate,
    /// Of what came true, the share among the tenth with the highest forecasts.
    pub capture_at_tenth: Estimate,
    /// The area under the curve of recall over false alarms.
    pub auc: Estimate,
    /// The mean Brier score; 0 is perfect.
    pub brier: Estimate,
    /// The mean logarithmic score \[nats\]; forecasts are kept within 1 % and 99 %.
    pub log_score: Estimate,
    /// One minus the Brier score over that of the sample's own base rate.
    pub brier_skill: Estimate,
    /// The same of the logarithmic score.
    pub log_skill: Estimate,
    /// The Brier score taken apart.
    pub corp: Decomposition,
}

/// The Brier score as miscalibration − discrimination + uncertainty (CORP).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Decomposition {
    /// What recalibration would win.
    pub miscalibration: f64,
    /// What the forecast knows.
    pub discrimination: f64,
    /// What there was to know.
    pub uncertainty: f64,
    /// The miscalibration that a calibrated forecaster stays below 19 times in 20, for this many
    /// forecasts.
    pub miscalibration_null: f64,
}

/// How often what was measured lay inside an interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Coverage {
    /// What was foretold: `latency` or `rates`.
    pub of: String,
    /// The share that was stated.
    pub stated: f64,
    /// The share that was found.
    pub found: Estimate,
    /// What a right interval would show in 19 of 20 samples of this size.
    pub accepted: [f64; 2],
    /// Values measured.
    pub count: u64,
}

/// A part of the forecast distribution.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RankBin {
    /// From this level.
    pub from: f64,
    /// To this level.
    pub to: f64,
    /// Measured values that lay there.
    pub count: u64,
}

/// How far medians of forecasts were off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorBand {
    /// The metric.
    pub metric: String,
    /// The utilization: `< 60 %`, `60–85 %`, `> 85 %`, or `all`.
    pub load: String,
    /// The median of the absolute relative error.
    pub median: Estimate,
    /// Values measured.
    pub count: u64,
}

/// A reliability diagram: how often claims came true, by forecast.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reliability {
    /// Steps: from forecast, to forecast, frequency, count.
    pub steps: Vec<(f64, f64, f64, u64)>,
    /// Forecast, low end and high end of what a calibrated forecaster shows 9 times in 10.
    pub band: Vec<(f64, f64, f64)>,
}

/// A predicted and a measured value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The median of the forecast \[ms\].
    pub predicted: f64,
    /// What was measured \[ms\].
    pub measured: f64,
    /// Whether that lay inside the 90 % interval.
    pub inside: bool,
}

/// A deployment that was judged wrongly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Wrong {
    /// The trial.
    pub trial: String,
    /// The kind of change.
    pub change: String,
    /// The change in words.
    pub detail: String,
    /// What was foretold.
    pub verdict: String,
    /// With this probability.
    pub risk: f64,
    /// What it was.
    pub label: Label,
    /// The claim that was furthest off, in words.
    pub why: String,
}

/// Scores records. `seed` is that of the resampling.
///
/// # Determinism
///
/// Depends on the records and the seed alone.
pub fn scoreboard(records: &TrialRecords, seed: Seed) -> Scoreboard {
    let mut scored = records.clone();
    scored.retain(|deployment| !deployment.disturbed && deployment.verdict != "failed");
    let labels = Labels::of(&scored);
    let all = &records.deployments;
    let count =
        |is: &dyn Fn(usize) -> bool| (0..scored.deployments.len()).filter(|i| is(*i)).count();
    let labelled = |label: Label| count(&|index| labels.deployments[index] == label) as u64;
    let claims_labelled = labels.claims.iter().flatten();
    let decided = claims_labelled.clone().filter(|label| **label != Label::Undecidable).count();
    let counts = Counts {
        trials: all.len() as u64,
        failed: all.iter().filter(|trial| trial.verdict == "failed").count() as u64,
        disturbed: all.iter().filter(|trial| trial.disturbed).count() as u64,
        scored: scored.deployments.len() as u64,
        harmful: labelled(Label::Harmful),
        harmless: labelled(Label::Harmless),
        undecidable: labelled(Label::Undecidable),
        not_enough_evidence: count(&|index| {
            scored.deployments[index].verdict == "not_enough_evidence"
        }) as u64,
        claims: decided as u64,
        claims_undecidable: (claims_labelled.count() - decided) as u64,
    };
    let distinct = |of: fn(&prophecy_datasets::trials::Deployment) -> &String| {
        let mut values: Vec<String> = scored.deployments.iter().map(|it| of(it).clone()).collect();
        values.sort();
        values.dedup();
        values
    };
    let (claims, reliability) = deployments::score_claims(&scored, &labels, seed);
    Scoreboard {
        schema: SCHEMA.to_owned(),
        commits: distinct(|deployment| &deployment.commit),
        machines: distinct(|deployment| &deployment.machine),
        counts,
        deployments: deployments::score(&scored, &labels, seed),
        claims,
        coverage: intervals::coverage(&scored, seed),
        ranks: intervals::ranks(&scored),
        errors: intervals::errors(&scored, seed),
        noise: labels.noise.clone(),
        reliability,
        points: intervals::points(&scored),
        wrong: deployments::wrong(&scored, &labels),
    }
}
