//! Which way the slow requests sway: from block to block, more on one arm than its part explains.

/// Seconds that are one observation, since what is slow is slow for a while.
const BLOCK_SECONDS: u64 = 5;

/// The blocks at which the mixture is strongest, as the precision of its prior.
const PRIOR: f64 = 8.0;

/// Evidence that the candidate has more slow requests than the control.
///
/// Each block gives one number: how far the candidate's count is from its part of all, in standard deviations
/// of a fair draw. If the arms are alike its sign is a coin's, whatever its size: a stall that hits one arm is as
/// likely to hit the other. Then `exp(λΣd − λ²Σd²/2)` is a supermartingale for every λ, and so is its mean over
/// positive λ.
///
/// # Source
///
/// de la Peña, *A general class of exponential inequalities for martingales and ratios*, 1999, lemma on
/// conditionally symmetric variables; the Gaussian mixture of Robbins, one-sided.
#[derive(Clone, Debug, Default)]
pub(super) struct Sway {
    sum: f64,
    squares: f64,
    block: Option<(u64, [u64; 2], [u64; 2])>,
}

// === impl Sway ===

impl Sway {
    /// Takes a second: the slow requests of control and candidate, of how many.
    pub(super) fn observe(&mut self, second: u64, counts: [u64; 2], requests: [u64; 2]) {
        let now = second / BLOCK_SECONDS;
        if let Some((_, counts, requests)) = self.block.take_if(|(block, _, _)| *block != now) {
            self.close(counts, requests);
        }
        let (_, slow, all) = self.block.get_or_insert((now, [0; 2], [0; 2]));
        for arm in 0..2 {
            slow[arm] += counts[arm];
            all[arm] += requests[arm];
        }
    }

    fn close(&mut self, counts: [u64; 2], requests: [u64; 2]) {
        let (all, total) = ((counts[0] + counts[1]) as f64, (requests[0] + requests[1]) as f64);
        if counts[0] + counts[1] == 0 || requests[0] == 0 || requests[1] == 0 {
            return;
        }
        let part = requests[1] as f64 / total;
        let difference = (counts[1] as f64 - all * part) / (all * part * (1.0 - part)).sqrt();
        self.sum += difference;
        self.squares += difference * difference;
    }

    /// Returns the evidence: 1 at first, and above `1/alpha` with a probability of at most `alpha` at any time.
    pub(super) fn evidence(&self) -> f64 {
        ln_mixture(self.sum, self.squares, PRIOR).exp()
    }
}

/// Returns the logarithm of the mean of `exp(λ·sum − λ²·squares/2)` over positive λ, of a normal prior with a
/// precision in the unit of the squares.
pub(super) fn ln_mixture(sum: f64, squares: f64, prior: f64) -> f64 {
    let precision = prior + squares;
    // Twice the half-Gaussian mixture: the normal distribution up to what the sum says.
    let below = normal(sum / precision.sqrt()).max(f64::MIN_POSITIVE);
    (2.0 * below).ln() + 0.5 * (prior / precision).ln() + sum * sum / (2.0 * precision)
}

/// Returns the standard normal distribution function, off by less than 1e-7.
///
/// # Source
///
/// Abramowitz and Stegun, 26.2.17.
fn normal(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * x.abs());
    let series = t
        * (0.319_381_53
            + t * (-0.356_563_782
                + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    let tail = (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt() * series;
    if x >= 0.0 { 1.0 - tail } else { tail }
}

#[cfg(test)]
mod tests {
    use prophecy_core::Seed;

    use super::*;

    /// Stalls of two seconds that hit every request of one arm or of the other, as often, looked at for an
    /// hour at every second.
    #[test]
    fn clumps_are_not_taken_for_a_difference() {
        let alarms = (0..1_000).filter(|run| {
            let mut stream = Seed(6).stream(*run, 0, "stalls");
            let mut sway = Sway::default();
            let (mut left, mut arm) = (0, 0);
            (0..3_600).any(|second| {
                if left == 0 && stream.uniform() < 1.0 / 60.0 {
                    left = 2;
                    arm = usize::from(stream.uniform() < 0.5);
                }
                let mut counts = [0, 0];
                for slow in &mut counts {
                    *slow = (0..20).filter(|_| stream.uniform() < 0.01).count() as u64;
                }
                if left > 0 {
                    left -= 1;
                    counts[arm] = 20;
                }
                sway.observe(second, counts, [20, 20]);
                sway.evidence() >= 100.0
            })
        });
        let alarms = alarms.count();
        assert!(alarms <= 19, "{alarms} of 1,000");
    }

    /// One in a hundred is slow on one arm, none on the other, at 20 requests a second.
    #[test]
    fn one_slow_request_in_a_hundred_is_found() {
        let found = (0..500).filter(|run| {
            let mut stream = Seed(7).stream(*run, 0, "slow");
            let mut sway = Sway::default();
            (0..250).any(|second| {
                let slow = (0..20).filter(|_| stream.uniform() < 0.01).count() as u64;
                sway.observe(second, [0, slow], [20, 20]);
                sway.evidence() >= 500.0
            })
        });
        let found = found.count();
        assert!(found >= 450, "{found} of 500");
    }
}
