//! From a plan to files: a manifest, and a configuration of `mesh` for each service.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::plan::{ENTRY, RoutePlan, ServicePlan, SystemPlan};

/// Writes the services of a build into `folder/name/`, and `folder/name.yaml` that runs them.
pub(crate) fn write(
    folder: &Path,
    name: &str,
    system: &SystemPlan,
    slo: &[Value],
) -> io::Result<()> {
    let configs = folder.join(name);
    fs::create_dir_all(&configs)?;
    for (service, plan) in &system.services {
        write_yaml(&configs.join(format!("{service}.yaml")), &config(service, plan))?;
    }
    write_yaml(&folder.join(format!("{name}.yaml")), &manifest(name, system, slo))
}

fn write_yaml(path: &Path, value: &Value) -> io::Result<()> {
    fs::write(path, serde_saphyr::to_string(value).map_err(io::Error::other)?)
}

/// Returns the system manifest of a build.
fn manifest(name: &str, system: &SystemPlan, slo: &[Value]) -> Value {
    let mut services = Map::new();
    for (service, plan) in &system.services {
        let mut env = Map::new();
        env.insert("PORT".to_owned(), json!("{port}"));
        if plan.database.is_some() {
            env.insert("DATA".to_owned(), json!("{data}"));
        }
        for callee in plan.clients.keys() {
            env.insert(variable(callee), json!(format!("{{{callee}.url}}")));
        }
        let command = ["mesh", "--config", &format!("{name}/{service}.yaml")];
        let ready = json!({ "http": "/healthz", "within": "20s" });
        let mut entry = json!({
            "run": { "command": command, "env": env, "ready": ready },
            "host": "a",
            "replicas": system.replicas,
            "queue": plan.queue,
        });
        if system.declared {
            entry["concurrency"] = json!(plan.workers);
        }
        services.insert(service.clone(), entry);
    }
    json!({
        "apiVersion": "prophecy/v1",
        "kind": "System",
        "name": format!("trial-{}", system.topology),
        "entry": ENTRY,
        "services": services,
        "hosts": { "a": { "cores": 2 } },
        "slo": slo,
    })
}

fn variable(callee: &str) -> String {
    format!("{}_URL", callee.to_uppercase())
}

/// Returns the configuration of a service.
fn config(name: &str, plan: &ServicePlan) -> Value {
    let mut config = Map::new();
    config.insert("name".to_owned(), json!(name));
    config.insert("port".to_owned(), json!("${PORT:-0}"));
    config.insert("workers".to_owned(), json!(plan.workers));
    config.insert("queue".to_owned(), json!(plan.queue));
    config.insert("seed".to_owned(), json!(7));
    if let Some(database) = plan.database {
        let value = json!({
            "path": format!("${{DATA:-.}}/{name}.db"),
            "rows": { "items": 500, "orders": database.rows },
            "indexes": database.indexed,
            "connections": 1,
        });
        config.insert("database".to_owned(), value);
    }
    if let Some(cache) = plan.cache {
        let hold = format!("{}ms", cache.hold_millis);
        let value = json!({ "answers": { "capacity": cache.capacity, "ttl": hold } });
        config.insert("caches".to_owned(), value);
    }
    let clients: BTreeMap<&String, Value> = plan
        .clients
        .iter()
        .map(|(callee, client)| {
            let url = format!("${{{}}}", variable(callee));
            let timeout = format!("{}ms", client.timeout_millis);
            let value = json!({
                "url": url, "pool": client.pool, "timeout": timeout,
                "retries": client.retries, "backoff": "5ms",
            });
            (callee, value)
        })
        .collect();
    config.insert("clients".to_owned(), json!(clients));
    let routes: Vec<Value> = plan.routes.iter().map(|route| route_of(plan, route)).collect();
    config.insert("routes".to_owned(), json!(routes));
    Value::Object(config)
}

fn route_of(plan: &ServicePlan, route: &RoutePlan) -> Value {
    // What tells one input from another: a path's id, or a field of the body.
    let input = if route.path.contains("{id}") {
        Some("{id}")
    } else if route.method == "POST" {
        Some("{body.item}")
    } else {
        None
    };
    let micros = (1e3 * route.cpu_millis) as u64;
    let mut steps =
        vec![json!({ "cpu": { "mean": format!("{micros}us"), "distribution": "exponential" } })];
    if let (Some((divisor, status)), Some(input)) = (route.failing_input, input) {
        let modulo = json!({ "divisor": divisor, "remainder": 1 });
        let when = json!({ "value": input, "modulo": modulo });
        steps.push(json!({ "fail": { "when": when, "status": status } }));
    }
    if let (Some(divisor), Some(input)) = (route.crashing_input, input) {
        let when = json!({ "value": input, "modulo": { "divisor": divisor, "remainder": 1 } });
        steps.push(json!({ "fail": { "when": when, "crash": true } }));
    }
    if route.failing > 0.0 {
        steps.push(json!({ "fail": { "share": route.failing } }));
    }
    let micros = (1e3 * route.held_millis) as u64;
    let wait = json!({
        "mean": format!("{micros}us"), "distribution": "lognormal", "sigma": route.sigma,
    });
    steps.push(json!({ "wait": wait }));
    if plan.database.is_some() {
        let sql = "SELECT count(*) AS orders, sum(quantity) AS pieces FROM orders \
                   WHERE item_id = ?1 AND state <> 'cancelled'";
        steps.push(json!({ "query": { "sql": sql, "params": ["{id}"], "as": "sold" } }));
    }
    for call in &route.calls {
        let path = format!("/{}/{}", call.service, input.unwrap_or("1"));
        let answer = format!("{}_answer", call.service);
        let mut value = json!({ "client": call.service, "path": path, "as": answer });
        if call.times > 1 {
            value["times"] = json!(call.times);
        }
        let step = json!({ "call": value });
        if call.cached {
            let key = input.unwrap_or("all");
            let cache = json!({ "name": "answers", "key": key, "miss": [step] });
            steps.push(json!({ "cache": cache }));
        } else {
            steps.push(step);
        }
    }
    let mut answer = Map::new();
    if let Some(input) = input {
        answer.insert("of".to_owned(), json!(format!("{{{input}}}")));
    }
    answer.insert("route".to_owned(), json!(route.path.split('{').next().unwrap_or("/")));
    steps.push(json!({ "respond": { "json": answer } }));
    json!({ "method": route.method, "path": route.path, "steps": steps })
}

/// Returns the promises for `slo`: the entry's routes, each with a bound on a quantile.
pub(crate) fn promise(route: &str, quantile: &str, millis: f64, errors: f64) -> Value {
    json!({
        "service": ENTRY,
        "route": route,
        quantile: format!("{millis:.1}ms"),
        "error_rate": errors,
    })
}

/// Says whether a manifest is right.
#[cfg(test)]
pub(crate) fn check(path: &Path) -> Result<(), String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    prophecy_core::System::from_yaml(&text).map(|_| ()).map_err(|error| error.to_string())
}
