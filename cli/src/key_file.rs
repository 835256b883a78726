//! Keys, of pseudonyms and of the control plane: files that only their owner can read.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use prophecy_anonymizer::Key;
use thiserror::Error;

/// Why a key could not be used.
#[derive(Debug, Error)]
pub(crate) enum LoadKeyError {
    /// There is no place for a default key.
    #[error(
        "no key file was given, and neither `XDG_CONFIG_HOME` nor `HOME` says where to keep one"
    )]
    NoHome,
    /// The file could not be read or written.
    #[error("cannot use key file `{}`", path.display())]
    Access {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// Others than the owner may read it.
    #[error("key file `{}` has mode {mode:04o}; others must not be able to read it (0600)", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It does not hold a key.
    #[error("key file `{}` holds {found} characters; a key is 64 hexadecimal digits", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// How many characters were found.
        found: usize,
    },
}

/// Loads the key of pseudonyms, creating a random one with mode 0600 if the file does not exist.
///
/// Returns the key, and the path if it was created just now.
pub(crate) fn load_or_create(path: Option<&Path>) -> Result<(Key, Option<PathBuf>), LoadKeyError> {
    let (bytes, created) = load_or_create_bytes(path, "key")?;
    Ok((Key::from_bytes(bytes), created))
}

/// The same for any key; `name` is the one of its default file.
pub(crate) fn load_or_create_bytes(
    path: Option<&Path>,
    name: &str,
) -> Result<([u8; 32], Option<PathBuf>), LoadKeyError> {
    let path = match path {
        Some(path) => path.to_owned(),
        None => default_path(name)?,
    };
    let access = |source| LoadKeyError::Access { path: path.clone(), source };
    match fs::metadata(&path) {
        Ok(metadata) => {
            let mode = metadata.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                return Err(LoadKeyError::Exposed { path, mode });
            }
            let text = fs::read_to_string(&path).map_err(access)?;
            let bytes = parse_hex(text.trim());
            let found = text.trim().chars().count();
            let bytes = bytes.ok_or(LoadKeyError::Form { path, found })?;
            Ok((bytes, None))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let bytes = random_bytes().map_err(access)?;
            create(&path, &bytes).map_err(access)?;
            Ok((bytes, Some(path)))
        }
        Err(source) => Err(access(source)),
    }
}

/// Returns a key that lives as long as the process.
pub(crate) fn ephemeral() -> Result<Key, LoadKeyError> {
    let path = PathBuf::from("/dev/urandom");
    random_bytes().map(Key::from_bytes).map_err(|source| LoadKeyError::Access { path, source })
}

fn default_path(name: &str) -> Result<PathBuf, LoadKeyError> {
    let config = std::env::var_os("XDG_CONFIG_HOME")
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")));
    Ok(config.ok_or(LoadKeyError::NoHome)?.join("prophecy").join(name))
}

fn create(path: &Path, bytes: &[u8; 32]) -> io::Result<()> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    writeln!(file, "{hex}")?;
    file.sync_all()
}

fn random_bytes() -> io::Result<[u8; 32]> {
    use std::io::Read;
    let mut bytes = [0; 32];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn parse_hex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn creates_a_private_key_and_finds_it_again() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("deep").join("key");
        let (created, was_created) = load_or_create(Some(&path)).expect("creates");
        assert_eq!(was_created.as_deref(), Some(path.as_path()));
        let mode = fs::metadata(&path).expect("exists").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let (loaded, was_created) = load_or_create(Some(&path)).expect("loads");
        assert_eq!((loaded.id(), was_created), (created.id(), None));
    }

    #[test]
    fn refuses_a_key_that_others_can_read_or_that_is_none() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("key");
        fs::write(&path, "secret").expect("writes");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("changes");
        assert!(matches!(
            load_or_create(Some(&path)),
            Err(LoadKeyError::Exposed { mode: 0o644, .. })
        ));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("changes");
        let error = load_or_create(Some(&path)).expect_err("not a key").to_string();
        assert!(error.contains("holds 6 characters") && !error.contains("secret"), "{error}");
    }
}
