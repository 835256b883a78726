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
    /// Of this process and of the children that it has waited for.
    own: u64,
}

// === impl Ticks ===

impl Ticks {
    /// Reads them; zeros where the system does not tell.
    pub(crate) fn now() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Self { own: own(&read("/proc/self/stat")), ..Self::of(&read("/proc/stat")) }
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
        Self { all: fields.iter().sum(), idle: at(3) + at(4), stolen: at(7), own: 0 }
    }

    /// Returns the share of the machine that was stolen since.
    pub(crate) fn stolen_since(self, earlier: Self) -> f64 {
        let all = self.all.saturating_sub(earlier.all).max(1);
        self.stolen.saturating_sub(earlier.stolen) as f64 / all as f64
    }

    /// Returns the share of the machine that others used since.
    fn foreign_since(self, earlier: Self) -> f64 {
        let all = self.all.saturating_sub(earlier.all).max(1);
        let idle = self.idle.saturating_sub(earlier.idle).min(all);
        let own = self.own.saturating_sub(earlier.own);
        (all - idle).saturating_sub(own) as f64 / all as f64
    }
}

/// Returns the share of the machine that others use, measured while nothing of ours runs.
pub(crate) async fn foreign_load() -> f64 {
    let before = Ticks::now();
    tokio::time::sleep(LISTEN).await;
    Ticks::now().foreign_since(before)
}

/// Reads the times in `/proc/self/stat` (proc(5)): the fields after the name, which may hold spaces, are
/// counted from 3; 14 to 17 are those of the process and of its children.
fn own(text: &str) -> u64 {
    let after_name = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    after_name
        .split_whitespace()
        .skip(11)
        .take(4)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum()
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
        assert!((after.foreign_since(before) - 0.4).abs() < 1e-12);
        let with_own = Ticks { own: 30, ..after };
        assert!((with_own.foreign_since(before) - 0.25).abs() < 1e-12);
        assert!((after.stolen_since(before) - 0.15).abs() < 1e-12);
        assert_eq!(Ticks::of(""), Ticks::default());
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 1 2 3 4 50 20 5 5 20 0 1 0 9 9";
        assert_eq!(own(stat), 80);
    }
}
