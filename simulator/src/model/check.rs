//! What the types of a model cannot say.

use std::collections::BTreeSet;

use super::{CallModel, Keys, Law, Model, Policy, ReadModelError, RouteModel, Station};

type Checked = Result<(), ReadModelError>;

// === impl Model ===

impl Model {
    /// Checks what the types cannot say.
    ///
    /// # Errors
    ///
    /// [`ReadModelError::Value`] for the first value that is out of range.
    pub fn check(&self) -> Result<(), ReadModelError> {
        if !self.services.contains_key(&self.entry) {
            return refuse("`entry`", format!("there is no service `{}`", self.entry));
        }
        for (name, host) in &self.hosts {
            if host.cores == 0 {
                return refuse(&format!("host `{name}`"), "has no core".to_owned());
            }
        }
        for (name, station) in &self.services {
            self.check_station(&format!("service `{name}`"), station)?;
            for (route, route_model) in &station.routes {
                let place = format!("service `{name}`, route `{route}`");
                check_costs(&place, station, route_model)?;
                for call in &route_model.calls {
                    self.check_call(&place, call)?;
                }
            }
        }
        self.check_cycles()
    }

    fn check_station(&self, place: &str, station: &Station) -> Checked {
        if station.replicas == 0 || station.workers == Some(0) {
            return refuse(place, "has no worker".to_owned());
        }
        if station.pools.values().any(|limit| *limit == 0) {
            return refuse(place, "has an empty pool".to_owned());
        }
        if let Some(host) = station.host.as_ref().filter(|host| !self.hosts.contains_key(*host)) {
            return refuse(place, format!("runs on host `{host}`, which is not there"));
        }
        if let Policy::Weighted(weights) = &station.balancing.policy
            && (weights.iter().any(|weight| !weight.is_finite() || *weight < 0.0)
                || weights.iter().take(station.replicas as usize).sum::<f64>() <= 0.0)
        {
            return refuse(place, "has weights that are not positive".to_owned());
        }
        if let Some(limit) = &station.rate_limit
            && !(limit.rate_hz > 0.0 && limit.rate_hz.is_finite() && limit.burst >= 1.0)
        {
            return refuse(place, "has a rate limit that admits nothing".to_owned());
        }
        if station.pauses.is_some_and(|pauses| pauses.every_nanos == 0) {
            return refuse(place, "pauses without end".to_owned());
        }
        for state in &station.states {
            if state.mean_nanos == 0 || !(state.slowdown >= 0.0 && state.slowdown.is_finite()) {
                return refuse(place, format!("state `{}` has no length or slowdown", state.name));
            }
            check_probability(place, "`failure` of a state", state.failure)?;
        }
        if let Some(scaling) = &station.scaling
            && (scaling.least == 0
                || scaling.most < scaling.least
                || scaling.every_nanos == 0
                || !(scaling.target > 0.0 && scaling.target <= 1.0)
                || station.workers.is_none())
        {
            return refuse(
                place,
                "scales in a way that cannot be followed: it needs workers, a target up to 1 and bounds"
                    .to_owned(),
            );
        }
        if station.caches.values().any(|cache| cache.capacity == 0) {
            return refuse(place, "has a cache without room".to_owned());
        }
        if station.replication.is_some_and(|replication| replication.copies == 0) {
            return refuse(place, "has no copy to replicate to".to_owned());
        }
        Ok(())
    }

    fn check_call(&self, place: &str, call: &CallModel) -> Checked {
        let known = self.services.get(&call.service).map(|station| &station.routes);
        if !known.is_some_and(|routes| routes.contains_key(&call.route)) {
            let problem = format!("calls `{} {}`, which is not there", call.service, call.route);
            return refuse(place, problem);
        }
        let sum: f64 = call.counts.iter().sum();
        if call.counts.iter().any(|p| !(0.0..=1.0).contains(p)) || (sum - 1.0).abs() > 1e-6 {
            return refuse(place, format!("the `counts` of a call sum to {sum}, not 1"));
        }
        check_probability(place, "`failure_spreads`", call.failure_spreads)?;
        check_probability(place, "`jitter`", call.backoff.jitter)?;
        if !(call.backoff.factor >= 1.0 && call.backoff.factor.is_finite()) {
            return refuse(place, "the `factor` of a backoff is below 1".to_owned());
        }
        if !(0.0..1.0).contains(&call.network.loss) {
            return refuse(place, "the `loss` of a network is not below 1".to_owned());
        }
        if let Some(budget) = &call.budget
            && !(budget.ratio >= 0.0 && budget.burst >= 0.0 && budget.burst.is_finite())
        {
            return refuse(place, "the `budget` of retries is negative".to_owned());
        }
        if let Some(breaker) = &call.breaker {
            check_probability(place, "`failures` of a breaker", breaker.failures)?;
            if breaker.window == 0 {
                return refuse(place, "the breaker looks back on nothing".to_owned());
            }
        }
        Ok(())
    }

