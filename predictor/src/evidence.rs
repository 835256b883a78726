//! What a forecast is made from.

use prophecy_core::System;
use prophecy_datasets::Run;
use prophecy_simulator::Observations;
use serde::{Deserialize, Serialize};

/// Everything that a forecast is made from.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// What runs now.
    pub system: System,
    /// What is to be deployed.
    pub candidate_system: System,
    /// Production, as captured.
    pub production: Observations,
    /// The first baseline arm.
    pub baseline: Observations,
    /// The second baseline arm: the noise of the machine.
    pub baseline_again: Observations,
    /// The candidate arm.
    pub candidate: Observations,
    /// The replay that the arms got, and how their answers differ.
    pub run: Run,
    /// What went in.
    pub inputs: Inputs,
    /// What was assumed, in sentences.
    pub notes: Vec<String>,
}

/// What went into a forecast.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inputs {
    /// BLAKE3 of the dataset's manifest.
    pub dataset: String,
    /// BLAKE3 of the baseline's manifest and all it extends.
    pub baseline: String,
    /// BLAKE3 of the candidate's.
    pub candidate: String,
    /// The dataset's anonymization policy.
    pub policy: String,
    /// The first and last moment of the dataset.
    pub window: [String; 2],
    /// Exchanges with the entry in it.
    pub exchanges: u64,
}
