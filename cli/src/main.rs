//! The `prophecy` command: parse, call, render, exit code.

mod arguments;
mod classify;
mod command;
mod exit_code;
mod failure;
mod key_file;
mod printer;
mod progress;
mod stop;

use std::process;

use clap::Parser;

use crate::arguments::Arguments;
use crate::printer::Printer;

fn main() -> process::ExitCode {
    let arguments = Arguments::parse();
    let printer = Printer::new(arguments.format, arguments.quiet);
    match command::run(arguments.command, &printer) {
        Ok(code) => code.into(),
        Err(failure) => {
            printer.fail(&failure);
            failure.code().into()
        }
    }
}
