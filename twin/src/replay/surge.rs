//! Sends a plan over and over, at a speed that may change.
//!
//! The traffic goes on where it was when the speed changes, and starts again at its end. Open loop, like a
//! replay, up to a limit of requests in flight: one more is held back, and counted.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::pacer::pace;
use super::sender::Sender;
use super::{PlannedRequest, ReplayError};

/// From the call to the first deadline.
const LEAD: Duration = Duration::from_millis(2);

/// A request of which nothing but its number and deadline is known from one pass to the next.
const NOT_REPEATED: &str = "traceparent";

/// Traffic into one target.
#[derive(Debug)]
pub(crate) struct Surge {
    plan: Arc<Vec<PlannedRequest>>,
    /// The length of one pass \[ns, as captured\].
    period_nanos: u64,
    /// How far it has come \[ns, as captured\].
    cursor_nanos: u64,
    asked: u64,
    limit: u64,
    sender: Arc<Sender>,
    in_flight: Arc<AtomicU64>,
    log: Arc<Mutex<Log>>,
}

/// What became of requests.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// Intended and actual start of those that left.
    pub(crate) sent: Vec<(Instant, Instant)>,
    /// The intended start of those that were held back.
    pub(crate) held_back: Vec<Instant>,
    /// What ended.
    pub(crate) ended: Vec<Ended>,
}

/// A request that ended, answered or not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) intended_at: Instant,
    pub(crate) at: Instant,
    /// Answered, with a status that is neither 429 nor 5xx.
    pub(crate) good: bool,
}

/// A stretch of time at one speed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch {
    pub(crate) from: Instant,
    pub(crate) until: Instant,
    /// Requests that should have left.
    pub(crate) asked: u64,
}

// === impl Surge ===

impl Surge {
    /// Prepares to send a plan, which is not empty and ordered by time.
    pub(crate) fn new(plan: Vec<PlannedRequest>, target: SocketAddr, limit: u64) -> Self {
        let count = plan.len() as u64;
        let last = plan.last().map_or(0, |request| request.offset_nanos);
        // After the last request as much time passes as between any two.
        let period_nanos =
            if count > 1 { (last / (count - 1)).max(1) * count } else { 1_000_000_000 };
        let plan = plan.into_iter().map(without_trace).collect();
        Self {
            plan: Arc::new(plan),
            period_nanos: period_nanos.max(last + 1),
            cursor_nanos: 0,
            asked: 0,
            limit,
            sender: Sender::new(target),
            in_flight: Arc::default(),
            log: Arc::default(),
        }
    }

    /// Returns the rate of the traffic as captured \[1/s\].
    pub(crate) fn captured_hz(&self) -> f64 {
        1e9 * self.plan.len() as f64 / self.period_nanos as f64
    }

    /// Returns how many requests should have left so far.
    pub(crate) fn asked(&self) -> u64 {
        self.asked
    }

