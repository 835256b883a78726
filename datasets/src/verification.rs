//! Says whether a dataset is whole, and what was lost if its recording was cut off.

use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::file::TEMPORARY;
use crate::journal::Journal;
use crate::manifest::State;
use crate::reader::{Dataset, OpenDatasetError, read_part};
use crate::schema::Table;

/// What verifying a dataset found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// What is wrong with it, in sentences; empty if it is whole.
    pub problems: Vec<String>,
    /// What is worth knowing, in sentences: how the recording ended, what was lost.
    pub notes: Vec<String>,
    /// Parts checked.
    pub parts: u64,
    /// Rows checked.
    pub rows: u64,
}

// === impl Verification ===

impl Verification {
    /// Says whether nothing is wrong.
    pub fn passed(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Checks every part against the manifest, and the ledger against itself and the rows.
///
/// # Errors
///
/// [`OpenDatasetError`] if there is no dataset to check.
pub fn verify(folder: &Path) -> Result<Verification, OpenDatasetError> {
    let dataset = Dataset::open(folder)?;
    let mut found = Verification::default();
    for table in Table::ALL {
        for part in dataset.manifest().tables.get(table.as_str()).into_iter().flatten() {
            found.parts += 1;
            match read_part(folder, part, table) {
                Ok(_) => found.rows += part.rows,
                Err(error) => found.problems.push(with_causes(&error)),
            }
        }
    }
    for name in dataset.manifest().tables.keys() {
        if !Table::ALL.into_iter().any(|table| table.as_str() == name) {
            found.problems.push(format!("the manifest has a table `{name}`, which is unknown"));
        }
    }
    check_ledger(&dataset, &mut found);
    check_files(&dataset, &mut found);
    check_end(&dataset, &mut found);
    Ok(found)
}

fn check_ledger(dataset: &Dataset, found: &mut Verification) {
    let ledger = &dataset.manifest().ledger;
    if let Some(imbalance) = ledger.imbalance() {
        found.problems.push(format!("the ledger does not add up: {imbalance}"));
    }
    let rows = dataset.manifest().rows(Table::Exchanges.as_str());
    if rows != ledger.exchanges.recorded {
        let recorded = ledger.exchanges.recorded;
        // A recording that was cut off may have written a part after its last checkpoint's ledger.
        found
            .problems
            .push(format!("the ledger has {recorded} exchanges recorded, the parts {rows}"));
    }
    let shed = ledger.exchanges.shed;
    if shed > 0 {
        found
            .notes
            .push(format!("{shed} exchanges passed but were shed, so as not to slow the service"));
    }
}

fn check_files(dataset: &Dataset, found: &mut Verification) {
    let Ok(entries) = fs::read_dir(dataset.path()) else { return };
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    let known =
        |name: &str| dataset.manifest().tables.values().flatten().any(|part| part.path == name);
    for name in names {
        if Path::new(&name).extension().is_some_and(|extension| extension == TEMPORARY) {
            found.notes.push(format!("`{name}` was being written when the recording was cut off"));
        } else if Path::new(&name).extension().is_some_and(|extension| extension == "arrow")
            && !known(&name)
        {
            found.notes.push(format!(
                "`{name}` was written after the last checkpoint, and is not counted"
            ));
        }
    }
}

fn check_end(dataset: &Dataset, found: &mut Verification) {
    if dataset.manifest().state == State::Complete {
        return;
    }
    let Some(accepted) = Journal::read(dataset.path()) else {
        found
            .notes
            .push("the recording was not finished; how much was lost is not known".to_owned());
        return;
    };
    let lost: Vec<String> = Table::ALL
        .into_iter()
        .zip(accepted)
        .filter_map(|(table, accepted)| {
            let lost = accepted.saturating_sub(dataset.manifest().rows(table.as_str()));
            (lost > 0 || table == Table::Exchanges).then(|| format!("{lost} {}", table.as_str()))
        })
        .collect();
    found.notes.push(format!("the recording was not finished; lost: {}", lost.join(", ")));
}

fn with_causes(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", with_causes(source)),
        None => error.to_string(),
    }
}
