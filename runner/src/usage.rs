//! What the processes of a group use, as the kernel counts it.

use std::collections::BTreeMap;
use std::time::Instant;

use procfs::process::Process;

/// The source of processor time, in cores: 1 is one of them, busy all the time.
pub(crate) const CPU: &str = "cpu";
/// The source of resident memory, in mebibytes.
pub(crate) const MEMORY: &str = "memory";
/// The source of open descriptors.
pub(crate) const DESCRIPTORS: &str = "descriptors";
/// The source of threads.
pub(crate) const THREADS: &str = "threads";

/// Bytes of a mebibyte.
pub(crate) const MIB: f64 = 1_048_576.0;

/// Reads what processes use, again and again.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Processor time of each process \[ticks\], and when it was read.
    before: Option<(Instant, BTreeMap<u32, u64>)>,
}

/// What a group uses, over all of its processes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    /// Processor time since the last reading \[cores\]; nothing at the first.
    pub(crate) cpu: Option<f64>,
    /// Resident memory \[MiB\]; what processes share counts for each.
    pub(crate) memory: f64,
    pub(crate) descriptors: f64,
    pub(crate) threads: f64,
}

// === impl Meter ===

impl Meter {
    /// Reads these processes. Without any, or if one of them cannot be read, there is no value: less than all of
    /// them would look like less use.
    pub(crate) fn read(&mut self, pids: &[u32], now: Instant) -> Option<Usage> {
        let read = Self::sums(pids);
        let Some((mut usage, ticks)) = read.filter(|_| !pids.is_empty()) else {
            self.before = None;
            return None;
        };
        if let Some((then, before)) = &self.before {
            let spent = |(pid, now): (&u32, &u64)| {
                // A process that came since has spent all that it has.
                now.saturating_sub(before.get(pid).copied().unwrap_or(0))
            };
            let seconds = now.duration_since(*then).as_secs_f64();
            let is_whole = before.keys().all(|pid| ticks.contains_key(pid));
            let spent = ticks.iter().map(spent).sum::<u64>() as f64;
            let cores = spent / procfs::ticks_per_second() as f64 / seconds;
            usage.cpu = (is_whole && seconds > 0.0).then_some(cores);
        }
        self.before = Some((now, ticks));
        Some(usage)
    }

    fn sums(pids: &[u32]) -> Option<(Usage, BTreeMap<u32, u64>)> {
        let mut usage = Usage::default();
        let mut ticks = BTreeMap::new();
        for pid in pids {
            let process = Process::new(*pid as i32).ok()?;
            let stat = process.stat().ok()?;
            ticks.insert(*pid, stat.utime + stat.stime);
            usage.memory += stat.rss as f64 * procfs::page_size() as f64 / MIB;
            usage.descriptors += process.fd_count().ok()? as f64;
            usage.threads += stat.num_threads as f64;
        }
        Some((usage, ticks))
    }
}

/// Returns the values by their sources.
pub(crate) fn values(used: Option<Usage>) -> [(&'static str, Option<f64>); 4] {
    [
        (CPU, used.and_then(|it| it.cpu)),
        (MEMORY, used.map(|it| it.memory)),
        (DESCRIPTORS, used.map(|it| it.descriptors)),
        (THREADS, used.map(|it| it.threads)),
    ]
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::Duration;

    use super::*;

    #[test]
    fn reads_what_this_process_uses() {
        let own = [std::process::id()];
        let mut meter = Meter::default();
        let began = Instant::now();
        let first = meter.read(&own, began).expect("it runs");
        assert_eq!(first.cpu, None);
        assert!(first.memory > 1.0 && first.threads >= 1.0, "{first:?}");
        let files = [(); 40].map(|()| File::open("/dev/null").expect("there"));
        let busy = Instant::now();
        while busy.elapsed() < Duration::from_millis(200) {
            std::hint::spin_loop();
        }
        let second = meter.read(&own, Instant::now()).expect("it runs");
        assert!(second.cpu.is_some_and(|cores| cores > 0.1), "{second:?}");
        assert!(second.descriptors >= files.len() as f64, "{second:?}");
    }

    #[test]
    fn has_no_value_where_a_process_is_missing() {
        let mut meter = Meter::default();
        assert_eq!(meter.read(&[], Instant::now()), None);
        assert_eq!(meter.read(&[std::process::id(), u32::MAX >> 1], Instant::now()), None);
    }
}
