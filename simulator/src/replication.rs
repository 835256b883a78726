//! Many replications on several threads, with the same result on any number of them.

use rayon::ThreadPoolBuilder;
use rayon::prelude::*;

/// Computes `work(index)` for each index below `count` on `threads` threads, in index order.
///
/// # Determinism
///
/// The order of results is that of the indices, so a reduction over them cannot depend on threads.
///
/// # Panics
///
/// If the system cannot start threads.
pub fn in_order<T: Send>(count: u32, threads: usize, work: impl Fn(u32) -> T + Sync) -> Vec<T> {
    let pool = ThreadPoolBuilder::new().num_threads(threads.max(1)).build();
    let pool = pool.expect("the system can start a few threads");
    pool.install(|| (0..count).into_par_iter().map(&work).collect())
}
