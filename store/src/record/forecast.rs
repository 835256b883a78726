//! What was foretold, and what was measured afterwards.

use prophecy_core::Timestamp;
use serde::{Deserialize, Serialize};

use super::nanos;

/// A forecast of one change of one system; its report is kept beside it, see [`Report`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// Sorts by time; see [`crate::sortable_id`].
    pub id: String,
    /// When the forecast was registered.
    #[serde(with = "nanos")]
    pub created_at: Timestamp,
    /// The name of the system.
    pub system: String,
    /// Where it would be deployed.
    pub environment: String,
    /// The digest of what ran.
    pub baseline_digest: String,
    /// The digest of what was to run.
    pub candidate_digest: String,
    /// The digest of the report's bytes.
    pub report_digest: String,
    /// `go`, `no_go` or `not_enough_evidence`.
    pub verdict: String,
    /// The probability that some promise is broken.
    pub risk: f64,
    /// The lower end of the interval of `risk`.
    pub risk_lo: f64,
    /// The upper end of the interval of `risk`.
    pub risk_hi: f64,
    /// How long after the deployment the claims hold.
    pub window_seconds: u64,
    /// When it was withdrawn.
    #[serde(with = "nanos::optional", default)]
    pub revoked_at: Option<Timestamp>,
    /// When it stops being good for a gate.
    #[serde(with = "nanos::optional", default)]
    pub expires_at: Option<Timestamp>,
}

/// The full report of a prediction, apart from it because it is a thousand times larger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The prediction it belongs to.
    pub prediction_id: String,
    /// The report, byte for byte.
    pub report_json: String,
}

/// One claim of a prediction, in a form that an outcome can settle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// The prediction that makes it.
    pub prediction_id: String,
    /// Its name within the prediction.
    pub claim_id: String,
    /// The service it is about.
    pub service: String,
    /// The route it is about.
    pub route: String,
    /// What is measured.
    pub metric: String,
    /// The unit of `threshold` and of the quantiles.
    pub unit: String,
    /// What must not be exceeded.
    pub threshold: f64,
    /// The probability that it is.
    pub probability: f64,
    /// The probability that the change causes it.
    pub caused: f64,
    /// The foretold 5 % quantile; the others likewise.
    pub p5: f64,
    /// The 10 % quantile.
    pub p10: f64,
    /// The 25 % quantile.
    pub p25: f64,
    /// The median.
    pub p50: f64,
    /// The 75 % quantile.
    pub p75: f64,
    /// The 90 % quantile.
    pub p90: f64,
    /// The 95 % quantile.
    pub p95: f64,
}

/// What was measured after a prediction; there is at most one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The prediction it settles.
    pub prediction_id: String,
    /// The rollout that was watched, if one was.
    #[serde(default)]
    pub rollout_id: Option<String>,
    /// When it was recorded.
    #[serde(with = "nanos")]
    pub settled_at: Timestamp,
    /// The digest of the dataset that was measured.
    pub dataset_digest: String,
    /// Where the measurement comes from, such as `rollout` or `dataset`.
    pub source: String,
}

/// What was measured for one claim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutcomeClaim {
    /// The prediction that made the claim.
    pub prediction_id: String,
    /// The claim.
    pub claim_id: String,
    /// The measured value, in the unit of the claim.
    pub measured: f64,
    /// Whether the threshold was exceeded.
    pub breached: bool,
    /// The exchanges it was measured on.
    pub exchanges: u64,
}

/// A claim beside what was measured for it: the input of every score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SettledClaim {
    /// The system of the prediction.
    pub system: String,
    /// The environment of the prediction.
    pub environment: String,
    /// The verdict of the prediction.
    pub verdict: String,
    /// When the prediction was registered.
    #[serde(with = "nanos")]
    pub created_at: Timestamp,
    /// When its outcome was recorded.
    #[serde(with = "nanos")]
    pub settled_at: Timestamp,
    /// The measured value.
    pub measured: f64,
    /// Whether the threshold was exceeded.
    pub breached: bool,
    /// The exchanges it was measured on.
    pub exchanges: u64,
    /// The claim itself.
    #[serde(flatten)]
    pub claim: Claim,
}
