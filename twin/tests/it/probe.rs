//! What a probe's exchanges tell, where the truth is known.

use std::collections::BTreeMap;

use prophecy_core::{Completeness, Exchange, Interval, Metric, Philox, Seed, Timestamp};
use prophecy_datasets::probe::{ArmProbe, Bottleneck, Ending, ProbeStep, Rate, WorkerRange};
use prophecy_twin::fit::probe::fill_in;
use prophecy_twin::metrics::CPU_SECONDS;

use crate::traffic::{Fifo, MILLI, exchange};

const SECOND: i64 = 1_000 * MILLI;

/// A law of holding times with mean 1.
#[derive(Clone, Copy, Debug)]
enum Law {
    Constant,
    Narrow,
    Exponential,
}

impl Law {
    fn draw(self, random: &mut Philox) -> f64 {
        match self {
            Self::Constant => 1.0,
            Self::Narrow => (0.3 * random.normal() - 0.045).exp(),
            Self::Exponential => random.exponential(),
        }
    }
}

/// A service, and what passes outside of its workers \[ns\].
#[derive(Clone, Copy, Debug)]
struct Service {
    workers: usize,
    law: Law,
    mean: i64,
    outside: i64,
}

fn step(from: i64, until: i64, saturated: bool) -> ProbeStep {
    ProbeStep {
        speed: 1.0,
        window: [from, until],
        asked: 0,
        sent: 0,
        held_back: 0,
        answered: 0,
        failed: 0,
        asked_hz: 0.0,
        served_hz: 0.0,
        latency_ms_p50: 0.0,
        latency_ms_p99: 0.0,
        send_lag_ms_p99: 0.0,
        in_flight: [0, 0],
        cores_busy: 0.5,
        cores_own: 0.1,
        saturated,
    }
}

/// An arm that kept up for `calm` seconds, and then was saturated for `hold` seconds.
fn arm(calm: i64, hold: i64) -> ArmProbe {
    let hz = 1.0;
    ArmProbe {
        name: "baseline".to_owned(),
        manifest: String::new(),
        steps: vec![
            step(0, calm * SECOND, false),
            step(calm * SECOND, (calm + hold) * SECOND, true),
        ],
        ending: Ending::Saturated,
        knee: Some(Rate { hz, interval: Interval::try_new(hz, hz).unwrap() }),
        at_least_hz: 0.0,
        bottleneck: None,
        services: BTreeMap::new(),
        ended: Vec::new(),
        notes: Vec::new(),
    }
}

/// Poisson arrivals, at 35 % of what the workers can do for `calm` seconds and then at 130 %.
fn arrivals(workers: usize, mean: i64, [calm, hold]: [i64; 2], random: &mut Philox) -> Vec<i64> {
    let mut at = 0;
    let mut all = Vec::new();
    while at < (calm + hold) * SECOND {
        let load = if at < calm * SECOND { 0.35 } else { 1.3 };
        at += (random.exponential() * mean as f64 / (workers as f64 * load)) as i64 + 1;
        all.push(at);
    }
    all
}

/// What a proxy in front of a service sees; what is not answered by the end stays open.
fn visits(service: Service, seconds: [i64; 2], seed: u64) -> Vec<Exchange> {
    let mut random = Seed(seed).stream(0, 0, "probe");
    let times = arrivals(service.workers, service.mean, seconds, &mut random);
    let mut fifo = Fifo::new(service.workers);
    let over = (seconds[0] + seconds[1]) * SECOND;
    let visit = |(id, at): (usize, i64)| {
        let hold = (service.law.draw(&mut random) * service.mean as f64) as i64 + 1;
        let (_, end) = fifo.take(at + service.outside / 2, hold);
        let seen = exchange(id as u64, ("client", "web"), at, end + service.outside / 2);
        if end < over { seen } else { open(seen) }
    };
    times.into_iter().enumerate().map(visit).collect()
}

fn open(exchange: Exchange) -> Exchange {
    Exchange {
        response_started_at: None,
        response_ended_at: None,
        status: None,
        completeness: Completeness::RequestOnly,
        ..exchange
    }
}

fn found(exchanges: &[Exchange], seconds: [i64; 2]) -> ArmProbe {
    let mut probed = arm(seconds[0], seconds[1]);
    fill_in(exchanges, &[], 2, &mut probed);
    probed
}

fn range(service: Service, seed: u64) -> WorkerRange {
    let seconds = [8, 4];
    let probed = found(&visits(service, seconds, seed), seconds);
    let web = Bottleneck::Workers { service: "web".to_owned() };
    assert_eq!(probed.bottleneck, Some(web), "{service:?}");
    probed.services["web"].workers.unwrap()
}

/// With constant times, and up to a millisecond of 20 outside of the worker, nothing is left to doubt.
#[test]
fn finds_the_workers_exactly_where_times_are_constant() {
    for workers in [1, 2, 3, 4, 8, 12] {
        for outside in [MILLI / 10, MILLI] {
            for seed in 0..4 {
                let law = Law::Constant;
                let found = range(Service { workers, law, mean: 20 * MILLI, outside }, seed);
                let count = workers as u32;
                let exact = WorkerRange { least: count, likeliest: count, most: count };
                assert_eq!(found, exact, "{workers} workers, {outside} ns outside, seed {seed}");
            }
        }
    }
}

