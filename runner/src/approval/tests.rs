use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp(1_767_369_600_000_000_000);
const HOUR: u64 = 3_600_000_000_000;

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from_seed(&[seed; 32])
}

/// Ada has key 1, Bob has keys 2 and 3.
fn ring() -> KeyRing {
    let mut ring = KeyRing::default();
    for (actor, seed) in [("ada", 1), ("bob", 2), ("bob", 3)] {
        ring.insert(PublicKey::of(&key(seed), actor)).unwrap();
    }
    ring
}

fn statement(decision: Judgement) -> Statement {
    Statement {
        rollout: "r1".to_owned(),
        revision: 7,
        stage: "canary-10".to_owned(),
        decision,
        at: NOW,
        expires_at: NOW.plus_nanos(HOUR),
        reason: "looks right".to_owned(),
        plan_digest: "plan-a".to_owned(),
        candidate_digest: "build-a".to_owned(),
    }
}

fn approve(actor: &str, seed: u8) -> Approval {
    statement(Judgement::Approve).sign(actor, &key(seed))
}

fn expected() -> Expected {
    Expected {
        rollout: "r1".to_owned(),
        revision: 7,
        stage: "canary-10".to_owned(),
        plan_digest: "plan-a".to_owned(),
        candidate_digest: "build-a".to_owned(),
        self_approval: SelfApproval::Allowed,
    }
}

fn refusal(approval: &Approval, expected: &Expected, now: Timestamp) -> VerifyApprovalError {
    approval.verify(&ring(), expected, &RejectMarks::default(), now).unwrap_err()
}

fn outcome(approvals: &[Approval], marks: &RejectMarks, required: u32) -> Outcome {
    tally(approvals, &ring(), &expected(), marks, required, NOW).outcome
}

#[test]
fn a_record_that_fits_is_verified_also_after_it_was_written_and_read() {
    let approval = approve("ada", 1);
    let json = serde_json::to_string(&approval).unwrap();
    let read: Approval = serde_json::from_str(&json).unwrap();
    assert_eq!(read, approval);
    let marks = RejectMarks::default();
    assert_eq!(read.verify(&ring(), &expected(), &marks, NOW).unwrap().record(), &approval);
}

#[test]
fn the_signed_bytes_are_what_the_documentation_says() {
    let mut approval = approve("ada", 1);
    approval.reason = "ü\n".to_owned();
    let text = String::from_utf8(approval.canonical_bytes()).unwrap();
    let key_id = key(1).id();
    let known = format!(
        "prophecy.approval/1\nrollout=2:r1\nrevision=1:7\nstage=9:canary-10\ndecision=7:approve\n\
         actor=3:ada\nat=19:1767369600000000000\nexpires_at=19:1767373200000000000\n\
         reason=3:ü\n\nplan_digest=6:plan-a\ncandidate_digest=7:build-a\nkey_id=16:{key_id}\n"
    );
    assert_eq!(text, known);
}

#[test]
fn each_thing_that_does_not_fit_is_named() {
    use VerifyApprovalError as E;
    let approval = approve("ada", 1);
    let with = |change: &dyn Fn(&mut Expected)| {
        let mut other = expected();
        change(&mut other);
        refusal(&approval, &other, NOW)
    };
    let stale = with(&|expected| expected.revision = 8);
    assert_eq!(stale, E::StaleRevision { found: 7, expected: 8 });
    let error = with(&|expected| expected.stage = "canary-50".to_owned());
    assert!(matches!(error, E::OtherStage { .. }));
    let error = with(&|expected| expected.rollout = "r2".to_owned());
    assert!(matches!(error, E::OtherRollout { .. }));
    let error = with(&|expected| expected.plan_digest = "plan-b".to_owned());
    assert!(matches!(error, E::OtherPlan { .. }));
    let error = with(&|expected| expected.candidate_digest = "build-b".to_owned());
    assert!(matches!(error, E::OtherCandidate { .. }));
    let error =
        with(&|expected| expected.self_approval = SelfApproval::ForbiddenTo("ada".to_owned()));
    assert_eq!(error, E::SelfApproval { actor: "ada".to_owned() });

    let end = NOW.plus_nanos(HOUR);
    assert_eq!(refusal(&approval, &expected(), end), E::Expired { at: end });
    let early = Timestamp(NOW.0 - 61_000_000_000);
    assert!(matches!(refusal(&approval, &expected(), early), E::NotYet { .. }));
    assert!(matches!(refusal(&approve("eve", 9), &expected(), NOW), E::UnknownKey { .. }));
    assert!(matches!(refusal(&approve("ada", 2), &expected(), NOW), E::OtherActor { .. }));
}

#[test]
fn an_approval_counts_until_the_last_nanosecond_and_within_the_clock_skew() {
    let approval = approve("ada", 1);
    let verify = |now| approval.verify(&ring(), &expected(), &RejectMarks::default(), now);
    assert!(verify(Timestamp(NOW.0 + HOUR as i64 - 1)).is_ok());
    assert!(verify(Timestamp(NOW.0 - CLOCK_SKEW_NANOS as i64)).is_ok());
}

#[test]
fn a_revoked_key_counts_no_more_whatever_time_it_claims() {
    let mut ring = ring();
    ring.revoke(&key(1).id(), NOW.plus_nanos(HOUR));
    let approval = approve("ada", 1);
    let error = approval.verify(&ring, &expected(), &RejectMarks::default(), NOW).unwrap_err();
    assert!(matches!(error, VerifyApprovalError::RevokedKey { .. }));
}

