//! The plan of a rollout: complete, immutable, made without touching anything.
//!
//! The executor makes no choices that are not written here. [`document`] renders it for people.

pub mod document;

use std::collections::{BTreeMap, BTreeSet};

use prophecy_core::System;
use prophecy_core::system::{Service, Slo, Span};
use prophecy_predictor::report::Metric;
use prophecy_predictor::{Report, Verdict};
use prophecy_twin::launch::placeholder;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::environment::Build;
use crate::settings::Settings;
use crate::strategy::{Stage, StagesError, Strategy};

/// The schema that this version writes and reads.
pub const SCHEMA: &str = "prophecy.plan/1";

/// How a candidate is brought to an environment, step by step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// The rollout.
    pub id: String,
    /// When it was made, in nanoseconds since 1970 (UTC).
    pub created_at: i64,
    /// Who asked for it.
    pub created_by: String,
    /// The environment.
    pub environment: String,
    /// The system.
    pub system: String,
    /// The service that clients call.
    pub entry: String,
    /// What runs now, unless nothing does.
    pub previous: Option<Build>,
    /// What is deployed.
    pub candidate: Build,
    /// What differs.
    pub components: Vec<Component>,
    /// The services that get new instances: those that differ and whoever calls them, up to the entry,
    /// so that clients can be told apart by what they met.
    pub replaced: BTreeSet<String>,
    /// Services that the candidate has no longer.
    pub removed: BTreeSet<String>,
    /// How traffic moves.
    pub strategy: Strategy,
    /// The steps before the candidate has everything.
    pub stages: Vec<Stage>,
    /// What was foretold, if a report was given.
    pub forecast: Option<Forecast>,
    /// What the canary has to keep.
    pub promises: Vec<Promise>,
    /// Everything that can be set.
    pub settings: Settings,
}

/// A service that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    /// The service.
    pub service: String,
    /// What is different, by place in the manifest; never a value, since values may be secret.
    pub changes: Vec<String>,
}

/// What a report foretold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// BLAKE3 of `report.json`.
    pub digest: String,
    /// The verdict.
    pub verdict: Verdict,
    /// The risk score, 0 to 100.
    pub risk: u32,
    /// Its 90 % interval.
    pub interval: [f64; 2],
    /// What each route is expected to look like.
    pub expectations: Vec<Expectation>,
}

/// What a metric of a route is expected to be with the candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Expectation {
    /// The service.
    pub service: String,
    /// The route.
    pub route: String,
    /// The metric.
    pub metric: Metric,
    /// The ends of the 90 % interval, in the metric's unit.
    pub interval: [f64; 2],
}

/// What is promised of a route of the entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Promise {
    /// The route.
    pub route: String,
    /// The metric.
    pub metric: Metric,
    /// The most that it may be, in the metric's unit.
    pub bound: f64,
}

/// What a plan is made from.
#[derive(Debug)]
pub struct PlanInputs<'a> {
    /// The rollout's name.
    pub id: &'a str,
    /// Now, in nanoseconds since 1970 (UTC).
    pub now: i64,
    /// Who asks.
    pub actor: &'a str,
    /// The environment's name.
    pub environment: &'a str,
    /// What runs now.
    pub previous: Option<(&'a System, Build)>,
    /// What is deployed.
    pub candidate: (&'a System, Build),
    /// Services to be deployed again although nothing differs.
    pub again: &'a BTreeSet<String>,
    /// How traffic moves.
    pub strategy: Strategy,
    /// The forecast, with the digest of its file.
    pub report: Option<(&'a Report, String)>,
    /// Everything that can be set.
    pub settings: Settings,
}

/// Why no plan could be made.
#[derive(Debug, Error)]
pub enum PlanError {
    /// Nothing differs.
    #[error(
        "nothing differs between what runs in `{environment}` and the candidate; name the services to deploy again"
    )]
    NothingDiffers {
        /// The environment.
        environment: String,
    },
    /// A service to be deployed again is not there.
    #[error("there is no service `{service}` in the candidate")]
    NoSuchService {
        /// The service.
        service: String,
    },
    /// Another service than before is the entry.
    #[error(
        "the candidate's entry is `{found}`; what runs now has `{expected}`, and clients know only that"
    )]
    OtherEntry {
        /// The candidate's.
        found: String,
        /// What runs now.
        expected: String,
    },
    /// No client would meet what differs.
    #[error(
        "`{service}` differs, and nothing that clients call leads to it; it can be deployed with `--strategy immediate` only"
    )]
    Unreachable {
        /// The service.
        service: String,
    },
    /// A service that differs runs elsewhere.
    #[error("`{service}` is at a `url`: it is not ours to deploy")]
    NotOurs {
        /// The service.
        service: String,
    },
    /// The steps do not fit.
    #[error(transparent)]
    Stages(#[from] StagesError),
    /// The forecast is about something else.
    #[error("the report forecasts candidate {found}, and the candidate to deploy is {expected}")]
    OtherForecast {
        /// The digest in the report.
        found: String,
        /// The digest of the candidate.
        expected: String,
    },
}

