//! The command line: `mesh --config FILE [--port N] [--check]`.

use std::path::PathBuf;

use thiserror::Error;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
mesh: one HTTP service, made of what a YAML file says

Usage: mesh --config FILE [--port N] [--check]

  --config FILE  what the service does; `${NAME}` and `${NAME:-default}` in it refer to the environment
  --port N       listens on this port rather than on the file's; 0 takes any free one
  --check        says whether the file is valid, and ends
  --help         prints this
";

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// To print the help.
    Help,
    /// To run a service, or to check its file.
    Run(Arguments),
}

/// The options of a run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// The configuration file.
    pub(crate) config: PathBuf,
    /// The port, if it overrides the file's.
    pub(crate) port: Option<u16>,
    /// Whether to stop after reading the file.
    pub(crate) check_only: bool,
}

/// Why a command line was refused.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum ParseArgumentsError {
    /// `--config` is missing.
    #[error("cannot start without a configuration; write `mesh --config FILE`")]
    ConfigMissing,
    /// An option has no value.
    #[error("`{option}` needs a value")]
    ValueMissing {
        /// The option.
        option: String,
    },
    /// The port is not one.
    #[error("`--port {found}` is not a port; write a number from 0 to 65535")]
    Port {
        /// What was given.
        found: String,
    },
    /// Nothing is called so.
    #[error("`{found}` is not an option; `mesh --help` lists them")]
    Unknown {
        /// What was given.
        found: String,
    },
}

/// Reads a command line, without the program's name.
///
/// # Errors
///
/// Each variant of [`ParseArgumentsError`].
pub(crate) fn parse(
    words: impl IntoIterator<Item = String>,
) -> Result<Request, ParseArgumentsError> {
    let (mut config, mut port, mut check_only) = (None, None, false);
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let mut value =
            || words.next().ok_or(ParseArgumentsError::ValueMissing { option: word.clone() });
        match word.as_str() {
            "--help" | "-h" => return Ok(Request::Help),
            "--check" => check_only = true,
            "--config" => config = Some(PathBuf::from(value()?)),
            "--port" => {
                let found = value()?;
                port = Some(found.parse().map_err(|_| ParseArgumentsError::Port { found })?);
            }
            _ => return Err(ParseArgumentsError::Unknown { found: word }),
        }
    }
    let config = config.ok_or(ParseArgumentsError::ConfigMissing)?;
    Ok(Request::Run(Arguments { config, port, check_only }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn reads_each_option() {
        let expected =
            Arguments { config: PathBuf::from("a.yaml"), port: Some(0), check_only: true };
        assert_eq!(parse(words("--config a.yaml --port 0 --check")), Ok(Request::Run(expected)));
        assert_eq!(parse(words("--config a.yaml --help")), Ok(Request::Help));
    }

    #[test]
    fn says_what_it_does_not_understand() {
        let check = |text: &str, expected: &str| {
            let error = parse(words(text)).expect_err(text).to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("", "cannot start without a configuration");
        check("--config", "`--config` needs a value");
        check("--config a --port 70000", "`--port 70000` is not a port");
        check("--verbose", "`--verbose` is not an option");
    }
}
