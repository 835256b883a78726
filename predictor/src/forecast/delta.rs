//! How the candidate differs from the baseline: the parts of the change that can be told apart.

use prophecy_core::proportion::{fisher_greater, wilson_95};
use prophecy_core::quantile::of_sorted;
use prophecy_core::time::human_nanos;
use prophecy_core::trend::theil_sen;
use prophecy_simulator::Model;
use prophecy_simulator::model::CallModel;
use prophecy_simulator::observation::{Observations, ServiceObservations};

use super::draw::{Change, Part, Sampler, calls_differ};
use super::memory::client_errors;
use super::workers;

/// An own time differs from here on: relatively, and absolutely \[ns\].
const OWN_FACTOR: f64 = 1.1;
const OWN_NANOS: u64 = 1_000_000;

/// The level of the test of failure rates.
const FAILURE_LEVEL: f64 = 0.01;

/// A growth of memory that is told: bytes per request beyond the baseline's.
const GROWTH_BYTES: f64 = 512.0;

/// One part of a change.
#[derive(Clone, Debug)]
pub(super) struct Delta {
    part: Part,
    /// What differs, in a sentence.
    pub(super) sentence: String,
    /// What undoing it is called.
    pub(super) remedy: String,
    /// For the order: roughly the milliseconds, or their like, that it adds per request.
    weight: f64,
}

/// Returns the parts of a change that matter, the largest first.
pub(super) fn material(sampler: &Sampler<'_>) -> Vec<Delta> {
    let evidence = sampler.evidence;
    let before = prophecy_simulator::model_of(&sampler.baseline, &evidence.system);
    let after = prophecy_simulator::model_of(&evidence.candidate, &evidence.candidate_system);
    let mut deltas = Vec::new();
    for (name, station) in &after.services {
        let Some(known) = before.services.get(name) else { continue };
        for (route, model) in &station.routes {
            let Some(old) = known.routes.get(route) else { continue };
            deltas.extend(own_time(
                name,
                route,
                &old.own_nanos,
                &model.own_nanos,
                sampler.arm_noise(),
            ));
            if calls_differ(&old.calls, &model.calls) {
                deltas.push(calls(name, route, &old.calls, &model.calls));
            }
            deltas.extend(failures(sampler, name, route));
        }
        deltas.extend(limits(sampler, name, &before, &after));
        deltas.extend(growth(sampler, name));
    }
    for route in super::claims::routes_of(&evidence.candidate, &evidence.system.entry) {
        deltas.extend(rejections(sampler, &route));
    }
    deltas.sort_by(|a, b| b.weight.total_cmp(&a.weight).then_with(|| a.sentence.cmp(&b.sentence)));
    deltas.truncate(6);
    deltas
}

fn own_time(service: &str, route: &str, old: &[u64], new: &[u64], noise: f64) -> Option<Delta> {
    let factor = OWN_FACTOR.max((3.0 * noise).exp());
    let differs = |level| {
        let (old, new) = (of_sorted(old, level)?, of_sorted(new, level)?);
        let (low, high) = (old.min(new), old.max(new));
        let clear = high - low >= OWN_NANOS && high as f64 >= factor * low as f64;
        clear.then_some((old, new))
    };
    // The upper tail of an arm is mostly luck; the median and the 90th percentile are not.
    let (level, (old, new)) = differs(0.5)
        .map(|found| ("median", found))
        .or_else(|| differs(0.9).map(|found| ("p90", found)))?;
    let change = 100.0 * (new as f64 / old.max(1) as f64 - 1.0);
    let sentence = format!(
        "own time of `{route}` in `{service}`: {level} {} → {} ({change:+.0} %)",
        human_nanos(old),
        human_nanos(new)
    );
    let remedy = format!("undo what changed the time of `{route}` in `{service}`");
    let weight = (new as f64 - old as f64) / 1e6;
    Some(Delta { part: Part::Own(service.to_owned(), route.to_owned()), sentence, remedy, weight })
}

fn calls(service: &str, route: &str, old: &[CallModel], new: &[CallModel]) -> Delta {
    let mean =
        |call: &CallModel| call.counts.iter().enumerate().map(|(k, p)| k as f64 * p).sum::<f64>();
    let total = |calls: &[CallModel], to: &str| {
        calls.iter().filter(|call| call.service == to).map(mean).sum::<f64>()
    };
    let mut targets: Vec<&String> = old.iter().chain(new).map(|call| &call.service).collect();
    targets.sort();
    targets.dedup();
    let parts: Vec<String> = targets
        .iter()
        .map(|to| (to, total(old, to), total(new, to)))
        .filter(|(_, old, new)| (old - new).abs() > 0.02)
        .map(|(to, old, new)| format!("calls `{to}` {new:.1} times per request, was {old:.1}"))
        .collect();
    let changed = if parts.is_empty() {
        "calls other routes, or in another pattern".to_owned()
    } else {
        parts.join(", and ")
    };
    let sum = |calls: &[CallModel]| calls.iter().map(mean).sum::<f64>();
    Delta {
        part: Part::Calls(service.to_owned(), route.to_owned()),
        sentence: format!("`{service}` on `{route}` {changed}"),
        remedy: format!("undo the changed calls of `{route}` in `{service}`, or make them at once"),
        weight: 20.0 * (sum(new) - sum(old)).abs(),
    }
}

