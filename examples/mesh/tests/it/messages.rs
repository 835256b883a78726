//! What `mesh` says when it cannot run, and the exit codes it ends with.

use std::net::TcpListener;

use crate::server::mesh;

struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn run(arguments: &[&str], yaml: &str) -> Ended {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("service.yaml"), yaml).expect("writable");
    let output = mesh().args(arguments).current_dir(folder.path()).output().expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

const SMALL: &str = "name: small\nroutes:\n  - { method: GET, path: /, steps: [] }\n";

#[test]
fn checks_a_file_without_running_it() {
    let ended = run(&["--config", "service.yaml", "--check"], SMALL);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ended.stdout, "service.yaml is valid: `small`, 1 routes\n");
}

#[test]
fn prints_its_help() {
    let ended = run(&["--help"], SMALL);
    assert_eq!(ended.code, Some(0));
    assert!(ended.stdout.contains("--check"), "{}", ended.stdout);
}

#[test]
fn says_what_is_wrong_with_a_file_and_ends_with_2() {
    let check = |yaml: &str, expected: &str| {
        let ended = run(&["--config", "service.yaml"], yaml);
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(ended.stderr.starts_with("error: cannot "), "{}", ended.stderr);
        assert!(ended.stderr.contains(expected), "{}", ended.stderr);
    };
    check("", "caused by: the configuration does not fit the format");
    check("name: a\nroutes: []\nspeed: 3\n", "unknown field `speed`");
    check("name: ${NO_SUCH_NAME_IS_SET}\nroutes: []\n", "which is not set and has no default");
    let query = "steps: [{ query: { sql: 'SELECT x FROM nowhere' } }]";
    let database = "database: { path: a.db }\nname: a\n";
    check(
        &format!("{database}routes: [{{ method: GET, path: /, {query} }}]\n"),
        "caused by: cannot prepare the query of route `GET /`",
    );
    check("name: a\ndatabase: { path: no/such/folder.db }\nroutes: []\n", "no/such/folder.db");
}

#[test]
fn says_what_is_wrong_with_a_command_line_and_ends_with_2() {
    let ended = run(&["--port", "80"], SMALL);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("write `mesh --config FILE`"), "{}", ended.stderr);
}

#[test]
fn ends_with_3_when_the_file_is_missing_or_the_port_in_use() {
    let ended = run(&["--config", "missing.yaml"], SMALL);
    assert_eq!(ended.code, Some(3));
    assert!(ended.stderr.contains("cannot read `missing.yaml`"), "{}", ended.stderr);

    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("bound").port().to_string();
    let ended = run(&["--config", "service.yaml", "--port", &port], SMALL);
    assert_eq!(ended.code, Some(3));
    assert!(
        ended.stderr.contains(&format!("cannot listen on 127.0.0.1:{port}")),
        "{}",
        ended.stderr
    );
}
