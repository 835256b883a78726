//! Hooks as they are written, and the secrets they share.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::Uri;
use prophecy_core::system::Span;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Backoff, HookKind};

/// The longest that one attempt may take.
const LONGEST_TIMEOUT: Duration = Duration::from_mins(5);

/// The most attempts after the first.
const MOST_RETRIES: u32 = 10;

/// The shortest secret, in bytes.
const SHORTEST_SECRET_BYTES: usize = 16;

/// The most bytes of a secret that are read.
const LARGEST_SECRET_BYTES: u64 = 4_096;

/// A secret shared with a hook. It is never printed, serialized, or read from a configuration.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// Why a hook was refused.
#[derive(Debug, Error)]
pub enum HookConfigError {
    /// The document is not a list of hooks. What it says is not quoted: it may be a secret.
    #[error("cannot read the hooks: line {line}, column {column} is not what is expected there")]
    Document {
        /// Where.
        line: u64,
        /// Where in the line.
        column: u64,
    },
    /// The secret is too short to be one.
    #[error("a hook's secret has {found_bytes} bytes, expected at least 16")]
    ShortSecret {
        /// How long it is.
        found_bytes: usize,
    },
    /// The secret cannot be read.
    #[error("hook `{name}`: cannot read its secret from `{path}`")]
    ReadSecret {
        /// Which hook.
        name: String,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others may read the secret.
    #[error("hook `{name}`: `{path}` has mode {mode:o}, expected 600: nobody else may read it")]
    ExposedSecret {
        /// Which hook.
        name: String,
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The address is not one that is spoken to. It may hold a password, and is not quoted.
    #[error("hook `{name}`: expected a `url` such as `http://127.0.0.1:9000/gate`, without a user")]
    Url {
        /// Which hook.
        name: String,
    },
    /// It may take too long, or no time at all.
    #[error("hook `{name}`: expected a `timeout` above zero and at most 5m")]
    Timeout {
        /// Which hook.
        name: String,
    },
    /// It is tried too often.
    #[error("hook `{name}`: {retries} retries, expected at most 10")]
    Retries {
        /// Which hook.
        name: String,
        /// What was found.
        retries: u32,
    },
}

/// A hook that was checked, with its secret if it has one.
#[derive(Clone, Debug)]
pub struct Hook {
    pub(super) name: String,
    pub(super) kind: HookKind,
    pub(super) url: Uri,
    pub(super) timeout: Duration,
    pub(super) retries: u32,
    pub(super) secret: Option<Secret>,
}

/// A hook as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HookSpec {
    /// What it is called.
    pub name: String,
    /// When it is called.
    pub kind: HookKind,
    /// Where: plain HTTP, at an address that is on the allow list.
    pub url: String,
    /// The longest that one attempt may take.
    #[serde(default = "ten_seconds")]
    pub timeout: Span,
    /// How often to try again.
    #[serde(default)]
    pub retries: u32,
    /// The file that holds the secret, which only its owner can read; without one, calls are not
    /// signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
}

// === impl Secret ===

impl Secret {
    /// Takes a text of at least 16 bytes.
    ///
    /// # Errors
    ///
    /// [`HookConfigError::ShortSecret`].
    pub fn new(text: &str) -> Result<Self, HookConfigError> {
        if text.len() < SHORTEST_SECRET_BYTES {
            return Err(HookConfigError::ShortSecret { found_bytes: text.len() });
        }
        Ok(Self(text.to_owned()))
    }

