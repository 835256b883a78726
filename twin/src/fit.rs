//! From a dataset to observations, or to a summary: who called whom, and what each request cost where.
//!
//! Exchanges are read in slices of time ([`slices`]), twice. The first pass finds what only the whole
//! window can tell ([`mod@survey`]): how many workers each service has ([`queue`]), which calls wait for one
//! another ([`pool`]), how long callers wait for answers and how often they try again ([`patience`]). The
//! second takes each request apart ([`visits`]). In both, calls are linked to the visits that made them
//! ([`link`]).
//!
//! [`observe`] keeps every visit, [`summarize`] what a model needs of them: its memory depends on the
//! size of a slice and of the parts, not on the number of exchanges.
//!
//! # Determinism
//!
//! The same rows give the same result, whatever the parts and the threads; no step draws a random number.

mod link;
mod patience;
mod pool;
pub mod probe;
mod probed;
mod queue;
mod resources;
mod sinks;
mod slices;
mod survey;
mod visits;

use prophecy_core::{Completeness, Connection, Exchange, Metric, System};
use prophecy_datasets::{Dataset, ReadDatasetError, Sighting, Sightings};
use prophecy_simulator::observation::Observations;
use prophecy_simulator::{Model, fidelity};

pub use self::probed::{contend, observe_probed, summarize_probed};
use self::sinks::{Keeper, Summarizer};
pub use self::slices::Reading;
use self::slices::Rows;
use self::survey::{Survey, Surveyed};
use self::visits::Anatomy;

/// Observations, and what had to be assumed to make them.
#[derive(Clone, Debug)]
pub struct Fit {
    /// What was observed.
    pub observations: Observations,
    /// What was assumed, in sentences.
    pub notes: Vec<String>,
}

/// A model of a whole window, and what had to be assumed to make it.
#[derive(Clone, Debug)]
pub struct Fitted {
    /// The model.
    pub model: Model,
    /// Requests at the entry that it is made from.
    pub arrivals: u64,
    /// Timeouts and retries that were recognized, in words.
    pub recognized: Vec<String>,
    /// What was assumed, in sentences.
    pub notes: Vec<String>,
    /// What the model is to be checked with.
    pub held_out: HeldOut,
}

/// A model of the first part of a window, and what was observed in the rest.
#[derive(Clone, Debug)]
pub struct HeldOut {
    /// Fitted to the first part; with few arrivals, to all of it.
    pub model: Model,
    /// What followed, up to a bound; with few arrivals, everything.
    pub rest: Observations,
    /// Whether the model knows nothing of the rest.
    pub is_held_out: bool,
}

/// The most visits that are kept to check a model.
const CHECKED_VISITS: u64 = 200_000;

/// Observes a system in a dataset, leaving out the first `skip_nanos`.
///
/// # Errors
///
/// [`ReadDatasetError`] if the dataset cannot be read.
pub fn observe(
    dataset: &Dataset,
    system: &System,
    skip_nanos: u64,
) -> Result<Fit, ReadDatasetError> {
    keep(&Rows::stored(dataset)?, &dataset.metrics()?, system, skip_nanos)
}

/// Observes a system in exchanges, and metrics ordered by time.
pub fn observe_rows(
    exchanges: &[Exchange],
    metrics: &[Metric],
    system: &System,
    skip_nanos: u64,
) -> Fit {
    keep(&Rows::given(exchanges, &[]), metrics, system, skip_nanos)
        .expect("nothing is read from a disk")
}

/// Fits a model to a dataset of any length.
///
/// # Errors
///
/// [`ReadDatasetError`] if the dataset cannot be read.
pub fn summarize(
    dataset: &Dataset,
    system: &System,
    reading: Reading,
) -> Result<Fitted, ReadDatasetError> {
    fitted(&Rows::stored(dataset)?, system, reading)
}

/// Fits a model to exchanges, and the connections that carried them.
pub fn summarize_rows(
    exchanges: &[Exchange],
    connections: &[Connection],
    system: &System,
    reading: Reading,
) -> Fitted {
    fitted(&Rows::given(exchanges, connections), system, reading)
        .expect("nothing is read from a disk")
}

