//! Whole captures, from the first byte to a complete dataset.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use prophecy_anonymizer::{Key, Policy};
use prophecy_capture::agent::{
    AgentOptions, CapturePcapError, CaptureProxyError, EdgeOptions, FileProgress, Output,
    PcapCaptureOptions, ProxyProgress, capture_pcap, capture_proxy,
};
use prophecy_capture::pcap::{PcapOptions, ReadCaptureError, ServiceNames};
use prophecy_datasets::verify;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::mirror::rig::{Upstream, read_exactly};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn output(folder: &tempfile::TempDir) -> Output {
    Output {
        dataset: folder.path().join("dataset"),
        policy: Policy::named("synthetic").unwrap(),
        key: Key::from_bytes([7; 32]),
    }
}

#[tokio::test]
async fn captures_several_edges_into_one_dataset() {
    let folder = tempfile::tempdir().unwrap();
    let (shop, stock) = (Upstream::answering(OK).await, Upstream::answering(OK).await);
    let edge = |upstream: &Upstream, source: &str, destination: &str| EdgeOptions {
        listen: "127.0.0.1:0".parse().unwrap(),
        upstream: format!("http://{}", upstream.address),
        source: source.to_owned(),
        destination: destination.to_owned(),
    };
    let edges = vec![edge(&shop, "client", "shop"), edge(&stock, "shop", "stock")];
    let (listening, mut is_listening) = tokio::sync::mpsc::unbounded_channel();
    let last = RefCell::new(None);
    let progress = |progress| match progress {
        ProxyProgress::Listening { address, .. } => listening.send(address).unwrap(),
        ProxyProgress::Counts(counts) => *last.borrow_mut() = Some(counts),
    };
    let stop = async {
        for count in [3, 2] {
            let mut client = TcpStream::connect(is_listening.recv().await.unwrap()).await.unwrap();
            for _ in 0..count {
                client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
                assert_eq!(read_exactly(&mut client, OK.len()).await, OK);
            }
        }
    };
    let options = AgentOptions::new(edges, output(&folder), &progress);
    let summary = capture_proxy(options, stop).await.unwrap();
    assert_eq!(summary.manifest.ledger.exchanges.complete, 5);
    assert_eq!(summary.manifest.ledger.imbalance(), None);
    assert_eq!(last.borrow().unwrap().seen, 5);
}

#[tokio::test]
async fn leaves_no_dataset_behind_when_an_address_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (shop, taken) = (Upstream::answering(OK).await, Upstream::answering(OK).await);
    let edges =
        vec![EdgeOptions::entry(taken.address, &format!("http://{}", shop.address), "shop")];
    let options = AgentOptions::new(edges, output(&folder), &|_| ());
    let error = capture_proxy(options, std::future::pending()).await.unwrap_err();
    assert!(matches!(error, CaptureProxyError::Start(_)), "{error}");
    assert!(!folder.path().join("dataset").exists());
}

#[tokio::test]
async fn refuses_to_capture_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let options = AgentOptions::new(Vec::new(), output(&folder), &|_| ());
    let error = capture_proxy(options, std::future::pending()).await.unwrap_err();
    assert!(matches!(error, CaptureProxyError::NoEdge), "{error}");
}

/// Returns a capture (pcap, raw IPv4) of whole exchanges, one connection each.
fn pcap(exchange_count: u16) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 101] {
        file.extend(word.to_le_bytes());
    }
    let request = b"GET /a HTTP/1.1\r\nHost: shop\r\n\r\n".as_slice();
    for index in 0..exchange_count {
        let client = 40_000 + index;
        let (asked, answered) = (1 + request.len() as u32, 1 + OK.len() as u32);
        let segments: [(bool, u8, u32, u32, &[u8]); 6] = [
            (true, 0x02, 0, 0, b""),
            (false, 0x12, 0, 1, b""),
            (true, 0x18, 1, 1, request),
            (false, 0x18, 1, asked, OK.as_bytes()),
            (true, 0x11, asked, answered, b""),
            (false, 0x11, answered, asked + 1, b""),
        ];
        for (step, (from_client, flags, sequence, acknowledgment, payload)) in (0..).zip(segments) {
            let packet = packet(from_client, client, flags, sequence, acknowledgment, payload);
            let length = packet.len() as u32;
            for word in [1_700_000_000, u32::from(index) * 10 + step, length, length] {
                file.extend(word.to_le_bytes());
            }
            file.extend(packet);
        }
    }
    file
}

