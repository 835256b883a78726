//! One value of a template: `body.items.length` or `name(row.customer_id)`.

use serde_json::Value;

use super::text_of;
use crate::generator::Generator;
use crate::scope::Scope;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expression {
    /// A named value, and the way down into it.
    Named {
        /// The name: a path parameter, `body`, what a step is named, or a generator.
        root: String,
        /// Fields, indexes, `length` of a list, and `*` for each of its elements.
        way: Vec<String>,
    },
    /// A generated value that is always the same for one key.
    Keyed {
        /// What is generated.
        generator: Generator,
        /// The key.
        key: Box<Expression>,
    },
}

// === impl Expression ===

impl Expression {
    /// Reads an expression, if it is one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Some((generator, key)) = text.split_once('(') {
            let key = Box::new(Self::parse(key.strip_suffix(')')?.trim())?);
            return Generator::named(generator).map(|generator| Self::Keyed { generator, key });
        }
        let mut parts = text.split('.');
        let root = parts.next().filter(|root| is_word(root))?.to_owned();
        let way: Vec<_> = parts.map(str::to_owned).collect();
        way.iter().all(|part| part == "*" || is_word(part)).then_some(Self::Named { root, way })
    }

    /// Returns the names it starts with.
    pub(super) fn roots(&self) -> Vec<&str> {
        match self {
            Self::Named { root, .. } => vec![root],
            Self::Keyed { key, .. } => key.roots(),
        }
    }

    /// Looks the value up, or generates it; null if there is none.
    pub(super) fn value(&self, scope: &mut Scope) -> Value {
        match self {
            Self::Keyed { generator, key } => {
                let key = text_of(&key.value(scope));
                generator.keyed(scope.data_seed(), &key)
            }
            Self::Named { root, way } => match (scope.get(root), Generator::named(root)) {
                (Some(value), _) => descend(value, way),
                (None, Some(generator)) => generator.fresh(scope.luck()),
                (None, None) => Value::Null,
            },
        }
    }
}

fn descend(value: &Value, way: &[String]) -> Value {
    let Some((first, rest)) = way.split_first() else { return value.clone() };
    let next = match (value, first.as_str()) {
        (Value::Array(elements), "*") => {
            return elements.iter().map(|element| descend(element, rest)).collect();
        }
        (Value::Array(elements), "length") => return Value::from(elements.len()),
        (Value::Array(elements), index) => {
            index.parse::<usize>().ok().and_then(|index| elements.get(index))
        }
        (Value::Object(fields), name) => fields.get(name),
        _ => None,
    };
    next.map_or(Value::Null, |next| descend(next, rest))
}

fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}
