//! A system run as production: every instance of every service a real process, every edge captured.
//!
//! The demo and the trials need deployments that really happen. They are started by the same code
//! as the arms of a twin, so that what is forecast and what comes true are measured alike.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use prophecy_anonymizer::{Key, Policy, Sanitizer};
use prophecy_datasets::{DatasetWriter, WriteDatasetError};
use thiserror::Error;

use crate::allow_list::AllowList;
use crate::launch::{Arm, ArmOptions, Instances, StartArmError};
use crate::manifest::LoadedSystem;
use crate::run::dataset_options;

/// How production is run.
#[derive(Debug)]
pub struct ProductionOptions<'a> {
    /// What to run.
    pub system: &'a LoadedSystem,
    /// The folder of the dataset that is captured.
    pub dataset: &'a Path,
    /// The folder that the services' output goes to.
    pub logs: &'a Path,
    /// What the dataset may keep.
    pub policy: Policy,
    /// The key of pseudonyms.
    pub key: Key,
    /// Where traffic may be sent.
    pub allow: &'a AllowList,
}

/// Why production did not start.
#[derive(Debug, Error)]
pub enum StartProductionError {
    /// The dataset could not be started.
    #[error(transparent)]
    Create(#[from] WriteDatasetError),
    /// The system did not start; whatever had been started was ended.
    #[error(transparent)]
    Start(#[from] StartArmError),
}

/// Starts a system as production; [`Arm::stop`] ends it and completes the dataset.
///
/// # Errors
///
/// Each variant of [`StartProductionError`].
pub async fn start(options: ProductionOptions<'_>) -> Result<Arm, StartProductionError> {
    let sanitizer = Sanitizer::new(options.policy, options.key);
    let writer = DatasetWriter::create(options.dataset, dataset_options("production", &sanitizer))?;
    let arm = Arm::start(ArmOptions {
        name: "production".to_owned(),
        system: options.system,
        writer,
        sanitizer,
        logs: options.logs.to_owned(),
        allow: options.allow,
        instances: Instances::Declared,
        standins: BTreeMap::new(),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
    });
    Ok(arm.await?)
}
