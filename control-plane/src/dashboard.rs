//! The dashboard: pure functions from view models to whole HTML pages.
//!
//! A page needs no script, font or request but its own, reads no clock (`now` is in the
//! [`Context`]), and holds no text that was not escaped: [`markup`] has no way to write one.
//! Style and script carry the context's nonce, so that a strict content security policy can hold.

pub mod accuracy;
pub mod audit;
mod chart;
mod controls;
mod frame;
pub mod markup;
pub mod notice;
mod panel;
pub mod prediction;
pub mod rollout;
mod sequence;
pub mod service;
pub mod tally;
pub mod what_if;
mod words;

pub use frame::{Context, Viewer};