    /// Returns how many requests are in flight.
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Returns what became of requests so far.
    pub(crate) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends for a while, and returns when all of that should have left.
    ///
    /// # Errors
    ///
    /// [`ReplayError::Pacer`].
    pub(crate) async fn send(
        &mut self,
        speed: f64,
        length: Duration,
        stop: &Arc<AtomicBool>,
    ) -> Result<Stretch, ReplayError> {
        let due = self.due(speed, length);
        let (asked, first) = (due.len() as u64, self.asked);
        self.asked += asked;
        let from = Instant::now() + LEAD;
        let until = from + length;
        let (plan, sender) = (Arc::clone(&self.plan), Arc::clone(&self.sender));
        let (in_flight, log, limit) =
            (Arc::clone(&self.in_flight), Arc::clone(&self.log), self.limit);
        let runtime = tokio::runtime::Handle::current();
        let stop = Arc::clone(stop);
        let pacing = tokio::task::spawn_blocking(move || {
            let deadlines: Vec<u64> = due.iter().map(|(at, _)| *at).collect();
            pace(from, &deadlines, &stop, |index| {
                let intended_at = from + Duration::from_nanos(due[index].0);
                if in_flight.fetch_add(1, Ordering::SeqCst) >= limit {
                    in_flight.fetch_sub(1, Ordering::SeqCst);
                    lock(&log).held_back.push(intended_at);
                    return;
                }
                let mut request = plan[due[index].1].clone();
                request.exchange_id = first + index as u64;
                let one = send(Arc::clone(&sender), request, intended_at, Arc::clone(&log));
                let in_flight = Arc::clone(&in_flight);
                runtime.spawn(async move {
                    one.await;
                    in_flight.fetch_sub(1, Ordering::SeqCst);
                });
            });
            while !stop.load(Ordering::SeqCst)
                && let Some(left) = until.checked_duration_since(Instant::now())
            {
                std::thread::sleep(left.min(Duration::from_millis(100)));
            }
        });
        pacing.await.map_err(|_| ReplayError::Pacer)?;
        Ok(Stretch { from, until, asked })
    }

    /// Returns what is due next: the deadline \[ns\] and the index in the plan of each request.
    fn due(&mut self, speed: f64, length: Duration) -> Vec<(u64, usize)> {
        let from = self.cursor_nanos;
        self.cursor_nanos += (length.as_nanos() as f64 * speed) as u64;
        let mut pass = from / self.period_nanos;
        let into = from % self.period_nanos;
        let mut index = self.plan.partition_point(|request| request.offset_nanos < into);
        let mut due = Vec::new();
        loop {
            let Some(request) = self.plan.get(index) else {
                (index, pass) = (0, pass + 1);
                continue;
            };
            let at = pass * self.period_nanos + request.offset_nanos;
            if at >= self.cursor_nanos {
                return due;
            }
            due.push((((at - from) as f64 / speed) as u64, index));
            index += 1;
        }
    }
}

async fn send(
    sender: Arc<Sender>,
    request: PlannedRequest,
    intended_at: Instant,
    log: Arc<Mutex<Log>>,
) {
    lock(&log).sent.push((intended_at, Instant::now()));
    let (_, answer) = sender.send(&request).await;
    let good = answer.as_ref().is_ok_and(|answer| answer.status < 500 && answer.status != 429);
    let at = answer.map_or_else(|_| Instant::now(), |answer| answer.ended_at);
    lock(&log).ended.push(Ended { intended_at, at, good });
}

fn lock(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes out what would make two requests of two passes look like one.
fn without_trace(mut request: PlannedRequest) -> PlannedRequest {
    request.headers.retain(|header| header.name != NOT_REPEATED);
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surge(offsets: &[u64]) -> Surge {
        let plan = offsets.iter().map(|offset_nanos| PlannedRequest {
            exchange_id: 0,
            offset_nanos: *offset_nanos,
            session: 0,
            connection: 0,
            method: "GET".to_owned(),
            path_and_query: "/".to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        });
        Surge::new(plan.collect(), SocketAddr::from(([127, 0, 0, 1], 1)), 1)
    }

    #[test]
    fn goes_round_at_any_speed() {
        let mut surge = surge(&[0, 100, 200, 300]);
        let nanos = Duration::from_nanos;
        assert_eq!(surge.due(1.0, nanos(150)), [(0, 0), (100, 1)]);
        assert_eq!(surge.due(2.0, nanos(150)), [(25, 2), (75, 3), (125, 0)]);
        // A hundred passes of four requests.
        assert_eq!(surge.due(10.0, nanos(4_000)).len(), 400);
        assert!((surge.captured_hz() - 1e7).abs() < 1.0);
    }

    #[test]
    fn one_request_is_one_a_second() {
        let mut surge = surge(&[0]);
        assert_eq!(surge.due(1.0, Duration::from_secs(3)).len(), 3);
    }
}
