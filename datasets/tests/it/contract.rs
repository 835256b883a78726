//! What readers may rely on: columns, the window, states, and the file of a run.

use std::fmt::Write;
use std::fs;

use expect_test::expect;
use prophecy_core::{Interval, Ledger};
use prophecy_datasets::manifest::State;
use prophecy_datasets::run::{
    ArmCounts, Difference, DifferenceKind, EndedService, ReadRunError, RunInputs, SCHEMA,
};
use prophecy_datasets::schema::Table;
use prophecy_datasets::{Dataset, Run, verify};
use proptest::prelude::*;

use crate::rows::{rows, write, write_exchanges, writer};

/// A change of this text breaks whoever reads datasets: it needs a new schema version.
#[test]
fn the_columns_are_these() {
    let mut text = String::new();
    for table in Table::ALL {
        writeln!(text, "{}", table.as_str()).expect("writes to memory");
        for field in table.schema().fields() {
            let null = if field.is_nullable() { "?" } else { "" };
            writeln!(text, "  {}{null}: {}", field.name(), field.data_type())
                .expect("writes to memory");
        }
    }
    expect![[r#"
        exchanges
          exchange_id: UInt64
          session_id: UInt64
          connection_id: UInt64
          trace_id?: FixedSizeBinary(16)
          source: Dictionary(Int32, Utf8)
          destination: Dictionary(Int32, Utf8)
          client_address: FixedSizeBinary(16)
          server_address: FixedSizeBinary(16)
          client_port: UInt16
          server_port: UInt16
          protocol: Dictionary(Int32, Utf8)
          method: Dictionary(Int32, Utf8)
          authority: Dictionary(Int32, Utf8)
          path: Utf8
          query?: Utf8
          route: Dictionary(Int32, Utf8)
          request_headers: List(non-null Struct("name": non-null Utf8, "value": non-null Utf8))
          response_headers: List(non-null Struct("name": non-null Utf8, "value": non-null Utf8))
          request_body?: Binary
          response_body?: Binary
          request_bytes: UInt64
          response_bytes: UInt64
          started_at: Timestamp(ns, "UTC")
          request_ended_at: Timestamp(ns, "UTC")
          response_started_at?: Timestamp(ns, "UTC")
          response_ended_at?: Timestamp(ns, "UTC")
          status?: UInt16
          completeness: Dictionary(Int32, Utf8)
        operations
          protocol: Dictionary(Int32, Utf8)
          source: Dictionary(Int32, Utf8)
          destination: Dictionary(Int32, Utf8)
          statement: Utf8
          fingerprint: UInt64
          started_at: Timestamp(ns, "UTC")
          ended_at?: Timestamp(ns, "UTC")
          rows?: UInt64
          error?: Utf8
          connection_id: UInt64
        connections
          connection_id: UInt64
          client_address: FixedSizeBinary(16)
          server_address: FixedSizeBinary(16)
          client_port: UInt16
          server_port: UInt16
          opened_at: Timestamp(ns, "UTC")
          closed_at?: Timestamp(ns, "UTC")
          handshake_rtt_ns?: UInt64
          retransmitted_segments: UInt64
          out_of_order_segments: UInt64
          lost_bytes: UInt64
          client_bytes: UInt64
          server_bytes: UInt64
        metrics
          name: Dictionary(Int32, Utf8)
          labels: Map("entries": non-null Struct("keys": non-null Utf8, "values": Utf8), unsorted)
          at: Timestamp(ns, "UTC")
          value: Float64
    "#]]
    .assert_eq(&text);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_rows_come_back_as_they_were(seed in any::<u64>(), count in 0..200_u64) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let rows = rows(seed, count);
        write(folder.path(), &rows);
        let dataset = Dataset::open(folder.path()).expect("opens");
        prop_assert_eq!(dataset.exchanges().expect("reads"), rows.exchanges);
        prop_assert_eq!(dataset.operations().expect("reads"), rows.operations);
        prop_assert_eq!(dataset.connections().expect("reads"), rows.connections);
        prop_assert_eq!(dataset.metrics().expect("reads"), rows.metrics);
    }
}

#[test]
fn the_window_spans_every_table_and_a_finished_dataset_is_complete() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rows = rows(1, 200);
    write(folder.path(), &rows);
    let dataset = Dataset::open(folder.path()).expect("opens");
    let starts = rows.exchanges.iter().map(|row| row.started_at.0);
    let window = [starts.clone().min().expect("rows"), starts.max().expect("rows")];
    assert_eq!(dataset.manifest().window, Some(window));
    assert_eq!(dataset.manifest().state, State::Complete);
}