// === impl Plan ===

impl Plan {
    /// Makes a plan. The same inputs give the same plan.
    ///
    /// # Errors
    ///
    /// Each variant of [`PlanError`].
    pub fn make(inputs: PlanInputs<'_>) -> Result<Self, PlanError> {
        let (system, candidate) = inputs.candidate;
        let previous = inputs.previous.as_ref().map(|(system, _)| *system);
        let components = differences(previous, system, inputs.again)?;
        if components.is_empty() {
            return Err(PlanError::NothingDiffers { environment: inputs.environment.to_owned() });
        }
        if let Some(before) = previous.filter(|before| before.entry != system.entry) {
            return Err(PlanError::OtherEntry {
                found: system.entry.clone(),
                expected: before.entry.clone(),
            });
        }
        // The first deployment has nothing to be compared with.
        let strategy = if previous.is_none() { Strategy::Immediate } else { inputs.strategy };
        let replaced = with_callers(system, &components, &strategy)?;
        let forecast = match inputs.report {
            Some((report, _)) if report.inputs.candidate != candidate.digest => {
                return Err(PlanError::OtherForecast {
                    found: report.inputs.candidate.clone(),
                    expected: candidate.digest,
                });
            }
            Some((report, digest)) => Some(forecast(report, digest)),
            None => None,
        };
        let instances = system.services[&system.entry].replicas;
        let mut stages = strategy.stages(inputs.settings.observe, instances)?;
        for stage in &mut stages {
            stage.confirm = inputs.settings.confirm.contains(&(stage.index + 1));
        }
        let removed = previous.map(|before| {
            let gone = before.services.keys().filter(|name| !system.services.contains_key(*name));
            gone.cloned().collect()
        });
        Ok(Self {
            schema: SCHEMA.to_owned(),
            id: inputs.id.to_owned(),
            created_at: inputs.now,
            created_by: inputs.actor.to_owned(),
            environment: inputs.environment.to_owned(),
            system: system.name.clone(),
            entry: system.entry.clone(),
            previous: inputs.previous.map(|(_, build)| build),
            candidate,
            components,
            replaced,
            removed: removed.unwrap_or_default(),
            strategy,
            stages,
            forecast,
            promises: promises(system),
            settings: inputs.settings,
        })
    }

    /// Returns the digest that approvals are bound to.
    pub fn digest(&self) -> String {
        let text = serde_json::to_vec(self).expect("plain data");
        blake3::hash(&text).to_hex().to_string()
    }

    /// Returns the name of the candidate's group.
    pub fn candidate_group(&self) -> String {
        self.id.clone()
    }

    /// Returns the name of the control's group.
    pub fn control_group(&self) -> String {
        format!("{}-control", self.id)
    }
}

/// Returns what a report foretold.
fn forecast(report: &Report, digest: String) -> Forecast {
    let of_routes = report.routes.iter().map(|it| Expectation {
        service: it.service.clone(),
        route: it.route.clone(),
        metric: it.metric,
        interval: [it.candidate.p5, it.candidate.p95],
    });
    let of_claims = report.claims.iter().map(|it| Expectation {
        service: it.service.clone(),
        route: it.route.clone(),
        metric: it.metric,
        interval: [it.candidate.p5, it.candidate.p95],
    });
    let mut expectations: Vec<Expectation> = of_claims.chain(of_routes).collect();
    let mut seen = BTreeSet::new();
    expectations.retain(|it| seen.insert((it.service.clone(), it.route.clone(), it.metric)));
    Forecast {
        digest,
        verdict: report.verdict,
        risk: report.risk.score,
        interval: report.risk.interval.into(),
        expectations,
    }
}

