//! What callers met, from the lines that HAProxy writes; and how many lines are missing.
//!
//! Every request has a number, so that a line that came twice counts once. HAProxy counts requests by itself:
//! what it has ended and has not told is lost, and whoever asks for the seconds is told so.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::super::ledger::{self, Ledger, Met};
use super::commands::{Kind, Row};
use super::layout::{Layout, decode};
use super::line::Line;
use super::process::{arm_of_server, front_and_arm};
use crate::slice::Slice;

/// How long a line may be under way.
pub(super) const UNDER_WAY: Duration = Duration::from_secs(1);

/// Losses that are told apart.
const LOSSES: usize = 4_096;

/// Everything that is known.
#[derive(Debug)]
pub(super) struct Evidence {
    /// What every line has that counts.
    key: String,
    ledger: Ledger,
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    generations: BTreeMap<u64, Book>,
    /// When how many lines were found to be missing.
    losses: VecDeque<(u64, u64)>,
    /// The last second that somebody was told of.
    handed: u64,
    /// What each arm has had: requests, and those that failed.
    arms: BTreeMap<String, (u64, u64)>,
}

/// What one process has told.
#[derive(Debug, Default)]
struct Book {
    /// Requests that have been counted, by edge.
    counted: BTreeMap<String, Numbers>,
    /// The same of requests that ended after it was told to end: their numbers begin again whenever nobody is
    /// connected, so that the time belongs to them.
    late: BTreeSet<(String, u64, u64)>,
    /// Lines, by backend.
    lines: BTreeMap<String, i64>,
    /// What it had ended when it was asked, less what it has told of that.
    looks: VecDeque<Look>,
    /// What is known to be missing, by backend.
    missing: BTreeMap<String, i64>,
    /// Whether it ran before we did.
    adopted: bool,
    /// Up to when everything is told or known to be missing, in microseconds.
    settled: u64,
}

#[derive(Debug)]
struct Look {
    at: u64,
    untold: BTreeMap<String, i64>,
    /// What it had been given by then, less what it has told until now.
    open: BTreeMap<String, i64>,
}

/// A set of numbers that come almost in order: intervals, by their first.
#[derive(Debug, Default)]
struct Numbers(BTreeMap<u64, u64>);

// === impl Evidence ===

