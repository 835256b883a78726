//! Our router and HAProxy in the same run, one thread each, in front of the same two instances (nginx).
//!
//! Usage: `router-bench <prophecy program> [rounds] [seconds]`. Needs `haproxy`, `nginx`, `wrk` and `taskset`.
//! The proxies have one core, the instances and the load the other. Runs are interleaved, so that whatever
//! else the machine does meets all of them; ratios are of the same round.

mod open_loop;
mod proxy;

use std::error::Error;
use std::process::Command;
use std::time::Duration;

use crate::proxy::{Proxies, Target};

/// What one round showed of one target.
struct Round {
    rate_hz: f64,
    cpu_us: Option<f64>,
    p50_us: f64,
    p99_us: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let program = arguments.next().ok_or("usage: router-bench <prophecy> [rounds] [seconds]")?;
    let rounds: usize = arguments.next().map_or(Ok(3), |it| it.parse())?;
    let seconds: u64 = arguments.next().map_or(Ok(5), |it| it.parse())?;
    let proxies = Proxies::start(&program)?;
    let targets = proxies.targets();
    let mut shown: Vec<Vec<Round>> = targets.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        for step in 0..targets.len() {
            let index = (round + step) % targets.len();
            shown[index].push(measure(&targets[index], seconds)?);
        }
    }
    println!("target    round   req/s   cpu us/req   p50 us   p99 us (open loop, 2,000 req/s)");
    for (target, rounds) in targets.iter().zip(&shown) {
        for (index, it) in rounds.iter().enumerate() {
            let cpu = it.cpu_us.map_or_else(|| "-".to_owned(), |cpu| format!("{cpu:.1}"));
            let (name, rate, p50, p99) = (target.name, it.rate_hz, it.p50_us, it.p99_us);
            println!("{name:<9} {index:>5} {rate:>7.0} {cpu:>12} {p50:>8.0} {p99:>8.0}");
        }
    }
    let [direct, haproxy, router] = &shown[..] else { return Err("three targets".into()) };
    let ratio = median(haproxy.iter().zip(router).map(|(peer, ours)| ours.rate_hz / peer.rate_hz));
    println!("requests/s, router over haproxy, median of rounds: {:.0} %", 100.0 * ratio);
    for (name, of) in [("p50", 0), ("p99", 1)] {
        let pick = |it: &Round| if of == 0 { it.p50_us } else { it.p99_us };
        let added =
            |of: &[Round]| median(of.iter().zip(direct).map(|(it, floor)| pick(it) - pick(floor)));
        println!("added {name}: router {:.0} us, haproxy {:.0} us", added(router), added(haproxy));
    }
    Ok(())
}

fn measure(target: &Target, seconds: u64) -> Result<Round, Box<dyn Error>> {
    let before = target.cpu_seconds()?;
    let url = format!("http://{}/", target.address);
    let output = Command::new("taskset")
        .args(["-c", "1", "wrk", "-t1", "-c32", &format!("-d{seconds}s"), &url])
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    if text.contains("Non-2xx") || text.contains("Socket errors") {
        return Err(format!("{}: requests failed: {text}", target.name).into());
    }
    let line = text.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
    let rate_hz: f64 = line.ok_or("wrk did not say a rate")?.trim().parse()?;
    let total = text.lines().find_map(|line| line.trim().split_once(" requests in "));
    let total: f64 = total.ok_or("wrk did not say a count")?.0.parse()?;
    let after = target.cpu_seconds()?;
    let cpu_us = before.zip(after).map(|(before, after)| (after - before) / total * 1e6);
    let mut latencies = open_loop::run(target.address, 2_000, Duration::from_secs(seconds))?;
    latencies.sort_unstable();
    let at = |level: f64| {
        let rank = (level * latencies.len() as f64).ceil() as usize;
        latencies[rank.saturating_sub(1)].as_secs_f64() * 1e6
    };
    Ok(Round { rate_hz, cpu_us, p50_us: at(0.5), p99_us: at(0.99) })
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    }
}
