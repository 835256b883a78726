//! The records of trials: deployments that were forecast, really carried out, and measured.
//!
//! One folder per campaign holds two tables as Arrow files: `deployments.arrow`, a row for each
//! trial, and `claims.arrow`, a row for each number that was foretold. They join by `trial`.
//! Probabilities are shares, latencies milliseconds, instants nanoseconds since 1970 (UTC).

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_ipc::reader::FileReader;
use arrow_json::ReaderBuilder;
use arrow_json::writer::{JsonArray, WriterBuilder};
use arrow_schema::{ArrowError, DataType, Field, Schema};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::file::write_whole;
use crate::writer::file_of;

/// The names of the tables' files.
const DEPLOYMENTS: &str = "deployments.arrow";
const CLAIMS: &str = "claims.arrow";

/// One deployment: what was foretold of it, how it was carried out, what others said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    /// A name that no other trial has: campaign and index.
    pub trial: String,
    /// The campaign.
    pub campaign: String,
    /// The commit of the program that made the forecast.
    pub commit: String,
    /// The machine: cores and processor.
    pub machine: String,
    /// The seed that the trial was drawn from.
    pub seed: u64,
    /// The shape of the system.
    pub topology: String,
    /// How many services it has.
    pub services: u64,
    /// The kind of change.
    pub change: String,
    /// The change in words, with its size.
    pub detail: String,
    /// What the change is known to be before anything is measured: `harmless`, `harmful`, or nothing.
    pub known: Option<String>,
    /// Whether processor time, rather than held workers, is what is scarce.
    pub cpu_bound: bool,
    /// Requests per second at the entry.
    pub rate_hz: f64,
    /// The busiest service's share of busy workers before the change, and with it.
    pub utilization_before: Option<f64>,
    /// The same with the candidate deployed.
    pub utilization_after: Option<f64>,
    /// The share of the machine that others used before and between the phases.
    pub foreign_load: f64,
    /// Whether that, or stolen time, was too much for the measurement to count.
    pub disturbed: bool,
    /// BLAKE3 of the stored `report.json`.
    pub prediction_digest: String,
    /// When the prediction was stored.
    pub predicted_at: i64,
    /// When the deployment was started; later than the prediction.
    pub deployed_at: i64,
    /// The length of the window that the claims speak of \[s\].
    pub window_seconds: f64,
    /// How long the candidate was deployed \[s\].
    pub deployed_seconds: f64,
    /// The verdict.
    pub verdict: String,
    /// The risk, and its 90 % interval.
    pub risk: f64,
    /// The low end.
    pub risk_lo: f64,
    /// The high end.
    pub risk_hi: f64,
    /// What comparing the 99th percentile of two arms would have said: the largest ratio.
    pub smoke_ratio: Option<f64>,
    /// The score of the canary judge on the arms, 0 to 100.
    pub judge_score: Option<f64>,
}

/// One number that was foretold, with what became of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrialClaim {
    /// The trial.
    pub trial: String,
    /// The claim; for a number without a bound, its place and metric.
    pub claim: String,
    /// The route.
    pub route: String,
    /// What is measured.
    pub metric: String,
    /// The registered bound, if it is a claim.
    pub threshold: Option<f64>,
    /// The probability that the bound is exceeded.
    pub probability: Option<f64>,
    /// The probability that it is because of the change.
    pub caused: Option<f64>,
    /// Quantiles of the forecast.
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
    /// What production measured before the change.
    pub before: Option<f64>,
    /// What was measured with the candidate deployed.
    pub measured: Option<f64>,
    /// Exchanges that it was measured on.
    pub exchanges: u64,
    /// Evidence that the bound is exceeded: a betting score that exceeds 20 by chance at most once in
    /// twenty times, however often it is looked at.
    pub evidence_exceeded: Option<f64>,
    /// The same for the bound being kept.
    pub evidence_kept: Option<f64>,
}

/// The records of one or more campaigns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrialRecords {
    /// Deployments, in the order of campaign and index.
    pub deployments: Vec<Deployment>,
    /// Everything that was foretold of them.
    pub claims: Vec<TrialClaim>,
}

/// Why records could not be read.
#[derive(Debug, Error)]
pub enum ReadTrialsError {
    /// A file or folder could not be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// A file does not hold the table.
    #[error("`{}` does not hold a table of trials: {message}", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// There is no campaign.
    #[error("`{}` holds no campaign of trials", path.display())]
    Nothing {
        /// The folder.
        path: PathBuf,
    },
}

// === impl TrialRecords ===

