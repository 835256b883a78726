//! Real captures, of many tools and links, against what another dissector reads in them.
//!
//! They are not part of the repository. `PROPHECY_CAPTURES` says where they are; without them
//! these tests print that they skip.

#![expect(clippy::print_stdout, reason = "a skipped test and a difference must be seen")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use prophecy_capture::pcap::{
    CaptureCounts, Captured, Ids, PcapOptions, ReadCaptureError, ServiceNames, read_capture,
};
use prophecy_core::{Completeness, Exchange, Ledger};

/// Where the two readings differ, with the requests and the responses that are found here. The
/// causes are in `docs/formats/capture-differences.md`.
const DIFFERENCES: [(&str, (u64, u64)); 8] = [
    ("pcpp__4KHttpRequests.pcap", (273, 0)),
    ("pcpp__650HttpResponses.pcap", (0, 562)),
    ("suricata__http-gap-beyond-body.pcap", (3, 1)),
    ("zeek__http.content-length-overflow.pcap", (1, 0)),
    ("zeek__http.methods.pcap", (33, 49)),
    ("zeek__http.putty-upload.pcap", (2, 2)),
    ("zeek__http.query-method-non-standard-port.pcap", (1, 1)),
    ("zeek__http.query-method.pcap", (1, 1)),
];

/// What a capture held.
struct Reading {
    exchanges: Vec<Exchange>,
    counts: CaptureCounts,
}

fn captures() -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let folder = std::env::var_os("PROPHECY_CAPTURES")
        .map_or_else(|| workspace.join("../shared/captures"), PathBuf::from)
        .join("pcap");
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no captures in `{}`", folder.display());
    None
}

fn is_capture(path: &Path) -> bool {
    let name = path.file_name().unwrap().to_string_lossy();
    [".pcap", ".pcapng", ".cap", ".trace", ".gz", ".ntar", ".dmp"]
        .iter()
        .any(|end| name.ends_with(end))
}

fn captures_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(captures_below(&path));
        } else if is_capture(&path) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> Result<Reading, ReadCaptureError> {
    let options = PcapOptions { services: ServiceNames::default(), body_limit: 64 << 10 };
    let mut exchanges = Vec::new();
    let counts = read_capture(path, &options, &mut Ids::default(), &mut |captured| {
        if let Captured::Exchange(exchange) = captured {
            exchanges.push(exchange);
        }
    })?;
    Ok(Reading { exchanges, counts })
}

/// Counts the requests and the responses, interim ones included, of a truth file.
fn truth(path: &Path) -> Option<(u64, u64)> {
    let name = [path.to_str().unwrap(), ".truth.tsv"].concat();
    let text = String::from_utf8_lossy(&fs::read(name).ok()?).into_owned();
    if text.contains(" pdml_error=") {
        // The other dissector broke off, and its file says so.
        return None;
    }
    let count =
        |kind: &str| text.lines().filter(|line| line.split('\t').next() == Some(kind)).count();
    Some((count("http.req") as u64, count("http.resp") as u64))
}

/// Says whether a response was seen from its first byte to its last: the truth has no others.
fn is_whole(exchange: &Exchange) -> bool {
    exchange.response_ended_at.is_some() && exchange.completeness != Completeness::Gap
}

#[test]
fn finds_the_requests_and_responses_that_another_dissector_finds() {
    let Some(folder) = captures() else { return };
    let (mut equal, mut equal_by_heads, mut all) = (0, 0, 0);
    for path in captures_below(&folder.join("http1")) {
        let Some(expected) = truth(&path) else { continue };
        let Reading { exchanges, counts } = read(&path).unwrap();
        let requests = exchanges.iter().filter(|exchange| !exchange.method.is_empty()).count();
        let responses = exchanges.iter().filter(|exchange| is_whole(exchange)).count();
        let found = (requests as u64, responses as u64 + counts.interim_responses);
        let heads = exchanges.iter().filter(|exchange| exchange.status.is_some()).count();
        let by_heads = (found.0, heads as u64 + counts.interim_responses);
        equal_by_heads += u32::from(by_heads == expected);
        all += 1;
        equal += u32::from(found == expected);
        if found != expected {
            let name = path.file_name().unwrap().to_string_lossy();
            println!("{name}: {found:?} found, {expected:?} expected; {:?}", counts.oddities);
            assert!(DIFFERENCES.contains(&(&*name, found)), "{name} is not explained");
        }
    }
    println!("{equal} of {all} captures are equal; {equal_by_heads} if cut responses count");
    assert!(all > 0, "no capture with a truth file in `{}`", folder.display());
    assert!(f64::from(equal) >= 0.95 * f64::from(all), "{equal} of {all}");
}

#[test]
fn reads_every_capture_without_an_end_of_its_own() {
    let Some(folder) = captures() else { return };
    for path in captures_below(&folder) {
        let started = Instant::now();
        match read(&path) {
            Ok(Reading { exchanges, counts }) => {
                let CaptureCounts { packets, segments, .. } = counts;
                let mut ledger = Ledger { packets, segments, ..Ledger::default() };
                for exchange in exchanges {
                    ledger.exchanges.record(exchange.completeness);
                }
                assert_eq!(ledger.imbalance(), None, "{}", path.display());
            }
            Err(error) => println!("{error}"),
        }
        assert!(started.elapsed() < Duration::from_mins(1), "{}", path.display());
    }
}
