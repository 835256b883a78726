//! Keys ready to be drawn.

use std::sync::Arc;

use crate::model::Keys;

/// Keys with their popularity, cumulated.
#[derive(Clone, Debug)]
pub(crate) struct CompiledKeys {
    count: u32,
    cumulative: Option<Arc<[f64]>>,
}

// === impl CompiledKeys ===

impl CompiledKeys {
    pub(crate) fn new(keys: &Keys) -> Self {
        let cumulative = (keys.skew > 0.0).then(|| {
            let mut sum = 0.0;
            let sums = (1..=keys.count).map(|rank| {
                sum += f64::from(rank).powf(-keys.skew);
                sum
            });
            let sums: Vec<f64> = sums.collect();
            sums.iter().map(|part| part / sum).collect()
        });
        Self { count: keys.count, cumulative }
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Returns the key at a place between 0 and 1.
    pub(crate) fn at(&self, uniform: f64) -> u32 {
        let key = match &self.cumulative {
            None => (uniform * f64::from(self.count)) as u32,
            Some(cumulative) => cumulative.partition_point(|sum| *sum <= uniform) as u32,
        };
        key.min(self.count - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn popular_keys_have_their_share() {
        let keys = CompiledKeys::new(&Keys { count: 3, skew: 1.0 });
        // 1 : 1/2 : 1/3 of 11/6.
        assert_eq!([0.0, 0.54, 0.55, 0.81, 0.82, 0.999].map(|u| keys.at(u)), [0, 0, 1, 1, 2, 2]);
        let keys = CompiledKeys::new(&Keys { count: 4, skew: 0.0 });
        assert_eq!([0.0, 0.26, 0.74, 0.9].map(|u| keys.at(u)), [0, 1, 2, 3]);
    }
}
