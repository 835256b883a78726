//! The report: `report.json`, schema `prophecy.report/1`.

use prophecy_core::{Interval, Probability};
use prophecy_datasets::run::Difference;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::evidence::Inputs;

/// The schema that this version writes and reads.
pub const SCHEMA: &str = "prophecy.report/1";

/// A forecast of one change, ready to be stored, shown and scored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// The version of Prophecy that made it.
    pub engine: String,
    /// The system's name.
    pub system: String,
    /// The answer.
    pub verdict: Verdict,
    /// Why, in sentences.
    pub reasons: Vec<String>,
    /// The probability that any claim comes true because of the change.
    pub risk: Risk,
    /// What could be broken, the most costly first.
    pub claims: Vec<Claim>,
    /// What each route of the entry will look like, promised or not.
    pub routes: Vec<RouteForecast>,
    /// How the candidate's answers differ.
    pub differences: Vec<Difference>,
    /// What could be done instead, the best first.
    pub mitigations: Vec<Mitigation>,
    /// What the forecast rests on.
    pub evidence: EvidenceSummary,
    /// What went in.
    pub inputs: Inputs,
    /// The seed of everything drawn.
    pub seed: u64,
    /// Simulated runs of each build: draws times replications.
    pub replications: u64,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Positive evidence that the promises will be kept.
    Go,
    /// Positive evidence that a promise will be broken.
    NoGo,
    /// Neither.
    NotEnoughEvidence,
}

/// The probability that any claim comes true because of the change.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Risk {
    /// `100 · probability`, rounded.
    pub score: u32,
    /// The probability.
    pub probability: Probability,
    /// Its 90 % interval.
    pub interval: Interval,
    /// The highest score that may be `go`.
    pub max_score: f64,
}

/// A statement about the deployment that an outcome can settle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// A name that stays the same from forecast to forecast.
    pub id: String,
    /// The service.
    pub service: String,
    /// The route; empty where the claim is about a service.
    pub route: String,
    /// What is measured over the window.
    pub metric: Metric,
    /// The bound; the claim is that the metric exceeds it.
    pub threshold: f64,
    /// The unit of `threshold` and of the values.
    pub unit: String,
    /// Where the bound comes from, in words.
    pub bound: String,
    /// The probability that the metric exceeds the bound.
    pub probability: Probability,
    /// Its 90 % interval.
    pub interval: Interval,
    /// The probability that it does so because of the change: the baseline would have kept the bound,
    /// or the candidate is clearly worse.
    pub caused: Probability,
    /// The metric's forecast with the baseline.
    pub baseline: Quantiles,
    /// The metric's forecast with the candidate.
    pub candidate: Quantiles,
    /// What the forecast comes from, in sentences.
    pub because: Vec<String>,
    /// Exchanges on the route in production, and in the smallest arm.
    pub exchanges: [u64; 2],
}

/// What a metric of a route will be over the window; nothing is promised by it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouteForecast {
    /// The service.
    pub service: String,
    /// The route.
    pub route: String,
    /// What is measured.
    pub metric: Metric,
    /// The unit of the values.
    pub unit: String,
    /// The metric with the baseline.
    pub baseline: Quantiles,
    /// The metric with the candidate.
    pub candidate: Quantiles,
}

/// What a claim measures over the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// The mean latency.
    LatencyMean,
    /// The median latency.
    LatencyP50,
    /// The 95th percentile of latency.
    LatencyP95,
    /// The 99th percentile of latency.
    LatencyP99,
    /// The share of requests with a 5xx status or no whole answer.
    ErrorRate,
    /// The share of requests with a 4xx status.
    ClientErrorRate,
    /// Resident memory after an hour of production's traffic.
    Memory,
}

/// Quantiles of a forecast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// Where 5 % lie below.
    pub p5: f64,
    /// Where 10 % lie below.
    pub p10: f64,
    /// Where 25 % lie below.
    pub p25: f64,
    /// The median.
    pub p50: f64,
    /// Where 75 % lie below.
    pub p75: f64,
    /// Where 90 % lie below.
    pub p90: f64,
    /// Where 95 % lie below.
    pub p95: f64,
}

