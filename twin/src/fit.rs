//! From a dataset to observations: who called whom, and what each request cost where.
//!
//! Three steps: calls are linked to the visits that made them ([`link`]), waiting for a worker is
//! separated from work ([`queue`]), and limits on calls at once are recognized ([`pool`]).

mod link;
mod pool;
pub mod probe;
mod probed;
mod queue;

use std::collections::{BTreeMap, BTreeSet};

use prophecy_core::system::Service;
use prophecy_core::{Completeness, Exchange, Metric, System, Timestamp};
use prophecy_datasets::{Dataset, ReadDatasetError};
use prophecy_simulator::observation::{
    Arrival, Call, MemoryPoint, Observations, ServiceObservations, Visit,
};

pub use self::probed::{contend, observe_probed};
use crate::metrics::{CPU_SECONDS, RESIDENT_BYTES};

/// Observations, and what had to be assumed to make them.
#[derive(Clone, Debug)]
pub struct Fit {
    /// What was observed.
    pub observations: Observations,
    /// What was assumed, in sentences.
    pub notes: Vec<String>,
}

/// Observes a system in a dataset, leaving out the first `skip_nanos`.
///
/// # Errors
///
/// [`ReadDatasetError`] if the dataset cannot be read.
pub fn observe(
    dataset: &Dataset,
    system: &System,
    skip_nanos: u64,
) -> Result<Fit, ReadDatasetError> {
    Ok(observe_rows(&dataset.exchanges()?, &dataset.metrics()?, system, skip_nanos))
}

/// Observes a system in exchanges, ordered by start, and metrics.
pub fn observe_rows(
    exchanges: &[Exchange],
    metrics: &[Metric],
    system: &System,
    skip_nanos: u64,
) -> Fit {
    let mut notes = Vec::new();
    // A response without its request says neither what was asked nor when.
    let asked = |exchange: &&Exchange| exchange.completeness != Completeness::ResponseOnly;
    let at_entry = |exchange: &&Exchange| exchange.destination == system.entry;
    let Some(first) = exchanges.iter().filter(asked).find(at_entry) else {
        let observations = Observations { entry: system.entry.clone(), ..Observations::default() };
        notes.push(format!("no exchange with the entry `{}` was seen", system.entry));
        return Fit { observations, notes };
    };
    let origin = first.started_at.plus_nanos(skip_nanos);
    let usable: Vec<&Exchange> =
        exchanges.iter().filter(asked).filter(|exchange| exchange.started_at >= origin).collect();
    let links = link::link(&usable);
    notes.extend(links.note());
    let mut services = BTreeMap::new();
    let destinations: BTreeSet<&String> =
        usable.iter().map(|exchange| &exchange.destination).collect();
    for name in destinations {
        let declared = system.services.get(name);
        let mut observed = observe_service(name, declared, &usable, &links, origin, &mut notes);
        observed.memory = memory(name, metrics, &usable, origin);
        observed.cpu_nanos_per_request = cpu(name, metrics, origin, &observed);
        services.insert(name.clone(), observed);
    }
    let unseen = system.services.keys().filter(|name| !services.contains_key(*name));
    notes.extend(unseen.map(|name| format!("service `{name}` was never seen to be called")));
    let arrivals: Vec<Arrival> = usable
        .iter()
        .filter(|exchange| {
            exchange.destination == system.entry && !system.services.contains_key(&exchange.source)
        })
        .map(|exchange| Arrival {
            at_nanos: exchange.started_at.nanos_since(origin),
            session: exchange.session_id,
            route: exchange.route.clone(),
        })
        .collect();
    let window_nanos = arrivals.last().map_or(0, |last| last.at_nanos + 1);
    let entry = system.entry.clone();
    Fit { observations: Observations { entry, window_nanos, arrivals, services }, notes }
}

