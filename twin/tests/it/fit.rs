//! Observations from exchanges whose truth is known.

use std::collections::BTreeMap;

use prophecy_core::{Completeness, Exchange, Metric, Philox, Seed, System, Timestamp};
use prophecy_simulator::observation::{ServiceObservations, Visit, Workers};
use prophecy_twin::fit::{Fit, observe_rows};
use prophecy_twin::metrics::{CPU_SECONDS, RESIDENT_BYTES};

use crate::traffic::{Fifo, MILLI, exchange, system};

fn draws(name: &str) -> Philox {
    Seed(11).stream(0, 0, name)
}

fn fit(mut exchanges: Vec<Exchange>, system: &System) -> Fit {
    exchanges.sort_by_key(|exchange| (exchange.started_at, exchange.exchange_id));
    observe_rows(&exchanges, &[], system, 0)
}

fn visits<'a>(fit: &'a Fit, service: &str) -> &'a [Visit] {
    &fit.observations.services[service].routes[&format!("GET /{service}")]
}

/// A law of holding times with mean 1.
#[derive(Clone, Copy, Debug)]
enum Law {
    Constant,
    Narrow,
    Exponential,
}

impl Law {
    const ALL: [Self; 3] = [Self::Constant, Self::Narrow, Self::Exponential];

    fn draw(self, random: &mut Philox) -> f64 {
        match self {
            Self::Constant => 1.0,
            Self::Narrow => (0.3 * random.normal() - 0.045).exp(),
            Self::Exponential => random.exponential(),
        }
    }
}

/// Returns visits of `web`, and how long each truly waited.
fn queued(count: usize, utilization: f64, law: Law, visits: u64) -> (Vec<Exchange>, Vec<u64>) {
    let mut random = draws("queued");
    let (mut at, mut fifo) = (0, Fifo::new(count));
    let mean = 10.0 * MILLI as f64;
    (0..visits)
        .map(|id| {
            at += (random.exponential() * mean / (count as f64 * utilization)) as i64 + 1;
            let hold = (law.draw(&mut random) * mean) as i64 + 1;
            let (start, end) = fifo.take(at, hold);
            (exchange(id, ("client", "web"), at, end), (start - at) as u64)
        })
        .unzip()
}

#[test]
fn takes_calls_out_of_the_time_of_a_visit_even_where_they_overlap() {
    let exchanges = vec![
        exchange(0, ("client", "web"), 0, 100 * MILLI),
        exchange(1, ("web", "app"), 10 * MILLI, 40 * MILLI),
        exchange(2, ("web", "db"), 30 * MILLI, 60 * MILLI),
        exchange(3, ("web", "db"), 70 * MILLI, 75 * MILLI),
    ];
    let fit = fit(exchanges, &system(&["web", "app", "db"], ""));
    let visit = &visits(&fit, "web")[0];
    assert_eq!(visit.latency_nanos, 100_000_000);
    assert_eq!(visit.own_nanos, 45_000_000);
    let calls: Vec<_> = visit.calls.iter().map(|call| (&*call.destination, call.nanos)).collect();
    assert_eq!(calls, [("app", 30_000_000), ("db", 30_000_000), ("db", 5_000_000)]);
}

#[test]
fn own_times_are_exact_where_nothing_waits() {
    let mut random = draws("sparse");
    let mut at = 0;
    let (exchanges, holds): (Vec<_>, Vec<_>) = (0..300)
        .map(|id| {
            at += 100 * MILLI;
            let hold = (random.uniform() * 50.0 * MILLI as f64) as i64 + 1;
            (exchange(id, ("client", "web"), at, at + hold), hold as u64)
        })
        .unzip();
    let fit = fit(exchanges, &system(&["web"], ""));
    let own: Vec<u64> = visits(&fit, "web").iter().map(|visit| visit.own_nanos).collect();
    assert_eq!(own, holds);
    assert_eq!(fit.observations.arrivals.len(), 300);
    assert_eq!(fit.observations.services["web"].workers, Workers::Unlimited);
}

#[test]
fn recovers_waits_where_the_workers_are_declared() {
    for count in [1, 2, 8] {
        for law in Law::ALL {
            let (exchanges, truth) = queued(count, 0.85, law, 2_000);
            let fit = fit(exchanges, &system(&["web"], &format!(", concurrency: {count}")));
            let visits = visits(&fit, "web");
            let waits: Vec<u64> = visits.iter().map(|visit| visit.waited_nanos).collect();
            assert_eq!(waits, truth, "{count} workers, {law:?}");
            assert!(visits.iter().all(|v| v.own_nanos == v.latency_nanos - v.waited_nanos));
        }
    }
}

