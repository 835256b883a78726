//! Records as the API shows them: times as text, JSON opened, nothing that is only ours.

use prophecy_core::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::clock::rfc3339;

/// Never shown: hashes of secrets, sealed secrets, paths on this machine.
const HIDDEN: [&str; 3] = ["secret_sealed", "folder", "idempotency_key"];

/// Returns a record as it is shown.
pub(crate) fn view<T: Serialize>(record: &T) -> Value {
    match serde_json::to_value(record) {
        Ok(Value::Object(fields)) => Value::Object(open(fields)),
        Ok(other) => other,
        Err(_) => Value::Null,
    }
}

/// Returns a token as it is shown.
pub(crate) fn token(token: &prophecy_store::Token) -> Value {
    let mut value = view(token);
    if let Some(fields) = value.as_object_mut() {
        fields.remove("hash");
    }
    value
}

fn open(fields: Map<String, Value>) -> Map<String, Value> {
    let mut shown = Map::new();
    for (name, value) in fields {
        if HIDDEN.contains(&name.as_str()) {
            continue;
        }
        if name == "at" || name.ends_with("_at") {
            let text = value.as_i64().map(|nanos| rfc3339(Timestamp(nanos)));
            shown.insert(name, text.map_or(Value::Null, Value::String));
        } else if let (Some(opened), Value::String(text)) = (name.strip_suffix("_json"), &value) {
            let inner = serde_json::from_str(text).unwrap_or(Value::Null);
            shown.insert(opened.to_owned(), inner);
        } else {
            shown.insert(name, value);
        }
    }
    shown
}
