//! What a probed arm's dataset tells of each service: what saturates, and by what.
//!
//! A service that answers `X` requests per second and works on each for `S` works on `X·S` at once (Little's
//! law). `S` is the time of its own, known from when hardly anything was there, and the time of its calls,
//! which was seen. Where clearly more are present than that, the rest wait for a worker: all workers are
//! busy, and `X·S` is their number. The deepest such service is the bottleneck, since those that call it
//! hold their workers while they wait for it. Where the machine's cores are all busy, and a service computes
//! rather than waits, it is the cores that requests wait for, and the workers remain unknown.

mod workers;

use std::collections::{BTreeMap, BTreeSet};

use prophecy_core::{Completeness, Exchange, Metric, Timestamp};
use prophecy_datasets::probe::{ArmProbe, Bottleneck, Ending, ServiceProbe};
use prophecy_datasets::{Dataset, ReadDatasetError, Sighting};

use self::workers::Samples;
use super::link::{Called, Linked, Linker};
use super::slices::{Reading, Rows};
use super::{is_request, queue};
use crate::metrics::CPU_SECONDS;

/// More are present than are worked on, by this factor and this number: the others wait.
const PRESENT_FACTOR: f64 = 1.25;
const PRESENT_MORE: f64 = 0.75;

/// Visits of a route that found nothing else; where there are fewer, as many that found little, up to half.
const ALONE_NEEDED: (usize, usize) = (10, 50);

/// The machine is exhausted from this share of its cores on.
const EXHAUSTED: f64 = 0.9;

/// A service that computes for this share of its own time is limited by cores where they are short.
const COMPUTES: f64 = 0.5;

/// Cores that other programs had, as a share of all, which is told.
const OTHERS: f64 = 0.25;

/// Own times include what passes outside of the worker, by about this share.
const OUTSIDE: f64 = 0.05;

/// The two parts of a probe that are compared.
#[derive(Clone, Copy, Debug)]
struct Phases {
    /// While the arm kept up \[ns since 1970\].
    calm: [i64; 2],
    /// The last step \[ns since 1970\].
    window: [i64; 2],
    /// Whether a queue stood in that.
    saturated: bool,
    /// Whether requests were refused, which then held no worker.
    refuses: bool,
}

/// A service, and what the bottleneck is looked for by.
struct Seen {
    probe: ServiceProbe,
    queues: bool,
    calls: BTreeSet<String>,
}

/// Fills in what each service did, from the exchanges of a probed arm.
pub(crate) fn read_services(
    dataset: &Dataset,
    cores: u32,
    probed: &mut ArmProbe,
) -> Result<(), ReadDatasetError> {
    fill_in(&dataset.exchanges()?, &dataset.metrics()?, cores, probed);
    Ok(())
}

/// Fills in what each service did and what the arm saturates by, from exchanges, ordered by start.
pub fn fill_in(exchanges: &[Exchange], metrics: &[Metric], cores: u32, probed: &mut ArmProbe) {
    let Some(last) = probed.steps.last() else { return };
    let mut calm = probed.steps.iter().filter(|step| !step.saturated).map(|step| step.window);
    let first = calm.next().unwrap_or([last.window[0]; 2]);
    let phases = Phases {
        calm: [first[0], calm.next_back().unwrap_or(first)[1]],
        window: last.window,
        saturated: probed.knee.is_some(),
        refuses: probed.ending == Ending::Refused,
    };
    let (busy, own) = (last.cores_busy, last.cores_own);
    let rows = Rows::given(exchanges, &[]);
    let (mut linker, mut visits) = (Linker::default(), Vec::new());
    // A probe is short: it is one slice.
    let reading = Reading { slice_rows: usize::MAX, ..Reading::default() };
    let names = rows
        .each_slice(reading, &mut |mut slice| {
            slice.rows.retain(is_request);
            visits.extend(linker.link(slice).visits);
        })
        .expect("nothing is read from a disk");
    let named = |number: u32| names.names[number as usize].as_str();
    let services: BTreeSet<u32> = visits.iter().map(|visit| visit.row.destination).collect();
    let mut seen: BTreeMap<String, Seen> = services
        .into_iter()
        .map(|number| {
            let of_service = visits.iter().filter(|visit| visit.row.destination == number);
            let found = service(named(number), &of_service.collect::<Vec<_>>(), metrics, phases);
            let calls = found.1.into_iter().map(|called| named(called).to_owned()).collect();
            (named(number).to_owned(), Seen { calls, ..found.0 })
        })
        .collect();
    let arm_cores: f64 = seen.values().map(|it| computing(&it.probe)).sum();
    let others = busy - own - arm_cores;
    let by_cores = phases.saturated && busy >= EXHAUSTED * f64::from(cores);
    probed.bottleneck = if by_cores { computes_most(&mut seen) } else { None };
    if probed.bottleneck.is_none() {
        probed.bottleneck = deepest_queue(&seen);
    }
    if let (Some(Bottleneck::Processor { .. }), Some(knee)) = (&probed.bottleneck, probed.knee) {
        probed.notes.push(format!(
            "the arm had {arm_cores:.1} of {cores} cores, and sending and the proxies {own:.1}: with all of them it would do about {:.0} requests/s",
            knee.hz * f64::from(cores) / arm_cores.max(1e-9)
        ));
    }
    if others > OTHERS * f64::from(cores) {
        probed.notes.push(format!(
            "other programs had {others:.1} of {cores} cores meanwhile: with the machine for itself, the arm might do more"
        ));
    }
    probed.services = seen.into_iter().map(|(name, it)| (name, it.probe)).collect();
}

