//! Datasets read by pyarrow and DuckDB, without our code.

use std::path::Path;
use std::process::Command;

use crate::rows::{rows, write};

#[test]
fn pyarrow_and_duckdb_read_every_table() {
    let Some(python) = std::env::var_os("PROPHECY_PYTHON") else {
        println!("skipped: PROPHECY_PYTHON names no Python with pyarrow and duckdb");
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    write(folder.path(), &rows(1, 300));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/read_dataset.py");
    let output = Command::new(python).arg(script).arg(folder.path()).output().expect("python runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    assert!(text(&output.stdout).contains("exchanges: 300 rows"), "{}", text(&output.stdout));
}
