//! A plain mirroring proxy to run by hand: `mirror LISTEN UPSTREAM DATASET`, until Ctrl-C.
//!
//! Used to measure what the proxy costs; `prophecy capture` is the command for people.

#![expect(clippy::print_stderr, reason = "an example talks to whoever runs it")]

use std::error::Error;

use prophecy_anonymizer::{Key, Policy};
use prophecy_capture::agent::{AgentOptions, EdgeOptions, Output, ProxyProgress, capture_proxy};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [listen, upstream, dataset] = &arguments[..] else {
        return Err("expected LISTEN UPSTREAM DATASET".into());
    };
    let policy = Policy::named("replayable").ok_or("the policy is built in")?;
    let output = Output { dataset: dataset.into(), policy, key: Key::from_bytes([7; 32]) };
    let edges = vec![EdgeOptions::entry(listen.parse()?, upstream, "upstream")];
    let progress = |progress| {
        if let ProxyProgress::Listening { address, upstream, .. } = progress {
            eprintln!("listening on {address}, sending to {upstream}");
        }
    };
    let stop = async {
        // Without a signal handler there is nothing to wait for.
        drop(tokio::signal::ctrl_c().await);
    };
    let runtime = tokio::runtime::Runtime::new()?;
    let capture = capture_proxy(AgentOptions::new(edges, output, &progress), stop);
    let summary = runtime.block_on(capture)?;
    eprintln!("{:#?}", summary.manifest.ledger);
    Ok(())
}
