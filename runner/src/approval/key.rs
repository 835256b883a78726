//! Keys that sign, and the files they live in.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

const HEADER: &str = "-----BEGIN PROPHECY PRIVATE KEY-----";
const FOOTER: &str = "-----END PROPHECY PRIVATE KEY-----";

/// The most bytes of a key file that are read.
const LARGEST_FILE_BYTES: u64 = 1_024;

/// A key that signs. It is never printed, and wiped when dropped.
pub struct PrivateKey(SigningKey);

/// Why a private key could not be made, written or read.
#[derive(Debug, Error)]
pub enum KeyFileError {
    /// The system has no randomness.
    #[error("cannot draw a key: the system gives no random bytes")]
    Random(#[source] getrandom::Error),
    /// The file could not be written; one that exists is never overwritten.
    #[error("cannot write the private key to `{path}`")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file could not be read.
    #[error("cannot read the private key in `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others may read the file.
    #[error("private key `{path}` has mode {mode:o}, expected 600: nobody else may read it")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file holds something else.
    #[error("`{path}` is not a private key: expected base64 of 32 bytes between two marks")]
    Format {
        /// The file.
        path: PathBuf,
    },
}

// === impl PrivateKey ===

impl PrivateKey {
    /// Draws a key from the randomness of the system.
    pub fn generate() -> Result<Self, KeyFileError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(KeyFileError::Random)?;
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// Returns the key made of `seed`, which must be as secret as the key.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// Returns the name of the key: the start of the SHA-256 of its public half.
    pub fn id(&self) -> String {
        id_of(&self.0.verifying_key())
    }

    /// Returns the public half, in base64.
    pub fn public(&self) -> String {
        BASE64.encode(self.0.verifying_key().as_bytes())
    }

    /// Writes the key to a new file that only its owner can read.
    pub fn write_file(&self, path: &Path) -> Result<(), KeyFileError> {
        let fail = |source| KeyFileError::Write { path: path.to_owned(), source };
        let text = format!("{HEADER}\n{}\n{FOOTER}\n", BASE64.encode(self.0.as_bytes()));
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(path).map_err(fail)?;
        // A umask can only take rights away, so the mode is what was asked for or less.
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|source| {
            drop(fs::remove_file(path));
            fail(source)
        })
    }

    /// Reads a key, and refuses a file that others can read.
    pub fn read_file(path: &Path) -> Result<Self, KeyFileError> {
        let fail = |source| KeyFileError::Read { path: path.to_owned(), source };
        let format = || KeyFileError::Format { path: path.to_owned() };
        let file = File::open(path).map_err(fail)?;
        let mode = file.metadata().map_err(fail)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyFileError::Exposed { path: path.to_owned(), mode });
        }
        let mut text = String::new();
        file.take(LARGEST_FILE_BYTES).read_to_string(&mut text).map_err(fail)?;
        let body = text.trim().strip_prefix(HEADER).and_then(|rest| rest.strip_suffix(FOOTER));
        let bytes = BASE64.decode(body.ok_or_else(format)?.trim()).map_err(|_| format())?;
        let seed: [u8; 32] = bytes.try_into().map_err(|_| format())?;
        Ok(Self::from_seed(&seed))
    }

    pub(super) fn sign(&self, bytes: &[u8]) -> Signature {
        self.0.sign(bytes)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateKey").field("id", &self.id()).finish_non_exhaustive()
    }
}

/// Returns the name of a key: 16 hexadecimal digits of the SHA-256 of its 32 bytes.
pub(super) fn id_of(key: &VerifyingKey) -> String {
    let digest = Sha256::digest(key.as_bytes());
    digest[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_key_survives_its_file_which_only_its_owner_can_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ada.key");
        let key = PrivateKey::generate().unwrap();
        key.write_file(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(PrivateKey::read_file(&path).unwrap().id(), key.id());
    }

    #[test]
    fn a_key_file_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ada.key");
        let first = PrivateKey::generate().unwrap();
        first.write_file(&path).unwrap();
        let second = PrivateKey::generate().unwrap();
        assert!(matches!(second.write_file(&path), Err(KeyFileError::Write { .. })));
        assert_eq!(PrivateKey::read_file(&path).unwrap().id(), first.id());
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ada.key");
        PrivateKey::generate().unwrap().write_file(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = PrivateKey::read_file(&path).unwrap_err();
        assert!(matches!(error, KeyFileError::Exposed { mode: 0o640, .. }), "{error}");
    }

    #[test]
    fn a_damaged_key_is_refused_and_not_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ada.key");
        PrivateKey::generate().unwrap().write_file(&path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let secret = text.lines().nth(1).unwrap();
        fs::write(&path, text.replace(FOOTER, "")).unwrap();
        let error = PrivateKey::read_file(&path).unwrap_err();
        assert!(matches!(error, KeyFileError::Format { .. }));
        assert!(!format!("{error} {error:?}").contains(secret));
    }

    #[test]
    fn a_key_is_never_printed() {
        let key = PrivateKey::from_seed(&[7; 32]);
        let seed = BASE64.encode([7; 32]);
        let shown = format!("{key:?}");
        assert!(shown.contains(&key.id()) && !shown.contains(&seed) && !shown.contains("7, 7"));
    }
}