fn failures(sampler: &Sampler<'_>, service: &str, route: &str) -> Option<Delta> {
    let count = |observations: &Observations| {
        let visits = observations.services.get(service)?.routes.get(route)?;
        let own = visits
            .iter()
            .filter(|visit| visit.failed && !visit.calls.iter().any(|call| call.failed));
        Some((own.count() as u64, visits.len() as u64))
    };
    let (old, new) = (count(&sampler.baseline)?, count(&sampler.evidence.candidate)?);
    let p = fisher_greater(new.0, new.1, old.0, old.1);
    (p < FAILURE_LEVEL).then(|| Delta {
        part: Part::Failure(service.to_owned(), route.to_owned()),
        sentence: format!("`{service}` fails {} of `{route}`, was {}", percent(new), percent(old)),
        remedy: format!("fix the errors of `{route}` in `{service}`"),
        weight: 1_000.0 * new.0 as f64 / new.1.max(1) as f64,
    })
}

fn rejections(sampler: &Sampler<'_>, route: &str) -> Option<Delta> {
    let entry = &sampler.evidence.system.entry;
    let old = client_errors(&sampler.baseline, entry, route);
    let new = client_errors(&sampler.evidence.candidate, entry, route);
    let p = if new.1 == 0 || old.1 == 0 { 1.0 } else { fisher_greater(new.0, new.1, old.0, old.1) };
    (p < FAILURE_LEVEL).then(|| Delta {
        part: Part::ClientErrors(route.to_owned()),
        sentence: format!(
            "`{entry}` answers {} of `{route}` with 4xx, was {}",
            percent(new),
            percent(old)
        ),
        remedy: format!("fix the rejected requests of `{route}`"),
        weight: 1_000.0 * new.0 as f64 / new.1.max(1) as f64,
    })
}

fn percent((count, of): (u64, u64)) -> String {
    if of == 0 {
        return "an unknown share".to_owned();
    }
    let interval = wilson_95(count, of);
    format!(
        "{:.1} % ({:.1}–{:.1})",
        100.0 * count as f64 / of as f64,
        100.0 * interval.lo(),
        100.0 * interval.hi()
    )
}

fn limits(sampler: &Sampler<'_>, name: &str, before: &Model, after: &Model) -> Vec<Delta> {
    let (old, new) = (&before.services[name], &after.services[name]);
    let words = |limit: Option<u32>| {
        limit.map_or_else(|| "no limit that was seen".to_owned(), |limit| limit.to_string())
    };
    let mut deltas = Vec::new();
    if workers::differ(sampler, name) || old.replicas != new.replicas {
        deltas.push(Delta {
            part: Part::Workers(name.to_owned()),
            sentence: format!(
                "`{name}` works on {} requests at once in {} instance(s), was {} in {}",
                words(new.workers),
                new.replicas,
                words(old.workers),
                old.replicas
            ),
            remedy: format!("keep the workers of `{name}`"),
            weight: 50.0,
        });
    }
    for to in old.pools.keys().chain(new.pools.keys().filter(|to| !old.pools.contains_key(*to))) {
        let (was, is) = (old.pools.get(to).copied(), new.pools.get(to).copied());
        if was != is {
            deltas.push(Delta {
                part: Part::Pool(name.to_owned(), to.clone()),
                sentence: format!(
                    "`{name}` makes at most {} call(s) to `{to}` at once, was {}; calls wait",
                    words(is),
                    words(was)
                ),
                remedy: format!("widen the pool from `{name}` to `{to}` again"),
                weight: 50.0,
            });
        }
    }
    deltas
}

fn growth(sampler: &Sampler<'_>, name: &str) -> Option<Delta> {
    let slope = |service: &ServiceObservations| {
        let warm = &service.memory[service.memory.len() / 5..];
        let line: Vec<(f64, f64)> =
            warm.iter().map(|point| (point.requests as f64, point.resident_bytes as f64)).collect();
        theil_sen(&line)
    };
    let old = slope(sampler.evidence.baseline.services.get(name)?)?;
    let new = slope(sampler.evidence.candidate.services.get(name)?)?;
    (new.interval.lo() > old.interval.hi() + GROWTH_BYTES).then(|| Delta {
        part: Part::Memory(name.to_owned()),
        sentence: format!(
            "memory of `{name}` grows by {:.1} KiB per request ({:.1}–{:.1}), was {:.1}",
            new.value / 1_024.0,
            new.interval.lo() / 1_024.0,
            new.interval.hi() / 1_024.0,
            old.value / 1_024.0
        ),
        remedy: format!("fix the growing memory of `{name}`"),
        weight: 40.0,
    })
}

// === impl Delta ===

impl Delta {
    /// Returns the change without this part.
    pub(super) fn undo(&self) -> Change {
        Change { undo: [self.part.clone()].into(), ..Change::default() }
    }

    /// Returns the service whose limits it narrows, if it does.
    pub(super) fn narrowed(&self) -> Option<&str> {
        match &self.part {
            Part::Own(service, _)
            | Part::Calls(service, _)
            | Part::Pool(service, _)
            | Part::Workers(service) => Some(service),
            Part::Failure(..) | Part::Memory(_) | Part::ClientErrors(_) => None,
        }
    }
}
