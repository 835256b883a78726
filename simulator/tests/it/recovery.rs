//! Metastable failures: the three mechanisms, each with what prevents it.

use std::collections::BTreeMap;

use prophecy_core::Seed;
use prophecy_simulator::model::{
    Budget, CacheModel, CacheUse, CallModel, Keys, Law, Model, Pauses, RouteModel, SCHEMA, Station,
};
use prophecy_simulator::recovery::{Question, Recovery, Trigger, critical_size, recovery};
use prophecy_simulator::{CompiledModel, CompiledTraffic};

const ROUTE: &str = "GET /";
const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

fn route(law: Law) -> RouteModel {
    RouteModel { law: Some(law), ..RouteModel::default() }
}

fn station(workers: Option<u32>, route: RouteModel) -> Station {
    Station { workers, routes: BTreeMap::from([(ROUTE.to_owned(), route)]), ..Station::default() }
}

fn model<const N: usize>(services: [(&str, Station); N]) -> Model {
    Model {
        schema: SCHEMA.to_owned(),
        system: "metastable".to_owned(),
        entry: services[0].0.to_owned(),
        hosts: BTreeMap::new(),
        services: services.into_iter().map(|(name, station)| (name.to_owned(), station)).collect(),
    }
}

/// Clients who call a service of one worker with 10 ms of work, give up after 200 ms and try thrice again.
fn retrying(budget: Option<Budget>) -> Model {
    let mut users = route(Law::Constant { nanos: 0 });
    users.calls = vec![CallModel {
        service: "service".to_owned(),
        route: ROUTE.to_owned(),
        timeout_nanos: Some(200 * MS),
        retries: 3,
        budget,
        ..CallModel::default()
    }];
    let work = route(Law::Exponential { mean_nanos: 10.0 * MS as f64 });
    model([("clients", station(None, users)), ("service", station(Some(1), work))])
}

struct Case<'a> {
    model: &'a Model,
    rate_hz: f64,
    trigger: Trigger,
}

/// How many runs of all recovered.
#[derive(Debug, PartialEq, Eq)]
enum Runs {
    All,
    Some,
    None,
}

// === impl Runs ===

impl From<Recovery> for Runs {
    fn from(recovery: Recovery) -> Self {
        match recovery.probability.get() {
            p if p > 0.999 => Self::All,
            p if p < 0.001 => Self::None,
            _ => Self::Some,
        }
    }
}

// === impl Case ===

impl Case<'_> {
    /// Asks about a trigger after 10 s, and recovery within 30 s of its end.
    fn ask<T>(&self, of: impl FnOnce(&Question<'_>) -> T) -> T {
        let compiled = CompiledModel::new(self.model);
        let mut stream = Seed(9).stream(0, 0, "arrivals");
        let traffic =
            CompiledTraffic::poisson(&compiled, ROUTE, self.rate_hz, 60 * SECOND, &mut stream);
        of(&Question {
            model: &compiled,
            traffic: &traffic,
            trigger: &self.trigger,
            at_nanos: 10 * SECOND,
            within_nanos: 30 * SECOND,
            seed: Seed(9),
            replications: 12,
            threads: 2,
        })
    }

    /// Returns how many runs of all recover.
    fn recovers(&self, size: f64) -> Runs {
        self.ask(|question| recovery(question, size)).into()
    }
}