/// Returns the cores that a service had.
fn computing(probe: &ServiceProbe) -> f64 {
    probe.processor_ms.unwrap_or(0.0) * probe.served_hz / 1e3
}

/// Returns the service that has most of the cores, if it computes rather than waits; such a service's
/// requests wait for cores, and nothing is known about its workers.
fn computes_most(seen: &mut BTreeMap<String, Seen>) -> Option<Bottleneck> {
    let computes = |probe: &ServiceProbe| {
        probe.processor_ms.is_some_and(|ms| ms >= COMPUTES * probe.own_ms_alone)
    };
    for it in seen.values_mut().filter(|it| computes(&it.probe)) {
        it.queues = false;
        it.probe.workers = None;
        it.probe.own_ms_saturated = None;
        it.probe.workers_at_least = at_least(it.probe.inside);
    }
    let most = seen.iter().max_by(|a, b| computing(&a.1.probe).total_cmp(&computing(&b.1.probe)));
    let (name, _) = most.filter(|(_, it)| computes(&it.probe))?;
    Some(Bottleneck::Processor { service: name.clone() })
}

/// Returns the service that requests wait for, while it waits for none that it calls.
fn deepest_queue(seen: &BTreeMap<String, Seen>) -> Option<Bottleneck> {
    let queues = |name: &String| seen.get(name).is_some_and(|it| it.queues);
    let deepest = seen.iter().filter(|(_, it)| it.queues && !it.calls.iter().any(queues));
    let waiting = |it: &Seen| it.probe.present - it.probe.inside;
    let (name, _) = deepest.max_by(|a, b| waiting(a.1).total_cmp(&waiting(b.1)))?;
    Some(Bottleneck::Workers { service: name.clone() })
}

/// Returns what a service did, and the services that it called.
fn service(
    name: &str,
    visits: &[&Linked],
    metrics: &[Metric],
    phases: Phases,
) -> (Seen, BTreeSet<u32>) {
    let refused = |row: &Sighting| phases.refuses && row.failed;
    let kept: Vec<&&Linked> = visits.iter().filter(|visit| !refused(&visit.row)).collect();
    let called =
        kept.iter().flat_map(|visit| &visit.calls).map(|call| call.row.destination).collect();
    let whole = kept.iter().filter(|visit| visit.row.completeness == Completeness::Complete);
    let (visits, covered): (Vec<&Sighting>, Vec<u64>) =
        whole.map(|visit| (&visit.row, covered_nanos(&visit.calls))).unzip();
    let [from, until] = phases.window;
    let seconds = (until - from) as f64 / 1e9;
    let samples = Samples::new(&visits, &covered, phases.calm, phases.window);
    let served_hz = samples.saturated.len() as f64 / seconds;
    let alone = alone(&visits, &covered, &samples);
    let calls_nanos = mean(samples.saturated.iter().map(|index| covered[*index] as f64));
    let inside = served_hz * (alone.mean_nanos + calls_nanos) / 1e9;
    let present = present(kept.iter().map(|visit| &visit.row), phases.window);
    let queues =
        phases.saturated && alone.count > 0 && present > PRESENT_FACTOR * inside + PRESENT_MORE;
    let range = queues.then(|| samples.workers(served_hz, &alone, calls_nanos));
    let own_saturated = range
        .map(|range| (1e3 * f64::from(range.likeliest) / served_hz - calls_nanos / 1e6).max(0.0));
    let probe = ServiceProbe {
        requests: kept.len() as u64,
        own_ms_alone: alone.mean_nanos / 1e6,
        own_ms_saturated: own_saturated,
        served_hz,
        present,
        inside,
        processor_ms: processor_ms(name, metrics, &visits, phases.window),
        workers: range,
        workers_at_least: range.map_or_else(|| at_least(inside), |range| range.least),
    };
    (Seen { probe, queues, calls: BTreeSet::new() }, called)
}

