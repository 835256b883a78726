//! Who meets which arm.

use hyper::Method;
use prophecy_runner::router::{Rule, Shadow, Sticky};
use tokio::task::JoinSet;

use super::instance::Instance;
use super::rig::{Caller, Rig, arm};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_requests_meet_the_weights_exactly() {
    let (candidate, stable) = (Instance::start("candidate").await, Instance::start("stable").await);
    let arms = vec![arm("candidate", 12_345, &[&candidate]), arm("stable", 87_655, &[&stable])];
    let rig = Rig::start(arms).await;
    let mut callers = JoinSet::new();
    for _ in 0..16 {
        let mut caller = rig.caller().await;
        callers.spawn(async move {
            for _ in 0..100_000 / 16 {
                assert_eq!(caller.get("/").await.status, 200);
            }
        });
    }
    while let Some(done) = callers.join_next().await {
        done.unwrap();
    }
    assert_eq!((candidate.requests(), stable.requests()), (12_345, 87_655));
    rig.until("all have ended", |arms, _| {
        arms["candidate"].requests == 12_345 && arms["stable"].requests == 87_655
    })
    .await;
    rig.stop().await;
}

#[tokio::test]
async fn a_client_without_a_cookie_gets_one_and_stays_while_the_candidate_grows() {
    let (candidate, stable) = (Instance::start("candidate").await, Instance::start("stable").await);
    let arms = vec![arm("candidate", 30_000, &[&candidate]), arm("stable", 70_000, &[&stable])];
    let rig = Rig::start(arms).await;
    let sticky = Sticky { cookie: "session".to_owned(), assign: true };
    rig.change_front(|front| front.sticky = Some(sticky)).await;
    let mut caller = rig.caller().await;
    let mut met = Vec::new();
    for _ in 0..40 {
        let first = caller.get("/").await;
        let cookie = first.headers["set-cookie"].to_str().unwrap();
        met.push((cookie.split(';').next().unwrap().to_owned(), first.body));
    }
    assert!(met.iter().any(|(_, name)| name == "candidate"), "none of 40 met it");
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
    rig.stop().await;
}

#[tokio::test]
async fn a_rule_comes_before_the_weights() {
    let (candidate, stable) = (Instance::start("candidate").await, Instance::start("stable").await);
    let rig =
        Rig::start(vec![arm("candidate", 0, &[&candidate]), arm("stable", 100_000, &[&stable])])
            .await;
    let rule = |field: &str| Rule {
        field: field.to_owned(),
        value: "yes".to_owned(),
        arm: "candidate".to_owned(),
    };
    rig.change_front(|front| front.rules = vec![rule("x-beta"), rule("cookie:beta")]).await;
    let mut caller = rig.caller().await;
    for (header, expected) in [
        (("x-beta", "yes"), "candidate"),
        (("cookie", "a=b; beta=yes"), "candidate"),
        (("x-beta", "no"), "stable"),
        (("accept", "yes"), "stable"),
    ] {
        assert_eq!(caller.ask(Method::GET, "/", &[header]).await.body, expected, "{header:?}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn copies_reach_the_shadow_and_its_answers_reach_nobody() {
    let (shadow, stable) = (Instance::start("shadow").await, Instance::start("stable").await);
    let rig =
        Rig::start(vec![arm("shadow", 0, &[&shadow]), arm("stable", 100_000, &[&stable])]).await;
    rig.change_front(|front| {
        front.shadow = Some(Shadow { arm: "shadow".to_owned(), share: 100_000 });
    })
    .await;
    let mut caller = rig.caller().await;
    for _ in 0..50 {
        assert_eq!(caller.get("/").await.body, "stable");
    }
    let end = tokio::time::Instant::now() + super::rig::PATIENCE;
    loop {
        let copies = rig.client.state().await.unwrap().edges["entry"].shadow;
        if copies.sent == 50 {
            assert_eq!((copies.refused, copies.differing), (0, 0));
            break;
        }
        assert!(tokio::time::Instant::now() < end, "{copies:?}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!((shadow.requests(), stable.requests()), (50, 50));
    rig.stop().await;
}

#[tokio::test]
async fn says_who_asked_and_keeps_what_concerns_one_connection() {
    let app = Instance::start("app").await;
    let rig = Rig::start(vec![arm("app", 100_000, &[&app])]).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = [
        ("traceparent", trace),
        ("x-forwarded-for", "10.0.0.1"),
        ("connection", "x-private"),
        ("x-private", "mine"),
        ("proxy-authorization", "none of your business"),
    ];
    let mut caller = Caller::connect(rig.listen).await;
    let seen = caller.ask(Method::GET, "/headers", &headers).await.body;
    for expected in [trace, "10.0.0.1, 127.0.0.1", "x-forwarded-host", "x-forwarded-proto"] {
        assert!(seen.contains(expected), "{expected} is not in {seen}");
    }
    for unexpected in ["x-private", "none of your business"] {
        assert!(!seen.contains(unexpected), "{unexpected} is in {seen}");
    }
    rig.stop().await;
}
