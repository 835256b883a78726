//! What is known while a request is worked on: its input, and what its steps found.

use std::collections::BTreeMap;

use prophecy_core::{Philox, Seed};
use serde_json::Value;

use crate::trace::Trace;

/// The named values of one request.
#[derive(Debug)]
pub(crate) struct Scope {
    values: BTreeMap<String, Value>,
    luck: Philox,
    data_seed: Seed,
    trace: Trace,
    held: Vec<Vec<u8>>,
}

// === impl Scope ===

impl Scope {
    /// Makes the scope of a request that has no input yet.
    pub(crate) fn new(trace: Trace, luck: Philox, data_seed: Seed) -> Self {
        Self { values: BTreeMap::new(), luck, data_seed, trace, held: Vec::new() }
    }

    /// Names a value, in place of what had the name.
    pub(crate) fn bind(&mut self, name: &str, value: Value) {
        self.values.insert(name.to_owned(), value);
    }

    /// Returns what has a name.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    /// Returns the chance of this request.
    pub(crate) fn luck(&mut self) -> &mut Philox {
        &mut self.luck
    }

    /// Returns the seed of values that belong to keys.
    pub(crate) fn data_seed(&self) -> Seed {
        self.data_seed
    }

    /// Returns the trace it is part of.
    pub(crate) fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Holds memory until the request is answered.
    pub(crate) fn hold(&mut self, memory: Vec<u8>) {
        self.held.push(memory);
    }

    #[cfg(test)]
    pub(crate) fn for_tests(seed: u64) -> Self {
        let mut luck = Seed(seed).stream(0, 0, "test");
        let trace = Trace::continued(None, None, &mut luck);
        Self::new(trace, luck, Seed(seed))
    }
}
