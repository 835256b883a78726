//! What is known exactly, and what the simulator says: relative half-widths of half a percent at 99 %.
//!
//! `make oracles` runs it; the departures are those of the event engine, as the tests show.

use prophecy_core::{Philox, Seed};
use prophecy_simulator::closed_form::{Mmc, mg1_mean_wait};
use prophecy_simulator::recursion::Departures;
use prophecy_simulator::replication::in_order;

/// The 0.995 quantile of Student's distribution with 19 degrees of freedom.
const T_19: f64 = 2.860_934_6;
const REPLICATIONS: u32 = 20;
const UNIT: f64 = 1e9;

/// Draws service times in units.
type Service = fn(&mut Philox) -> f64;

struct Case {
    name: &'static str,
    workers: u32,
    arrival_rate: f64,
    service: Service,
    requests: u64,
    exact: f64,
    /// The level of a quantile of the whole time; absent, the mean wait.
    level: Option<f64>,
}

fn main() {
    let mut failed = 0;
    println!("{:28} {:>12} {:>12} {:>9}", "", "exact", "simulated", "± 99 %");
    for case in cases() {
        let values = in_order(REPLICATIONS, 2, |index| case.run(index));
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|it| (it - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let half = T_19 * (variance / n).sqrt();
        let inside = (mean - case.exact).abs() <= half;
        let narrow = half <= 0.005 * case.exact;
        failed += u32::from(!(inside && narrow));
        println!(
            "{:28} {:>12.6} {:>12.6} {:>8.3} %  {}{}",
            case.name,
            case.exact,
            mean,
            100.0 * half / case.exact,
            if inside { "inside" } else { "OUTSIDE" },
            if narrow { "" } else { ", too wide" }
        );
    }
    println!("{failed} not inside half a percent");
}

fn cases() -> Vec<Case> {
    let exponential: Service = Philox::exponential;
    let constant: Service = |_| 1.0;
    let erlang: Service = |stream| 0.5 * (stream.exponential() + stream.exponential());
    // Balanced means with a squared coefficient of variation of 4 and of 10.
    let hyper_4: Service = |stream| hyperexponential(stream, 4.0);
    let hyper_10: Service = |stream| hyperexponential(stream, 10.0);
    let mmc = |workers: u32, arrival_rate: f64| Mmc { arrival_rate, service_rate: 1.0, workers };
    let mut cases = Vec::new();
    let mut add = |name, workers, arrival_rate, service, requests, exact: Option<f64>, level| {
        let exact = exact.expect("stable");
        cases.push(Case { name, workers, arrival_rate, service, requests, exact, level });
    };
    for (name, workers, rate, requests) in [
        ("M/M/1 0.5 mean wait", 1, 0.5, 4_000_000),
        ("M/M/1 0.8 mean wait", 1, 0.8, 8_000_000),
        ("M/M/1 0.9 mean wait", 1, 0.9, 30_000_000),
        ("M/M/3 2 mean wait", 3, 2.0, 4_000_000),
        ("M/M/10 8 mean wait", 10, 8.0, 8_000_000),
        ("M/M/16 14.4 mean wait", 16, 14.4, 20_000_000),
        ("M/M/20 18 mean wait", 20, 18.0, 30_000_000),
    ] {
        let exact = mmc(workers, rate).mean_wait();
        add(name, workers, rate, exponential, requests, exact, None);
    }
    for (name, rate, requests) in
        [("M/D/1 0.5 mean wait", 0.5, 2_000_000), ("M/D/1 0.8 mean wait", 0.8, 6_000_000)]
    {
        add(name, 1, rate, constant, requests, mg1_mean_wait(rate, 1.0, 0.0), None);
    }
    add("M/E2/1 0.8 mean wait", 1, 0.8, erlang, 8_000_000, mg1_mean_wait(0.8, 1.0, 0.5), None);
    add("M/H2/1 scv 4, 0.8", 1, 0.8, hyper_4, 24_000_000, mg1_mean_wait(0.8, 1.0, 4.0), None);
    add("M/H2/1 scv 10, 0.5", 1, 0.5, hyper_10, 16_000_000, mg1_mean_wait(0.5, 1.0, 10.0), None);
    for (name, workers, rate, level) in [
        ("M/M/1 0.8 p50", 1, 0.8, 0.5),
        ("M/M/1 0.8 p95", 1, 0.8, 0.95),
        ("M/M/1 0.8 p99", 1, 0.8, 0.99),
        ("M/M/3 2 p99", 3, 2.0, 0.99),
        ("M/M/10 8 p99", 10, 8.0, 0.99),
        ("M/M/20 18 p99", 20, 18.0, 0.99),
    ] {
        let exact = mmc(workers, rate).sojourn_quantile(level);
        add(name, workers, rate, exponential, 10_000_000, exact, Some(level));
    }
    cases
}

fn hyperexponential(stream: &mut Philox, variation: f64) -> f64 {
    let first = 0.5 * (1.0 + ((variation - 1.0) / (variation + 1.0)).sqrt());
    let share = if stream.uniform() < first { first } else { 1.0 - first };
    stream.exponential() / (2.0 * share)
}

// === impl Case ===

impl Case {
    fn run(&self, index: u32) -> f64 {
        let seed = Seed(31).derive(self.name);
        let mut arrivals = seed.stream(index, 0, "arrivals");
        let mut services = seed.stream(index, 0, "services");
        let mut station = Departures::new(self.workers);
        let warm_up = self.requests / 50;
        let mut at = 0.0;
        let mut waits = 0.0;
        let mut times = Vec::new();
        for number in 0..self.requests + warm_up {
            at += arrivals.exponential() / self.arrival_rate;
            let (nanos, own) = ((at * UNIT) as u64, ((self.service)(&mut services) * UNIT) as u64);
            let took = station.depart(nanos, own) - nanos;
            if number < warm_up {
                continue;
            }
            match self.level {
                None => waits += (took - own) as f64,
                Some(_) => times.push(took as f32),
            }
        }
        let Some(level) = self.level else { return waits / self.requests as f64 / UNIT };
        let rank = ((level * times.len() as f64) as usize).min(times.len() - 1);
        let (_, value, _) = times.select_nth_unstable_by(rank, f32::total_cmp);
        f64::from(*value) / UNIT
    }
}
