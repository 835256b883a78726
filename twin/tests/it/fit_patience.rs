//! Timeouts and retries, recognized in what a capture would show of simulated systems whose truth is known.

use std::collections::BTreeMap;

use prophecy_core::{Completeness, Connection, Exchange, Philox, Seed, Timestamp};
use prophecy_simulator::model::{Backoff, CallModel, Law, Model, RouteModel, SCHEMA, Station};
use prophecy_simulator::{
    CompiledModel, CompiledTraffic, Scenario, Traffic, model_of, simulate_scenario,
};
use prophecy_twin::fit::{Fitted, Reading, observe_rows, summarize_rows};

use crate::traffic::{MILLI, exchange, system};

const SYSTEMS: u32 = 200;
const SECONDS: u64 = 15;
const RATE_HZ: f64 = 100.0;
const REQUESTS: f64 = RATE_HZ * SECONDS as f64;

/// What one system does, and how often that showed.
struct Truth {
    call: CallModel,
    given_up: usize,
    failed: usize,
    fitted: Fitted,
}

/// Returns a system of two services in which one calls the other.
fn model(call: CallModel, back: RouteModel) -> Model {
    let front = RouteModel {
        law: Some(Law::Lognormal { median_nanos: 8e6, sigma: 0.4 }),
        calls: vec![call],
        ..RouteModel::default()
    };
    let station = |route: &str, model| Station {
        routes: BTreeMap::from([(route.to_owned(), model)]),
        ..Station::default()
    };
    Model {
        schema: SCHEMA.to_owned(),
        system: "pair".to_owned(),
        entry: "front".to_owned(),
        hosts: BTreeMap::new(),
        services: BTreeMap::from([
            ("front".to_owned(), station("GET /front", front)),
            ("back".to_owned(), station("GET /back", back)),
        ]),
    }
}

/// Draws how a caller is patient, and a callee that gives it reason to be.
fn draw(random: &mut Philox) -> (CallModel, RouteModel) {
    let median = 5.0 + 35.0 * random.uniform();
    let sigma = 0.5 + 0.5 * random.uniform();
    // Between 2 and 10 % take longer than the timeout.
    let quantile = 1.3 + 0.7 * random.uniform();
    let timeout = (median * 1e6 * (sigma * quantile).exp()) as u64;
    let calls = 1 + random.below(3);
    let mut counts = vec![0.0; calls + 1];
    let shares: Vec<f64> = (0..calls).map(|_| 0.1 + random.uniform()).collect();
    let sum: f64 = shares.iter().sum();
    counts[1..].iter_mut().zip(&shares).for_each(|(count, share)| *count = share / sum);
    let call = CallModel {
        service: "back".to_owned(),
        route: "GET /back".to_owned(),
        counts,
        timeout_nanos: (random.below(3) > 0).then_some(timeout),
        retries: random.below(4) as u32,
        backoff: Backoff {
            base_nanos: ((10.0 + 70.0 * random.uniform()) * 1e6) as u64,
            factor: [1.0, 2.0, 3.0][random.below(3)],
            jitter: [0.0, 0.5, 1.0][random.below(3)],
            ..Backoff::default()
        },
        failure_spreads: [1.0, 0.3][random.below(2)],
        ..CallModel::default()
    };
    let law = Law::Lognormal { median_nanos: median * 1e6, sigma };
    let failure = 0.02 + 0.28 * random.uniform();
    (call, RouteModel { law: Some(law), failure, ..RouteModel::default() })
}

/// Simulates a system, and returns what a capture shows of it: when a caller gives up, its connection closes.
fn captured(
    model: &Model,
    timeout_nanos: Option<u64>,
    seed: u32,
) -> (Vec<Exchange>, Vec<Connection>) {
    let compiled = CompiledModel::new(model);
    let mut random = Seed(9).stream(seed, 0, "capture");
    let routes = ["GET /front".to_owned()];
    let traffic = Traffic::poisson(RATE_HZ, SECONDS * 1_000_000_000, &routes, &mut random);
    let traffic = CompiledTraffic::new(&traffic, &compiled).expect("the route is known");
    let scenario = Scenario { trace: true, ..Scenario::default() };
    let outcome = simulate_scenario(&compiled, &traffic, Seed(9), seed, &scenario);
    let trace = outcome.trace.expect("it was asked for");
    let (mut exchanges, mut connections) = (Vec::new(), Vec::new());
    for (id, span) in (0..).zip(&trace.spans) {
        let (service, _) = trace.names(span, &compiled);
        let edge = if span.parent == 0 { ("client", service) } else { ("front", service) };
        let (start, end) = (span.arrived_nanos as i64, span.ended_nanos as i64);
        let timeout = timeout_nanos.filter(|_| span.parent != 0).map(|nanos| nanos as i64);
        let gone = timeout.filter(|timeout| end == 0 || end - start > *timeout);
        // A capture sees an end a little late.
        let late = (0.3 * MILLI as f64 * random.exponential()) as i64;
        let trace_id = Some(u128::from(span.root + 1).to_be_bytes());
        let whole = Exchange { trace_id, ..exchange(id, edge, start, end) };
        let seen = match gone {
            Some(_) => Exchange {
                status: None,
                response_started_at: None,
                response_ended_at: None,
                completeness: Completeness::RequestOnly,
                ..whole
            },
            None if end == 0 => continue,
            None => Exchange { status: Some(if span.failed { 500 } else { 200 }), ..whole },
        };
        let closed_at = gone.map_or(end, |timeout| start + timeout) + late;
        connections.push(connection(&seen, closed_at));
        exchanges.push(seen);
    }
    (exchanges, connections)
}

