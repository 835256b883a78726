//! Timeouts and retries of real processes, recognized in what was captured of them.

use std::fs;

use prophecy_simulator::Model;

use crate::production::{capture, visitors};
use crate::prophecy::{machine, run};

const SYSTEM: &str = r#"
apiVersion: prophecy/v1
kind: System
name: pair
entry: front
services:
  front:
    run:
      command: [mesh, --config, front.yaml]
      env: { PORT: "{port}", BACK_URL: "{back.url}" }
      ready: { http: /healthz }
  back:
    run:
      command: [mesh, --config, back.yaml]
      env: { PORT: "{port}" }
      ready: { http: /healthz }
"#;

/// Gives up after 250 ms, and tries twice more: after 100 ms and after 200. Long enough that a busy machine does not blur it.
const FRONT: &str = r#"
name: front
port: ${PORT:-0}
clients:
  back: { url: "${BACK_URL:-http://127.0.0.1:1}", pool: 200, timeout: 250ms, retries: 2, backoff: 100ms }
routes:
  - method: GET
    path: /items/{id}
    steps:
      - wait: { mean: 3ms, distribution: lognormal, sigma: 0.3 }
      - call: { client: back, path: "/items/{id}", as: item, optional: true }
      - respond: { json: { id: "{{id}}" } }
"#;

/// One answer in twelve takes longer than 250 ms, and one in four is an error.
const BACK: &str = r#"
name: back
port: ${PORT:-0}
routes:
  - method: GET
    path: /items/{id}
    steps:
      - wait: { mean: 100ms, distribution: exponential }
      - fail: { share: 25%, status: 503 }
      - respond: { json: { id: "{{id}}" } }
"#;

#[test]
fn recognizes_the_timeout_and_the_retries_of_a_real_client() {
    let _machine = machine();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str| folder.path().join(name);
    for (name, text) in [("system.yaml", SYSTEM), ("front.yaml", FRONT), ("back.yaml", BACK)] {
        fs::write(file(name), text).expect("writes");
    }
    let paths = visitors(900, 90.0, 5, |_, stream| format!("/items/{}", 1 + stream.below(500)));
    capture(&file("system.yaml"), &file("production"), paths);
    let path = |name: &str| file(name).display().to_string();
    let arguments = ["fit", &path("production"), "--system", &path("system.yaml"), "-o"];
    let finished = run(&[&arguments[..], &[&path("model.json")]].concat());
    println!("{}", finished.stdout);
    assert_eq!(finished.code, 0, "{finished:?}");
    let text = fs::read_to_string(file("model.json")).expect("written");
    let model = Model::from_json(&text).expect("a model");
    let call = &model.services["front"].routes["GET /items/{id}"].calls[0];
    // Timers fire a little late, and on a busy machine later.
    let timeout = call.timeout_nanos.expect("it is recognized");
    assert!((249_000_000..280_000_000).contains(&timeout), "{timeout}");
    assert_eq!(call.retries, 2);
    let (base, factor) = (call.backoff.base_nanos, call.backoff.factor);
    assert!((97_000_000..130_000_000).contains(&base), "{base}");
    assert!((1.7..2.3).contains(&factor), "{factor}");
    // One call each, however often it was tried.
    assert!(call.counts[1] > 0.97, "{:?}", call.counts);
    for words in ["gives up after", "tries again up to 2 times"] {
        assert!(finished.stdout.contains(words), "{}", finished.stdout);
    }
}
