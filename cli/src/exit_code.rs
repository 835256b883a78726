//! Exit codes: an interface that scripts and CI jobs rely on.

use std::process;

/// Why the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExitCode {
    /// Done; for a gate: go.
    Done,
    /// A bug, or something unclassified.
    Bug,
    /// The command line or a file can be fixed.
    Usage,
    /// A file, the network or a permission.
    Environment,
    /// Not enough evidence to answer.
    NotEnoughEvidence,
    /// Answered, and the answer is no.
    No,
    /// A rollout was given up.
    RolledBack,
    /// Stopped by a signal.
    Interrupted,
}

// === impl ExitCode ===

impl ExitCode {
    /// Returns the number that the shell sees.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Bug => 1,
            Self::Usage => 2,
            Self::Environment => 3,
            Self::NotEnoughEvidence => 4,
            Self::No => 5,
            Self::RolledBack => 6,
            Self::Interrupted => 130,
        }
    }
}

impl From<ExitCode> for process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.number())
    }
}
