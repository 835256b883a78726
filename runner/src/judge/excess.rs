//! Whether the mean of an autocorrelated sequence lies above zero.

use super::sway::ln_mixture;

/// The highest autocorrelation from one sample to the next that the evidence allows for, either way.
const MOST: f64 = 0.95;

/// Steps of the search on each side of zero.
const STEPS: i32 = 95;

/// Samples that set the scale before anything counts.
const FIRST: u64 = 5;

/// Evidence that the mean of a sequence lies above zero, or below, that holds at any number of looks.
///
/// If a sample is ρ times the one before plus something new, and what is new is as likely to lie below the rest of
/// its mean as above, then the evidence at that ρ is a supermartingale that begins at 1, for each mean up to zero: it
/// bets on what is new, once on all of it, and once apart on what follows low and high samples, so that a ρ which is
/// not that of the sequence loses. As ρ is not known, what counts is the least over all of them up to 0.9: at the
/// true one it exceeds `1/alpha` at any time with a probability of at most `alpha`, so the least does as well.
///
/// # Source
///
/// As [`super::sway::Sway`] for one ρ. A symmetric variable less something positive keeps the inequality: the
/// function `exp(x - x²/2)` of two points that sum to less than zero sums to at most 2. The least over what is not
/// known: Wasserman, Ramdas and Balakrishnan, *Universal inference*, 2020, section 3.
#[derive(Clone, Debug, Default)]
pub(super) struct Excess {
    last: Option<f64>,
    count: u64,
    total: f64,
    first: Moments,
    low: Moments,
    high: Moments,
}

/// Which side of zero the mean is to be shown on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Above,
    Below,
}

/// Sums over pairs of a sample and the one before it.
#[derive(Clone, Copy, Debug, Default)]
struct Moments {
    count: u64,
    now: f64,
    before: f64,
    now_squared: f64,
    before_squared: f64,
    product: f64,
}

// === impl Excess ===

impl Excess {
    /// Takes the next sample; it has to be finite.
    pub(super) fn observe(&mut self, sample: f64) {
        if let Some(before) = self.last {
            let moments = if self.first.count < FIRST || self.first.now_squared == 0.0 {
                &mut self.first
            } else if before * (self.count as f64) < self.total {
                &mut self.low
            } else {
                &mut self.high
            };
            moments.add(sample, before);
        }
        self.last = Some(sample);
        self.count += 1;
        self.total += sample;
    }

    /// Forgets the last sample: what comes next does not follow it.
    pub(super) fn interrupt(&mut self) {
        self.last = None;
    }

    /// Returns how many samples there were.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Returns the evidence that the mean lies on a side of zero, if it reaches a limit.
    pub(super) fn shown(&self, side: Side, limit: f64) -> Option<f64> {
        let at = |rho: f64| self.ln_evidence(side, rho);
        let all = self.low.with(self.high);
        // Where the sequence itself says that ρ is, there is mostly too little.
        let likely = if all.before_squared > 0.0 { all.product / all.before_squared } else { 0.0 };
        let mut least = at(likely.clamp(-MOST, MOST));
        let mut lowest = 0.0;
        for step in -STEPS..=STEPS {
            if least < limit.ln() {
                return None;
            }
            let rho = MOST * f64::from(step) / f64::from(STEPS);
            let found = at(rho);
            if found < least {
                (least, lowest) = (found, rho);
            }
        }
        let width = MOST / f64::from(STEPS);
        least = least.min(valley(lowest - width, lowest + width, at));
        (least >= limit.ln()).then(|| least.exp())
    }

    fn ln_evidence(&self, side: Side, rho: f64) -> f64 {
        let precision = self.first.squares(rho);
        if precision <= 0.0 || self.low.count + self.high.count == 0 {
            return 0.0;
        }
        let sign = if side == Side::Above { 1.0 } else { -1.0 };
        let of = |moments: &Moments| {
            ln_mixture(sign * moments.sum(rho), moments.squares(rho), precision)
        };
        let together = of(&self.low.with(self.high));
        let apart = of(&self.low) + of(&self.high);
        let most = together.max(apart);
        most + (0.5 * ((together - most).exp() + (apart - most).exp())).ln()
    }
}