/// Something to do instead, and the risk that remains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mitigation {
    /// What to do, in a sentence.
    pub action: String,
    /// The probability that any claim still comes true.
    pub probability: Probability,
    /// Its 90 % interval.
    pub interval: Interval,
}

/// What a forecast rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvidenceSummary {
    /// Requests that were to be replayed to each arm.
    pub offered: u64,
    /// Requests that left, over all arms.
    pub sent: u64,
    /// Requests that did not leave, and those that a baseline arm did not answer.
    pub lost: u64,
    /// The median send lag of the worst arm \[ms\].
    pub send_lag_ms_p50: f64,
    /// The 99th percentile of send lag of the worst arm \[ms\].
    pub send_lag_ms_p99: f64,
    /// The replay's speed.
    pub speed: f64,
    /// The noise between two arms of one build.
    pub aa: AaCheck,
    /// Whether the model reproduces what was captured.
    pub fidelity: Fidelity,
    /// Services of the candidate that ended by themselves, with how, in sentences.
    #[serde(default)]
    pub ended: Vec<String>,
    /// How the candidate differs, the largest difference first.
    pub deltas: Vec<String>,
    /// Routes without a claim, and why.
    pub not_claimed: Vec<String>,
    /// What was assumed.
    pub notes: Vec<String>,
}

/// The noise between two arms of one build.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AaCheck {
    /// The typical relative difference of mean own times.
    pub noise: f64,
    /// Whether it is small enough to see a change.
    pub passed: bool,
}

/// Whether a model reproduces what was captured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fidelity {
    /// Whether it does.
    pub passed: bool,
    /// The median relative error over routes and quantiles.
    pub error: f64,
    /// Whether the times checked were held out from the fit.
    pub held_out: bool,
    /// By route.
    pub routes: Vec<RouteFidelity>,
}

/// Captured and simulated values of one route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouteFidelity {
    /// The route.
    pub route: String,
    /// Exchanges checked.
    pub exchanges: u64,
    /// Median, 95th and 99th percentile as captured \[ms\].
    pub captured_ms: [f64; 3],
    /// The same as simulated \[ms\].
    pub simulated_ms: [f64; 3],
    /// What simulated runs of other draws come to, without the outermost \[ms\].
    pub range_ms: [[f64; 2]; 3],
}

/// Why a report was refused.
#[derive(Debug, Error)]
pub enum ReadReportError {
    /// The text is not a report.
    #[error("it is not a report: {message}")]
    Format {
        /// What does not fit.
        message: String,
    },
    /// The schema is of another version.
    #[error("it has schema `{found}`; this version reads `{SCHEMA}`")]
    Schema {
        /// What was found.
        found: String,
    },
}

// === impl Report ===

impl Report {
    /// Parses `report.json`.
    ///
    /// # Errors
    ///
    /// Each variant of [`ReadReportError`].
    pub fn from_json(text: &str) -> Result<Self, ReadReportError> {
        let format =
            |error: serde_json::Error| ReadReportError::Format { message: error.to_string() };
        let value: serde_json::Value = serde_json::from_str(text).map_err(format)?;
        let found = value.get("schema").and_then(|schema| schema.as_str()).unwrap_or("none");
        if found != SCHEMA {
            return Err(ReadReportError::Schema { found: found.to_owned() });
        }
        serde_json::from_value(value).map_err(format)
    }

    /// Writes `report.json`; numbers keep six significant digits.
    pub fn to_json(&self) -> String {
        let mut value = serde_json::to_value(self).expect("a report is plain data");
        round(&mut value);
        serde_json::to_string_pretty(&value).expect("a report is plain data")
    }
}

