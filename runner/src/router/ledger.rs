//! What callers met, second by second: each thread counts for itself, and hands over what is past.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use prophecy_core::route::route_of;
use serde::{Deserialize, Serialize};

use crate::slice::Slice;

/// How long seconds are kept.
const KEPT_SECONDS: u64 = 2 * 3_600;

/// Routes of an edge that are told apart; the rest is `other`.
const ROUTES: usize = 500;

/// One request that has ended.
#[derive(Debug)]
pub(super) struct Met<'a> {
    pub(super) front: &'a Arc<str>,
    pub(super) arm: &'a Arc<str>,
    pub(super) route: String,
    pub(super) failed: bool,
    /// How long it took; nothing if there was no answer.
    pub(super) latency: Option<Duration>,
}

/// Counts of copies.
#[derive(Debug, Default)]
pub(super) struct Copies {
    pub(super) sent: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) differing: AtomicU64,
}

/// What became of copies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowCounts {
    /// Copies that were answered.
    pub sent: u64,
    /// Copies that were not answered, or could not be made.
    pub refused: u64,
    /// Copies that were answered with another status.
    pub differing: u64,
}

type Place = (Arc<str>, Arc<str>);

type Past = BTreeMap<(Place, u64, String), Slice>;

/// Seconds that are whole, by edge and arm.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    past: Mutex<Past>,
}

thread_local! {
    static PRESENT: RefCell<Present> = RefCell::default();
}

/// The second that a thread is in.
#[derive(Debug, Default)]
struct Present {
    second: u64,
    slices: BTreeMap<(Place, String), Slice>,
}

// === impl Ledger ===

impl Ledger {
    /// Counts a request in the second in which it ended.
    pub(super) fn count(&self, met: Met<'_>) {
        let now = now_second();
        PRESENT.with_borrow_mut(|present| {
            if present.second != now {
                self.take(present);
                present.second = now;
            }
            let place = (Arc::clone(met.front), Arc::clone(met.arm));
            let key = (place, met.route);
            let slice = present.slices.entry(key).or_default();
            slice.requests += 1;
            slice.failures += u64::from(met.failed);
            if let Some(latency) = met.latency {
                slice.latency.record(latency.as_nanos() as u64);
            }
        });
    }

    /// Hands over what this thread has of seconds that are past.
    pub(super) fn flush(&self) {
        PRESENT.with_borrow_mut(|present| {
            if present.second != now_second() {
                self.take(present);
            }
        });
    }

    fn take(&self, present: &mut Present) {
        let second = present.second;
        let slices = std::mem::take(&mut present.slices);
        if slices.is_empty() {
            return;
        }
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        for ((place, route), slice) in slices {
            let known = past.entry((place, second, route.clone())).or_insert_with(|| Slice {
                second,
                route,
                ..Slice::default()
            });
            known.requests += slice.requests;
            known.failures += slice.failures;
            known.latency.merge(&slice.latency);
        }
        forget(&mut past, second);
    }

    /// Counts a request that ended in a second of its own, which may be past.
    pub(super) fn count_in(&self, second: u64, met: Met<'_>) {
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (Arc::clone(met.front), Arc::clone(met.arm));
        let known = past.entry((place, second, met.route.clone())).or_insert_with(|| Slice {
            second,
            route: met.route,
            ..Slice::default()
        });
        known.requests += 1;
        known.failures += u64::from(met.failed);
        if let Some(latency) = met.latency {
            known.latency.record(latency.as_nanos() as u64);
        }
        forget(&mut past, second);
    }

    /// Returns an edge's whole seconds from one on, by arm.
    pub(super) fn since(&self, front: &str, since: u64) -> BTreeMap<String, Vec<Slice>> {
        // Threads hand over twice a second; the last two are not whole yet.
        self.between(front, since, now_second().saturating_sub(2))
    }

    /// Returns an edge's seconds from one to another, both of them as well, by arm.
    pub(super) fn between(
        &self,
        front: &str,
        since: u64,
        until: u64,
    ) -> BTreeMap<String, Vec<Slice>> {
        let past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found: BTreeMap<String, Vec<Slice>> = BTreeMap::new();
        for (((of, arm), second, _), slice) in past.iter() {
            if **of == *front && (since..=until).contains(second) {
                found.entry(arm.to_string()).or_default().push(slice.clone());
            }
        }
        found
    }
}

// === impl Copies ===

impl Copies {
    pub(super) fn counts(&self) -> ShadowCounts {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        ShadowCounts {
            sent: of(&self.sent),
            refused: of(&self.refused),
            differing: of(&self.differing),
        }
    }
}

/// Returns the route of a request, of a bounded number of them for each thread.
pub(super) fn route(method: &str, path: &str) -> String {
    thread_local! {
        static KNOWN: RefCell<std::collections::BTreeSet<String>> = RefCell::default();
    }
    let route = route_of(method, path);
    KNOWN.with_borrow_mut(|known| {
        if known.contains(&route) {
            return route;
        }
        if known.len() >= ROUTES {
            return format!("{method} other");
        }
        known.insert(route.clone());
        route
    })
}

/// Drops seconds that are too old, once a minute.
fn forget(past: &mut Past, second: u64) {
    if second.is_multiple_of(60) {
        let oldest = second.saturating_sub(KEPT_SECONDS);
        past.retain(|(_, second, _), _| *second >= oldest);
    }
}

/// Returns the second since 1970, as it was when the router started and has gone on since: a clock that is set
/// meanwhile neither skips seconds nor counts one twice.
pub(super) fn now_second() -> u64 {
    static START: LazyLock<(Instant, Duration)> = LazyLock::new(|| {
        (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    });
    let (started, at) = *START;
    (at + started.elapsed()).as_secs()
}
