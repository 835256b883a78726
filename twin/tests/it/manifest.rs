//! Manifests that extend one another.

use std::fs;

use prophecy_twin::{LoadSystemError, load_system};

const BASE: &str = "apiVersion: prophecy/v1\nkind: System\nname: shop\nentry: web\nservices:\n  \
                    web: { url: \"http://127.0.0.1:1\", concurrency: 4 }\n";

#[test]
fn follows_a_chain_of_extensions() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    fs::create_dir(folder.path().join("next")).unwrap();
    write("base.yaml", BASE);
    write("next/middle.yaml", "extends: ../base.yaml\nservices: { web: { concurrency: 8 } }\n");
    write("next/last.yaml", "extends: middle.yaml\nservices: { web: { queue: 2 } }\n");
    let last = load_system(&folder.path().join("next/last.yaml")).unwrap();
    let web = &last.system.services["web"];
    assert_eq!((web.concurrency, web.queue), (Some(8), Some(2)));
    assert_eq!(last.folder, folder.path().canonicalize().unwrap().join("next"));
    // A change of what is extended is a change.
    write("base.yaml", &BASE.replace("shop", "store"));
    let changed = load_system(&folder.path().join("next/last.yaml")).unwrap();
    assert_ne!(changed.digest, last.digest);
}

#[test]
fn refuses_a_circle_and_names_a_missing_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("a.yaml"), "extends: b.yaml\n").unwrap();
    fs::write(path("b.yaml"), "extends: a.yaml\n").unwrap();
    let circle = load_system(&path("a.yaml")).unwrap_err();
    assert!(matches!(circle, LoadSystemError::Circle { .. }), "{circle}");
    fs::write(path("c.yaml"), "extends: gone.yaml\n").unwrap();
    let missing = load_system(&path("c.yaml")).unwrap_err();
    assert!(matches!(&missing, LoadSystemError::Read { path, .. } if path.ends_with("gone.yaml")));
    fs::write(path("d.yaml"), "entry: [\n").unwrap();
    let content = load_system(&path("d.yaml")).unwrap_err();
    assert!(matches!(content, LoadSystemError::Content { .. }), "{content}");
}
