//! What else the machine does while a trial measures on it.

use std::fs;
use std::time::Duration;

/// A trial counts as disturbed if others use more of the machine than this, or if more time than
/// this was taken away by the host.
pub(crate) const FOREIGN_LIMIT: f64 = 0.1;
pub(crate) const STOLEN_LIMIT: f64 = 0.02;

/// How long is listened for others while nothing of ours runs.
const LISTEN: Duration = Duration::from_millis(500);

/// Processor time since the start, over all cores, in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ticks {
    all: u64,
    idle: u64,
    stolen: u64,
}

// === impl Ticks ===

impl Ticks {
    /// Reads them; zeros where the system does not tell.
    pub(crate) fn now() -> Self {
        fs::read_to_string("/proc/stat").map_or_else(|_| Self::default(), |text| Self::of(&text))
    }

    /// Reads the first line of `/proc/stat` (proc(5)): user, nice, system, idle, iowait, irq,
    /// softirq, steal, and guest times that are in the first two already.
    fn of(text: &str) -> Self {
        let line = text.lines().next().unwrap_or_default();
        let fields: Vec<u64> = line
            .split_whitespace()
            .skip(1)
            .take(8)
            .filter_map(|field| field.parse().ok())
            .collect();
        let at = |index: usize| fields.get(index).copied().unwrap_or(0);
        Self { all: fields.iter().sum(), idle: at(3) + at(4), stolen: at(7) }
    }

    /// Returns the share of the machine that was stolen since.
    pub(crate) fn stolen_since(self, earlier: Self) -> f64 {
        let all = self.all.saturating_sub(earlier.all).max(1);
        self.stolen.saturating_sub(earlier.stolen) as f64 / all as f64
    }

    fn busy_since(self, earlier: Self) -> f64 {
        let all = self.all.saturating_sub(earlier.all).max(1);
        let idle = self.idle.saturating_sub(earlier.idle).min(all);
        1.0 - idle as f64 / all as f64
    }
}

/// Returns the share of the machine that others use, measured while nothing of ours runs.
pub(crate) async fn foreign_load() -> f64 {
    let before = Ticks::now();
    tokio::time::sleep(LISTEN).await;
    Ticks::now().busy_since(before)
}

/// Returns the machine in words: cores and processor.
pub(crate) fn describe() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    format!("{cores} cores, {}", name.unwrap_or("unknown processor"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_idle_busy_and_stolen_time_apart() {
        let before = Ticks::of("cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1 2 3");
        let after = Ticks::of("cpu  130 0 70 900 70 0 0 30 0 0\n");
        assert!((after.busy_since(before) - 0.4).abs() < 1e-12);
        assert!((after.stolen_since(before) - 0.15).abs() < 1e-12);
        assert_eq!(Ticks::of(""), Ticks::default());
    }
}
