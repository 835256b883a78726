//! Wall-clock instants that never step backwards.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use prophecy_core::Timestamp;

/// The instant at which the process first asked for the time, in both clocks.
static ANCHOR: OnceLock<(Instant, i64)> = OnceLock::new();

/// Returns the current time: the wall clock at the first call, and the monotonic clock from there.
///
/// All proxies of a process share the anchor, so that what they saw can be put in one order, and
/// a step of the system clock in the middle of a capture cannot make an exchange end before it
/// started.
pub fn now() -> Timestamp {
    let (anchor, anchor_nanos) = ANCHOR.get_or_init(|| {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        (Instant::now(), i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX))
    });
    let nanos = u64::try_from(anchor.elapsed().as_nanos()).unwrap_or(u64::MAX);
    Timestamp(*anchor_nanos).plus_nanos(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_steps_backwards() {
        let times: Vec<Timestamp> = (0..10_000).map(|_| now()).collect();
        assert!(times.is_sorted());
        assert!(times[0] > Timestamp(1_700_000_000_000_000_000), "{}", times[0]);
    }
}
