//! What starts when it opens again.
//!
//! While a window is closed, candidates pile up. When it opens, only the newest for a service in an
//! environment starts; the older ones are superseded, not queued behind it.

use std::collections::BTreeMap;

use prophecy_core::time::Timestamp;

use crate::window::{Decision, EvaluateWindowError, Subject, Window, decide};

/// A candidate that waits to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The rollout it belongs to.
    pub rollout: String,
    /// What changes, and where.
    pub subject: Subject,
    /// When the rollout was created: the newest wins, and of two at once the greater id.
    pub created_at: Timestamp,
    /// The earliest start that was asked for.
    pub not_before: Option<Timestamp>,
}

/// Why a candidate does not start now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// A newer candidate starts, or has started: this one never will.
    Superseded {
        /// The rollout that replaced it, or `None` if it started earlier.
        by: Option<String>,
    },
    /// Its time has not come, or a window is closed.
    Until {
        /// When to look again; `None` if no opening is in sight.
        at: Option<Timestamp>,
        /// Why.
        reason: String,
    },
}

/// What to do with the candidates that wait.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Release {
    /// The rollouts that start now, one for each subject.
    pub start: Vec<String>,
    /// The others, and why.
    pub held: BTreeMap<String, Hold>,
}

/// Decides which of the candidates that wait start at `at`.
///
/// `started` holds, for each subject, when the newest rollout that ever started was created: an
/// older candidate whose time comes late is superseded too, and never takes a service back.
///
/// # Errors
///
/// [`EvaluateWindowError`] if a window cannot be worked out; then nothing starts.
pub fn release(
    waiting: &[Waiting],
    started: &BTreeMap<Subject, Timestamp>,
    windows: &[Window],
    at: Timestamp,
) -> Result<Release, EvaluateWindowError> {
    let mut lanes: BTreeMap<&Subject, Vec<&Waiting>> = BTreeMap::new();
    for candidate in waiting {
        lanes.entry(&candidate.subject).or_default().push(candidate);
    }
    let mut release = Release::default();
    for (subject, mut lane) in lanes {
        lane.sort_by(|a, b| (b.created_at, &b.rollout).cmp(&(a.created_at, &a.rollout)));
        let decision = decide(windows, subject, at)?;
        let mut newest: Option<&str> = None;
        for candidate in lane {
            let hold = if let Some(newer) = newest {
                Hold::Superseded { by: Some(newer.to_owned()) }
            } else if started.get(subject).is_some_and(|&before| candidate.created_at <= before) {
                Hold::Superseded { by: None }
            } else if let Some(not_before) = candidate.not_before.filter(|&time| time > at) {
                let reason = "its scheduled start has not come".to_owned();
                let opens = crate::window::next_open(windows, subject, not_before)?;
                Hold::Until { at: opens, reason }
            } else {
                match &decision {
                    Decision::Open => {
                        newest = Some(&candidate.rollout);
                        release.start.push(candidate.rollout.clone());
                        continue;
                    }
                    Decision::Closed { reason, reopens_at, .. } => {
                        Hold::Until { at: *reopens_at, reason: reason.clone() }
                    }
                }
            };
            release.held.insert(candidate.rollout.clone(), hold);
        }
    }
    Ok(release)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREEZE: &str = "windows: [{name: freeze, kind: deny, start: 2026-01-02T00:00:00, \
                          end: 2026-01-03T00:00:00, time_zone: UTC}]";

    fn at(text: &str) -> Timestamp {
        crate::instant::read(text).unwrap()
    }

    fn waiting(rollout: &str, service: &str, created: &str) -> Waiting {
        Waiting {
            rollout: rollout.to_owned(),
            subject: subject(service),
            created_at: at(created),
            not_before: None,
        }
    }

    fn subject(service: &str) -> Subject {
        Subject { service: service.to_owned(), environment: "prod".to_owned() }
    }

    fn queue() -> Vec<Waiting> {
        vec![
            waiting("r1", "cart", "2026-01-02T08:00:00Z"),
            waiting("r3", "cart", "2026-01-02T10:00:00Z"),
            waiting("r2", "cart", "2026-01-02T09:00:00Z"),
            waiting("r4", "search", "2026-01-02T07:00:00Z"),
        ]
    }

    #[test]
    fn nothing_starts_while_it_is_closed_and_all_know_when_to_look_again() {
        let windows = crate::window::parse(FREEZE).unwrap();
        let now = at("2026-01-02T12:00:00Z");
        let release = release(&queue(), &BTreeMap::new(), &windows, now).unwrap();
        assert!(release.start.is_empty());
        assert_eq!(release.held.len(), 4);
        for hold in release.held.values() {
            let Hold::Until { at: until, reason } = hold else { panic!("{hold:?}") };
            assert_eq!(*until, Some(at("2026-01-03T00:00:00Z")));
            assert!(reason.contains("freeze"));
        }
    }

    #[test]
    fn on_reopening_only_the_newest_for_each_service_starts() {
        let windows = crate::window::parse(FREEZE).unwrap();
        let now = at("2026-01-03T00:00:00Z");
        let release = release(&queue(), &BTreeMap::new(), &windows, now).unwrap();
        assert_eq!(release.start, ["r3", "r4"]);
        for older in ["r1", "r2"] {
            assert_eq!(release.held[older], Hold::Superseded { by: Some("r3".to_owned()) });
        }
    }

    #[test]
    fn a_scheduled_start_waits_for_its_time_and_then_for_the_window() {
        let windows = crate::window::parse(FREEZE).unwrap();
        let mut candidate = waiting("r1", "cart", "2026-01-01T08:00:00Z");
        candidate.not_before = Some(at("2026-01-02T06:00:00Z"));
        let queue = [candidate, waiting("r0", "cart", "2026-01-01T07:00:00Z")];
        let now = at("2026-01-01T12:00:00Z");
        let release = release(&queue, &BTreeMap::new(), &windows, now).unwrap();
        assert_eq!(release.start, ["r0"], "what is scheduled later holds nobody back");
        let Hold::Until { at: until, .. } = &release.held["r1"] else { panic!() };
        assert_eq!(*until, Some(at("2026-01-03T00:00:00Z")));
    }

    #[test]
    fn an_older_candidate_whose_time_comes_late_never_takes_a_service_back() {
        let started = BTreeMap::from([(subject("cart"), at("2026-01-02T09:30:00Z"))]);
        let now = at("2026-01-03T00:00:00Z");
        let old = [waiting("r1", "cart", "2026-01-02T08:00:00Z")];
        let release = release(&old, &started, &[], now).unwrap();
        assert!(release.start.is_empty());
        assert_eq!(release.held["r1"], Hold::Superseded { by: None });
    }
}
