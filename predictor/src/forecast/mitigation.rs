//! What could be done instead, and the risk that would remain: each simulated, not guessed.

use super::delta::Delta;
use super::draw::Change;
use super::tally::Tally;
use crate::report::Mitigation;

/// Questions asked besides undoing the parts of the change.
pub(super) const EXTRA: u64 = 3;

/// A mitigation is worth telling if it takes away at least this much probability.
const WORTH: f64 = 0.05;

/// The share of requests that meet the candidate in a canary, and of traffic in a quiet hour.
const CANARY_SHARE: f64 = 0.1;
const QUIET_SHARE: f64 = 0.5;

/// Ranks what could be done by the risk that remains.
pub(super) fn rank(
    deltas: &[Delta],
    undone: &[Tally],
    main: &Tally,
    ask: &mut impl FnMut(&Change) -> Tally,
) -> Vec<Mitigation> {
    let risk = main.any().probability.get();
    let mut found: Vec<Mitigation> = deltas
        .iter()
        .zip(undone)
        .map(|(delta, tally)| mitigation(delta.remedy.clone(), tally))
        .collect();
    if let Some(service) = deltas.iter().find_map(Delta::narrowed) {
        let widened = Change { widened: [service.to_owned()].into(), ..Change::default() };
        found.push(mitigation(
            format!("give `{service}` twice the workers and connections"),
            &ask(&widened),
        ));
    }
    let quiet = Change { traffic_share: Some(QUIET_SHARE), ..Change::default() };
    found.push(mitigation("deploy when half as much traffic comes".to_owned(), &ask(&quiet)));
    let canary = Change { exposure: Some(CANARY_SHARE), ..Change::default() };
    found.push(mitigation(
        "let one request in ten meet the candidate first (canary)".to_owned(),
        &ask(&canary),
    ));
    found.retain(|mitigation| mitigation.probability.get() + WORTH < risk);
    found.sort_by(|a, b| {
        a.probability.get().total_cmp(&b.probability.get()).then_with(|| a.action.cmp(&b.action))
    });
    found
}

fn mitigation(action: String, tally: &Tally) -> Mitigation {
    let share = tally.any();
    Mitigation { action, probability: share.probability, interval: share.interval }
}
