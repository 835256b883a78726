//! What a model must satisfy before it is compiled.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use super::{CallModel, Law, Model, RouteModel, SCHEMA, Station};

/// Why a model cannot be simulated.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CheckModelError {
    /// A value is out of range.
    #[error("{place} is {found}; it needs {expected}")]
    Range {
        /// Where it is.
        place: String,
        /// What it is.
        found: String,
        /// What it must be.
        expected: &'static str,
    },
    /// A name is used but not defined.
    #[error("{place} names the {kind} `{name}`, which the model does not define")]
    Undefined {
        /// Where it is used.
        place: String,
        /// What it should be.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// Routes call each other in a circle, so a request would never end.
    #[error("`{route}` of `{service}` is on a circle of calls; calls must come to an end")]
    Circle {
        /// The service of one route of the circle.
        service: String,
        /// The route.
        route: String,
    },
}

type Place<'a> = (&'a str, &'a str);

/// More replicas than this are a slip of the pen, and would not fit in memory.
const REPLICAS_MAX: u32 = 100_000;

// === impl Model ===

impl Model {
    /// Checks that every number is in range, every name is defined, and calls come to an end.
    ///
    /// # Errors
    ///
    /// [`CheckModelError`] with the first thing that is wrong, in order of names.
    pub fn check(&self) -> Result<(), CheckModelError> {
        if self.schema != SCHEMA {
            let found = format!("`{}`", self.schema);
            return Err(range("`schema`".to_owned(), found, "`prophecy.model/1`"));
        }
        self.check_service("`entry`".to_owned(), &self.entry)?;
        for (name, station) in &self.services {
            self.check_station(&format!("services.{name}"), station)?;
        }
        self.check_circles()
    }

    fn check_service(&self, place: String, name: &str) -> Result<(), CheckModelError> {
        if self.services.contains_key(name) {
            return Ok(());
        }
        Err(CheckModelError::Undefined { place, kind: "service", name: name.to_owned() })
    }

    fn check_station(&self, place: &str, station: &Station) -> Result<(), CheckModelError> {
        if !(1..=REPLICAS_MAX).contains(&station.replicas) {
            let place = format!("`{place}.replicas`");
            return Err(range(place, station.replicas, "a number from 1 to 100000"));
        }
        if station.workers == Some(0) {
            return Err(range(format!("`{place}.workers`"), 0, "at least 1"));
        }
        for (destination, limit) in &station.pools {
            self.check_service(format!("`{place}.pools`"), destination)?;
            if *limit == 0 {
                return Err(range(format!("`{place}.pools.{destination}`"), 0, "at least 1"));
            }
        }
        for (name, route) in &station.routes {
            let place = format!("{place}.routes[{name:?}]");
            check_own(&place, route)?;
            for (index, call) in route.calls.iter().enumerate() {
                self.check_call(&format!("{place}.calls[{index}]"), call)?;
            }
        }
        Ok(())
    }

    fn check_call(&self, place: &str, call: &CallModel) -> Result<(), CheckModelError> {
        self.check_service(format!("`{place}`"), &call.service)?;
        if self.route(&call.service, &call.route).is_none() {
            let (place, name) = (format!("`{place}`"), call.route.clone());
            return Err(CheckModelError::Undefined { place, kind: "route", name });
        }
        for (count, share) in call.counts.iter().enumerate() {
            check_share(format!("`{place}.counts[{count}]`"), *share)?;
        }
        let sum: f64 = call.counts.iter().sum();
        if (sum - 1.0).abs() > 1e-6 {
            return Err(range(format!("the sum of `{place}.counts`"), sum, "to be 1"));
        }
        if call.timeout_nanos == Some(0) {
            return Err(range(format!("`{place}.timeout_nanos`"), 0, "at least 1"));
        }
        check_share(format!("`{place}.failure_spreads`"), call.failure_spreads)
    }

    /// Takes away routes that call nothing that is left, until none is: what stays calls in circles,
    /// or calls a circle.
    fn check_circles(&self) -> Result<(), CheckModelError> {
        let mut left: BTreeMap<Place<'_>, usize> = BTreeMap::new();
        let mut callers: BTreeMap<Place<'_>, Vec<Place<'_>>> = BTreeMap::new();
        for (service, station) in &self.services {
            for (route, model) in &station.routes {
                let caller = (service.as_str(), route.as_str());
                let callees: BTreeSet<Place<'_>> =
                    model.calls.iter().map(|call| (&*call.service, &*call.route)).collect();
                left.insert(caller, callees.len());
                for callee in callees {
                    callers.entry(callee).or_default().push(caller);
                }
            }
        }
        let mut ended: Vec<Place<'_>> =
            left.iter().filter(|(_, count)| **count == 0).map(|(place, _)| *place).collect();
        while let Some(place) = ended.pop() {
            left.remove(&place);
            for caller in callers.get(&place).into_iter().flatten() {
                let count = left.get_mut(caller).expect("a caller stays until its callees ended");
                *count -= 1;
                if *count == 0 {
                    ended.push(*caller);
                }
            }
        }
        let Some((mut place, _)) = left.first_key_value().map(|(place, count)| (*place, *count))
        else {
            return Ok(());
        };
        // Going on to a callee that is left, again and again, ends up on the circle itself.
        for _ in 0..left.len() {
            let model = self.route(place.0, place.1).expect("listed above");
            place = model
                .calls
                .iter()
                .map(|call| (&*call.service, &*call.route))
                .find(|callee| left.contains_key(callee))
                .expect("what is left calls something that is left");
        }
        Err(CheckModelError::Circle { service: place.0.to_owned(), route: place.1.to_owned() })
    }
}