fn keep(
    rows: &Rows<'_>,
    metrics: &[Metric],
    system: &System,
    skip_nanos: u64,
) -> Result<Fit, ReadDatasetError> {
    let reading = Reading::default();
    let Some(known) = survey(rows, system, skip_nanos, reading)? else {
        let observations = Observations { entry: system.entry.clone(), ..Observations::default() };
        return Ok(Fit { observations, notes: vec![unseen(system)] });
    };
    let mut keeper = Keeper::new(metrics, &known);
    let mut anatomy = Anatomy::new(system, &known);
    rows.each_slice(reading, &mut |slice| anatomy.add(slice, &mut keeper))?;
    let notes = anatomy.notes().into_iter().chain(known.recognized()).chain(rows.note()).collect();
    Ok(Fit { observations: keeper.finish(&known, &system.entry), notes })
}

fn fitted(rows: &Rows<'_>, system: &System, reading: Reading) -> Result<Fitted, ReadDatasetError> {
    let Some(known) = survey(rows, system, 0, reading)? else {
        let rest = Observations { entry: system.entry.clone(), ..Observations::default() };
        let model = prophecy_simulator::model_of(&rest, system);
        let held_out = HeldOut { model: model.clone(), rest, is_held_out: false };
        let (recognized, notes) = (Vec::new(), vec![unseen(system)]);
        return Ok(Fitted { model, arrivals: 0, recognized, notes, held_out });
    };
    let is_held_out = known.arrivals >= fidelity::HELD_OUT_FROM as u64;
    let cut =
        if is_held_out { (fidelity::FIT_SHARE * known.window_nanos as f64) as u64 } else { 0 };
    let rest_nanos = known.window_nanos - cut;
    let kept_share = CHECKED_VISITS as f64 * known.window_nanos as f64
        / (known.requests.max(1) as f64 * rest_nanos.max(1) as f64);
    let until = if is_held_out && kept_share < 1.0 {
        cut + (kept_share * rest_nanos as f64) as u64
    } else {
        u64::MAX
    };
    let mut summarizer = Summarizer::new(&known, cut, until);
    let mut anatomy = Anatomy::new(system, &known);
    rows.each_slice(reading, &mut |slice| anatomy.add(slice, &mut summarizer))?;
    let (first, all, rest) = summarizer.finish(&known, &system.entry);
    let model = all.model(&system.entry, system);
    let first = if is_held_out { first.model(&system.entry, system) } else { model.clone() };
    let held_out = HeldOut { model: first, rest, is_held_out };
    let mut notes = anatomy.notes();
    notes.extend(rows.note());
    let recognized = known.recognized();
    Ok(Fitted { model, arrivals: known.arrivals, recognized, notes, held_out })
}

fn survey(
    rows: &Rows<'_>,
    system: &System,
    skip_nanos: u64,
    reading: Reading,
) -> Result<Option<Surveyed>, ReadDatasetError> {
    let mut survey = Survey::new(system, skip_nanos);
    let names = rows.each_slice(reading, &mut |slice| survey.add(slice))?;
    Ok(survey.conclude(&names))
}

fn unseen(system: &System) -> String {
    format!("no exchange with the entry `{}` was seen", system.entry)
}

/// Says whether it is known what was asked and when: not so of a response without its request.
fn is_request(row: &Sighting) -> bool {
    row.completeness != Completeness::ResponseOnly
}

/// Returns what says whether a row went to the entry.
fn at_entry<'a>(system: &'a System, names: &'a Sightings) -> impl Fn(&Sighting) -> bool + 'a {
    let entry = names.names.iter().position(|name| *name == system.entry);
    move |row| entry == Some(row.destination as usize)
}

/// Returns what says whether no service of the system sent a row.
fn from_outside<'a>(system: &'a System, names: &'a Sightings) -> impl Fn(&Sighting) -> bool + 'a {
    let is_ours: Vec<bool> =
        names.names.iter().map(|name| system.services.contains_key(name)).collect();
    move |row| !is_ours[row.source as usize]
}
