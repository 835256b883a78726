//! The sample systems fit together: manifests, configurations, and what one says of the other.

use std::path::{Path, PathBuf};

use prophecy_core::System;
use prophecy_core::system::extends_of;

use crate::server::mesh;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn load(path: &Path) -> System {
    let read = |path: &Path| std::fs::read_to_string(path).expect("readable");
    let text = read(path);
    match extends_of(&text).expect("YAML") {
        Some(base) => {
            let base = read(&path.parent().expect("a folder").join(base));
            System::from_layers(&[&base, &text])
        }
        None => System::from_yaml(&text),
    }
    .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn manifests(folder: &str) -> Vec<(String, System)> {
    let entries = std::fs::read_dir(examples().join(folder)).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let is_manifest = |path: &PathBuf| {
        path.extension().is_some_and(|extension| extension == "yaml")
            && std::fs::read_to_string(path).expect("readable").contains("services:")
    };
    let named = |path: PathBuf| (path.display().to_string(), load(&path));
    paths.filter(is_manifest).map(named).collect()
}

/// Returns the number that a field at the top of a configuration has.
fn number(text: &str, field: &str) -> Option<u32> {
    text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(": ")?.parse().ok())
}

#[test]
fn declares_the_shop_as_it_is_configured() {
    let manifests = manifests("shop");
    assert_eq!(manifests.len(), 7);
    for (path, system) in manifests {
        for (name, service) in &system.services {
            let run = service.run.as_ref().expect("each service is started");
            let [program, option, config] = run.command.as_slice() else {
                panic!("{path}: {:?}", run.command)
            };
            assert_eq!((program.as_str(), option.as_str()), ("mesh", "--config"), "{path}");
            let config = examples().join("shop").join(config);
            let output = mesh().arg(option).arg(&config).arg("--check").output().expect("it runs");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let text = std::fs::read_to_string(&config).expect("readable");
            assert_eq!(service.concurrency, number(&text, "workers"), "{path}: {name}");
            assert_eq!(service.queue, number(&text, "queue"), "{path}: {name}");
        }
    }
}

#[test]
fn reads_the_manifests_of_other_software() {
    assert_eq!(manifests("third-party/nginx-gunicorn").len(), 4);
    assert_eq!(manifests("third-party/haproxy-node-postgres").len(), 3);
}
