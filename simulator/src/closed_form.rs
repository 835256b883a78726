//! The third solver: what queueing theory says in closed form.
//!
//! Times are in any unit, rates in its inverse. Engine and recursion are checked against these, and
//! an answer that needs no run is had from them in microseconds.

/// Returns the probability that an arrival at `workers` servers without a queue is lost, at an offered
/// load of `erlangs`.
///
/// # Source
///
/// Erlang (1917), by the recursion B(c) = a·B(c−1) / (c + a·B(c−1)).
pub fn erlang_b(erlangs: f64, workers: u32) -> f64 {
    (1..=workers).fold(1.0, |loss, worker| erlangs * loss / (f64::from(worker) + erlangs * loss))
}

/// Returns the probability that an arrival has to wait for one of `workers` servers, at an offered load
/// of `erlangs`; 1 where that is more than they can do.
///
/// # Source
///
/// Erlang (1917).
pub fn erlang_c(erlangs: f64, workers: u32) -> f64 {
    let busy = erlangs / f64::from(workers);
    if busy >= 1.0 {
        return 1.0;
    }
    let loss = erlang_b(erlangs, workers);
    loss / (1.0 - busy * (1.0 - loss))
}

/// A queue with Poisson arrivals, exponential service, and `workers` servers: M/M/c.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mmc {
    /// Arrivals per time.
    pub arrival_rate: f64,
    /// Services per time and server.
    pub service_rate: f64,
    /// Servers.
    pub workers: u32,
}

// === impl Mmc ===

impl Mmc {
    /// Returns the share of busy servers, if the queue is stable.
    pub fn utilization(&self) -> Option<f64> {
        let busy = self.arrival_rate / (self.service_rate * f64::from(self.workers));
        (busy < 1.0).then_some(busy)
    }

    /// Returns the probability to wait.
    pub fn wait_probability(&self) -> f64 {
        erlang_c(self.arrival_rate / self.service_rate, self.workers)
    }

    /// Returns the mean time of waiting, if the queue is stable.
    pub fn mean_wait(&self) -> Option<f64> {
        self.utilization()?;
        Some(self.wait_probability() / self.drain_rate())
    }

    /// Returns the mean time from arrival to end, if the queue is stable.
    pub fn mean_sojourn(&self) -> Option<f64> {
        Some(self.mean_wait()? + 1.0 / self.service_rate)
    }

    /// Returns the probability that a request takes longer than `time`, if the queue is stable.
    ///
    /// # Source
    ///
    /// The sum of a service and, with the probability to wait, an exponential wait; e.g. Gross et al.,
    /// *Fundamentals of Queueing Theory*, section 2.3.
    pub fn sojourn_above(&self, time: f64) -> Option<f64> {
        self.utilization()?;
        let (mu, wait, drain) = (self.service_rate, self.wait_probability(), self.drain_rate());
        let alone = (-mu * time).exp();
        let gap = mu - drain;
        // Where both rates are equal, the sum is an Erlang time.
        let with_wait = if gap.abs() < 1e-9 * mu {
            alone * (1.0 + mu * time)
        } else {
            (mu * (-drain * time).exp() - drain * alone) / gap
        };
        Some((1.0 - wait) * alone + wait * with_wait)
    }

    /// Returns the time that a share `level` of requests stays below, if the queue is stable.
    pub fn sojourn_quantile(&self, level: f64) -> Option<f64> {
        let tail = 1.0 - level;
        let (mut low, mut high) = (0.0, 1.0 / self.service_rate);
        while self.sojourn_above(high)? > tail {
            high *= 2.0;
        }
        for _ in 0..200 {
            let middle = 0.5 * (low + high);
            if self.sojourn_above(middle)? > tail {
                low = middle;
            } else {
                high = middle;
            }
        }
        Some(0.5 * (low + high))
    }

    fn drain_rate(&self) -> f64 {
        f64::from(self.workers) * self.service_rate - self.arrival_rate
    }
}

/// Returns the mean wait in a queue with one server, Poisson arrivals and any law of service with the
/// given mean and squared coefficient of variation: M/G/1. None if it is not stable.
///
/// # Source
///
/// Pollaczek (1930) and Khinchine (1932).
pub fn mg1_mean_wait(arrival_rate: f64, mean_service: f64, variation: f64) -> Option<f64> {
    let busy = arrival_rate * mean_service;
    (busy < 1.0).then(|| busy * mean_service * (1.0 + variation) / (2.0 * (1.0 - busy)))
}

/// Returns the arrival rate at each station of an open network, given what comes from outside and how
/// requests move on: `moves[i][j]` of those that leave `i` go to `j`. None if they never leave.
///
/// # Source
///
/// Jackson (1957), traffic equations; solved by elimination.
pub fn traffic_rates(outside: &[f64], moves: &[Vec<f64>]) -> Option<Vec<f64>> {
    let n = outside.len();
    // (I − Pᵀ) λ = γ
    let mut rows: Vec<Vec<f64>> = (0..n)
        .map(|i| {
            let mut row: Vec<f64> =
                (0..n).map(|j| f64::from(u8::from(i == j)) - moves[j][i]).collect();
            row.push(outside[i]);
            row
        })
        .collect();
    for column in 0..n {
        let pivot =
            (column..n).max_by(|a, b| rows[*a][column].abs().total_cmp(&rows[*b][column].abs()))?;
        rows.swap(column, pivot);
        if rows[column][column].abs() < 1e-12 {
            return None;
        }
        let pivot_row = rows[column].clone();
        for (index, row) in rows.iter_mut().enumerate() {
            if index != column {
                let factor = row[column] / pivot_row[column];
                row.iter_mut().zip(&pivot_row).for_each(|(value, pivot)| *value -= factor * pivot);
            }
        }
    }
    Some((0..n).map(|i| rows[i][n] / rows[i][i]).collect())
}

