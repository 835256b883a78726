//! A race between two arms: which of them has more of something than its part of the traffic explains.

/// How many times as often the candidate may have it, and how likely each is held beforehand. Most weight lies
/// on "only the candidate has it", which is what a new fault looks like.
const ALTERNATIVES: [(f64, f64); 8] = [
    (1.25, 0.06),
    (1.5, 0.08),
    (2.0, 0.1),
    (3.0, 0.1),
    (5.0, 0.08),
    (10.0, 0.08),
    (30.0, 0.1),
    (100.0, 0.4),
];

/// Evidence that the candidate has more of something than the control.
///
/// Given how much of it both arms had in a second, the candidate's part is that of its requests if the arms are
/// alike. The evidence is the likelihood ratio against that, mixed over [`ALTERNATIVES`]: a test martingale, so
/// it exceeds `1/alpha` at any time with a probability of at most `alpha`. Counts that come in clumps are a
/// difference to it: a burst of errors on one side is one.
///
/// # Source
///
/// Ville's inequality; Ramdas, Grünwald, Vovk and Shafer, *Game-theoretic statistics and safe anytime-valid
/// inference*, 2023, section 3.
#[derive(Clone, Debug)]
pub(super) struct Race {
    logs: [f64; ALTERNATIVES.len()],
    counts: [u64; 2],
    requests: [u64; 2],
}

// === impl Race ===

impl Race {
    pub(super) fn new() -> Self {
        Self { logs: [0.0; ALTERNATIVES.len()], counts: [0; 2], requests: [0; 2] }
    }

    /// Takes a second: what control and candidate had of it, of how many requests.
    pub(super) fn observe(&mut self, counts: [u64; 2], requests: [u64; 2]) {
        for arm in 0..2 {
            self.counts[arm] += counts[arm];
            self.requests[arm] += requests[arm];
        }
        let (all, total) = (counts[0] + counts[1], requests[0] + requests[1]);
        if all == 0 || requests[0] == 0 || requests[1] == 0 {
            return;
        }
        let part = requests[1] as f64 / total as f64;
        for (log, (ratio, _)) in self.logs.iter_mut().zip(ALTERNATIVES) {
            let expected = ratio * part / (ratio * part + 1.0 - part);
            let gain = counts[1] as f64 * (expected / part).ln()
                + counts[0] as f64 * ((1.0 - expected) / (1.0 - part)).ln();
            *log += gain;
        }
    }

    /// Returns the evidence: how many times better "more" explains what was seen than "alike".
    pub(super) fn evidence(&self) -> f64 {
        let terms = self.logs.iter().zip(ALTERNATIVES).map(|(log, (_, weight))| weight * log.exp());
        terms.sum()
    }

    /// Returns what control and candidate had of it.
    pub(super) fn counts(&self) -> [u64; 2] {
        self.counts
    }

    /// Returns the requests of control and candidate.
    pub(super) fn requests(&self) -> [u64; 2] {
        self.requests
    }
}

#[cfg(test)]
mod tests {
    use prophecy_core::Seed;
    use prophecy_core::random::Philox;

    use super::*;

    fn poisson(stream: &mut Philox, mean: f64) -> u64 {
        let mut left = mean;
        let mut count = 0;
        loop {
            left -= stream.exponential();
            if left < 0.0 {
                return count;
            }
            count += 1;
        }
    }

    /// Returns the first minute of an hour in which the evidence reaches a limit.
    fn alarm(run: u32, per_minute: [f64; 2], limit: f64) -> Option<u64> {
        let mut stream = Seed(5).stream(run, 0, "errors");
        let mut race = Race::new();
        (0..3_600).find_map(|second| {
            let counts = per_minute.map(|mean| poisson(&mut stream, mean / 60.0));
            race.observe(counts, [20, 20]);
            (race.evidence() >= limit).then_some(second / 60)
        })
    }

    /// An hour, looked at every second: alike arms alarm in at most 1 % of the runs. Three standard errors
    /// of 1,000 runs are 0.95 %.
    #[test]
    fn alike_arms_are_seldom_told_apart() {
        for mean in [0.2, 1.0, 5.0] {
            let alarms = (0..1_000).filter(|run| alarm(*run, [mean, mean], 100.0).is_some());
            let alarms = alarms.count();
            assert!(alarms <= 19, "{mean}: {alarms} of 1,000");
        }
    }

    #[test]
    fn sparse_errors_are_found() {
        let found = (0..500).filter_map(|run| alarm(run, [0.0, 0.2], 200.0)).count();
        assert!(found >= 400, "0 against 12: {found} of 500");
        let mut minutes: Vec<u64> =
            (0..500).filter_map(|run| alarm(run, [0.2, 1.0], 200.0)).collect();
        minutes.sort_unstable();
        assert!(minutes.len() >= 495, "12 against 60: {} of 500", minutes.len());
        assert!(minutes[minutes.len() / 2] <= 20, "median minute {}", minutes[minutes.len() / 2]);
    }
}
