//! Systems drawn by seed: chains, fans, shared dependencies, caches, databases.

use std::collections::BTreeMap;

use prophecy_core::Philox;

use crate::change;
use crate::plan::{
    CachePlan, CallPlan, ClientPlan, DatabasePlan, ENTRY, RoutePlan, ServicePlan, SystemPlan,
};

/// The shapes, drawn evenly.
const SHAPES: [&str; 6] = ["chain", "fan-out", "shared", "cache", "database", "tree"];

/// How busy the bottleneck is: each as often as it stands here.
const UTILIZATIONS: [f64; 8] = [0.3, 0.45, 0.55, 0.65, 0.72, 0.8, 0.88, 0.93];

/// Services other than the bottleneck are this busy at most.
const RELAXED: f64 = 0.4;

/// The longest that a worker is held by one request of the bottleneck \[ms\].
const LONGEST_MILLIS: f64 = 120.0;

/// A system with the traffic that it gets.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Drawn {
    pub(crate) system: SystemPlan,
    /// Requests per second at the entry.
    pub(crate) rate_hz: f64,
}

/// Draws a system. `index` goes round the shapes, so that a short campaign has them all.
pub(crate) fn draw(index: u32, stream: &mut Philox) -> Drawn {
    let topology = SHAPES[index as usize % SHAPES.len()];
    let cpu_bound = index % 7 == 5;
    let rate_hz = (38.0 + 27.0 * stream.uniform()).round();
    let mut services = BTreeMap::new();
    let children = arrange(topology, stream, &mut services);
    services.insert(ENTRY.to_owned(), front(topology, &children, stream));
    let declared = stream.uniform() < 0.75;
    // A twin runs one instance; a quarter of the systems have two or three of each service.
    let drawn = [1, 1, 1, 1, 1, 1, 2, 3][stream.below(8)];
    let replicas = if change::kind(index) == "fewer-instances" { drawn.max(2) } else { drawn };
    let mut system = SystemPlan { topology, services, declared, cpu_bound, replicas };
    if cpu_bound {
        burn(&mut system, stream);
    }
    load(&mut system, rate_hz / replicas as f64, stream);
    connect(&mut system);
    Drawn { system, rate_hz }
}

/// Makes the services behind the entry and returns those that the entry calls.
fn arrange(
    topology: &str,
    stream: &mut Philox,
    services: &mut BTreeMap<String, ServicePlan>,
) -> Vec<String> {
    let mut add = |name: &str, callees: &[&str]| {
        services.insert(name.to_owned(), inner(name, callees, stream));
    };
    match topology {
        "chain" => {
            add("stock", &[]);
            add("orders", &["stock"]);
            vec!["orders".to_owned()]
        }
        "fan-out" => {
            let leaves = ["stock", "prices", "reviews"];
            leaves.iter().for_each(|name| add(name, &[]));
            leaves.map(str::to_owned).to_vec()
        }
        "shared" => {
            add("ledger", &[]);
            add("orders", &["ledger"]);
            add("accounts", &["ledger"]);
            ["orders", "accounts"].map(str::to_owned).to_vec()
        }
        "database" => {
            add("archive", &[]);
            let rows = 2_000 + 6_000 * stream.below(3) as u64;
            let archive = services.get_mut("archive").expect("just added");
            archive.database = Some(DatabasePlan { rows, indexed: true });
            vec!["archive".to_owned()]
        }
        "tree" => {
            ["stock", "prices", "taxes", "mail"].iter().for_each(|name| add(name, &[]));
            add("orders", &["stock", "taxes"]);
            add("catalog", &["prices"]);
            add("accounts", &["mail"]);
            ["orders", "catalog", "accounts"].map(str::to_owned).to_vec()
        }
        _ => {
            add("stock", &[]);
            vec!["stock".to_owned()]
        }
    }
}

