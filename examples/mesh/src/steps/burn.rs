//! Burning processor time.

use std::hint::black_box;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Burns processor time on a thread that may block, so that a busy machine makes it last longer.
pub(super) async fn burn(duration: Duration) {
    let work = move || {
        let start = thread_time();
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        while thread_time().saturating_sub(start) < duration {
            for _ in 0..1_000 {
                state = black_box(state.rotate_left(7).wrapping_mul(0x2545_F491_4F6C_DD1D));
            }
        }
    };
    tokio::task::spawn_blocking(work).await.expect("burning does not panic");
}

fn thread_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lasts_at_least_as_long_as_asked() {
        let start = std::time::Instant::now();
        burn(Duration::from_millis(20)).await;
        assert!(start.elapsed() >= Duration::from_millis(20));
    }
}