    fn check_cycles(&self) -> Checked {
        let mut done = BTreeSet::new();
        for (service, station) in &self.services {
            for route in station.routes.keys() {
                self.visit(service, route, &mut Vec::new(), &mut done)?;
            }
        }
        Ok(())
    }

    fn visit<'a>(
        &'a self,
        service: &'a str,
        route: &'a str,
        path: &mut Vec<(&'a str, &'a str)>,
        done: &mut BTreeSet<(&'a str, &'a str)>,
    ) -> Checked {
        if path.contains(&(service, route)) {
            let place = format!("service `{service}`, route `{route}`");
            return refuse(&place, "calls itself".to_owned());
        }
        if done.contains(&(service, route)) {
            return Ok(());
        }
        path.push((service, route));
        for call in &self.services[service].routes[route].calls {
            self.visit(&call.service, &call.route, path, done)?;
        }
        path.pop();
        done.insert((service, route));
        Ok(())
    }
}

fn check_costs(place: &str, station: &Station, route: &RouteModel) -> Checked {
    if route.own_nanos.is_empty() == route.law.is_none() {
        return refuse(place, "needs either `own_nanos` or `law`".to_owned());
    }
    if !route.own_nanos.is_sorted() {
        return refuse(place, "`own_nanos` does not ascend".to_owned());
    }
    if let Some(problem) = route.law.as_ref().and_then(wrong) {
        return refuse(place, problem.to_owned());
    }
    check_probability(place, "`failure`", route.failure)?;
    check_probability(place, "`cpu_share`", route.cpu_share)?;
    if let Some(used) = &route.cache {
        check_keys(place, &used.keys)?;
        check_probability(place, "`hit_share`", used.hit_share)?;
        if !station.caches.contains_key(&used.name) {
            return refuse(place, format!("uses cache `{}`, which is not there", used.name));
        }
    }
    let copies = [&route.writes, &route.reads_copy];
    for keys in copies.into_iter().flatten().chain(route.row.as_ref().map(|row| &row.keys)) {
        check_keys(place, keys)?;
    }
    if copies.iter().any(|keys| keys.is_some()) && station.replication.is_none() {
        return refuse(
            place,
            "reads or writes copies, but the service has no `replication`".to_owned(),
        );
    }
    Ok(())
}

fn check_keys(place: &str, keys: &Keys) -> Checked {
    if keys.count == 0 || !(keys.skew >= 0.0 && keys.skew.is_finite()) {
        return refuse(place, "has keys that cannot be drawn".to_owned());
    }
    Ok(())
}

fn check_probability(place: &str, what: &str, value: f64) -> Checked {
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    refuse(place, format!("{what} is {value}, not a probability"))
}

/// Says what is wrong with a law.
fn wrong(law: &Law) -> Option<&'static str> {
    let positive = |value: f64| value.is_finite() && value >= 0.0;
    let fine = match *law {
        Law::Constant { .. } => true,
        Law::Exponential { mean_nanos } | Law::Uniform { mean_nanos } => positive(mean_nanos),
        Law::Erlang { mean_nanos, stages } => positive(mean_nanos) && stages > 0,
        Law::Hyperexponential { mean_nanos, variation } => {
            positive(mean_nanos) && variation >= 1.0 && variation.is_finite()
        }
        Law::Lognormal { median_nanos, sigma } => positive(median_nanos) && positive(sigma),
        Law::Pareto { least_nanos, scale_nanos, shape } => {
            positive(least_nanos) && positive(scale_nanos) && shape.is_finite()
        }
    };
    (!fine).then_some("the parameters of its `law` are out of range")
}

fn refuse(place: &str, problem: String) -> Checked {
    Err(ReadModelError::Value { place: place.to_owned(), problem })
}
