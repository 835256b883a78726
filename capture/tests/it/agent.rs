//! Whole captures, from the first byte to a complete dataset.

use std::cell::RefCell;

use prophecy_anonymizer::{Key, Policy};
use prophecy_capture::agent::{
    AgentOptions, CaptureProxyError, EdgeOptions, Output, ProxyProgress, capture_proxy,
};
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
