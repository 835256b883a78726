//! A thread that gives a rollout up when whoever carries it out hangs.
//!
//! Deadlines inside the loop end what waits. This one ends what does not come back at all, such as a write
//! to a disk that does not answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::Site;
use crate::abort::Abort;
use crate::environment::Environment;
use crate::journal::Journal;
use crate::machine::State;
use crate::plan::Plan;

/// How long the loop may be silent.
const SILENCE: Duration = Duration::from_secs(30);

/// How often is looked.
const TICK: Duration = Duration::from_millis(250);

/// Listens for a heartbeat.
#[derive(Debug)]
pub(super) struct Watchdog {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    started: Instant,
    /// Milliseconds since the start at the last beat.
    beat: AtomicU64,
    done: AtomicBool,
}

// === impl Watchdog ===

impl Watchdog {
    /// Starts to listen.
    pub(super) fn start(site: &Site, plan: &Plan, environment: &Environment) -> Self {
        let shared = Arc::new(Shared {
            started: Instant::now(),
            beat: AtomicU64::new(0),
            done: AtomicBool::new(false),
        });
        let (of_thread, site) = (Arc::clone(&shared), site.clone());
        let (plan, environment) = (plan.clone(), environment.clone());
        thread::spawn(move || {
            while !of_thread.done.load(Ordering::Acquire) {
                thread::sleep(TICK);
                let last = Duration::from_millis(of_thread.beat.load(Ordering::Acquire));
                if of_thread.started.elapsed().saturating_sub(last) > SILENCE {
                    give_up(&site, &plan, environment);
                    return;
                }
            }
        });
        Self { shared }
    }

    /// Says that the loop is alive.
    pub(super) fn beat(&self) {
        let now = self.shared.started.elapsed().as_millis() as u64;
        self.shared.beat.store(now, Ordering::Release);
    }

    /// Says that it has come to its end, or that giving up is under way.
    pub(super) fn let_go(&self) {
        self.shared.done.store(true, Ordering::Release);
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// Gives up with what this thread has of its own.
fn give_up(site: &Site, plan: &Plan, environment: Environment) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return;
    };
    let abort = Abort {
        folder: &site.folder,
        // What was started since is in the file, if it can be read.
        environment: site.folder.read().unwrap_or(environment),
        plan,
        router: site.router.as_ref(),
        reason: format!("the executor was silent for {} s", SILENCE.as_secs()),
        actor: "watchdog".to_owned(),
        judged: false,
        clock: site.clock,
    };
    let mut journal = Journal::of_memory(State::Shifting { stage: 0 });
    let ended = runtime.block_on(abort.carry_out(&mut journal));
    for note in ended.notes {
        site.observer.noted(plan, &note);
    }
}