/// Throughput and mean time of a request in a closed network: `clients` who think for `think` between
/// their requests, each of which needs `demands[k]` of station `k`, one server each.
///
/// # Source
///
/// Mean value analysis: Reiser and Lavenberg (1980).
pub fn closed_network(clients: u32, think: f64, demands: &[f64]) -> (f64, f64) {
    let mut queues = vec![0.0; demands.len()];
    let (mut throughput, mut response) = (0.0, demands.iter().sum());
    for present in 1..=clients {
        let stays: Vec<f64> =
            demands.iter().zip(&queues).map(|(demand, queue)| demand * (1.0 + queue)).collect();
        response = stays.iter().sum();
        throughput = f64::from(present) / (think + response);
        for (queue, stay) in queues.iter_mut().zip(&stays) {
            *queue = throughput * stay;
        }
    }
    (throughput, response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found / expected - 1.0).abs() < 1e-8, "{found} instead of {expected}");
    }

    #[test]
    fn erlang_formulas_give_tabulated_values() {
        for (erlangs, workers, expected) in [
            (1.0, 1, 0.5),
            (2.0, 3, 0.210_526_315_8),
            (5.0, 10, 0.018_384_570_3),
            (20.0, 30, 0.008_457_498_3),
            (100.0, 110, 0.027_463_448_4),
            (1000.0, 1000, 0.024_811_917_6),
        ] {
            close(erlang_b(erlangs, workers), expected);
        }
        for (erlangs, workers, expected) in [
            (0.5, 1, 0.5),
            (2.0, 3, 0.444_444_444_4),
            (8.0, 10, 0.409_180_150_8),
            (18.0, 20, 0.550_769_004_8),
            (90.0, 100, 0.216_940_480_9),
        ] {
            close(erlang_c(erlangs, workers), expected);
        }
    }

    #[test]
    fn queues_give_tabulated_values() {
        let queue = |arrival_rate, workers| Mmc { arrival_rate, service_rate: 1.0, workers };
        close(queue(0.8, 1).mean_wait().expect("stable"), 4.0);
        close(queue(14.4, 16).mean_wait().expect("stable"), 0.369_589_621_2);
        for (arrivals, workers, quantiles) in [
            (0.8, 1, [3.465_736, 14.978_661, 23.025_851, 34.538_776]),
            (2.0, 3, [1.087_413, 4.020_688, 5.891_174, 8.468_827]),
            (8.0, 10, [0.912_145, 3.328_275, 4.946_111, 7.250_557]),
            (18.0, 20, [0.990_437, 3.422_830, 5.041_623, 7.346_277]),
        ] {
            for (level, expected) in [0.5, 0.95, 0.99, 0.999].into_iter().zip(quantiles) {
                let found = queue(arrivals, workers).sojourn_quantile(level).expect("stable");
                assert!((found - expected).abs() < 2e-6, "{found} instead of {expected}");
            }
        }
        assert_eq!(queue(1.0, 1).mean_wait(), None);
        close(mg1_mean_wait(0.8, 1.0, 4.0).expect("stable"), 10.0);
        close(mg1_mean_wait(0.5, 1.0, 0.0).expect("stable"), 0.5);
    }

    #[test]
    fn networks_give_tabulated_values() {
        let moves = vec![vec![0.0, 0.5, 0.3], vec![0.4, 0.0, 0.0], vec![0.5, 0.0, 0.0]];
        let rates = traffic_rates(&[1.0, 0.0, 0.0], &moves).expect("they leave");
        for (found, expected) in rates.iter().zip([20.0, 10.0, 6.0]) {
            close(*found, expected / 13.0);
        }
        let stations = rates.iter().zip([2.0, 1.2, 1.0]);
        let present: f64 = stations.map(|(rate, mu)| rate / (mu - rate)).sum();
        assert!((present - 5.976_190_5).abs() < 1e-7);
        for (clients, throughput, response) in [
            (1, 0.740_740_740_7, 0.35),
            (5, 3.209_728_413_2, 0.557_764_195_7),
            (10, 4.726_378_518_2, 1.115_784_836_4),
            (50, 5.0, 9.0),
        ] {
            let found = closed_network(clients, 1.0, &[0.2, 0.1, 0.05]);
            assert!((found.0 / throughput - 1.0).abs() < 1e-7, "{found:?}");
            assert!((found.1 / response - 1.0).abs() < 1e-7, "{found:?}");
        }
    }

    #[test]
    fn nobody_leaves_a_closed_circle() {
        assert_eq!(traffic_rates(&[1.0, 0.0], &[vec![0.0, 1.0], vec![1.0, 0.0]]), None);
    }
}
