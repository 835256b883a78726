//! Changes drawn by seed: what a deployment could do to a system, from invisible to fatal.

use prophecy_core::Philox;

use crate::plan::{ENTRY, ServicePlan, SystemPlan};

/// What a candidate is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Change {
    /// The kind.
    pub(crate) kind: &'static str,
    /// What is changed, in words, with its size.
    pub(crate) detail: String,
    /// What is known of it before anything is measured.
    pub(crate) known: Option<&'static str>,
    /// The system with the change.
    pub(crate) system: SystemPlan,
}

/// The kinds. Those that cannot hurt stand between the others, so that any stretch has both.
pub(crate) const KINDS: [&str; 22] = [
    "same-build",
    "slower",
    "refactor",
    "calls-multiplied",
    "fewer-workers",
    "faster",
    "errors",
    "slow-dependency",
    "same-build",
    "small-pool",
    "rare-input",
    "more-workers",
    "slower",
    "short-timeout",
    "same-build",
    "retries",
    "short-queue",
    "refactor",
    "rejected-input",
    "local",
    "crash",
    "fewer-instances",
];

/// Changes that only systems with such a part can have.
const LOCAL: [(&str, &str); 2] = [("cache", "small-cache"), ("database", "no-index")];

/// Returns the kind of a trial, which goes round with its index.
pub(crate) fn kind(index: u32) -> &'static str {
    // 9 and 22 share no factor, 6 shapes and 22 kinds do: every kind meets every shape in the end.
    let turn = index as usize / KINDS.len();
    KINDS[(index as usize * 9 + turn) % KINDS.len()]
}

/// Draws a change.
pub(crate) fn draw(index: u32, baseline: &SystemPlan, stream: &mut Philox) -> Change {
    let mut kind = kind(index);
    let local = LOCAL.iter().find(|(topology, _)| *topology == baseline.topology);
    match (kind, local) {
        ("local" | "short-queue" | "slow-dependency", Some((_, own))) => kind = own,
        ("local", None) => kind = "slower",
        _ => {}
    }
    let mut system = baseline.clone();
    let names: Vec<String> = system.services.keys().cloned().collect();
    let target = names[stream.below(names.len())].clone();
    let size = stream.below(4);
    let (detail, known) = apply(kind, size, &target, &mut system, stream);
    Change { kind, detail, known, system }
}

/// Applies a change and says what it was.
fn apply(
    kind: &'static str,
    size: usize,
    target: &str,
    system: &mut SystemPlan,
    stream: &mut Philox,
) -> (String, Option<&'static str>) {
    let harmless = Some("harmless");
    let of = |sizes: [f64; 4]| sizes[size];
    match kind {
        "same-build" => ("the same build again".to_owned(), harmless),
        "refactor" => {
            let service = service(system, target);
            service.routes.iter_mut().for_each(|route| route.cpu_millis *= 0.9);
            (format!("{target}: a tenth less processor time"), harmless)
        }
        "faster" => {
            let factor = of([0.9, 0.8, 0.65, 0.5]);
            scale(service(system, target), factor);
            (format!("{target}: {factor} times the time"), harmless)
        }
        "more-workers" => {
            let service = service(system, target);
            service.workers *= 2;
            (format!("{target}: twice the workers"), harmless)
        }
        "slower" => {
            let factor = of([1.05, 1.25, 1.6, 2.5]);
            scale(service(system, target), factor);
            (format!("{target}: {factor} times the time"), None)
        }
        "slow-dependency" => {
            let leaf = leaf_of(system, stream);
            let factor = of([1.1, 1.4, 2.0, 4.0]);
            scale(service(system, &leaf), factor);
            (format!("{leaf}, a dependency: {factor} times the time"), None)
        }
        "fewer-instances" => {
            system.replicas -= 1;
            (format!("{} instance(s) of each service", system.replicas), None)
        }
        "fewer-workers" => {
            let factor = of([0.8, 0.6, 0.4, 0.25]);
            let leaf = leaf_of(system, stream);
            let service = service(system, &leaf);
            service.workers = ((factor * service.workers as f64) as u64).max(1);
            (format!("{leaf}: {} workers", service.workers), None)
        }
        "errors" => {
            let share = of([0.002, 0.01, 0.03, 0.1]);
            service(system, target).routes[0].failing = share;
            (format!("{target}: {} % of the requests fail", 100.0 * share), None)
        }
        "rare-input" | "rejected-input" => {
            let divisor = [200, 60, 20, 6][size];
            let status = if kind == "rare-input" { 500 } else { 422 };
            service(system, target).routes[0].failing_input = Some((divisor, status));
            (format!("{target}: one kind of input in {divisor} is answered {status}"), None)
        }
        "crash" => {
            let divisor = [200, 60, 20, 6][size];
            service(system, target).routes[0].crashing_input = Some(divisor);
            (format!("{target}: one kind of input in {divisor} ends the process"), None)
        }
        "short-queue" => {
            let leaf = leaf_of(system, stream);
            let queue = [8, 3, 1, 0][size];
            service(system, &leaf).queue = queue;
            (format!("{leaf}: {queue} requests may wait"), None)
        }
        "small-cache" => {
            let (capacity, hold_millis) = [(150, 4_000), (60, 2_000), (20, 500), (1, 1)][size];
            let cache = &mut service(system, ENTRY).cache;
            *cache = Some(crate::plan::CachePlan { capacity, hold_millis });
            (format!("{ENTRY}: {capacity} entries in the cache, for {hold_millis} ms"), None)
        }
        "no-index" => {
            let archive = service(system, "archive");
            archive.database.iter_mut().for_each(|database| database.indexed = false);
            ("archive: the index is gone".to_owned(), None)
        }
        _ => apply_to_call(kind, size, system, stream),
    }
}

