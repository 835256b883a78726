//! What a command says when it cannot do what was asked: message, causes, hints, exit code.

use std::error::Error;
use std::fmt;

use crate::exit_code::ExitCode;

/// A command that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    code: ExitCode,
    message: String,
    causes: Vec<String>,
    hints: Vec<String>,
}

// === impl Failure ===

impl Failure {
    /// Returns a failure with a message of its own.
    pub(crate) fn new(code: ExitCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), causes: Vec::new(), hints: Vec::new() }
    }

    /// Returns the failure of `error` with its chain of causes.
    pub(crate) fn of(code: ExitCode, error: &(dyn Error + 'static)) -> Self {
        let mut causes = Vec::new();
        let mut source = error.source();
        while let Some(cause) = source {
            causes.push(cause.to_string());
            source = cause.source();
        }
        Self { code, message: error.to_string(), causes, hints: Vec::new() }
    }

    /// Puts what was being attempted in front, and the present message among the causes.
    #[must_use]
    pub(crate) fn during(mut self, attempt: impl fmt::Display) -> Self {
        let message = std::mem::replace(&mut self.message, attempt.to_string());
        self.causes.insert(0, message);
        self
    }

    /// Adds a way forward.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Returns the exit code.
    pub(crate) fn code(&self) -> ExitCode {
        self.code
    }

    /// Returns what went wrong.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Returns why, outermost first.
    pub(crate) fn causes(&self) -> &[String] {
        &self.causes
    }

    /// Returns what to do about it.
    pub(crate) fn hints(&self) -> &[String] {
        &self.hints
    }
}
