//! The proof that a value was sanitized.

use std::ops::Deref;

/// A value in which nothing is left that no rule keeps.
///
/// Only [`crate::Sanitizer`] makes one, so whatever takes one cannot be given anything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sanitized<T>(T);

// === impl Sanitized ===

impl<T> Sanitized<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(value)
    }

    /// Returns the value.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Sanitized<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
