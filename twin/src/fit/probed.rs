//! What a probe found, put to use: workers that nobody declared, and the time of work under load.

use prophecy_core::System;
use prophecy_datasets::probe::{ArmProbe, Bottleneck, Probe, ServiceProbe};
use prophecy_datasets::{Dataset, ReadDatasetError};
use prophecy_simulator::observation::{Observations, Workers};
use prophecy_simulator::{Model, fidelity, model, model_of};

use super::{Fit, Fitted, HeldOut, observe};

/// Own times of a dataset and of a probe are those of one machine if they differ by no more, relatively.
const SAME_MACHINE: f64 = 0.2;

/// How much work may take under overload, relatively, to be taken for that and not for a mistake.
const FACTOR: (f64, f64) = (0.75, 2.0);

/// Overload costs capacity if the knee is so many times what was served at the end.
const COLLAPSED: f64 = 1.1;

/// The machine of a probe, in a model whose manifest does not say where services run.
const HOST: &str = "probed";

/// Observes a system as [`observe`] does, with the workers that a probe of it found.
///
/// What the manifest declares stays as it is.
///
/// # Errors
///
/// [`ReadDatasetError`] if the dataset cannot be read.
pub fn observe_probed(
    dataset: &Dataset,
    system: &System,
    skip_nanos: u64,
    probed: Option<&ArmProbe>,
) -> Result<Fit, ReadDatasetError> {
    let Some(probed) = probed else { return observe(dataset, system, skip_nanos) };
    let mut declared = system.clone();
    for (name, service) in &mut declared.services {
        let range = probed.services.get(name).and_then(|found| found.workers);
        service.concurrency = service.concurrency.or_else(|| range.map(|range| range.likeliest));
    }
    let mut fit = observe(dataset, &declared, skip_nanos)?;
    for (name, observed) in &mut fit.observations.services {
        let undeclared = system.services.get(name).is_some_and(|it| it.concurrency.is_none());
        let Some(found) = probed.services.get(name).filter(|_| undeclared) else { continue };
        observed.most_at_once = observed.most_at_once.max(found.workers_at_least);
        if let Some(range) = found.workers {
            let (least, likeliest, most) = (range.least, range.likeliest, range.most);
            observed.workers = Workers::Probed { least, likeliest, most };
        } else if matches!(&probed.bottleneck, Some(Bottleneck::Processor { service }) if service == name)
        {
            // What looks like a queue for workers is one for cores.
            observed.workers = Workers::Unlimited;
        }
        fit.notes.push(note(name, found));
    }
    Ok(fit)
}

/// Fits a model as [`super::summarize`] does, with what a probe found; every visit is kept meanwhile.
///
/// # Errors
///
/// [`ReadDatasetError`] if the dataset cannot be read.
pub fn summarize_probed(
    dataset: &Dataset,
    system: &System,
    probe: &Probe,
    probed: &ArmProbe,
) -> Result<Fitted, ReadDatasetError> {
    let Fit { observations, mut notes } = observe_probed(dataset, system, 0, Some(probed))?;
    let mut model = model_of(&observations, system);
    notes.extend(contend(&mut model, &observations, system, probe, probed));
    let is_held_out = observations.arrivals.len() >= fidelity::HELD_OUT_FROM;
    let cut = if is_held_out {
        (fidelity::FIT_SHARE * observations.window_nanos as f64) as u64
    } else {
        0
    };
    let first = if is_held_out { observations.part(0, cut) } else { observations.clone() };
    let held_out = HeldOut {
        model: model_of(&first, system),
        rest: observations.part(cut, u64::MAX),
        is_held_out,
    };
    let arrivals = observations.arrivals.len() as u64;
    Ok(Fitted { model, arrivals, recognized: Vec::new(), notes, held_out })
}

fn note(service: &str, found: &ServiceProbe) -> String {
    match found.workers {
        Some(range) if range.least == range.most => {
            format!("`{service}` works on {} requests at once, by the probe", range.likeliest)
        }
        Some(range) => format!(
            "`{service}` works on {} requests at once ({} to {}), by the probe",
            range.likeliest, range.least, range.most
        ),
        None => format!(
            "`{service}` works on at least {} requests at once, by the probe",
            found.workers_at_least
        ),
    }
}

