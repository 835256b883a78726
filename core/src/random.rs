//! Named random streams: the same seed, key and counter give the same number on any machine.
//!
//! Every draw in Prophecy is a pure function of *(seed, replication, entity, purpose, counter)*.
//! Two builds simulated under one seed therefore share their luck even when events happen in
//! another order, and a new draw in one place shifts nothing elsewhere.

/// The seed of a run, from `--seed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Seed(pub u64);

/// A counter-based random stream: Philox4x32-10.
///
/// # Determinism
///
/// Draws depend on the key and on how many draws came before; [`Philox::at`] jumps to any place.
///
/// # Source
///
/// Salmon et al. (2011), *Parallel Random Numbers: As Easy as 1, 2, 3*, section 3.3.
#[derive(Clone, Debug)]
pub struct Philox {
    key: [u32; 2],
    lane: [u32; 2],
    block_index: u64,
    buffer: [u32; 4],
    used: usize,
}

const MULTIPLIER_A: u32 = 0xD251_1F53;
const MULTIPLIER_B: u32 = 0xCD9E_8D57;
const WEYL_A: u32 = 0x9E37_79B9;
const WEYL_B: u32 = 0xBB67_AE85;

// === impl Seed ===

impl Seed {
    /// Returns the stream for one purpose of one entity in one replication.
    ///
    /// # Determinism
    ///
    /// Different `(replication, entity, purpose)` give independent streams of the same seed.
    pub fn stream(self, replication: u32, entity: u64, purpose: &str) -> Philox {
        let mixed = mix(self.0 ^ mix(entity) ^ mix(fnv1a(purpose)).rotate_left(17));
        Philox::keyed([mixed as u32, (mixed >> 32) as u32], [replication, fnv1a(purpose) as u32])
    }

    /// Derives a seed for a named part of a run.
    #[must_use]
    pub fn derive(self, purpose: &str) -> Self {
        Self(mix(self.0 ^ fnv1a(purpose)))
    }
}

// === impl Philox ===

impl Philox {
    /// Returns the stream of `key`; `lane` takes the upper half of the counter.
    pub fn keyed(key: [u32; 2], lane: [u32; 2]) -> Self {
        Self { key, lane, block_index: 0, buffer: [0; 4], used: 4 }
    }

    /// Moves to the block of four words numbered `counter`, so that the next draw is its first.
    #[inline]
    pub fn at(&mut self, counter: u64) -> &mut Self {
        self.block_index = counter;
        self.used = 4;
        self
    }

    /// Returns the next 32 random bits.
    #[inline]
    pub fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            self.refill();
        }
        let word = self.buffer[self.used];
        self.used += 1;
        word
    }

    #[inline]
    fn refill(&mut self) {
        let [low, high] = [self.block_index as u32, (self.block_index >> 32) as u32];
        self.buffer = philox4x32_10([low, high, self.lane[0], self.lane[1]], self.key);
        self.block_index = self.block_index.wrapping_add(1);
        self.used = 0;
    }

    /// Returns the next 64 random bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        if self.used == 4 {
            self.refill();
        }
        if let [low, high, ..] = self.buffer[self.used..] {
            self.used += 2;
            return u64::from(low) | u64::from(high) << 32;
        }
        let low = u64::from(self.next_u32());
        low | u64::from(self.next_u32()) << 32
    }

    /// Draws from the uniform distribution on `[0, 1)`, in steps of 2⁻⁵³.
    #[inline]
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Draws from the exponential distribution with mean 1.
    #[inline]
    pub fn exponential(&mut self) -> f64 {
        // NUMERICS: `uniform` is a multiple of 2⁻⁵³ below 1, so 1 − u is exact, above 0, and its log finite.
        -(1.0 - self.uniform()).ln()
    }

    /// Draws from the standard normal distribution.
    ///
    /// # Source
    ///
    /// Box and Muller (1958); the second value of the pair is dropped, which keeps draws countable.
    pub fn normal(&mut self) -> f64 {
        let radius = (2.0 * self.exponential()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Draws from the gamma distribution with the given shape and scale 1.
    ///
    /// # Panics
    ///
    /// If `shape` is not positive and finite.
    ///
    /// # Source
    ///
    /// Marsaglia and Tsang (2000), *A Simple Method for Generating Gamma Variables*.
    pub fn gamma(&mut self, shape: f64) -> f64 {
        assert!(shape > 0.0 && shape.is_finite(), "a gamma shape is positive, not {shape}");
        if shape < 1.0 {
            let boost = (1.0 - self.uniform()).powf(1.0 / shape);
            return boost * self.gamma(shape + 1.0);
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            let u = 1.0 - self.uniform();
            if v > 0.0 && u.ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v;
            }
        }
    }

    /// Draws from the beta distribution with the given positive shapes.
    pub fn beta(&mut self, alpha: f64, beta: f64) -> f64 {
        let x = self.gamma(alpha);
        let y = self.gamma(beta);
        x / (x + y)
    }

    /// Draws an index below `count`.
    ///
    /// # Panics
    ///
    /// If `count` is zero.
    ///
    /// # Source
    ///
    /// Lemire (2019), *Fast Random Integer Generation in an Interval*, without the rejection step:
    /// the bias is below `count` / 2⁶⁴.
    pub fn below(&mut self, count: usize) -> usize {
        assert!(count > 0, "nothing to draw from");
        ((u128::from(self.next_u64()) * count as u128) >> 64) as usize
    }
}