impl Evidence {
    pub(super) fn new(key: &str) -> Self {
        Self { key: key.to_owned(), ledger: Ledger::default(), books: Mutex::default() }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to count what a process tells.
    pub(super) fn begin(&self, generation: u64, adopted: bool) {
        let mut books = self.books();
        let book = books.generations.entry(generation).or_default();
        (book.adopted, book.settled) = (adopted, now());
    }

    /// Counts a line.
    pub(super) fn line(&self, text: &[u8]) {
        let Some(line) = Line::parse(text, &self.key) else { return };
        let mut books = self.books();
        let Some(book) = books.generations.get_mut(&line.generation) else { return };
        if !book.is_new(&line) {
            return;
        }
        book.told(&line);
        let second = line.ended / 1_000_000;
        if second <= books.handed {
            // Whoever was told of that second took it for whole.
            books.lose(second, 1);
            return;
        }
        let Some(outcome) = line.outcome() else { return };
        let arm = arm_of_server(line.server).or_else(|| Some(front_and_arm(line.backend)?.1));
        let (Some(front), Some(arm)) = (decode(line.front), arm) else { return };
        let (requests, failures) = books.arms.entry(arm.clone()).or_default();
        *requests += 1;
        *failures += u64::from(outcome.failed);
        drop(books);
        let (front, arm): (Arc<str>, Arc<str>) = (front.into(), arm.into());
        let route = ledger::route(line.method, line.path);
        let met = Met {
            front: &front,
            arm: &arm,
            route,
            failed: outcome.failed,
            latency: outcome.latency,
        };
        self.ledger.count_in(second, met);
    }

    /// Compares what a process says that it has ended with what it has told.
    pub(super) fn look(&self, generation: u64, layout: &Layout, rows: &[Row]) {
        let at = now();
        let mut books = self.books();
        let Some(book) = books.generations.get_mut(&generation) else { return };
        let observed = rows.iter().filter(|row| {
            let front = front_and_arm(&row.of).and_then(|(front, _)| layout.gates.get(&front));
            row.kind == Kind::Backend && front.is_some_and(|gate| gate.observed)
        });
        let mut look = Look { at, untold: BTreeMap::new(), open: BTreeMap::new() };
        for row in observed {
            let told = book.lines.get(&row.of).copied().unwrap_or_default();
            look.untold.insert(row.of.clone(), row.total as i64 - row.present as i64 - told);
            look.open.insert(row.of.clone(), row.total as i64 - told);
        }
        book.looks.push_back(look);
        let old = at.saturating_sub(UNDER_WAY.as_micros() as u64);
        let mut lost = 0;
        while let Some(look) = book.looks.pop_front_if(|look| look.at <= old) {
            lost += book.settle(look);
        }
        books.lose(at / 1_000_000, lost);
    }

    /// A process has come to its end: what it had been given and has not told is lost. One that was killed may have
    /// been given more since it was last asked.
    pub(super) fn end(&self, generation: u64, killed: bool) {
        let mut books = self.books();
        let Some(book) = books.generations.remove(&generation) else { return };
        let missing = |of: &String| book.missing.get(of).copied().unwrap_or(0);
        let open = book.looks.back().into_iter().flat_map(|look| &look.open);
        let lost: i64 = open.map(|(of, open)| (open - missing(of)).max(0)).sum();
        books.lose(now() / 1_000_000, (lost as u64).max(u64::from(killed)));
    }

    /// Returns an edge's whole seconds from one on, by arm.
    pub(super) fn since(&self, front: &str, since: u64) -> BTreeMap<String, Vec<Slice>> {
        let mut books = self.books();
        let settled = books.generations.values().map(|book| book.settled).min().unwrap_or(0);
        let until = (settled / 1_000_000).saturating_sub(1);
        books.handed = books.handed.max(until);
        drop(books);
        self.ledger.between(front, since, until)
    }

    /// Returns how many requests since a second were not counted.
    pub(super) fn lost(&self, since: u64) -> u64 {
        let books = self.books();
        books.losses.iter().filter(|(second, _)| *second >= since).map(|(_, count)| count).sum()
    }

    /// Returns what each arm has had: requests, and those that failed.
    pub(super) fn arms(&self) -> BTreeMap<String, (u64, u64)> {
        self.books().arms.clone()
    }
}

// === impl Books ===

impl Books {
    fn lose(&mut self, second: u64, count: u64) {
        if count == 0 {
            return;
        }
        if let Some(last) = self.losses.back_mut().filter(|last| last.0 >= second) {
            last.1 += count;
            return;
        }
        self.losses.push_back((second, count));
        if self.losses.len() > LOSSES {
            self.losses.pop_front();
        }
    }
}

// === impl Book ===

impl Book {
    /// Says whether a line is told for the first time, and remembers it.
    fn is_new(&mut self, line: &Line<'_>) -> bool {
        if line.stopping {
            return self.late.insert((line.front.to_owned(), line.number, line.ended));
        }
        self.counted.entry(line.front.to_owned()).or_default().insert(line.number)
    }

    fn told(&mut self, line: &Line<'_>) {
        *self.lines.entry(line.backend.to_owned()).or_default() += 1;
        for look in &mut self.looks {
            look.open.entry(line.backend.to_owned()).and_modify(|open| *open -= 1);
        }
        for look in self.looks.iter_mut().filter(|look| look.at >= line.ended) {
            if let Some(untold) = look.untold.get_mut(line.backend) {
                *untold -= 1;
            }
        }
    }

    /// Concludes from a look that is old enough for everything to have come. Returns what is newly missing.
    fn settle(&mut self, look: Look) -> u64 {
        let mut lost = 0;
        for (backend, untold) in look.untold {
            let known = self.missing.entry(backend).or_default();
            if untold > *known {
                lost += (untold - *known) as u64;
                *known = untold;
            }
        }
        self.settled = look.at;
        // Who counted before is gone, and with it what it had counted; that something is missing is certain.
        if std::mem::take(&mut self.adopted) { lost.max(1) } else { lost }
    }
}

// === impl Numbers ===

impl Numbers {
    /// Says whether a number is new.
    fn insert(&mut self, number: u64) -> bool {
        let before = self.0.range(..=number).next_back().map(|(first, last)| (*first, *last));
        if before.is_some_and(|(_, last)| number <= last) {
            return false;
        }
        let after = self.0.remove(&(number + 1));
        let last = after.unwrap_or(number);
        match before {
            Some((first, end)) if end + 1 == number => self.0.insert(first, last),
            _ => self.0.insert(number, last),
        };
        true
    }
}

/// Returns the microsecond since 1970 that HAProxy's lines are written by, too.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}
