//! The file that says what happens during a simulation: incidents, a deployment, a trigger.

use std::fs;
use std::path::{Path, PathBuf};

use prophecy_simulator::model::ReadModelError;
use prophecy_simulator::recovery::Trigger;
use prophecy_simulator::scenario::{self, Strategy, WarmUp};
use prophecy_simulator::{Incident, Model};
use serde::Deserialize;

use crate::exit_code::ExitCode;
use crate::failure::Failure;

/// What happens during a simulation.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Setting {
    pub(super) incidents: Vec<Incident>,
    pub(super) deployment: Option<Deployment>,
    pub(super) trigger: Option<Push>,
}

/// A deployment of one service.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Deployment {
    /// The model of the system with the candidate, beside the setting.
    candidate: PathBuf,
    service: String,
    strategy: Strategy,
    at_nanos: u64,
    #[serde(default)]
    warm_up: Option<WarmUp>,
    #[serde(default)]
    rolled_back_after_nanos: Option<u64>,
}

/// A trigger, and what is asked about it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Push {
    pub(super) kind: Trigger,
    pub(super) at_nanos: u64,
    pub(super) within_nanos: u64,
    /// The sizes that are tried; between the least and the greatest the critical one is looked for.
    pub(super) sizes: Vec<f64>,
}

// === impl Setting ===

impl Setting {
    /// Reads a setting, and the candidate's model if it deploys one; adds the deployment's incidents.
    pub(super) fn read(path: &Path, model: &Model) -> Result<(Self, Option<Model>), Failure> {
        let attempt = format!("cannot use setting `{}`", path.display());
        let value = read_value(path).map_err(|failure| failure.during(&attempt))?;
        let mut setting: Self = serde_json::from_value(value).map_err(|error| {
            Failure::new(ExitCode::Usage, format!("it does not fit the format: {error}"))
                .during(&attempt)
                .hint("docs/simulation.md says what it may hold")
        })?;
        if setting.trigger.as_ref().is_some_and(|push| push.sizes.is_empty()) {
            let message = "the trigger has no `sizes` to try".to_owned();
            return Err(Failure::new(ExitCode::Usage, message).during(&attempt));
        }
        let Some(deployed) = &setting.deployment else { return Ok((setting, None)) };
        let beside = path.parent().unwrap_or(Path::new("")).join(&deployed.candidate);
        let candidate = read_model(&beside)?;
        if !model.services.contains_key(&deployed.service) || candidate.entry != model.entry {
            let message = format!(
                "it deploys `{}`, and the candidate's entry is `{}`: the model has no such service or entry",
                deployed.service, candidate.entry
            );
            return Err(Failure::new(ExitCode::Usage, message).during(&attempt));
        }
        let deployment = scenario::Deployment {
            service: &deployed.service,
            strategy: &deployed.strategy,
            at_nanos: deployed.at_nanos,
            warm_up: deployed.warm_up,
            rolled_back_after_nanos: deployed.rolled_back_after_nanos,
        };
        let incidents = deployment.incidents(model, &candidate);
        setting.incidents.extend(incidents);
        Ok((setting, Some(candidate)))
    }
}

/// Reads a model, as JSON or as YAML written by hand.
pub(crate) fn read_model(path: &Path) -> Result<Model, Failure> {
    let attempt = format!("cannot use model `{}`", path.display());
    let value = read_value(path).map_err(|failure| {
        failure.during(&attempt).hint("fit one with `prophecy fit DATASET --system FILE`")
    })?;
    let model: Result<Model, ReadModelError> = Model::from_value(value);
    model.map_err(|error| Failure::from(error).during(&attempt))
}

/// Reads JSON, or YAML, of which it is a part.
fn read_value(path: &Path) -> Result<serde_json::Value, Failure> {
    let text =
        fs::read_to_string(path).map_err(|error| Failure::of(ExitCode::Environment, &error))?;
    serde_saphyr::from_str(&text).map_err(|error| {
        let message = error.to_string().lines().next().unwrap_or_default().to_owned();
        Failure::new(ExitCode::Usage, format!("it is neither JSON nor YAML: {message}"))
    })
}
