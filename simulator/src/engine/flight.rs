//! What is under way: visits, calls, instances and the state of services.

use std::collections::{BTreeMap, VecDeque};

use crate::compiled::NONE;

use super::cache::CacheState;
use super::guard::Guard;

/// A request at a service, or on its way there or back.
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each named for what it says")]
#[derive(Clone, Debug)]
pub(super) struct Visit {
    pub(super) route: u32,
    pub(super) build: u32,
    /// Its instance; `NONE` before it has one.
    pub(super) slot: u32,
    /// The call that it answers; `NONE` at the root, and once nobody waits for it.
    pub(super) call: u32,
    pub(super) call_generation: u32,
    /// The connection pool of its caller that it uses, or `NONE`.
    pub(super) pool: u32,
    /// The key of its draws: the root's number mixed with the path of calls.
    pub(super) draw_key: u64,
    pub(super) root: u32,
    pub(super) session: u32,
    /// When nobody wants its answer any more.
    pub(super) deadline: u64,
    pub(super) arrived_at: u64,
    pub(super) begun_at: u64,
    pub(super) segment_nanos: u64,
    pub(super) last_segment_nanos: u64,
    /// What is left of the segment once a core was used.
    pub(super) held_nanos: u64,
    /// How long the instance had stood still when the segment began.
    pub(super) pause_mark: u64,
    /// The call being made: which of the route's, and how many are left of it.
    pub(super) call_index: u32,
    pub(super) calls_left: u32,
    pub(super) calls_made: u32,
    pub(super) outstanding: u32,
    /// The key of the row that it locks, or of the cache that it fills.
    pub(super) row: u32,
    pub(super) fetches: u32,
    pub(super) stage: Stage,
    pub(super) has_worker: bool,
    pub(super) holds_row: bool,
    pub(super) holds_lock: bool,
    pub(super) is_hit: bool,
    pub(super) failed: bool,
    /// Whether it came from outside, rather than from a call.
    pub(super) is_root: bool,
    /// Spans of a trace, counted from 1.
    pub(super) span: u32,
    pub(super) parent_span: u32,
}

/// How far a visit has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// It waits for a connection of its caller's pool.
    #[default]
    Pooled,
    /// It is on its way to its service.
    Sent,
    /// It waits for a worker.
    Queued,
    /// It asks for the lock, the row and the cache, in this order.
    Lock,
    Row,
    Cache,
    /// It computes.
    Working,
    /// It waits for its calls.
    Calling,
    /// Its calls are answered and it waits for a worker again (event loop).
    Resuming,
    /// Its answer is on the way.
    Answering,
}

/// A call that somebody waits for, whatever the number of attempts.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// The caller's visit; `NONE` where nobody waits.
    pub(super) caller: u32,
    pub(super) caller_generation: u32,
    pub(super) station: u32,
    pub(super) slot: u32,
    pub(super) build: u32,
    pub(super) route: u32,
    pub(super) index: u32,
    pub(super) draw_key: u64,
    pub(super) root: u32,
    pub(super) session: u32,
    pub(super) deadline: u64,
    pub(super) attempts: u32,
    pub(super) retries: u32,
    pub(super) hedges: u32,
    pub(super) outstanding: u32,
    pub(super) span: u32,
}

/// An instance of a service.
#[derive(Clone, Debug, Default)]
pub(super) struct Replica {
    pub(super) station: u32,
    pub(super) build: u32,
    pub(super) condition: Condition,
    /// How often it was started.
    pub(super) starts: u32,
    pub(super) started_at: u64,
    /// Own times are multiplied by this at the start, less and less until `warm_nanos` later.
    pub(super) warm_factor: f64,
    pub(super) warm_nanos: u64,
    pub(super) busy: u32,
    /// Requests that were given to it and are not answered.
    pub(super) assigned: u32,
    pub(super) queue: VecDeque<u32>,
    pub(super) resuming: VecDeque<u32>,
    pub(super) first_pool: u32,
    pub(super) guards: Vec<Guard>,
    pub(super) caches: Vec<CacheState>,
    pub(super) tokens: f64,
    pub(super) tokens_at: u64,
    /// Time that it stood still in pauses before the last, and when the last began and ends.
    pub(super) paused_nanos: u64,
    pub(super) pause_began: u64,
    pub(super) paused_until: u64,
    pub(super) leaked: u64,
    pub(super) failures_in_row: u32,
    pub(super) ejected_until: u64,
}

/// Whether an instance takes requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Condition {
    /// It does not run.
    #[default]
    Down,
    /// It takes requests.
    Up,
    /// It ends what it has.
    Draining,
}

