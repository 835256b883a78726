//! Own times ready to be drawn.

use prophecy_core::Philox;

use crate::model::{Law, RouteModel};

/// What a request costs.
#[derive(Clone, Debug)]
pub(crate) enum Demand {
    /// Equally likely values.
    Values(Box<[u64]>),
    /// Always the same \[ns\].
    Constant(u64),
    /// Exponential, with this mean \[ns\].
    Exponential(f64),
    /// Any other law.
    Law(Law),
}

// === impl Demand ===

impl Demand {
    pub(crate) fn new(route: &RouteModel) -> Self {
        match route.law {
            Some(Law::Constant { nanos }) => Self::Constant(nanos),
            Some(Law::Exponential { mean_nanos }) => Self::Exponential(mean_nanos),
            Some(law) => Self::Law(law),
            None => Self::Values(route.own_nanos.as_slice().into()),
        }
    }

    /// Draws an own time \[ns\].
    pub(crate) fn draw(&self, stream: &mut Philox) -> u64 {
        match self {
            Self::Values(values) => values[(stream.uniform() * values.len() as f64) as usize],
            Self::Constant(nanos) => *nanos,
            Self::Exponential(mean_nanos) => nearest(stream.exponential() * mean_nanos),
            Self::Law(law) => draw(law, stream),
        }
    }
}

fn draw(law: &Law, stream: &mut Philox) -> u64 {
    let nanos = match *law {
        Law::Constant { nanos } => return nanos,
        Law::Exponential { mean_nanos } => stream.exponential() * mean_nanos,
        Law::Erlang { mean_nanos, stages } => {
            let sum: f64 = (0..stages).map(|_| stream.exponential()).sum();
            sum * mean_nanos / f64::from(stages)
        }
        Law::Hyperexponential { mean_nanos, variation } => {
            // Balanced means: both branches contribute half of the mean.
            let first = 0.5 * (1.0 + ((variation - 1.0) / (variation + 1.0)).sqrt());
            let share = if stream.uniform() < first { first } else { 1.0 - first };
            stream.exponential() * mean_nanos / (2.0 * share)
        }
        Law::Uniform { mean_nanos } => 2.0 * mean_nanos * stream.uniform(),
        Law::Lognormal { median_nanos, sigma } => median_nanos * (sigma * stream.normal()).exp(),
        Law::Pareto { least_nanos, scale_nanos, shape } => {
            let exponential = stream.exponential();
            let excess = if shape.abs() < 1e-9 {
                exponential
            } else {
                ((shape * exponential).exp() - 1.0) / shape
            };
            least_nanos + scale_nanos * excess
        }
    };
    nearest(nanos)
}

/// Rounds a time that is not negative; `f64::round` is a call on machines without SSE 4.1.
fn nearest(nanos: f64) -> u64 {
    (nanos + 0.5) as u64
}

#[cfg(test)]
mod tests {
    use prophecy_core::Seed;

    use super::*;

    /// Means and squared variations of 200,000 draws lie within five standard errors of the law's.
    #[test]
    fn laws_have_their_moments() {
        let n = 200_000.0;
        let check = |law: Law, mean: f64, variation: f64, fourth: f64| {
            let mut stream = Seed(3).stream(0, 0, "law");
            let draws: Vec<f64> =
                (0..200_000).map(|_| draw(&law, &mut stream) as f64 / mean).collect();
            let average = draws.iter().sum::<f64>() / n;
            let spread = draws.iter().map(|x| (x - average).powi(2)).sum::<f64>() / n;
            let mean_error = 5.0 * (variation / n).sqrt();
            assert!((average - 1.0).abs() < mean_error, "{law:?}: mean {average}");
            // The variance's standard error is the root of (kurtosis − 1) variance² / n.
            let spread_error = 5.0 * variation * ((fourth - 1.0) / n).sqrt();
            assert!((spread - variation).abs() < spread_error, "{law:?}: variation {spread}");
        };
        let mean_nanos = 1e7;
        check(Law::Exponential { mean_nanos }, mean_nanos, 1.0, 9.0);
        check(Law::Erlang { mean_nanos, stages: 4 }, mean_nanos, 0.25, 4.5);
        check(Law::Uniform { mean_nanos }, mean_nanos, 1.0 / 3.0, 1.8);
        // Kurtosis of the balanced hyperexponential with variation 4: 24 (p³+q³)⁻¹-like; 30 bounds it.
        check(Law::Hyperexponential { mean_nanos, variation: 4.0 }, mean_nanos, 4.0, 30.0);
        // GPD with shape 0.1: mean σ/(1−ξ), variance σ²/((1−ξ)²(1−2ξ)), kurtosis below 15.
        let pareto = Law::Pareto { least_nanos: 0.0, scale_nanos: 0.9e7, shape: 0.1 };
        check(pareto, mean_nanos, 1.25, 15.0);
    }
}