/// Rounds every fractional number to six significant digits: more would be noise.
fn round(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Number(number) if number.is_f64() => {
            let text = format!("{:.5e}", number.as_f64().expect("it is one"));
            let rounded: f64 = text.parse().expect("just written");
            *value = serde_json::Value::from(rounded);
        }
        serde_json::Value::Array(values) => values.iter_mut().for_each(round),
        serde_json::Value::Object(fields) => fields.values_mut().for_each(round),
        _ => {}
    }
}

// === impl Metric ===

impl Metric {
    /// Returns the metric in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::LatencyMean => "mean latency",
            Self::LatencyP50 => "median latency",
            Self::LatencyP95 => "p95 latency",
            Self::LatencyP99 => "p99 latency",
            Self::ErrorRate => "error rate",
            Self::ClientErrorRate => "rate of 4xx answers",
            Self::Memory => "memory after one hour",
        }
    }

    /// Returns the level of a latency metric.
    pub fn level(self) -> Option<f64> {
        match self {
            Self::LatencyP50 => Some(0.5),
            Self::LatencyP95 => Some(0.95),
            Self::LatencyP99 => Some(0.99),
            Self::LatencyMean | Self::ErrorRate | Self::ClientErrorRate | Self::Memory => None,
        }
    }

    /// Returns the unit of its values.
    pub fn unit(self) -> &'static str {
        match self {
            Self::ErrorRate | Self::ClientErrorRate => "share",
            Self::Memory => "MiB",
            Self::LatencyMean | Self::LatencyP50 | Self::LatencyP95 | Self::LatencyP99 => "ms",
        }
    }

    /// Returns the end of a claim's name.
    pub fn slug(self) -> &'static str {
        match self {
            Self::LatencyMean => "latency-mean",
            Self::LatencyP50 => "latency-p50",
            Self::LatencyP95 => "latency-p95",
            Self::LatencyP99 => "latency-p99",
            Self::ErrorRate => "error-rate",
            Self::ClientErrorRate => "client-error-rate",
            Self::Memory => "memory",
        }
    }

    /// Returns the metric of the end of a claim's name.
    pub fn of_slug(slug: &str) -> Option<Self> {
        let all = [
            Self::LatencyMean,
            Self::LatencyP50,
            Self::LatencyP95,
            Self::LatencyP99,
            Self::ErrorRate,
            Self::ClientErrorRate,
            Self::Memory,
        ];
        all.into_iter().find(|metric| metric.slug() == slug)
    }
}

// === impl Claim ===

impl Claim {
    /// Writes a value of the claim with its unit.
    pub fn value(&self, value: f64) -> String {
        match self.metric {
            Metric::ErrorRate | Metric::ClientErrorRate => {
                let percent = 100.0 * value;
                if percent < 9.95 { format!("{percent:.2} %") } else { format!("{percent:.1} %") }
            }
            Metric::Memory => format!("{value:.0} MiB"),
            Metric::LatencyMean | Metric::LatencyP50 | Metric::LatencyP95 | Metric::LatencyP99 => {
                if value < 99.5 {
                    format!("{value:.1} ms")
                } else {
                    format!("{value:.0} ms")
                }
            }
        }
    }

    /// Returns what the claim is about: service and route.
    pub fn subject(&self) -> String {
        if self.route.is_empty() {
            self.service.clone()
        } else {
            format!("{} {}", self.service, self.route)
        }
    }
}

// === impl Verdict ===

impl Verdict {
    /// Returns the verdict as written in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Go => "go",
            Self::NoGo => "no_go",
            Self::NotEnoughEvidence => "not_enough_evidence",
        }
    }
}

// === impl Quantiles ===

impl Quantiles {
    /// Returns the quantiles of some values; zeros if there are none.
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |level| prophecy_core::quantile::of_sorted(&values, level).unwrap_or(0.0);
        let (p5, p10, p25, p50) = (at(0.05), at(0.1), at(0.25), at(0.5));
        Self { p5, p10, p25, p50, p75: at(0.75), p90: at(0.9), p95: at(0.95) }
    }
}
