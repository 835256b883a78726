//! Approvals in the folder of a rollout.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use prophecy_datasets::write_whole;

use super::Approval;

/// Puts a record into a rollout's folder, where whoever carries it out finds it and checks it.
///
/// # Errors
///
/// When the folder cannot be written.
pub fn keep(rollout: &Path, approval: &Approval) -> io::Result<()> {
    let folder = place(rollout);
    fs::create_dir_all(&folder)?;
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let key: String = approval.key_id.chars().take(64).map(plain).collect();
    let file = folder.join(format!("{:020}-{key}.json", approval.at.0));
    write_whole(&file, &serde_json::to_vec_pretty(approval).expect("plain data"))
}

/// Returns the records in a rollout's folder, the oldest first; what is none is left out.
pub fn kept(rollout: &Path) -> Vec<Approval> {
    let Ok(entries) = fs::read_dir(place(rollout)) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut paths: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|it| it == "json")).collect();
    paths.sort();
    let read = |path: PathBuf| serde_json::from_slice(&fs::read(path).ok()?).ok();
    paths.into_iter().filter_map(read).collect()
}

fn place(rollout: &Path) -> PathBuf {
    rollout.join("approvals")
}
