//! A cache with a bound of entries and a time to live.

use std::collections::BTreeMap;

use crate::model::CacheModel;

const NOTHING: u32 = u32::MAX;

/// Entries by key, the least recently used goes first.
#[derive(Clone, Debug)]
pub(super) struct CacheState {
    capacity: u32,
    ttl_nanos: u64,
    pub(super) coalesces: bool,
    entries: Vec<Entry>,
    len: u32,
    newest: u32,
    oldest: u32,
    /// Keys that are being fetched, and who waits for them.
    fetches: BTreeMap<u32, Vec<u32>>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    is_there: bool,
    good_until: u64,
    newer: u32,
    older: u32,
}

// === impl CacheState ===

impl CacheState {
    pub(super) fn new(model: &CacheModel, keys: u32) -> Self {
        let nothing = Entry { is_there: false, good_until: 0, newer: NOTHING, older: NOTHING };
        Self {
            capacity: model.capacity,
            ttl_nanos: model.ttl_nanos.unwrap_or(u64::MAX),
            coalesces: model.coalesce,
            entries: vec![nothing; keys as usize],
            len: 0,
            newest: NOTHING,
            oldest: NOTHING,
            fetches: BTreeMap::new(),
        }
    }

    /// Says whether the key is there and good, and makes it the most recently used.
    pub(super) fn get(&mut self, key: u32, now: u64) -> bool {
        let entry = self.entries[key as usize];
        if !entry.is_there {
            return false;
        }
        if entry.good_until <= now {
            self.unlink(key);
            return false;
        }
        self.unlink(key);
        self.link(key, entry.good_until);
        true
    }

    /// Enters a key.
    pub(super) fn put(&mut self, key: u32, now: u64) {
        if self.entries[key as usize].is_there {
            self.unlink(key);
        } else if self.len == self.capacity {
            self.unlink(self.oldest);
        }
        self.link(key, now.saturating_add(self.ttl_nanos));
    }

    /// Forgets everything, but not who waits for what.
    pub(super) fn flush(&mut self) {
        while self.oldest != NOTHING {
            self.unlink(self.oldest);
        }
    }

    /// Says whether somebody fetches the key already; if so, the visit waits for it.
    pub(super) fn joins_fetch(&mut self, key: u32, visit: u32) -> bool {
        let Some(waiting) = self.fetches.get_mut(&key) else {
            self.fetches.insert(key, Vec::new());
            return false;
        };
        waiting.push(visit);
        true
    }

    /// Ends a fetch and returns who waited for it.
    pub(super) fn end_fetch(&mut self, key: u32) -> Vec<u32> {
        self.fetches.remove(&key).unwrap_or_default()
    }

    /// Forgets who waits, as when their instance has ended.
    pub(super) fn forget(&mut self, gone: &dyn Fn(&u32) -> bool) {
        self.fetches.values_mut().for_each(|waiting| waiting.retain(|visit| !gone(visit)));
    }

    fn unlink(&mut self, key: u32) {
        let Entry { newer, older, .. } = self.entries[key as usize];
        match newer {
            NOTHING => self.newest = older,
            newer => self.entries[newer as usize].older = older,
        }
        match older {
            NOTHING => self.oldest = newer,
            older => self.entries[older as usize].newer = newer,
        }
        self.entries[key as usize].is_there = false;
        self.len -= 1;
    }

    fn link(&mut self, key: u32, good_until: u64) {
        let older = self.newest;
        self.entries[key as usize] = Entry { is_there: true, good_until, newer: NOTHING, older };
        match older {
            NOTHING => self.oldest = key,
            older => self.entries[older as usize].newer = key,
        }
        self.newest = key;
        self.len += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(capacity: u32, ttl_nanos: Option<u64>) -> CacheState {
        let model = CacheModel { capacity, ttl_nanos, shared: false, coalesce: true };
        CacheState::new(&model, 10)
    }

    #[test]
    fn evicts_the_least_recently_used() {
        let mut cache = cache(2, None);
        cache.put(1, 0);
        cache.put(2, 0);
        assert!(cache.get(1, 5));
        cache.put(3, 6);
        assert_eq!([1, 2, 3].map(|key| cache.get(key, 7)), [true, false, true]);
        cache.flush();
        assert_eq!([1, 2, 3].map(|key| cache.get(key, 8)), [false; 3]);
        cache.put(9, 9);
        assert!(cache.get(9, 9));
    }

    #[test]
    fn forgets_what_is_too_old() {
        let mut cache = cache(2, Some(10));
        cache.put(1, 0);
        assert!(cache.get(1, 9) && !cache.get(1, 10));
        cache.put(1, 10);
        cache.put(1, 15);
        assert!(cache.get(1, 24));
    }

    #[test]
    fn lets_others_wait_for_what_is_fetched() {
        let mut cache = cache(2, None);
        assert!(!cache.joins_fetch(4, 100));
        assert!(cache.joins_fetch(4, 101) && cache.joins_fetch(4, 102));
        assert_eq!(cache.end_fetch(4), [101, 102]);
        assert!(!cache.joins_fetch(4, 103));
    }
}
