//! The CORP parts of the Brier score, and the reliability diagram that goes with them.
//!
//! Calibration is judged against the best increasing recalibration of the forecasts, found by
//! pooling adjacent violators, so there are no bins to choose. The source throughout is
//! Dimitriadis, Gneiting and Jordan (2021), "Stable reliability diagrams for probabilistic
//! classifiers", PNAS 118 (8), cited below as DGJ.

use super::rules::brier;

/// The mean Brier score and its three parts: `score = miscalibration - discrimination +
/// uncertainty`.
///
/// Shapes and units: all without unit; the score and miscalibration lie in 0 to 1, discrimination
/// and uncertainty in 0 to 0.25.
///
/// Source: DGJ.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Corp {
    /// The mean Brier score of the forecasts as they were given.
    pub score: f64,
    /// How much lower the score would be if the forecasts had been recalibrated.
    pub miscalibration: f64,
    /// How much lower the recalibrated score is than that of always saying the base rate.
    pub discrimination: f64,
    /// The score of always saying the base rate.
    pub uncertainty: f64,
}

/// One step of the recalibrated curve: forecasts that deserve one and the same probability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bin {
    /// The lowest forecast of the step, a probability.
    pub lo: f64,
    /// The highest forecast of the step, a probability.
    pub hi: f64,
    /// The share of the step's items that happened, which is the recalibrated probability.
    pub frequency: f64,
    /// How many items the step holds.
    pub count: u64,
}

/// Items that share one forecast.
struct Tie {
    probability: f64,
    count: u64,
    happened: u64,
}

/// A run of ties pooled together; `end` is the index after its last tie.
struct Block {
    start: usize,
    end: usize,
    count: u64,
    happened: u64,
}

// === impl Corp ===

impl Corp {
    /// Splits the mean Brier score of the forecasts into its parts.
    ///
    /// Shapes and units: pairs of probability and outcome in any order. All parts are 0 for no
    /// forecasts.
    ///
    /// Determinism: the order of the pairs makes no difference.
    ///
    /// Source: DGJ.
    pub fn of(forecasts: &[(f64, bool)]) -> Self {
        let ties = ties(forecasts);
        Self::of_blocks(&ties, &pool(&ties))
    }

    fn of_blocks(ties: &[Tie], blocks: &[Block]) -> Self {
        let count: u64 = blocks.iter().map(|block| block.count).sum();
        if count == 0 {
            return Self::default();
        }
        let happened: u64 = blocks.iter().map(|block| block.happened).sum();
        let base_rate = happened as f64 / count as f64;
        let mut parts = Self::default();
        for block in blocks {
            let frequency = block.frequency();
            let apart = frequency - base_rate;
            parts.discrimination += block.count as f64 * apart * apart;
            for tie in &ties[block.start..block.end] {
                parts.score += tie.score();
                parts.miscalibration += tie.score_above(frequency);
            }
        }
        let items = count as f64;
        parts.score /= items;
        parts.miscalibration /= items;
        parts.discrimination /= items;
        parts.uncertainty = base_rate * (1.0 - base_rate);
        parts
    }
}

// === impl Tie ===

impl Tie {
    /// The summed Brier score of the items.
    fn score(&self) -> f64 {
        let missed = self.count - self.happened;
        self.happened as f64 * brier(self.probability, true)
            + missed as f64 * brier(self.probability, false)
    }

    /// The summed Brier score of the items less that of saying `frequency` instead.
    ///
    /// NUMERICS: the difference of the two squares is factored, so that it is 0, and no rounding
    /// error, for a forecast that already is the frequency.
    fn score_above(&self, frequency: f64) -> f64 {
        let sum = self.probability + frequency;
        (self.probability - frequency) * (self.count as f64 * sum - 2.0 * self.happened as f64)
    }
}

// === impl Block ===

impl Block {
    fn frequency(&self) -> f64 {
        self.happened as f64 / self.count as f64
    }
}

/// The recalibrated curve: the increasing step function of the forecast with the lowest Brier
/// score, for a reliability diagram.
///
/// Shapes and units: pairs of probability and outcome in any order; the steps come in increasing
/// order of both forecast and frequency, and are none for no forecasts.
///
/// Determinism: the order of the pairs makes no difference.
///
/// Source: DGJ; the algorithm is that of Ayer and others (1955), Annals of Mathematical
/// Statistics 26.
pub fn recalibrated(forecasts: &[(f64, bool)]) -> Vec<Bin> {
    let ties = ties(forecasts);
    let mut bins = Vec::new();
    for block in pool(&ties) {
        bins.push(Bin {
            lo: ties[block.start].probability,
            hi: ties[block.end - 1].probability,
            frequency: block.frequency(),
            count: block.count,
        });
    }
    bins
}