/// At 50 of 100 requests per second a queue in which everybody gives up brings four attempts for each
/// request, 200 per second: it stays. At 15 it does not: 60 are fewer than 100, but what ten times the load
/// for 2 s leaves behind, several hundred attempts, goes at only 40 per second.
#[test]
fn retries_keep_an_overload_alive() {
    let model = retrying(None);
    let at = |rate_hz| {
        let trigger = Trigger::Load { nanos: 2 * SECOND };
        Case { model: &model, rate_hz, trigger }
    };
    assert_eq!(at(50.0).recovers(1.0), Runs::All);
    assert_eq!(at(50.0).recovers(10.0), Runs::None);
    let slow = at(15.0).ask(|question| recovery(question, 10.0));
    let after = slow.median_nanos.expect("it recovers") / SECOND;
    assert_eq!(Runs::from(slow), Runs::All);
    assert!((5..30).contains(&after), "{after} s");
    let critical = at(50.0).ask(|question| critical_size(question, 1.0, 10.0, 0.25));
    // More than 20 requests, 200 ms of work, must gather in 2 s: above 110 per second, 2.2 times the load, they
    // do for certain; below the capacity, twice the load, by chance at most.
    let critical = critical.expect("it recovers from the least and not from the most");
    assert!((1.5..3.0).contains(&critical), "{critical}");
    assert_eq!(at(15.0).ask(|question| critical_size(question, 1.0, 10.0, 0.25)), None);
}

#[test]
fn a_budget_of_retries_lets_it_recover() {
    let model = retrying(Some(Budget { ratio: 0.1, burst: 10.0 }));
    let case = Case { model: &model, rate_hz: 50.0, trigger: Trigger::Load { nanos: 5 * SECOND } };
    assert_eq!(case.recovers(6.0), Runs::All);
}

/// A cache that takes nine in ten requests off a database which could not do without it.
fn cached(workers: u32) -> Model {
    let mut front = route(Law::Constant { nanos: MS });
    front.cache = Some(CacheUse {
        name: "answers".to_owned(),
        keys: Keys { count: 200, skew: 0.0 },
        hit_share: 1.0,
    });
    front.calls = vec![CallModel {
        service: "database".to_owned(),
        route: ROUTE.to_owned(),
        timeout_nanos: Some(100 * MS),
        ..CallModel::default()
    }];
    let mut front = station(None, front);
    // An entry is made again every 10 s: 20 of 200 requests per second go through.
    let cache =
        CacheModel { capacity: 200, ttl_nanos: Some(10 * SECOND), shared: true, coalesce: false };
    front.caches.insert("answers".to_owned(), cache);
    let work = route(Law::Exponential { mean_nanos: 25.0 * MS as f64 });
    model([("front", front), ("database", station(Some(workers), work))])
}

/// A database that does 40 per second is asked for 200: none is answered in time, so none is kept.
#[test]
fn an_empty_cache_stays_empty() {
    let flush = || Trigger::Flush { service: "front".to_owned(), cache: "answers".to_owned() };
    let (small, large) = (cached(1), cached(8));
    assert_eq!(Case { model: &large, rate_hz: 200.0, trigger: flush() }.recovers(1.0), Runs::All);
    let lost = Case { model: &small, rate_hz: 200.0, trigger: flush() }.recovers(1.0);
    assert_eq!(lost, Runs::None);
}

/// The more requests are in the system, the slower it gets: pauses that a full system has and an empty
/// one has not are modelled by a service that is slowed while clients insist.
#[test]
fn a_slow_down_outlasts_its_cause_where_clients_insist() {
    let slow = || Trigger::Slow { service: "service".to_owned(), nanos: 5 * SECOND };
    let mut model = retrying(None);
    let service = model.services.get_mut("service").expect("made above");
    service.pauses = Some(Pauses { every_nanos: SECOND, nanos: 50 * MS });
    let at = |rate_hz| Case { model: &model, rate_hz, trigger: slow() };
    assert_eq!(at(50.0).recovers(1.0), Runs::All);
    assert_eq!(at(50.0).recovers(8.0), Runs::None);
    assert_eq!(at(15.0).recovers(8.0), Runs::All);
}

#[test]
fn threads_do_not_change_the_answer() {
    let model = retrying(None);
    let case = Case { model: &model, rate_hz: 50.0, trigger: Trigger::Load { nanos: 5 * SECOND } };
    let with =
        |threads| case.ask(|question| recovery(&Question { threads, ..question.clone() }, 2.2));
    assert_eq!(with(1), with(3));
}
