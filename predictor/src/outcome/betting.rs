//! Evidence about a share that may be looked at as often as one likes.
//!
//! A bettor who starts with one unit and bets against "the share is at most *p*" has, by Ville's
//! inequality, more than 20 units at any time with probability 0.05 at most. The bets here are
//! likelihood ratios of fixed alternatives, mixed in equal parts.
//!
//! # Source
//!
//! Ville (1939); Ramdas, Grünwald, Vovk and Shafer, *Game-theoretic statistics and safe anytime-valid
//! inference* (2023), sections 2 and 4.

/// The alternatives, relative to the share that is tested: its odds times these.
const ODDS_ABOVE: [f64; 6] = [1.25, 1.6, 2.5, 4.0, 10.0, 40.0];
const ODDS_BELOW: [f64; 6] = [0.8, 0.6, 0.4, 0.2, 0.1, 0.02];

/// Returns the evidence that a share is greater than `bound`, from `count` of `of`.
pub fn above(count: u64, of: u64, bound: f64) -> f64 {
    wealth(count, of, bound, &ODDS_ABOVE)
}

/// Returns the evidence that a share is less than `bound`.
pub fn below(count: u64, of: u64, bound: f64) -> f64 {
    wealth(count, of, bound, &ODDS_BELOW)
}

fn wealth(count: u64, of: u64, bound: f64, odds: &[f64]) -> f64 {
    let bound = bound.clamp(1e-6, 1.0 - 1e-6);
    let wealth = odds.iter().map(|factor| {
        let ratio = factor * bound / (1.0 - bound);
        let other = ratio / (1.0 + ratio);
        let hits = count as f64 * (other / bound).ln();
        let misses = (of - count) as f64 * ((1.0 - other) / (1.0 - bound)).ln();
        (hits + misses).exp()
    });
    (wealth.sum::<f64>() / odds.len() as f64).min(1e300)
}

#[cfg(test)]
mod tests {
    use prophecy_core::Seed;

    use super::*;

    /// Ville: at most one path in twenty ever exceeds 20, looked at after every request. Of 2,000
    /// paths, a share of 0.05 has a standard error of 0.0049.
    #[test]
    fn an_equal_share_is_rarely_held_for_another_however_often_one_looks() {
        for bound in [0.01, 0.05, 0.5] {
            let mut wrong = [0; 2];
            for path in 0..2_000 {
                let mut stream = Seed(3).stream(path, 0, "paths");
                let mut count = 0;
                let (mut over, mut under) = (false, false);
                for of in 1..=400 {
                    count += u64::from(stream.uniform() < bound);
                    over |= above(count, of, bound) >= 20.0;
                    under |= below(count, of, bound) >= 20.0;
                }
                wrong[0] += u32::from(over);
                wrong[1] += u32::from(under);
            }
            assert!(wrong.iter().all(|paths| *paths <= 130), "{bound}: {wrong:?} of 2000");
        }
    }

    #[test]
    fn a_clear_difference_is_found() {
        assert!(above(30, 300, 0.05) > 20.0);
        assert!(below(1, 300, 0.05) > 20.0);
        assert!(above(15, 300, 0.05) < 1.0);
        assert!((above(0, 0, 0.05) - 1.0).abs() < 1e-12);
    }
}
