//! One step of a probe: what was asked, what came back, and what that says.

use std::time::Instant;

use prophecy_core::{Timestamp, quantile};
use prophecy_datasets::probe::ProbeStep;

use super::machine::Usage;
use crate::replay::{Log, Stretch};

/// The share of the requests that stays unanswered where answers come slower than requests, at least, and
/// how many standard deviations of a random number of requests that must be.
const BEHIND_SHARE: f64 = 0.08;
const BEHIND_DEVIATIONS: f64 = 3.0;

/// Where answers take so many times as long as at first, fewer deviations are enough.
const MUCH_SLOWER: f64 = 3.0;
const BEHIND_AND_SLOWER: f64 = 1.5;

/// More errors than before: by this share, and as many standard deviations as above.
const MORE_ERRORS: f64 = 0.05;

/// Less than this share left: the sender is the limit. So is a send lag of this share of the step.
const SENT_SHARE: f64 = 0.95;
const LAG_SHARE: f64 = 0.25;

/// The machine is exhausted from this share of its cores on; so is the sender, if it has most of them.
pub(super) const EXHAUSTED: f64 = 0.9;
const OWN_SHARE: f64 = 0.5;

/// A service whose requests take at most so many times as long as at first does not let them wait.
const SLOWER: f64 = 1.5;

/// What a step says of the arm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It answers what it is asked.
    KeepsUp,
    /// It answers slower than it is asked.
    Saturated,
    /// It answers with more errors than before.
    Refuses,
    /// Requests left too late, or the sender and the proxies had most of the machine.
    SenderLimited,
    /// No more may be in flight, and they do not wait.
    InFlightLimited,
}

/// What the first steps say about a system that is hardly used.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Calm {
    /// The median latency at the lowest speed with some answers \[ms\].
    pub(super) latency_ms: Option<f64>,
    pub(super) answered: u64,
    pub(super) failed: u64,
}

/// One moment on two clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    pub(super) instant: Instant,
    pub(super) at: Timestamp,
}

// === impl Clock ===

impl Clock {
    fn nanos(self, instant: Instant) -> i64 {
        self.at.plus_nanos(instant.saturating_duration_since(self.instant).as_nanos() as u64).0
    }
}

// === impl Calm ===

impl Calm {
    /// Learns from a step in which the arm kept up.
    pub(super) fn learn(&mut self, step: &ProbeStep) {
        if self.latency_ms.is_none() && step.answered >= 10 {
            self.latency_ms = Some(step.latency_ms_p50);
        }
        // Faster than captured, errors may be those of a system that is full.
        if step.speed <= 1.0 {
            self.answered += step.answered;
            self.failed += step.failed;
        }
    }

    /// Returns the share of requests that fail whatever the load.
    pub(super) fn failed_share(&self) -> f64 {
        self.failed as f64 / self.answered.max(1) as f64
    }

    /// Returns how many times as long as at first the answers of a step took.
    pub(super) fn slower(&self, step: &ProbeStep) -> f64 {
        self.latency_ms.map_or(1.0, |calm| step.latency_ms_p50 / calm.max(1e-6))
    }
}

/// Counts what became of a stretch.
pub(super) fn tally(
    log: &Log,
    speed: f64,
    stretch: Stretch,
    usage: [Usage; 2],
    clock: Clock,
) -> ProbeStep {
    let Stretch { from, until, asked } = stretch;
    let within = |at: &Instant| (from..until).contains(at);
    let mut lags: Vec<u64> = log
        .sent
        .iter()
        .filter(|(intended, _)| within(intended))
        .map(|(intended, sent)| sent.saturating_duration_since(*intended).as_nanos() as u64)
        .collect();
    let ended: Vec<_> = log.ended.iter().filter(|ended| within(&ended.at)).collect();
    let mut latencies: Vec<u64> = ended
        .iter()
        .filter(|ended| ended.good)
        .map(|ended| ended.at.saturating_duration_since(ended.intended_at).as_nanos() as u64)
        .collect();
    let good = latencies.len() as u64;
    let in_flight = |at: Instant| {
        let sent = log.sent.iter().filter(|(_, sent)| *sent < at).count() as u64;
        sent.saturating_sub(log.ended.iter().filter(|ended| ended.at < at).count() as u64)
    };
    let seconds = until.duration_since(from).as_secs_f64();
    let mut latency_ms = |level| quantile::select(&mut latencies, level).unwrap_or(0) as f64 / 1e6;
    let (latency_ms_p50, latency_ms_p99) = (latency_ms(0.5), latency_ms(0.99));
    let (cores_busy, cores_own) = usage[1].cores_since(&usage[0]);
    ProbeStep {
        speed,
        window: [clock.nanos(from), clock.nanos(until)],
        asked,
        sent: lags.len() as u64,
        held_back: log.held_back.iter().filter(|at| within(at)).count() as u64,
        answered: ended.len() as u64,
        failed: ended.len() as u64 - good,
        asked_hz: asked as f64 / seconds,
        served_hz: good as f64 / seconds,
        latency_ms_p50,
        latency_ms_p99,
        send_lag_ms_p99: quantile::select(&mut lags, 0.99).unwrap_or(0) as f64 / 1e6,
        in_flight: [in_flight(from), in_flight(until)],
        cores_busy,
        cores_own,
        saturated: false,
    }
}

