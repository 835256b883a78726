//! Evidence to forecast: what the arms showed becomes probabilities of broken promises.
//!
//! No socket and no clock: the same evidence and seed give the same bytes on any number of threads.
//! How the forecast is made is told in [`mod@forecast`].

pub mod accuracy;
pub mod evidence;
pub mod forecast;
pub mod outcome;
pub mod render;
pub mod report;
pub mod score;

pub use evidence::{Evidence, Inputs};
pub use forecast::{ForecastOptions, forecast};
pub use report::{Claim, Report, Verdict};