#[test]
fn a_new_dataset_is_recording_and_has_no_window() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (_writer, _) = writer(folder.path());
    let dataset = Dataset::open(folder.path()).expect("opens");
    assert_eq!((dataset.manifest().state, dataset.manifest().window), (State::Recording, None));
}

#[test]
fn a_full_part_that_no_checkpoint_counted_is_named_and_its_rows_are_lost() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rows = rows(1, 100);
    let (mut writer, sanitizer) = writer(folder.path());
    write_exchanges(&mut writer, &sanitizer, &rows.exchanges, &mut Ledger::default());
    for row in &rows.connections {
        writer.connection(sanitizer.connection(row.clone())).expect("writes");
    }
    drop(writer);
    let found = verify(folder.path()).expect("verifies");
    assert!(found.passed(), "{found:?}");
    let has = |text: &str| found.notes.iter().any(|note| note.contains(text));
    assert!(has("`exchanges-00000.arrow` was written after the last checkpoint"), "{found:?}");
    assert!(has("lost: 100 exchanges, 33 connections"), "{found:?}");
}

#[test]
fn a_manifest_of_another_dataset_does_not_pass() {
    let (one, other) = (tempfile::tempdir().expect("one"), tempfile::tempdir().expect("other"));
    write(one.path(), &rows(1, 100));
    write(other.path(), &rows(2, 100));
    fs::copy(other.path().join("manifest.json"), one.path().join("manifest.json")).expect("copies");
    assert!(!verify(one.path()).expect("there is a manifest").passed());
}

#[test]
fn a_manifest_cannot_point_outside_its_folder_or_invent_tables() {
    let edit = |from: &str, to: &str| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        write(folder.path(), &rows(1, 100));
        let path = folder.path().join("manifest.json");
        let text = fs::read_to_string(&path).expect("reads");
        assert!(text.contains(from), "{text}");
        fs::write(path, text.replace(from, to)).expect("writes");
        verify(folder.path()).expect("there is a manifest").problems
    };
    for outside in ["../metrics-00000.arrow", "/etc/hostname", "a/metrics-00000.arrow", ".."] {
        let problems = edit("\"metrics-00000.arrow\"", &format!("{outside:?}"));
        assert!(problems.iter().any(|problem| problem.contains("own folder")), "{problems:?}");
    }
    let problems = edit("\"metrics\": [", "\"measures\": [");
    assert!(problems.iter().any(|problem| problem.contains("`measures`")), "{problems:?}");
}

fn run() -> Run {
    let difference = |kind| Difference {
        route: "GET /items/{id}".to_owned(),
        field: "$.items[*].price".to_owned(),
        kind,
        count: 3,
        of: 40,
        interval: Interval::try_new(0.02, 0.2).expect("in order"),
        noise_share: 0.1,
    };
    Run {
        schema: SCHEMA.to_owned(),
        seed: u64::MAX,
        speed: 1.5,
        share: 0.25,
        window_nanos: 60_000_000_000,
        warmup_nanos: 5,
        inputs: RunInputs {
            dataset: "a".to_owned(),
            baseline: "b".to_owned(),
            candidate: "c".to_owned(),
            policy: "d".to_owned(),
        },
        left_out: 1,
        arms: vec![ArmCounts {
            name: "baseline".to_owned(),
            offered: 9,
            sent: 8,
            unanswered: 1,
            send_lag_p50_nanos: 10,
            send_lag_p99_nanos: 20,
            send_lag_max_nanos: 30,
        }],
        differences: vec![
            difference(DifferenceKind::Status { from: 200, to: 0 }),
            difference(DifferenceKind::Missing),
            difference(DifferenceKind::Extra),
            difference(DifferenceKind::Type),
            difference(DifferenceKind::Value),
            difference(DifferenceKind::Body),
        ],
        standin_misses: 2,
        ended: vec![EndedService { service: "cart".to_owned(), status: "exit code 70".to_owned() }],
        load_average: 0.7,
    }
}

#[test]
fn a_run_comes_back_as_it_was() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    run().write(folder.path()).expect("writes");
    assert_eq!(Run::read(folder.path()).expect("reads"), run());
}

#[test]
fn refuses_a_run_that_is_missing_or_of_another_version() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let read = || Run::read(folder.path()).expect_err("refuses");
    assert!(matches!(read(), ReadRunError::Read { .. }));
    let future = Run { schema: "prophecy.run/99".to_owned(), ..run() };
    future.write(folder.path()).expect("writes");
    assert!(read().to_string().contains("prophecy.run/99"), "{}", read());
    fs::write(folder.path().join("run.json"), "{}").expect("writes");
    assert!(matches!(read(), ReadRunError::Format { .. }));
}
