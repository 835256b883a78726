//! Policy files: what they allow is kept to the byte, and what they deny is not.

use prophecy_core::{Exchange, Header};

use super::{body_of, custom, exchange, with_body};

const ORDER: &str = r#"{"items":[{"sku":"Ann's Tea","n":17}],"sku":"Ann's Tea"}"#;

#[test]
fn keeps_allowed_headers_cookies_query_fields_and_segments() {
    let sanitizer = custom(
        "allow:
  headers: [X-Tenant]
  cookies: [theme]
  query: [q]
  routes: ['GET /wonderland/{id}']",
    );
    let open = Exchange {
        path: "/wonderland/ann".to_owned(),
        query: Some("q=Ann+Lee&r=Ann+Lee".to_owned()),
        request_headers: vec![
            Header::new("x-tenant", "Ann & Co"),
            Header::new("x-other", "Ann & Co"),
            Header::new("cookie", "theme=ann; id=ann"),
        ],
        ..exchange()
    };
    let sanitized = sanitizer.exchange(open).into_inner();
    assert!(sanitized.path.starts_with("/wonderland/") && !sanitized.path.ends_with("ann"));
    let query = sanitized.query.clone().unwrap();
    assert!(query.starts_with("q=Ann+Lee&r=") && !query.ends_with("Lee"), "{query}");
    assert_eq!(sanitized.request_header("x-tenant"), Some("Ann & Co"));
    assert_ne!(sanitized.request_header("x-other"), Some("Ann & Co"));
    let cookie = sanitized.request_header("cookie").unwrap();
    assert!(cookie.starts_with("theme=ann; id=") && !cookie.ends_with("ann"), "{cookie}");
}

#[test]
fn keeps_an_allowed_field_and_not_its_namesake_elsewhere() {
    let sanitizer = custom("allow: { fields: ['$.items[*].sku'] }");
    let body = body_of(&sanitizer, with_body("application/json", ORDER)).unwrap();
    assert_eq!(body.matches("Ann's Tea").count(), 1, "{body}");
    assert!(body.starts_with(r#"{"items":[{"sku":"Ann's Tea","n":"#));
}

#[test]
fn keeps_a_body_to_the_byte_if_every_field_is_allowed() {
    let sanitizer = custom("allow: { fields: ['$.items[*].sku', '$.items[*].n', '$.sku'] }");
    assert_eq!(body_of(&sanitizer, with_body("application/json", ORDER)).unwrap(), ORDER);
}

#[test]
fn rules_of_fields_hold_for_forms() {
    let sanitizer = custom("allow: { fields: ['$.sku'] }");
    let open = with_body("application/x-www-form-urlencoded", "sku=Ann%27s+Tea&who=Ann");
    let body = body_of(&sanitizer, open).unwrap();
    assert!(body.starts_with("sku=Ann%27s+Tea&who=") && !body.ends_with("Ann"), "{body}");
}

#[test]
fn deny_wins_over_allow_and_over_the_base() {
    for base in ["default", "replayable"] {
        let sanitizer = custom(&format!(
            "extends: {base}
allow: &rules
  headers: [accept, x-tenant]
  cookies: [theme]
  query: [q]
  fields: ['$.items[*].n']
  routes: ['GET /users']
deny: *rules"
        ));
        let open = Exchange {
            path: "/users".to_owned(),
            query: Some("q=abcdef".to_owned()),
            request_headers: vec![
                Header::new("accept", "text/html"),
                Header::new("x-tenant", "abcdef"),
                Header::new("cookie", "theme=abcdef"),
                Header::new("content-type", "application/json"),
            ],
            ..with_body("application/json", r#"{"items":[{"n":123456}]}"#)
        };
        let sanitized = sanitizer.exchange(open).into_inner();
        let shown = format!("{sanitized:?}");
        for denied in ["users", "abcdef", "text/html"] {
            assert!(!shown.contains(denied), "{denied} under {base}: {shown}");
        }
        let body = String::from_utf8(sanitized.request_body.unwrap()).unwrap();
        assert!(!body.contains("123456"), "{body}");
    }
}

/// A test system's traffic may be kept but for what its policy names.
#[test]
fn a_policy_that_extends_synthetic_keeps_what_it_does_not_deny() {
    let open = Exchange {
        client: "203.0.113.97:50123".parse().unwrap(),
        authority: "Ann Lee:80".to_owned(),
        method: "BREW".to_owned(),
        path: "/users/ann@wonderland.org".to_owned(),
        query: Some("ann@wonderland.org=1&Ann".to_owned()),
        request_headers: vec![
            Header::new("content-type", "application/json"),
            Header::new("user-agent", "curl/8 (Ann)"),
            Header::new("authorization", "Bearer abc"),
            Header::new("cookie", "Ann Lee=1; bare"),
        ],
        response_headers: vec![Header::new("set-cookie", "a=Ann; Domain=ann.org; Path=/ann")],
        response_body: Some(b"Ann Lee".to_vec()),
        response_bytes: 7,
        ..with_body("application/json", r#"{"ann@wonderland.org":4111111111111111,"b":"Ann"}"#)
    };
    let sanitizer = custom("extends: synthetic\ndeny: { headers: [x-secret] }");
    let mut expected = open.clone();
    expected.route = "BREW /users/{id}".to_owned();
    let mut planted = open;
    planted.request_headers.push(Header::new("x-secret", "abcdef"));
    let mut sanitized = sanitizer.exchange(planted).into_inner();
    let denied = sanitized.request_headers.pop().unwrap();
    assert_eq!(sanitized, expected);
    assert!(denied.name == "x-secret" && denied.value != "abcdef");
}

#[test]
fn a_policy_that_extends_synthetic_and_denies_is_obeyed() {
    let sanitizer = custom("extends: synthetic\ndeny: { query: [q], fields: ['$.a'] }");
    let open = Exchange {
        query: Some("q=abcdef&r=Ann".to_owned()),
        ..with_body("application/json", r#"{"a":"Ann","b":"Ann"}"#)
    };
    let sanitized = sanitizer.exchange(open).into_inner();
    let query = sanitized.query.unwrap();
    assert!(!query.contains("abcdef") && query.ends_with("&r=Ann"), "{query}");
    let body = String::from_utf8(sanitized.request_body.unwrap()).unwrap();
    assert!(!body.contains(r#""a":"Ann""#) && body.ends_with(r#""b":"Ann"}"#), "{body}");
}