/// Returns the least value that is found between two points.
fn valley(from: f64, to: f64, of: impl Fn(f64) -> f64) -> f64 {
    let (mut from, mut to) = (from.max(-MOST), to.min(MOST));
    let mut least = f64::INFINITY;
    for _ in 0..20 {
        let (left, right) = (from + (to - from) / 3.0, to - (to - from) / 3.0);
        let found = (of(left), of(right));
        least = least.min(found.0).min(found.1);
        if found.0 < found.1 {
            to = right;
        } else {
            from = left;
        }
    }
    least
}

// === impl Moments ===

impl Moments {
    fn add(&mut self, now: f64, before: f64) {
        self.count += 1;
        self.now += now;
        self.before += before;
        self.now_squared += now * now;
        self.before_squared += before * before;
        self.product += now * before;
    }

    fn with(self, other: Self) -> Self {
        Self {
            count: self.count + other.count,
            now: self.now + other.now,
            before: self.before + other.before,
            now_squared: self.now_squared + other.now_squared,
            before_squared: self.before_squared + other.before_squared,
            product: self.product + other.product,
        }
    }

    /// Returns the sum of what is new at a ρ.
    fn sum(&self, rho: f64) -> f64 {
        self.now - rho * self.before
    }

    /// Returns the sum of its squares.
    fn squares(&self, rho: f64) -> f64 {
        let squares = self.now_squared - 2.0 * rho * self.product + rho * rho * self.before_squared;
        // NUMERICS: large samples with small steps leave a difference of large numbers.
        squares.max(1e-12 * self.now_squared)
    }
}

#[cfg(test)]
mod tests {
    use prophecy_core::Seed;
    use prophecy_core::random::Philox;

    use super::*;

    /// A sequence about a mean, each sample ρ times the one before and something new; its deviation is 1.
    struct Sequence {
        stream: Philox,
        rho: f64,
        mean: f64,
        state: f64,
    }

    impl Sequence {
        fn new(run: u32, purpose: &str, rho: f64, mean: f64) -> Self {
            let mut stream = Seed(8).stream(run, 0, purpose);
            Self { state: stream.normal(), stream, rho, mean }
        }

        fn next(&mut self) -> f64 {
            let new = (1.0 - self.rho * self.rho).sqrt() * self.stream.normal();
            self.state = self.rho * self.state + new;
            self.mean + self.state
        }

        /// Returns when the evidence first reaches a limit.
        fn alarm(mut self, seconds: u32, limit: f64) -> Option<u32> {
            let mut excess = Excess::default();
            (0..seconds).find(|_| {
                excess.observe(self.next());
                excess.shown(Side::Above, limit).is_some()
            })
        }
    }

    /// Looked at after each sample, the mean at the edge of what is allowed. Three standard errors of 1,000 runs at a
    /// limit of 5 % are 2.1 %.
    #[test]
    fn a_mean_of_zero_is_seldom_taken_for_more() {
        for rho in [-0.5, 0.0, 0.5, 0.9, 0.95] {
            let alarms = (0..1_000)
                .filter(|run| Sequence::new(*run, "size", rho, 0.0).alarm(600, 20.0).is_some());
            let alarms = alarms.count();
            assert!(alarms as f64 <= 1_000.0 * (0.05 + 0.021), "{rho}: {alarms} of 1,000");
        }
    }

    /// Nine in ten are found within ten minutes, less three standard errors of 100 runs (9 %), at a limit that four
    /// gauges have in a rollout of two steps.
    #[test]
    fn an_excess_of_deviations_is_found() {
        for (rho, mean) in [(0.0, 1.0), (0.5, 1.0), (0.9, 5.0)] {
            let found = (0..100)
                .filter(|run| Sequence::new(*run, "power", rho, mean).alarm(600, 8_000.0).is_some())
                .count();
            assert!(found >= 81, "{rho}, {mean}: {found} of 100");
        }
    }

    #[test]
    fn what_does_not_change_can_be_too_much() {
        let mut excess = Excess::default();
        (0..60).for_each(|_| excess.observe(3.0));
        assert!(excess.shown(Side::Above, 8_000.0).is_some());
        assert!(excess.shown(Side::Below, 1.1).is_none());
        let mut nothing = Excess::default();
        (0..60).for_each(|_| nothing.observe(0.0));
        assert!(nothing.shown(Side::Above, 1.1).is_none());
    }
}
