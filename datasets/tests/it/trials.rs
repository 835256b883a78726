//! The tables of trials are read as they were written, and damage is told.

use std::fs;

use prophecy_datasets::TrialRecords;
use prophecy_datasets::trials::{Deployment, ReadTrialsError, TrialClaim};

fn records(campaign: &str) -> TrialRecords {
    let deployment = Deployment {
        trial: format!("{campaign}/0001"),
        campaign: campaign.to_owned(),
        seed: u64::MAX,
        predicted_at: 1_790_000_000_123_456_789,
        risk: 0.1 + 0.2,
        utilization_before: Some(0.75),
        ..Deployment::default()
    };
    let other = Deployment {
        trial: format!("{campaign}/0002"),
        known: Some("harmless".to_owned()),
        ..deployment.clone()
    };
    let claim = TrialClaim {
        trial: deployment.trial.clone(),
        route: "GET /a \"b\"".to_owned(),
        probability: Some(1.0 / 3.0),
        measured: None,
        ..TrialClaim::default()
    };
    let of_other = TrialClaim { trial: other.trial.clone(), ..TrialClaim::default() };
    TrialRecords { deployments: vec![deployment, other], claims: vec![claim, of_other] }
}

#[test]
fn reads_every_campaign_of_a_folder_as_it_was_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let (first, second) = (records("a"), records("b"));
    second.write(&folder.path().join("b")).expect("written");
    first.write(&folder.path().join("a")).expect("written");
    assert_eq!(TrialRecords::read(&folder.path().join("a")).expect("read"), first);
    let mut both = TrialRecords::read(folder.path()).expect("read");
    assert_eq!(both.deployments, [first.deployments, second.deployments].concat());
    both.retain(|deployment| deployment.trial == "b/0002");
    assert_eq!((both.deployments.len(), both.claims.len()), (1, 1));
}

#[test]
fn a_campaign_without_trials_yet_is_written_and_is_nothing_to_read() {
    let folder = tempfile::tempdir().expect("a folder");
    TrialRecords::default().write(folder.path()).expect("written");
    let refused = TrialRecords::read(folder.path()).expect_err("there is nothing");
    assert!(matches!(refused, ReadTrialsError::Nothing { .. }), "{refused}");
}

#[test]
fn says_which_file_is_damaged() {
    let folder = tempfile::tempdir().expect("a folder");
    records("a").write(folder.path()).expect("written");
    let table = folder.path().join("claims.arrow");
    let bytes = fs::read(&table).expect("read");
    fs::write(&table, &bytes[..bytes.len() / 2]).expect("written");
    let refused = TrialRecords::read(folder.path()).expect_err("it is cut");
    assert!(refused.to_string().contains("claims.arrow"), "{refused}");
    fs::remove_file(&table).expect("removed");
    let refused = TrialRecords::read(folder.path()).expect_err("it is gone");
    assert!(matches!(refused, ReadTrialsError::Read { .. }), "{refused}");
}