fn connection(exchange: &Exchange, closed_at: i64) -> Connection {
    Connection {
        connection_id: exchange.connection_id,
        client: exchange.client,
        server: exchange.server,
        opened_at: exchange.started_at,
        closed_at: Some(Timestamp(closed_at)),
        handshake_rtt_ns: None,
        retransmitted_segments: 0,
        out_of_order_segments: 0,
        lost_bytes: 0,
        client_bytes: 0,
        server_bytes: 0,
    }
}

fn truths() -> Vec<Truth> {
    let system = system(&["front", "back"], "");
    let truth = |seed: u32| {
        let (call, back) = draw(&mut Seed(8).stream(seed, 0, "systems"));
        let (exchanges, connections) =
            captured(&model(call.clone(), back), call.timeout_nanos, seed);
        let reading = Reading { threads: 1, slice_rows: 2_000 };
        let fitted = summarize_rows(&exchanges, &connections, &system, reading);
        let of_back = || exchanges.iter().filter(|exchange| exchange.destination == "back");
        let given_up = of_back().filter(|exchange| exchange.status.is_none()).count();
        let failed = of_back().filter(|exchange| exchange.failed()).count();
        Truth { call, given_up, failed, fitted }
    };
    (0..SYSTEMS).map(truth).collect()
}

/// Counts what was right, and keeps what was not.
#[derive(Default)]
struct Score {
    right: usize,
    wrong: Vec<String>,
}

impl Score {
    fn add(&mut self, is_right: bool, what: String) {
        if is_right {
            self.right += 1;
        } else {
            self.wrong.push(what);
        }
    }

    /// At least 95 % must be right, of at least so many. It is all of them but for two in 88 numbers of retries.
    fn check(&self, what: &str, needed: usize) {
        let all = self.right + self.wrong.len();
        assert!(
            all >= needed && 20 * self.wrong.len() <= all,
            "{what}: {} of {all}, {:#?}",
            self.right,
            self.wrong
        );
    }
}

#[test]
fn recognizes_the_patience_of_random_systems() {
    let [mut timeouts, mut no_timeouts, mut retries, mut fewer, mut none, mut waits] =
        [(); 6].map(|()| Score::default());
    let [mut factors, mut counts] = [(); 2].map(|()| Score::default());
    for (index, truth) in truths().into_iter().enumerate() {
        let route = &truth.fitted.model.services["front"].routes["GET /front"];
        let (call, found) = (&truth.call, &route.calls[0]);
        let what = format!("system {index}: {call:?}, found {found:?}");
        match call.timeout_nanos {
            // Half of the half-millisecond by which ends are seen late, twice.
            Some(nanos) if truth.given_up >= 20 => {
                let near = |found: u64| found.abs_diff(nanos) <= 1_000_000;
                timeouts.add(found.timeout_nanos.is_some_and(near), what.clone());
            }
            Some(_) => {}
            None => no_timeouts.add(found.timeout_nanos.is_none(), what.clone()),
        }
        if call.retries == 0 {
            none.add(found.retries == 0, what.clone());
            continue;
        }
        fewer.add(found.retries <= call.retries, what.clone());
        // A last retry has to fail a few times to be known as the last: 20 are expected where there is one call.
        let share = truth.failed as f64 / (REQUESTS + truth.failed as f64);
        if REQUESTS * share.powi(call.retries as i32 + 1) < 20.0 {
            continue;
        }
        retries.add(found.retries == call.retries, what.clone());
        if found.retries == 0 {
            continue;
        }
        // Three standard errors of median plus half of the scaled distance of the outer tenths of a uniform
        // distribution, 0.56 of its width each in the root of the count; and a hundredth.
        let count = truth.failed as f64 / f64::from(call.retries + 1);
        let error = 3.0 * 0.56 * call.backoff.jitter / count.sqrt() + 0.01;
        let base = call.backoff.base_nanos as f64;
        let off = (found.backoff.base_nanos as f64 / base - 1.0).abs();
        waits.add(off <= error + 1e6 / base, what.clone());
        let second = count * share;
        if call.retries > 1 && second >= 30.0 {
            let off = (found.backoff.factor / call.backoff.factor - 1.0).abs();
            let error = 3.0 * 0.56 * call.backoff.jitter * (1.0 / count + 1.0 / second).sqrt();
            factors.add(off <= error + 0.05, what.clone());
        }
        let mean =
            |counts: &[f64]| -> f64 { counts.iter().zip(0..).map(|(p, n)| p * f64::from(n)).sum() };
        if call.failure_spreads < 1.0 {
            let off = mean(&found.counts) / mean(&call.counts) - 1.0;
            counts.add(off.abs() < 0.05, what);
        }
    }
    timeouts.check("timeouts within a millisecond", 80);
    no_timeouts.check("no timeout where there is none", 50);
    retries.check("number of retries", 50);
    fewer.check("no more retries than there are", 100);
    none.check("no retries where there are none", 30);
    waits.check("wait before the first retry", 50);
    factors.check("growth of the wait", 10);
    counts.check("calls without their retries", 20);
}

