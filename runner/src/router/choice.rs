//! Which arm a request meets.

use std::sync::atomic::{AtomicU64, Ordering};

use hyper::HeaderMap;
use hyper::header::COOKIE;

use super::routing::Front;
use crate::strategy::WHOLE;

/// The cookie of clients that had none to stay by.
pub(super) const BUCKET_COOKIE: &str = "prophecy-bucket";

/// A step that has no divisor in common with the whole, near the golden section of it: it visits every place
/// once before it visits one again, and spreads any few in a row evenly.
pub(super) const STEP: u64 = 61_803;

/// What was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    /// The arm, by its place.
    pub(super) arm: usize,
    /// The place that the client is to stay at, if it has to be told.
    pub(super) assigned: Option<u32>,
}

/// Chooses the arm of a request.
pub(super) fn choose(front: &Front, counter: &AtomicU64, headers: &HeaderMap) -> Choice {
    for rule in &front.rules {
        let found = match rule.field.strip_prefix("cookie:") {
            Some(name) => cookie(headers, name),
            None => headers.get(&rule.field).and_then(|value| value.to_str().ok()),
        };
        if found == Some(rule.value.as_str()) {
            let arm = front.arms.iter().position(|arm| arm.name == rule.arm);
            return Choice { arm: arm.expect("checked when it was told"), assigned: None };
        }
    }
    if front.arms.len() == 1 {
        return Choice { arm: 0, assigned: None };
    }
    let Some(sticky) = &front.sticky else {
        return Choice { arm: arm_at(front, next(counter)), assigned: None };
    };
    // Ours comes first: a client that begins a session meanwhile stays where it is.
    let ours = cookie(headers, BUCKET_COOKIE).and_then(|value| value.parse::<u32>().ok());
    if let Some(place) = ours.filter(|place| *place < WHOLE) {
        return Choice { arm: arm_at(front, place), assigned: None };
    }
    if let Some(value) = cookie(headers, &sticky.cookie) {
        return Choice { arm: arm_at(front, place_of(value)), assigned: None };
    }
    let place = next(counter);
    Choice { arm: arm_at(front, place), assigned: sticky.assign.then_some(place) }
}

/// Says whether a request is copied.
pub(super) fn is_copied(share: u32, counter: &AtomicU64) -> bool {
    next(counter) < share
}

fn next(counter: &AtomicU64) -> u32 {
    (counter.fetch_add(1, Ordering::Relaxed).wrapping_mul(STEP) % u64::from(WHOLE)) as u32
}

/// Returns the arm that has a place. Arms lie in order, the first from zero: what it gains as it grows, it
/// gains at its end.
fn arm_at(front: &Front, place: u32) -> usize {
    let mut end = 0;
    let found = front.arms.iter().position(|arm| {
        end += arm.weight;
        place < end
    });
    found.expect("weights add up to the whole")
}

/// Returns the place of a cookie's value (FNV-1a, 64 bits).
fn place_of(value: &str) -> u32 {
    let hash = value.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    // The low bits of FNV are its weakest.
    ((hash ^ (hash >> 32)) % u64::from(WHOLE)) as u32
}

/// Returns the value of a cookie (RFC 6265, section 4.2.1).
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.split_once('='));
    pairs.find(|(found, _)| found.trim() == name).map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::super::routing::{Arm, Rule, Sticky};
    use super::*;

    fn front(weights: &[u32]) -> Front {
        let arms = weights.iter().enumerate().map(|(index, weight)| Arm {
            name: index.to_string(),
            weight: *weight,
            backends: Vec::new(),
        });
        Front {
            listen: ([127, 0, 0, 1], 0).into(),
            source: "client".to_owned(),
            destination: "app".to_owned(),
            arms: arms.collect(),
            sticky: None,
            rules: Vec::new(),
            shadow: None,
            hold: None,
            observed: true,
            answer_limit_ms: 1_000,
        }
    }

    fn headers(cookie: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, cookie.parse().expect("a value"));
        headers
    }

    #[test]
    fn any_hundred_thousand_in_a_row_meet_the_weights_exactly() {
        let front = front(&[1, 12_345, 87_654]);
        for start in [0, 77_777, u64::MAX / 2] {
            let counter = AtomicU64::new(start);
            let mut counts = [0; 3];
            for _ in 0..WHOLE {
                counts[choose(&front, &counter, &HeaderMap::new()).arm] += 1;
            }
            assert_eq!(counts, [1, 12_345, 87_654], "{start}");
        }
    }

    #[test]
    fn few_in_a_row_are_spread_evenly() {
        let (front, counter) = (front(&[10_000, 90_000]), AtomicU64::new(0));
        let mut last = 0;
        for index in 0..10_000 {
            if choose(&front, &counter, &HeaderMap::new()).arm == 0 {
                assert!(index - last <= 14, "none for {} requests", index - last);
                last = index;
            }
        }
    }

    #[test]
    fn who_met_the_candidate_stays_with_it_while_it_grows() {
        let grown = |weights: &[u32]| {
            let mut front = front(weights);
            front.sticky = Some(Sticky { cookie: "session".to_owned(), assign: true });
            front
        };
        let (small, large) = (grown(&[5_000, 5_000, 90_000]), grown(&[25_000, 25_000, 50_000]));
        let counter = AtomicU64::new(0);
        let mut met = 0;
        for session in 0..20_000 {
            let headers = headers(&format!("a=1; session=s{session}"));
            if choose(&small, &counter, &headers).arm == 0 {
                met += 1;
                assert_eq!(choose(&large, &counter, &headers).arm, 0, "{session}");
            }
        }
        // Five in a hundred, within five standard deviations of a fair hash.
        assert!((1_000_i32 - met).abs() < 155, "{met}");
        let first = choose(&small, &counter, &HeaderMap::new());
        let place = first.assigned.expect("it had no cookie");
        let again = headers(&format!("{BUCKET_COOKIE}={place}"));
        assert_eq!(choose(&small, &counter, &again), Choice { assigned: None, ..first });
        for session in 0..100 {
            let both = headers(&format!("session=s{session}; {BUCKET_COOKIE}={place}"));
            assert_eq!(choose(&small, &counter, &both).arm, first.arm, "it has begun a session");
        }
    }

    #[test]
    fn rules_come_before_weights() {
        let mut front = front(&[0, 100_000]);
        front.rules = vec![
            Rule { field: "x-beta".to_owned(), value: "1".to_owned(), arm: "0".to_owned() },
            Rule { field: "cookie:beta".to_owned(), value: "yes".to_owned(), arm: "0".to_owned() },
        ];
        let counter = AtomicU64::new(0);
        let mut with_header = HeaderMap::new();
        with_header.insert("x-beta", "1".parse().expect("a value"));
        assert_eq!(choose(&front, &counter, &with_header).arm, 0);
        assert_eq!(choose(&front, &counter, &headers("beta=yes")).arm, 0);
        assert_eq!(choose(&front, &counter, &headers("beta=no")).arm, 1);
    }
}
