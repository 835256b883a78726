//! What is filled into commands and environments.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;

use prophecy_core::System;
use prophecy_core::system::{Run, Service};
use thiserror::Error;

/// A placeholder that stands for nothing.
#[derive(Debug, Error)]
#[error(
    "`{{{name}}}` stands for nothing; known are `{{port}}`, `{{data}}`, and `.url`, `.address` and `.port` of a service"
)]
pub struct UnknownPlaceholderError {
    name: String,
}

/// What placeholders stand for in one arm.
#[derive(Debug)]
pub struct Places {
    addresses: BTreeMap<String, SocketAddr>,
    edges: BTreeMap<(String, String), SocketAddr>,
}

/// What one instance has for itself.
#[derive(Debug)]
pub struct Own<'a> {
    /// The port it listens on.
    pub port: u16,
    /// The folder of its data.
    pub data: &'a Path,
}

/// A command ready to run.
#[derive(Debug)]
pub struct Filled {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Environment variables.
    pub environment: BTreeMap<String, String>,
    /// The working directory, relative to the manifest.
    pub cwd: String,
}

// === impl Places ===

impl Places {
    /// Knows where each service listens.
    pub fn new(addresses: BTreeMap<String, SocketAddr>) -> Self {
        Self { addresses, edges: BTreeMap::new() }
    }

    /// Says where the proxy between two services listens.
    pub fn edge(&mut self, source: &str, destination: &str, address: SocketAddr) {
        self.edges.insert((source.to_owned(), destination.to_owned()), address);
    }

    /// Fills in how a service is run.
    ///
    /// # Errors
    ///
    /// [`UnknownPlaceholderError`].
    pub fn fill(
        &self,
        service: &str,
        run: &Run,
        own: &Own<'_>,
    ) -> Result<Filled, UnknownPlaceholderError> {
        let text = |text: &String| self.fill_text(service, text, own);
        let command = run.command.iter().map(text).collect::<Result<_, _>>()?;
        let environment = run.env.iter().map(|(name, value)| Ok((name.clone(), text(value)?)));
        Ok(Filled {
            command,
            environment: environment.collect::<Result<_, _>>()?,
            cwd: run.cwd.clone(),
        })
    }

    fn fill_text(
        &self,
        service: &str,
        text: &str,
        own: &Own<'_>,
    ) -> Result<String, UnknownPlaceholderError> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, name, after)) = next(rest) {
            filled.push_str(before);
            filled.push_str(&self.value(service, name, own)?);
            rest = after;
        }
        filled.push_str(rest);
        Ok(filled)
    }

    fn value(
        &self,
        service: &str,
        name: &str,
        own: &Own<'_>,
    ) -> Result<String, UnknownPlaceholderError> {
        let unknown = || UnknownPlaceholderError { name: name.to_owned() };
        match name.rsplit_once('.') {
            None if name == "port" => Ok(own.port.to_string()),
            None if name == "data" => Ok(own.data.display().to_string()),
            None => Err(unknown()),
            Some((to, field)) => {
                let direct = self.addresses.get(to).ok_or_else(unknown)?;
                match field {
                    "url" => {
                        let edge = self.edges.get(&(service.to_owned(), to.to_owned()));
                        Ok(format!("http://{}", edge.unwrap_or(direct)))
                    }
                    "address" => Ok(direct.to_string()),
                    "port" => Ok(direct.port().to_string()),
                    _ => Err(unknown()),
                }
            }
        }
    }
}

/// Splits a text at its first placeholder: letters, digits, `_`, `-` and `.` between braces.
fn next(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    loop {
        let open = from + text[from..].find('{')?;
        let close = open + text[open..].find('}')?;
        let name = &text[open + 1..close];
        let part = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        if !name.is_empty() && name.bytes().all(part) && !text[..open].ends_with('$') {
            return Some((&text[..open], name, &text[close + 1..]));
        }
        from = open + 1;
    }
}

fn names_in(service: &Service) -> impl Iterator<Item = &str> {
    let run = service.run.iter();
    let texts = run.flat_map(|run| run.command.iter().chain(run.env.values()));
    texts.flat_map(|text| {
        let mut rest = text.as_str();
        std::iter::from_fn(move || {
            let (_, name, after) = next(rest)?;
            rest = after;
            Some(name)
        })
    })
}

/// Returns the services whose `.url` a service refers to.
pub fn urls_in(service: &Service) -> BTreeSet<String> {
    names_in(service).filter_map(|name| name.strip_suffix(".url")).map(str::to_owned).collect()
}

/// Returns the services in an order in which callees come before their callers, where there is one.
pub fn callees_first(system: &System) -> Vec<String> {
    let mut order: Vec<String> = Vec::new();
    let mut waiting: Vec<&String> = system.services.keys().collect();
    while !waiting.is_empty() {
        let ready = waiting.iter().position(|name| {
            let mut needed =
                names_in(&system.services[*name]).filter_map(|name| name.rsplit_once('.'));
            needed.all(|(to, _)| to == name.as_str() || !waiting.iter().any(|other| *other == to))
        });
        // Services that call each other in a circle start in the order of their names.
        order.push(waiting.remove(ready.unwrap_or(0)).clone());
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Places {
        let addresses = [("db", 5432), ("app", 80)]
            .map(|(name, port)| (name.to_owned(), SocketAddr::from(([127, 0, 0, 1], port))));
        let mut places = Places::new(addresses.into());
        places.edge("web", "app", SocketAddr::from(([127, 0, 0, 1], 9_000)));
        places
    }

    #[test]
    fn fills_in_what_is_known_and_refuses_the_rest() {
        let own = Own { port: 8_080, data: Path::new("/data/web") };
        let fill =
            |text: &str| places().fill_text("web", text, &own).map_err(|error| error.to_string());
        assert_eq!(fill("-p {port} {data}/x").as_deref(), Ok("-p 8080 /data/web/x"));
        assert_eq!(
            fill("{app.url}/v1 {db.address} {db.port}").as_deref(),
            Ok("http://127.0.0.1:9000/v1 127.0.0.1:5432 5432")
        );
        assert_eq!(fill("{ \"json\": {} } ${HOME}").as_deref(), Ok("{ \"json\": {} } ${HOME}"));
        assert!(fill("{prot}").is_err_and(|text| text.starts_with("`{prot}` stands for nothing")));
        assert!(fill("{cache.url}").is_err());
    }
}