/// Returns the workers that a service has at least, by how many requests it worked on at once on average.
fn at_least(inside: f64) -> u32 {
    // Less than the own time may have been spent at a worker, and a mean of 2.0 is no third worker.
    (inside / (1.0 + OUTSIDE) - 0.1).ceil().max(1.0) as u32
}

/// The own time of visits that found hardly anything else.
#[derive(Clone, Copy, Debug)]
struct Alone {
    mean_nanos: f64,
    /// The standard error of the mean \[ns\].
    error_nanos: f64,
    count: usize,
}

/// Takes the calm visits that found the least on each route, in the mix of routes of the saturated ones.
fn alone(visits: &[&Sighting], covered: &[u64], samples: &Samples<'_>) -> Alone {
    let before = queue::in_system(visits);
    let mut routes: BTreeMap<u32, Vec<(u32, f64)>> = BTreeMap::new();
    for index in samples.calm.iter().copied().filter(|index| !visits[*index].failed) {
        let visit = visits[index];
        let own = visit.ended_at.nanos_since(visit.started_at).saturating_sub(covered[index]);
        // What came later is not looked at: the longer a visit, the more does.
        routes.entry(visit.route).or_default().push((before[index], own as f64));
    }
    let mut mix: BTreeMap<u32, f64> = BTreeMap::new();
    let counted = if samples.saturated.is_empty() { &samples.calm } else { &samples.saturated };
    counted.iter().for_each(|index| *mix.entry(visits[*index].route).or_default() += 1.0);
    let (mut weight, mut sum, mut variance, mut count) = (0.0, 0.0, 0.0, 0);
    for (route, mut found) in routes {
        let Some(share) = mix.get(&route) else { continue };
        found.sort_by_key(|(before, _)| *before);
        let free = found.partition_point(|(before, _)| *before == 0);
        let needed = (found.len() / 2).clamp(ALONE_NEEDED.0, ALONE_NEEDED.1);
        found.truncate(free.max(needed));
        let own = || found.iter().map(|(_, own)| *own);
        let center = mean(own());
        let spread = mean(own().map(|own| (own - center).powi(2)));
        weight += share;
        sum += share * center;
        variance += share * share * spread / found.len() as f64;
        count += found.len();
    }
    let weight = f64::max(weight, 1.0);
    Alone { mean_nanos: sum / weight, error_nanos: variance.sqrt() / weight, count }
}

/// Returns how many exchanges were under way on average; one that was not seen to end still is.
fn present<'a>(exchanges: impl Iterator<Item = &'a Sighting>, [from, until]: [i64; 2]) -> f64 {
    let within = |exchange: &Sighting| {
        let whole = exchange.completeness == Completeness::Complete;
        let end = if whole { exchange.ended_at.0 } else { i64::MAX };
        (end.min(until) - exchange.started_at.0.max(from)).max(0) as f64
    };
    exchanges.map(within).sum::<f64>() / (until - from).max(1) as f64
}

/// Returns the processor time per request between the first and the last sample of a window.
fn processor_ms(
    name: &str,
    metrics: &[Metric],
    visits: &[&Sighting],
    [from, until]: [i64; 2],
) -> Option<f64> {
    let is_its = |metric: &&Metric| {
        metric.name == CPU_SECONDS
            && metric.labels.get("service").is_some_and(|service| service == name)
    };
    let mut samples =
        metrics.iter().filter(is_its).filter(|metric| (from..=until).contains(&metric.at.0));
    let first = samples.next()?;
    let last = samples.next_back()?;
    let between = |visit: &&&Sighting| (first.at..last.at).contains(&visit.ended_at);
    let count = visits.iter().filter(between).count();
    (count > 0).then(|| 1e3 * (last.value - first.value) / count as f64)
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0u64), |(sum, count), value| (sum + value, count + 1));
    if count == 0 { 0.0 } else { sum / count as f64 }
}

/// Returns the time that at least one of these calls, ordered by start, was under way \[ns\].
fn covered_nanos(calls: &[Called]) -> u64 {
    let (mut covered, mut until) = (0, Timestamp(i64::MIN));
    for Called { row, .. } in calls {
        if row.ended_at > until {
            covered += row.ended_at.nanos_since(row.started_at.max(until));
            until = row.ended_at;
        }
    }
    covered
}