/// A request without an answer used to look as if it had taken no time.
#[test]
fn what_was_given_up_took_as_long_as_the_timeout_and_is_no_failure_of_the_callee() {
    let call = CallModel {
        service: "back".to_owned(),
        route: "GET /back".to_owned(),
        timeout_nanos: Some(50_000_000),
        ..CallModel::default()
    };
    let law = Some(Law::Hyperexponential { mean_nanos: 15e6, variation: 3.0 });
    let truth = model(call, RouteModel { law, ..RouteModel::default() });
    let (exchanges, connections) = captured(&truth, Some(50_000_000), 0);
    let system = system(&["front", "back"], "");
    let fitted = summarize_rows(&exchanges, &connections, &system, Reading::default());
    let back = &fitted.model.services["back"].routes["GET /back"];
    assert!(back.failure < 1e-9, "{}", back.failure);
    let given_up = exchanges.iter().filter(|exchange| exchange.status.is_none()).count();
    let share = given_up as f64 / exchanges.iter().filter(|it| it.source == "front").count() as f64;
    let timeout = fitted.model.services["front"].routes["GET /front"].calls[0].timeout_nanos;
    let timeout = timeout.expect("it is recognized");
    let own = &back.own_nanos;
    let longer = own.iter().filter(|nanos| **nanos > timeout).count() as f64 / own.len() as f64;
    // Answers may end between the low end of what was given up and the timeout.
    assert!((longer - share).abs() < 0.003, "{longer}, {share}");
    assert_eq!(fitted.recognized.len(), 1, "{:?}", fitted.recognized);
}

#[test]
fn claims_nothing_from_few_events_or_from_crashes() {
    let mut random = Seed(4).stream(0, 0, "crashes");
    let (mut exchanges, mut connections) = (Vec::new(), Vec::new());
    for request in 0..400 {
        let at = 100 * MILLI * request;
        let id = 2 * request as u64;
        // Eight go away after 50 ms; forty break at any time.
        let gone = match request {
            _ if request % 50 == 7 => Some(50 * MILLI),
            _ if request % 10 == 3 => Some((80.0 * random.uniform() * MILLI as f64) as i64),
            _ => None,
        };
        let call = exchange(id + 1, ("web", "db"), at + MILLI, at + 20 * MILLI);
        let call = match gone {
            Some(_) => Exchange {
                status: None,
                response_started_at: None,
                response_ended_at: None,
                completeness: Completeness::RequestOnly,
                ..call
            },
            None => call,
        };
        connections.push(connection(&call, at + MILLI + gone.unwrap_or(19 * MILLI)));
        exchanges.push(exchange(id, ("client", "web"), at, at + 90 * MILLI));
        exchanges.push(call);
    }
    let system = system(&["web", "db"], "");
    let fitted = summarize_rows(&exchanges, &connections, &system, Reading::default());
    assert_eq!(fitted.recognized, Vec::<String>::new());
    let observed = observe_rows(&exchanges, &[], &system, 0).observations;
    assert!(observed.services["web"].policies.is_empty());
    let calls = &model_of(&observed, &system).services["web"].routes["GET /web"].calls;
    assert_eq!((calls[0].retries, calls[0].timeout_nanos), (0, None));
}
