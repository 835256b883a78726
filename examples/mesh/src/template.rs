//! Templates: text with values in braces, `/items/{id}`, and JSON with them, `{{row.price}}`.
//!
//! One brace and two mean the same; two are customary in answers. A string that is one value and
//! nothing else keeps the value's type, so that `"{{row.price}}"` becomes a number.

mod expression;

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::{Map, Value};

use self::expression::Expression;
use crate::scope::Scope;

/// Text with values in it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Value")]
pub(crate) struct Template {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Value(Expression),
}

/// JSON with values in its strings.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Value")]
pub(crate) enum JsonTemplate {
    /// Something without values.
    Fixed(Value),
    /// A string with values.
    Text(Template),
    /// A list.
    List(Vec<JsonTemplate>),
    /// An object, with its fields in order.
    Object(Vec<(String, JsonTemplate)>),
}

// === impl Template ===

impl Template {
    /// Returns the names that the values start with.
    pub(crate) fn roots(&self) -> Vec<&str> {
        let values = self.pieces.iter().filter_map(|piece| match piece {
            Piece::Value(expression) => Some(expression),
            Piece::Text(_) => None,
        });
        values.flat_map(Expression::roots).collect()
    }

    /// Fills in the values; one value alone keeps its type.
    pub(crate) fn value(&self, scope: &mut Scope) -> Value {
        match self.pieces.as_slice() {
            [Piece::Value(expression)] => expression.value(scope),
            _ => Value::String(self.text(scope)),
        }
    }

    /// Fills in the values as text.
    pub(crate) fn text(&self, scope: &mut Scope) -> String {
        self.text_with(scope, &|text| text)
    }

    /// Fills in the values, percent-encoded so that none can leave its path segment or query field.
    pub(crate) fn path(&self, scope: &mut Scope) -> String {
        self.text_with(scope, &|text| percent_encoded(&text))
    }

    fn text_with(&self, scope: &mut Scope, encode: &dyn Fn(String) -> String) -> String {
        let mut filled = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Value(expression) => {
                    filled.push_str(&encode(text_of(&expression.value(scope))));
                }
            }
        }
        filled
    }
}

impl TryFrom<String> for Template {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once('{') {
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            let (close, after) = match after.strip_prefix('{') {
                Some(after) => ("}}", after),
                None => ("}", after),
            };
            let closed = after.split_once(close);
            let expression = closed.and_then(|(inside, _)| Expression::parse(inside.trim()));
            let Some(((inside, after), expression)) = closed.zip(expression) else {
                let found = closed.map_or(after, |(inside, _)| inside);
                return Err(format!(
                    "`{found}` is not a value; write `{{id}}`, `{{body.items.length}}` or `{{name(id)}}`"
                ));
            };
            debug_assert!(!inside.is_empty(), "an empty expression does not parse");
            pieces.push(Piece::Value(expression));
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Self { pieces })
    }
}

impl TryFrom<Value> for Template {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        // A number or a boolean is as good as its text.
        Self::try_from(text_of(&value))
    }
}

// === impl JsonTemplate ===

impl JsonTemplate {
    /// Returns the templates in it.
    pub(crate) fn templates(&self) -> Vec<&Template> {
        match self {
            Self::Fixed(_) => Vec::new(),
            Self::Text(template) => vec![template],
            Self::List(parts) => parts.iter().flat_map(Self::templates).collect(),
            Self::Object(fields) => fields.iter().flat_map(|(_, part)| part.templates()).collect(),
        }
    }

    /// Fills in the values.
    pub(crate) fn value(&self, scope: &mut Scope) -> Value {
        match self {
            Self::Fixed(value) => value.clone(),
            Self::Text(template) => template.value(scope),
            Self::List(parts) => parts.iter().map(|part| part.value(scope)).collect(),
            Self::Object(fields) => {
                let fields = fields.iter().map(|(name, part)| (name.clone(), part.value(scope)));
                Value::Object(fields.collect::<Map<_, _>>())
            }
        }
    }
}

impl TryFrom<Value> for JsonTemplate {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        match value {
            Value::String(text) => Template::try_from(text).map(Self::Text),
            Value::Array(parts) => {
                let parts = parts.into_iter().map(Self::try_from);
                parts.collect::<Result<_, _>>().map(Self::List)
            }
            Value::Object(fields) => {
                let fields = fields
                    .into_iter()
                    .map(|(name, part)| Self::try_from(part).map(|part| (name, part)));
                fields.collect::<Result<_, _>>().map(Self::Object)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(Self::Fixed(value)),
        }
    }
}

/// Returns a value as text: strings without quotes, nothing for null, JSON for the rest.
pub(crate) fn text_of(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~,@:".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("writing to a string cannot fail");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn scope() -> Scope {
        let mut scope = Scope::for_tests(7);
        scope.bind("id", json!("4 2"));
        scope.bind("body", json!({ "items": [{ "sku": "a" }, { "sku": "b" }], "n": 2 }));
        scope
    }

    #[test]
    fn fills_in_values_and_keeps_their_types() {
        let check = |text: &str, expected: Value| {
            let template = Template::try_from(text.to_owned()).expect(text);
            assert_eq!(template.value(&mut scope()), expected, "{text}");
        };
        check("plain", json!("plain"));
        check("{id}", json!("4 2"));
        check("{{ body.n }}", json!(2));
        check("n = {body.n}!", json!("n = 2!"));
        check("{body.items.length}", json!(2));
        check("{body.items.*.sku}", json!(["a", "b"]));
        check("{body.items.1.sku}", json!("b"));
        check("{body.nothing.here}", Value::Null);
    }

    #[test]
    fn encodes_values_in_paths() {
        let template = Template::try_from("/items/{id}?n={body.n}".to_owned()).expect("valid");
        assert_eq!(template.path(&mut scope()), "/items/4%202?n=2");
    }

    #[test]
    fn fills_in_json_of_any_depth() {
        let template = JsonTemplate::try_from(json!({ "a": [1, "{{id}}", { "b": "{{body.n}}" }] }))
            .expect("valid");
        assert_eq!(template.value(&mut scope()), json!({ "a": [1, "4 2", { "b": 2 }] }));
        assert_eq!(template.templates().len(), 2);
    }

    #[test]
    fn refuses_what_is_not_a_value() {
        for text in ["{", "{}", "{a b}", "{name(}", "{{id}", "{.a}", "{a.}", "{name(id).x}"] {
            let error = Template::try_from(text.to_owned()).expect_err(text);
            assert!(error.contains("is not a value"), "{text}: {error}");
        }
    }
}
