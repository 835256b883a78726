//! The same routings, carried out by a real HAProxy.

mod connections;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hyper::Method;
use prophecy_runner::router::{Arm, Rule, Shadow, Sticky};
use prophecy_runner::traffic::RouterError;
use rustix::process::{Pid, Signal, kill_process};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::instance::Instance;
use super::rig::{Caller, PATIENCE, Rig, arm, free_address, front};

/// Returns the HAProxy processes of a folder.
fn processes(folder: &Path) -> Vec<Pid> {
    let config = format!("{}/haproxy-", folder.display());
    let entries = fs::read_dir("/proc").unwrap();
    let pids = entries.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let ours = pids.filter(|pid: &i32| {
        fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|text| text.contains(&config))
    });
    ours.filter_map(Pid::from_raw).collect()
}

/// Returns the sum of what a rig has counted: requests, failures and latencies.
async fn counted(rig: &Rig) -> (u64, u64, u64) {
    let slices = rig.client.slices("entry", 0).await.unwrap();
    let all: Vec<_> = slices.values().flatten().collect();
    (
        all.iter().map(|slice| slice.requests).sum(),
        all.iter().map(|slice| slice.failures).sum(),
        all.iter().map(|slice| slice.latency.count()).sum(),
    )
}

async fn until_counted(rig: &Rig, requests: u64) -> (u64, u64, u64) {
    let end = Instant::now() + PATIENCE;
    loop {
        let sums = counted(rig).await;
        if sums.0 >= requests {
            return sums;
        }
        assert!(Instant::now() < end, "{sums:?} of {requests}");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_requests_meet_the_weights_and_are_all_counted() {
    let (candidate, stable) = (Instance::start("candidate").await, Instance::start("stable").await);
    let arms = vec![arm("candidate", 12_345, &[&candidate]), arm("stable", 87_655, &[&stable])];
    let rig = Rig::behind_haproxy(arms).await;
    let mut callers = JoinSet::new();
    for _ in 0..16 {
        let mut caller = rig.caller().await;
        callers.spawn(async move {
            for _ in 0..100_000 / 16 {
                assert_eq!(caller.get("/items/17?secret=1").await.status, 200);
            }
        });
    }
    while let Some(done) = callers.join_next().await {
        done.unwrap();
    }
    // Dealt by a counter, they are exact; a tenth of a percent is what is promised.
    assert!(candidate.requests().abs_diff(12_345) <= 12, "{}", candidate.requests());
    assert_eq!(candidate.requests() + stable.requests(), 100_000);
    assert_eq!(until_counted(&rig, 100_000).await, (100_000, 0, 100_000));
    assert_eq!(rig.client.lost(0).await.unwrap(), 0);
    let slices = rig.client.slices("entry", 0).await.unwrap();
    assert!(slices.values().flatten().all(|slice| slice.route == "GET /items/{id}"));
    rig.stop().await;
}

#[tokio::test]
async fn a_client_stays_while_the_candidate_grows_and_no_process_is_replaced() {
    let (candidate, stable) = (Instance::start("candidate").await, Instance::start("stable").await);
    let arms = vec![arm("candidate", 30_000, &[&candidate]), arm("stable", 70_000, &[&stable])];
    let rig = Rig::behind_haproxy(arms).await;
    let sticky = Sticky { cookie: "session".to_owned(), assign: true };
    rig.change_front(|front| front.sticky = Some(sticky)).await;
    let before = processes(rig.folder.path());
    let mut caller = rig.caller().await;
    let (mut met, mut sessions) = (Vec::new(), Vec::new());
    for index in 0..40 {
        let first = caller.get("/").await;
        let cookie = first.headers["set-cookie"].to_str().unwrap();
        met.push((cookie.split(';').next().unwrap().to_owned(), first.body));
        let session = format!("a=1; session=s{index}");
        let answer = caller.ask(Method::GET, "/", &[("cookie", &session)]).await;
        assert!(answer.headers.get("set-cookie").is_none(), "it has a place by its session");
        sessions.push((session, answer.body));
    }
    for group in [&met, &sessions] {
        assert!(group.iter().any(|(_, name)| name == "candidate"), "none of 40 met it");
        assert!(group.iter().any(|(_, name)| name == "stable"), "all of 40 met it");
    }
    rig.change_front(|front| {
        front.arms[0].weight = 60_000;
        front.arms[1].weight = 40_000;
    })
    .await;
    for (index, (cookie, name)) in met.iter().enumerate() {
        // The application begins a session meanwhile.
        let cookies = format!("{cookie}; session={index}");
        let again = caller.ask(Method::GET, "/", &[("cookie", &cookies)]).await;
        assert!(again.headers.get("set-cookie").is_none(), "it has a place");
        if name == "candidate" {
            assert_eq!(again.body, "candidate", "{cookie}");
        }
    }
    for (session, name) in sessions.iter().filter(|(_, name)| name == "candidate") {
        assert_eq!(&caller.ask(Method::GET, "/", &[("cookie", session)]).await.body, name);
    }
    assert_eq!(processes(rig.folder.path()), before, "weights need no other process");
    rig.stop().await;
}

#[tokio::test]
async fn a_rule_comes_before_the_weights_and_goes_without_another_process() {
    let (candidate, stable) = (Instance::start("candidate").await, Instance::start("stable").await);
    let arms = vec![arm("candidate", 0, &[&candidate]), arm("stable", 100_000, &[&stable])];
    let rig = Rig::behind_haproxy(arms).await;
    let rule = |field: &str, value: &str| Rule {
        field: field.to_owned(),
        value: value.to_owned(),
        arm: "candidate".to_owned(),
    };
    let odd = "it's -i 100 % { \"odd\" } \\ $HOME #";
    rig.change_front(|front| {
        front.rules = vec![rule("x-beta", "yes"), rule("cookie:beta", "yes"), rule("x-odd", odd)];
    })
    .await;
    let mut caller = rig.caller().await;
    for (header, expected) in [
        (("x-beta", "yes"), "candidate"),
        (("cookie", "a=b; beta=yes"), "candidate"),
        (("x-odd", odd), "candidate"),
        (("x-beta", "no"), "stable"),
        (("accept", "yes"), "stable"),
    ] {
        assert_eq!(caller.ask(Method::GET, "/", &[header]).await.body, expected, "{header:?}");
    }
    let before = processes(rig.folder.path());
    rig.change_front(|front| front.rules.clear()).await;
    assert_eq!(caller.ask(Method::GET, "/", &[("x-beta", "yes")]).await.body, "stable");
    assert_eq!(processes(rig.folder.path()), before);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_process_takes_over_and_an_instance_dies_without_a_request_lost() {
    let (candidate, stable) = (Instance::start("candidate").await, Instance::start("stable").await);
    let rig = Rig::behind_haproxy(vec![arm("stable", 100_000, &[&stable])]).await;
    let (over, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (dead, cut) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut callers = JoinSet::new();
    for _ in 0..32 {
        let (listen, over, asked) = (rig.listen, Arc::clone(&over), Arc::clone(&asked));
        let (dead, cut) = (Arc::clone(&dead), Arc::clone(&cut));
        callers.spawn(async move {
            let mut caller = Caller::connect(listen).await;
            while !over.load(Ordering::SeqCst) {
                let answer = match caller.try_ask(Method::GET, "/", &[]).await {
                    Ok(answer) => answer,
                    Err(error) => {
                        // No proxy can make whole what an instance was sending when it died.
                        assert!(dead.load(Ordering::SeqCst), "{error:?}");
                        cut.fetch_add(1, Ordering::SeqCst);
                        caller = Caller::connect(listen).await;
                        continue;
                    }
                };
                assert_eq!(answer.status, 200, "{}", answer.body);
                asked.fetch_add(1, Ordering::SeqCst);
                if answer.headers.get("connection").is_some_and(|it| it == "close") {
                    caller = Caller::connect(listen).await;
                }
            }
        });
    }
    let mut waiting = rig.caller().await;
    let waits = tokio::spawn(async move { waiting.get("/wait").await.body });
    rig.until("it waits", |arms, _| arms["stable"].in_flight >= 1).await;
    for _ in 0..4 {
        // Every other arm is another process.
        let other = Arm { name: "other".to_owned(), weight: 0, backends: vec![free_address()] };
        rig.change_front(|front| front.arms = vec![other, arm("stable", 100_000, &[&stable])])
            .await;
    }
    let arms = vec![arm("candidate", 50_000, &[&candidate]), arm("stable", 50_000, &[&stable])];
    rig.change_front(|front| front.arms = arms).await;
    rig.until("both serve", |arms, _| arms.get("candidate").is_some_and(|it| it.requests > 100))
        .await;
    dead.store(true, Ordering::SeqCst);
    candidate.kill();
    let before = asked.load(Ordering::SeqCst);
    rig.until("the other serves", |_, _| asked.load(Ordering::SeqCst) > before + 1_000).await;
    over.store(true, Ordering::SeqCst);
    while let Some(done) = callers.join_next().await {
        done.unwrap();
    }
    // What was in flight on the process before is still known, and ends.
    rig.until("one is in flight", |arms, _| arms["stable"].in_flight == 1).await;
    stable.seen.gate.add_permits(1);
    assert_eq!(waits.await.unwrap(), "stable");
    rig.until("none is in flight", |arms, _| arms["stable"].in_flight == 0).await;
    let cut = cut.load(Ordering::SeqCst);
    assert!(cut <= 32, "each caller has one request at a time");
    let asked = asked.load(Ordering::SeqCst) + cut + 1;
    let (requests, failures, _) = until_counted(&rig, asked).await;
    assert_eq!((requests, failures), (asked, cut));
    assert_eq!(rig.client.lost(0).await.unwrap(), 0);
    rig.stop().await;
}

#[tokio::test]
async fn a_killed_or_silent_haproxy_comes_back_as_it_was_told_and_that_is_known() {
    let (candidate, stable) = (Instance::start("candidate").await, Instance::start("stable").await);
    let arms = vec![arm("candidate", 50_000, &[&candidate]), arm("stable", 50_000, &[&stable])];
    let rig = Rig::behind_haproxy(arms).await;
    for _ in 0..10 {
        assert_eq!(rig.caller().await.get("/").await.status, 200);
    }
    until_counted(&rig, 10).await;
    for with in [Signal::KILL, Signal::STOP] {
        let killed = processes(rig.folder.path());
        kill_process(killed[0], with).unwrap();
        // Going back is done by a process that is started for it.
        let only = |routing: &mut prophecy_runner::router::Routing| {
            let front = routing.fronts.get_mut("entry").unwrap();
            front.arms[0].weight = 0;
            front.arms[1].weight = 100_000;
        };
        rig.change(only).await;
        let mut caller = rig.caller().await;
        for _ in 0..20 {
            assert_eq!(caller.get("/").await.body, "stable");
        }
        assert_ne!(processes(rig.folder.path()), killed);
        assert!(rig.client.lost(0).await.unwrap() > 0, "what it knew is lost");
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_lost_runtime_socket_keeps_nobody_from_steering() {
    let (candidate, stable) = (Instance::start("candidate").await, Instance::start("stable").await);
    let arms = vec![arm("candidate", 100_000, &[&candidate]), arm("stable", 0, &[&stable])];
    let rig = Rig::behind_haproxy(arms).await;
    fs::remove_file(rig.folder.path().join("haproxy.sock")).unwrap();
    rig.change_front(|front| (front.arms[0].weight, front.arms[1].weight) = (0, 100_000)).await;
    assert_eq!(rig.caller().await.get("/").await.body, "stable");
    // Another process cannot ask for the listeners, and is given the addresses instead.
    let third = Instance::start("third").await;
    rig.change_front(|front| front.arms = vec![arm("third", 100_000, &[&third])]).await;
    assert_eq!(rig.caller().await.get("/").await.body, "third");
    rig.stop().await;
}

#[tokio::test]
async fn what_it_cannot_do_is_refused_and_changes_nothing() {
    let app = Instance::start("app").await;
    let rig = Rig::behind_haproxy(vec![arm("app", 100_000, &[&app])]).await;
    let before = rig.client.routing().await.unwrap();
    let mut shadowed = before.clone();
    let of_entry = shadowed.fronts.get_mut("entry").unwrap();
    of_entry.shadow = Some(Shadow { arm: "app".to_owned(), share: 1 });
    let mut light = before.clone();
    light.fronts.get_mut("entry").unwrap().arms[0].weight = 99_999;
    let mut taken = before.clone();
    taken.fronts.insert("other".to_owned(), front(app.address, vec![arm("app", 100_000, &[&app])]));
    let mut elsewhere = before.clone();
    let of_entry = elsewhere.fronts.get_mut("entry").unwrap();
    of_entry.arms[0].backends[0] = "192.0.2.1:80".parse().unwrap();
    let cases = [
        (shadowed, "cannot copy"),
        (light, "99999"),
        (taken, "cannot listen"),
        (elsewhere, "not a loopback"),
    ];
    for (routing, expected) in cases {
        let refused = rig.client.change(&routing).await.unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused}");
        assert_eq!(rig.client.routing().await.unwrap(), before);
    }
    let mut late = before.clone();
    late.revision -= 1;
    let late = rig.client.change(&late).await.unwrap_err();
    assert!(matches!(late, RouterError::Conflict { .. }), "{late}");
    assert_eq!(rig.caller().await.get("/").await.status, 200);
    let unused = Arm { name: "none".to_owned(), weight: 0, backends: vec![free_address()] };
    rig.change_front(|front| front.arms.insert(0, unused)).await;
    assert_eq!(rig.caller().await.get("/").await.status, 200);
    let folder = rig.folder.path().to_owned();
    rig.stop().await;
    assert!(processes(&folder).is_empty(), "none is left behind");
}