/// Applies a change that concerns how one service calls another.
fn apply_to_call(
    kind: &'static str,
    size: usize,
    system: &mut SystemPlan,
    stream: &mut Philox,
) -> (String, Option<&'static str>) {
    let edges: Vec<(String, String)> = system
        .services
        .iter()
        .flat_map(|(caller, plan)| plan.clients.keys().map(move |to| (caller.clone(), to.clone())))
        .collect();
    let (caller, callee) = edges[stream.below(edges.len())].clone();
    let held = system.held_millis(&system.services[&callee].routes[0]);
    let plan = service(system, &caller);
    let client = plan.clients.get_mut(&callee).expect("one of its clients");
    match kind {
        "small-pool" => {
            let factor = [0.5, 0.25, 0.12, 0.0][size];
            client.pool = ((factor * client.pool as f64) as u64).max(1);
            (format!("{caller}: {} connections to {callee}", client.pool), None)
        }
        "short-timeout" => {
            let factor = [6.0, 2.5, 1.6, 1.0][size];
            client.timeout_millis = ((factor * held) as u64).max(2);
            let timeout = client.timeout_millis;
            (format!("{caller}: {callee} must answer in {timeout} ms"), None)
        }
        "retries" => {
            let factor = [6.0, 2.5, 1.6, 1.2][size];
            client.timeout_millis = ((factor * held) as u64).max(2);
            client.retries = 2;
            let timeout = client.timeout_millis;
            (format!("{caller}: {callee} is asked again, twice, after {timeout} ms"), None)
        }
        _ => {
            let times = [2, 2, 3, 5][size];
            for route in &mut plan.routes {
                let calls = route.calls.iter_mut().filter(|call| call.service == callee);
                calls.for_each(|call| call.times = times);
            }
            (format!("{caller}: calls {callee} {times} times"), None)
        }
    }
}

fn service<'a>(system: &'a mut SystemPlan, name: &str) -> &'a mut ServicePlan {
    system.services.get_mut(name).expect("one of its names")
}

fn leaf_of(system: &SystemPlan, stream: &mut Philox) -> String {
    let leaf = |plan: &ServicePlan| plan.routes.iter().all(|route| route.calls.is_empty());
    let leaves: Vec<&String> =
        system.services.iter().filter(|(_, plan)| leaf(plan)).map(|(name, _)| name).collect();
    leaves[stream.below(leaves.len())].clone()
}

fn scale(service: &mut ServicePlan, factor: f64) {
    for route in &mut service.routes {
        route.held_millis *= factor;
        // Below a millisecond it is the machine that decides.
        if route.cpu_millis > 1.0 {
            route.cpu_millis *= factor;
        }
    }
}
