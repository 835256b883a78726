//! The only place that writes to the terminal: data to stdout, conversation to stderr.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::failure::Failure;

/// How results are written to stdout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Text for people.
    #[default]
    Human,
    /// One JSON document with a `schema` field.
    Json,
}

/// Owns both streams, colors and the amount of talk.
#[derive(Clone, Debug)]
pub(crate) struct Printer {
    format: Format,
    quiet: bool,
    color: bool,
}

/// The tone of a highlighted word.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tone {
    /// Allowed, done.
    Good,
    /// Refused, failed.
    Bad,
    /// Worth a second look.
    Warning,
    /// Names, paths, hints.
    Accent,
}

// === impl Printer ===

impl Printer {
    /// Returns a printer for this process's streams.
    pub(crate) fn new(format: Format, quiet: bool) -> Self {
        let color = io::stderr().is_terminal()
            && io::stdout().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { format, quiet, color }
    }

    /// Returns the format of stdout.
    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Says whether progress may be drawn.
    pub(crate) fn draws_progress(&self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    /// Writes a result: `human` as it is, or `json` as one document.
    pub(crate) fn data(&self, human: &str, json: &impl Serialize) {
        let text = match self.format {
            Format::Human => human.to_owned(),
            Format::Json => serde_json::to_string_pretty(json).expect("results are plain data"),
        };
        write_line(&mut io::stdout().lock(), &text);
    }

    /// Writes text to stdout whatever the format; for scripts such as shell completions.
    #[expect(clippy::unused_self, reason = "whoever prints must hold the printer")]
    pub(crate) fn raw(&self, text: &str) {
        write_line(&mut io::stdout().lock(), text);
    }

    /// Says something to the person.
    pub(crate) fn say(&self, text: &str) {
        if !self.quiet {
            write_line(&mut io::stderr().lock(), text);
        }
    }

    /// Says what to look out for.
    pub(crate) fn warn(&self, text: &str) {
        let label = self.paint(Tone::Warning, "warning:");
        write_line(&mut io::stderr().lock(), &format!("{label} {text}"));
    }

    /// Says what went wrong, the chain of causes, and what to do.
    pub(crate) fn fail(&self, failure: &Failure) {
        let mut stderr = io::stderr().lock();
        let label = self.paint(Tone::Bad, "error:");
        write_line(&mut stderr, &format!("{label} {}", failure.message()));
        for cause in failure.causes() {
            write_line(&mut stderr, &format!("  caused by: {cause}"));
        }
        if !failure.hints().is_empty() {
            write_line(&mut stderr, "");
        }
        for hint in failure.hints() {
            let label = self.paint(Tone::Accent, "hint:");
            write_line(&mut stderr, &format!("{label} {hint}"));
        }
    }

    /// Returns `text` in the color of `tone`, if colors are on.
    pub(crate) fn paint(&self, tone: Tone, text: &str) -> String {
        if !self.color {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Good => "32",
            Tone::Bad => "31",
            Tone::Warning => "33",
            Tone::Accent => "36",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

fn write_line(stream: &mut impl Write, text: &str) {
    // A closed pipe (`prophecy … | head`) is the reader's choice, not a failure of ours.
    let newline = if text.ends_with('\n') { "" } else { "\n" };
    drop(stream.write_all(text.as_bytes()));
    drop(stream.write_all(newline.as_bytes()));
    drop(stream.flush());
}
