//! Counters, in Prometheus' text format.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::time::Duration;

/// Upper ends of the buckets of request durations \[s\].
const BUCKETS: [f64; 8] = [0.001, 0.0025, 0.005, 0.01, 0.02, 0.1, 1.0, 10.0];

/// What was counted since the start.
#[derive(Debug, Default)]
pub(crate) struct Meter(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    requests: BTreeMap<(&'static str, u16), u64>,
    seconds: BTreeMap<&'static str, Durations>,
    counters: BTreeMap<(&'static str, String), u64>,
    steps: Durations,
}

#[derive(Debug, Default)]
struct Durations {
    buckets: [u64; BUCKETS.len()],
    count: u64,
    sum: f64,
}

// === impl Meter ===

impl Meter {
    /// Counts a request.
    pub(crate) fn request(&self, operation: &'static str, status: u16, took: Duration) {
        self.with(|counts| {
            *counts.requests.entry((operation, status)).or_default() += 1;
            counts.seconds.entry(operation).or_default().add(took.as_secs_f64());
        });
    }

    /// Counts what an event tells of.
    pub(crate) fn event(&self, event_type: &str, data: &serde_json::Value) {
        let text = |name: &str| {
            data.get(name).and_then(serde_json::Value::as_str).unwrap_or("unknown").to_owned()
        };
        self.with(|counts| {
            let (name, label) = match event_type {
                "prophecy.deployment.started.v1" => ("prophecy_deployments_started_total", None),
                "prophecy.deployment.succeeded.v1" => {
                    ("prophecy_deployments_succeeded_total", None)
                }
                "prophecy.deployment.failed.v1" => {
                    ("prophecy_deployments_failed_total", Some(text("reason_code")))
                }
                "prophecy.deployment.rolled_back.v1" => ("prophecy_rollbacks_total", None),
                "prophecy.deployment.aborted.v1" => ("prophecy_canary_aborts_total", None),
                "prophecy.deployment.step_progress.v1" => {
                    if let Some(seconds) =
                        data.get("step_seconds").and_then(serde_json::Value::as_f64)
                    {
                        counts.steps.add(seconds);
                    }
                    return;
                }
                _ => return,
            };
            let label = label.map_or_else(String::new, |reason| {
                format!("{{reason=\"{}\"}}", reason.replace(['"', '\\', '\n'], "_"))
            });
            *counts.counters.entry((name, label)).or_default() += 1;
        });
    }

    /// Writes what was counted.
    pub(crate) fn text(
        &self,
        pending_deliveries: u64,
        active_rollouts: u64,
        dropped_spans: u64,
    ) -> String {
        self.with(|counts| {
            let mut text = String::new();
            for name in [
                "prophecy_deployments_started_total",
                "prophecy_deployments_succeeded_total",
                "prophecy_deployments_failed_total",
                "prophecy_rollbacks_total",
                "prophecy_canary_aborts_total",
            ] {
                text.push_str(&format!("# TYPE {name} counter\n"));
                let mut any = false;
                for ((of, label), count) in &counts.counters {
                    if *of == name {
                        text.push_str(&format!("{name}{label} {count}\n"));
                        any = true;
                    }
                }
                if !any {
                    text.push_str(&format!("{name} 0\n"));
                }
            }
            text.push_str("# TYPE prophecy_step_duration_seconds histogram\n");
            counts.steps.write(&mut text, "prophecy_step_duration_seconds", "");
            text.push_str("# TYPE prophecy_http_requests_total counter\n");
            for ((operation, status), count) in &counts.requests {
                let _ = writeln!(
                    text,
                    "prophecy_http_requests_total{{operation=\"{operation}\",status=\"{status}\"}} {count}"
                );
            }
            text.push_str("# TYPE prophecy_http_request_duration_seconds histogram\n");
            for (operation, durations) in &counts.seconds {
                let label = format!("operation=\"{operation}\"");
                durations.write(&mut text, "prophecy_http_request_duration_seconds", &label);
            }
            let _ = write!(
                text,
                "# TYPE prophecy_webhook_queue gauge\nprophecy_webhook_queue {pending_deliveries}\n\
                 # TYPE prophecy_rollouts_active gauge\nprophecy_rollouts_active {active_rollouts}\n\
                 # TYPE prophecy_spans_dropped_total counter\nprophecy_spans_dropped_total {dropped_spans}\n"
            );
            text
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Counts) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

// === impl Durations ===

impl Durations {
    fn add(&mut self, seconds: f64) {
        for (bucket, end) in self.buckets.iter_mut().zip(BUCKETS) {
            *bucket += u64::from(seconds <= end);
        }
        self.count += 1;
        self.sum += seconds;
    }

    fn write(&self, text: &mut String, name: &str, label: &str) {
        let comma = if label.is_empty() { "" } else { "," };
        for (bucket, end) in self.buckets.iter().zip(BUCKETS) {
            let _ = writeln!(text, "{name}_bucket{{{label}{comma}le=\"{end}\"}} {bucket}");
        }
        let _ = writeln!(text, "{name}_bucket{{{label}{comma}le=\"+Inf\"}} {}", self.count);
        let braces = if label.is_empty() { String::new() } else { format!("{{{label}}}") };
        let _ = writeln!(text, "{name}_sum{braces} {}", self.sum);
        let _ = writeln!(text, "{name}_count{braces} {}", self.count);
    }
}
