//! What a running service does.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::server::Server;

fn route(method: &str, path: &str, steps: &str) -> String {
    format!("  - {{ method: {method}, path: '{path}', steps: [{steps}] }}\n")
}

fn service(head: &str, routes: &[String]) -> String {
    format!("name: test\nseed: 7\n{head}\nroutes:\n{}", routes.concat())
}

#[test]
fn answers_on_a_kept_connection_with_its_health_and_what_it_does_not_know() {
    let echo = "respond: { status: 201, json: { id: '{{id}}', q: '{{query.q}}', \
        x: '{{body.x}}', h: '{{header.x-h}}' } }";
    let routes = [route("POST", "/a/{id}", &format!("{{ {echo} }}")), route("GET", "/none", "")];
    let server = Server::start(&service("", &routes));
    let mut connection = server.connect();
    let reply = connection.ask("GET", "/healthz", &[], "");
    assert_eq!((reply.status, reply.body["status"].as_str()), (200, Some("ok")));
    let headers = [("content-type", "application/json"), ("x-h", "1"), ("x-request-id", "r-9")];
    let reply = connection.ask("POST", "/a/4%202?q=z", &headers, r#"{"x": [1]}"#);
    let expected = json!({ "id": "4 2", "q": "z", "x": [1], "h": "1" });
    assert_eq!((reply.status, &reply.body), (201, &expected));
    assert_eq!(reply.header("x-request-id"), Some("r-9"));
    assert_eq!(connection.ask("GET", "/none", &[], "").status, 204);
    assert_eq!(connection.ask("GET", "/nothing", &[], "").status, 404);
    assert_eq!(connection.ask("GET", "/a/1", &[], "").status, 405);
    assert_eq!(connection.ask("POST", "/a/1", &headers, "{").status, 400);
}

#[test]
fn gives_people_to_protect_and_one_key_one_person() {
    let person = "{ respond: { json: { name: '{{name(id)}}', email: '{{email(id)}}', \
        card: '{{card(id)}}', phone: '{{phone(id)}}', token: '{{token}}' } } }";
    let yaml = service("", &[route("GET", "/people/{id}", person)]);
    let (first, second) = (Server::start(&yaml), Server::start(&yaml));
    let (mut a, mut b) = (first.get("/people/1").body, second.get("/people/1").body);
    // A secret is drawn anew; the person stays.
    assert_ne!(a["token"], b["token"]);
    (a["token"], b["token"]) = (json!(null), json!(null));
    assert_eq!(a, b);
    assert_ne!(a["email"], first.get("/people/2").body["email"]);
    assert!(a["email"].as_str().expect("text").contains("@example."), "{a}");
}

#[test]
fn queues_for_its_workers_in_order_and_refuses_what_is_over_the_limit() {
    let routes = [route("GET", "/", "{ wait: { mean: 1s } }")];
    let server = Server::start(&service("workers: 1\nqueue: 1", &routes));
    let start = Instant::now();
    let mut connections = [server.connect(), server.connect(), server.connect()];
    // One works and one waits, whichever they are; the third is refused while they do.
    for connection in &mut connections {
        connection.send("GET", "/", &[], "");
    }
    let statuses = connections.each_mut().map(|connection| connection.receive().status);
    assert_eq!(statuses.iter().filter(|&&status| status == 204).count(), 2, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|&&status| status == 503).count(), 1, "{statuses:?}");
    assert!(start.elapsed() >= Duration::from_secs(2), "the two did not work at once");
}

#[test]
fn calls_others_with_its_trace_and_its_request_id() {
    let show = "{ respond: { json: { trace: '{{header.traceparent}}', \
        request: '{{header.x-request-id}}', id: '{{id}}', given: '{{body}}' } } }";
    let callee = Server::start(&service("", &[route("POST", "/show/{id}", show)]));
    let call = "{ call: { client: callee, method: POST, path: '/show/{each.id}', \
        times: '{{body.list}}', parallel: true, body: { n: '{{index}}' } } }, \
        { respond: { json: '{{answer}}' } }";
    let clients = format!("clients: {{ callee: {{ url: 'http://{}' }} }}", callee.address);
    let caller = Server::start(&service(&clients, &[route("POST", "/", call)]));
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let headers = [("traceparent", parent), ("x-request-id", "r-1")];
    let body = r#"{ "list": [{ "id": "a" }, { "id": "b/c" }] }"#;
    let reply = caller.connect().ask("POST", "/", &headers, body);
    assert_eq!(reply.status, 200);
    assert_eq!(reply.body[0]["id"], "a");
    assert_eq!(reply.body[1]["id"], "b/c");
    assert_eq!(reply.body[1]["given"], json!({ "n": 1 }));
    assert_eq!(reply.body[0]["request"], "r-1");
    let spans = [0, 1].map(|index| reply.body[index]["trace"].as_str().expect("text").to_owned());
    assert!(spans.iter().all(|span| span.starts_with(&parent[..36])), "{spans:?}");
    assert_ne!(spans[0], spans[1]);
}

