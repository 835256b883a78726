use super::*;

const BERLIN_WEEKEND: &str = r#"
windows:
  - name: weekend
    kind: deny
    rrule: FREQ=WEEKLY;BYDAY=FR
    start: 2026-01-02T16:00:00
    end: 2026-01-05T08:00:00
    time_zone: Europe/Berlin
    environments: [prod*]
    reason: nobody is on call
"#;

fn at(text: &str) -> Timestamp {
    crate::instant::read(text).unwrap()
}

fn cart() -> Subject {
    Subject { service: "cart".to_owned(), environment: "prod".to_owned() }
}

fn is_open(windows: &[Window], time: &str) -> bool {
    decide(windows, &cart(), at(time)).unwrap() == Decision::Open
}

fn reopens(windows: &[Window], time: &str) -> Option<String> {
    match decide(windows, &cart(), at(time)).unwrap() {
        Decision::Open => panic!("open at {time}"),
        Decision::Closed { reopens_at, .. } => reopens_at.map(crate::instant::write),
    }
}

fn once(name: &str, kind: &str, start: &str, end: &str) -> String {
    format!("  - {{name: {name}, kind: {kind}, start: {start}, end: {end}, time_zone: UTC}}\n")
}

fn windows(lines: &[String]) -> Vec<Window> {
    parse(&format!("windows:\n{}", lines.concat())).unwrap()
}

/// A window about the cart that does or does not hold at noon of 2026-01-02.
fn held(name: &str, kind: &str, holds: bool) -> String {
    let day = if holds { ("02", "03") } else { ("10", "11") };
    once(name, kind, &format!("2026-01-{}T00:00:00", day.0), &format!("2026-01-{}T00:00:00", day.1))
}

#[test]
fn the_truth_table_holds_for_every_mix_of_two_denies_and_two_allows() {
    // Each of four windows is absent, inactive, or active: 81 cases against the rule in words.
    for case in 0..81_usize {
        let states: Vec<usize> = (0..4).map(|place| case / 3_usize.pow(place) % 3).collect();
        let mut lines = Vec::new();
        for (index, &state) in states.iter().enumerate() {
            let kind = if index < 2 { "deny" } else { "allow" };
            if state > 0 {
                lines.push(held(&format!("w{index}"), kind, state == 2));
            }
        }
        let windows = if lines.is_empty() { Vec::new() } else { windows(&lines) };
        let any_deny = states[..2].contains(&2);
        let has_allow = states[2..].iter().any(|&state| state > 0);
        let any_allow = states[2..].contains(&2);
        let closed = any_deny || (has_allow && !any_allow);
        assert_eq!(!is_open(&windows, "2026-01-02T12:00:00Z"), closed, "{states:?}");
    }
}

#[test]
fn a_window_about_others_does_not_count() {
    let others = parse(
        "windows: [{name: a, kind: deny, start: 2026-01-02T00:00:00, duration: 24h, \
         time_zone: UTC, services: [search-*]}, {name: b, kind: allow, start: \
         2027-01-02T00:00:00, duration: 24h, time_zone: UTC, environments: [staging]}]",
    )
    .unwrap();
    assert!(is_open(&others, "2026-01-02T12:00:00Z"));
    let search = Subject { service: "search-eu".to_owned(), environment: "prod".to_owned() };
    assert_ne!(decide(&others, &search, at("2026-01-02T12:00:00Z")).unwrap(), Decision::Open);
}

#[test]
fn an_inactive_allow_does_not_block_while_another_is_active() {
    let windows = windows(&[held("never", "allow", false), held("now", "allow", true)]);
    assert!(is_open(&windows, "2026-01-02T12:00:00Z"));
}

#[test]
fn a_deny_closes_in_its_time_only_and_its_end_is_open() {
    let windows = windows(&[once("d", "deny", "2026-01-02T10:00:00", "2026-01-02T11:00:00")]);
    let check = |time, expected| assert_eq!(is_open(&windows, time), expected, "{time}");
    check("2026-01-02T09:59:59.999999999Z", true);
    check("2026-01-02T10:00:00Z", false);
    check("2026-01-02T10:59:59.999999999Z", false);
    check("2026-01-02T11:00:00Z", true);
}

