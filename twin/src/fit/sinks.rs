//! What becomes of the visits: all are kept, or all are summarized and some kept.

use std::collections::BTreeMap;

use prophecy_core::Metric;
use prophecy_datasets::{Sighting, Sightings};
use prophecy_simulator::observation::{Arrival, Observations, ServiceObservations, Visit};
use prophecy_simulator::summary::{RouteSummary, ServiceSummary, Summary};

use super::resources::Resources;
use super::survey::Surveyed;
use super::visits::Sink;

/// Keeps everything.
#[derive(Debug)]
pub(super) struct Keeper {
    resources: Resources,
    arrivals: Vec<Arrival>,
    routes: BTreeMap<String, BTreeMap<String, Vec<Visit>>>,
}

/// Summarizes everything, what came before a cut by itself, and keeps what came after it for a while.
#[derive(Debug)]
pub(super) struct Summarizer {
    cut: u64,
    until: u64,
    before: Routes,
    after: Routes,
    rest: Keeper,
}

type Routes = BTreeMap<String, BTreeMap<String, RouteSummary>>;

// === impl Keeper ===

impl Keeper {
    /// Returns one that has nothing yet.
    pub(super) fn new(metrics: &[Metric], known: &Surveyed) -> Self {
        let resources = Resources::new(metrics, known.origin);
        Self { resources, arrivals: Vec::new(), routes: BTreeMap::new() }
    }

    /// Returns everything.
    pub(super) fn finish(mut self, known: &Surveyed, entry: &str) -> Observations {
        let services = known.services.iter().map(|(number, (name, queueing))| {
            let mut routes = self.routes.remove(name).unwrap_or_default();
            // Visits that outlast a slice come after those that began later.
            routes.values_mut().for_each(|visits| visits.sort_by_key(|visit| visit.at_nanos));
            let visits: usize = routes.values().map(Vec::len).sum();
            let observed = ServiceObservations {
                workers: queueing.workers,
                pools: known.pools_of(*number),
                policies: known.policies_of(*number),
                most_at_once: queueing.most_at_once,
                routes,
                memory: self.resources.memory(name),
                cpu_nanos_per_request: self.resources.cpu_nanos_per_request(name, visits as u64),
            };
            (name.clone(), observed)
        });
        Observations {
            entry: entry.to_owned(),
            window_nanos: known.window_nanos,
            services: services.collect(),
            arrivals: self.arrivals,
        }
    }
}

impl Sink for Keeper {
    fn arrival(&mut self, at_nanos: u64, row: &Sighting, names: &Sightings) {
        let route = names.names[row.route as usize].clone();
        self.arrivals.push(Arrival { at_nanos, session: row.session_id, route });
    }

    fn request(&mut self, service: &str, row: &Sighting) {
        self.resources.served(service, row.ended_at);
    }

    fn visits(&mut self, service: &str, route: &str, visits: Vec<Visit>) {
        route_of(&mut self.routes, service, route).extend(visits);
    }
}

// === impl Summarizer ===

impl Summarizer {
    /// Returns one that keeps visits from `cut` to `until` \[ns from the origin\].
    pub(super) fn new(known: &Surveyed, cut: u64, until: u64) -> Self {
        let (before, after) = (Routes::new(), Routes::new());
        Self { cut, until, before, after, rest: Keeper::new(&[], known) }
    }

    /// Returns the summary of what came before the cut, that of everything, and what was kept.
    pub(super) fn finish(self, known: &Surveyed, entry: &str) -> (Summary, Summary, Observations) {
        let window_nanos = known.window_nanos.min(self.until).saturating_sub(self.cut);
        let rest = Observations { window_nanos, ..self.rest.finish(known, entry) };
        let before = summary(self.before, known);
        let mut all = before.clone();
        all.merge(summary(self.after, known));
        (before, all, rest)
    }
}

impl Sink for Summarizer {
    fn arrival(&mut self, at_nanos: u64, row: &Sighting, names: &Sightings) {
        if (self.cut..self.until).contains(&at_nanos) {
            self.rest.arrival(at_nanos - self.cut, row, names);
        }
    }

    fn request(&mut self, _service: &str, _row: &Sighting) {}

    fn visits(&mut self, service: &str, route: &str, visits: Vec<Visit>) {
        let mut kept = Vec::new();
        for mut visit in visits {
            let summaries =
                if visit.at_nanos < self.cut { &mut self.before } else { &mut self.after };
            route_of(summaries, service, route).add(&visit);
            if (self.cut..self.until).contains(&visit.at_nanos) {
                visit.at_nanos -= self.cut;
                kept.push(visit);
            }
        }
        if !kept.is_empty() {
            self.rest.visits(service, route, kept);
        }
    }
}

fn route_of<'a, T: Default>(
    services: &'a mut BTreeMap<String, BTreeMap<String, T>>,
    service: &str,
    route: &str,
) -> &'a mut T {
    if !services.contains_key(service) {
        services.insert(service.to_owned(), BTreeMap::new());
    }
    let routes = services.get_mut(service).expect("it was just put there");
    if !routes.contains_key(route) {
        routes.insert(route.to_owned(), T::default());
    }
    routes.get_mut(route).expect("it was just put there")
}

fn summary(mut routes: Routes, known: &Surveyed) -> Summary {
    let services = known.services.iter().map(|(number, (name, queueing))| {
        let summary = ServiceSummary {
            workers: queueing.workers,
            pools: known.pools_of(*number),
            policies: known.policies_of(*number),
            routes: routes.remove(name).unwrap_or_default(),
        };
        (name.clone(), summary)
    });
    Summary { services: services.collect() }
}
