//! Traffic drawn anew is another day like the one that was captured.

use prophecy_core::Seed;
use prophecy_simulator::Traffic;

const WINDOW: u64 = 60_000_000_000;

fn captured(rate_hz: f64) -> Traffic {
    let routes = ["GET /a".to_owned(), "GET /b".to_owned()];
    Traffic::poisson(rate_hz, WINDOW, &routes, &mut Seed(3).stream(0, 0, "arrivals"))
}

/// The count of another day: its blocks are drawn anew and its rate is an estimate, so that its variance
/// is twice that of a Poisson count. Of 600 days, the mean has a standard error of 0.04 · √2 √n and
/// the variance one of 6 %.
#[test]
fn another_day_differs_in_its_count_as_days_do() {
    let captured = captured(40.0);
    let counts: Vec<f64> = (0..600)
        .map(|day| {
            let drawn = captured.resample(&mut Seed(5).stream(day, 0, "traffic"));
            assert!(drawn.arrivals.is_sorted_by_key(|arrival| arrival.at_nanos));
            assert!(drawn.arrivals.iter().all(|arrival| arrival.at_nanos < WINDOW));
            drawn.arrivals.len() as f64
        })
        .collect();
    let expected = captured.arrivals.len() as f64;
    let mean = counts.iter().sum::<f64>() / 600.0;
    assert!((mean / expected - 1.0).abs() < 0.01, "{mean} of {expected}");
    let variance = counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / 599.0;
    assert!((1.2..2.8).contains(&(variance / expected)), "{variance} of {expected}");
}

/// A morning rush stays in the morning.
#[test]
fn another_day_has_the_shape_of_the_captured_one() {
    let mut rush = captured(60.0);
    let half = WINDOW / 2;
    let mut index = 0;
    rush.arrivals.retain(|arrival| {
        index += 1;
        arrival.at_nanos < half || index % 4 == 0
    });
    let share = |traffic: &Traffic| {
        let early = traffic.arrivals.iter().filter(|arrival| arrival.at_nanos < half).count();
        early as f64 / traffic.arrivals.len() as f64
    };
    let mean = (0..200)
        .map(|day| share(&rush.resample(&mut Seed(5).stream(day, 0, "traffic"))))
        .sum::<f64>()
        / 200.0;
    // Two of the sixteen blocks on each side can come from the other: 3 of 5 · 16 draws do, so that the
    // early share falls from 0.800 to 0.778.
    let expected = share(&rush) - 0.022;
    assert!((expected - mean).abs() < 0.015, "{expected} and {mean}");
}

#[test]
fn a_window_without_arrivals_stays_empty_and_a_short_one_is_not_cut() {
    let empty = Traffic { window_nanos: 1, arrivals: Vec::new() };
    assert!(empty.resample(&mut Seed(1).stream(0, 0, "traffic")).arrivals.is_empty());
    let mut short = captured(40.0);
    short.window_nanos = 200_000_000;
    short.arrivals.retain(|arrival| arrival.at_nanos < 200_000_000);
    let drawn = short.resample(&mut Seed(1).stream(0, 0, "traffic"));
    assert_eq!(drawn.window_nanos, short.window_nanos);
}
