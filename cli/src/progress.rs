//! Progress bars, on a terminal only.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::printer::Printer;

/// Returns a bar that counts to `total` in `unit`s; silent where stderr is no terminal.
pub(crate) fn bar(printer: &Printer, label: &str, total: u64, unit: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total.max(1)), target(printer));
    let template = format!("{{msg:12}} {{bar:32}} {{pos}}/{{len}} {unit}  {{eta}} left");
    let style = ProgressStyle::with_template(&template).expect("the template is valid");
    bar.set_style(style.progress_chars("━╸─"));
    bar.set_message(label.to_owned());
    bar
}

/// Returns a spinner with a message, for work whose end is not known.
pub(crate) fn spinner(printer: &Printer, label: &str) -> ProgressBar {
    let spinner = ProgressBar::with_draw_target(None, target(printer));
    let style = ProgressStyle::with_template("{spinner} {msg}").expect("the template is valid");
    spinner.set_style(style);
    spinner.set_message(label.to_owned());
    if printer.draws_progress() {
        spinner.enable_steady_tick(Duration::from_millis(120));
    }
    spinner
}

fn target(printer: &Printer) -> ProgressDrawTarget {
    if printer.draws_progress() {
        ProgressDrawTarget::stderr_with_hz(8)
    } else {
        ProgressDrawTarget::hidden()
    }
}