fn packet(
    from_client: bool,
    client: u16,
    flags: u8,
    sequence: u32,
    acknowledgment: u32,
    payload: &[u8],
) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend((40 + payload.len() as u16).to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, 6, 0, 0]);
    let (ours, theirs) = ([10, 0, 0, 1], [10, 0, 0, 2]);
    let (from, to) = if from_client { (ours, theirs) } else { (theirs, ours) };
    packet.extend([from, to].concat());
    let ports = if from_client { [client, 80] } else { [80, client] };
    packet.extend(ports.into_iter().flat_map(u16::to_be_bytes));
    packet.extend([sequence, acknowledgment].into_iter().flat_map(u32::to_be_bytes));
    packet.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    packet.extend(payload);
    packet
}

fn files(folder: &tempfile::TempDir, contents: &[&[u8]]) -> Vec<PathBuf> {
    let written = contents.iter().enumerate().map(|(index, bytes)| {
        let path = folder.path().join(format!("{index}.pcap"));
        std::fs::write(&path, bytes).unwrap();
        path
    });
    written.collect()
}

fn pcap_options() -> PcapOptions {
    PcapOptions { services: ServiceNames::default(), body_limit: 1_000 }
}

#[test]
fn captures_several_files_into_one_dataset() {
    let folder = tempfile::tempdir().unwrap();
    let files = files(&folder, &[&pcap(700), &pcap(300)]);
    let last = Cell::new(None);
    let options = PcapCaptureOptions {
        files,
        pcap: pcap_options(),
        output: output(&folder),
        stop: &AtomicBool::new(false),
        progress: &|progress| last.set(Some(progress)),
    };
    let summary = capture_pcap(options).unwrap();
    let ledger = &summary.manifest.ledger;
    assert_eq!((ledger.exchanges.complete, ledger.packets.seen), (1_000, 6_000));
    assert_eq!(ledger.imbalance(), None);
    assert_eq!(summary.manifest.sources, ["0.pcap", "1.pcap"]);
    assert!(!summary.interrupted);
    let last: FileProgress = last.get().unwrap();
    assert_eq!((last.file_index, last.exchange_count), (1, 1_000));
    assert_eq!(last.bytes_read, last.bytes_total);
    let verification = verify(&folder.path().join("dataset")).unwrap();
    assert!(verification.passed(), "{verification:#?}");
}

#[test]
fn completes_what_it_has_read_when_it_is_told_to_stop() {
    let folder = tempfile::tempdir().unwrap();
    let files = files(&folder, &[&pcap(1_000), &pcap(1_000)]);
    let stop = AtomicBool::new(false);
    let options = PcapCaptureOptions {
        files,
        pcap: pcap_options(),
        output: output(&folder),
        stop: &stop,
        progress: &|progress| {
            if progress.exchange_count > 0 {
                stop.store(true, Ordering::Relaxed);
            }
        },
    };
    let summary = capture_pcap(options).unwrap();
    let exchanges = &summary.manifest.ledger.exchanges;
    assert!((1..1_000).contains(&exchanges.complete), "{exchanges:?}");
    assert!(summary.interrupted);
    let verification = verify(&folder.path().join("dataset")).unwrap();
    assert!(verification.passed(), "{verification:#?}");
}

#[test]
fn leaves_no_dataset_behind_when_a_file_is_no_capture() {
    let folder = tempfile::tempdir().unwrap();
    let files = files(&folder, &[&pcap(1), b"something else altogether"]);
    let options = PcapCaptureOptions {
        files,
        pcap: pcap_options(),
        output: output(&folder),
        stop: &AtomicBool::new(false),
        progress: &|_| (),
    };
    let error = capture_pcap(options).unwrap_err();
    let is_magic = matches!(error, CapturePcapError::Read(ReadCaptureError::Magic { .. }));
    assert!(is_magic, "{error:?}");
    assert!(!folder.path().join("dataset").exists());
}
