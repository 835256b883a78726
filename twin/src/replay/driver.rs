//! Drives one plan into one or more targets at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use prophecy_core::Seed;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::PlannedRequest;
use super::pacer::pace;
use super::sender::{Answer, Sender};
use crate::allow_list::AllowList;

/// Requests in flight over all targets; beyond it requests are not sent, and counted as lost.
const IN_FLIGHT_LIMIT: u64 = 10_000;

/// Between the sends of one exchange to several targets.
const SLOT: Duration = Duration::from_millis(2);

/// Before the first request.
const LEAD: Duration = Duration::from_millis(50);

/// How long nothing may come before a request to stop is looked for.
const STOP_CHECK: Duration = Duration::from_millis(200);

/// Where a plan goes.
#[derive(Clone, Debug)]
pub struct Target {
    /// The name used in results.
    pub name: String,
    /// The address.
    pub address: SocketAddr,
}

/// What became of one request at one target.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Index of the target.
    pub target: usize,
    /// Index in the plan.
    pub request: usize,
    /// When it should have left.
    pub intended_at: Instant,
    /// When it left, if it did.
    pub sent_at: Option<Instant>,
    /// What came back, or a word for what went wrong.
    pub answer: Result<Answer, &'static str>,
}

/// Why a replay could not be made.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// A target is not one that traffic may be sent to.
    #[error("target `{name}` at {address} is neither loopback nor on the allow list")]
    TargetNotAllowed {
        /// The target.
        name: String,
        /// Its address.
        address: SocketAddr,
    },
    /// The pacing thread could not be started, or panicked.
    #[error("the pacing thread failed")]
    Pacer,
}

/// Sends every request of a plan to every target at its time, and returns what became of each, in
/// the order of plan and targets.
///
/// The sends of one request to several targets leave two milliseconds apart, in an order drawn anew
/// for each request, so that no target is always first. `progress` gets the number of requests
/// planned so far to have left. Ends early when `stop` is set.
///
/// # Errors
///
/// Each variant of [`ReplayError`].
pub async fn drive(
    plan: Arc<Vec<PlannedRequest>>,
    targets: &[Target],
    allow: &AllowList,
    seed: Seed,
    stop: &Arc<AtomicBool>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Vec<Reply>, ReplayError> {
    for Target { name, address } in targets {
        if !allow.allows(*address) {
            return Err(ReplayError::TargetNotAllowed { name: name.clone(), address: *address });
        }
    }
    let senders: Vec<_> = targets.iter().map(|target| Sender::new(target.address)).collect();
    let sends = schedule(&plan, targets.len(), seed);
    let start = Instant::now() + LEAD;
    let (done, mut replies) = mpsc::unbounded_channel();
    let in_flight = Arc::new(AtomicU64::new(0));
    let runtime = tokio::runtime::Handle::current();
    let deadlines: Vec<u64> = sends.iter().map(|(at, _, _)| *at).collect();
    let stopped = Arc::clone(stop);
    let requests = Arc::clone(&plan);
    let pacer = std::thread::Builder::new().name("prophecy-pacer".to_owned()).spawn(move || {
        pace(start, &deadlines, &stopped, |index| {
            let (at, request, target) = sends[index];
            let intended_at = start + Duration::from_nanos(at);
            let reply = Reply {
                target,
                request,
                intended_at,
                sent_at: None,
                answer: Err("too many requests in flight"),
            };
            if in_flight.fetch_add(1, Ordering::SeqCst) >= IN_FLIGHT_LIMIT {
                in_flight.fetch_sub(1, Ordering::SeqCst);
                drop(done.send(reply));
                return;
            }
            let (sender, requests) = (Arc::clone(&senders[target]), Arc::clone(&requests));
            let (done, in_flight) = (done.clone(), Arc::clone(&in_flight));
            runtime.spawn(async move {
                let (sent_at, answer) = sender.send(&requests[request]).await;
                in_flight.fetch_sub(1, Ordering::SeqCst);
                drop(done.send(Reply { sent_at: Some(sent_at), answer, ..reply }));
            });
        });
    });
    let pacer = pacer.map_err(|_| ReplayError::Pacer)?;
    let mut all = Vec::with_capacity(plan.len() * targets.len());
    loop {
        match timeout(STOP_CHECK, replies.recv()).await {
            Ok(Some(reply)) => {
                all.push(reply);
                progress((all.len() / targets.len()) as u64);
            }
            Ok(None) => break,
            // Answers that are still out may take long, and nobody waits for them.
            Err(_) if stop.load(Ordering::SeqCst) => break,
            Err(_) => {}
        }
    }
    pacer.join().map_err(|_| ReplayError::Pacer)?;
    all.sort_by_key(|reply| (reply.request, reply.target));
    Ok(all)
}

/// Returns every send as (offset, request, target), by time.
fn schedule(plan: &[PlannedRequest], target_count: usize, seed: Seed) -> Vec<(u64, usize, usize)> {
    let mut order = seed.stream(0, 0, "order of targets");
    let mut sends = Vec::with_capacity(plan.len() * target_count);
    for (request, planned) in plan.iter().enumerate() {
        // Fisher and Yates.
        let mut targets: Vec<usize> = (0..target_count).collect();
        for last in (1..target_count).rev() {
            targets.swap(last, order.below(last + 1));
        }
        for (slot, target) in targets.into_iter().enumerate() {
            let at = planned.offset_nanos + slot as u64 * SLOT.as_nanos() as u64;
            sends.push((at, request, target));
        }
    }
    sends.sort_unstable();
    sends
}
