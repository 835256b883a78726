//! Samples what the arms use, and asks for metrics, while they are watched.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::Executor;
use crate::environment::EnvironmentFolder;
use crate::group::{Group, Home};
use crate::hook::AddressList;
use crate::judge::Sample;
use crate::metric::prometheus::PrometheusUrl;
use crate::metric::{Metric, Provider, Subject, Trigger};
use crate::usage::{self, Meter};

/// How often is sampled what the arms use.
const EVERY: Duration = Duration::from_secs(1);

/// Why there is no value of what an arm uses.
const GONE: &str = "there is no such arm, or its processes are gone";

/// Samples in the background until it is dropped.
#[derive(Debug)]
pub(super) struct Sampler {
    taken: UnboundedReceiver<Sample>,
    _tasks: JoinSet<()>,
}

/// The arms whose use is sampled: control and candidate.
#[derive(Debug)]
struct Arms {
    folder: EnvironmentFolder,
    environment: String,
    groups: [Option<Group>; 2],
}

/// A metric, and whom it is asked about.
#[derive(Debug)]
struct Question {
    metric: Metric,
    url: PrometheusUrl,
    allowed: AddressList,
    /// Control and candidate, where they are asked about.
    queries: [Option<String>; 2],
}

// === impl Sampler ===

impl Sampler {
    /// Begins to sample, beside a control if there is one.
    pub(super) fn start(executor: &Executor, control: Option<&String>) -> Self {
        let (give, taken) = unbounded_channel();
        let mut tasks = JoinSet::new();
        let groups = &executor.environment.groups;
        let arms = Arms {
            folder: executor.site.folder.clone(),
            environment: executor.environment.name.clone(),
            groups: [
                control.and_then(|id| groups.get(id)).cloned(),
                groups.get(&executor.plan.candidate_group()).cloned(),
            ],
        };
        tasks.spawn(arms.sample(give.clone()));
        for metric in &executor.plan.settings.metrics {
            if let Some(question) = Question::of(executor, metric, control) {
                tasks.spawn(question.ask_again(give.clone()));
            }
        }
        Self { taken, _tasks: tasks }
    }

    /// Returns what was sampled since the last time.
    pub(super) fn taken(&mut self) -> Vec<Sample> {
        let mut samples = Vec::new();
        while let Ok(sample) = self.taken.try_recv() {
            samples.push(sample);
        }
        samples
    }
}

// === impl Arms ===

impl Arms {
    async fn sample(self, give: UnboundedSender<Sample>) {
        let home = Home { environment: &self.environment, folder: self.folder.path() };
        let mut meters = [Meter::default(), Meter::default()];
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_first = true;
        loop {
            ticks.tick().await;
            let mut used = [None, None];
            for ((group, meter), used) in self.groups.iter().zip(&mut meters).zip(&mut used) {
                let pids = group.as_ref().and_then(|group| processes(group, home));
                *used = meter.read(&pids.unwrap_or_default(), Instant::now());
            }
            let [control, candidate] = used.map(usage::values);
            for ((source, control), (_, candidate)) in control.into_iter().zip(candidate) {
                // Processor time is that between two readings.
                if is_first && source == usage::CPU {
                    continue;
                }
                let values = [control, candidate];
                let missing = if values.contains(&None) { GONE } else { "" }.to_owned();
                let sample = Sample { source: source.to_owned(), values, missing };
                if give.send(sample).is_err() {
                    return;
                }
            }
            is_first = false;
        }
    }
}

/// Returns the processes of a group, if each of its instances that are ours has one.
fn processes(group: &Group, home: Home<'_>) -> Option<Vec<u32>> {
    let running = group.running(home);
    let services: BTreeSet<&String> = running.iter().map(|(service, _)| service).collect();
    let ours = group.services.iter().filter(|(_, all)| all.iter().any(|it| it.ours));
    let is_whole = ours.clone().all(|(service, instances)| {
        services.contains(service)
            && running.iter().filter(|(of, _)| of == service).count() >= instances.len()
    });
    is_whole.then(|| running.into_iter().map(|(_, pid)| pid).collect())
}

// === impl Question ===

impl Question {
    fn of(executor: &Executor, metric: &Metric, control: Option<&String>) -> Option<Self> {
        let Provider::Prometheus(url) = &metric.provider;
        let service = executor.plan.entry.clone();
        let query = |group: &String| {
            let of = executor.environment.groups.get(group);
            let addresses = of.map(|it| it.addresses(&service)).unwrap_or_default();
            metric.query_of(&Subject {
                group: group.clone(),
                service: service.clone(),
                instances: addresses.iter().map(ToString::to_string).collect(),
            })
        };
        let is_compared = matches!(metric.trigger(), Trigger::Beside { .. });
        if is_compared && control.is_none() {
            return None;
        }
        Some(Self {
            // Settings were checked when they were read.
            url: PrometheusUrl::parse(url)?,
            allowed: executor.site.sender.allowed().clone(),
            queries: [
                control.filter(|_| is_compared).map(query),
                Some(query(&executor.plan.candidate_group())),
            ],
            metric: metric.clone(),
        })
    }

    async fn ask_again(self, give: UnboundedSender<Sample>) {
        let mut ticks = interval(self.metric.interval.0);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let [control, candidate] = &self.queries;
            let (control, candidate) =
                tokio::join!(self.ask(control.as_ref()), self.ask(candidate.as_ref()));
            let missing = control.clone().err().or(candidate.clone().err()).unwrap_or_default();
            let sample = Sample {
                source: self.metric.check_name(),
                values: [control.ok().flatten(), candidate.ok().flatten()],
                missing,
            };
            if give.send(sample).is_err() {
                return;
            }
        }
    }

    async fn ask(&self, query: Option<&String>) -> Result<Option<f64>, String> {
        let Some(query) = query else { return Ok(None) };
        let asked = self.url.value(query, self.metric.timeout.0, &self.allowed);
        asked.await.map(Some).map_err(|error| error.to_string())
    }
}
