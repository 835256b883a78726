//! The demo's visitors: a seeded day in less than a minute, with people who have something to hide.

use prophecy_core::{Header, Philox, Seed};
use prophecy_twin::replay::PlannedRequest;
use serde_json::json;

/// How much traffic to make.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Day {
    /// Its length \[s\]; a whole day is pressed into it.
    pub(crate) seconds: f64,
    /// The mean rate \[requests/s\].
    pub(crate) rate_hz: f64,
}

const FIRST_NAMES: [&str; 12] = [
    "Ada",
    "Blaise",
    "Carl",
    "Dorothy",
    "Emmy",
    "Felix",
    "Grace",
    "Hedy",
    "Ida",
    "John",
    "Katherine",
    "Leonhard",
];
const LAST_NAMES: [&str; 10] = [
    "Lovelace", "Pascal", "Gauss", "Vaughan", "Noether", "Klein", "Hopper", "Lamarr", "Rhodes",
    "Euler",
];
const ITEM_COUNT: usize = 2_000;
const ORDER_COUNT: usize = 1_000;

/// Returns the requests of one day, by time.
///
/// # Determinism
///
/// Depends on `day` and `seed` alone.
pub(crate) fn requests(day: Day, seed: Seed) -> Vec<PlannedRequest> {
    let mut arrivals = seed.stream(0, 0, "arrivals");
    let mut choices = seed.stream(0, 0, "choices");
    let mut planned = Vec::new();
    let mut session = 0;
    let mut at_seconds = 0.0;
    // NUMERICS: thinning (Lewis and Shedler, 1979) under the peak rate.
    let peak_hz = day.rate_hz * PEAK;
    loop {
        at_seconds += arrivals.exponential() / peak_hz;
        if at_seconds >= day.seconds {
            return planned;
        }
        if arrivals.uniform() * PEAK > shape(at_seconds / day.seconds) {
            continue;
        }
        // One visit in six is somebody new; the others go on with one of the last twenty sessions.
        if session == 0 || choices.uniform() < 1.0 / 6.0 {
            session += 1;
        }
        let back = choices.below(session.min(20)) as u64;
        let visitor = session as u64 - back;
        let exchange_id = planned.len() as u64;
        let offset_nanos = (at_seconds * 1e9) as u64;
        planned.push(request(exchange_id, offset_nanos, visitor, &mut choices));
    }
}

const PEAK: f64 = 1.4;

/// The rate at a part of the day, relative to its mean: a night, and two humps around noon.
fn shape(part: f64) -> f64 {
    let daily = (std::f64::consts::TAU * (part - 0.25)).sin();
    let lunch = (2.0 * std::f64::consts::TAU * (part - 0.25)).sin();
    1.0 + 0.3 * daily + 0.1 * lunch
}

fn request(
    exchange_id: u64,
    offset_nanos: u64,
    session: u64,
    choices: &mut Philox,
) -> PlannedRequest {
    let token = format!("{:016x}{:016x}", session.wrapping_mul(0x9E37_79B9_7F4A_7C15), !session);
    let mut headers = vec![
        Header::new("host", "shop.example"),
        Header::new("user-agent", "Mozilla/5.0 (X11; Linux x86_64) prophecy-demo"),
        Header::new("authorization", format!("Bearer {token}")),
        Header::new("cookie", format!("sid={token}; theme=dark")),
    ];
    let (method, path_and_query, body) = match choices.uniform() {
        u if u < 0.25 => ("GET", "/".to_owned(), Vec::new()),
        u if u < 0.70 => ("GET", format!("/items/{}", popular(choices)), Vec::new()),
        u if u < 0.90 => {
            headers.push(Header::new("content-type", "application/json"));
            ("POST", "/checkout".to_owned(), checkout(session, choices))
        }
        _ => ("GET", format!("/orders/{}", 1 + choices.below(ORDER_COUNT)), Vec::new()),
    };
    PlannedRequest {
        exchange_id,
        offset_nanos,
        session,
        connection: session,
        method: method.to_owned(),
        path_and_query,
        headers,
        body,
    }
}

/// Draws an item with a popularity that falls with its number.
fn popular(choices: &mut Philox) -> usize {
    1 + (choices.uniform().powi(2) * ITEM_COUNT as f64) as usize
}

fn checkout(session: u64, choices: &mut Philox) -> Vec<u8> {
    let first = FIRST_NAMES[session as usize % FIRST_NAMES.len()];
    let last = LAST_NAMES[session as usize / FIRST_NAMES.len() % LAST_NAMES.len()];
    let items: Vec<_> = (0..=choices.below(5))
        .map(|_| json!({ "sku": format!("SKU-{:05}", popular(choices)), "quantity": 1 + choices.below(3) }))
        .collect();
    let body = json!({
        "customer": {
            "id": session,
            "name": format!("{first} {last}"),
            "email": format!("{}.{}{session}@example.org", first.to_lowercase(), last.to_lowercase()),
            "phone": format!("+1 202 555 {:04}", session * 37 % 10_000),
        },
        "card": card_number(session),
        "items": items,
    });
    body.to_string().into_bytes()
}

/// Returns a card number of a range kept for tests, with its check digit (Luhn, ISO/IEC 7812-1).
fn card_number(session: u64) -> String {
    let digits = format!("400000{:09}", session * 7_919 % 1_000_000_000);
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(index, digit)| {
            let value = u32::from(digit - b'0');
            match index % 2 {
                0 if value > 4 => 2 * value - 9,
                0 => 2 * value,
                _ => value,
            }
        })
        .sum();
    format!("{digits}{}", (10 - sum % 10) % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_the_same_day_again_at_about_the_rate_asked_for() {
        let day = Day { seconds: 100.0, rate_hz: 40.0 };
        let planned = requests(day, Seed(7));
        assert_eq!(planned, requests(day, Seed(7)));
        // 4,000 expected; four standard deviations of a Poisson count are 253.
        assert!((3_747..=4_253).contains(&planned.len()), "{}", planned.len());
        assert!(planned.is_sorted_by_key(|request| request.offset_nanos));
    }

    #[test]
    fn ends_card_numbers_with_a_valid_check_digit() {
        assert_eq!(card_number(0), "4000000000000002");
    }
}
