//! The sample shop's files, carried inside the command so that the demo runs from anywhere.

use std::fs;
use std::path::{Path, PathBuf};

use crate::exit_code::ExitCode;
use crate::failure::Failure;

const FILES: [(&str, &str); 12] = [
    ("system.yaml", include_str!("../../../../examples/shop/system.yaml")),
    ("storefront.yaml", include_str!("../../../../examples/shop/storefront.yaml")),
    ("checkout.yaml", include_str!("../../../../examples/shop/checkout.yaml")),
    ("inventory.yaml", include_str!("../../../../examples/shop/inventory.yaml")),
    ("payments.yaml", include_str!("../../../../examples/shop/payments.yaml")),
    ("refactor.yaml", include_str!("../../../../examples/shop/refactor.yaml")),
    ("n-plus-one.yaml", include_str!("../../../../examples/shop/n-plus-one.yaml")),
    ("slow-query.yaml", include_str!("../../../../examples/shop/slow-query.yaml")),
    ("small-pool.yaml", include_str!("../../../../examples/shop/small-pool.yaml")),
    (
        "changed/checkout-n-plus-one.yaml",
        include_str!("../../../../examples/shop/changed/checkout-n-plus-one.yaml"),
    ),
    (
        "changed/checkout-refactored.yaml",
        include_str!("../../../../examples/shop/changed/checkout-refactored.yaml"),
    ),
    (
        "changed/inventory-refactored.yaml",
        include_str!("../../../../examples/shop/changed/inventory-refactored.yaml"),
    ),
];

/// Writes the shop into a folder and returns it.
pub(super) fn unpack(folder: &Path) -> Result<PathBuf, Failure> {
    for (name, text) in FILES {
        let path = folder.join(name);
        let parent = path.parent().expect("a file in a folder");
        let written = fs::create_dir_all(parent).and_then(|()| fs::write(&path, text));
        written.map_err(|error| {
            Failure::of(ExitCode::Environment, &error)
                .during(format!("cannot write `{}`", path.display()))
        })?;
    }
    Ok(folder.to_owned())
}