/// Connections of one instance to one service.
#[derive(Clone, Debug, Default)]
pub(super) struct Pool {
    pub(super) limit: u32,
    pub(super) in_use: u32,
    /// Visits that wait for one, with their generation.
    pub(super) queue: VecDeque<(u32, u32)>,
}

/// What is known of a service as a whole.
#[derive(Clone, Debug, Default)]
pub(super) struct StationState {
    /// Slots that take requests, ascending.
    pub(super) up: Vec<u32>,
    pub(super) next: u32,
    /// Whether the instances simply take turns.
    pub(super) takes_turns: bool,
    /// The share of requests that goes to instances of the second build, where that is decided.
    pub(super) second_share: Option<f64>,
    pub(super) seen_at: Option<u64>,
    pub(super) seen: BTreeMap<u32, u32>,
    pub(super) state: u32,
    /// What own times are multiplied by, and the probability to fail, by an incident.
    pub(super) slowdown: f64,
    pub(super) failure: f64,
    pub(super) busy: u64,
    pub(super) waiting: u64,
    pub(super) busy_area: u64,
    pub(super) waiting_area: u64,
    pub(super) waiting_max: usize,
    pub(super) touched_at: u64,
    pub(super) scaled_area: u64,
    /// Whether the scenario locks the service.
    pub(super) is_lockable: bool,
    pub(super) locked: LockState,
    pub(super) rows: BTreeMap<u32, VecDeque<u32>>,
    pub(super) shared_caches: Vec<CacheState>,
    pub(super) copies: Copies,
    pub(super) starting: u32,
}

/// An exclusive lock, as of a migration, and who waits for it to go.
#[derive(Clone, Debug, Default)]
pub(super) struct LockState {
    /// Requests that hold it together.
    pub(super) holders: u32,
    /// For how long it is wanted, as soon as nobody else holds it.
    pub(super) wanted_nanos: Option<u64>,
    pub(super) is_exclusive: bool,
    pub(super) waiting: VecDeque<(u32, u32)>,
}

/// When each copy has applied what.
#[derive(Clone, Debug, Default)]
pub(super) struct Copies {
    /// By copy: when it will have applied all writes so far.
    pub(super) applied_at: Vec<u64>,
    /// By copy and key: when its last write is applied.
    pub(super) keys: Vec<Vec<u64>>,
    pub(super) writes: u64,
}

// === impl Visit ===

impl Default for Visit {
    fn default() -> Self {
        Self {
            route: 0,
            build: 0,
            slot: NONE,
            call: NONE,
            call_generation: 0,
            pool: NONE,
            draw_key: 0,
            root: 0,
            session: 0,
            deadline: u64::MAX,
            arrived_at: 0,
            begun_at: 0,
            segment_nanos: 0,
            last_segment_nanos: 0,
            held_nanos: 0,
            pause_mark: 0,
            call_index: 0,
            calls_left: 0,
            calls_made: 0,
            outstanding: 0,
            row: NONE,
            fetches: NONE,
            stage: Stage::Pooled,
            has_worker: false,
            holds_row: false,
            holds_lock: false,
            is_hit: false,
            failed: false,
            is_root: false,
            span: 0,
            parent_span: 0,
        }
    }
}

// === impl Replica ===

impl Replica {
    /// Returns how long it has stood still until now.
    pub(super) fn pause_clock(&self, now: u64) -> u64 {
        self.paused_nanos + (now.min(self.paused_until) - self.pause_began)
    }

    /// Stands still for a while, from now or from the end of the pause that it is in.
    pub(super) fn pause(&mut self, now: u64, nanos: u64) {
        if now < self.paused_until {
            self.paused_until += nanos;
            return;
        }
        self.paused_nanos += self.paused_until - self.pause_began;
        (self.pause_began, self.paused_until) = (now, now.saturating_add(nanos));
    }

    /// Returns what own times are multiplied by, for having started lately.
    pub(super) fn warm_up(&self, now: u64) -> f64 {
        let age = now - self.started_at;
        if age >= self.warm_nanos {
            return 1.0;
        }
        1.0 + (self.warm_factor - 1.0) * (1.0 - age as f64 / self.warm_nanos as f64)
    }
}

// === impl StationState ===

impl StationState {
    /// Adds up the time until now; to be called before anything changes.
    pub(super) fn touch(&mut self, now: u64) {
        let elapsed = now - self.touched_at;
        self.touched_at = now;
        self.busy_area += elapsed * self.busy;
        self.waiting_area += elapsed * self.waiting;
    }
}
