//! What the machine is busy with.

use std::time::{Duration, Instant};

use procfs::{CurrentSI, KernelStats};
use rustix::time::{ClockId, clock_gettime};

/// Processor time used up to a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    at: Instant,
    /// By the whole machine, if it tells.
    machine: Option<Duration>,
    /// By this process: sending, the proxies, recording.
    own: Duration,
}

// === impl Usage ===

impl Usage {
    pub(super) fn now() -> Self {
        let own = clock_gettime(ClockId::ProcessCPUTime);
        Self {
            at: Instant::now(),
            machine: machine(),
            own: Duration::new(own.tv_sec as u64, own.tv_nsec as u32),
        }
    }

    /// Returns the cores that were busy since an earlier moment, and those of them with this process.
    pub(super) fn cores_since(&self, earlier: &Self) -> (f64, f64) {
        let seconds = self.at.duration_since(earlier.at).as_secs_f64().max(1e-9);
        let own = self.own.saturating_sub(earlier.own).as_secs_f64() / seconds;
        let machine = self.machine.zip(earlier.machine);
        let busy = machine.map(|(now, then)| now.saturating_sub(then).as_secs_f64() / seconds);
        (busy.unwrap_or(own).max(own), own)
    }
}

fn machine() -> Option<Duration> {
    let total = KernelStats::current().ok()?.total;
    // Time stolen by other machines is not ours to use either.
    let more = total.irq.unwrap_or(0) + total.softirq.unwrap_or(0) + total.steal.unwrap_or(0);
    let ticks = total.user + total.nice + total.system + more;
    Some(Duration::from_secs_f64(ticks as f64 / procfs::ticks_per_second() as f64))
}

/// Returns the processor cores that this process may use.
pub(super) fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |count| count.get() as u32)
}
