//! What the processes of an arm use: processor time, memory, descriptors, threads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use procfs::process::{Process, all_processes};
use prophecy_capture::recorder::Recorder;
use prophecy_core::{Metric, Timestamp};

/// Processor seconds since the start.
pub const CPU_SECONDS: &str = "process_cpu_seconds_total";
/// Resident bytes.
pub const RESIDENT_BYTES: &str = "process_resident_memory_bytes";
/// Open file descriptors.
pub const OPEN_FDS: &str = "process_open_fds";
/// Threads.
pub const THREADS: &str = "process_threads";

/// How often processes are looked at.
const INTERVAL: Duration = Duration::from_millis(200);

/// A thread that measures the process trees of services.
#[derive(Debug)]
pub(crate) struct Sampler {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What one process tree uses.
#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    cpu_ticks: u64,
    resident_pages: u64,
    descriptors: u64,
    threads: u64,
}

// === impl Sampler ===

impl Sampler {
    /// Starts to measure the trees below these processes, by service.
    pub(crate) fn start(arm: String, roots: Vec<(String, u32)>, recorder: Recorder) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                sample(&arm, &roots, &recorder);
                thread::park_timeout(INTERVAL);
            }
        });
        Self { stop, thread: Some(thread) }
    }

    /// Ends the thread.
    pub(crate) fn stop(self) {
        drop(self);
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic of the sampler loses metrics, nothing else.
            drop(thread.join());
        }
    }
}

fn sample(arm: &str, roots: &[(String, u32)], recorder: &Recorder) {
    let at = now();
    let ticks_per_second = procfs::ticks_per_second() as f64;
    let page_bytes = procfs::page_size() as f64;
    for (service, usage) in usage_by_service(roots) {
        let labels = BTreeMap::from([
            ("arm".to_owned(), arm.to_owned()),
            ("service".to_owned(), service.clone()),
        ]);
        let values = [
            (CPU_SECONDS, usage.cpu_ticks as f64 / ticks_per_second),
            (RESIDENT_BYTES, usage.resident_pages as f64 * page_bytes),
            (OPEN_FDS, usage.descriptors as f64),
            (THREADS, usage.threads as f64),
        ];
        for (name, value) in values {
            recorder.metric(Metric { name: name.to_owned(), labels: labels.clone(), at, value });
        }
    }
}

/// Adds up every process by the service whose instance it descends from.
fn usage_by_service(roots: &[(String, u32)]) -> BTreeMap<String, Usage> {
    let Ok(processes) = all_processes() else { return BTreeMap::new() };
    let stats: BTreeMap<i32, (Process, procfs::process::Stat)> = processes
        .flatten()
        .filter_map(|process| process.stat().ok().map(|stat| (process.pid, (process, stat))))
        .collect();
    let mut usage: BTreeMap<String, Usage> = BTreeMap::new();
    for (service, root) in roots {
        let root = *root as i32;
        let total = usage.entry(service.clone()).or_default();
        for (pid, (process, stat)) in &stats {
            if !descends(*pid, root, &stats) {
                continue;
            }
            total.cpu_ticks += stat.utime + stat.stime;
            total.resident_pages += stat.rss;
            total.descriptors += process.fd_count().unwrap_or(0) as u64;
            total.threads += stat.num_threads.max(0) as u64;
        }
    }
    usage.retain(|_, total| total.threads > 0);
    usage
}

fn descends(pid: i32, root: i32, stats: &BTreeMap<i32, (Process, procfs::process::Stat)>) -> bool {
    let mut at = pid;
    // A tree of processes is not deep; the bound only guards against a race with reused numbers.
    for _ in 0..64 {
        if at == root {
            return true;
        }
        match stats.get(&at) {
            Some((_, stat)) if stat.ppid > 1 => at = stat.ppid,
            _ => return false,
        }
    }
    false
}

/// Returns the time of the world.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(since.as_nanos() as i64)
}
