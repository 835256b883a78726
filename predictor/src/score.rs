//! Scores that tell how good a forecast was once the truth is known.
//!
//! The scoring rules ([`brier`] and its kin) are proper: a forecaster lowers the expected score
//! only by saying what it believes. The CORP parts ([`Corp`]) split the Brier score into
//! miscalibration, discrimination and uncertainty. The ranking measures ([`auc`],
//! [`capture_at`]) look at order alone, and [`binomial_band`] says which observed shares chance
//! allows.
//!
//! Nothing here keeps state; the two functions that draw take their generator from the caller.
//! Empty input is accepted, and each function says what it answers then. Whether a probability
//! lies in 0 to 1 is the caller's affair: nothing here checks it, and nothing panics.

mod corp;
mod ranking;
mod rules;

pub use corp::{Bin, Corp, consistency_band, miscalibration_null, recalibrated};
pub use ranking::{auc, binomial_band, capture_at};
pub use rules::{
    brier, crps_ensemble, crps_ensemble_fair, crps_normal, interval_score, log_score, pinball,
    ranked_probability, skill, weighted_interval,
};
