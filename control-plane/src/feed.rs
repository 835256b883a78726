//! Server-sent events: what is stored, told to whoever listens, in order, nothing twice.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::body::Frame;
use prophecy_core::Timestamp;
use prophecy_store::EventFilter;
use serde_json::Value;
use tokio::sync::{mpsc, watch};

use crate::call::Actor;
use crate::cloud_event::{data, place, structured};
use crate::gateway::App;
use crate::view::view;

/// How often a quiet stream shows that it lives.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How often the store is asked for what other processes wrote.
const POLL: Duration = Duration::from_millis(200);
const BATCH: u32 = 200;

/// The body of a stream.
struct Stream(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Stream {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// Writes one message of a stream.
fn message(id: u64, event: &str, data: &Value) -> Bytes {
    // JSON text has no line ends, and a type is ours or was checked to have none.
    let event: String = event.chars().filter(|c| !c.is_control()).collect();
    Bytes::from(format!("id: {id}\nevent: {event}\ndata: {data}\n\n"))
}

/// Keeps the sequence number of the newest event known, until the server ends.
pub(crate) async fn watch_store(app: Arc<App>, newest: watch::Sender<u64>) {
    let mut counted = app.store.last_event_seq().await.unwrap_or(0);
    newest.send_replace(counted);
    while !app.is_ending() {
        if let Ok(seq) = app.store.last_event_seq().await {
            while counted < seq {
                let filter = EventFilter { seq: counted, ..EventFilter::default() };
                let Ok(events) = app.store.events_since(&filter, BATCH).await else { break };
                let Some(last) = events.last().map(|event| event.seq) else { break };
                for event in &events {
                    app.meter.event(&event.event.event_type, &data(event));
                }
                counted = last;
            }
            newest.send_if_modified(|known| std::mem::replace(known, counted) != counted);
        }
        app.nap(POLL).await;
    }
}

/// Streams the events that an actor may see, after one.
pub(crate) fn events(app: Arc<App>, actor: Actor, after: u64) -> Body {
    let (sender, receiver) = mpsc::channel(64);
    tokio::spawn(async move {
        let mut newest = app.newest.clone();
        let mut seq = after;
        let mut quiet = tokio::time::interval(HEARTBEAT);
        while !app.is_ending() {
            let filter = EventFilter { seq, ..EventFilter::default() };
            let events = app.store.events_since(&filter, BATCH).await.unwrap_or_default();
            let full = events.len() == BATCH as usize;
            for event in &events {
                seq = event.seq;
                if !visible(&actor, &data(event)) {
                    continue;
                }
                let text = message(seq, &event.event.event_type, &structured(event));
                if sender.send(text).await.is_err() {
                    return;
                }
            }
            if full {
                continue;
            }
            let woken = tokio::select! {
                changed = reach(&mut newest, seq) => if changed { Woken::News } else { Woken::End },
                _ = quiet.tick() => Woken::Quiet,
                () = app.ended() => Woken::End,
            };
            let beat = Bytes::from_static(b": heartbeat\n\n");
            let goes_on = match woken {
                Woken::News => true,
                Woken::Quiet => sender.send(beat).await.is_ok() && app.is_good(&actor).await,
                Woken::End => false,
            };
            if !goes_on {
                return;
            }
        }
    });
    Body::new(Stream(receiver))
}

enum Woken {
    News,
    Quiet,
    End,
}

/// Waits until there is an event after one; tells whether there can still be any.
async fn reach(newest: &mut watch::Receiver<u64>, seq: u64) -> bool {
    newest.wait_for(|newest| *newest > seq).await.is_ok()
}

/// Streams the log of a rollout after a line, until the rollout has ended.
pub(crate) fn logs(app: Arc<App>, actor: Actor, rollout_id: String, after: u64) -> Body {
    let (sender, receiver) = mpsc::channel(64);
    tokio::spawn(async move {
        let (mut seq, mut quiet) = (after, Timestamp(0));
        while !app.is_ending() {
            // Asked before the lines are: what is written before the end is still read after it.
            let ended = app.store.get_rollout(&rollout_id).await;
            let ended = ended.is_ok_and(|rollout| rollout.ended_at.is_some());
            let lines = app.rollouts.logs(rollout_id.clone(), seq, BATCH).await;
            let lines = lines.unwrap_or_default();
            for line in &lines {
                seq = line.seq;
                if sender.send(message(seq, "log", &view(line))).await.is_err() {
                    return;
                }
            }
            if lines.is_empty() && ended {
                return;
            }
            let now = crate::clock::now();
            if now.nanos_since(quiet) > HEARTBEAT.as_nanos() as u64 {
                quiet = now;
                let beat = Bytes::from_static(b": heartbeat\n\n");
                if sender.send(beat).await.is_err() || !app.is_good(&actor).await {
                    return;
                }
            }
            if lines.is_empty() {
                app.nap(POLL).await;
            }
        }
    });
    Body::new(Stream(receiver))
}

/// Streams a line whenever a rollout has changed, until it has ended: the page that shows it asks again.
pub(crate) fn changes(app: Arc<App>, rollout_id: String) -> Body {
    let (sender, receiver) = mpsc::channel(4);
    tokio::spawn(async move {
        let (mut told, mut quiet) = (None, 0_u32);
        while !app.is_ending() {
            let Ok(rollout) = app.store.get_rollout(&rollout_id).await else { return };
            // Every so often, since a comparison goes on within one revision.
            let due = quiet >= 8;
            if told != Some(rollout.revision) || due {
                told = Some(rollout.revision);
                quiet = 0;
                let line = Bytes::from(format!("data: {}\n\n", rollout.revision));
                if sender.send(line).await.is_err() || rollout.ended_at.is_some() {
                    return;
                }
            }
            quiet += 1;
            app.nap(POLL).await;
        }
    });
    Body::new(Stream(receiver))
}

/// Returns whether an actor may see an event: what tells of no place is for those who see all.
pub(crate) fn visible(actor: &Actor, data: &Value) -> bool {
    place(data).map_or_else(
        || actor.scope.is_everywhere(),
        |(system, environment)| actor.scope.holds(&system, &environment),
    )
}