/// Gives a model the time of work under load, so that it saturates where the probe did; returns what was
/// assumed, in sentences.
///
/// Where a dataset's own times are those of the probe's machine, the bottleneck's become what they were
/// under overload; on another machine they change by the factor that they did in the probe.
pub fn contend(
    model: &mut Model,
    observations: &Observations,
    system: &System,
    probe: &Probe,
    probed: &ArmProbe,
) -> Vec<String> {
    match &probed.bottleneck {
        Some(Bottleneck::Workers { service }) => {
            workers(model, observations, service, probed).into_iter().collect()
        }
        Some(Bottleneck::Processor { .. }) => {
            vec![processor(model, observations, system, probe, probed)]
        }
        None => Vec::new(),
    }
}

fn workers(
    model: &mut Model,
    observations: &Observations,
    service: &str,
    probed: &ArmProbe,
) -> Option<String> {
    let found = probed.services.get(service)?;
    let saturated = found.own_ms_saturated? / above(probed, observations);
    let own = own_ms(observations, service)?;
    // Either may have been disturbed; another machine would differ from both.
    let same = [found.own_ms_alone, saturated]
        .into_iter()
        .any(|probed| (probed / own - 1.0).abs() <= SAME_MACHINE);
    let factor = saturated / if same { own } else { found.own_ms_alone };
    if !(FACTOR.0..=FACTOR.1).contains(&factor) {
        return Some(format!(
            "the probe has {saturated:.1} ms for the work of `{service}` under load, the dataset {own:.1} ms: the dataset's is kept"
        ));
    }
    for route in model.services.get_mut(service)?.routes.values_mut() {
        scale(&mut route.own_nanos, factor);
    }
    let whose = if same { "the probe's" } else { "the dataset's, as it changes by the probe" };
    Some(format!("the work of `{service}` takes {:.1} ms under load: {whose}", own * factor))
}

/// Puts services on machines whose cores they share: those of the manifest, or that of the probe.
fn processor(
    model: &mut Model,
    observations: &Observations,
    system: &System,
    probe: &Probe,
    probed: &ArmProbe,
) -> String {
    let computing =
        |found: &ServiceProbe| found.processor_ms.unwrap_or(0.0) * found.served_hz / 1e3;
    let total: f64 = probed.services.values().map(computing).sum();
    let total = total * above(probed, observations);
    // What sends, the proxies and other programs had is missing to the arm: each request costs that much more.
    let factor = f64::from(probe.cores) / total.max(1e-9);
    for (name, station) in &mut model.services {
        let found = probed.services.get(name).and_then(|found| found.processor_ms);
        let (Some(processor), Some(own)) = (found, own_ms(observations, name)) else { continue };
        let declared = system.services.get(name).and_then(|service| service.host.clone());
        let cores = declared.as_ref().and_then(|host| system.hosts.get(host));
        let cores = cores.map_or_else(
            || probe.cores * station.replicas.max(1),
            |host| host.cores.round().max(1.0) as u32,
        );
        let host = declared.unwrap_or_else(|| HOST.to_owned());
        let known = model.hosts.entry(host.clone()).or_insert(model::Host { cores });
        known.cores = known.cores.max(cores);
        station.host = Some(host);
        let needed = processor * factor;
        for route in station.routes.values_mut() {
            route.cpu_share = (needed / own).min(1.0);
            scale(&mut route.own_nanos, (needed / own).max(1.0));
        }
    }
    "the arm saturates by the cores of the probe's machine; production's may be others".to_owned()
}

/// Returns how many times as much an arm does at its knee as at the end of its probe.
fn above(probed: &ArmProbe, observations: &Observations) -> f64 {
    let end = probed.services.get(&observations.entry).map_or(0.0, |entry| entry.served_hz);
    let knee = probed.knee.filter(|_| end > 0.0).map_or(1.0, |knee| knee.hz / end);
    // Refused requests and batches make a little of a difference that is none.
    if knee > COLLAPSED { knee } else { 1.0 }
}

/// Returns the mean own time of a service's visits \[ms\].
fn own_ms(observations: &Observations, service: &str) -> Option<f64> {
    let routes = &observations.services.get(service)?.routes;
    let own: Vec<u64> = routes.values().flatten().map(|visit| visit.own_nanos).collect();
    let mean = own.iter().map(|nanos| *nanos as f64).sum::<f64>() / own.len().max(1) as f64 / 1e6;
    (mean > 0.0).then_some(mean)
}

fn scale(nanos: &mut [u64], factor: f64) {
    nanos.iter_mut().for_each(|nanos| *nanos = (*nanos as f64 * factor) as u64);
}
