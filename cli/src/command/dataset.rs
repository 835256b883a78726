//! `prophecy dataset`: what is in one, and whether it is whole.

use std::collections::BTreeMap;
use std::path::Path;

use prophecy_core::quantile;
use prophecy_core::time::human_nanos;
use prophecy_core::{Exchange, Timestamp};
use prophecy_datasets::Dataset;
use prophecy_datasets::manifest::State;
use serde::Serialize;

use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::printer::{Printer, Tone};

/// Routes listed at most.
const ROUTES: usize = 20;

/// What is in a dataset, as JSON.
#[derive(Debug, Serialize)]
struct Info<'a> {
    schema: &'static str,
    manifest: &'a prophecy_datasets::Manifest,
    routes: Vec<RouteInfo>,
}

/// What was seen on one route.
#[derive(Debug, Serialize)]
struct RouteInfo {
    destination: String,
    route: String,
    exchanges: usize,
    failed: usize,
    latency_ms_p50: Option<f64>,
    latency_ms_p99: Option<f64>,
}

/// Says what is in a dataset.
pub(crate) fn info(path: &Path, printer: &Printer) -> Result<ExitCode, Failure> {
    let dataset = Dataset::open(path)?;
    let exchanges = dataset.exchanges()?;
    let routes = routes(&exchanges);
    let manifest = dataset.manifest();
    let mut human = format!("dataset    {}\n", path.display());
    if manifest.state == State::Recording {
        human.push_str("state      not finished; see `prophecy dataset verify`\n");
    }
    if let Some([from, to]) = manifest.window {
        let length = human_nanos(Timestamp(to).nanos_since(Timestamp(from)));
        human.push_str(&format!(
            "window     {} to {} ({length})\n",
            Timestamp(from),
            Timestamp(to)
        ));
    }
    let policy = &manifest.anonymization;
    human.push_str(&format!("policy     {} (key {})\n", policy.policy, policy.key_id));
    if policy.policy == "synthetic" {
        human.push_str("           keeps everything: for test systems only\n");
    }
    for (table, parts) in &manifest.tables {
        human.push_str(&format!(
            "{table:10} {} rows in {} part(s)\n",
            manifest.rows(table),
            parts.len()
        ));
    }
    let ledger = &manifest.ledger.exchanges;
    human.push_str(&format!(
        "ledger     {} seen, {} recorded, {} shed\n\n",
        ledger.seen, ledger.recorded, ledger.shed
    ));
    for route in routes.iter().take(ROUTES) {
        let millis = |value: Option<f64>| {
            value.map_or_else(|| "–".to_owned(), |value| format!("{value:.1} ms"))
        };
        human.push_str(&format!(
            "{:>7}  {:12} {:40} p50 {:>9}  p99 {:>9}  {} failed\n",
            route.exchanges,
            route.destination,
            route.route,
            millis(route.latency_ms_p50),
            millis(route.latency_ms_p99),
            route.failed
        ));
    }
    if routes.len() > ROUTES {
        human.push_str(&format!("         … and {} more routes\n", routes.len() - ROUTES));
    }
    printer.data(&human, &Info { schema: "prophecy.dataset-info/1", manifest, routes });
    Ok(ExitCode::Done)
}

fn routes(exchanges: &[Exchange]) -> Vec<RouteInfo> {
    let mut by_route: BTreeMap<(&str, &str), Vec<&Exchange>> = BTreeMap::new();
    for exchange in exchanges {
        by_route.entry((&exchange.destination, &exchange.route)).or_default().push(exchange);
    }
    let mut routes: Vec<RouteInfo> = by_route
        .into_iter()
        .map(|((destination, route), exchanges)| {
            let mut latencies: Vec<u64> =
                exchanges.iter().filter_map(|exchange| exchange.latency_nanos()).collect();
            let mut at =
                |level| quantile::select(&mut latencies, level).map(|nanos| nanos as f64 / 1e6);
            RouteInfo {
                destination: destination.to_owned(),
                route: route.to_owned(),
                exchanges: exchanges.len(),
                failed: exchanges.iter().filter(|exchange| exchange.failed()).count(),
                latency_ms_p50: at(0.5),
                latency_ms_p99: at(0.99),
            }
        })
        .collect();
    routes.sort_by_key(|route| std::cmp::Reverse(route.exchanges));
    routes
}

/// Says whether a dataset is whole.
pub(crate) fn verify(path: &Path, printer: &Printer) -> Result<ExitCode, Failure> {
    let found = prophecy_datasets::verify(path)?;
    let mut human = format!("{} rows in {} part(s) checked\n", found.rows, found.parts);
    for problem in &found.problems {
        human.push_str(&format!("{} {problem}\n", printer.paint(Tone::Bad, "problem:")));
    }
    for note in &found.notes {
        human.push_str(&format!("{} {note}\n", printer.paint(Tone::Warning, "note:")));
    }
    let whole = found.passed();
    human.push_str(if whole {
        "whole: every part is as it was written, and the ledger adds up"
    } else {
        "not whole"
    });
    printer.data(&human, &found);
    Ok(if whole { ExitCode::Done } else { ExitCode::No })
}
