//! A cache in memory: so many entries, each for so long, the longest unused forgotten first.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

/// What an entry holds: values and their names.
pub(crate) type Entry = Vec<(String, Value)>;

/// A cache.
#[derive(Debug)]
pub(crate) struct Cache {
    capacity: usize,
    ttl: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Entries by key, with when they end and when they were last used.
    entries: BTreeMap<String, (Entry, Instant, u64)>,
    /// Keys by when they were last used.
    by_use: BTreeMap<u64, String>,
    use_count: u64,
}

// === impl Cache ===

impl Cache {
    /// Makes an empty cache.
    pub(crate) fn new(capacity: usize, ttl: Duration) -> Self {
        Self { capacity, ttl, state: Mutex::default() }
    }

    /// Looks up what has not expired by `now`.
    pub(crate) fn get(&self, key: &str, now: Instant) -> Option<Entry> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (entry, ends_at, used) = state.entries.get(key)?.clone();
        if ends_at <= now {
            state.forget(key);
            return None;
        }
        state.by_use.remove(&used);
        state.insert(key, entry.clone(), ends_at);
        Some(entry)
    }

    /// Keeps an entry from `now` on, in place of what had the key.
    pub(crate) fn put(&self, key: &str, entry: Entry, now: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.forget(key);
        while state.entries.len() >= self.capacity {
            let Some((_, oldest)) = state.by_use.pop_first() else { break };
            state.entries.remove(&oldest);
        }
        state.insert(key, entry, now + self.ttl);
    }
}

// === impl State ===

impl State {
    fn insert(&mut self, key: &str, entry: Entry, ends_at: Instant) {
        self.use_count += 1;
        self.by_use.insert(self.use_count, key.to_owned());
        self.entries.insert(key.to_owned(), (entry, ends_at, self.use_count));
    }

    fn forget(&mut self, key: &str) {
        if let Some((_, _, used)) = self.entries.remove(key) {
            self.by_use.remove(&used);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u64) -> Entry {
        vec![("n".to_owned(), Value::from(number))]
    }

    #[test]
    fn forgets_what_was_used_the_longest_ago() {
        let now = Instant::now();
        let cache = Cache::new(2, Duration::from_secs(1));
        cache.put("a", entry(1), now);
        cache.put("b", entry(2), now);
        assert_eq!(cache.get("a", now), Some(entry(1)));
        cache.put("c", entry(3), now);
        assert_eq!(cache.get("b", now), None);
        assert_eq!(cache.get("a", now), Some(entry(1)));
        assert_eq!(cache.get("c", now), Some(entry(3)));
    }

    #[test]
    fn forgets_what_has_expired_even_if_it_was_used() {
        let now = Instant::now();
        let cache = Cache::new(2, Duration::from_secs(1));
        cache.put("a", entry(1), now);
        assert!(cache.get("a", now + Duration::from_millis(999)).is_some());
        assert_eq!(cache.get("a", now + Duration::from_secs(1)), None);
    }

    #[test]
    fn replaces_an_entry_without_forgetting_another() {
        let now = Instant::now();
        let cache = Cache::new(2, Duration::from_secs(1));
        cache.put("a", entry(1), now);
        cache.put("b", entry(2), now);
        cache.put("b", entry(3), now);
        assert_eq!(cache.get("a", now), Some(entry(1)));
        assert_eq!(cache.get("b", now), Some(entry(3)));
    }
}
