//! Timeouts and hedges, kept out of the heap: most of them never matter.

use std::collections::VecDeque;

/// When something is given up, or done a second time, unless it was answered before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delay {
    pub(super) at: u64,
    pub(super) what: Delayed,
    pub(super) subject: u32,
    pub(super) generation: u32,
}

/// What a delay is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delayed {
    /// A visit's caller gives up.
    Timeout,
    /// A call is made a second time.
    Hedge,
}

/// A line for each distinct length: as all in it wait equally long, each line is in order by itself.
#[derive(Clone, Debug)]
pub(super) struct Delays {
    lengths: Vec<u64>,
    lines: Vec<VecDeque<Delay>>,
    next_at: u64,
    next_line: usize,
}

// === impl Delays ===

impl Delays {
    pub(super) fn new(lengths: &[u64]) -> Self {
        Self {
            lengths: lengths.to_vec(),
            lines: vec![VecDeque::new(); lengths.len()],
            next_at: u64::MAX,
            next_line: 0,
        }
    }

    /// Adds one of the length at `index`, from now on, and returns when it is due.
    pub(super) fn push(
        &mut self,
        index: u32,
        now: u64,
        what: Delayed,
        subject: u32,
        generation: u32,
    ) -> u64 {
        let line = index as usize;
        let at = now.saturating_add(self.lengths[line]);
        self.lines[line].push_back(Delay { at, what, subject, generation });
        if at < self.next_at {
            (self.next_at, self.next_line) = (at, line);
        }
        at
    }

    /// Returns when the next is due; `u64::MAX` if there is none.
    pub(super) fn next_at(&self) -> u64 {
        self.next_at
    }

    /// Takes the next; of those due at one instant, the one of the first line.
    pub(super) fn take(&mut self) -> Option<Delay> {
        let delay = self.lines.get_mut(self.next_line)?.pop_front()?;
        self.next_at = u64::MAX;
        for (index, line) in self.lines.iter().enumerate() {
            if let Some(first) = line.front()
                && first.at < self.next_at
            {
                (self.next_at, self.next_line) = (first.at, index);
            }
        }
        Some(delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_delays_of_several_lengths_in_order() {
        let mut delays = Delays::new(&[30, 10]);
        assert_eq!(delays.next_at(), u64::MAX);
        assert_eq!(delays.push(0, 0, Delayed::Timeout, 0, 0), 30);
        delays.push(1, 5, Delayed::Hedge, 1, 0);
        delays.push(0, 6, Delayed::Timeout, 2, 0);
        delays.push(1, 20, Delayed::Timeout, 3, 0);
        let order: Vec<(u64, u32)> =
            std::iter::from_fn(|| delays.take().map(|delay| (delay.at, delay.subject))).collect();
        assert_eq!(order, [(15, 1), (30, 0), (30, 3), (36, 2)]);
    }
}
