//! A window gives one model, however it is cut and read.

use std::path::Path;

use prophecy_anonymizer::{Key, Policy, Sanitizer};
use prophecy_core::{Exchange, Ledger, Philox, Seed, System};
use prophecy_datasets::{Dataset, DatasetOptions, DatasetWriter};
use prophecy_simulator::model_of;
use prophecy_twin::fit::{self, Fitted, Reading, summarize_rows};

use crate::traffic::{Fifo, MILLI, exchange, system};

const SERVICES: [&str; 3] = ["web", "app", "db"];

fn time(random: &mut Philox, mean_ms: f64) -> i64 {
    (mean_ms * MILLI as f64 * random.exponential()) as i64 + 1
}

/// Requests at `web`, which works on four at once; each asks `app` twice, which asks `db` once. One in a
/// hundred takes a second longer than the others.
fn requests(count: u64) -> Vec<Exchange> {
    let mut random = Seed(5).stream(0, 0, "slices");
    let (mut at, mut fifo, mut exchanges) = (0, Fifo::new(4), Vec::new());
    for request in 0..count {
        at += time(&mut random, 16.0);
        let trace_id = Some(u128::from(request + 1).to_be_bytes());
        // The length of a visit is known before it is taken up, so that the queue can be run.
        let mut steps: Vec<i64> = (0..11).map(|_| time(&mut random, 4.0)).collect();
        steps[10] += if request % 100 == 50 { 1_000 * MILLI } else { 0 };
        let (start, end) = fifo.take(at, steps.iter().sum());
        let mut now = start;
        let mut id = 5 * request;
        let mut add = |edge, from, to| {
            exchanges.push(Exchange { trace_id, ..exchange(id, edge, from, to) });
            id += 1;
        };
        for call in steps[..10].chunks(5) {
            let (asked, answered) = (now + call[0] + call[1], now + call[..3].iter().sum::<i64>());
            add(("app", "db"), asked, answered);
            add(("web", "app"), now + call[0], answered + call[3]);
            now = answered + call[3] + call[4];
        }
        add(("client", "web"), at, end);
    }
    exchanges
}

/// Writes exchanges as a capture does, by their ends, into parts of so many rows.
fn write(folder: &Path, exchanges: &[Exchange], part_rows: usize) -> Dataset {
    let policy = Policy::named("synthetic").expect("built in");
    let sanitizer = Sanitizer::new(policy, Key::from_bytes([7; 32]));
    let options = DatasetOptions {
        sources: vec!["a test".to_owned()],
        policy_name: sanitizer.policy().name().to_owned(),
        policy_digest: sanitizer.policy().digest(),
        key_id: sanitizer.key_id(),
        part_rows,
    };
    let mut writer = DatasetWriter::create(folder, options).expect("creates");
    let mut by_end = exchanges.to_vec();
    by_end.sort_by_key(|exchange| exchange.response_ended_at);
    for exchange in by_end {
        writer.exchange(sanitizer.exchange(exchange)).expect("writes");
    }
    writer.finish(&Ledger::default()).expect("finishes");
    Dataset::open(folder).expect("opens")
}

fn sorted(mut exchanges: Vec<Exchange>) -> Vec<Exchange> {
    exchanges.sort_by_key(|exchange| (exchange.started_at, exchange.exchange_id));
    exchanges
}

fn same(a: &Fitted, b: &Fitted, what: &str) {
    assert_eq!(a.model.to_json(), b.model.to_json(), "{what}");
    assert_eq!(a.held_out.model.to_json(), b.held_out.model.to_json(), "{what}");
    assert_eq!(a.held_out.rest, b.held_out.rest, "{what}");
    assert_eq!((a.arrivals, &a.notes), (b.arrivals, &b.notes), "{what}");
}

#[test]
fn parts_and_threads_change_nothing() {
    let exchanges = requests(2_000);
    let system = system(&SERVICES, ", concurrency: 4");
    let whole = summarize_rows(&exchanges, &[], &system, Reading { threads: 1, slice_rows: 3_000 });
    for (part_rows, threads) in [(100_000, 1), (700, 1), (700, 2), (64, 3), (64, 8)] {
        let folder = tempfile::tempdir().expect("a folder");
        let dataset = write(folder.path(), &exchanges, part_rows);
        let reading = Reading { threads, slice_rows: 3_000 };
        let fitted = fit::summarize(&dataset, &system, reading).expect("reads");
        same(&fitted, &whole, &format!("parts of {part_rows}, {threads} threads"));
    }
}

#[test]
fn slices_change_nothing_where_links_are_certain() {
    let exchanges = requests(2_000);
    for fields in [", concurrency: 4", ""] {
        let system = system(&SERVICES, fields);
        let fitted = |slice_rows| {
            summarize_rows(&exchanges, &[], &system, Reading { threads: 1, slice_rows })
        };
        let whole = fitted(usize::MAX);
        assert_eq!(whole.model.services["web"].workers, Some(4), "{fields}");
        for slice_rows in [9_999, 5_001, 2_000] {
            same(&fitted(slice_rows), &whole, &format!("{slice_rows} at once, {fields}"));
        }
    }
    // Where the workers are declared, a slice may hold less than a request.
    let system = system(&SERVICES, ", concurrency: 4");
    let [whole, cut] = [usize::MAX, 3].map(|slice_rows| {
        summarize_rows(&exchanges, &[], &system, Reading { threads: 1, slice_rows })
    });
    same(&cut, &whole, "three at once");
}

#[test]
fn summaries_give_the_model_of_all_visits() {
    let exchanges = sorted(requests(2_000));
    for fields in [", concurrency: 4", ""] {
        let system = system(&SERVICES, fields);
        let fitted = summarize_rows(&exchanges, &[], &system, Reading::default());
        let observed = fit::observe_rows(&exchanges, &[], &system, 0);
        let model = model_of(&observed.observations, &system);
        assert_eq!(fitted.model.to_json(), model.to_json());
        assert_eq!(fitted.notes, observed.notes);
        assert_eq!(fitted.arrivals, observed.observations.arrivals.len() as u64);
    }
}

/// Without traces, what a cut changes is as small as what chance does.
#[test]
fn slices_change_little_where_links_are_likely() {
    let exchanges: Vec<Exchange> = requests(2_000)
        .into_iter()
        .map(|exchange| Exchange { trace_id: None, ..exchange })
        .collect();
    let system: System = system(&SERVICES, ", concurrency: 4");
    let calls = |slice_rows| {
        let fitted = summarize_rows(&exchanges, &[], &system, Reading { threads: 1, slice_rows });
        let calls = &fitted.model.services["web"].routes["GET /web"].calls;
        calls[0].counts.iter().zip(0..).map(|(share, count)| share * f64::from(count)).sum::<f64>()
    };
    let (whole, cut) = (calls(usize::MAX), calls(500));
    // Two calls each; as many as a tenth of the visits may get another's.
    assert!((whole - 2.0).abs() < 0.05 && (cut - whole).abs() < 0.01, "{whole}, {cut}");
}