/// The miscalibration that chance alone reaches: the `level` quantile of
/// [`Corp::miscalibration`] over outcomes drawn from the forecasts themselves.
///
/// Shapes and units: probabilities in any order; `level` in 0 to 1; `uniform` gives numbers in
/// 0 to 1 without 1. The answer has no unit. It is the order statistic that makes "above it" a
/// test of size at most `1 - level`, which wants at least `1 / (1 - level)` draws and otherwise
/// falls back on the greatest draw. It is 0 for no forecasts or no draws.
///
/// Determinism: one number is taken per forecast and draw, in increasing order of forecast.
///
/// Source: DGJ, who draw outcomes under the hypothesis of calibration.
pub fn miscalibration_null(
    probabilities: &[f64],
    level: f64,
    uniform: &mut dyn FnMut() -> f64,
    draws: u32,
) -> f64 {
    let mut ties = ties_without_outcomes(probabilities);
    let mut values = Vec::new();
    for _ in 0..draws {
        draw_outcomes(&mut ties, uniform);
        values.push(Corp::of_blocks(&ties, &pool(&ties)).miscalibration);
    }
    outer_values(&mut values, 1.0 - level).map_or(0.0, |(_, hi)| hi)
}

/// The band in which chance keeps the recalibrated curve of calibrated forecasts, at each
/// distinct forecast.
///
/// Shapes and units: probabilities in any order; `coverage` in 0 to 1, holding at each forecast
/// by itself; `uniform` gives numbers in 0 to 1 without 1. The answer has one `(probability, lo,
/// hi)` per distinct forecast, in increasing order, and none for no forecasts or no draws.
///
/// Determinism: one number is taken per forecast and draw, in increasing order of forecast.
///
/// Source: DGJ, whose consistency bands by resampling these are.
pub fn consistency_band(
    probabilities: &[f64],
    coverage: f64,
    uniform: &mut dyn FnMut() -> f64,
    draws: u32,
) -> Vec<(f64, f64, f64)> {
    let mut ties = ties_without_outcomes(probabilities);
    let mut frequencies = vec![Vec::new(); ties.len()];
    for _ in 0..draws {
        draw_outcomes(&mut ties, uniform);
        for block in pool(&ties) {
            for drawn in &mut frequencies[block.start..block.end] {
                drawn.push(block.frequency());
            }
        }
    }
    let mut band = Vec::new();
    for (tie, drawn) in ties.iter().zip(&mut frequencies) {
        if let Some((lo, hi)) = outer_values(drawn, 0.5 * (1.0 - coverage)) {
            band.push((tie.probability, lo, hi));
        }
    }
    band
}

fn ties(forecasts: &[(f64, bool)]) -> Vec<Tie> {
    let mut sorted = forecasts.to_vec();
    sorted.sort_by(|left, right| left.0.total_cmp(&right.0));
    let same_forecast =
        |left: &(f64, bool), right: &(f64, bool)| left.0.total_cmp(&right.0).is_eq();
    let mut ties = Vec::new();
    for items in sorted.chunk_by(same_forecast) {
        let happened = items.iter().filter(|item| item.1).count() as u64;
        ties.push(Tie { probability: items[0].0, count: items.len() as u64, happened });
    }
    ties
}

fn ties_without_outcomes(probabilities: &[f64]) -> Vec<Tie> {
    let forecasts: Vec<(f64, bool)> = probabilities.iter().map(|&value| (value, false)).collect();
    ties(&forecasts)
}

fn draw_outcomes(ties: &mut [Tie], uniform: &mut dyn FnMut() -> f64) {
    for tie in ties {
        tie.happened = (0..tie.count).filter(|_| uniform() < tie.probability).count() as u64;
    }
}

/// Pools adjacent violators: the frequencies of the blocks increase strictly.
///
/// NUMERICS: frequencies are compared as fractions of whole numbers, so equal ones always pool.
fn pool(ties: &[Tie]) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for (index, tie) in ties.iter().enumerate() {
        let mut block =
            Block { start: index, end: index + 1, count: tie.count, happened: tie.happened };
        while let Some(previous) = blocks
            .pop_if(|previous| previous.happened * block.count >= block.happened * previous.count)
        {
            block.start = previous.start;
            block.count += previous.count;
            block.happened += previous.happened;
        }
        blocks.push(block);
    }
    blocks
}

/// The values that leave out at most the share `tail` of further draws on either side, or the
/// extremes if there are too few values for that; `None` without values.
fn outer_values(values: &mut [f64], tail: f64) -> Option<(f64, f64)> {
    if values.is_empty() {
        return None;
    }
    values.sort_by(f64::total_cmp);
    // NUMERICS: the small term undoes rounding such as (1 - 0.9) · 10 = 0.999….
    let rank = (tail * (values.len() as f64 + 1.0) + 1e-9).floor() as usize;
    let rank = rank.clamp(1, values.len());
    Some((values[rank - 1], values[values.len() - rank]))
}

#[cfg(test)]
#[expect(
    clippy::float_cmp,
    clippy::needless_range_loop,
    reason = "exact by construction; both sides by index"
)]
mod tests;
