//! The router as whoever steers it sees it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use prophecy_runner::router::{Client, Routing};
use prophecy_runner::traffic::RouterError;
use tokio::time::{Instant, sleep};

use super::instance::Instance;
use super::rig::{Caller, PATIENCE, Rig, arm, free_address, front, is_up, run_as_told};

type Edit<'a> = &'a dyn Fn(&mut Routing);

const HOME: &str = "PROPHECY_TEST_ROUTER_HOME";

#[tokio::test]
async fn a_change_names_the_revision_it_saw() {
    let app = Instance::start("app").await;
    let rig = Rig::start(vec![arm("app", 100_000, &[&app])]).await;
    let seen = rig.client.routing().await.unwrap();
    assert_eq!(rig.client.change(&seen).await.unwrap(), seen.revision + 1);
    let late = rig.client.change(&seen).await.unwrap_err();
    let RouterError::Conflict { found, expected } = late else { panic!("{late}") };
    assert_eq!((found, expected), (seen.revision + 1, seen.revision));
    rig.stop().await;
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_and_changes_nothing() {
    let app = Instance::start("app").await;
    let rig = Rig::start(vec![arm("app", 100_000, &[&app])]).await;
    let before = rig.client.routing().await.unwrap();
    let elsewhere = |routing: &mut Routing| {
        routing.fronts.get_mut("entry").unwrap().arms[0].backends[0] =
            "192.0.2.1:80".parse().unwrap();
    };
    let light =
        |routing: &mut Routing| routing.fronts.get_mut("entry").unwrap().arms[0].weight = 99_999;
    let taken = |routing: &mut Routing| {
        let taken = front(app.address, vec![arm("app", 100_000, &[&app])]);
        routing.fronts.insert("other".to_owned(), taken);
    };
    let edits: [(Edit<'_>, &str); 3] =
        [(&elsewhere, "not a loopback"), (&light, "99999"), (&taken, "cannot listen")];
    for (edit, expected) in edits {
        let mut routing = before.clone();
        edit(&mut routing);
        let refused = rig.client.change(&routing).await.unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused}");
        assert_eq!(rig.client.routing().await.unwrap(), before);
    }
    assert_eq!(rig.caller().await.get("/").await.status, 200);
    rig.stop().await;
}

#[tokio::test]
async fn only_its_owner_may_steer_and_only_one_router_has_a_folder() {
    let app = Instance::start("app").await;
    let rig = Rig::start(vec![arm("app", 100_000, &[&app])]).await;
    let socket = fs::metadata(rig.folder.path().join("router.sock")).unwrap();
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
    let second = child(rig.folder.path().to_owned()).wait().unwrap();
    assert!(!second.success(), "a second router must not start");
    assert_eq!(rig.caller().await.get("/").await.status, 200);
    rig.stop().await;
}

#[tokio::test]
async fn seconds_that_are_past_say_what_callers_met() {
    let (candidate, stable) = (Instance::start("candidate").await, Instance::start("stable").await);
    let arms = vec![arm("candidate", 20_000, &[&candidate]), arm("stable", 80_000, &[&stable])];
    let rig = Rig::start(arms).await;
    let mut caller = rig.caller().await;
    for index in 0..200 {
        caller.get(if index % 4 == 0 { "/broken" } else { "/items/17" }).await;
    }
    let end = Instant::now() + PATIENCE;
    loop {
        let slices = rig.client.slices("entry", 0).await.unwrap();
        let all: Vec<_> = slices.values().flatten().collect();
        let sum: u64 = all.iter().map(|slice| slice.requests).sum();
        if sum == 200 {
            assert_eq!(all.iter().map(|slice| slice.failures).sum::<u64>(), 50);
            assert_eq!(all.iter().map(|slice| slice.latency.count()).sum::<u64>(), 200);
            let of: u64 = slices["candidate"].iter().map(|slice| slice.requests).sum();
            assert_eq!(of, candidate.requests());
            assert!(all.iter().any(|slice| slice.route == "GET /items/{id}"), "{all:?}");
            let later = all.iter().map(|slice| slice.second).max().unwrap() + 1;
            assert!(rig.client.slices("entry", later).await.unwrap().is_empty());
            break;
        }
        assert!(sum < 200 && Instant::now() < end, "found {sum} requests of 200");
        sleep(Duration::from_millis(20)).await;
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_router_that_was_killed_comes_back_as_it_was() {
    let app = Instance::start("app").await;
    let folder = tempfile::tempdir().unwrap();
    let (client, listen) = (Client::new(folder.path()), free_address());
    let mut first = child(folder.path().to_owned());
    is_up(&client).await;
    let mut routing = Routing::default();
    let only = front(listen, vec![arm("app", 100_000, &[&app])]);
    routing.fronts.insert("entry".to_owned(), only);
    client.change(&routing).await.unwrap();
    assert_eq!(Caller::connect(listen).await.get("/").await.body, "app");
    let before = client.routing().await.unwrap();
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(matches!(client.state().await, Err(RouterError::Unreachable { .. })));
    let mut second = child(folder.path().to_owned());
    is_up(&client).await;
    assert_eq!(client.routing().await.unwrap(), before);
    // Whoever finds it up finds it serving.
    assert_eq!(Caller::connect(listen).await.get("/").await.body, "app");
    client.stop().await.unwrap();
    assert!(second.wait().unwrap().success());
}

/// Starts this program again, as a router.
fn child(home: PathBuf) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "router::steering::is_a_router", "--ignored"])
        .env(HOME, home)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
#[ignore = "is started by other tests, as a process"]
fn is_a_router() {
    let home = std::env::var_os(HOME).expect("started by another test");
    run_as_told(&PathBuf::from(home));
}
