//! A campaign: many trials one after another, resumed where it was interrupted.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;

use prophecy_core::Seed;
use prophecy_datasets::trials::Deployment;
use prophecy_datasets::{TrialRecords, write_whole};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::catalogue::{self, Entry, EntryError};
use crate::machine;
use crate::trial::{self, Settings, TrialError, TrialResult};

/// A campaign.
#[derive(Debug)]
pub(crate) struct Campaign {
    /// Where trials leave their files.
    pub(crate) out: PathBuf,
    /// Where the records of campaigns are kept.
    pub(crate) results: PathBuf,
    /// A catalogue to be tried, instead of drawn entries.
    pub(crate) catalogue: Option<PathBuf>,
    /// How many trials; of a catalogue, all.
    pub(crate) count: u32,
    pub(crate) seed: u64,
    pub(crate) settings: Settings,
}

/// What a campaign is, kept beside its trials: other seeds or builds are other campaigns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    name: String,
    seed: u64,
    commit: String,
    machine: String,
}

/// Why a campaign ended early.
#[derive(Debug, Error)]
pub(crate) enum CampaignError {
    #[error("cannot use `{}`", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{}` does not hold a trial's result: {message}", path.display())]
    Content { path: PathBuf, message: String },
    #[error("`{}` holds no entry with `baseline.yaml`", path.display())]
    EmptyCatalogue { path: PathBuf },
    #[error("interrupted after {done} of {all} trials; the same command goes on")]
    Interrupted { done: usize, all: usize },
}

// === impl Campaign ===

impl Campaign {
    /// Runs what is left of it, and returns the folder of its records.
    pub(crate) async fn run(&self) -> Result<PathBuf, CampaignError> {
        let identity = self.identity();
        let out = self.out.join(&identity.name);
        fs::create_dir_all(&out).map_err(file(&out))?;
        let text = serde_json::to_vec_pretty(&identity).expect("plain data");
        write_whole(&out.join("campaign.json"), &text).map_err(file(&out))?;
        let entries = self.entries()?;
        let all = entries.as_ref().map_or(self.count as usize, Vec::len);
        let records = self.results.join(&identity.name);
        let mut results: Vec<TrialResult> = Vec::new();
        for index in 0..all {
            let folder = out.join(format!("{index:04}"));
            let path = folder.join("result.json");
            let trial = format!("{}/{index:04}", identity.name);
            let result = if let Ok(bytes) = fs::read(&path) {
                serde_json::from_slice(&bytes).map_err(|error| CampaignError::Content {
                    path: path.clone(),
                    message: error.to_string(),
                })?
            } else {
                let given = entries.as_ref().map(|entries| entries[index].as_path());
                let Some(mut result) = self.attempt(&trial, index, &folder, given).await else {
                    return Err(CampaignError::Interrupted { done: index, all });
                };
                identity.sign(&mut result.deployment);
                let text = serde_json::to_vec_pretty(&result).expect("plain data");
                write_whole(&path, &text).map_err(file(&path))?;
                println!("{}", line(&result, index + 1, all));
                result
            };
            results.push(result);
            gather(&results).write(&records).map_err(file(&records))?;
        }
        Ok(records)
    }

    /// Runs one trial; what went wrong with it is its result. Nothing, if it was interrupted.
    async fn attempt(
        &self,
        trial: &str,
        index: usize,
        folder: &Path,
        given: Option<&Path>,
    ) -> Option<TrialResult> {
        // What an interrupted trial left is no part of a measurement.
        drop(fs::remove_dir_all(folder));
        let seed = Seed(self.seed).derive(&format!("run {index}"));
        let result = match self.entry(index, folder, given) {
            Ok(entry) => trial::run(trial, &entry, seed, &self.settings).await,
            Err(error) => Err(error.into()),
        };
        match result {
            Ok(result) => Some(result),
            Err(TrialError::Interrupted) => None,
            Err(_) if self.settings.stop.load(Ordering::SeqCst) => None,
            Err(error) => Some(failed(trial, &error)),
        }
    }