#[test]
fn a_refusal_names_the_windows_the_reason_and_the_reopening() {
    let windows = parse(BERLIN_WEEKEND).unwrap();
    let decision = decide(&windows, &cart(), at("2026-01-10T12:00:00Z")).unwrap();
    let expected = Decision::Closed {
        by: vec!["weekend".to_owned()],
        reason: "the freeze `weekend` holds: nobody is on call".to_owned(),
        reopens_at: Some(at("2026-01-12T07:00:00Z")),
    };
    assert_eq!(decision, expected);
    assert!(is_open(&windows, "2026-01-02T14:59:59Z"));
    assert!(is_open(&windows, "2026-01-08T12:00:00Z"));
}

#[test]
fn the_wall_clock_rules_in_summer_and_in_winter() {
    let windows = parse(BERLIN_WEEKEND).unwrap();
    // Friday 16:00 is 15:00 UTC in winter and 14:00 UTC in summer.
    assert!(is_open(&windows, "2026-01-09T14:59:59Z"));
    assert!(!is_open(&windows, "2026-01-09T15:00:00Z"));
    assert!(is_open(&windows, "2026-07-03T13:59:59Z"));
    assert!(!is_open(&windows, "2026-07-03T14:00:00Z"));
    // The clocks change inside these two weekends; Monday 08:00 stays Monday 08:00.
    assert_eq!(reopens(&windows, "2026-03-28T12:00:00Z").unwrap(), "2026-03-30T06:00:00Z");
    assert_eq!(reopens(&windows, "2026-10-24T12:00:00Z").unwrap(), "2026-10-26T07:00:00Z");
}

#[test]
fn a_start_in_the_missing_hour_is_moved_behind_it() {
    let nightly = "windows: [{name: n, kind: deny, rrule: FREQ=DAILY, start: 2026-03-01T02:30:00, \
                   duration: 1h, time_zone: Europe/Berlin}]";
    let windows = parse(nightly).unwrap();
    // On March 29 there is no 02:30: it is read as 03:30 summer time, 01:30 UTC.
    assert!(is_open(&windows, "2026-03-29T01:29:59Z"));
    assert!(!is_open(&windows, "2026-03-29T01:30:00Z"));
    assert_eq!(reopens(&windows, "2026-03-29T02:00:00Z").unwrap(), "2026-03-29T02:30:00Z");
}

#[test]
fn the_doubled_hour_is_closed_once_by_duration_and_through_by_the_wall() {
    let check = |length: &str, expected: &str| {
        let nightly = format!(
            "windows: [{{name: n, kind: deny, rrule: FREQ=DAILY, start: 2026-10-01T02:00:00, \
             {length}, time_zone: Europe/Berlin}}]"
        );
        let windows = parse(&nightly).unwrap();
        // 02:00 is shown twice on October 25; the first is 00:00 UTC.
        assert!(is_open(&windows, "2026-10-24T23:59:59Z"), "{length}");
        assert_eq!(reopens(&windows, "2026-10-25T00:00:00Z").unwrap(), expected, "{length}");
    };
    check("duration: 1h", "2026-10-25T01:00:00Z");
    check("end: 2026-10-01T03:00:00", "2026-10-25T02:00:00Z");
}

#[test]
fn a_leap_day_freeze_closes_on_leap_days_only() {
    let leap = "windows: [{name: leap, kind: deny, rrule: FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29, \
                start: 2024-02-29T00:00:00, duration: 24h, time_zone: UTC}]";
    let windows = parse(leap).unwrap();
    assert!(is_open(&windows, "2026-02-28T12:00:00Z"));
    assert!(is_open(&windows, "2026-03-01T00:00:00Z"));
    assert!(!is_open(&windows, "2028-02-29T12:00:00Z"));
}

#[test]
fn an_opening_on_the_next_leap_day_is_found_even_across_2100() {
    let leap = "windows: [{name: leap, kind: allow, rrule: FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29, \
                start: 2024-02-29T00:00:00, duration: 24h, time_zone: UTC}]";
    let windows = parse(leap).unwrap();
    assert_eq!(reopens(&windows, "2096-03-01T00:00:00Z").unwrap(), "2104-02-29T00:00:00Z");
}

#[test]
fn overlapping_windows_reopen_when_the_last_of_them_ends() {
    let windows = windows(&[
        once("a", "deny", "2026-01-02T00:00:00", "2026-01-04T00:00:00"),
        once("b", "deny", "2026-01-03T00:00:00", "2026-01-06T00:00:00"),
        once("c", "allow", "2026-01-01T00:00:00", "2026-01-05T00:00:00"),
        once("d", "allow", "2026-01-07T00:00:00", "2026-01-08T00:00:00"),
    ]);
    assert_eq!(reopens(&windows, "2026-01-02T12:00:00Z").unwrap(), "2026-01-07T00:00:00Z");
}

