//! Runs a system as production, under made-up visitors, and captures it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use prophecy_anonymizer::{Key, Policy};
use prophecy_core::{Header, Philox, Seed};
use prophecy_twin::production::{self, ProductionOptions};
use prophecy_twin::replay::{PlannedRequest, Target, drive};
use prophecy_twin::{AllowList, load_system};

/// Returns Poisson arrivals of GET requests: `count` of them at `rate_hz`, eight connections.
pub(crate) fn visitors(
    count: u64,
    rate_hz: f64,
    seed: u64,
    path: impl Fn(u64, &mut Philox) -> String,
) -> Vec<PlannedRequest> {
    let mut stream = Seed(seed).stream(0, 0, "visitors");
    let mut at = 0.0;
    let request = |exchange_id| {
        at += stream.exponential() / rate_hz;
        PlannedRequest {
            exchange_id,
            offset_nanos: (at * 1e9) as u64,
            session: exchange_id % 8,
            connection: exchange_id % 8,
            method: "GET".to_owned(),
            path_and_query: path(exchange_id, &mut stream),
            headers: vec![Header::new("host", "shop.example")],
            body: Vec::new(),
        }
    };
    (0..count).map(request).collect()
}

/// Runs the system of a manifest under these visitors; every edge is captured into `dataset`.
pub(crate) fn capture(manifest: &Path, dataset: &Path, visitors: Vec<PlannedRequest>) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let system = load_system(manifest).expect("the manifest is valid");
        let logs = tempfile::tempdir().expect("a temporary folder");
        let allow = AllowList::default();
        let arm = production::start(ProductionOptions {
            system: &system,
            dataset,
            logs: logs.path(),
            policy: Policy::named("replayable").expect("built in"),
            key: Key::from_bytes([7; 32]),
            allow: &allow,
        });
        let arm = match arm.await {
            Ok(arm) => arm,
            Err(error) => panic!("the system does not start: {error}"),
        };
        let target = Target { name: "production".to_owned(), address: arm.entry() };
        let stop = Arc::new(AtomicBool::new(false));
        let replies = drive(Arc::new(visitors), &[target], &allow, Seed(1), &stop, &|_| ()).await;
        let replies = replies.expect("loopback is allowed");
        let unanswered = replies.iter().filter(|reply| reply.answer.is_err()).count();
        assert_eq!(unanswered, 0, "of {}", replies.len());
        arm.stop().await.expect("the dataset is written");
    });
}