    fn entry(
        &self,
        index: usize,
        folder: &Path,
        given: Option<&Path>,
    ) -> Result<Entry, EntryError> {
        let Some(given) = given else {
            return catalogue::draw(folder, index as u32, Seed(self.seed));
        };
        copy(given, folder)
            .map_err(|source| EntryError::File { path: given.to_owned(), source })?;
        let mut entry = catalogue::read(folder)?;
        entry.detail = given.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(entry)
    }

    /// Returns the entries of the catalogue by name; nothing if entries are drawn.
    fn entries(&self) -> Result<Option<Vec<PathBuf>>, CampaignError> {
        let Some(catalogue) = &self.catalogue else { return Ok(None) };
        let mut entries = Vec::new();
        for entry in fs::read_dir(catalogue).map_err(file(catalogue))? {
            entries.push(entry.map_err(file(catalogue))?.path());
        }
        entries.push(catalogue.clone());
        entries.retain(|path| path.join("baseline.yaml").is_file());
        entries.sort();
        if entries.is_empty() {
            return Err(CampaignError::EmptyCatalogue { path: catalogue.clone() });
        }
        Ok(Some(entries))
    }

    fn identity(&self) -> Identity {
        let commit = commit();
        let what = match &self.catalogue {
            Some(path) => path.file_name().unwrap_or_default().to_string_lossy().replace('/', "-"),
            None => format!("seed-{}", self.seed),
        };
        let name = format!("{commit}-{what}");
        Identity { name, seed: self.seed, commit, machine: machine::describe() }
    }
}

// === impl Identity ===

impl Identity {
    /// Writes into a record what campaign it is of.
    fn sign(&self, deployment: &mut Deployment) {
        deployment.campaign.clone_from(&self.name);
        deployment.commit.clone_from(&self.commit);
        deployment.machine.clone_from(&self.machine);
        deployment.seed = self.seed;
    }
}

fn file(path: &Path) -> impl Fn(io::Error) -> CampaignError {
    move |source| CampaignError::File { path: path.to_owned(), source }
}

/// Returns the commit of the working copy, with a mark if something in it was changed.
fn commit() -> String {
    let arguments = ["describe", "--always", "--dirty", "--abbrev=7", "--exclude=*"];
    let output = Command::new("git").args(arguments).output();
    let text = output.ok().filter(|output| output.status.success()).map(|output| output.stdout);
    let name = text.map(|text| String::from_utf8_lossy(&text).trim().to_owned());
    name.unwrap_or_else(|| format!("v{}", env!("CARGO_PKG_VERSION")))
}

/// Copies an entry, so that a trial leaves somebody's folder as it was.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

fn failed(trial: &str, error: &TrialError) -> TrialResult {
    let mut detail = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        detail.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    let deployment = Deployment {
        trial: trial.to_owned(),
        verdict: "failed".to_owned(),
        detail,
        ..Deployment::default()
    };
    TrialResult { deployment, claims: Vec::new() }
}

fn gather(results: &[TrialResult]) -> TrialRecords {
    TrialRecords {
        deployments: results.iter().map(|result| result.deployment.clone()).collect(),
        claims: results.iter().flat_map(|result| result.claims.clone()).collect(),
    }
}

/// Returns one line about a trial.
fn line(result: &TrialResult, number: usize, all: usize) -> String {
    let deployment = &result.deployment;
    let settled =
        result.claims.iter().filter_map(|claim| Some((claim.threshold?, claim.measured?)));
    let exceeded = settled.filter(|(threshold, measured)| measured > threshold).count();
    format!(
        "{number:>3}/{all} {:9} {:16} {:20} risk {:>3.0} %, {exceeded} bounds exceeded{}  {}",
        deployment.topology,
        deployment.change,
        deployment.verdict,
        100.0 * deployment.risk,
        if deployment.disturbed { ", disturbed" } else { "" },
        deployment.detail,
    )
}
