//! What a replay needs is still there, and what is replaced is replaced alike everywhere.

use prophecy_anonymizer::{Key, Policy, Sanitizer};
use prophecy_core::{Exchange, Header};
use serde_json::{Value, json};

use super::{body_of, exchange, sanitizer, with_body};

#[test]
fn replayable_keeps_what_names_rows() {
    let body = json!({
        "customer": { "id": "c-4711" },
        "items": [{ "sku": "SKU-00017", "id": 9, "quantity": 3, "price": 9.99 }],
        "state": "in_transit",
        "currency": "EUR",
        "ordered": "2024-05-01T12:00:00Z",
        "ref": "0b54f3a2-aa0e-4b0c-9f3d-1d2f3a4b5c6d",
        "row": "507f1f77bcf86cd799439011",
        "at": 1_714_558_200_000_u64,
        "gift": false,
        "note": null
    })
    .to_string();
    let open = with_body("application/json", &body);
    assert_eq!(body_of(&sanitizer("replayable"), open), Some(body));
}

#[test]
fn replayable_keeps_paths_and_queries_that_name_rows() {
    let paths = [
        "/items/SKU-00017",
        "/orders/8814/lines/2",
        "/reports/2024-05-01",
        "/carts/0b54f3a2-aa0e-4b0c-9f3d-1d2f3a4b5c6d",
        "/rows/507f1f77bcf86cd799439011",
        "/api/v2/getOrder",
        "/static/app.3f2a.js",
        "//",
        "/",
        "*",
    ];
    for path in paths {
        let open = Exchange {
            path: path.to_owned(),
            query: Some("page=2&sort=price:asc&ids=1,2,3&state=shipped&empty=&flag".to_owned()),
            ..exchange()
        };
        let sanitized = sanitizer("replayable").exchange(open.clone());
        assert_eq!((&sanitized.path, &sanitized.query), (&open.path, &open.query));
    }
}

#[test]
fn the_default_keeps_only_the_words_of_the_api() {
    let open = Exchange { path: "/v2/users/alice/orders/8814".to_owned(), ..exchange() };
    let sanitized = sanitizer("default").exchange(open);
    let segments: Vec<&str> = sanitized.path.split('/').collect();
    assert_eq!([segments[1], segments[2], segments[4]], ["v2", "users", "orders"]);
    assert!(segments[3] != "alice" && segments[3].len() == 5);
    assert!(segments[5] != "8814" && segments[5].len() == 4);
    assert!(sanitized.route.ends_with("/orders/{id}"), "{}", sanitized.route);
}

#[test]
fn one_value_has_one_pseudonym_wherever_it_stands() {
    let email = "ann.lee@wonderland.org";
    let open = Exchange {
        path: "/users/ann.lee%40wonderland.org".to_owned(),
        query: Some("q=ann.lee%40wonderland.org".to_owned()),
        request_headers: vec![
            Header::new("content-type", "application/json"),
            Header::new("x-who", email),
            Header::new("cookie", format!("who={email}")),
        ],
        ..with_body("application/json", &json!({ "a": [{ "mail": email }] }).to_string())
    };
    for policy in ["default", "replayable"] {
        let sanitized = sanitizer(policy).exchange(open.clone()).into_inner();
        let pseudonym = sanitized.request_header("x-who").unwrap().to_owned();
        assert!(pseudonym.ends_with("@example.com"));
        let body: Value = serde_json::from_slice(&sanitized.request_body.clone().unwrap()).unwrap();
        assert_eq!(body["a"][0]["mail"], pseudonym.as_str());
        assert_eq!(sanitized.query, Some(format!("q={pseudonym}")));
        assert_eq!(sanitized.path, format!("/users/{pseudonym}"));
        assert_eq!(sanitized.request_header("cookie"), Some(format!("who={pseudonym}").as_str()));
    }
}

#[test]
fn the_key_decides_about_pseudonyms_and_nothing_else_does() {
    let open = with_body("application/json", r#"{"mail":"ann.lee@wonderland.org","name":"Ann"}"#);
    let under = |byte: u8| {
        let key = Key::from_bytes([byte; 32]);
        Sanitizer::new(Policy::named("default").unwrap(), key).exchange(open.clone())
    };
    assert_eq!(under(1), under(1));
    assert_ne!(under(1).request_body, under(2).request_body);
}

#[test]
fn json_keeps_its_structure() {
    let body = json!({
        "name": "Ann", "n": [1, -2.5, 1e300, 0, 123_456_789_012_345_678_u64], "t": true,
        "nested": { "a": [{}, [], null, ""] }
    });
    let replaced = body_of(&sanitizer("default"), with_body("application/json", &body.to_string()));
    let replaced: Value = serde_json::from_str(&replaced.unwrap()).unwrap();
    assert_eq!(kinds(&body), kinds(&replaced));
    assert_ne!(body, replaced);
}

/// Returns a document with its scalars replaced by the names of their types.
fn kinds(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| (key.clone(), kinds(value))).collect()
        }
        Value::Array(items) => items.iter().map(kinds).collect(),
        Value::String(text) => json!(format!("text of {}", text.len())),
        Value::Number(_) => json!("number"),
        Value::Bool(_) | Value::Null => value.clone(),
    }
}

#[test]
fn a_whole_body_stays_whole() {
    // The pseudonym's domain is shorter, and a replay leaves out a request whose body is shorter
    // than it was on the wire.
    let open = with_body("application/json", r#"{"mail":"ann@a-rather-long-domain.org"}"#);
    let length = open.request_bytes;
    let sanitized = sanitizer("replayable").exchange(open);
    let kept = sanitized.request_body.as_ref().unwrap().len() as u64;
    assert!(kept < length);
    assert_eq!(sanitized.request_bytes, kept);
}

#[test]
fn headers_that_say_how_to_read_a_message_stay() {
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let headers = vec![
        Header::new("accept", "text/html,application/xhtml+xml,*/*;q=0.8"),
        Header::new("content-type", "application/json; charset=utf-8"),
        Header::new("traceparent", trace),
        Header::new("if-modified-since", "Wed, 21 Oct 2015 07:28:00 GMT"),
    ];
    for policy in ["default", "replayable"] {
        let open = Exchange { request_headers: headers.clone(), ..exchange() };
        assert_eq!(sanitizer(policy).exchange(open).request_headers, headers);
    }
}

#[test]
fn synthetic_keeps_everything_and_names_the_route() {
    let open = Exchange {
        path: "/users/ann@wonderland.org".to_owned(),
        query: Some("token=abc".to_owned()),
        ..with_body("text/plain", "Ann Lee")
    };
    let expected = Exchange { route: "POST /users/{id}".to_owned(), ..open.clone() };
    assert_eq!(sanitizer("synthetic").exchange(open).into_inner(), expected);
}
