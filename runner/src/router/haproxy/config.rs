//! The configuration that HAProxy is started with. Weights are not in it: they are in a map that can be changed
//! while it runs.

use super::super::choice::{BUCKET_COOKIE, STEP};
use super::layout::{ARMS, Gate, Layout, backend, encode, rule_key};
use super::place::{COMMANDS, LOG, Lines, map_name};
use crate::strategy::WHOLE;

/// The longest line of what callers met.
const LINE_BYTES: usize = 2_048;

/// Writes a configuration.
pub(super) fn config(layout: &Layout, generation: u64, lines: &Lines, threads: usize) -> String {
    let port = lines.port;
    let mut text = format!(
        "global
    description prophecy-{generation}
    stats socket unix@{COMMANDS} mode 600 level admin expose-fd listeners
    stats timeout 1d
    nbthread {threads}
    noreuseport
    hard-stop-after 1h
    tune.bufsize 32768
    log ring@lines len {LINE_BYTES} format raw local0
    log 127.0.0.1:{port} len {LINE_BYTES} format raw local0
ring lines
    format raw
    maxlen {LINE_BYTES}
    size 4194304
    timeout connect 1s
    timeout server 10s
    server companion unix@{LOG} log-proto octet-count
defaults
    mode http
    option abortonclose
    option idle-close-on-response
    option redispatch 1
    option allbackups
    retries 3
    retry-on conn-failure empty-response
    timeout connect 2s
    timeout client 60s
    timeout http-request 60s
    timeout http-keep-alive 30s
    timeout tunnel 1d
backend turns
    stick-table type string len 8 size 64k nopurge store gpc0,gpc1
"
    );
    for (name, gate) in &layout.gates {
        front(&mut text, (name, gate), generation, lines);
        for arm in gate.arms.keys() {
            arm_of(&mut text, name, gate, arm);
        }
    }
    text
}

fn front(text: &mut String, (name, gate): (&str, &Gate), generation: u64, lines: &Lines) {
    let mark = &lines.key;
    let key = encode(name);
    let map = map_name(generation);
    // A key as short as the table takes: collisions would only share a counter.
    let turn = &blake3::hash(name.as_bytes()).to_hex()[..7];
    text.push_str(&format!("frontend {key}\n    bind {}\n", gate.listen));
    if gate.observed {
        text.push_str(&format!(
            "    log global
    log-format \"prophecy {mark} {generation} {key} %b %s %[var(txn.number)] %[stopping] %ST %ts %B %[var(txn.began)] %[date(0,us)] %HM %HPO\"
    http-request set-var(txn.began) date(0,us)
"
        ));
    }
    if gate.is_entry {
        text.push_str(
            "    option forwardfor
    http-request set-header x-forwarded-host %[req.hdr(host)] unless { req.hdr(x-forwarded-host) -m found }
    http-request set-header x-forwarded-proto http unless { req.hdr(x-forwarded-proto) -m found }
",
        );
    }
    text.push_str(&format!(
        "    http-request del-header proxy-authorization
    http-request disable-l7-retry unless {{ method GET HEAD OPTIONS }}
    http-request track-sc0 str({turn}) table turns
    http-request set-var(txn.number) sc_inc_gpc0(0)
    http-request set-var(txn.arms) str({key}),map({map})
"
    ));
    for (field, value) in &gate.rules {
        let rule = format!("str({key}.{}),map({map})", rule_key(field, value));
        let found = match field.strip_prefix("cookie:") {
            Some(cookie) => format!("req.cook({cookie})"),
            None => format!("req.fhdr({field},1)"),
        };
        text.push_str(&format!(
            "    http-request set-var(txn.arm) {rule} if !{{ var(txn.arm) -m found }} {{ {found} -m str -- {} }} {{ {rule} -m found }}\n",
            quoted(value)
        ));
    }
    place(text, &key, &map);
    for nth in 0..ARMS {
        let (end, arm) = (2 * nth + 1, 2 * nth + 2);
        text.push_str(&format!(
            "    http-request set-var(txn.arm) var(txn.arms),word({arm},|) if !{{ var(txn.arm) -m found }} {{ var(txn.arms),word({end},|),sub(txn.place) gt 0 }}\n"
        ));
    }
    text.push_str(&format!(
        "    http-response add-header set-cookie \"{BUCKET_COOKIE}=%[var(txn.assigned)]; Path=/; HttpOnly; SameSite=Lax\" if {{ var(txn.assigned) -m found }}
    use_backend %[var(txn.arm)] if {{ var(txn.arm) -m found }}
    default_backend {}\n",
        backend(name, &gate.last)
    ));
}

/// Finds the place of a request among the parts of the whole, as our own router does.
fn place(text: &mut String, key: &str, map: &str) {
    let free = "!{ var(txn.arm) -m found } !{ var(txn.place) -m found }";
    let sticky = format!("{{ str({key}.sticky),map({map}) -m found }}");
    let turn = format!("sc_inc_gpc1(0),mul({STEP}),mod({WHOLE})");
    text.push_str(&format!(
        "    http-request set-var(txn.place) req.cook({BUCKET_COOKIE}),add(0) if {sticky} {{ req.cook({BUCKET_COOKIE}) -m reg ^[0-9]{{1,5}}$ }} {free}
    http-request set-var(txn.place) req.cook(session),xxh32,mod({WHOLE}) if {sticky} {{ req.cook(session) -m found }} {free}
    http-request set-var(txn.assigned) {turn} if {sticky} {free}
    http-request set-var(txn.place) var(txn.assigned) if {{ var(txn.assigned) -m found }}
    http-request set-var(txn.place) {turn} if {free}
"
    ));
}

fn arm_of(text: &mut String, name: &str, gate: &Gate, arm: &str) {
    let servers = &gate.arms[arm];
    text.push_str(&format!(
        "backend {}\n    timeout server {}ms\n",
        backend(name, arm),
        gate.answer_limit_ms
    ));
    let is_alone = servers.len() == 1;
    for server in servers {
        // What nobody can stand in for is asked whether it seems to be there or not.
        let more = if server.is_backup {
            " backup"
        } else if is_alone {
            ""
        } else {
            " check inter 1s fastinter 200ms downinter 200ms fall 2 rise 1 observe layer4 error-limit 1 on-error mark-down"
        };
        text.push_str(&format!("    server {} {}{more}\n", server.name(), server.address));
    }
}

/// Returns a value as one word.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', "'\\''"))
}
