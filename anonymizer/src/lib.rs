//! Sanitizing: what no rule keeps is replaced by a keyed pseudonym of the same shape.
//!
//! The default is to deny. The same value under the same key becomes the same pseudonym wherever it
//! stands, so joins still hold, and a replay still parses. This crate does no input or output, and
//! is the only one that can make a [`Sanitized`] value.

mod detector;
mod json;
mod key;
mod policy;
mod pseudonym;
mod sanitized;
mod sanitizer;
mod vocabulary;

pub use key::Key;
pub use policy::{Policy, ReadPolicyError};
pub use sanitized::Sanitized;
pub use sanitizer::Sanitizer;
