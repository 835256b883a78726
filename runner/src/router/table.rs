//! What all threads of a router share: the routing, ready to be used, and the counters.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::ledger::{Copies, Ledger};
use super::routing::{Front, Routing, RoutingError};

/// How long threads may take to listen.
const LISTENING: Duration = Duration::from_secs(1);

/// What all threads share.
#[derive(Debug, Default)]
pub(super) struct Table {
    state: Mutex<Routing>,
    edges: RwLock<BTreeMap<String, Arc<Edge>>>,
    changed: watch::Sender<u64>,
    arms: Mutex<BTreeMap<String, Arc<ArmCounts>>>,
    pub(super) ledger: Ledger,
}

/// An edge that is served.
#[derive(Debug)]
pub(super) struct Edge {
    pub(super) name: Arc<str>,
    current: RwLock<Arc<Current>>,
    pub(super) counter: AtomicU64,
    pub(super) copy_counter: AtomicU64,
    pub(super) copies: Copies,
    pub(super) waiting: AtomicU64,
    pub(super) released: Notify,
    /// How many threads listen for it.
    pub(super) listening: watch::Sender<usize>,
}

/// What an edge does now.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) front: Front,
    pub(super) arms: Vec<Served>,
}

/// An arm that is served.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) name: Arc<str>,
    pub(super) counts: Arc<ArmCounts>,
    turn: AtomicUsize,
}

/// What an arm has had, over all edges.
#[derive(Debug, Default)]
pub(super) struct ArmCounts {
    pub(super) in_flight: AtomicU64,
    pub(super) requests: AtomicU64,
    pub(super) failures: AtomicU64,
    /// Requests that it did not take and another arm did.
    pub(super) refused: AtomicU64,
}

/// A request in flight, counted until it is dropped.
#[derive(Debug)]
pub(super) struct InFlight(Arc<ArmCounts>);

// === impl Table ===

impl Table {
    /// Returns the routing.
    pub(super) fn routing(&self) -> Routing {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Does what a routing says, or nothing of it.
    pub(super) fn change(&self, routing: Routing) -> Result<(), RoutingError> {
        routing.check()?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut edges = self.edges.write().unwrap_or_else(PoisonError::into_inner);
        for (name, front) in &routing.fronts {
            let known = edges.get(name).is_some_and(|edge| edge.now().front.listen == front.listen);
            if !known {
                // Sockets that share an address would hide that it is taken by somebody else.
                TcpListener::bind(front.listen).map_err(|source| RoutingError::Listen {
                    front: name.clone(),
                    listen: front.listen,
                    source,
                })?;
            }
        }
        let mut next = BTreeMap::new();
        for (name, front) in &routing.fronts {
            let current = Arc::new(self.current(front));
            let known = edges.get(name).filter(|edge| edge.now().front.listen == front.listen);
            let edge = match known {
                Some(edge) => {
                    *edge.current.write().unwrap_or_else(PoisonError::into_inner) = current;
                    edge.released.notify_waiters();
                    Arc::clone(edge)
                }
                None => Arc::new(Edge {
                    name: name.as_str().into(),
                    current: RwLock::new(current),
                    counter: AtomicU64::new(0),
                    copy_counter: AtomicU64::new(0),
                    copies: Copies::default(),
                    waiting: AtomicU64::new(0),
                    released: Notify::new(),
                    listening: watch::Sender::new(0),
                }),
            };
            next.insert(name.clone(), edge);
        }
        *edges = next;
        self.changed.send_replace(routing.revision);
        *state = routing;
        Ok(())
    }

    fn current(&self, front: &Front) -> Current {
        let arms = front.arms.iter().map(|arm| Served {
            name: arm.name.as_str().into(),
            counts: self.counts(&arm.name),
            turn: AtomicUsize::new(0),
        });
        Current { front: front.clone(), arms: arms.collect() }
    }

    fn counts(&self, arm: &str) -> Arc<ArmCounts> {
        let mut arms = self.arms.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(arms.entry(arm.to_owned()).or_default())
    }

    /// Returns what each arm has had so far.
    pub(super) fn arms(&self) -> BTreeMap<String, Arc<ArmCounts>> {
        self.arms.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the edges that are served.
    pub(super) fn edges(&self) -> BTreeMap<String, Arc<Edge>> {
        self.edges.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until every edge has the threads that listen for it.
    pub(super) async fn listening(&self, threads: usize) {
        let all = async {
            for edge in self.edges().into_values() {
                let mut listening = edge.listening.subscribe();
                // The sender lives as long as the edge, which is held here.
                drop(listening.wait_for(|count| *count >= threads).await);
            }
        };
        // A thread that cannot listen leaves the edge to the others.
        drop(timeout(LISTENING, all).await);
    }

    /// Tells of changes.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

// === impl Edge ===

impl Edge {
    /// Returns what the edge does now.
    pub(super) fn now(&self) -> Arc<Current> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

// === impl Served ===

impl Served {
    /// Returns the place of the instance whose turn it is.
    pub(super) fn turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }
}

// === impl InFlight ===

impl InFlight {
    /// Counts a request that an arm has taken.
    pub(super) fn new(counts: &Arc<ArmCounts>) -> Self {
        counts.in_flight.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(counts))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}
