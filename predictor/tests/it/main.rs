//! The forecast on synthetic evidence whose truth is known, and the renderings of a report.

mod accuracy;
mod coverage;
mod renderings;
mod synthetic;
mod verdicts;
