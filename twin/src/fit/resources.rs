//! Memory and processor time of services, beside the requests that they served.

use std::collections::BTreeMap;

use prophecy_core::{Metric, Timestamp};
use prophecy_simulator::observation::MemoryPoint;

use crate::metrics::{CPU_SECONDS, RESIDENT_BYTES};

/// Measurements of one service.
#[derive(Debug, Default)]
struct Measured {
    /// By time, with the requests that ended since the one before.
    memory: Vec<(Timestamp, u64, u64)>,
    /// The first and the last processor time \[s\].
    cpu_seconds: Option<[f64; 2]>,
}

/// Measurements of all services.
#[derive(Debug)]
pub(super) struct Resources {
    origin: Timestamp,
    services: BTreeMap<String, Measured>,
}

// === impl Resources ===

impl Resources {
    /// Keeps what was measured from `origin` on; metrics are ordered by time.
    pub(super) fn new(metrics: &[Metric], origin: Timestamp) -> Self {
        let mut services: BTreeMap<String, Measured> = BTreeMap::new();
        for metric in metrics.iter().filter(|metric| metric.at >= origin) {
            let Some(service) = metric.labels.get("service") else { continue };
            let measured = services.entry(service.clone()).or_default();
            if metric.name == RESIDENT_BYTES {
                measured.memory.push((metric.at, metric.value as u64, 0));
            } else if metric.name == CPU_SECONDS {
                // One measurement says nothing about what happened since another.
                measured.cpu_seconds = match measured.cpu_seconds {
                    None => Some([metric.value, f64::NAN]),
                    Some([first, _]) => Some([first, metric.value]),
                };
            }
        }
        Self { origin, services }
    }

    /// Counts a request that a service served.
    pub(super) fn served(&mut self, service: &str, ended_at: Timestamp) {
        let Some(measured) = self.services.get_mut(service) else { return };
        let next = measured.memory.partition_point(|(at, _, _)| *at < ended_at);
        if let Some((_, _, served)) = measured.memory.get_mut(next) {
            *served += 1;
        }
    }

    /// Returns the memory of a service over time.
    pub(super) fn memory(&self, service: &str) -> Vec<MemoryPoint> {
        let mut requests = 0;
        let points = self.services.get(service).map_or(&[][..], |measured| &measured.memory);
        let point = |(at, resident_bytes, served): &(Timestamp, u64, u64)| {
            requests += served;
            let at_nanos = at.nanos_since(self.origin);
            MemoryPoint { at_nanos, requests, resident_bytes: *resident_bytes }
        };
        points.iter().map(point).collect()
    }

    /// Returns the processor time of a service for each of so many visits \[ns\], if it was measured.
    pub(super) fn cpu_nanos_per_request(&self, service: &str, visits: u64) -> Option<f64> {
        let [first, last] = self.services.get(service)?.cpu_seconds?;
        (visits > 0 && !last.is_nan()).then(|| 1e9 * (last - first) / visits as f64)
    }
}