#[test]
fn what_never_opens_again_says_so() {
    let past = windows(&[held("past", "allow", true)]);
    assert_eq!(reopens(&past, "2026-02-01T00:00:00Z"), None);
    let always = "windows: [{name: a, kind: deny, rrule: FREQ=HOURLY, start: 2020-01-01T00:00:00, \
                  duration: 2h, time_zone: Europe/Berlin}]";
    assert_eq!(reopens(&parse(always).unwrap(), "2026-02-01T00:00:00Z"), None);
}

#[test]
fn next_open_agrees_with_looking_at_every_quarter_of_an_hour() {
    let windows = parse(
        "windows: [{name: work, kind: allow, rrule: 'FREQ=WEEKLY;BYDAY=MO,TU,WE,TH', start: \
         2026-01-01T09:00:00, end: 2026-01-01T17:00:00, time_zone: Europe/Berlin}, {name: lunch, \
         kind: deny, rrule: FREQ=DAILY, start: 2026-01-01T12:00:00, duration: 45m, time_zone: \
         America/New_York}]",
    )
    .unwrap();
    let quarter = 900_000_000_000_u64;
    // The two weeks in which first America and then Europe change their clocks.
    let from = at("2026-03-07T00:00:00Z");
    let times: Vec<Timestamp> = (0..25 * 96).map(|step| from.plus_nanos(step * quarter)).collect();
    let open: Vec<bool> = times
        .iter()
        .map(|&time| decide(&windows, &cart(), time).unwrap() == Decision::Open)
        .collect();
    assert!(open.iter().any(|&open| open) && open.iter().any(|&open| !open));
    for index in (0..20 * 96).step_by(7) {
        let expected = (index..times.len()).find(|&later| open[later]).map(|later| times[later]);
        assert_eq!(next_open(&windows, &cart(), times[index]).unwrap(), expected);
    }
}

/// The transitions that Argo CD lists for a sync which outlives its window, in our terms.
#[test]
fn a_running_rollout_is_never_interrupted_whatever_opens_or_closes() {
    let active = |kind| held(&format!("{kind}-on"), kind, true);
    let inactive = |kind| held(&format!("{kind}-off"), kind, false);
    let ends: Vec<(&str, Vec<Window>, bool)> = vec![
        ("allow ends, nothing else", windows(&[inactive("allow")]), false),
        ("allow ends, deny begins", windows(&[inactive("allow"), active("deny")]), false),
        (
            "allow ends, another allow begins",
            windows(&[inactive("allow"), held("b", "allow", true)]),
            true,
        ),
        ("allow stays, deny begins", windows(&[active("allow"), active("deny")]), false),
        ("no window, deny begins", windows(&[active("deny")]), false),
        ("deny ends", windows(&[inactive("deny")]), true),
        (
            "deny ends, inactive allow remains",
            windows(&[inactive("deny"), inactive("allow")]),
            false,
        ),
        ("deny ends, allow active", windows(&[inactive("deny"), active("allow")]), true),
        ("all windows are deleted", Vec::new(), true),
    ];
    let now = at("2026-01-02T12:00:00Z");
    for (case, windows, opens) in &ends {
        for action in [Action::Proceed, Action::RollBack] {
            let admission = admit(windows, &cart(), action, now, None).unwrap();
            assert_eq!(admission, Admission::Admitted, "{case}");
        }
        for action in [Action::Create, Action::Start] {
            let admission = admit(windows, &cart(), action, now, None).unwrap();
            assert_eq!(admission == Admission::Admitted, *opens, "{case}");
        }
    }
}

#[test]
fn breaking_glass_passes_and_leaves_a_record_only_where_something_was_closed() {
    let now = at("2026-01-02T12:00:00Z");
    let pass = BreakGlass::new("ada", "payments are down").unwrap();
    let closed = windows(&[held("d", "deny", true)]);
    let admission = admit(&closed, &cart(), Action::Create, now, Some(&pass)).unwrap();
    let Admission::BrokeGlass(record) = admission else { panic!("{admission:?}") };
    assert_eq!(record.actor, "ada");
    assert_eq!(record.reason, "payments are down");
    assert_eq!(record.windows, ["d"]);
    assert_eq!((record.at, record.action), (now, Action::Create));
    let json = serde_json::to_string(&record).unwrap();
    assert_eq!(serde_json::from_str::<BreakGlassRecord>(&json).unwrap(), record);
    let open = admit(&[], &cart(), Action::Create, now, Some(&pass)).unwrap();
    assert_eq!(open, Admission::Admitted);
}

