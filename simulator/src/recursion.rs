//! The fast path: departures of one station without feedback follow from a recursion.
//!
//! # Source
//!
//! Lindley (1952) for one worker; Kiefer and Wolfowitz (1955) for several. Given arrivals and own
//! times, a request departs its own time after the later of its arrival and the moment when the
//! first worker is free, so no list of events is needed.

use prophecy_core::Seed;

use crate::compiled::{CompiledModel, CompiledTraffic, UNLIMITED};
use crate::engine::{self, Luck, spread};
use crate::outcome::Outcome;

/// Computes when each of `arrivals` departs, given its own time, first come first served.
///
/// # Panics
///
/// If there is no worker, or the arrivals are not in order.
///
/// ```
/// let departures = prophecy_simulator::recursion::departures([(0, 10), (1, 10), (2, 10)], 2);
/// assert_eq!(departures, [10, 11, 20]);
/// ```
pub fn departures(arrivals: impl IntoIterator<Item = (u64, u64)>, workers: u32) -> Vec<u64> {
    let mut station = Departures::new(workers);
    arrivals.into_iter().map(|(at, own)| station.depart(at, own)).collect()
}

/// The state of the recursion: when each worker is free.
#[derive(Clone, Debug)]
pub struct Departures {
    /// Ascending.
    free_at: Vec<u64>,
    last_arrival: u64,
}

// === impl Departures ===

impl Departures {
    /// Starts with free workers.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn new(workers: u32) -> Self {
        assert!(workers > 0, "a station has a worker");
        Self { free_at: vec![0; workers as usize], last_arrival: 0 }
    }

    /// Takes the next arrival and returns when it departs.
    ///
    /// # Panics
    ///
    /// In debug builds, if it comes before the one that was taken last.
    #[inline]
    pub fn depart(&mut self, at: u64, own_nanos: u64) -> u64 {
        debug_assert!(at >= self.last_arrival, "arrivals are in order");
        self.last_arrival = at;
        let free = &mut self.free_at;
        let departs = at.max(free[0]) + own_nanos;
        // The list stays ascending: all that are free earlier move one place down.
        let mut place = 0;
        while place + 1 < free.len() && free[place + 1] < departs {
            free[place] = free[place + 1];
            place += 1;
        }
        free[place] = departs;
        departs
    }
}

/// Runs one replication of a model that is one station without feedback; the latencies are those of
/// the event engine, to the last nanosecond.
pub(crate) fn simulate(
    model: &CompiledModel,
    traffic: &CompiledTraffic,
    seed: Seed,
    replication: u32,
) -> Outcome {
    let build = &model.builds[0];
    let workers = build.stations[0].workers;
    let mut luck = Luck::new(model, seed, replication);
    let mut outcome = Outcome::new(model, traffic.window_nanos, 0);
    let end = engine::end_of(traffic.window_nanos);
    let (mut held, mut waited, mut own_sum) = (0, 0, 0);
    let mut recursion = Departures::new(if workers == UNLIMITED { 1 } else { workers });
    for (number, entrance) in traffic.arrivals.iter().enumerate() {
        let route = &build.routes[entrance.route as usize];
        let key = spread(number as u64);
        let streams = luck.route(entrance.route);
        let own = route.demand.draw(streams.own.at(key));
        let departs = if workers == UNLIMITED {
            entrance.at + own
        } else {
            recursion.depart(entrance.at, own)
        };
        let failed =
            route.failure > 0.0 && streams.failure.at(key).uniform() >= 1.0 - route.failure;
        own_sum += own;
        let begins = departs - own;
        held += departs.min(end) - begins.min(end);
        waited += begins.min(end) - entrance.at;
        outcome.routes[entrance.route as usize].arrived += 1;
        if departs <= end {
            outcome.answered(entrance.route, departs - entrance.at, failed);
        }
    }
    outcome.events = 2 * traffic.arrivals.len() as u64;
    let station = &mut outcome.stations[0];
    (station.own_nanos, station.held_nanos, station.waited_nanos) = (own_sum, held, waited);
    outcome.finish();
    outcome
}
