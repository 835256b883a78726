use std::collections::BTreeMap;

use prophecy_runner::approval::KeyRing;
use prophecy_runner::migration::Reversal;
use prophecy_runner::window::{self, Decision, Subject};
use prophecy_runner::{hook, instant};
use serde::Deserialize;

const GUIDE: &str = include_str!("../../../docs/freezes-and-approvals.md");

/// Returns the YAML blocks of the guide by their first key; each key has at least one block.
fn blocks() -> BTreeMap<String, Vec<&'static str>> {
    let mut blocks: BTreeMap<String, Vec<&'static str>> = BTreeMap::new();
    for block in GUIDE.split("```yaml\n").skip(1) {
        let yaml = block.split("```").next().unwrap_or_default();
        let key = yaml.split(':').next().unwrap_or_default().to_owned();
        blocks.entry(key).or_default().push(yaml);
    }
    blocks
}

#[test]
fn every_example_of_the_guide_is_one_that_a_test_reads() {
    let found: Vec<(String, usize)> =
        blocks().into_iter().map(|(key, blocks)| (key, blocks.len())).collect();
    let expected = [("hooks", 1), ("keys", 1), ("rollback", 3), ("windows", 1)];
    assert_eq!(found, expected.map(|(key, count)| (key.to_owned(), count)));
}

#[test]
fn the_windows_of_the_guide_do_what_it_says() {
    let windows = window::parse(blocks()["windows"][0]).unwrap();
    let check = |service: &str, environment: &str, at: &str, reopens: Option<&str>| {
        let subject = Subject { service: service.to_owned(), environment: environment.to_owned() };
        let at = instant::read(at).unwrap();
        let found = match window::decide(&windows, &subject, at).unwrap() {
            Decision::Open => None,
            Decision::Closed { reopens_at, .. } => reopens_at.map(instant::write),
        };
        assert_eq!(
            found.as_deref(),
            reopens,
            "{service} in {environment} at {}",
            instant::write(at)
        );
    };
    check("cart", "prod-eu", "2026-06-06T12:00:00Z", Some("2026-06-08T06:00:00Z"));
    check("cart", "staging", "2026-06-06T12:00:00Z", None);
    check("payments", "prod", "2026-06-08T06:30:00Z", Some("2026-06-08T07:00:00Z"));
    check("payments", "prod", "2026-06-08T08:00:00Z", None);
    check("cart", "prod", "2026-06-08T06:30:00Z", None);
    check("cart", "staging", "2026-12-24T12:00:00Z", Some("2027-01-04T11:00:00Z"));
}

#[test]
fn the_keys_of_the_guide_are_keys() {
    let ring = KeyRing::parse(blocks()["keys"][0]).unwrap();
    assert_eq!(ring.get("34750f98bd59fcfc").unwrap().actor, "ada");
    let revoked = ring.get("6a3803d5f059902a").unwrap().revoked_at;
    assert_eq!(revoked, instant::read("2026-03-01T12:00:00Z"));
}

#[test]
fn the_hooks_of_the_guide_are_read_and_one_without_its_secret_is_not_opened() {
    let hooks = hook::parse(blocks()["hooks"][0]).unwrap();
    let [board, smoke] = &hooks[..] else { panic!("{hooks:?}") };
    assert_eq!(board.kind, hook::HookKind::ConfirmPromotion);
    let error = hook::HookSpec { secret_file: Some("/nowhere".into()), ..board.clone() }.open();
    assert!(matches!(error, Err(hook::HookConfigError::ReadSecret { .. })));
    assert_eq!(smoke.clone().open().unwrap().name(), "smoke-test");
}

#[test]
fn the_ways_back_of_the_guide_are_all_there_are() {
    #[derive(Deserialize)]
    struct Release {
        rollback: Reversal,
    }
    let found: Vec<Reversal> = blocks()["rollback"]
        .iter()
        .map(|yaml| serde_saphyr::from_str::<Release>(yaml).unwrap().rollback)
        .collect();
    let command = ["./migrate", "down", "--to=41"].map(str::to_owned).to_vec();
    let expected = [Reversal::Safe, Reversal::ForwardOnly, Reversal::NeedsMigration { command }];
    assert_eq!(found, expected);
}

#[test]
fn the_settings_of_the_guide_to_rollouts_are_read() {
    let guide = include_str!("../../../docs/rollouts.md");
    let blocks: Vec<&str> = guide
        .split("```yaml\n")
        .skip(1)
        .map(|block| block.split("```").next().unwrap_or_default())
        .collect();
    assert_eq!(blocks.len(), 2);
    for block in blocks {
        let settings = prophecy_runner::settings::Settings::from_yaml(block);
        assert!(settings.is_ok(), "{:?}", settings.err());
    }
}