fn check_own(place: &str, route: &RouteModel) -> Result<(), CheckModelError> {
    match route.law {
        None if route.own_nanos.is_empty() => {
            let expected = "at least one value, or a `law` beside it";
            return Err(range(format!("`{place}.own_nanos`"), "empty", expected));
        }
        None if !route.own_nanos.is_sorted() => {
            return Err(range(format!("`{place}.own_nanos`"), "not sorted", "ascending values"));
        }
        Some(_) if !route.own_nanos.is_empty() => {
            let expected = "to be left out, as `law` is given";
            return Err(range(format!("`{place}.own_nanos`"), "not empty", expected));
        }
        Some(Law::Exponential { mean_nanos }) => {
            check_time(format!("`{place}.law.mean_nanos`"), mean_nanos)?;
        }
        Some(Law::Lognormal { median_nanos, sigma }) => {
            check_time(format!("`{place}.law.median_nanos`"), median_nanos)?;
            if !(0.0..=10.0).contains(&sigma) {
                let place = format!("`{place}.law.sigma`");
                return Err(range(place, sigma, "a number from 0 to 10"));
            }
        }
        None | Some(Law::Constant { .. }) => {}
    }
    check_share(format!("`{place}.failure`"), route.failure)
}

fn check_time(place: String, nanos: f64) -> Result<(), CheckModelError> {
    if (0.0..=1e18).contains(&nanos) {
        return Ok(());
    }
    Err(range(place, nanos, "a number from 0 to 1e18"))
}

fn check_share(place: String, value: f64) -> Result<(), CheckModelError> {
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    Err(range(place, value, "a probability from 0 to 1"))
}

fn range(place: String, found: impl ToString, expected: &'static str) -> CheckModelError {
    CheckModelError::Range { place, found: found.to_string(), expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> Model {
        let back = Station {
            routes: [("GET /b".to_owned(), RouteModel::empirical(vec![5, 3, 4]))].into(),
            ..Station::unlimited()
        };
        let mut root = RouteModel::empirical(vec![1]);
        root.calls.push(CallModel::once("back", "GET /b"));
        let front =
            Station { routes: [("GET /".to_owned(), root)].into(), ..Station::unlimited() };
        Model {
            schema: SCHEMA.to_owned(),
            system: "pair".to_owned(),
            entry: "front".to_owned(),
            services: [("back".to_owned(), back), ("front".to_owned(), front)].into(),
        }
    }

    fn root(model: &mut Model) -> &mut RouteModel {
        let front = model.services.get_mut("front").expect("there");
        front.routes.get_mut("GET /").expect("there")
    }

    #[test]
    fn says_which_number_or_name_is_wrong() {
        let check = |change: &dyn Fn(&mut Model), expected: &str| {
            let mut model = pair();
            assert_eq!(model.check(), Ok(()));
            change(&mut model);
            assert_eq!(model.check().expect_err(expected).to_string(), expected);
        };
        check(
            &|model| model.entry = "door".to_owned(),
            "`entry` names the service `door`, which the model does not define",
        );
        check(
            &|model| root(model).own_nanos = vec![2, 1],
            "`services.front.routes[\"GET /\"].own_nanos` is not sorted; it needs ascending values",
        );
        check(
            &|model| root(model).own_nanos.clear(),
            "`services.front.routes[\"GET /\"].own_nanos` is empty; it needs at least one value, \
             or a `law` beside it",
        );
        check(
            &|model| root(model).failure = 1.5,
            "`services.front.routes[\"GET /\"].failure` is 1.5; it needs a probability from 0 to 1",
        );
        check(
            &|model| root(model).calls[0].counts = vec![0.5, 0.25],
            "the sum of `services.front.routes[\"GET /\"].calls[0].counts` is 0.75; it needs to be 1",
        );
        check(
            &|model| root(model).calls[0].route = "GET /c".to_owned(),
            "`services.front.routes[\"GET /\"].calls[0]` names the route `GET /c`, which the model \
             does not define",
        );
        check(
            &|model| root(model).calls[0].failure_spreads = f64::NAN,
            "`services.front.routes[\"GET /\"].calls[0].failure_spreads` is NaN; it needs a \
             probability from 0 to 1",
        );
        check(
            &|model| model.services.get_mut("back").expect("there").workers = Some(0),
            "`services.back.workers` is 0; it needs at least 1",
        );
    }

    #[test]
    fn refuses_a_circle_of_calls() {
        let mut model = pair();
        let back = model.services.get_mut("back").expect("there");
        let route = back.routes.get_mut("GET /b").expect("there");
        route.calls.push(CallModel::once("back", "GET /b"));
        let expected =
            CheckModelError::Circle { service: "back".to_owned(), route: "GET /b".to_owned() };
        assert_eq!(model.check(), Err(expected));
    }
}