/// Returns the services that differ, and where.
fn differences(
    before: Option<&System>,
    after: &System,
    again: &BTreeSet<String>,
) -> Result<Vec<Component>, PlanError> {
    if let Some(service) = again.iter().find(|name| !after.services.contains_key(*name)) {
        return Err(PlanError::NoSuchService { service: service.clone() });
    }
    let mut components = Vec::new();
    for (name, service) in &after.services {
        let mut changes = match before.map(|before| before.services.get(name)) {
            None => vec!["first deployment".to_owned()],
            Some(None) => vec!["new service".to_owned()],
            Some(Some(known)) => changes(known, service),
        };
        if changes.is_empty() && again.contains(name) {
            changes.push("deployed again".to_owned());
        }
        if changes.is_empty() {
            continue;
        }
        if service.url.is_some() && before.is_some() {
            return Err(PlanError::NotOurs { service: name.clone() });
        }
        components.push(Component { service: name.clone(), changes });
    }
    Ok(components)
}

/// Returns the places in which two versions of a service differ.
fn changes(before: &Service, after: &Service) -> Vec<String> {
    let value = |service| serde_json::to_value(service).expect("plain data");
    let mut places = Vec::new();
    compare(String::new(), &value(before), &value(after), &mut places);
    places
}

fn compare(
    place: String,
    before: &serde_json::Value,
    after: &serde_json::Value,
    places: &mut Vec<String>,
) {
    use serde_json::Value;
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for name in names {
                let below = if place.is_empty() { name.clone() } else { format!("{place}.{name}") };
                let get = |of: &serde_json::Map<String, Value>| {
                    of.get(name).cloned().unwrap_or(Value::Null)
                };
                compare(below, &get(old), &get(new), places);
            }
        }
        (old, new) if old != new => places.push(place),
        _ => {}
    }
}

/// Returns the services that differ and whoever calls them, up to the entry.
fn with_callers(
    system: &System,
    components: &[Component],
    strategy: &Strategy,
) -> Result<BTreeSet<String>, PlanError> {
    let calls: BTreeMap<&String, BTreeSet<String>> =
        system.services.iter().map(|(name, it)| (name, placeholder::urls_in(it))).collect();
    let mut replaced: BTreeSet<String> = components.iter().map(|it| it.service.clone()).collect();
    if *strategy == Strategy::Immediate {
        return Ok(replaced);
    }
    loop {
        let callers = calls.iter().filter(|(name, callees)| {
            !replaced.contains(**name) && callees.iter().any(|callee| replaced.contains(callee))
        });
        let callers: Vec<String> = callers.map(|(name, _)| (*name).clone()).collect();
        if callers.is_empty() {
            break;
        }
        replaced.extend(callers);
    }
    if !replaced.contains(&system.entry) {
        let service = components[0].service.clone();
        return Err(PlanError::Unreachable { service });
    }
    // A caller that runs elsewhere cannot be told to call somebody else.
    let elsewhere = replaced.iter().find(|name| system.services[*name].url.is_some());
    match elsewhere {
        Some(service) => Err(PlanError::NotOurs { service: service.clone() }),
        None => Ok(replaced),
    }
}

/// Returns what is promised of the entry's routes.
fn promises(system: &System) -> Vec<Promise> {
    let of_entry = system.slo.iter().filter(|slo| slo.service == system.entry);
    of_entry.flat_map(promises_of).collect()
}

fn promises_of(slo: &Slo) -> Vec<Promise> {
    let latency = |metric, bound: Option<Span>| {
        Some(Promise { route: slo.route.clone(), metric, bound: bound?.0.as_secs_f64() * 1e3 })
    };
    let errors = slo.error_rate.map(|share| Promise {
        route: slo.route.clone(),
        metric: Metric::ErrorRate,
        bound: share.0.get(),
    });
    [
        latency(Metric::LatencyP50, slo.latency_p50),
        latency(Metric::LatencyP95, slo.latency_p95),
        latency(Metric::LatencyP99, slo.latency_p99),
        errors,
    ]
    .into_iter()
    .flatten()
    .collect()
}