/// Returns the block of random words for one counter and key.
///
/// # Source
///
/// Salmon et al. (2011), ten rounds; the known answers of Random123 are in the tests.
#[inline]
pub fn philox4x32_10(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let [mut c0, mut c1, mut c2, mut c3] = counter;
    let [mut k0, mut k1] = key;
    for _ in 0..10 {
        let a = u64::from(MULTIPLIER_A) * u64::from(c0);
        let b = u64::from(MULTIPLIER_B) * u64::from(c2);
        (c0, c1, c2, c3) =
            ((b >> 32) as u32 ^ c1 ^ k0, b as u32, (a >> 32) as u32 ^ c3 ^ k1, a as u32);
        k0 = k0.wrapping_add(WEYL_A);
        k1 = k1.wrapping_add(WEYL_B);
    }
    [c0, c1, c2, c3]
}

/// Returns the 64-bit FNV-1a hash of a name; stable across builds, unlike the standard hasher.
pub fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Spreads the bits of a number over all of them (the finalizer of SplitMix64).
fn mix(value: u64) -> u64 {
    let z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Random123, `kat_vectors`.
    #[test]
    fn gives_the_published_known_answers() {
        let ones = u32::MAX;
        let cases = [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([ones; 4], [ones; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ];
        for (counter, key, expected) in cases {
            assert_eq!(philox4x32_10(counter, key), expected);
        }
    }

    #[test]
    fn jumps_to_any_block() {
        let mut walked = Seed(7).stream(3, 11, "service");
        let words: Vec<u32> = (0..12).map(|_| walked.next_u32()).collect();
        let mut jumped = Seed(7).stream(3, 11, "service");
        assert_eq!(jumped.at(2).next_u32(), words[8]);
    }

    #[test]
    fn separates_replications_entities_and_purposes() {
        let first = |mut stream: Philox| stream.next_u64();
        let reference = first(Seed(7).stream(0, 1, "a"));
        assert_ne!(reference, first(Seed(8).stream(0, 1, "a")));
        assert_ne!(reference, first(Seed(7).stream(1, 1, "a")));
        assert_ne!(reference, first(Seed(7).stream(0, 2, "a")));
        assert_ne!(reference, first(Seed(7).stream(0, 1, "b")));
    }

    /// Means of 100,000 draws lie within four standard errors of the true means.
    #[test]
    fn draws_have_their_means() {
        let n = 100_000;
        let check = |name: &str, mean: f64, sd: f64, draw: &dyn Fn(&mut Philox) -> f64| {
            let mut stream = Seed(1).stream(0, 0, name);
            let sum: f64 = (0..n).map(|_| draw(&mut stream)).sum();
            let error = (sum / f64::from(n) - mean).abs();
            assert!(error < 4.0 * sd / f64::from(n).sqrt(), "{name}: off by {error}");
        };
        check("uniform", 0.5, (1.0f64 / 12.0).sqrt(), &|s| s.uniform());
        check("exponential", 1.0, 1.0, &|s| s.exponential());
        check("normal", 0.0, 1.0, &|s| s.normal());
        check("gamma 0.5", 0.5, 0.5f64.sqrt(), &|s| s.gamma(0.5));
        check("gamma 9", 9.0, 3.0, &|s| s.gamma(9.0));
        check("beta 2 3", 0.4, 0.2, &|s| s.beta(2.0, 3.0));
    }
}
