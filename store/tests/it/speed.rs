//! How fast the store reads; run with `--ignored --nocapture`.

use std::time::{Duration, Instant};

use prophecy_store::{Page, PredictionFilter, SettledFilter, Store};

use crate::place::{Place, each};
use crate::sample::{event, id, outcome, prediction};

const PREDICTIONS: u64 = 10_000;

/// Reads as fast as `tasks` readers can for three seconds, and says how many and how slow.
#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
async fn measure(name: &str, store: &Store, tasks: u64) -> (f64, Duration) {
    let (started, span) = (Instant::now(), Duration::from_secs(3));
    let mut readers = tokio::task::JoinSet::new();
    for task in 0..tasks {
        let (store, name) = (store.clone(), name.to_owned());
        readers.spawn(async move {
            let (mut n, mut times) = (task * 977, Vec::new());
            while started.elapsed() < span {
                let began = Instant::now();
                let key = id(n * 7_919 % PREDICTIONS);
                match name.as_str() {
                    "get a prediction" => drop(store.get_prediction(&key).await.expect("read")),
                    "its claims" => drop(store.list_claims(&key).await.expect("read")),
                    "its report" => drop(store.get_report(&key).await.expect("read")),
                    _ => {
                        let all = PredictionFilter::default();
                        let page = Page::newest(50).after(key);
                        drop(store.list_predictions(&all, &page).await.expect("read"));
                    }
                }
                times.push(began.elapsed());
                n += 1;
            }
            times
        });
    }
    let mut times: Vec<Duration> = readers.join_all().await.into_iter().flatten().collect();
    times.sort_unstable();
    let rate = times.len() as f64 / started.elapsed().as_secs_f64();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!("{name}: {rate:.0}/s, p50 {:?}, p99 {:?}, max {:?}", at(0.5), at(0.99), at(1.0));
    (rate, at(0.99))
}

/// What is asked of SQLite; PostgreSQL is measured beside it, on a machine it shares with the test.
fn is_fast(rate: f64, p99: Duration) -> bool {
    rate >= 1_000.0 && p99 <= Duration::from_millis(20)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures for a minute"]
async fn reads_a_thousand_times_a_second_within_20_ms() {
    each(async |place: Place| {
        println!("{}", if place.is_postgres() { "PostgreSQL" } else { "SQLite" });
        let store = place.store().await;
        let started = Instant::now();
        for n in 0..PREDICTIONS {
            let mut new = prediction(n);
            new.report_json = "x".repeat(20_000);
            store.insert_prediction(&new).await.expect("read");
            let (outcome, claims) = outcome(n);
            store.insert_outcome(&outcome, &claims).await.expect("read");
        }
        let rate = 2.0 * PREDICTIONS as f64 / started.elapsed().as_secs_f64();
        println!("transactions that write: {rate:.0}/s");
        let started = Instant::now();
        let filter = SettledFilter::default();
        let settled = store.list_settled_claims(&filter, 100_000).await.expect("read");
        println!("{} settled claims in {:?}", settled.len(), started.elapsed());
        for name in ["get a prediction", "its claims", "its report", "a page of 50"] {
            let (rate, p99) = measure(name, &store, 16).await;
            assert!(place.is_postgres() || is_fast(rate, p99), "{name}");
        }
        let writer = store.clone();
        let writing = tokio::spawn(async move {
            for n in 0.. {
                writer.insert_event(&event(n)).await.expect("read");
            }
        });
        let (rate, p99) = measure("a page of 50 while another writes", &store, 16).await;
        writing.abort();
        assert!(place.is_postgres() || is_fast(rate, p99));
    })
    .await;
}