fn inner(name: &str, callees: &[&str], stream: &mut Philox) -> ServicePlan {
    let route = RoutePlan {
        method: "GET",
        path: format!("/{name}/{{id}}"),
        held_millis: 5.0 + 15.0 * stream.uniform(),
        sigma: 0.15 + 0.5 * stream.uniform(),
        cpu_millis: 0.2,
        calls: callees.iter().map(|callee| call(callee)).collect(),
        ..RoutePlan::default()
    };
    ServicePlan { routes: vec![route], ..ServicePlan::default() }
}

fn call(service: &str) -> CallPlan {
    CallPlan { service: service.to_owned(), times: 1, cached: false }
}

/// The entry: one route that calls everybody, one that calls the first, one that calls nobody.
fn front(topology: &str, children: &[String], stream: &mut Philox) -> ServicePlan {
    let cached = topology == "cache";
    let calls = |names: &[String]| -> Vec<CallPlan> {
        names.iter().map(|name| CallPlan { cached, ..call(name) }).collect()
    };
    let mut route = |method, path: &str, share, calls| RoutePlan {
        method,
        path: path.to_owned(),
        share,
        held_millis: 4.0 + 8.0 * stream.uniform(),
        sigma: 0.2 + 0.3 * stream.uniform(),
        cpu_millis: 0.2,
        calls,
        ..RoutePlan::default()
    };
    let routes = vec![
        route("GET", "/items/{id}", 0.45, calls(children)),
        route("POST", "/orders", 0.33, vec![call(&children[0])]),
        route("GET", "/about", 0.22, Vec::new()),
    ];
    let cache = cached.then_some(CachePlan { capacity: 200, hold_millis: 4_000 });
    ServicePlan { cache, routes, ..ServicePlan::default() }
}

/// Gives one service work for its processor.
fn burn(system: &mut SystemPlan, stream: &mut Philox) {
    let names: Vec<String> = system.services.keys().cloned().collect();
    let busy = &names[stream.below(names.len())];
    let service = system.services.get_mut(busy).expect("drawn from its names");
    for route in &mut service.routes {
        route.cpu_millis = 3.0 + 3.0 * stream.uniform();
    }
}

/// Gives every service its workers, and one of them more to do than the others.
fn load(system: &mut SystemPlan, rate_hz: f64, stream: &mut Philox) {
    let visits = system.visits();
    let leaves: Vec<String> = visits
        .keys()
        .filter(|name| system.services[*name].routes.iter().all(|route| route.calls.is_empty()))
        .cloned()
        .collect();
    let bottleneck = &leaves[stream.below(leaves.len())];
    let utilization = UTILIZATIONS[stream.below(UTILIZATIONS.len())];
    let arriving_hz = rate_hz * visits[bottleneck];
    let mut workers = 2 + stream.below(5) as u64;
    let held = |workers: u64| 1e3 * utilization * workers as f64 / arriving_hz;
    while workers > 1 && held(workers) > LONGEST_MILLIS {
        workers -= 1;
    }
    let service = system.services.get_mut(bottleneck).expect("one of its leaves");
    let route = &mut service.routes[0];
    route.held_millis = (held(workers) - route.cpu_millis).max(1.0);
    service.workers = workers;
    let names: Vec<String> = system.services.keys().cloned().collect();
    for name in names {
        // A caller holds its worker while it waits: what queues downstream queues here as well.
        let patience = if name == *bottleneck { 1.0 } else { 2.5 };
        let needed = (patience * system.busy(&name, rate_hz) / RELAXED).ceil().max(4.0);
        let service = system.services.get_mut(&name).expect("one of its names");
        if name != *bottleneck {
            service.workers = needed as u64;
        }
        service.queue = 8 * service.workers.max(8);
    }
}

/// Gives every call a pool that does not bind, and a patient timeout.
fn connect(system: &mut SystemPlan) {
    for service in system.services.values_mut() {
        let callees =
            service.routes.iter().flat_map(|route| &route.calls).map(|call| call.service.clone());
        let client = ClientPlan { pool: service.workers, timeout_millis: 5_000, retries: 0 };
        service.clients = callees.map(|callee| (callee, client)).collect();
    }
}
