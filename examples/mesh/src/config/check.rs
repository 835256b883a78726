//! What the format alone cannot say: that names are defined and numbers in range.

use std::collections::BTreeSet;
use std::fmt::Display;

use super::{CacheConfig, ClientConfig, Config, ReadConfigError, RouteConfig, Step};
use crate::client::Endpoint;
use crate::config::{Call, Condition, Distribution, Fail, Times, Timing};
use crate::generator::Generator;
use crate::route_table::PathPattern;
use crate::template::Template;

/// Values that every request has.
const GIVEN: [&str; 6] = ["query", "header", "body", "rows", "each", "index"];

/// Checks a configuration.
///
/// # Errors
///
/// [`ReadConfigError::Undefined`] and [`ReadConfigError::Range`].
pub(super) fn check(config: &Config) -> Result<(), ReadConfigError> {
    at_least_one("`workers`", config.workers.unwrap_or(1))?;
    if let Some(database) = &config.database {
        at_least_one("`database.connections`", database.connections)?;
    }
    for (name, CacheConfig { capacity, .. }) in &config.caches {
        at_least_one(&format!("`caches.{name}.capacity`"), *capacity)?;
    }
    for (name, client) in &config.clients {
        check_client(name, client)?;
    }
    for route in &config.routes {
        check_route(config, route)?;
    }
    Ok(())
}

fn check_client(name: &str, client: &ClientConfig) -> Result<(), ReadConfigError> {
    at_least_one(&format!("`clients.{name}.pool`"), client.pool)?;
    if Endpoint::parse(&client.url).is_none() {
        let place = format!("`clients.{name}.url`");
        return Err(range(place, &client.url, "a base URL such as http://host:port"));
    }
    Ok(())
}

fn check_route(config: &Config, route: &RouteConfig) -> Result<(), ReadConfigError> {
    let place = format!("route `{} {}`", route.method, route.path);
    check_method(&place, &route.method)?;
    let Some(pattern) = PathPattern::parse(&route.path) else {
        let expected = "a path that starts with `/`, with parameters as whole segments `{id}`";
        return Err(range(place, &route.path, expected));
    };
    let mut names: BTreeSet<String> = GIVEN.iter().map(|&name| name.to_owned()).collect();
    names.extend(pattern.parameters().map(str::to_owned));
    collect_bindings(&route.steps, &mut names);
    Walk { config, place: &place, names: &names }.steps(&route.steps)
}

fn collect_bindings(steps: &[Step], names: &mut BTreeSet<String>) {
    for step in steps {
        match step {
            Step::Call(call) => _ = names.insert(call.bind.clone()),
            Step::Query(query) => _ = names.insert(query.bind.clone()),
            Step::Cache(cached) => collect_bindings(&cached.miss, names),
            _ => {}
        }
    }
}

/// The steps of one route, with what they may refer to.
struct Walk<'a> {
    config: &'a Config,
    place: &'a str,
    names: &'a BTreeSet<String>,
}

// === impl Walk ===

impl Walk<'_> {
    fn steps(&self, steps: &[Step]) -> Result<(), ReadConfigError> {
        steps.iter().try_for_each(|step| self.step(step))
    }

    fn step(&self, step: &Step) -> Result<(), ReadConfigError> {
        match step {
            Step::Cpu(timing) | Step::Wait(timing) => self.timing(timing),
            Step::Call(call) => self.call(call),
            Step::Query(query) => {
                if self.config.database.is_none() {
                    return Err(self.undefined("database", "database", "none"));
                }
                query.params.iter().try_for_each(|param| self.template(param))
            }
            Step::Cache(cached) => {
                let defined: Vec<_> = self.config.caches.keys().collect();
                if !self.config.caches.contains_key(&cached.name) {
                    return Err(self.undefined("cache", &cached.name, &list(&defined)));
                }
                self.template(&cached.key)?;
                self.steps(&cached.miss)
            }
            Step::Fail(fail) => self.fail(fail),
            Step::Respond(respond) => {
                self.status(respond.status)?;
                respond.json.templates().into_iter().try_for_each(|part| self.template(part))
            }
            Step::Leak(_) | Step::Allocate(_) => Ok(()),
        }
    }

    fn timing(&self, timing: &Timing) -> Result<(), ReadConfigError> {
        let Some(sigma) = timing.sigma else { return Ok(()) };
        let place = format!("`sigma` in {}", self.place);
        if timing.distribution != Distribution::Lognormal {
            return Err(range(place, sigma, "`distribution: lognormal` beside it"));
        }
        if !(0.0..=5.0).contains(&sigma) {
            return Err(range(place, sigma, "a number from 0 to 5"));
        }
        Ok(())
    }

    fn call(&self, call: &Call) -> Result<(), ReadConfigError> {
        let defined: Vec<_> = self.config.clients.keys().collect();
        if !self.config.clients.contains_key(&call.client) {
            return Err(self.undefined("client", &call.client, &list(&defined)));
        }
        check_method(self.place, &call.method)?;
        self.template(&call.path)?;
        if let Times::Of(times) = &call.times {
            self.template(times)?;
        }
        let parts = call.body.iter().flat_map(|body| body.templates());
        parts.into_iter().try_for_each(|part| self.template(part))
    }

    fn fail(&self, fail: &Fail) -> Result<(), ReadConfigError> {
        self.status(fail.status)?;
        if let Some(by) = &fail.by {
            if fail.share.is_none() {
                let place = format!("`fail.by` in {}", self.place);
                return Err(range(place, "alone", "a `share` beside it"));
            }
            self.template(by)?;
        }
        let Some(Condition { value, modulo, .. }) = &fail.when else { return Ok(()) };
        if modulo.is_some_and(|modulo| modulo.remainder >= modulo.divisor) {
            let place = format!("`fail.when.modulo` in {}", self.place);
            let expected = "a remainder below its divisor";
            return Err(range(place, "out of range", expected));
        }
        self.template(value)
    }

    fn status(&self, status: u16) -> Result<(), ReadConfigError> {
        if (200..600).contains(&status) {
            return Ok(());
        }
        let place = format!("`status` in {}", self.place);
        Err(range(place, status, "a status from 200 to 599"))
    }

    fn template(&self, template: &Template) -> Result<(), ReadConfigError> {
        let unknown = template
            .roots()
            .into_iter()
            .find(|root| !self.names.contains(*root) && Generator::named(root).is_none());
        let Some(unknown) = unknown else { return Ok(()) };
        let defined: Vec<_> = self.names.iter().collect();
        Err(self.undefined("value", unknown, &list(&defined)))
    }

    fn undefined(&self, kind: &'static str, name: &str, defined: &str) -> ReadConfigError {
        let place = self.place.to_owned();
        ReadConfigError::Undefined {
            place,
            kind,
            name: name.to_owned(),
            defined: defined.to_owned(),
        }
    }
}

fn check_method(place: &str, method: &str) -> Result<(), ReadConfigError> {
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    if known.contains(&method) {
        return Ok(());
    }
    Err(range(format!("the method in {place}"), method, "an HTTP method such as GET"))
}

fn at_least_one(place: &str, found: usize) -> Result<(), ReadConfigError> {
    if found > 0 { Ok(()) } else { Err(range(place.to_owned(), found, "at least 1")) }
}

fn range(place: String, found: impl Display, expected: &'static str) -> ReadConfigError {
    ReadConfigError::Range { place, found: found.to_string(), expected }
}

fn list(names: &[&String]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
