//! From observations to a model.

use prophecy_core::System;

use crate::model::Model;
use crate::observation::Observations;
use crate::summary::{RouteSummary, ServiceSummary, Summary};

/// Estimates a model of the system in production: what was observed, with the manifest's replicas.
pub fn model_of(observations: &Observations, system: &System) -> Model {
    summary_of(observations).model(&observations.entry, system)
}

/// Summarizes what was observed.
pub fn summary_of(observations: &Observations) -> Summary {
    let services = observations.services.iter().map(|(name, observed)| {
        let routes = observed.routes.iter();
        let summary = ServiceSummary {
            workers: observed.workers,
            pools: observed.pools.clone(),
            policies: observed.policies.clone(),
            routes: routes.map(|(name, visits)| (name.clone(), RouteSummary::of(visits))).collect(),
        };
        (name.clone(), summary)
    });
    Summary { services: services.collect() }
}