/// Where times vary, the range holds the truth and is narrow, and the likeliest number is mostly right.
///
/// Of 100 ranges that hold the truth with 95 %, 89 do with all but 1 % (binomial).
#[test]
fn says_the_range_where_times_vary() {
    for (law, right) in [(Law::Narrow, 95), (Law::Exponential, 85)] {
        let (mut held, mut likeliest) = (0, 0);
        for workers in [1, 2, 4, 8, 16] {
            for seed in 0..20 {
                let outside = MILLI / 2;
                let found = range(Service { workers, law, mean: 20 * MILLI, outside }, seed);
                let count = workers as u32;
                held += u32::from((found.least..=found.most).contains(&count));
                likeliest += u32::from(found.likeliest == count);
                assert!(found.most - found.least <= 1 + count / 4, "{law:?} {count}: {found:?}");
            }
        }
        println!("{law:?}: {held} of 100 ranges hold the truth, {likeliest} likeliest are right");
        assert!(held >= 89 && likeliest >= right, "{law:?}: {held} held, {likeliest} likeliest");
    }
}

/// `web` with eight workers calls `db` with two: both have a queue, and only one of them is why.
#[test]
fn names_the_called_service_whose_queue_fills_the_caller() {
    let seconds = [8, 4];
    let mut random = Seed(3).stream(0, 0, "pair");
    let (mut web, mut db) = (Fifo::new(8), Fifo::new(2));
    let mut exchanges = Vec::new();
    for (id, at) in arrivals(2, 20 * MILLI, seconds, &mut random).into_iter().enumerate() {
        // A worker of `web` is held until `db` has answered: it is free when the earliest of eight is.
        let start = web.peek(at);
        let hold = (Law::Narrow.draw(&mut random) * 20.0 * MILLI as f64) as i64;
        let asked = start + 2 * MILLI;
        let (_, answered) = db.take(asked, hold);
        web.take(at, answered + MILLI - start);
        let id = 2 * id as u64;
        let trace_id = Some(u128::from(id + 1).to_be_bytes());
        let over = |end: i64, seen: Exchange| {
            let seen = Exchange { trace_id, ..seen };
            if end < 12 * SECOND { seen } else { open(seen) }
        };
        let visit = exchange(id, ("client", "web"), at, answered + MILLI);
        exchanges.push(over(answered + MILLI, visit));
        if asked < 12 * SECOND {
            exchanges.push(over(answered, exchange(id + 1, ("web", "db"), asked, answered)));
        }
    }
    exchanges.sort_by_key(|exchange| (exchange.started_at, exchange.exchange_id));
    let probed = found(&exchanges, seconds);
    assert_eq!(probed.bottleneck, Some(Bottleneck::Workers { service: "db".to_owned() }));
    let range = |name: &str| probed.services[name].workers.map(|it| (it.least, it.most));
    assert_eq!((range("db"), range("web")), (Some((2, 2)), Some((8, 8))));
}

/// Nobody waits: all that can be said is how many were worked on at once.
#[test]
fn says_at_least_where_nothing_queued() {
    let seconds = [8, 4];
    let service = Service { workers: 1_000, law: Law::Narrow, mean: 20 * MILLI, outside: 0 };
    let mut random = Seed(1).stream(0, 0, "calm");
    let mut fifo = Fifo::new(service.workers);
    // Two at once on average.
    let times = arrivals(6, service.mean, [12, 0], &mut random);
    let visits = times.into_iter().enumerate().map(|(id, at)| {
        let hold = (service.law.draw(&mut random) * service.mean as f64) as i64;
        exchange(id as u64, ("client", "web"), at, fifo.take(at, hold).1)
    });
    let visits: Vec<Exchange> = visits.collect();
    let mut probed = arm(seconds[0], seconds[1]);
    (probed.knee, probed.ending) = (None, Ending::MaxRate);
    probed.steps.iter_mut().for_each(|step| step.saturated = false);
    fill_in(&visits, &[], 2, &mut probed);
    assert_eq!(probed.bottleneck, None);
    let web = &probed.services["web"];
    assert_eq!((web.workers, web.own_ms_saturated), (None, None));
    assert!((2..=3).contains(&web.workers_at_least), "{}", web.workers_at_least);
}

/// A service that computes on a machine whose cores are all busy has as many workers as it likes.
#[test]
fn tells_cores_from_workers() {
    let seconds = [8, 4];
    let service = Service { workers: 2, law: Law::Narrow, mean: 5 * MILLI, outside: 0 };
    let visits = visits(service, seconds, 1);
    let bottleneck = |cores_busy: f64, used: f64| {
        let mut probed = arm(seconds[0], seconds[1]);
        probed.steps[1].cores_busy = cores_busy;
        let samples = (0..120i64).map(|tenth| Metric {
            name: CPU_SECONDS.to_owned(),
            labels: BTreeMap::from([("service".to_owned(), "web".to_owned())]),
            at: Timestamp(tenth * SECOND / 10),
            value: used * tenth as f64 / 10.0,
        });
        fill_in(&visits, &samples.collect::<Vec<_>>(), 2, &mut probed);
        let workers = probed.services["web"].workers.map(|it| it.likeliest);
        (probed.bottleneck, workers)
    };
    let service = || "web".to_owned();
    assert_eq!(bottleneck(2.0, 1.8), (Some(Bottleneck::Processor { service: service() }), None));
    // It waits rather than computes, or cores are free: then it is workers.
    assert_eq!(bottleneck(2.0, 0.2), (Some(Bottleneck::Workers { service: service() }), Some(2)));
    assert_eq!(bottleneck(1.2, 1.0), (Some(Bottleneck::Workers { service: service() }), Some(2)));
}
