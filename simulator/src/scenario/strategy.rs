//! The transient of a deployment, by strategy.

use serde::{Deserialize, Serialize};

use crate::model::Model;

use super::{Happening, Incident, WarmUp};

/// How a new build replaces the old one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Strategy {
    /// All instances end and start again at once.
    Immediate {
        /// How long an instance takes to start \[ns\].
        start_nanos: u64,
    },
    /// One instance after the other is replaced.
    Rolling {
        /// How long an instance takes to start \[ns\].
        start_nanos: u64,
        /// From one instance to the next \[ns\].
        pause_nanos: u64,
        /// Whether the new instance runs before the old one stops.
        surge: bool,
    },
    /// All new instances start beside the old ones; then all traffic is switched.
    BlueGreen {
        /// How long the instances take to start \[ns\].
        start_nanos: u64,
    },
    /// One new instance gets a growing share of the sessions; then the others are replaced.
    Canary {
        /// The shares, each for as long as the next.
        steps: Vec<f64>,
        /// How long a step lasts \[ns\].
        step_nanos: u64,
        /// How long an instance takes to start \[ns\].
        start_nanos: u64,
    },
}

/// A deployment of one service.
#[derive(Clone, Debug, PartialEq)]
pub struct Deployment<'a> {
    /// The service.
    pub service: &'a str,
    /// How the new build replaces the old one.
    pub strategy: &'a Strategy,
    /// When it begins \[ns\].
    pub at_nanos: u64,
    /// How instances are slower at first.
    pub warm_up: Option<WarmUp>,
    /// Where set, everything that has not happened so much later does not, and the old instances take over
    /// again \[ns\].
    pub rolled_back_after_nanos: Option<u64>,
}

// === impl Deployment ===

impl Deployment<'_> {
    /// Returns what it does, for a model compiled of both builds: the instances of the second follow those of
    /// the first.
    pub fn incidents(&self, before: &Model, after: &Model) -> Vec<Incident> {
        let old = before.services.get(self.service);
        let replicas = |model: &Model| model.services.get(self.service).map_or(0, |it| it.replicas);
        let plan = Plan {
            service: self.service,
            old: old.map_or(0, slots),
            old_count: replicas(before),
            new_count: replicas(after),
            warm_up: self.warm_up,
            at_nanos: self.at_nanos,
        };
        let mut incidents = plan.forward(self.strategy);
        if let Some(delay) = self.rolled_back_after_nanos {
            let back_at = self.at_nanos.saturating_add(delay);
            incidents.retain(|incident| incident.at_nanos < back_at);
            incidents.extend(plan.back(back_at, self.strategy, &incidents));
        }
        incidents.sort_by_key(|incident| incident.at_nanos);
        incidents
    }
}

fn slots(station: &crate::model::Station) -> u32 {
    station.scaling.map_or(station.replicas, |scaling| scaling.most.max(station.replicas))
}

struct Plan<'a> {
    service: &'a str,
    /// Slots of the first build; those of the second come after them.
    old: u32,
    old_count: u32,
    new_count: u32,
    warm_up: Option<WarmUp>,
    at_nanos: u64,
}

// === impl Plan ===

impl Plan<'_> {
    fn forward(&self, strategy: &Strategy) -> Vec<Incident> {
        let at = self.at_nanos;
        let mut incidents = Vec::new();
        match strategy {
            Strategy::Immediate { start_nanos } => {
                incidents.extend((0..self.old_count).map(|instance| self.stop(at, instance)));
                let up_at = at.saturating_add(*start_nanos);
                incidents.extend((0..self.new_count).map(|instance| self.start(up_at, instance)));
            }
            Strategy::Rolling { start_nanos, pause_nanos, surge } => {
                let step = start_nanos.saturating_add(*pause_nanos);
                for instance in 0..self.old_count.max(self.new_count) {
                    let begins_at = at.saturating_add(step.saturating_mul(u64::from(instance)));
                    let up_at = begins_at.saturating_add(*start_nanos);
                    if instance < self.old_count {
                        let stops_at = if *surge { up_at } else { begins_at };
                        incidents.push(self.stop(stops_at, instance));
                    }
                    if instance < self.new_count {
                        incidents.push(self.start(up_at, instance));
                    }
                }
            }
            Strategy::BlueGreen { start_nanos } => {
                incidents.push(self.shift(at, 0.0));
                let up_at = at.saturating_add(*start_nanos);
                incidents.extend((0..self.new_count).map(|instance| self.start(up_at, instance)));
                incidents.push(self.shift(up_at, 1.0));
                // The old ones are kept until nobody can still be on the way to them.
                let gone_at = up_at.saturating_add(1);
                incidents.extend((0..self.old_count).map(|instance| self.stop(gone_at, instance)));
            }
            Strategy::Canary { steps, step_nanos, start_nanos } => {
                incidents.push(self.shift(at, 0.0));
                let up_at = at.saturating_add(*start_nanos);
                incidents.push(self.start(up_at, 0));
                let mut step_at = up_at;
                for share in steps {
                    incidents.push(self.shift(step_at, *share));
                    step_at = step_at.saturating_add(*step_nanos);
                }
                incidents.extend((1..self.new_count).map(|instance| self.start(step_at, instance)));
                incidents.push(self.shift(step_at, 1.0));
                let gone_at = step_at.saturating_add(1);
                incidents.extend((0..self.old_count).map(|instance| self.stop(gone_at, instance)));
            }
        }
        incidents
    }

    /// The old instances that were stopped start again, then the new ones stop.
    fn back(&self, at: u64, strategy: &Strategy, done: &[Incident]) -> Vec<Incident> {
        let start_nanos = match strategy {
            Strategy::Immediate { start_nanos }
            | Strategy::Rolling { start_nanos, .. }
            | Strategy::BlueGreen { start_nanos }
            | Strategy::Canary { start_nanos, .. } => *start_nanos,
        };
        let stopped: Vec<u32> = done
            .iter()
            .filter_map(|incident| match &incident.happening {
                Happening::Stop { instance, .. } => Some(*instance),
                _ => None,
            })
            .collect();
        let up_at = if stopped.is_empty() { at } else { at.saturating_add(start_nanos) };
        let mut incidents: Vec<Incident> = stopped
            .into_iter()
            .map(|instance| Incident {
                at_nanos: up_at,
                happening: Happening::Start {
                    service: self.service.to_owned(),
                    instance,
                    build: 0,
                    warm_up: self.warm_up,
                },
            })
            .collect();
        incidents.push(self.shift(up_at, 0.0));
        let started = done.iter().filter_map(|incident| match &incident.happening {
            Happening::Start { instance, .. } => Some(*instance),
            _ => None,
        });
        let gone_at = up_at.saturating_add(1);
        incidents.extend(started.map(|instance| Incident {
            at_nanos: gone_at,
            happening: Happening::Stop { service: self.service.to_owned(), instance },
        }));
        incidents
    }

    fn stop(&self, at_nanos: u64, instance: u32) -> Incident {
        let service = self.service.to_owned();
        Incident { at_nanos, happening: Happening::Stop { service, instance } }
    }

    fn start(&self, at_nanos: u64, instance: u32) -> Incident {
        let happening = Happening::Start {
            service: self.service.to_owned(),
            instance: self.old + instance,
            build: 1,
            warm_up: self.warm_up,
        };
        Incident { at_nanos, happening }
    }

    fn shift(&self, at_nanos: u64, share: f64) -> Incident {
        let service = self.service.to_owned();
        Incident { at_nanos, happening: Happening::Shift { service, share } }
    }
}
