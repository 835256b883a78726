//! The exchanges of a dataset in the order of their starts, a bounded number at a time.
//!
//! Parts are written as exchanges end, so their times overlap. The manifest says when the first exchange of
//! each part starts; whatever starts before the first of all parts still to come is final. Parts are read and
//! decoded by other threads, a few ahead, and taken in their order.
//!
//! # Determinism
//!
//! Slices depend on the rows alone, neither on how they were cut into parts nor on the threads.

use std::sync::mpsc::{Receiver, sync_channel};

use prophecy_core::{Connection, Exchange, Timestamp};
use prophecy_datasets::manifest::Part;
use prophecy_datasets::{Closings, Dataset, ReadDatasetError, Sighting, Sightings};

/// Where exchanges come from.
#[derive(Debug)]
pub(super) struct Rows<'a> {
    source: Source<'a>,
    closings: Closings,
}

#[derive(Clone, Copy, Debug)]
enum Source<'a> {
    Stored(&'a Dataset),
    Given(&'a [Exchange]),
}

/// How exchanges are read.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Threads that read and decode, beside the one that fits.
    pub threads: usize,
    /// Exchanges that are looked at together.
    pub slice_rows: usize,
}

/// A stretch of time.
#[derive(Debug)]
pub(super) struct Slice<'a> {
    /// What started in it, by start.
    pub(super) rows: Vec<Sighting>,
    /// When the next one begins; the end of time after the last.
    pub(super) until: Timestamp,
    /// The names so far.
    pub(super) names: &'a Sightings,
}

/// Rows that wait for those that come before them.
struct Pending<'t> {
    known: Sightings,
    closings: &'t Closings,
    rows: Vec<Sighting>,
    slice_rows: usize,
    take: &'t mut dyn FnMut(Slice<'_>),
}

type Read = Result<Sightings, ReadDatasetError>;

// === impl Reading ===

impl Default for Reading {
    fn default() -> Self {
        Self { threads: 2, slice_rows: 400_000 }
    }
}

// === impl Rows ===

impl<'a> Rows<'a> {
    /// Returns the exchanges of a dataset.
    pub(super) fn stored(dataset: &'a Dataset) -> Result<Self, ReadDatasetError> {
        Ok(Self { source: Source::Stored(dataset), closings: dataset.closings()? })
    }

    /// Returns exchanges that are in memory, with their connections.
    pub(super) fn given(exchanges: &'a [Exchange], connections: &[Connection]) -> Self {
        Self { source: Source::Given(exchanges), closings: Closings::of(connections) }
    }

    /// Says what had to be left out.
    pub(super) fn note(&self) -> Option<String> {
        let count = self.closings.left_out;
        (count > 0).then(|| format!("{count} connections were not looked at for timeouts"))
    }

    /// Hands out slices in the order of time; returns all names.
    pub(super) fn each_slice(
        &self,
        reading: Reading,
        take: &mut dyn FnMut(Slice<'_>),
    ) -> Result<Sightings, ReadDatasetError> {
        let mut pending = Pending {
            known: Sightings::default(),
            closings: &self.closings,
            rows: Vec::new(),
            slice_rows: reading.slice_rows.max(1),
            take,
        };
        match self.source {
            Source::Given(exchanges) => {
                let mut given = Sightings::default();
                exchanges.iter().for_each(|exchange| given.push(exchange));
                pending.add(given);
            }
            Source::Stored(dataset) => {
                let mut parts: Vec<&Part> = dataset.exchange_parts().iter().collect();
                parts.sort_by_key(|part| first_of(part));
                read(dataset, &parts, reading.threads.max(1), &mut |index, sightings| {
                    pending.add(sightings);
                    pending.flush(parts.get(index + 1).map_or(i64::MAX, |next| first_of(next)));
                })?;
            }
        }
        pending.finish();
        Ok(pending.known)
    }
}

/// Reads parts on so many threads and hands them out in their order.
fn read(
    dataset: &Dataset,
    parts: &[&Part],
    threads: usize,
    take: &mut dyn FnMut(usize, Sightings),
) -> Result<(), ReadDatasetError> {
    std::thread::scope(|scope| {
        // ORDER: part `i` comes from thread `i mod threads`; each is at most two parts ahead.
        let readers: Vec<Receiver<Read>> = (0..threads)
            .map(|first| {
                let (sender, receiver) = sync_channel(1);
                scope.spawn(move || {
                    for part in parts.iter().skip(first).step_by(threads) {
                        if sender.send(dataset.sightings(part)).is_err() {
                            // An earlier part could not be read.
                            return;
                        }
                    }
                });
                receiver
            })
            .collect();
        for index in 0..parts.len() {
            let read = readers[index % threads].recv().expect("a reader sends each of its parts");
            take(index, read?);
        }
        Ok(())
    })
}

fn first_of(part: &Part) -> i64 {
    part.times.map_or(i64::MIN, |[first, _]| first)
}

// === impl Pending ===

impl Pending<'_> {
    fn add(&mut self, sightings: Sightings) {
        let mut rows = self.known.adopt(sightings);
        rows.iter_mut().for_each(|row| self.closings.complete(row));
        self.rows.extend(rows);
        // Both runs are nearly sorted.
        self.rows.sort_by_key(|row| (row.started_at, row.exchange_id));
    }

    /// Hands out whole slices of what starts before `before`.
    fn flush(&mut self, before: i64) {
        let mut done = 0;
        let is_final = self.rows.partition_point(|row| row.started_at.0 < before);
        // One more is needed, to know when the next slice begins.
        while is_final - done > self.slice_rows {
            let end = done + self.slice_rows;
            let rows = self.rows[done..end].to_vec();
            let until = self.rows[end].started_at;
            (self.take)(Slice { rows, until, names: &self.known });
            done = end;
        }
        self.rows.drain(..done);
    }

    fn finish(&mut self) {
        self.flush(i64::MAX);
        if !self.rows.is_empty() {
            let rows = std::mem::take(&mut self.rows);
            (self.take)(Slice { rows, until: Timestamp(i64::MAX), names: &self.known });
        }
    }
}
