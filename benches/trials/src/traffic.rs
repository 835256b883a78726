//! The traffic of a trial: drawn by seed, replayed from a dataset, or made by somebody's command.

use prophecy_core::{Header, Seed};
use prophecy_twin::replay::PlannedRequest;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Who visits, how often, and how evenly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    /// The mean rate \[requests/s\].
    pub(crate) rate_hz: f64,
    /// How far the rate swings around its mean, 0 to 1.
    #[serde(default)]
    pub(crate) swing: f64,
    /// The length of a swing \[s\]: a day, pressed into a window.
    #[serde(default = "day")]
    pub(crate) day_seconds: f64,
    /// The share of the window with twice the rate, in bursts of half a second.
    #[serde(default)]
    pub(crate) bursts: f64,
    /// What is asked for, with the share of the requests.
    pub(crate) routes: Vec<Asked>,
}

/// A kind of request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    /// The method.
    pub(crate) method: String,
    /// The path; `{id}` is filled in with a number from 1 to `ids`, small ones more often.
    pub(crate) path: String,
    /// The share of the requests.
    pub(crate) share: f64,
    /// How many ids there are.
    #[serde(default = "many")]
    pub(crate) ids: usize,
}

fn many() -> usize {
    2_000
}

fn day() -> f64 {
    DAY_SECONDS
}

/// The length of a day, unless an entry says otherwise \[s\]. Windows and deployments are whole days, so that
/// one is no busier than the other but by luck.
pub(crate) const DAY_SECONDS: f64 = 16.0;

/// A burst's length \[s\].
const BURST_SECONDS: f64 = 0.5;

// === impl Profile ===

impl Profile {
    /// Returns the requests of some seconds.
    ///
    /// # Determinism
    ///
    /// Depends on the profile, the length and the seed alone.
    pub(crate) fn requests(&self, seconds: f64, seed: Seed) -> Vec<PlannedRequest> {
        let mut arrivals = seed.stream(0, 0, "arrivals");
        let mut choices = seed.stream(0, 0, "choices");
        let burst_count = (self.bursts * seconds / BURST_SECONDS).round() as usize;
        let mut places = seed.stream(0, 0, "bursts");
        let bursts: Vec<f64> =
            (0..burst_count).map(|_| places.uniform() * (seconds - BURST_SECONDS)).collect();
        let rate_at = |at: f64| {
            let swing = self.swing * (std::f64::consts::TAU * at / self.day_seconds).sin();
            let burst = bursts.iter().any(|start| (*start..start + BURST_SECONDS).contains(&at));
            (1.0 + swing) * if burst { 2.0 } else { 1.0 } / (1.0 + self.bursts)
        };
        let peak = 2.0 * (1.0 + self.swing) / (1.0 + self.bursts);
        let mut planned = Vec::new();
        let mut at = 0.0;
        let mut sessions = 0;
        loop {
            // NUMERICS: thinning (Lewis and Shedler, 1979) under the peak rate.
            at += arrivals.exponential() / (peak * self.rate_hz);
            if at >= seconds {
                return planned;
            }
            if arrivals.uniform() * peak > rate_at(at) {
                continue;
            }
            if sessions == 0 || choices.uniform() < 0.2 {
                sessions += 1;
            }
            let session = sessions as u64 - choices.below(sessions.min(20)) as u64;
            let asked = self.pick(choices.uniform());
            let id = 1 + (choices.uniform().powi(3) * asked.ids as f64) as usize;
            planned.push(request(planned.len() as u64, (at * 1e9) as u64, session, asked, id));
        }
    }

    fn pick(&self, mut point: f64) -> &Asked {
        let all: f64 = self.routes.iter().map(|asked| asked.share).sum();
        point *= all;
        for asked in &self.routes {
            point -= asked.share;
            if point < 0.0 {
                return asked;
            }
        }
        self.routes.last().expect("a profile asks for something")
    }
}

fn request(number: u64, at: u64, session: u64, asked: &Asked, id: usize) -> PlannedRequest {
    let mut headers = vec![
        Header::new("host", "trial.example"),
        Header::new("user-agent", "prophecy-trials"),
        Header::new("cookie", format!("sid={session:016x}")),
    ];
    let mut body = Vec::new();
    if asked.method == "POST" {
        headers.push(Header::new("content-type", "application/json"));
        body = json!({ "item": id, "quantity": 1 + id % 3 }).to_string().into_bytes();
    }
    PlannedRequest {
        exchange_id: number,
        offset_nanos: at,
        session,
        connection: session,
        method: asked.method.clone(),
        path_and_query: asked.path.replace("{id}", &id.to_string()),
        headers,
        body,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(swing: f64, bursts: f64) -> Profile {
        let asked = |path: &str, share| Asked {
            method: "GET".to_owned(),
            path: path.to_owned(),
            share,
            ids: 100,
        };
        Profile {
            rate_hz: 50.0,
            swing,
            day_seconds: DAY_SECONDS,
            bursts,
            routes: vec![asked("/a/{id}", 0.7), asked("/b", 0.3)],
        }
    }

    /// The number of requests of 400 s at 50 Hz is Poisson: within 4.5 standard deviations of 20,000.
    #[test]
    fn keeps_its_mean_rate_however_it_swings() {
        for (swing, bursts) in [(0.0, 0.0), (0.4, 0.0), (0.0, 0.1), (0.4, 0.1)] {
            let requests = profile(swing, bursts).requests(400.0, Seed(1));
            let expected: f64 = 20_000.0;
            // Bursts that overlap or sit on a slope of the swing make up to a tenth of the bursts' part.
            let slack = 4.5 * expected.sqrt() + 0.1 * bursts * 2.0 * expected;
            assert!(
                (requests.len() as f64 - expected).abs() < slack,
                "{} {swing} {bursts}",
                requests.len()
            );
            assert!(requests.is_sorted_by_key(|request| request.offset_nanos));
            let first = requests.iter().filter(|request| request.path_and_query != "/b").count();
            assert!((first as f64 / requests.len() as f64 - 0.7).abs() < 0.02);
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_requests_and_another_gives_others() {
        let profile = profile(0.3, 0.05);
        assert_eq!(profile.requests(5.0, Seed(1)), profile.requests(5.0, Seed(1)));
        assert_ne!(profile.requests(5.0, Seed(1)), profile.requests(5.0, Seed(2)));
    }
}
