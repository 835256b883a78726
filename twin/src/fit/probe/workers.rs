//! How many workers there are, from visits that queued for them.
//!
//! Little's law alone gives a number that what passes outside of the worker makes a little too large: the
//! numbers around it are tried. With the right one, the recursion of the queue, run backwards, leaves the
//! same own times under overload as before; with one too many, each visit also gets the gap to an
//! earlier end.

use prophecy_datasets::Sighting;
use prophecy_datasets::probe::WorkerRange;

use super::{Alone, queue};

/// What passes outside of a worker, at most: as a share of the own time, and \[ns\].
const OUTSIDE_SHARE: f64 = 0.2;
const OUTSIDE_NANOS: f64 = 2e6;

/// How much longer work may take under overload, relatively, where it does not compete for cores.
const LONGER_SHARE: f64 = 0.05;

/// Standard errors that a rate and a time may be off.
const ERRORS: f64 = 2.5;

/// The most numbers that are tried.
const TRIED: u32 = 64;

/// Visits before, and under overload, without which only Little's law is used.
const NEEDED: (usize, usize) = (15, 50);

/// What usually passes outside of a worker, as a share of the most.
const USUAL_SHARE: f64 = 0.25;

/// How much a time that had to be shifted by more or less to fit counts against it.
const SHIFT_WEIGHT: f64 = 0.3;

/// Times that differ by this share of the mean are no fit: requests are taken up in another order.
const NO_FIT: f64 = 0.2;

/// Timers and sampling, as a share of the mean.
const GRAIN: f64 = 0.01;

/// Visits of one service, ordered by start, and which of them ended when.
pub(super) struct Samples<'a> {
    visits: &'a [&'a Sighting],
    covered: &'a [u64],
    /// Those that ended while the arm kept up.
    pub(super) calm: Vec<usize>,
    /// Those that ended in the last step.
    pub(super) saturated: Vec<usize>,
}

/// How badly a number of workers fits \[ns\], and what chance alone does.
#[derive(Clone, Copy, Debug)]
struct Misfit {
    workers: u32,
    nanos: f64,
    noise_nanos: f64,
}

// === impl Samples ===

impl<'a> Samples<'a> {
    pub(super) fn new(
        visits: &'a [&'a Sighting],
        covered: &'a [u64],
        calm: [i64; 2],
        saturated: [i64; 2],
    ) -> Self {
        let ended = |[from, until]: [i64; 2]| {
            let within = |index: &usize| (from..until).contains(&visits[*index].ended_at.0);
            (0..visits.len()).filter(within).collect()
        };
        Self { visits, covered, calm: ended(calm), saturated: ended(saturated) }
    }

    /// Returns how many workers fit, given the answers per second under overload.
    pub(super) fn workers(&self, served_hz: f64, alone: &Alone, calls_nanos: f64) -> WorkerRange {
        let own = alone.mean_nanos;
        let outside = OUTSIDE_NANOS.min(OUTSIDE_SHARE * own);
        let count = self.saturated.len().max(1) as f64;
        // The rate of a renewal process varies like its intervals; not known better than for Poisson's.
        let rate_error = ERRORS / count.sqrt();
        let time_error = ERRORS * alone.error_nanos / (own + calls_nanos).max(1.0);
        let doubt = rate_error.hypot(time_error);
        let inside = |own: f64| served_hz * (own + calls_nanos) / 1e9;
        let least = (inside(own - outside) * (1.0 - doubt)).floor().max(1.0) as u32;
        let most = (inside(own) * (1.0 + LONGER_SHARE + doubt)).ceil().max(1.0) as u32;
        let most = most.clamp(least, least + TRIED);
        let likeliest = (inside(own - USUAL_SHARE * outside).round() as u32).clamp(least, most);
        let by_rate = WorkerRange { least, likeliest, most };
        if self.calm.len() < NEEDED.0 || self.saturated.len() < NEEDED.1 {
            return by_rate;
        }
        // Whoever found fewer than any number that is tried waits with none of them.
        let before = queue::in_system(self.visits);
        let free = self.calm.iter().copied().filter(|index| before[*index] < least);
        let calm = self.own(free, None);
        if calm.len() < NEEDED.0 {
            return by_rate;
        }
        let misfits: Vec<Misfit> =
            (least..=most).map(|workers| self.misfit(workers, &calm, outside)).collect();
        let best = misfits.iter().min_by(|a, b| a.nanos.total_cmp(&b.nanos));
        let best = *best.expect("one is tried");
        if best.nanos > NO_FIT * own {
            return by_rate;
        }
        let fits = |misfit: &&Misfit| misfit.nanos <= best.nanos + best.noise_nanos;
        let below = misfits.iter().rev().filter(|misfit| misfit.workers <= best.workers);
        let above = misfits.iter().filter(|misfit| misfit.workers >= best.workers);
        let edge = |found: Option<&Misfit>| found.map_or(best.workers, |misfit| misfit.workers);
        let least = edge(below.take_while(fits).last());
        let most = edge(above.take_while(fits).last());
        WorkerRange { least, likeliest: best.workers, most }
    }

    /// Returns own times, ascending, waits taken out \[ns\].
    fn own(&self, of: impl Iterator<Item = usize>, waits: Option<&[Option<u64>]>) -> Vec<f64> {
        let mut own: Vec<f64> = of
            .filter(|index| !self.visits[*index].failed)
            .map(|index| {
                let visit = self.visits[index];
                let there = visit.ended_at.nanos_since(visit.started_at);
                let waited = waits.and_then(|waits| waits[index]).unwrap_or(0);
                there.saturating_sub(waited).saturating_sub(self.covered[index]) as f64
            })
            .collect();
        own.sort_unstable_by(f64::total_cmp);
        own
    }

    /// Compares own times before, ascending, with those under overload if there are so many workers.
    fn misfit(&self, workers: u32, calm: &[f64], outside: f64) -> Misfit {
        let waits = queue::waits(self.visits, workers);
        let saturated = self.own(self.saturated.iter().copied(), Some(&waits));
        let mut gaps: Vec<f64> = LEVELS
            .iter()
            .map(|level| quantile(calm, *level) - quantile(&saturated, *level))
            .collect();
        let gaps_before = gaps.clone();
        gaps.sort_unstable_by(f64::total_cmp);
        let center = super::mean(calm.iter().copied());
        let shift = gaps[gaps.len() / 2].clamp(-LONGER_SHARE * center, outside);
        let apart = super::mean(gaps_before.iter().map(|gap| (gap - shift).abs()));
        let spread = super::mean(calm.iter().map(|own| (own - center).powi(2))).sqrt();
        let per_visit = 1.0 / calm.len().max(1) as f64 + 1.0 / saturated.len().max(1) as f64;
        Misfit {
            workers,
            nanos: apart + SHIFT_WEIGHT * (shift - USUAL_SHARE * outside).abs(),
            noise_nanos: spread * per_visit.sqrt() + GRAIN * center,
        }
    }
}

/// Where two distributions are compared.
const LEVELS: [f64; 10] = [0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95];

fn quantile(sorted: &[f64], level: f64) -> f64 {
    prophecy_core::quantile::of_sorted(sorted, level).unwrap_or(0.0)
}
