//! Which build gets which part of the traffic, whatever carries it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::environment::Environment;
use crate::slice::Slice;
use crate::strategy::{Select, Weight};

/// Which group gets which part of the traffic.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Traffic {
    /// The groups and their weights. The candidate comes first, so that whoever met it stays with it while its
    /// weight grows; what ran before comes last, and takes what others refuse.
    pub shares: Vec<(String, Weight)>,
    /// Who meets the first group whatever the weights.
    pub select: Option<Select>,
    /// The group that gets copies of requests, and of how many.
    pub mirrored: Option<(String, Weight)>,
    /// Whether a client always meets the same group.
    pub sticky: bool,
    /// How many instances of the first group take traffic, if not all.
    pub instances: Option<u32>,
}

/// Which program carries an environment's traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouterKind {
    /// Our own proxy.
    #[default]
    Own,
    /// HAProxy, with a companion process of ours.
    Haproxy,
}

/// Where the traffic of one edge goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Edge {
    /// Where callers come in.
    pub listen: SocketAddr,
    /// The calling service, or `client`.
    pub source: String,
    /// The called service.
    pub destination: String,
    /// Groups with their weights and addresses.
    pub arms: Vec<(String, Weight, Vec<SocketAddr>)>,
    /// Whether the traffic's exceptions (who is selected, what is copied) apply here.
    pub divided: bool,
}

/// A future that a trait object can return.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What carries traffic.
pub trait Router: Debug + Send + Sync {
    /// Sends traffic where it should go; the same again changes nothing.
    fn apply<'a>(
        &'a self,
        edges: &'a BTreeMap<String, Edge>,
        traffic: &'a Traffic,
    ) -> Later<'a, Result<(), RouterError>>;

    /// Returns the requests in flight on each group.
    fn in_flight(&self) -> Later<'_, Result<BTreeMap<String, u64>, RouterError>>;

    /// Returns the second that it counts in now, since 1970: its clock need not be that of whoever asks.
    fn second(&self) -> Later<'_, Result<u64, RouterError>> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Box::pin(std::future::ready(Ok(since.as_secs())))
    }

    /// Returns what each group showed clients in each whole second from one on (seconds since 1970).
    fn slices(&self, since: u64) -> Later<'_, Result<BTreeMap<String, Vec<Slice>>, RouterError>>;

    /// Returns how many requests that ended since a second are missing from the slices.
    fn lost(&self, _since: u64) -> Later<'_, Result<u64, RouterError>> {
        Box::pin(async { Ok(0) })
    }
}

/// Why a router did not do what it was asked.
#[derive(Debug, Error)]
pub enum RouterError {
    /// It cannot be reached.
    #[error("the router does not answer: {found}")]
    Unreachable {
        /// What was seen instead.
        found: String,
    },
    /// Somebody else has changed it.
    #[error(
        "the router was changed by somebody else: it is at revision {found}, expected {expected}"
    )]
    Conflict {
        /// Its revision.
        found: u64,
        /// The one that was expected.
        expected: u64,
    },
    /// It cannot do that.
    #[error("the router refuses: {message}")]
    Refused {
        /// What it says.
        message: String,
    },
}

// === impl RouterKind ===

impl RouterKind {
    /// Returns its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Haproxy => "haproxy",
        }
    }
}

// === impl Traffic ===

impl Traffic {
    /// All traffic to the groups that are live.
    pub fn live() -> Self {
        Self::default()
    }
}

/// Returns where the traffic of each edge goes, by the edge's name.
pub fn edges(environment: &Environment, traffic: &Traffic) -> BTreeMap<String, Edge> {
    let mut edges = BTreeMap::new();
    let entry = &environment.entry;
    edges.insert(
        "entry".to_owned(),
        Edge {
            listen: environment.listen,
            source: "client".to_owned(),
            destination: entry.clone(),
            arms: divided(environment, traffic, entry),
            divided: true,
        },
    );
    for group in environment.groups.values() {
        for (name, listen) in &group.edges {
            let (source, destination) = name.split_once('>').expect("as `edge` writes it");
            let within = group.addresses(destination);
            let is_live = environment.live.get(source) == Some(&group.id);
            let served_here = environment.live.get(destination) == Some(&group.id);
            // A caller of a build meets that build. One that stays meets what the traffic says.
            let (arms, divided) = if within.is_empty() || (is_live && served_here) {
                let caller_is_replaced = traffic
                    .shares
                    .iter()
                    .filter_map(|(id, _)| environment.groups.get(id))
                    .any(|other| other.id != group.id && other.services.contains_key(source));
                if is_live && !caller_is_replaced {
                    (divided_or_live(environment, traffic, destination), true)
                } else if within.is_empty() {
                    (live(environment, destination), false)
                } else {
                    (vec![(group.id.clone(), Weight::ALL, within)], false)
                }
            } else {
                (vec![(group.id.clone(), Weight::ALL, within)], false)
            };
            let edge = Edge {
                listen: *listen,
                source: source.to_owned(),
                destination: destination.to_owned(),
                arms,
                divided,
            };
            edges.insert(format!("{}:{name}", group.id), edge);
        }
    }
    edges.retain(|_, edge| edge.arms.iter().any(|(_, _, addresses)| !addresses.is_empty()));
    edges
}

fn live(environment: &Environment, service: &str) -> Vec<(String, Weight, Vec<SocketAddr>)> {
    let group = environment.live.get(service).cloned().unwrap_or_default();
    vec![(group, Weight::ALL, environment.live_addresses(service))]
}

fn divided_or_live(
    environment: &Environment,
    traffic: &Traffic,
    service: &str,
) -> Vec<(String, Weight, Vec<SocketAddr>)> {
    let arms = divided(environment, traffic, service);
    if arms.is_empty() { live(environment, service) } else { arms }
}

/// Returns the groups among which the traffic of a service is divided.
fn divided(
    environment: &Environment,
    traffic: &Traffic,
    service: &str,
) -> Vec<(String, Weight, Vec<SocketAddr>)> {
    let serving = traffic.shares.iter().enumerate().filter_map(|(index, (id, weight))| {
        let mut addresses = environment.groups.get(id)?.addresses(service);
        if let Some(count) = traffic.instances.filter(|_| index == 0) {
            addresses.truncate(count as usize);
        }
        (!addresses.is_empty()).then(|| (id.clone(), *weight, addresses))
    });
    let mut arms: Vec<_> = serving.collect();
    if let Some((copied, _)) = &traffic.mirrored
        && let Some(group) = environment.groups.get(copied)
        && arms.iter().all(|(id, _, _)| id != copied)
    {
        arms.push((copied.clone(), Weight::ZERO, group.addresses(service)));
    }
    let given: u32 = arms.iter().map(|(_, weight, _)| weight.parts()).sum();
    let rest = Weight::of_parts(Weight::ALL.parts().saturating_sub(given));
    let live = live(environment, service);
    match arms.iter_mut().find(|(id, _, _)| *id == live[0].0) {
        Some(known) => known.1 = Weight::of_parts(known.1.parts() + rest.parts()),
        None => arms.extend(live.into_iter().map(|(id, _, addresses)| (id, rest, addresses))),
    }
    arms
}
