//! Latency beside the control: the median, and the tail.

use super::sway::Sway;
use super::{Check, Finding, bounds};
use crate::slice::Histogram;

/// Where requests count as slow: a quantile of the control so far, times a factor, where the tolerance applies
/// to the first of each quantile.
const LINES: [(f64, f64); 6] =
    [(0.5, 1.0), (0.5, 2.0), (0.95, 1.0), (0.99, 1.0), (0.99, 2.0), (0.99, 4.0)];

/// Requests of the control before its quantiles are used.
const FEWEST: u64 = 50;

/// Compares the latencies of two arms.
#[derive(Clone, Debug)]
pub(super) struct Latency {
    tolerance: f64,
    seen: [Histogram; 2],
    sways: [Sway; LINES.len()],
}

// === impl Latency ===

impl Latency {
    pub(super) fn new(tolerance: f64) -> Self {
        Self { tolerance, seen: Default::default(), sways: Default::default() }
    }

    /// Takes a second. Where a request counts as slow is known before the second is looked at.
    pub(super) fn observe(&mut self, second: u64, latency: &[Histogram; 2]) {
        if self.seen[0].count() >= FEWEST {
            let requests = [latency[0].count(), latency[1].count()];
            for (sway, (level, factor)) in self.sways.iter_mut().zip(LINES) {
                let quantile = self.seen[0].quantile(level).expect("something was counted");
                let line = (quantile as f64 * factor * (1.0 + self.tolerance)) as u64;
                let slow = [latency[0].count_above(line), latency[1].count_above(line)];
                sway.observe(second, slow, requests);
            }
        }
        for (seen, new) in self.seen.iter_mut().zip(latency) {
            seen.merge(new);
        }
    }

    /// Returns what can be said of the median, and of the tail.
    pub(super) fn checks(&self, alpha: f64, miss: f64) -> [Check; 2] {
        // The mean of test martingales is one; a fifth of the alarms that may be false are theirs.
        let evidence: f64 = self.sways.iter().map(Sway::evidence).sum::<f64>() / LINES.len() as f64;
        let failed = evidence >= 5.0 / alpha;
        [
            self.check(
                "latency/p50",
                (0.5, self.tolerance, 0.5),
                failed.then_some(evidence),
                alpha,
            ),
            self.check("latency/p95", (0.95, 2.0 * self.tolerance, 0.1), None, miss),
        ]
    }

    /// Shows that at most a share `most` of the candidate's requests is slower than the control's quantile and
    /// a tolerance.
    fn check(
        &self,
        name: &str,
        (level, tolerance, most): (f64, f64, f64),
        failed: Option<f64>,
        miss: f64,
    ) -> Check {
        let [control, candidate] = &self.seen;
        let ms = |of: &Histogram| of.quantile(level).map(|it| it as f64 / 1e6);
        let values = [ms(control), ms(candidate)];
        let line = values[0].map_or(0.0, |it| it * (1.0 + tolerance));
        let slow = candidate.count_above((line * 1e6) as u64);
        let [_, at_most] = bounds::share(slow, candidate.count(), miss);
        let (finding, words) = match (values, failed) {
            ([Some(before), Some(after)], Some(evidence)) => (
                Finding::Fail,
                format!(
                    "slow requests gather on the candidate (median {after:.1} ms beside {before:.1} ms); chance makes that so at most once in {evidence:.0} times"
                ),
            ),
            ([Some(before), Some(after)], None) if at_most <= most => (
                Finding::Pass,
                format!(
                    "{after:.1} ms beside {before:.1} ms; at most {:.1} % are slower than {line:.1} ms, and up to {:.0} % may be",
                    100.0 * at_most,
                    100.0 * most
                ),
            ),
            ([Some(before), Some(after)], None) => (
                Finding::Inconclusive,
                format!(
                    "{after:.1} ms beside {before:.1} ms; up to {:.1} % may be slower than {line:.1} ms, and {:.0} % are allowed",
                    100.0 * at_most,
                    100.0 * most
                ),
            ),
            _ => (Finding::NoData, "one of the arms answered no request".to_owned()),
        };
        Check {
            name: name.to_owned(),
            finding,
            dry_run: false,
            needed: true,
            values,
            interval: bounds::quantile(candidate, level, miss).map(|ends| ends.map(|it| it / 1e6)),
            bound: None,
            unit: "ms".to_owned(),
            words,
        }
    }
}