fn observe_service(
    name: &str,
    declared: Option<&Service>,
    usable: &[&Exchange],
    links: &link::Links,
    origin: Timestamp,
    notes: &mut Vec<String>,
) -> ServiceObservations {
    let indices: Vec<usize> =
        (0..usable.len()).filter(|index| usable[*index].destination == name).collect();
    let visits: Vec<&Exchange> = indices.iter().map(|index| usable[*index]).collect();
    let until_call: Vec<Option<u64>> = indices
        .iter()
        .map(|index| {
            let first = links.calls_of(*index).map(|call| usable[call].started_at).min()?;
            Some(first.nanos_since(usable[*index].started_at))
        })
        .collect();
    let queueing = queue::separate(&visits, &until_call, declared);
    notes.extend(queueing.note(name));
    let mut routes: BTreeMap<String, Vec<Visit>> = BTreeMap::new();
    let mut waits: BTreeMap<String, Vec<bool>> = BTreeMap::new();
    let pools = pool::limits(name, usable, links, queueing.workers);
    for ((index, exchange), waited_nanos) in indices.iter().zip(&visits).zip(&queueing.waited_nanos)
    {
        let Some(waited_nanos) = *waited_nanos else { continue };
        let calls: Vec<&Exchange> = links.calls_of(*index).map(|call| usable[call]).collect();
        let latency_nanos = end_of(exchange).nanos_since(exchange.started_at);
        let own_nanos =
            latency_nanos.saturating_sub(covered_nanos(&calls)).saturating_sub(waited_nanos);
        let waited_for_pool = calls.iter().any(|call| pools.waited(call));
        routes.entry(exchange.route.clone()).or_default().push(Visit {
            at_nanos: exchange.started_at.nanos_since(origin),
            latency_nanos,
            own_nanos,
            waited_nanos,
            status: exchange.status,
            failed: exchange.failed(),
            calls: calls
                .iter()
                .map(|call| Call {
                    destination: call.destination.clone(),
                    route: call.route.clone(),
                    nanos: end_of(call).nanos_since(call.started_at),
                    failed: call.failed(),
                })
                .collect(),
        });
        waits.entry(exchange.route.clone()).or_default().push(waited_for_pool);
    }
    for (route, visits) in &mut routes {
        pool::take_waits_out(visits, &waits[route]);
    }
    notes.extend(pools.notes(name));
    ServiceObservations {
        workers: queueing.workers,
        pools: pools.limits,
        most_at_once: queueing.most_at_once,
        routes,
        memory: Vec::new(),
        cpu_nanos_per_request: None,
    }
}

/// Returns when an exchange ended, as far as it was seen.
fn end_of(exchange: &Exchange) -> Timestamp {
    exchange.response_ended_at.or(exchange.response_started_at).unwrap_or(exchange.request_ended_at)
}

/// Returns the time that at least one of these exchanges, ordered by start, was under way \[ns\].
fn covered_nanos(calls: &[&Exchange]) -> u64 {
    let mut covered = 0;
    let mut until = Timestamp(i64::MIN);
    for call in calls {
        let end = end_of(call);
        if end > until {
            covered += end.nanos_since(call.started_at.max(until));
            until = end;
        }
    }
    covered
}

fn memory(
    name: &str,
    metrics: &[Metric],
    usable: &[&Exchange],
    origin: Timestamp,
) -> Vec<MemoryPoint> {
    let mut ends: Vec<Timestamp> = usable
        .iter()
        .filter(|exchange| exchange.destination == name)
        .map(|exchange| end_of(exchange))
        .collect();
    ends.sort_unstable();
    of_service(name, RESIDENT_BYTES, metrics)
        .filter(|metric| metric.at >= origin)
        .map(|metric| MemoryPoint {
            at_nanos: metric.at.nanos_since(origin),
            requests: ends.partition_point(|end| *end <= metric.at) as u64,
            resident_bytes: metric.value as u64,
        })
        .collect()
}

fn cpu(
    name: &str,
    metrics: &[Metric],
    origin: Timestamp,
    observed: &ServiceObservations,
) -> Option<f64> {
    let mut points = of_service(name, CPU_SECONDS, metrics).filter(|metric| metric.at >= origin);
    let first = points.next()?;
    let last = points.last()?;
    let visits: usize = observed.routes.values().map(Vec::len).sum();
    (visits > 0).then(|| 1e9 * (last.value - first.value) / visits as f64)
}

fn of_service<'a>(
    name: &'a str,
    series: &'a str,
    metrics: &'a [Metric],
) -> impl Iterator<Item = &'a Metric> {
    metrics.iter().filter(move |metric| {
        metric.name == series && metric.labels.get("service").is_some_and(|service| service == name)
    })
}