#[test]
fn answers_502_for_a_failed_call_unless_it_is_optional_and_passes_client_errors_on() {
    let steps = ["500", "404"].map(|status| format!("{{ fail: {{ status: {status} }} }}"));
    let callee = Server::start(&service(
        "",
        &[route("GET", "/500", &steps[0]), route("GET", "/404", &steps[1])],
    ));
    let call = |path: &str, more: &str| {
        format!(
            "{{ call: {{ client: callee, path: '{path}' {more} }} }}, \
            {{ respond: {{ json: {{ answer: '{{{{answer}}}}' }} }} }}"
        )
    };
    let clients = format!("clients: {{ callee: {{ url: 'http://{}' }} }}", callee.address);
    let caller = Server::start(&service(
        &clients,
        &[
            route("GET", "/a", &call("/500", "")),
            route("GET", "/b", &call("/404", "")),
            route("GET", "/c", &call("/500", ", optional: true")),
            route("GET", "/d", &call("/healthz", ", times: 3")),
        ],
    ));
    assert_eq!(caller.get("/a").status, 502);
    assert_eq!(caller.get("/b").status, 404);
    let reply = caller.get("/c");
    assert_eq!((reply.status, reply.body), (200, json!({ "answer": null })));
    assert_eq!(caller.get("/d").body["answer"].as_array().map(Vec::len), Some(3));
    drop(callee);
    assert_eq!(caller.get("/a").status, 502);
    assert_eq!(caller.get("/c").status, 200);
}

#[test]
fn gives_up_after_the_timeout_and_tries_again_as_often_as_said() {
    let slow = "{ query: { sql: 'INSERT INTO orders (quantity) VALUES (1)' } }, \
        { wait: { mean: 3s } }";
    let count = "{ query: { sql: 'SELECT count(*) AS n FROM orders' } }, \
        { respond: { json: '{{row}}' } }";
    let callee = Server::start(&service(
        "database: { path: '${DATA}/a.db' }",
        &[route("GET", "/slow", slow), route("GET", "/count", count)],
    ));
    let clients = format!(
        "clients: {{ callee: {{ url: 'http://{}', timeout: 200ms, retries: 2, backoff: 1ms }} }}",
        callee.address
    );
    let call = "{ call: { client: callee, path: /slow } }";
    let caller = Server::start(&service(&clients, &[route("GET", "/", call)]));
    assert_eq!(caller.get("/").status, 502);
    // The last attempt was given up a moment ago: its row may still be on the way.
    let mut counts = (0..1_000).map(|_| callee.get("/count").body["n"].as_u64());
    assert!(counts.any(|count| count == Some(3)));
    assert_eq!(callee.get("/count").body, json!({ "n": 3 }));
}

#[test]
fn waits_for_a_connection_of_its_pool() {
    let callee = Server::start(&service("", &[route("GET", "/", "{ wait: { mean: 200ms } }")]));
    let client = |pool| {
        let call = "{ call: { client: callee, path: /, times: 3, parallel: true } }";
        let clients =
            format!("clients: {{ callee: {{ url: 'http://{}', pool: {pool} }} }}", callee.address);
        let caller = Server::start(&service(&clients, &[route("GET", "/", call)]));
        let start = Instant::now();
        assert_eq!(caller.get("/").status, 204);
        start.elapsed()
    };
    assert!(client(1) >= Duration::from_millis(600), "one connection: one after the other");
    assert!(client(3) >= Duration::from_millis(200));
}

#[test]
fn remembers_what_the_steps_of_a_miss_found() {
    let insert = "query: { sql: 'INSERT INTO orders (quantity) VALUES (?1) RETURNING id', \
        params: ['{key}'], as: made }";
    let steps = format!(
        "{{ cache: {{ name: c, key: '{{key}}', miss: [{{ {insert} }}] }} }}, \
        {{ respond: {{ json: '{{{{made.id}}}}' }} }}"
    );
    let head = "database: { path: '${DATA}/a.db' }\ncaches: { c: { capacity: 2, ttl: 1h } }";
    let server = Server::start(&service(head, &[route("GET", "/{key}", &steps)]));
    let ids = ["/1", "/2", "/1", "/3", "/2"].map(|path| server.get(path).body);
    assert_eq!(ids, [json!(1), json!(2), json!(1), json!(3), json!(4)]);
    assert!(server.file("a.db").exists());
}

#[test]
fn keeps_the_memory_it_leaks_and_gives_back_what_it_allocates() {
    let routes =
        [route("GET", "/leak", "{ leak: 1MiB }"), route("GET", "/take", "{ allocate: 64MiB }")];
    let server = Server::start(&service("", &routes));
    server.get("/leak");
    let before = server.resident_bytes();
    for _ in 0..32 {
        assert_eq!(server.get("/leak").status, 204);
    }
    let leaked = server.resident_bytes() - before;
    assert!((30 << 20..48 << 20).contains(&leaked), "{leaked}");
    let before = server.resident_bytes();
    server.get("/take");
    assert!(server.resident_bytes() < before + (32 << 20));
}

#[test]
fn finishes_what_runs_and_ends_with_0_when_terminated() {
    let routes = [route("GET", "/", "{ wait: { mean: 500ms } }"), route("GET", "/quick", "")];
    let server = Server::start(&service("workers: 1\nqueue: 0", &routes));
    let (mut connection, mut other) = (server.connect(), server.connect());
    connection.send("GET", "/", &[], "");
    // The request is under way once it has taken the only worker.
    while other.ask("GET", "/quick", &[], "").status != 503 {}
    assert_eq!(server.terminate(), Some(0));
    assert_eq!(connection.receive().status, 204);
}
