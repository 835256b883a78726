//! `prophecy completions`: a completion script for a shell.

use clap::CommandFactory;

use crate::arguments::Arguments;
use crate::printer::Printer;

/// Prints the script.
pub(crate) fn run(shell: clap_complete::Shell, printer: &Printer) {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "prophecy", &mut script);
    printer.raw(&String::from_utf8_lossy(&script));
}
