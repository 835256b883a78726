//! `prophecy replay --probe`: how much each arm can do.

use std::time::Duration;

use prophecy_datasets::Run;
use prophecy_datasets::probe::{ArmProbe, Bottleneck, Ending, Probe};
use prophecy_twin::{ProbeBounds, ProbeProgress, TwinOptions, probe_arms};
use serde::Serialize;

use crate::arguments::ProbeArguments;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::progress;

/// The least time that shows anything.
const SHORTEST: Duration = Duration::from_secs(5);

/// A run with its probe, as JSON.
#[derive(Serialize)]
pub(super) struct Probed<'a> {
    #[serde(flatten)]
    pub(super) run: &'a Run,
    pub(super) probe: &'a Probe,
}

/// Checks the bounds of a probe, if one is asked for.
pub(super) fn bounds(arguments: &ProbeArguments) -> Result<Option<ProbeBounds>, Failure> {
    let (max_rate_hz, limit) = (arguments.probe_max_rate, arguments.probe_time.0);
    if !(max_rate_hz > 0.0 && max_rate_hz.is_finite()) {
        let message = format!("`--probe-max-rate` is {max_rate_hz}; it needs a positive number");
        return Err(Failure::new(ExitCode::Usage, message));
    }
    if limit < SHORTEST {
        let message = format!("`--probe-time` is {limit:?}; a probe needs at least {SHORTEST:?}");
        return Err(Failure::new(ExitCode::Usage, message));
    }
    Ok(arguments.probe.then_some(ProbeBounds { max_rate_hz, limit }))
}

/// Probes with progress on the terminal.
pub(super) async fn run(
    options: &TwinOptions<'_>,
    bounds: ProbeBounds,
    printer: &Printer,
) -> Result<Probe, Failure> {
    let bar = progress::bar(printer, "probing", 1, "arms");
    let tell = |state| match state {
        ProbeProgress::Starting(arm) => {
            bar.set_message("starting");
            bar.set_prefix(arm);
        }
        ProbeProgress::Asking(arm, hz) => {
            bar.set_message(format!("asking for {hz:.0}/s"));
            bar.set_prefix(arm);
        }
    };
    if printer.draws_progress() {
        bar.enable_steady_tick(Duration::from_millis(200));
    }
    let probed = probe_arms(options, bounds, &tell).await;
    bar.finish_and_clear();
    Ok(probed?)
}

/// Returns what was found, as tables and sentences.
pub(super) fn render(probe: &Probe) -> String {
    let mut text = String::new();
    for arm in &probe.arms {
        text.push_str(&format!(
            "\n\n{}, probed\n{:>9} {:>9} {:>9} {:>9} {:>8} {:>9} {:>11}",
            arm.name,
            "asked/s",
            "served/s",
            "p50 ms",
            "p99 ms",
            "errors",
            "in flight",
            "cores busy"
        ));
        for step in &arm.steps {
            text.push_str(&format!(
                "\n{:>9.1} {:>9.1} {:>9.1} {:>9.1} {:>6.1} % {:>9} {:>6.1} of {}{}",
                step.asked_hz,
                step.served_hz,
                step.latency_ms_p50,
                step.latency_ms_p99,
                100.0 * step.failed as f64 / step.answered.max(1) as f64,
                step.in_flight[1],
                step.cores_busy,
                probe.cores,
                if step.saturated { "  saturated" } else { "" }
            ));
        }
        text.push_str(&format!("\n{}", answer(arm)));
        for (name, service) in &arm.services {
            let workers = match service.workers {
                Some(range) if range.least == range.most => range.likeliest.to_string(),
                Some(range) => {
                    format!("{} ({} to {})", range.likeliest, range.least, range.most)
                }
                None => format!("at least {}", service.workers_at_least),
            };
            let loaded = service
                .own_ms_saturated
                .map_or_else(String::new, |ms| format!(", {ms:.1} ms each when saturated"));
            text.push_str(&format!(
                "\n{name:16} {workers} worker(s), {:.1} ms each{loaded}",
                service.own_ms_alone
            ));
        }
        for note in &arm.notes {
            text.push_str(&format!("\nnote: {note}"));
        }
    }
    text
}

/// Returns what the probe of an arm says, in a sentence.
pub(crate) fn answer(arm: &ArmProbe) -> String {
    let at_least = format!("it keeps up with at least {:.0} requests/s", arm.at_least_hz);
    let by = match &arm.bottleneck {
        Some(Bottleneck::Workers { service }) => format!(", by the workers of `{service}`"),
        Some(Bottleneck::Processor { service }) => {
            format!(", by the machine's cores, mostly with `{service}`")
        }
        None => String::new(),
    };
    let why = match arm.ending {
        Ending::Saturated | Ending::Refused => {
            let what = if arm.ending == Ending::Refused { "refuses requests" } else { "saturates" };
            return match arm.knee {
                Some(knee) => format!(
                    "it {what} at {:.1} requests/s ({:.1} to {:.1}){by}",
                    knee.hz,
                    knee.interval.lo(),
                    knee.interval.hi()
                ),
                None => format!("it {what}; {at_least}{by}"),
            };
        }
        Ending::Time => "the time was over before it saturated",
        Ending::MaxRate => "the highest rate did not saturate it",
        Ending::Count => "the most requests did not saturate it",
        Ending::InFlight => "as many requests as may be in flight did not saturate it",
        Ending::Sender => "the sender and the proxies were the limit, not the arm",
        Ending::Died => {
            let ended =
                arm.ended.iter().map(|it| format!("`{}` ended with {}", it.service, it.status));
            return format!("{}; {at_least}", ended.collect::<Vec<_>>().join(", "));
        }
    };
    format!("{why}: {at_least}")
}
