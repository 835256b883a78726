//! Planted values must not occur anywhere in what comes out.

use prophecy_core::{Exchange, Header};

use super::{exchange, sanitizer, with_body};

/// Values that detectors know, wherever they stand.
const PLANTED: [&str; 13] = [
    "ann.lee@wonderland.org",
    "4111111111111111",
    "5500-0000-0000-0004",
    "+491701234567",
    "(555) 867-5309",
    "555-867-5309",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm5sZWUifQ.c2lnbmF0dXJlMTIz",
    "sk_live_4eC39HqLyjWDarjtT1zdp7dc",
    "DE89370400440532013000",
    "203.0.113.97",
    "203.0.113.97:8443",
    "2001:db8::beef:7",
    "Ann Lee-Brückner",
];

/// Says where a planted value is left, if anywhere.
fn leak(sanitized: &Exchange, planted: &str) -> Option<String> {
    let shown = format!("{sanitized:?}");
    let bodies = [&sanitized.request_body, &sanitized.response_body];
    let bodies =
        bodies.into_iter().flatten().map(|body| String::from_utf8_lossy(body).into_owned());
    let quoted = format!("{planted:?}");
    let encoded = percent(planted);
    bodies
        .chain([shown])
        .find(|text| {
            text.contains(planted)
                || text.contains(quoted.trim_matches('"'))
                || text.contains(&encoded)
        })
        .map(|text| format!("{planted} is left in {text}"))
}

