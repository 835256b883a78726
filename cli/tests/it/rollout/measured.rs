//! Candidates that only what is measured gives away: what they use, and what Prometheus keeps of them.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{FRONT, Load, SETTINGS, Site};
use crate::prophecy::{Running, free_address, machine, wait_for};

/// Failed jobs a second of every group but the candidate, and of the candidate.
const RATES: [f64; 2] = [2.0, 20.0];

impl Site {
    /// Writes a build that runs another program for the entry.
    fn write_build(&self, name: &str, front: &str) {
        fs::write(self.path(&format!("{name}-front.yaml")), front).expect("written");
        let manifest = format!(
            "extends: system.yaml\nservices: {{ front: {{ run: {{ command: [mesh, --config, {name}-front.yaml] }} }} }}\n"
        );
        fs::write(self.path(&format!("{name}.yaml")), manifest).expect("written");
    }

    fn settings(&self, analysis: &str, more: &str) {
        let settings = SETTINGS.replace("analysis: {", &format!("analysis: {{ {analysis},"));
        fs::write(self.path("settings.yaml"), format!("{settings}{more}")).expect("written");
    }
}

/// Counts failed jobs of the groups of the newest rollout, as a service with a counter would.
fn export(rollouts: PathBuf, rates: [f64; 2]) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let address = listener.local_addr().expect("bound");
    let began = Instant::now();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream);
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|count| count > 2) {
                line.clear();
            }
            let newest = newest(&rollouts);
            let seconds = began.elapsed().as_secs_f64();
            let body = format!(
                "# TYPE jobs_failed_total counter\njobs_failed_total{{group=\"{newest}-control\"}} {:.0}\njobs_failed_total{{group=\"{newest}\"}} {:.0}\n",
                rates[0] * seconds,
                rates[1] * seconds
            );
            let text = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            drop(reader.into_inner().write_all(text.as_bytes()));
        }
    });
    address
}

fn newest(rollouts: &Path) -> String {
    let entries = fs::read_dir(rollouts).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.max().unwrap_or_default()
}

/// Starts Prometheus on what is exported, or says why not.
#[expect(clippy::print_stdout, reason = "a test says why it was skipped")]
fn prometheus(folder: &Path, exporter: SocketAddr) -> Option<(Running, SocketAddr)> {
    let config = format!(
        "global: {{ scrape_interval: 1s }}\nscrape_configs: [{{ job_name: jobs, static_configs: [{{ targets: ['{exporter}'] }}] }}]\n"
    );
    let path = folder.join("prometheus.yaml");
    fs::write(&path, config).expect("written");
    let address = free_address();
    let started = Command::new("prometheus")
        .arg(format!("--config.file={}", path.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("prometheus").display()))
        .arg(format!("--web.listen-address={address}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(child) = started else {
        println!("skipped: `prometheus` is not installed");
        return None;
    };
    let running = Running(child);
    wait_for(address);
    Some((running, address))
}

fn metric(address: SocketAddr, held_to: &str) -> String {
    format!(
        "metrics: [{{ name: jobs, provider: {{ prometheus: 'http://{address}' }}, query: 'sum(rate(jobs_failed_total{{group=\"{{{{group}}}}\"}}[4s]))', interval: 1s, unit: jobs/s, needed: true, {held_to} }}]\n"
    )
}

#[test]
fn stops_a_candidate_that_keeps_more_and_more_memory() {
    let _machine = machine();
    let site = Site::start();
    let load = Load::start(site.listen);
    site.write_build(
        "leaking",
        &FRONT.replace("    steps:\n", "    steps:\n      - leak: 64KiB\n"),
    );
    site.settings("alpha: 0.1", "");
    let stopped = site.rollout("leaking", &["--steps", "50%", "--observe", "60s"]);
    assert_eq!(stopped.code, 6, "{}{}", stopped.stdout, stopped.stderr);
    let said = &stopped.stdout;
    assert!(said.contains("gauge/memory: ") || said.contains("growth/memory: "), "{said}");
    site.settings("ceilings: { memory_bytes: 1MiB }", "");
    let stopped = site.rollout("good", &["--strategy", "blue-green", "--soak", "30s"]);
    assert_eq!(stopped.code, 6, "{}{}", stopped.stdout, stopped.stderr);
    assert!(stopped.stdout.contains("ceiling/memory: "), "{}", stopped.stdout);
    assert!(site.serving().contains("first"), "{}", site.serving());
    let (asked, lost) = load.end();
    assert!(lost.is_empty(), "{} of {asked}: {:?}", lost.len(), &lost[..lost.len().min(5)]);
}

#[test]
fn stops_a_candidate_that_only_prometheus_sees_and_promotes_none_that_it_does_not() {
    let _machine = machine();
    let site = Site::start();
    let exporter = export(site.path("env/rollouts"), RATES);
    let Some((server, address)) = prometheus(site.folder.path(), exporter) else { return };
    let load = Load::start(site.listen);
    let others = "dry_run: [gauge/cpu, gauge/memory, gauge/descriptors, gauge/threads, growth/memory, growth/descriptors]";
    let analysis = format!("alpha: 0.1, {others}");
    site.settings(&analysis, &metric(address, "fails: above, slack: 1"));
    let stopped = site.rollout("good", &["--steps", "50%", "--observe", "60s"]);
    assert_eq!(stopped.code, 6, "{}{}", stopped.stdout, stopped.stderr);
    assert!(stopped.stdout.contains("metric/jobs: a mean of "), "{}", stopped.stdout);

    // Within its limit, until nobody answers any more.
    site.settings("alpha: 0.1", &metric(address, "max: 25"));
    let detached = site.rollout("better", &["--steps", "50%", "--observe", "6s", "--detach"]);
    assert_eq!(detached.code, 0, "{}", detached.stderr);
    site.wait_for("observing", Duration::from_mins(1));
    std::thread::sleep(Duration::from_secs(3));
    drop(server);
    site.wait_for("rolled_back", Duration::from_mins(1));
    let journal = site.journal();
    assert!(journal.contains("metric/jobs"), "{journal}");
    assert!(journal.contains("cannot be reached"), "{journal}");
    assert!(!journal.contains("\"promoting\""), "{journal}");
    assert!(site.serving().contains("first"), "{}", site.serving());
    let (asked, lost) = load.end();
    assert!(lost.is_empty(), "{} of {asked}: {:?}", lost.len(), &lost[..lost.len().min(5)]);
}
