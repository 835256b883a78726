//! Many runs on several threads, the results in order.

use std::ops::Range;

use prophecy_core::Seed;
use rayon::prelude::*;

use super::{CompiledModel, CompiledTraffic, Outcome, Traffic, simulate};

/// Runs `run` for each number on up to `threads` threads and returns the results in order.
///
/// # Determinism
///
/// If `run` depends on its argument only, the number of threads changes nothing but the time taken.
pub fn replicate<T, F>(numbers: Range<u32>, threads: usize, run: F) -> Vec<T>
where
    T: Send,
    F: Fn(u32) -> T + Send + Sync,
{
    let pool = match threads {
        0 | 1 => None,
        // A machine that gives us no more threads still gives the same answer, later.
        _ => rayon::ThreadPoolBuilder::new().num_threads(threads).build().ok(),
    };
    match pool {
        Some(pool) => pool.install(|| numbers.into_par_iter().map(run).collect()),
        None => numbers.map(run).collect(),
    }
}

/// Runs each replication of `numbers` through each of `models`, all under the same luck.
///
/// Replication `r` uses `traffics[r % traffics.len()]`. The result has one row for each replication,
/// in order, with one outcome for each model.
///
/// # Panics
///
/// If there is no traffic.
pub fn simulate_each(
    models: &[&CompiledModel],
    traffics: &[Traffic],
    seed: Seed,
    numbers: Range<u32>,
    threads: usize,
) -> Vec<Vec<Outcome>> {
    assert!(!traffics.is_empty(), "no traffic to simulate");
    replicate(numbers, threads, |replication| {
        let traffic = &traffics[replication as usize % traffics.len()];
        let run = |model: &&CompiledModel| {
            simulate(model, &CompiledTraffic::new(traffic, model), seed, replication)
        };
        models.iter().map(run).collect()
    })
}
