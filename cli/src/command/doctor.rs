//! `prophecy doctor`: what this machine can and cannot do, and the fix.

use std::env;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::exit_code::ExitCode;
use crate::printer::{Printer, Tone};

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Fine,
    Limited,
    Broken,
}

/// One check.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    state: State,
    finding: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

/// All checks, as JSON.
#[derive(Debug, Serialize)]
struct Checkup {
    schema: &'static str,
    checks: Vec<Check>,
}

/// Checks the machine and says what was found.
pub(crate) fn run(printer: &Printer) -> ExitCode {
    let checks = vec![
        cores(),
        load(),
        memory(),
        disk(),
        descriptors(),
        loopback(),
        timer(),
        processes(),
        key(),
        program("mesh", "the sample service of `prophecy demo`", "cargo build --release -p mesh"),
        program(
            "tcpdump",
            "records captures for `prophecy capture --pcap`",
            "apt-get install tcpdump",
        ),
    ];
    let broken = checks.iter().any(|check| check.state == State::Broken);
    let human = render(&checks, printer);
    printer.data(&human, &Checkup { schema: "prophecy.doctor/1", checks });
    if broken { ExitCode::Environment } else { ExitCode::Done }
}

fn render(checks: &[Check], printer: &Printer) -> String {
    let mut text = String::new();
    for check in checks {
        let (word, tone) = match check.state {
            State::Fine => ("fine   ", Tone::Good),
            State::Limited => ("limited", Tone::Warning),
            State::Broken => ("broken ", Tone::Bad),
        };
        text.push_str(&format!(
            "{}  {:12} {}\n",
            printer.paint(tone, word),
            check.name,
            check.finding
        ));
        if let Some(fix) = &check.fix {
            text.push_str(&format!("{:24}fix: {fix}\n", ""));
        }
    }
    let of = |state| checks.iter().filter(|check| check.state == state).count();
    text.push_str(&match (of(State::Broken), of(State::Limited)) {
        (0, 0) => "\nready: nothing stands in the way of a report\n".to_owned(),
        (0, limited) => format!("\nready, with {limited} limit(s) above\n"),
        (broken, _) => format!("\nnot ready: {broken} check(s) above need a fix\n"),
    });
    text
}

fn check(name: &'static str, state: State, finding: String, fix: &str) -> Check {
    let fix = (state != State::Fine).then(|| fix.to_owned());
    Check { name, state, finding, fix }
}

fn cores() -> Check {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let state = if count < 2 { State::Limited } else { State::Fine };
    let finding = format!("{count} core(s); three arms of a system run at once");
    check("cores", state, finding, "replay at a lower speed: `--speed 0.5`")
}

fn load() -> Check {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: f64 = text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0.0);
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    let state = if load > 0.5 * cores { State::Limited } else { State::Fine };
    let finding = format!("load average {load:.2} over the last minute");
    check("other load", state, finding, "end other work on this machine while a replay runs")
}

fn memory() -> Check {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available_kb: u64 = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0);
    let gib = available_kb as f64 / f64::from(1 << 20);
    let state = if gib < 1.0 { State::Limited } else { State::Fine };
    check(
        "memory",
        state,
        format!("{gib:.1} GiB available"),
        "free memory: three arms need three times the system's",
    )
}

fn disk() -> Check {
    let folder = env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    match rustix::fs::statvfs(&folder) {
        Ok(stat) => {
            let gib = (stat.f_bavail * stat.f_frsize) as f64 / f64::from(1 << 30);
            let state = if gib < 1.0 { State::Limited } else { State::Fine };
            check(
                "disk",
                state,
                format!("{gib:.1} GiB free in this folder"),
                "write datasets to another disk with `--out`",
            )
        }
        Err(error) => {
            check("disk", State::Broken, error.to_string(), "run it in a readable folder")
        }
    }
}

fn descriptors() -> Check {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let count = limit.unwrap_or(u64::MAX);
    let state = if count < 1_024 { State::Limited } else { State::Fine };
    let finding = limit
        .map_or_else(|| "no limit".to_owned(), |count| format!("at most {count} open at once"));
    check("descriptors", state, finding, "ulimit -n 65536")
}

fn loopback() -> Check {
    match TcpListener::bind(("127.0.0.1", 0)) {
        Ok(_) => check("loopback", State::Fine, "ports can be opened on 127.0.0.1".to_owned(), ""),
        Err(error) => {
            check("loopback", State::Broken, error.to_string(), "allow sockets on 127.0.0.1")
        }
    }
}

/// Sleeps 50 times for 1 ms and says how late it wakes; a replay's send lag cannot be better.
fn timer() -> Check {
    let step = Duration::from_millis(1);
    let mut late: Vec<u128> = (0..50)
        .map(|_| {
            let begun = Instant::now();
            std::thread::sleep(step);
            begun.elapsed().saturating_sub(step).as_micros()
        })
        .collect();
    late.sort_unstable();
    let (median, worst) = (late[25], late[49]);
    let state = if median > 1_000 || worst > 20_000 { State::Limited } else { State::Fine };
    let finding = format!("wakes {median} µs late (median of 50), {worst} µs at worst");
    check("timer", state, finding, "end other work, or use a machine that is not oversold")
}

fn processes() -> Check {
    match fs::read_to_string("/proc/self/stat") {
        Ok(_) => check("/proc", State::Fine, "processes can be measured".to_owned(), ""),
        Err(error) => check(
            "/proc",
            State::Broken,
            error.to_string(),
            "mount /proc; without it memory and CPU of the arms stay unknown",
        ),
    }
}

fn key() -> Check {
    let home = env::var_os("XDG_CONFIG_HOME").or_else(|| env::var_os("HOME"));
    match home {
        Some(_) => check("key", State::Fine, "a key of pseudonyms can be kept".to_owned(), ""),
        None => check(
            "key",
            State::Limited,
            "no home folder".to_owned(),
            "name a key with `--key-file`",
        ),
    }
}

fn program(name: &'static str, purpose: &str, fix: &str) -> Check {
    match find_program(name) {
        Some(path) => check(name, State::Fine, format!("found `{}`", path.display()), ""),
        None => check(name, State::Limited, format!("not found; {purpose}"), fix),
    }
}

/// Looks for a program beside this one, then in `PATH`.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let beside = env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_owned));
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = beside.into_iter().chain(env::split_paths(&path));
    folders.map(|folder| folder.join(name)).find(|candidate| candidate.is_file())
}
