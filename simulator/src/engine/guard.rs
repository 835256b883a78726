//! What stands between one instance and one of its calls: a budget of retries, a breaker.

use std::collections::VecDeque;

use crate::model::{Breaker, Budget};

/// The state of the budget and the breaker of a call.
#[derive(Clone, Debug, Default)]
pub(super) struct Guard {
    tokens: f64,
    outcomes: VecDeque<bool>,
    failures: u32,
    /// While open: until when.
    open_until: Option<u64>,
    is_probing: bool,
}

// === impl Guard ===

impl Guard {
    pub(super) fn new(budget: Option<&Budget>) -> Self {
        Self { tokens: budget.map_or(0.0, |budget| budget.burst), ..Self::default() }
    }

    /// A call is made for the first time.
    pub(super) fn earn(&mut self, budget: &Budget) {
        self.tokens = (self.tokens + budget.ratio).min(budget.burst);
    }

    /// Takes a retry from the budget, if there is one.
    pub(super) fn spend(&mut self) -> bool {
        // NUMERICS: shares like 0.1 add up to a little less than their sum.
        if self.tokens < 1.0 - 1e-9 {
            return false;
        }
        self.tokens = (self.tokens - 1.0).max(0.0);
        true
    }

    /// Says whether the breaker lets a call through; after an open time, one.
    pub(super) fn admits(&mut self, now: u64) -> bool {
        match self.open_until {
            None => true,
            Some(until) if now < until || self.is_probing => false,
            Some(_) => {
                self.is_probing = true;
                true
            }
        }
    }

    /// Tells the breaker how a call ended.
    pub(super) fn record(&mut self, breaker: &Breaker, failed: bool, now: u64) {
        if self.open_until.is_some() {
            if self.is_probing {
                self.is_probing = false;
                self.open_until = failed.then(|| now.saturating_add(breaker.open_nanos));
            }
            return;
        }
        self.outcomes.push_back(failed);
        self.failures += u32::from(failed);
        if self.outcomes.len() > breaker.window as usize {
            let oldest = self.outcomes.pop_front().unwrap_or(false);
            self.failures -= u32::from(oldest);
        }
        let is_full = self.outcomes.len() == breaker.window as usize;
        if is_full && f64::from(self.failures) >= breaker.failures * f64::from(breaker.window) {
            self.open_until = Some(now.saturating_add(breaker.open_nanos));
            self.outcomes.clear();
            self.failures = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn breaks_tries_once_and_closes() {
        let breaker = Breaker { window: 4, failures: 0.5, open_nanos: 100 };
        let mut guard = Guard::new(None);
        for failed in [false, true, false] {
            assert!(guard.admits(0));
            guard.record(&breaker, failed, 0);
        }
        guard.record(&breaker, true, 10);
        assert!(!guard.admits(109));
        assert!(guard.admits(110) && !guard.admits(110), "one probe at a time");
        guard.record(&breaker, true, 120);
        assert!(!guard.admits(219) && guard.admits(220));
        guard.record(&breaker, false, 230);
        assert!(guard.admits(230) && guard.admits(230));
    }

    #[test]
    fn retries_are_earned() {
        let budget = Budget { ratio: 0.1, burst: 2.0 };
        let mut guard = Guard::new(Some(&budget));
        assert!(guard.spend() && guard.spend() && !guard.spend());
        (0..10).for_each(|_| guard.earn(&budget));
        assert!(guard.spend() && !guard.spend());
    }
}
