//! Asking a model what would be if: as things are, and with another load or more instances.

use std::sync::Arc;

use prophecy_core::Seed;
use prophecy_simulator::replication::{Summary, in_order};
use prophecy_simulator::{CompiledModel, CompiledTraffic, Model, Traffic, simulate};
use tokio::sync::Semaphore;

use crate::dashboard::what_if::{Answer, Choice, Question};

/// Simulated time of a run, unless that is too many requests.
const SECONDS: f64 = 30.0;

/// Requests of a run at most.
const REQUESTS: f64 = 30_000.0;

/// The highest load that can be asked for \[1/s\].
const HIGHEST_HZ: f64 = 20_000.0;

/// The most instances that can be asked for.
const MOST_REPLICAS: u32 = 1_000;

/// Runs of each model.
const RUNS: u32 = 16;

/// Models that can be asked, one question at a time.
#[derive(Debug)]
pub(crate) struct Oracle {
    models: Arc<Vec<(String, Model)>>,
    free: Semaphore,
}

// === impl Oracle ===

impl Oracle {
    pub(crate) fn new(models: Vec<(String, Model)>) -> Self {
        Self { models: Arc::new(models), free: Semaphore::new(1) }
    }

    /// Returns what can be chosen.
    pub(crate) fn models(&self) -> Vec<Choice> {
        let of = |(name, model): &(String, Model)| Choice {
            name: name.clone(),
            services: model
                .services
                .iter()
                .map(|(name, station)| (name.clone(), station.replicas))
                .collect(),
        };
        self.models.iter().map(of).collect()
    }

    /// Answers, or says why not, in words for whoever asks.
    pub(crate) async fn ask(&self, question: &Question) -> Result<Answer, String> {
        let rates = [question.now_hz, question.then_hz];
        if rates.iter().any(|rate| !(*rate > 0.0 && *rate <= HIGHEST_HZ)) {
            return Err(format!("Loads are above 0 and up to {HIGHEST_HZ} requests per second."));
        }
        if question.replicas.is_some_and(|count| count == 0 || count > MOST_REPLICAS) {
            return Err(format!("Instances are from 1 to {MOST_REPLICAS}."));
        }
        let index = self.models.iter().position(|(name, _)| *name == question.model);
        let Some(index) = index else { return Err("There is no such model.".to_owned()) };
        let now = self.models[index].1.clone();
        let mut then = now.clone();
        if let Some(service) = &question.service {
            let Some(station) = then.services.get_mut(service) else {
                return Err("The model has no such service.".to_owned());
            };
            station.replicas = question.replicas.unwrap_or(station.replicas);
        }
        let Ok(_turn) = self.free.try_acquire() else {
            return Err("Another question is being answered; ask again in a moment.".to_owned());
        };
        let computed =
            tokio::task::spawn_blocking(move || [runs(&now, rates[0]), runs(&then, rates[1])]);
        let [now, then] =
            computed.await.map_err(|_| "The model cannot be simulated.".to_owned())?;
        Ok(Answer { now, then, runs: RUNS })
    }
}

/// Simulates a model under Poisson arrivals on the routes of its entry.
fn runs(model: &Model, rate_hz: f64) -> Summary {
    let seed = Seed(7);
    let compiled = CompiledModel::new(model);
    let routes: Vec<String> = model.services[&model.entry].routes.keys().cloned().collect();
    let window = (SECONDS.min(REQUESTS / rate_hz) * 1e9) as u64;
    let outcomes = in_order(RUNS, 1, |index| {
        let mut luck = seed.stream(index, 0, "arrivals");
        let traffic = Traffic::poisson(rate_hz, window.max(1), &routes, &mut luck);
        let traffic = CompiledTraffic::new(&compiled.known(&traffic), &compiled);
        simulate(&compiled, &traffic.expect("its own routes are known"), seed, index)
    });
    Summary::of(&outcomes)
}