/// `web` has no limit; its requests last long because `db`, with two workers, has a queue.
#[test]
fn does_not_take_the_queue_of_a_called_service_for_one_of_its_caller() {
    let mut random = draws("caller");
    let (mut at, mut fifo) = (0, Fifo::new(2));
    let mut exchanges = Vec::new();
    for id in 0..2_000 {
        at += (random.exponential() * 5.5 * MILLI as f64) as i64 + 1;
        let asked = at + 4 * MILLI;
        let hold = (random.exponential() * 10.0 * MILLI as f64) as i64 + 1;
        let (_, end) = fifo.take(asked, hold);
        let trace_id = Some(u128::from(id + 1_u64).to_be_bytes());
        let caller = exchange(2 * id, ("client", "web"), at, end + MILLI / 5);
        let called = exchange(2 * id + 1, ("web", "db"), asked, end);
        exchanges.extend([Exchange { trace_id, ..caller }, Exchange { trace_id, ..called }]);
    }
    let fit = fit(exchanges, &system(&["web", "db"], ""));
    assert_eq!(fit.observations.services["web"].workers, Workers::Unlimited);
    assert!(visits(&fit, "web").iter().all(|visit| visit.waited_nanos == 0));
}

#[test]
fn finds_the_workers_that_nobody_declared() {
    let mut wrong = Vec::new();
    for count in [1, 2, 4] {
        for utilization in [0.7, 0.85, 0.95] {
            for law in Law::ALL {
                let (exchanges, _) = queued(count, utilization, law, 3_000);
                let fit = fit(exchanges, &system(&["web"], ""));
                let found = fit.observations.services["web"].workers;
                if found != Workers::Estimated(count as u32) {
                    wrong.push((count, utilization, law, found));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn a_service_that_never_queues_is_unlimited() {
    for law in Law::ALL {
        for in_flight in [0.5, 3.0, 10.0] {
            let (exchanges, _) = queued(4_000, in_flight / 4_000.0, law, 3_000);
            let fit = fit(exchanges, &system(&["web"], ""));
            let found = fit.observations.services["web"].workers;
            assert_eq!(found, Workers::Unlimited, "{law:?}, {in_flight} in flight");
        }
    }
}

/// Exchanges of a chain `web` → `app` → `db` with `in_flight` requests at once on average, and the
/// duration of its call by the start of each visit.
fn chain(in_flight: f64, traces: bool) -> (Vec<Exchange>, BTreeMap<(String, i64), u64>) {
    let mut random = draws("chain");
    let (mut exchanges, mut truth, mut at) = (Vec::new(), BTreeMap::new(), 0);
    let mean = 2.0 * MILLI as f64;
    for request in 0..2_000u64 {
        at += (random.exponential() * 5.0 * mean / in_flight) as i64 + 1;
        let [to_app, to_db, db, from_db, from_app] =
            [(); 5].map(|()| (Law::Narrow.draw(&mut random) * mean) as i64);
        let (app, asked) = (at + to_app, at + to_app + to_db);
        let (answered, ended) = (asked + db, asked + db + from_db);
        truth.insert(("web".to_owned(), at), (ended - app) as u64);
        truth.insert(("app".to_owned(), app), (answered - asked) as u64);
        let trace = traces.then(|| u128::from(request + 1).to_be_bytes());
        let steps = [
            (("client", "web"), at, ended + from_app),
            (("web", "app"), app, ended),
            (("app", "db"), asked, answered),
        ];
        for (step, (edge, start, end)) in steps.into_iter().enumerate() {
            let id = 3 * request + step as u64;
            exchanges.push(Exchange { trace_id: trace, ..exchange(id, edge, start, end) });
        }
    }
    (exchanges, truth)
}

/// Returns the share of visits of a chain that have exactly their own call.
fn linked_right(in_flight: f64, traces: bool) -> f64 {
    let (exchanges, truth) = chain(in_flight, traces);
    let fit = fit(exchanges, &system(&["web", "app", "db"], ""));
    let origin = truth.keys().filter(|(service, _)| service == "web").map(|key| key.1).min();
    let right = ["web", "app"]
        .into_iter()
        .flat_map(|service| visits(&fit, service).iter().map(move |visit| (service, visit)));
    let right = right.filter(|(service, visit)| {
        let at = visit.at_nanos as i64 + origin.unwrap();
        let expected = truth[&((*service).to_owned(), at)];
        matches!(visit.calls.as_slice(), [call] if call.nanos == expected)
    });
    right.count() as f64 / truth.len() as f64
}

#[test]
fn links_calls_by_trace() {
    let right = linked_right(8.0, true);
    assert!(right > 0.999, "{right}");
}

#[test]
fn links_calls_by_time_alone() {
    for in_flight in [0.3, 0.6] {
        let right = linked_right(in_flight, false);
        assert!(right >= 0.95, "{right} at {in_flight} requests in flight");
    }
}

/// Visits of `web` that each make `calls` calls to `db` in a row, of which `pool` may be under way.
fn pooled(pool: usize, gap: f64, calls: u64) -> (Vec<Exchange>, f64) {
    let mut random = draws("pooled");
    let mean = 10.0 * MILLI as f64;
    let (mut at, mut fifo, mut exchanges, mut own) = (0, Fifo::new(pool), Vec::new(), 0.0);
    for request in 0..1_500 {
        at += (random.exponential() * gap * mean) as i64 + 1;
        let before = (Law::Narrow.draw(&mut random) * 0.3 * mean) as i64;
        let mut now = at + before;
        let id = request * (calls + 1);
        for call in 0..calls {
            let hold = (Law::Narrow.draw(&mut random) * mean) as i64;
            let (start, end) = fifo.take(now, hold);
            // Handing a connection over takes a moment.
            exchanges.push(exchange(id + call + 1, ("web", "db"), start + 20_000, end));
            now = end + 30_000;
        }
        own += (now + before - at) as f64 / 1_500.0;
        exchanges.push(exchange(id, ("client", "web"), at, now + before));
    }
    (exchanges, own)
}

fn of_web(fit: &Fit) -> &ServiceObservations {
    &fit.observations.services["web"]
}

#[test]
fn finds_a_limit_on_calls_at_once_and_takes_its_waits_out() {
    for pool in [1, 2] {
        let (exchanges, with_waits) = pooled(pool, 1.0 / (0.8 * pool as f64), 1);
        let fit = fit(exchanges, &system(&["web", "db"], ""));
        assert_eq!(of_web(&fit).pools, BTreeMap::from([("db".to_owned(), pool as u32)]));
        let own = visits(&fit, "web").iter().map(|visit| visit.own_nanos as f64);
        let own = own.sum::<f64>() / 1_500.0;
        // Truly 6 ms: 3 before the call and 3 after it.
        assert!(
            (5.5e6..7.5e6).contains(&own),
            "{own} instead of {with_waits} with calls and waits"
        );
    }
}

#[test]
fn finds_no_limit_where_there_is_none() {
    // From sparse to a hundred calls at once, one call for each visit or five in a row.
    for gap in [20.0, 2.0, 0.5, 0.1, 0.01] {
        for calls in [1, 5] {
            let (exchanges, _) = pooled(100_000, gap * calls as f64, calls);
            let fit = fit(exchanges, &system(&["web", "db"], ""));
            assert_eq!(of_web(&fit).pools, BTreeMap::new(), "{calls} calls, a visit each {gap}");
        }
    }
}

#[test]
fn one_worker_is_not_taken_for_a_limit_on_calls() {
    let mut random = draws("one worker");
    let (mut at, mut fifo, mut exchanges) = (0, Fifo::new(1), Vec::new());
    for request in 0..1_500 {
        at += (random.exponential() * 12.0 * MILLI as f64) as i64 + 1;
        let hold = (Law::Narrow.draw(&mut random) * 10.0 * MILLI as f64) as i64;
        let (start, end) = fifo.take(at, hold);
        exchanges.push(exchange(2 * request, ("client", "web"), at, end));
        exchanges.push(exchange(2 * request + 1, ("web", "db"), start + 50_000, end - 50_000));
    }
    let fit = fit(exchanges, &system(&["web", "db"], ", concurrency: 1"));
    assert_eq!(of_web(&fit).pools, BTreeMap::new());
}

#[test]
fn tells_what_failed() {
    let answered = |id, status| Exchange {
        status: Some(status),
        ..exchange(id, ("client", "web"), id as i64 * MILLI, id as i64 * MILLI + 1_000)
    };
    let unanswered = Exchange {
        status: None,
        response_started_at: None,
        response_ended_at: None,
        completeness: Completeness::RequestOnly,
        ..answered(4, 200)
    };
    let exchanges = vec![answered(1, 200), answered(2, 404), answered(3, 500), unanswered];
    let fit = fit(exchanges, &system(&["web"], ""));
    let failed: Vec<bool> = visits(&fit, "web").iter().map(|visit| visit.failed).collect();
    assert_eq!(failed, [false, false, true, true]);
}

#[test]
fn leaves_out_responses_without_requests() {
    let orphan = Exchange {
        method: String::new(),
        path: String::new(),
        route: String::new(),
        completeness: Completeness::ResponseOnly,
        ..exchange(0, ("client", "web"), 0, MILLI)
    };
    let whole = exchange(1, ("client", "web"), 5 * MILLI, 7 * MILLI);
    let fit = fit(vec![orphan, whole], &system(&["web"], ""));
    let routes: Vec<&String> = of_web(&fit).routes.keys().collect();
    assert_eq!(routes, ["GET /web"]);
    // The observed time starts with the first request.
    let at: Vec<u64> = fit.observations.arrivals.iter().map(|arrival| arrival.at_nanos).collect();
    assert_eq!(at, [0]);
}

#[test]
fn leaves_out_what_a_full_queue_refused() {
    let mut random = draws("refused");
    let (mut at, mut fifo, mut starts) = (0, Fifo::new(1), Vec::new());
    let (mut exchanges, mut holds) = (Vec::new(), Vec::new());
    for id in 0..1_000 {
        at += (random.exponential() * 8.0 * MILLI as f64) as i64 + 1;
        let waiting = starts.iter().filter(|start| **start > at).count();
        if waiting >= 2 {
            let refused = exchange(id, ("client", "web"), at, at + 100_000);
            exchanges.push(Exchange { status: Some(503), ..refused });
            continue;
        }
        let hold = (Law::Narrow.draw(&mut random) * 10.0 * MILLI as f64) as i64;
        let (start, end) = fifo.take(at, hold);
        starts.push(start);
        holds.push(hold as u64);
        exchanges.push(exchange(id, ("client", "web"), at, end));
    }
    let refused = 1_000 - holds.len();
    assert!(refused > 50, "the queue must have been full");
    let fit = fit(exchanges, &system(&["web"], ", concurrency: 1, queue: 2"));
    // One that came within the time of a refusal before a worker was free cannot be told apart.
    let own: Vec<u64> = visits(&fit, "web")
        .iter()
        .filter(|visit| visit.status == Some(200))
        .map(|visit| visit.own_nanos)
        .collect();
    let exact = own.iter().zip(&holds).filter(|(own, hold)| own == hold).count();
    assert_eq!(own.len(), holds.len());
    assert!(exact * 100 >= 97 * holds.len(), "{exact} of {}", holds.len());
    let kept = visits(&fit, "web").len() - own.len();
    assert!(kept * 20 <= refused, "{kept} of {refused} refused count as visits");
}

#[test]
fn counts_what_was_served_before_each_point_of_memory() {
    let visit = |id: u64| {
        let at = id as i64 * 10 * MILLI;
        exchange(id, ("client", "web"), at, at + 5 * MILLI)
    };
    let metric = |name: &str, service: &str, at: i64, value: f64| Metric {
        name: name.to_owned(),
        labels: BTreeMap::from([("service".to_owned(), service.to_owned())]),
        at: Timestamp(at),
        value,
    };
    let exchanges: Vec<_> = (0..10).map(visit).collect();
    let metrics = [
        metric(RESIDENT_BYTES, "web", -MILLI, 50.0),
        metric(RESIDENT_BYTES, "web", 2 * MILLI, 100.0),
        metric(RESIDENT_BYTES, "db", 40 * MILLI, 7.0),
        metric(RESIDENT_BYTES, "web", 52 * MILLI, 200.0),
        metric(CPU_SECONDS, "web", 2 * MILLI, 1.0),
        metric(CPU_SECONDS, "web", 98 * MILLI, 1.02),
    ];
    let fit = observe_rows(&exchanges, &metrics, &system(&["web"], ""), 0);
    let web = of_web(&fit);
    let points: Vec<_> = web.memory.iter().map(|p| (p.requests, p.resident_bytes)).collect();
    assert_eq!(points, [(0, 100), (5, 200)]);
    let cpu = web.cpu_nanos_per_request.unwrap();
    assert!((cpu - 2e6).abs() < 1.0, "{cpu}");
}
