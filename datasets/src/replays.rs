//! The table of replays: what became of each request at each arm.

use std::io;
use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::{
    FixedSizeBinaryBuilder, StringBuilder, StringDictionaryBuilder, TimestampNanosecondBuilder,
    UInt16Builder, UInt64Builder,
};
use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use prophecy_core::Timestamp;

use crate::file::write_whole;
use crate::writer::file_of;

/// One request at one arm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// The captured exchange.
    pub exchange_id: u64,
    /// The arm.
    pub arm: String,
    /// When it should have left.
    pub intended_at: Timestamp,
    /// When it left.
    pub sent_at: Option<Timestamp>,
    /// When the head of the answer came.
    pub first_byte_at: Option<Timestamp>,
    /// When the last byte of the answer came.
    pub ended_at: Option<Timestamp>,
    /// The status.
    pub status: Option<u16>,
    /// Bytes of the answer's body.
    pub bytes: u64,
    /// A word for what went wrong.
    pub error: Option<String>,
    /// BLAKE3 of the answer's body.
    pub body_digest: Option<[u8; 32]>,
}

/// Writes `replays.arrow` into the folder of a run, whole or not at all.
///
/// # Errors
///
/// What the operating system said.
pub fn write_replays(folder: &Path, rows: &[Replay]) -> io::Result<()> {
    let mut arms = StringDictionaryBuilder::<Int32Type>::new();
    let mut digests = FixedSizeBinaryBuilder::new(32);
    let mut errors = StringBuilder::new();
    let mut status = UInt16Builder::new();
    for row in rows {
        arms.append_value(&row.arm);
        errors.append_option(row.error.as_deref());
        status.append_option(row.status);
        match row.body_digest {
            Some(digest) => digests.append_value(digest).expect("thirty-two bytes"),
            None => digests.append_null(),
        }
    }
    let instants = |of: fn(&Replay) -> Option<Timestamp>| -> ArrayRef {
        let mut builder = TimestampNanosecondBuilder::new().with_timezone("UTC");
        rows.iter().for_each(|row| builder.append_option(of(row).map(|at| at.0)));
        Arc::new(builder.finish())
    };
    let numbers = |of: fn(&Replay) -> u64| -> ArrayRef {
        let mut builder = UInt64Builder::new();
        rows.iter().for_each(|row| builder.append_value(of(row)));
        Arc::new(builder.finish())
    };
    let columns: Vec<ArrayRef> = vec![
        numbers(|row| row.exchange_id),
        Arc::new(arms.finish()),
        instants(|row| Some(row.intended_at)),
        instants(|row| row.sent_at),
        instants(|row| row.first_byte_at),
        instants(|row| row.ended_at),
        Arc::new(status.finish()),
        numbers(|row| row.bytes),
        Arc::new(errors.finish()),
        Arc::new(digests.finish()),
    ];
    let batch =
        RecordBatch::try_new(Arc::new(schema()), columns).expect("columns follow the schema");
    write_whole(&folder.join("replays.arrow"), &file_of(&batch))
}

fn schema() -> Schema {
    let instant = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
    let name = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    Schema::new(vec![
        Field::new("exchange_id", DataType::UInt64, false),
        Field::new("arm", name, false),
        Field::new("intended_at", instant.clone(), false),
        Field::new("sent_at", instant.clone(), true),
        Field::new("first_byte_at", instant.clone(), true),
        Field::new("ended_at", instant, true),
        Field::new("status", DataType::UInt16, true),
        Field::new("bytes", DataType::UInt64, false),
        Field::new("error", DataType::Utf8, true),
        Field::new("body_digest", DataType::FixedSizeBinary(32), true),
    ])
}