    fn read_file(hook: &str, path: &Path) -> Result<Self, HookConfigError> {
        let fail = |source| HookConfigError::ReadSecret {
            name: hook.to_owned(),
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(fail)?;
        let mode = file.metadata().map_err(fail)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            let (name, path) = (hook.to_owned(), path.to_owned());
            return Err(HookConfigError::ExposedSecret { name, path, mode });
        }
        let mut text = String::new();
        file.take(LARGEST_SECRET_BYTES).read_to_string(&mut text).map_err(fail)?;
        Self::new(text.trim())
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

// === impl Hook ===

impl Hook {
    /// Returns what it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns when it is called.
    pub fn kind(&self) -> HookKind {
        self.kind
    }

    /// Returns the longest that a delivery can take, with every retry.
    pub fn longest(&self, backoff: Backoff) -> Duration {
        let waits: Duration = (0..self.retries).map(|retry| backoff.before(retry)).sum();
        self.timeout * (self.retries + 1) + waits
    }
}

// === impl HookSpec ===

impl HookSpec {
    /// Checks the hook, and reads its secret.
    ///
    /// A hook that should sign and cannot is refused: it is never called without a signature.
    ///
    /// # Errors
    ///
    /// [`HookConfigError`].
    pub fn open(self) -> Result<Hook, HookConfigError> {
        let name = self.name;
        let url: Option<Uri> = self.url.parse().ok();
        let url = url.filter(|url| {
            let plain =
                url.scheme_str() == Some("http") && url.host().is_some_and(|h| !h.is_empty());
            plain && url.authority().is_some_and(|authority| !authority.as_str().contains('@'))
        });
        let Some(url) = url else {
            return Err(HookConfigError::Url { name });
        };
        if self.timeout.0.is_zero() || self.timeout.0 > LONGEST_TIMEOUT {
            return Err(HookConfigError::Timeout { name });
        }
        if self.retries > MOST_RETRIES {
            return Err(HookConfigError::Retries { name, retries: self.retries });
        }
        let secret = self.secret_file.map(|path| Secret::read_file(&name, &path)).transpose()?;
        let (kind, timeout, retries) = (self.kind, self.timeout.0, self.retries);
        Ok(Hook { name, kind, url, timeout, retries, secret })
    }
}

/// Reads a list of hooks from YAML.
///
/// # Errors
///
/// [`HookConfigError::Document`], which says where, and not what: a secret may stand there.
pub fn parse(yaml: &str) -> Result<Vec<HookSpec>, HookConfigError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Document {
        hooks: Vec<HookSpec>,
    }
    let document: Document = serde_saphyr::from_str(yaml).map_err(|error| {
        let place = error.location();
        HookConfigError::Document {
            line: place.map_or(0, |place| place.line()),
            column: place.map_or(0, |place| place.column()),
        }
    })?;
    Ok(document.hooks)
}

fn ten_seconds() -> Span {
    Span(Duration::from_secs(10))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const GATE: &str = "{name: gate, kind: pre-rollout, url: 'http://127.0.0.1:9/gate'";

    fn open(more: &str) -> Result<Hook, HookConfigError> {
        parse(&format!("hooks: [{GATE}{more}}}]"))?.remove(0).open()
    }

    fn secret_file(text: &str, mode: u32) -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let more = format!(", secret_file: '{}'", path.display());
        (folder, more)
    }

    #[test]
    fn a_hook_that_could_hang_or_leak_is_refused() {
        let hook = open("").unwrap();
        assert_eq!((hook.timeout, hook.retries), (Duration::from_secs(10), 0));
        assert!(matches!(open(", timeout: 0s"), Err(HookConfigError::Timeout { .. })));
        assert!(matches!(open(", timeout: 10m"), Err(HookConfigError::Timeout { .. })));
        assert!(matches!(open(", retries: 11"), Err(HookConfigError::Retries { retries: 11, .. })));
        assert!(matches!(open(", retry: 1"), Err(HookConfigError::Document { line: 1, .. })));
        for url in ["https://a/", "ftp://a/", "/gate", "http://ada:pass@a/", "gate"] {
            let yaml = format!("hooks: [{{name: gate, kind: event, url: '{url}'}}]");
            let error = parse(&yaml).unwrap().remove(0).open().expect_err(url);
            assert!(matches!(error, HookConfigError::Url { .. }));
            assert!(!format!("{error} {error:?}").contains("ada:pass"), "{error}");
        }
    }

    #[test]
    fn a_secret_comes_from_a_file_that_only_its_owner_can_read() {
        let (_folder, more) = secret_file("correct-horse-battery\n", 0o600);
        let hook = open(&more).unwrap();
        assert_eq!(hook.secret, Some(Secret::new("correct-horse-battery").unwrap()));
        let (_folder, more) = secret_file("correct-horse-battery", 0o604);
        let error = open(&more).unwrap_err();
        assert!(matches!(error, HookConfigError::ExposedSecret { mode: 0o604, .. }));
        let (folder, more) = secret_file("correct-horse-battery", 0o600);
        drop(folder);
        assert!(matches!(open(&more), Err(HookConfigError::ReadSecret { .. })));
    }

    #[test]
    fn a_secret_is_never_printed_even_where_it_should_not_be_written() {
        let (_folder, more) = secret_file("correct-horse-battery", 0o600);
        assert!(!format!("{:?}", open(&more).unwrap()).contains("horse"));
        let (_folder, more) = secret_file("tiny-horse", 0o600);
        let short = open(&more).unwrap_err();
        assert!(matches!(short, HookConfigError::ShortSecret { found_bytes: 10 }));
        let misplaced = open(", secret: correct-horse-battery").unwrap_err();
        assert!(matches!(misplaced, HookConfigError::Document { .. }));
        for error in [short, misplaced] {
            assert!(!format!("{error} {error:?}").contains("horse"), "{error}");
        }
    }

    #[test]
    fn the_longest_delivery_counts_every_timeout_and_every_wait() {
        let hook = open(", timeout: 1s, retries: 3").unwrap();
        let backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(3) };
        assert_eq!(hook.longest(backoff), Duration::from_secs(4 + 1 + 2 + 3));
    }
}
