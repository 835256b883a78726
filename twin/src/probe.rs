//! The probe: each arm under the captured traffic at rising speed, until it saturates.
//!
//! A twin at the captured rate shows what a request costs, and hardly ever what there is a limit to. So one
//! arm after another, alone on the machine, is asked for more and more, step by step, until answers come
//! slower than requests or turn into errors; then it is held there while what comes out is counted.
//! A probe ends in any case: by its rate, its time, its number of requests, and those in flight.

mod climb;
mod machine;
mod step;

use std::fs;
use std::sync::atomic::Ordering;
use std::time::Duration;

use prophecy_core::Exchange;
use prophecy_datasets::Dataset;
use prophecy_datasets::probe::{ArmProbe, Probe, SCHEMA};

use self::climb::{Climb, Climbed};
use crate::fit::probe as fit;
use crate::manifest::LoadedSystem;
use crate::replay::{PlannedRequest, Surge, plan};
use crate::run::{ARMS, RunTwinError, TwinOptions, start_arm};

/// The folder of the probed arms' datasets, in that of the run.
const FOLDER: &str = "probe";

/// Requests in flight: each needs three descriptors here, and more behind a service that calls others.
const IN_FLIGHT_LIMIT: u64 = 256;

/// How far a probe may go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProbeBounds {
    /// The highest rate that is asked for \[1/s\].
    pub max_rate_hz: f64,
    /// The longest that an arm is driven.
    pub limit: Duration,
}

/// Where a probe stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ProbeProgress {
    /// An arm is being started: its name.
    Starting(&'static str),
    /// An arm is asked for this many requests per second.
    Asking(&'static str, f64),
}

/// Drives the baseline and then the candidate of a run, and writes what was found into the run's folder.
///
/// A service that ends meanwhile ends the probe of its arm, which then says so.
///
/// # Errors
///
/// As [`run_twin`](crate::run_twin), but for a service that ends.
pub async fn probe_arms(
    options: &TwinOptions<'_>,
    bounds: ProbeBounds,
    progress: &(dyn Fn(ProbeProgress) + Sync),
) -> Result<Probe, RunTwinError> {
    let exchanges = options.dataset.exchanges()?;
    let entry = &options.baseline.system.entry;
    let share = 1.0 / f64::from(options.baseline.system.services[entry].replicas);
    let (planned, _) = plan(&exchanges, entry, 1.0, share, options.seed.derive("replay"));
    if planned.is_empty() {
        return Err(RunTwinError::Nothing { entry: entry.clone() });
    }
    let mut arms = Vec::new();
    for (arm, system) in [(ARMS[0], options.baseline), (ARMS[2], options.candidate)] {
        progress(ProbeProgress::Starting(arm));
        let subject = Subject { arm, system, exchanges: &exchanges, planned: planned.clone() };
        arms.push(subject.probe(options, bounds, progress).await?);
    }
    let probe = Probe {
        schema: SCHEMA.to_owned(),
        max_rate_hz: bounds.max_rate_hz,
        limit_nanos: bounds.limit.as_nanos() as u64,
        in_flight_limit: IN_FLIGHT_LIMIT,
        cores: machine::cores(),
        arms,
    };
    let write = |source| RunTwinError::Write { path: options.out.clone(), source };
    probe.write(&options.out).map_err(write)?;
    Ok(probe)
}

/// One arm to be probed.
struct Subject<'a> {
    arm: &'static str,
    system: &'a LoadedSystem,
    exchanges: &'a [Exchange],
    planned: Vec<PlannedRequest>,
}

// === impl Subject ===

impl Subject<'_> {
    async fn probe(
        self,
        options: &TwinOptions<'_>,
        bounds: ProbeBounds,
        progress: &(dyn Fn(ProbeProgress) + Sync),
    ) -> Result<ArmProbe, RunTwinError> {
        let folder = options.out.join(FOLDER);
        fs::create_dir_all(&folder)
            .map_err(|source| RunTwinError::Write { path: folder.clone(), source })?;
        let Self { arm, system, exchanges, planned } = self;
        let (mut running, standins) = start_arm(options, exchanges, arm, system, &folder).await?;
        let surge = Surge::new(planned, running.entry(), IN_FLIGHT_LIMIT);
        let tell = |hz| progress(ProbeProgress::Asking(arm, hz));
        let climbed = Climb::new(surge, &mut running, bounds, &options.stop, &tell).climb().await?;
        if options.stop.load(Ordering::SeqCst) {
            return Err(RunTwinError::Interrupted);
        }
        running.stop().await?;
        drop(standins);
        let dataset = Dataset::open(&folder.join(arm))?;
        let Climbed { steps, ending, knee, at_least_hz, ended, mut notes } = climbed;
        let last = steps.last().copied();
        let mut probed = ArmProbe {
            name: arm.to_owned(),
            manifest: system.digest.clone(),
            steps,
            ending,
            knee,
            at_least_hz,
            bottleneck: None,
            services: std::collections::BTreeMap::new(),
            ended,
            notes: Vec::new(),
        };
        if last.is_some() {
            fit::read_services(&dataset, machine::cores(), &mut probed)?;
        }
        notes.append(&mut probed.notes);
        if !system.system.dependencies.is_empty() {
            notes.push("dependencies are stood in for, and a stand-in never saturates".to_owned());
        }
        probed.notes = notes;
        Ok(probed)
    }
}