#[test]
fn a_quorum_counts_people_and_not_records_or_keys() {
    let none = RejectMarks::default();
    let bob_twice = [approve("bob", 2), approve("bob", 3), approve("bob", 2)];
    assert_eq!(outcome(&bob_twice, &none, 1), Outcome::Reached);
    assert_eq!(outcome(&bob_twice, &none, 2), Outcome::Missing { count: 1 });
    assert_eq!(outcome(&[approve("bob", 2), approve("ada", 1)], &none, 2), Outcome::Reached);
    assert_eq!(outcome(&[], &none, 2), Outcome::Missing { count: 2 });
    let forged = tally(&[approve("ada", 2)], &ring(), &expected(), &none, 1, NOW);
    assert_eq!(forged.outcome, Outcome::Missing { count: 1 });
    assert!(matches!(forged.refused[..], [(0, VerifyApprovalError::OtherActor { .. })]));
}

#[test]
fn one_rejection_outweighs_any_number_of_approvals() {
    let reject = statement(Judgement::Reject).sign("ada", &key(1));
    let records = [approve("bob", 2), reject, approve("ada", 1)];
    let found = outcome(&records, &RejectMarks::default(), 1);
    assert_eq!(found, Outcome::Rejected { by: "ada".to_owned(), reason: "looks right".to_owned() });
}

#[test]
fn a_rejected_candidate_is_not_approved_in_any_rollout_until_the_mark_is_lifted() {
    let reject = statement(Judgement::Reject).sign("ada", &key(1));
    let mut marks = RejectMarks::default();
    // A rejection does not expire: it is still good a year later.
    let late = NOW.plus_nanos(365 * 24 * HOUR);
    marks.record(reject.verify(&ring(), &expected(), &marks.clone(), late).unwrap());

    let mut again = statement(Judgement::Approve);
    again.rollout = "r2".to_owned();
    let again = again.sign("bob", &key(2));
    let other = Expected { rollout: "r2".to_owned(), ..expected() };
    let error = again.verify(&ring(), &other, &marks, NOW).unwrap_err();
    assert!(matches!(error, VerifyApprovalError::RejectedBefore { .. }));
    let found = tally(std::slice::from_ref(&again), &ring(), &other, &marks, 1, NOW).outcome;
    assert!(matches!(found, Outcome::Rejected { .. }));

    assert!(marks.lift("build-a", "ada", "", NOW).is_err());
    assert!(marks.lift("build-b", "ada", "it was the test", NOW).is_err());
    marks.lift("build-a", "ada", "it was the test", NOW).unwrap();
    assert!(again.verify(&ring(), &other, &marks, NOW).is_ok());
    // The old rejection, given again, neither marks anew nor counts.
    marks.record(reject.verify(&ring(), &expected(), &marks.clone(), NOW).unwrap());
    assert_eq!(outcome(&[reject, approve("bob", 2)], &marks, 1), Outcome::Reached);
}

#[test]
fn an_approval_leaves_no_mark() {
    let approval = approve("ada", 1);
    let mut marks = RejectMarks::default();
    marks.record(approval.verify(&ring(), &expected(), &marks.clone(), NOW).unwrap());
    assert_eq!(marks, RejectMarks::default());
}

/// Changes one field by what proptest drew, and returns whether that is a change.
fn change(approval: &mut Approval, field: usize, text: &str, number: i64) -> bool {
    let before = approval.clone();
    match field {
        0 => text.clone_into(&mut approval.rollout),
        1 => approval.revision = number as u64,
        2 => text.clone_into(&mut approval.stage),
        3 => approval.decision = Judgement::Reject,
        4 => text.clone_into(&mut approval.actor),
        5 => approval.at = Timestamp(number),
        6 => approval.expires_at = Timestamp(number),
        7 => text.clone_into(&mut approval.reason),
        8 => text.clone_into(&mut approval.plan_digest),
        9 => text.clone_into(&mut approval.candidate_digest),
        10 => approval.key_id = key(2).id(),
        _ => text.clone_into(&mut approval.signature),
    }
    *approval != before
}

proptest! {
    #[test]
    fn any_changed_field_breaks_verification(
        field in 0..12_usize, text in ".{0,40}", number in any::<i64>(),
    ) {
        let mut approval = approve("ada", 1);
        prop_assume!(change(&mut approval, field, &text, number));
        let error = refusal(&approval, &expected(), NOW);
        prop_assert!(matches!(error, VerifyApprovalError::BadSignature { .. }), "{}", error);
    }

    #[test]
    fn any_changed_bit_of_the_signature_breaks_verification(byte in 0..64_usize, bit in 0..8_u32) {
        let mut approval = approve("ada", 1);
        let mut bytes = BASE64.decode(&approval.signature).unwrap();
        bytes[byte] ^= 1 << bit;
        approval.signature = BASE64.encode(bytes);
        let error = refusal(&approval, &expected(), NOW);
        prop_assert!(matches!(error, VerifyApprovalError::BadSignature { .. }), "{}", error);
    }

    #[test]
    fn two_records_have_the_same_signed_bytes_only_if_they_are_the_same(
        rollout in "[a:=0-9\n]{0,8}", stage in "[a:=0-9\n]{0,8}",
        other_rollout in "[a:=0-9\n]{0,8}", other_stage in "[a:=0-9\n]{0,8}",
    ) {
        let with = |rollout: &str, stage: &str| Approval {
            rollout: rollout.to_owned(), stage: stage.to_owned(), ..approve("ada", 1)
        };
        let (one, two) = (with(&rollout, &stage), with(&other_rollout, &other_stage));
        let same = rollout == other_rollout && stage == other_stage;
        prop_assert_eq!(one.canonical_bytes() == two.canonical_bytes(), same);
    }
}