#[test]
fn glass_is_not_broken_without_a_name_and_a_reason() {
    assert!(BreakGlass::new(" ", "because").is_err());
    assert!(BreakGlass::new("ada", "\t").is_err());
}

#[test]
fn one_bad_window_refuses_all() {
    let refuse = |fields: &str| {
        parse(&format!("windows: [{{name: w, kind: deny, {fields}}}]")).expect_err(fields)
    };
    let zone = "time_zone: UTC";
    let start = "start: 2026-01-02T00:00:00";
    let length = |error| matches!(error, ParseWindowError::Length { .. });
    assert!(length(refuse(&format!("{start}, {zone}"))));
    assert!(length(refuse(&format!("{start}, {zone}, duration: 0s"))));
    assert!(length(refuse(&format!("{start}, {zone}, duration: 400d"))));
    assert!(length(refuse(&format!("{start}, {zone}, duration: 1h, end: 2026-01-03T00:00:00"))));
    assert!(length(refuse(&format!("{start}, {zone}, end: 2026-01-01T00:00:00"))));
    let is_time = |error| matches!(error, ParseWindowError::Time { .. });
    assert!(is_time(refuse(&format!("start: 2026-01-02T00:00:00Z, {zone}, duration: 1h"))));
    assert!(is_time(refuse(&format!("start: 0001-01-02T00:00:00, {zone}, duration: 1h"))));
    let error = refuse(&format!("{start}, time_zone: Berlin, duration: 1h"));
    assert!(matches!(error, ParseWindowError::Zone { .. }));
    let error = refuse(&format!("{start}, {zone}, duration: 1h, rule: FREQ=DAILY"));
    assert!(matches!(error, ParseWindowError::Document(_)), "an unknown field is not ignored");
    let error = refuse(&format!("{start}, {zone}, duration: 1h, rrule: FREQ=SECONDLY"));
    assert!(matches!(error, ParseWindowError::Recurrence { .. }));
    let twice = [held("same", "deny", true), held("same", "deny", true)].concat();
    let error = parse(&format!("windows:\n{twice}")).expect_err("twice");
    assert!(matches!(error, ParseWindowError::Name { .. }));
}

#[test]
fn a_window_that_lies_in_the_missing_hour_moves_and_one_that_ends_with_it_has_no_time() {
    let nightly = |end: &str| {
        parse(&format!(
            "windows: [{{name: n, kind: deny, rrule: FREQ=DAILY, start: 2026-03-01T02:30:00, \
             end: 2026-03-01T{end}, time_zone: Europe/Berlin}}]"
        ))
        .unwrap()
    };
    // 02:30 to 02:45 is read as 03:30 to 03:45 summer time.
    assert_eq!(
        reopens(&nightly("02:45:00"), "2026-03-29T01:30:00Z").unwrap(),
        "2026-03-29T01:45:00Z"
    );
    // From 02:30 to 03:00 no time passes on that night.
    for time in ["2026-03-29T00:59:59Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"] {
        assert!(is_open(&nightly("03:00:00"), time), "{time}");
    }
    assert!(!is_open(&nightly("03:00:00"), "2026-03-30T00:30:00Z"));
}

#[test]
fn rollbacks_and_running_rollouts_do_not_even_need_a_window_that_can_be_asked() {
    let now = at("2026-01-02T12:00:00Z");
    let mut broken = windows(&[held("d", "deny", true)]);
    let dense = "FREQ=DAILY";
    broken[0].recurrence =
        Some(Recurrence::parse(dense, broken[0].start, broken[0].zone).unwrap().made_too_dense());
    assert!(decide(&broken, &cart(), now).is_err());
    assert!(admit(&broken, &cart(), Action::Create, now, None).is_err(), "an error is not a pass");
    for action in [Action::Proceed, Action::RollBack] {
        let admission = admit(&broken, &cart(), action, now, None).unwrap();
        assert_eq!(admission, Admission::Admitted);
    }
    let pass = BreakGlass::new("ada", "payments are down").unwrap();
    let admission = admit(&broken, &cart(), Action::Create, now, Some(&pass)).unwrap();
    let Admission::BrokeGlass(record) = admission else { panic!("{admission:?}") };
    assert_eq!(record.windows, ["d"]);
}