fn percent(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { (byte as char).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn check(what: &str, plant: impl Fn(&str) -> Exchange) {
    for policy in ["default", "replayable"] {
        for planted in PLANTED {
            let sanitized = sanitizer(policy).exchange(plant(planted)).into_inner();
            let found = leak(&sanitized, planted);
            assert_eq!(found, None, "{what} under {policy}");
        }
    }
}

#[test]
fn the_test_sees_a_leak() {
    for planted in PLANTED {
        let planted_body = serde_json::json!({ "note": planted }).to_string();
        let open = with_body("application/json", &planted_body);
        let kept = sanitizer("synthetic").exchange(open).into_inner();
        assert!(leak(&kept, planted).is_some(), "{planted}");
    }
}

#[test]
fn nothing_leaks_through_the_target() {
    check("path", |planted| Exchange {
        path: format!("/users/{}", percent(planted)),
        ..exchange()
    });
    check("raw path", |planted| Exchange { path: format!("/users/{planted}"), ..exchange() });
    check("matrix parameter", |planted| Exchange {
        path: format!("/cart;who={}", percent(planted)),
        ..exchange()
    });
    check("query", |planted| Exchange {
        query: Some(format!("page=2&q={}", percent(planted))),
        ..exchange()
    });
    check("twice escaped query", |planted| Exchange {
        query: Some(format!("q={}", percent(&percent(planted)))),
        ..exchange()
    });
    check("bare query", |planted| Exchange { query: Some(percent(planted)), ..exchange() });
    check("query name", |planted| Exchange {
        query: Some(format!("{}=1", percent(planted))),
        ..exchange()
    });
    check("method", |planted| Exchange { method: planted.to_owned(), ..exchange() });
    check("authority", |planted| Exchange { authority: planted.to_owned(), ..exchange() });
    check("port", |planted| Exchange { authority: format!("shop:{planted}"), ..exchange() });
}

#[test]
fn nothing_leaks_through_headers() {
    let names =
        ["x-note", "authorization", "x-forwarded-for", "location", "host", "referer", "from"];
    for name in names {
        check(name, |planted| Exchange {
            request_headers: vec![Header::new(name, planted)],
            response_headers: vec![Header::new(name, planted)],
            ..exchange()
        });
    }
    check("bearer token", |planted| Exchange {
        request_headers: vec![Header::new("authorization", format!("Bearer {planted}"))],
        ..exchange()
    });
    check("forwarded", |planted| Exchange {
        request_headers: vec![Header::new("forwarded", format!("for={planted};proto=https"))],
        ..exchange()
    });
    check("header name", |planted| Exchange {
        request_headers: vec![Header::new(&planted.to_ascii_lowercase(), "1")],
        ..exchange()
    });
    check("user agent", |planted| Exchange {
        request_headers: vec![Header::new("user-agent", format!("curl/8 ({planted}) {planted}"))],
        ..exchange()
    });
    check("cookie", |planted| Exchange {
        request_headers: vec![Header::new(
            "cookie",
            format!("a={planted}; {planted}=b; {planted}"),
        )],
        response_headers: vec![Header::new("set-cookie", format!("s={planted}; Domain={planted}"))],
        ..exchange()
    });
}

#[test]
fn nothing_that_looks_personal_leaks_through_headers_that_say_how_to_read_a_message() {
    for planted in PLANTED.into_iter().filter(|planted| planted.is_ascii()) {
        for name in ["accept", "content-type", "server", "traceparent", "range"] {
            let headers = vec![Header::new(name, planted)];
            let planted_header = Exchange { request_headers: headers, ..exchange() };
            let sanitized = sanitizer("default").exchange(planted_header).into_inner();
            assert_eq!(leak(&sanitized, planted), None, "{name}");
        }
    }
}

#[test]
fn short_secrets_do_not_leak_through_headers_that_are_named_after_them() {
    for name in ["x-api-key", "x-session-id", "x-auth", "cookie", "x-csrf-token"] {
        let headers = vec![Header::new(name, "tok-abc123")];
        let planted = Exchange { request_headers: headers, ..exchange() };
        let sanitized = sanitizer("replayable").exchange(planted).into_inner();
        assert_eq!(leak(&sanitized, "tok-abc123"), None, "{name}");
    }
}

#[test]
fn nothing_leaks_through_json() {
    for path in ["text", "nested", "key", "array", "inside"] {
        check(path, |planted| {
            let value = match path {
                "text" => serde_json::json!({ "note": planted }),
                "nested" => serde_json::json!({ "a": [{ "b": { "c": [[planted]] } }] }),
                "key" => serde_json::json!({ "a": { planted: 1 } }),
                "array" => serde_json::json!([planted]),
                _ => serde_json::json!({ "note": format!("order of {planted}, urgent") }),
            };
            let body = value.to_string();
            Exchange {
                response_body: Some(body.clone().into_bytes()),
                response_bytes: body.len() as u64,
                response_headers: vec![Header::new("content-type", "application/problem+json")],
                ..with_body("application/json; charset=utf-8", &body)
            }
        });
    }
    check("escaped", |planted| {
        let escaped: String = planted.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        with_body("application/json", &format!("{{\"note\":\"{escaped}\"}}"))
    });
    check("without a type", |planted| with_body("", &serde_json::json!([planted]).to_string()));
}

#[test]
fn names_do_not_leak_through_fields_that_hold_names() {
    let fields = ["name", "firstName", "user_name", "shipping_address", "holder", "city"];
    for field in fields {
        for value in ["anneliese", "ANNELIESE", "anneliese17"] {
            let bodies = [
                serde_json::json!({ field: value }),
                serde_json::json!({ field: [value] }),
                serde_json::json!({ field: { "part": value } }),
            ];
            for body in bodies {
                let planted = Exchange {
                    query: Some(format!("{field}={value}")),
                    ..with_body("application/json", &body.to_string())
                };
                let sanitized = sanitizer("replayable").exchange(planted).into_inner();
                assert_eq!(leak(&sanitized, value), None, "{field}");
            }
        }
    }
}

#[test]
fn nothing_leaks_through_forms() {
    check("form", |planted| {
        let form = format!("page=2&note={0}&{0}=1&{0}", percent(planted));
        with_body("application/x-www-form-urlencoded", &form)
    });
}

#[test]
fn bodies_that_cannot_be_read_are_dropped() {
    for policy in ["default", "replayable"] {
        for kind in
            ["text/plain", "multipart/form-data; boundary=x", "application/octet-stream", ""]
        {
            let sanitized = sanitizer(policy).exchange(with_body(kind, "Ann Lee"));
            assert_eq!(sanitized.request_body, None, "{kind}");
        }
        let mut compressed = with_body("application/json", "{}");
        compressed.request_headers.push(Header::new("content-encoding", "gzip"));
        assert_eq!(sanitizer(policy).exchange(compressed).request_body, None);
        let cut = with_body("application/json", "{\"note\":\"4111111");
        assert_eq!(sanitizer(policy).exchange(cut).request_body, None);
    }
}

#[test]
fn cut_bodies_are_dropped_even_if_they_can_be_read() {
    let bodies =
        [("application/x-www-form-urlencoded", "a=41111111"), ("application/json", "41111")];
    for (kind, body) in bodies {
        let cut = Exchange { request_bytes: 99, ..with_body(kind, body) };
        let sanitized = sanitizer("replayable").exchange(cut);
        assert_eq!((sanitized.request_body.as_ref(), sanitized.request_bytes), (None, 99));
    }
}

#[test]
fn addresses_of_people_do_not_leak_through_sockets() {
    let open = Exchange { client: "203.0.113.97:50123".parse().unwrap(), ..exchange() };
    for policy in ["default", "replayable"] {
        let sanitized = sanitizer(policy).exchange(open.clone()).into_inner();
        assert_eq!(leak(&sanitized, "203.0.113.97"), None);
        assert_eq!(sanitized.client.port(), 50123);
    }
}
