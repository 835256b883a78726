//! The first pass: what the whole window says about limits, before any request is taken apart.

use std::collections::BTreeMap;

use prophecy_core::{System, Timestamp};
use prophecy_datasets::{Sighting, Sightings};
use prophecy_simulator::observation::Workers;

use super::link::{Experience, LinkedSlice, Linker};
use super::patience::{self, Attempts, Place, Recognized};
use super::pool::{self, Edge, Traffic};
use super::queue::{Evidence, Queueing};
use super::slices::Slice;
use super::{at_entry, is_request};

/// What is known so far; slices are added in the order of time.
#[derive(Debug)]
pub(super) struct Survey<'s> {
    system: &'s System,
    skip_nanos: u64,
    origin: Option<Timestamp>,
    last_arrival: Option<Timestamp>,
    arrivals: u64,
    requests: u64,
    linker: Linker,
    services: BTreeMap<u32, Evidence>,
    edges: BTreeMap<Edge, Traffic>,
    attempts: BTreeMap<Place, Attempts>,
}

/// What the first pass found; names are numbered alike in the second.
#[derive(Debug)]
pub(super) struct Surveyed {
    /// From when on requests count.
    pub(super) origin: Timestamp,
    /// Up to the last arrival \[ns\].
    pub(super) window_nanos: u64,
    pub(super) arrivals: u64,
    pub(super) requests: u64,
    pub(super) experience: Experience,
    /// By called service, with its name.
    pub(super) services: BTreeMap<u32, (String, Queueing)>,
    /// Limits on calls at once.
    pub(super) pools: BTreeMap<Edge, u32>,
    /// Timeouts and retries, by caller, called service and its route.
    pub(super) patience: BTreeMap<[u32; 3], Recognized>,
    /// The names of the routes in it.
    pub(super) routes: BTreeMap<u32, String>,
}

// === impl Survey ===

impl<'s> Survey<'s> {
    /// Returns a survey that leaves out the first `skip_nanos`.
    pub(super) fn new(system: &'s System, skip_nanos: u64) -> Self {
        Self {
            system,
            skip_nanos,
            origin: None,
            last_arrival: None,
            arrivals: 0,
            requests: 0,
            linker: Linker::default(),
            services: BTreeMap::new(),
            edges: BTreeMap::new(),
            attempts: BTreeMap::new(),
        }
    }

    /// Adds what comes next.
    pub(super) fn add(&mut self, mut slice: Slice<'_>) {
        let entry = at_entry(self.system, slice.names);
        if self.origin.is_none() {
            let first = slice.rows.iter().filter(|row| is_request(row)).find(|row| entry(row));
            self.origin = first.map(|first| first.started_at.plus_nanos(self.skip_nanos));
        }
        let Some(origin) = self.origin else { return };
        slice.rows.retain(|row| is_request(row) && row.started_at >= origin);
        let outside = super::from_outside(self.system, slice.names);
        for row in slice.rows.iter().filter(|row| entry(row) && outside(row)) {
            self.arrivals += 1;
            self.last_arrival = Some(row.started_at);
        }
        self.requests += slice.rows.len() as u64;
        let names = slice.names;
        let linked = self.linker.link(slice);
        self.look_at_services(&linked, names);
        let services = &self.services;
        for (edge, calls) in pool::edges(&linked, &|source| services.contains_key(&source)) {
            let traffic = pool::look(&linked, &calls, None, &mut |_| {});
            self.edges.entry(edge).or_default().merge(&traffic);
        }
        let (ended, open) = linked.split();
        ended.iter().for_each(|visit| patience::look(visit, &mut self.attempts));
        self.linker.carry(open);
    }

    fn look_at_services(&mut self, linked: &LinkedSlice, names: &Sightings) {
        let mut visits: BTreeMap<u32, (Vec<&Sighting>, Vec<Option<u64>>)> = BTreeMap::new();
        for visit in &linked.visits {
            let (rows, until_call) = visits.entry(visit.row.destination).or_default();
            let first = visit.calls.first();
            rows.push(&visit.row);
            until_call
                .push(first.map(|call| call.row.started_at.nanos_since(visit.row.started_at)));
        }
        for (service, (rows, until_call)) in visits {
            let declared = self.system.services.get(&names.names[service as usize]);
            let is_declared = declared.is_some_and(|service| service.concurrency.is_some());
            let evidence = self.services.entry(service).or_default();
            evidence.add(&rows, &until_call, is_declared);
        }
    }

    /// Draws conclusions; nothing if the entry was never asked.
    pub(super) fn conclude(self, names: &Sightings) -> Option<Surveyed> {
        let origin = self.origin?;
        let services: BTreeMap<u32, (String, Queueing)> = self
            .services
            .iter()
            .map(|(service, evidence)| {
                let name = names.names[*service as usize].clone();
                let queueing = evidence.conclude(self.system.services.get(&name));
                (*service, (name, queueing))
            })
            .collect();
        let workers = |service: u32| {
            services.get(&service).map_or(Workers::Unlimited, |(_, queueing)| queueing.workers)
        };
        let limit =
            |(edge, traffic): (&Edge, &Traffic)| Some((*edge, traffic.limit(workers(edge.0))?));
        let pools = self.edges.iter().filter_map(limit).collect();
        let patience = patience::conclude(&self.attempts);
        let route = |[_, _, route]: &[u32; 3]| (*route, names.names[*route as usize].clone());
        Some(Surveyed {
            origin,
            window_nanos: self.last_arrival.map_or(0, |last| last.nanos_since(origin) + 1),
            arrivals: self.arrivals,
            requests: self.requests,
            experience: self.linker.experience(),
            services,
            pools,
            routes: patience.keys().map(route).collect(),
            patience,
        })
    }
}
