//! System manifests as files: reads them, and what they extend.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use prophecy_core::System;
use prophecy_core::system::{ReadSystemError, extends_of};
use thiserror::Error;

/// A system manifest, read from a file.
#[derive(Clone, Debug)]
pub struct LoadedSystem {
    /// The system.
    pub system: System,
    /// The folder that its paths are relative to.
    pub folder: PathBuf,
    /// The BLAKE3 digest of the manifest and everything it extends, in hexadecimal.
    pub digest: String,
}

/// Why a manifest could not be loaded.
#[derive(Debug, Error)]
pub enum LoadSystemError {
    /// A file could not be read.
    #[error("cannot read manifest `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// A manifest extends itself.
    #[error("manifest `{}` extends itself", path.display())]
    Circle {
        /// The file.
        path: PathBuf,
    },
    /// The content was refused.
    #[error("cannot use manifest `{}`", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: ReadSystemError,
    },
}

/// Reads a manifest and what it extends.
///
/// # Errors
///
/// Each variant of [`LoadSystemError`].
pub fn load_system(path: &Path) -> Result<LoadedSystem, LoadSystemError> {
    let mut layers = Vec::new();
    let mut seen = Vec::new();
    let mut next = Some(path.to_owned());
    while let Some(file) = next {
        let read = |source| LoadSystemError::Read { path: file.clone(), source };
        let text = fs::read_to_string(&file).map_err(read)?;
        let known = file.canonicalize().map_err(read)?;
        if seen.contains(&known) {
            return Err(LoadSystemError::Circle { path: file });
        }
        seen.push(known);
        let content = |source| LoadSystemError::Content { path: file.clone(), source };
        let extended = extends_of(&text).map_err(content)?;
        let folder = file.parent().unwrap_or(Path::new("")).to_owned();
        layers.insert(0, text);
        next = extended.map(|name| folder.join(name));
    }
    let texts: Vec<&str> = layers.iter().map(String::as_str).collect();
    let system = System::from_layers(&texts)
        .map_err(|source| LoadSystemError::Content { path: path.to_owned(), source })?;
    let folder = path.canonicalize().ok().and_then(|path| path.parent().map(Path::to_owned));
    let digest = blake3::hash(layers.join("\n---\n").as_bytes()).to_hex().to_string();
    Ok(LoadedSystem { system, folder: folder.unwrap_or_default(), digest })
}
