//! A statement with its values, and what it is for.

use std::borrow::Cow;

use prophecy_core::Timestamp;

/// The type of a column, in words that both databases and a backup share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Integer,
    Real,
    Flag,
}

/// One value of one column; an absent value keeps its type, which PostgreSQL wants to know.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Text(Option<String>),
    Integer(Option<i64>),
    Real(Option<f64>),
}

/// SQL that both databases read alike (`$1` placeholders), its values, and a name for errors.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    pub(crate) doing: &'static str,
    pub(crate) sql: Cow<'static, str>,
    pub(crate) values: Vec<Value>,
}

// === impl Statement ===

impl Statement {
    pub(crate) fn new(doing: &'static str, sql: impl Into<Cow<'static, str>>) -> Self {
        Self { doing, sql: sql.into(), values: Vec::new() }
    }

    pub(crate) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Adds SQL.
    pub(crate) fn push(mut self, sql: &str) -> Self {
        self.sql.to_mut().push_str(sql);
        self
    }

    /// Adds `<condition> $n` with the value, if there is one; `condition` begins with `AND`.
    pub(crate) fn filter<T: Into<Value>>(self, condition: &str, value: Option<T>) -> Self {
        let Some(value) = value else { return self };
        let mut bound = self.bind(value);
        let number = bound.values.len();
        bound.sql.to_mut().push_str(&format!(" {condition} ${number}"));
        bound
    }
}

// === impl Value ===

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(Some(text.clone()))
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(Some(number))
    }
}

impl From<u64> for Value {
    /// Numbers past what a database holds become the largest it holds.
    fn from(number: u64) -> Self {
        Self::Integer(Some(i64::try_from(number).unwrap_or(i64::MAX)))
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Integer(Some(i64::from(number)))
    }
}

impl From<Timestamp> for Value {
    fn from(time: Timestamp) -> Self {
        Self::Integer(Some(time.0))
    }
}