impl TrialRecords {
    /// Reads a campaign's folder, or every campaign in a folder of campaigns, by name.
    ///
    /// # Errors
    ///
    /// Each variant of [`ReadTrialsError`].
    pub fn read(folder: &Path) -> Result<Self, ReadTrialsError> {
        let read = |source| ReadTrialsError::Read { path: folder.to_owned(), source };
        let mut campaigns = vec![folder.to_owned()];
        for entry in fs::read_dir(folder).map_err(read)? {
            campaigns.push(entry.map_err(read)?.path());
        }
        campaigns.sort();
        let mut records = Self::default();
        for campaign in campaigns.iter().filter(|path| path.join(DEPLOYMENTS).is_file()) {
            records.deployments.extend(read_table(&campaign.join(DEPLOYMENTS))?);
            records.claims.extend(read_table(&campaign.join(CLAIMS))?);
        }
        if records.deployments.is_empty() {
            return Err(ReadTrialsError::Nothing { path: folder.to_owned() });
        }
        Ok(records)
    }

    /// Writes the tables of one campaign into its folder, each whole or not at all.
    ///
    /// # Errors
    ///
    /// What the operating system said.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        write_table(&folder.join(CLAIMS), claim_fields(), &self.claims)?;
        write_table(&folder.join(DEPLOYMENTS), deployment_fields(), &self.deployments)
    }

    /// Keeps the deployments that fulfil a condition, with their claims.
    pub fn retain(&mut self, keep: impl Fn(&Deployment) -> bool) {
        self.deployments.retain(keep);
        let kept: std::collections::BTreeSet<String> =
            self.deployments.iter().map(|deployment| deployment.trial.clone()).collect();
        self.claims.retain(|claim| kept.contains(&claim.trial));
    }
}

fn write_table<T: Serialize>(path: &Path, fields: Vec<Field>, rows: &[T]) -> io::Result<()> {
    let schema = Arc::new(Schema::new(fields));
    let batch = batch(&schema, rows).map_err(io::Error::other)?;
    write_whole(path, &file_of(&batch))
}

fn batch<T: Serialize>(schema: &Arc<Schema>, rows: &[T]) -> Result<RecordBatch, ArrowError> {
    let builder = ReaderBuilder::new(Arc::clone(schema)).with_batch_size(rows.len().max(1));
    let mut decoder = builder.build_decoder()?;
    decoder.serialize(rows)?;
    Ok(decoder.flush()?.unwrap_or_else(|| RecordBatch::new_empty(Arc::clone(schema))))
}

fn read_table<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, ReadTrialsError> {
    let file = File::open(path)
        .map_err(|source| ReadTrialsError::Read { path: path.to_owned(), source })?;
    let content = |message: String| ReadTrialsError::Content { path: path.to_owned(), message };
    let arrow = |error: ArrowError| content(error.to_string());
    let mut rows = Vec::new();
    for batch in FileReader::try_new(file, None).map_err(arrow)? {
        let mut writer =
            WriterBuilder::new().with_explicit_nulls(true).build::<_, JsonArray>(Vec::new());
        writer.write(&batch.map_err(arrow)?).map_err(arrow)?;
        writer.finish().map_err(arrow)?;
        let text = writer.into_inner();
        if text.is_empty() {
            continue;
        }
        let part: Vec<T> =
            serde_json::from_slice(&text).map_err(|error| content(error.to_string()))?;
        rows.extend(part);
    }
    Ok(rows)
}

fn deployment_fields() -> Vec<Field> {
    let mut fields = Vec::new();
    let mut add = |kind: &DataType, nullable: bool, names: &[&str]| {
        fields.extend(names.iter().map(|name| Field::new(*name, kind.clone(), nullable)));
    };
    add(&DataType::Utf8, false, &["trial", "campaign", "commit", "machine"]);
    add(&DataType::UInt64, false, &["seed", "services"]);
    add(&DataType::Utf8, false, &["topology", "change", "detail"]);
    add(&DataType::Utf8, true, &["known"]);
    add(&DataType::Boolean, false, &["cpu_bound", "disturbed"]);
    add(&DataType::Float64, false, &["rate_hz", "foreign_load"]);
    add(&DataType::Float64, true, &["utilization_before", "utilization_after"]);
    add(&DataType::Utf8, false, &["prediction_digest", "verdict"]);
    add(&DataType::Int64, false, &["predicted_at", "deployed_at"]);
    add(&DataType::Float64, false, &["window_seconds", "deployed_seconds"]);
    add(&DataType::Float64, false, &["risk", "risk_lo", "risk_hi"]);
    add(&DataType::Float64, true, &["smoke_ratio", "judge_score"]);
    fields
}

fn claim_fields() -> Vec<Field> {
    let mut fields = Vec::new();
    let mut add = |kind: &DataType, nullable: bool, names: &[&str]| {
        fields.extend(names.iter().map(|name| Field::new(*name, kind.clone(), nullable)));
    };
    add(&DataType::Utf8, false, &["trial", "claim", "route", "metric"]);
    add(&DataType::Float64, true, &["threshold", "probability", "caused"]);
    add(&DataType::Float64, false, &["p5", "p10", "p25", "p50", "p75", "p90", "p95"]);
    add(&DataType::Float64, true, &["before", "measured"]);
    add(&DataType::UInt64, false, &["exchanges"]);
    add(&DataType::Float64, true, &["evidence_exceeded", "evidence_kept"]);
    fields
}
