//! Own time as a law, for models written by hand and for checks against closed forms.

use serde::{Deserialize, Serialize};

/// A distribution of own time, drawn by inversion: a larger `u` never gives a smaller time, so two
/// laws drawn with the same luck stay coupled.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Law {
    /// Always the same.
    Constant {
        /// The time.
        nanos: u64,
    },
    /// Memoryless.
    Exponential {
        /// The mean.
        mean_nanos: f64,
    },
    /// The logarithm is normal: `median · exp(sigma · z)`.
    Lognormal {
        /// The median.
        median_nanos: f64,
        /// The standard deviation of the natural logarithm.
        sigma: f64,
    },
}

// === impl Law ===

impl Law {
    /// Returns the time at level `u` in `[0, 1)`, rounded to a nanosecond.
    pub fn quantile(self, u: f64) -> u64 {
        match self {
            Self::Constant { nanos } => nanos,
            // NUMERICS: u < 1, so the logarithm is finite; rounding to nearest leaves the mean.
            Self::Exponential { mean_nanos } => (-(-u).ln_1p() * mean_nanos).round() as u64,
            Self::Lognormal { median_nanos, sigma } => {
                (median_nanos * (sigma * normal_quantile(u)).exp()).round() as u64
            }
        }
    }

    /// Returns the mean.
    pub fn mean_nanos(self) -> f64 {
        match self {
            Self::Constant { nanos } => nanos as f64,
            Self::Exponential { mean_nanos } => mean_nanos,
            Self::Lognormal { median_nanos, sigma } => median_nanos * (sigma * sigma / 2.0).exp(),
        }
    }
}

/// Returns the standard normal quantile at `u`, to about 1e-15.
///
/// # Source
///
/// Wichura (1988), *Algorithm AS 241: The Percentage Points of the Normal Distribution*, PPND16.
fn normal_quantile(u: f64) -> f64 {
    const CENTER: [f64; 8] = [
        3.387_132_872_796_366_608,
        1.331_416_678_917_843_774_5e2,
        1.971_590_950_306_551_442_7e3,
        1.373_169_376_550_946_112_5e4,
        4.592_195_393_154_987_145_7e4,
        6.726_577_092_700_870_085_3e4,
        3.343_057_558_358_812_810_5e4,
        2.509_080_928_730_122_672_7e3,
    ];
    const CENTER_BELOW: [f64; 8] = [
        1.0,
        4.231_333_070_160_091_125_2e1,
        6.871_870_074_920_579_083e2,
        5.394_196_021_424_751_107_7e3,
        2.121_379_430_158_659_586_7e4,
        3.930_789_580_009_271_061e4,
        2.872_908_573_572_194_267_4e4,
        5.226_495_278_852_854_561e3,
    ];
    const MIDDLE: [f64; 8] = [
        1.423_437_110_749_683_577_34,
        4.630_337_846_156_545_295_9,
        5.769_497_221_460_691_405_5,
        3.647_848_324_763_204_605_04,
        1.270_458_252_452_368_382_58,
        2.417_807_251_774_506_117_7e-1,
        2.272_384_498_926_918_458_33e-2,
        7.745_450_142_783_414_076_4e-4,
    ];
    const MIDDLE_BELOW: [f64; 8] = [
        1.0,
        2.053_191_626_637_758_821_87,
        1.676_384_830_183_803_849_4,
        6.897_673_349_851_000_045_5e-1,
        1.481_039_764_274_800_745_9e-1,
        1.519_866_656_361_645_719_66e-2,
        5.475_938_084_995_344_946e-4,
        1.050_750_071_644_416_843_24e-9,
    ];
    const TAIL: [f64; 8] = [
        6.657_904_643_501_103_777_2,
        5.463_784_911_164_114_369_9,
        1.784_826_539_917_291_335_8,
        2.965_605_718_285_048_912_3e-1,
        2.653_218_952_657_612_309_3e-2,
        1.242_660_947_388_078_438_6e-3,
        2.711_555_568_743_487_578_15e-5,
        2.010_334_399_292_288_132_65e-7,
    ];
    const TAIL_BELOW: [f64; 8] = [
        1.0,
        5.998_322_065_558_879_376_9e-1,
        1.369_298_809_227_358_053_1e-1,
        1.487_536_129_085_061_485_25e-2,
        7.868_691_311_456_132_591e-4,
        1.846_318_317_510_054_681_8e-5,
        1.421_511_758_316_445_888_7e-7,
        2.044_263_103_389_939_785_64e-15,
    ];
    let ratio = |above: &[f64; 8], below: &[f64; 8], x: f64| {
        let sum = |terms: &[f64; 8]| terms.iter().rev().fold(0.0, |sum, term| sum * x + term);
        sum(above) / sum(below)
    };
    // NUMERICS: draws are multiples of 2⁻⁵³ from 0; half a step keeps the logarithm finite.
    let u = u.max(0.5f64.powi(54));
    let q = u - 0.5;
    if q.abs() <= 0.425 {
        return q * ratio(&CENTER, &CENTER_BELOW, 0.180_625 - q * q);
    }
    let r = (-u.min(1.0 - u).ln()).sqrt();
    let z = if r <= 5.0 {
        ratio(&MIDDLE, &MIDDLE_BELOW, r - 1.6)
    } else {
        ratio(&TAIL, &TAIL_BELOW, r - 5.0)
    };
    z.copysign(q)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of Python's `statistics.NormalDist().inv_cdf`.
    #[test]
    fn inverts_the_normal_distribution() {
        let cases = [
            (0.5, 0.0),
            (0.9, 1.281_551_565_544_600_4),
            (0.975, 1.959_963_984_540_053_8),
            (1e-6, -4.753_424_308_822_899),
            (1e-13, -7.348_796_102_800_675),
        ];
        for (u, expected) in cases {
            let found = normal_quantile(u);
            assert!((found - expected).abs() < 1e-12, "{u}: {found}");
        }
    }

    #[test]
    fn never_falls_as_the_level_rises() {
        let laws = [
            Law::Constant { nanos: 5 },
            Law::Exponential { mean_nanos: 1e6 },
            Law::Lognormal { median_nanos: 1e6, sigma: 1.5 },
        ];
        for law in laws {
            let values: Vec<u64> =
                (0..10_000).map(|i| law.quantile(f64::from(i) / 10_000.0)).collect();
            assert!(values.is_sorted(), "{law:?}");
        }
    }

    /// The mean over 200,000 midpoints misses only the very end of the tail: below 0.1 %.
    #[test]
    fn has_the_mean_it_states() {
        let n = 200_000;
        for law in [
            Law::Exponential { mean_nanos: 1e6 },
            Law::Lognormal { median_nanos: 1e6, sigma: 0.8 },
        ] {
            let sum: u64 =
                (0..n).map(|i| law.quantile((f64::from(i) + 0.5) / f64::from(n))).sum();
            let mean = sum as f64 / f64::from(n);
            assert!((mean / law.mean_nanos() - 1.0).abs() < 1e-3, "{law:?}: {mean}");
        }
    }
}
