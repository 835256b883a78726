//! The way from a record to the values of a row, and back.

use serde::de::value::{BorrowedStrDeserializer, Error, MapDeserializer};
use serde::de::{Deserializer, IntoDeserializer, Visitor};
use serde_json::{Map, Number, Value as Json};

use crate::error::StoreError;
use crate::statement::{Kind, Statement, Value};
use crate::table::{Record, Table};

/// The values of one row in the order of the columns.
pub(crate) type Row = Vec<Value>;

/// A value on its way into a field of a record.
struct Field {
    kind: Kind,
    value: Value,
}

// === impl Field ===

impl IntoDeserializer<'_, Error> for Field {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Field {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match (self.kind, self.value) {
            (_, Value::Text(Some(text))) => visitor.visit_string(text),
            (Kind::Flag, Value::Integer(Some(number))) => visitor.visit_bool(number != 0),
            (_, Value::Integer(Some(number))) => visitor.visit_i64(number),
            (_, Value::Real(Some(number))) => visitor.visit_f64(number),
            (_, Value::Text(None) | Value::Integer(None) | Value::Real(None)) => {
                visitor.visit_unit()
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.value {
            Value::Text(None) | Value::Integer(None) | Value::Real(None) => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.value {
            Value::Text(Some(text)) => {
                text.into_deserializer().deserialize_enum(name, variants, visitor)
            }
            _ => visitor.visit_unit(),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// Returns the values of a record's row.
pub(crate) fn row_of<T: Record>(doing: &'static str, record: &T) -> Result<Row, StoreError> {
    let refuse = |reason| StoreError::Invalid { doing, reason };
    let json = serde_json::to_value(record).map_err(|_| refuse("it cannot be written"))?;
    let Json::Object(mut fields) = json else { return Err(refuse("it has no fields")) };
    let row = row_from_fields(T::TABLE, &mut fields).map_err(refuse)?;
    debug_assert!(fields.is_empty(), "every field of {} has a column", T::TABLE.name);
    Ok(row)
}

/// Takes the values of a row out of named fields; says what does not fit a column.
pub(crate) fn row_from_fields(
    table: &Table,
    fields: &mut Map<String, Json>,
) -> Result<Row, &'static str> {
    let value = |name: &str, kind, fields: &mut Map<String, Json>| {
        let json = fields.remove(name).unwrap_or(Json::Null);
        value_of(kind, json)
    };
    table.columns.iter().map(|column| value(column.name, column.kind, fields)).collect()
}

fn value_of(kind: Kind, json: Json) -> Result<Value, &'static str> {
    match (kind, json) {
        (Kind::Text, Json::Null) => Ok(Value::Text(None)),
        (Kind::Text, Json::String(text)) => Ok(Value::Text(Some(text))),
        (Kind::Integer | Kind::Flag, Json::Null) => Ok(Value::Integer(None)),
        (Kind::Flag, Json::Bool(flag)) => Ok(Value::Integer(Some(i64::from(flag)))),
        (Kind::Integer, Json::Number(number)) => {
            number.as_i64().map(|n| Value::Integer(Some(n))).ok_or("a number is too large")
        }
        (Kind::Real, Json::Null) => Ok(Value::Real(None)),
        // NUMERICS: adding zero takes the sign off a zero, which SQLite does not keep.
        (Kind::Real, Json::Number(number)) => Ok(Value::Real(number.as_f64().map(|n| n + 0.0))),
        _ => Err("a field has another type than its column"),
    }
}

/// Returns the named fields of a row.
pub(crate) fn fields_of(table: &Table, row: Row) -> Map<String, Json> {
    let json = |kind, value| match (kind, value) {
        (_, Value::Text(text)) => text.map_or(Json::Null, Json::String),
        (Kind::Flag, Value::Integer(number)) => number.map_or(Json::Null, |n| Json::Bool(n != 0)),
        (_, Value::Integer(number)) => number.map_or(Json::Null, |n| Json::Number(n.into())),
        (_, Value::Real(number)) => {
            number.and_then(Number::from_f64).map_or(Json::Null, Json::Number)
        }
    };
    let pair = |(column, value): (&crate::table::Column, Value)| {
        (column.name.to_owned(), json(column.kind, value))
    };
    table.columns.iter().zip(row).map(pair).collect()
}

/// Returns the record of a row.
pub(crate) fn record_of<T: Record>(row: Row) -> Result<T, StoreError> {
    let names = T::TABLE.columns.iter().map(|column| BorrowedStrDeserializer::new(column.name));
    let fields = T::TABLE.columns.iter().zip(row);
    let fields = fields.map(|(column, value)| Field { kind: column.kind, value });
    // The message of the parser may quote a stored value, so it is not passed on.
    T::deserialize(MapDeserializer::new(names.zip(fields)))
        .map_err(|_| StoreError::corrupt(T::TABLE.name, "a row does not read as its record"))
}

/// Returns the statement that inserts a record.
pub(crate) fn insertion<T: Record>(
    doing: &'static str,
    record: &T,
) -> Result<Statement, StoreError> {
    let values = row_of(doing, record)?;
    Ok(Statement { doing, sql: T::TABLE.insert().into(), values })
}
