//! Wakes at absolute deadlines, on a thread of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::thread::{ClockId, clock_nanosleep_absolute};
use rustix::time::{Timespec, clock_gettime};

/// The last stretch before a deadline, which is spent spinning: sleeping is not that exact.
const SPIN: Duration = Duration::from_micros(60);

/// The longest sleep, after which a request to stop is noticed.
const NAP: Duration = Duration::from_millis(100);

/// Calls `send` for each deadline (\[ns\] after `start`, ascending) when its time has come.
///
/// Returns early if `stop` is set. Deadlines are absolute, so a late one delays none of the later.
pub(super) fn pace(
    start: Instant,
    deadlines: &[u64],
    stop: &Arc<AtomicBool>,
    mut send: impl FnMut(usize),
) {
    for (index, offset) in deadlines.iter().enumerate() {
        let deadline = start + Duration::from_nanos(*offset);
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            if stop.load(Ordering::SeqCst) {
                return;
            }
            if left > SPIN {
                sleep_until(left.saturating_sub(SPIN).min(NAP));
            } else {
                std::hint::spin_loop();
            }
        }
        if stop.load(Ordering::SeqCst) {
            return;
        }
        send(index);
    }
}

/// Sleeps on the monotonic clock until `left` from now, as an absolute time: an interrupted or late
/// sleep does not add up.
fn sleep_until(left: Duration) {
    let now = clock_gettime(ClockId::Monotonic);
    let nanos = now.tv_nsec as u128 + left.as_nanos();
    let until = Timespec {
        tv_sec: now.tv_sec + (nanos / 1_000_000_000) as i64,
        tv_nsec: (nanos % 1_000_000_000) as i64,
    };
    // An interruption only wakes the loop early; it looks at the clock again.
    let _ = clock_nanosleep_absolute(ClockId::Monotonic, &until);
}
