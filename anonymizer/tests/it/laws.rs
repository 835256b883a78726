//! What holds for any input.

use prophecy_core::{Exchange, Header};
use proptest::prelude::*;

use super::{exchange, sanitizer, with_body};

/// A document with one of everything, for mutation.
const DOCUMENT: &str =
    r#"{"a":[1,-2.5e3,true,null,"x\u00e9\n"],"mail":"ann@wonderland.org","k":{"b":{}}}"#;

fn headers() -> impl Strategy<Value = Vec<Header>> {
    let name = prop_oneof![
        Just("cookie".to_owned()),
        Just("set-cookie".to_owned()),
        Just("authorization".to_owned()),
        Just("host".to_owned()),
        Just("user-agent".to_owned()),
        Just("content-type".to_owned()),
        any::<String>(),
    ];
    let header = (name, any::<String>()).prop_map(|(name, value)| Header::new(&name, value));
    prop::collection::vec(header, 0..6)
}

proptest! {
    #[test]
    fn any_exchange_is_sanitized_alike_twice(
        path in any::<String>(),
        query in any::<Option<String>>(),
        authority in any::<String>(),
        method in any::<String>(),
        headers in headers(),
        body in prop::collection::vec(any::<u8>(), 0..200),
        kind in prop::sample::select(vec!["application/json", "application/x-www-form-urlencoded", "text/plain"]),
    ) {
        let mut request_headers = vec![Header::new("content-type", kind)];
        request_headers.extend(headers.clone());
        let open = Exchange {
            path, query, authority, method,
            request_headers,
            response_headers: headers,
            request_bytes: body.len() as u64,
            request_body: Some(body.clone()),
            response_body: Some(body),
            ..exchange()
        };
        for policy in ["default", "replayable", "synthetic"] {
            let sanitizer = sanitizer(policy);
            prop_assert_eq!(sanitizer.exchange(open.clone()), sanitizer.exchange(open.clone()));
        }
    }

    #[test]
    fn mutated_json_stays_json_or_is_dropped(
        at in 0..DOCUMENT.len(),
        remove in 0..4_usize,
        insert in prop::collection::vec(any::<u8>(), 0..4),
    ) {
        let mut bytes = DOCUMENT.as_bytes().to_vec();
        let end = (at + remove).min(bytes.len());
        bytes.splice(at..end, insert);
        let valid = serde_json::from_slice::<serde_json::Value>(&bytes).is_ok();
        let length = bytes.len() as u64;
        let open = Exchange {
            request_body: Some(bytes),
            request_bytes: length,
            ..with_body("application/json", "")
        };
        for policy in ["default", "replayable"] {
            let sanitized = sanitizer(policy).exchange(open.clone()).into_inner();
            prop_assert_eq!(sanitized.request_body.is_some(), valid);
            if let Some(body) = sanitized.request_body {
                prop_assert!(serde_json::from_slice::<serde_json::Value>(&body).is_ok());
            }
        }
    }

    #[test]
    fn any_number_stays_a_number(number in any::<f64>(), whole in any::<i64>()) {
        prop_assume!(number.is_finite());
        let body = serde_json::json!([number, whole]).to_string();
        let sanitized = sanitizer("default").exchange(with_body("application/json", &body));
        let replaced = sanitized.request_body.as_ref().expect("it is JSON");
        let replaced: serde_json::Value = serde_json::from_slice(replaced).expect("it stays JSON");
        prop_assert!(replaced[0].is_number() && replaced[1].is_number());
    }

    #[test]
    fn any_email_leaves_no_trace(local in "[a-z]{4,12}[.][a-z]{4,12}", domain in "[a-z]{5,12}") {
        let email = format!("{local}@{domain}.org");
        let body = serde_json::json!({ "note": &email, "list": [&email] }).to_string();
        let open = Exchange {
            path: format!("/items/{email}"),
            query: Some(format!("q={email}")),
            ..with_body("application/json", &body)
        };
        for policy in ["default", "replayable"] {
            let sanitized = sanitizer(policy).exchange(open.clone()).into_inner();
            let body = String::from_utf8(sanitized.request_body.clone().expect("JSON")).expect("text");
            let shown = format!("{sanitized:?}{body}");
            prop_assert!(!shown.contains(&local) && !shown.contains(&domain), "{}", shown);
        }
    }
}