/// Says what a step shows, on a machine with so many cores.
pub(super) fn judge(step: &ProbeStep, calm: &Calm, cores: u32) -> Verdict {
    let seconds = (step.window[1] - step.window[0]) as f64 / 1e9;
    let asked = step.asked as f64;
    let behind = asked - step.answered as f64;
    let slow = calm.slower(step) >= MUCH_SLOWER;
    let deviations = if slow { BEHIND_AND_SLOWER } else { BEHIND_DEVIATIONS };
    let keeps_up = behind <= (BEHIND_SHARE * asked).max(deviations * asked.sqrt());
    let (answered, usual) = (step.answered.max(1) as f64, calm.failed_share());
    let failed = step.failed as f64 / answered;
    let deviation = (failed * (1.0 - failed) / answered).sqrt();
    let refuses = failed > usual + MORE_ERRORS.max(BEHIND_DEVIATIONS * deviation);
    if keeps_up && !refuses {
        return Verdict::KeepsUp;
    }
    let left = (step.sent + step.held_back) as f64;
    let late = step.send_lag_ms_p99 > 1e3 * LAG_SHARE * seconds || left < SENT_SHARE * asked;
    let exhausted = step.cores_busy >= EXHAUSTED * f64::from(cores);
    if late || exhausted && step.cores_own > OWN_SHARE * step.cores_busy {
        Verdict::SenderLimited
    } else if refuses {
        Verdict::Refuses
    } else if step.held_back > 0 && step.answered > 0 && calm.slower(step) < SLOWER {
        Verdict::InFlightLimited
    } else {
        Verdict::Saturated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: ProbeStep = ProbeStep {
        speed: 1.0,
        window: [0, 1_000_000_000],
        asked: 1_000,
        sent: 1_000,
        held_back: 0,
        answered: 990,
        failed: 0,
        asked_hz: 1_000.0,
        served_hz: 990.0,
        latency_ms_p50: 20.0,
        latency_ms_p99: 30.0,
        send_lag_ms_p99: 1.0,
        in_flight: [10, 20],
        cores_busy: 1.0,
        cores_own: 0.5,
        saturated: false,
    };

    #[test]
    fn tells_saturation_from_what_only_looks_like_it() {
        let calm = Calm { latency_ms: Some(20.0), answered: 1_000, failed: 10 };
        let check = |step: ProbeStep, expected| assert_eq!(judge(&step, &calm, 2), expected);
        check(STEP, Verdict::KeepsUp);
        let behind = ProbeStep { answered: 800, latency_ms_p50: 100.0, ..STEP };
        check(behind, Verdict::Saturated);
        check(ProbeStep { failed: 200, ..STEP }, Verdict::Refuses);
        check(ProbeStep { failed: 12, ..STEP }, Verdict::KeepsUp);
        check(ProbeStep { sent: 800, ..behind }, Verdict::SenderLimited);
        check(ProbeStep { sent: 600, held_back: 400, ..behind }, Verdict::Saturated);
        check(ProbeStep { send_lag_ms_p99: 300.0, ..behind }, Verdict::SenderLimited);
        check(ProbeStep { cores_busy: 2.0, cores_own: 1.5, ..behind }, Verdict::SenderLimited);
        check(ProbeStep { cores_busy: 2.0, cores_own: 0.5, ..behind }, Verdict::Saturated);
        let full = ProbeStep { sent: 800, held_back: 200, latency_ms_p50: 21.0, ..behind };
        check(full, Verdict::InFlightLimited);
        check(ProbeStep { answered: 0, latency_ms_p50: 0.0, ..full }, Verdict::Saturated);
        // Ten requests of which one is late are no queue.
        check(ProbeStep { asked: 10, sent: 10, answered: 8, ..STEP }, Verdict::KeepsUp);
    }
}
