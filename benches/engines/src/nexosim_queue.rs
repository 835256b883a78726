//! M/M/c in NeXosim: one model that schedules its own arrivals and departures.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nexosim::model::{Context, Model, schedulable};
use nexosim::simulation::{Mailbox, SimInit};
use nexosim::time::MonotonicTime;
use prophecy_core::{Philox, Seed};
use serde::{Deserialize, Serialize};

use super::{Measured, timed};

#[derive(Serialize, Deserialize)]
struct Queue {
    workers: u32,
    rate_hz: f64,
    left: u64,
    busy: u32,
    served: u64,
    #[serde(skip)]
    waiting: VecDeque<MonotonicTime>,
    #[serde(skip, default = "luck")]
    arrivals: Philox,
    #[serde(skip, default = "luck")]
    services: Philox,
    #[serde(skip)]
    waited_nanos: Arc<AtomicU64>,
}

fn luck() -> Philox {
    Seed(1).stream(0, 0, "queue")
}

fn nanos(mean: f64, stream: &mut Philox) -> Duration {
    Duration::from_nanos((mean * stream.exponential()) as u64 + 1)
}

#[Model]
impl Queue {
    #[nexosim(init)]
    async fn init(&mut self, cx: &Context<Self>, _: &mut ()) {
        self.schedule_arrival(cx);
    }

    fn schedule_arrival(&mut self, cx: &Context<Self>) {
        if self.left > 0 {
            self.left -= 1;
            let gap = nanos(1e9 / self.rate_hz, &mut self.arrivals);
            cx.schedule_event(gap, schedulable!(Self::arrive), ()).expect("in the future");
        }
    }

    fn serve(&mut self, cx: &Context<Self>) {
        self.busy += 1;
        let own = nanos(1e6, &mut self.services);
        cx.schedule_event(own, schedulable!(Self::depart), ()).expect("in the future");
    }

    #[nexosim(schedulable)]
    async fn arrive(&mut self, _: (), cx: &Context<Self>) {
        self.schedule_arrival(cx);
        if self.busy < self.workers {
            self.serve(cx);
        } else {
            self.waiting.push_back(cx.time());
        }
    }

    #[nexosim(schedulable)]
    async fn depart(&mut self, _: (), cx: &Context<Self>) {
        self.busy -= 1;
        self.served += 1;
        if let Some(since) = self.waiting.pop_front() {
            let waited = cx.time().duration_since(since).as_nanos() as u64;
            self.waited_nanos.fetch_add(waited, Ordering::Relaxed);
            self.serve(cx);
        }
    }
}

/// Runs it on one thread.
pub(crate) fn run(workers: u32, utilization: f64, requests: u64) -> Measured {
    let waited_nanos = Arc::new(AtomicU64::new(0));
    let queue = Queue {
        workers,
        rate_hz: utilization * f64::from(workers) * 1e3,
        left: requests,
        busy: 0,
        served: 0,
        waiting: VecDeque::new(),
        arrivals: Seed(1).stream(0, 1, "arrivals"),
        services: Seed(1).stream(0, 1, "services"),
        waited_nanos: Arc::clone(&waited_nanos),
    };
    let bench = SimInit::with_num_threads(1).add_model(queue, Mailbox::new(), "queue");
    let mut simulation = bench.init(MonotonicTime::EPOCH).expect("a bench of one model");
    let (_, took) = timed(|| simulation.run().expect("it runs to its end"));
    Measured {
        events_per_second: 2.0 * requests as f64 / took.as_secs_f64(),
        mean_wait: waited_nanos.load(Ordering::Relaxed) as f64 / requests as f64 / 1e6,
    }
}
