//! Which route a request takes.

use crate::config::RouteConfig;

/// The path of a route, with parameters: `/items/{id}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PathPattern {
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Fixed(String),
    Parameter(String),
}

/// The routes of a service, the first match winning.
#[derive(Debug)]
pub(crate) struct RouteTable {
    routes: Vec<(String, PathPattern)>,
}

/// What a request's method and path lead to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Match {
    /// A route, by its place in the configuration, and its parameters.
    Route(usize, Vec<(String, String)>),
    /// The path is known, the method is not.
    MethodNotAllowed,
    /// Nothing.
    NotFound,
}

// === impl PathPattern ===

impl PathPattern {
    /// Reads a pattern, if it is one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let segments = text.strip_prefix('/')?.split('/').map(Segment::parse);
        Some(Self { segments: segments.collect::<Option<_>>()? })
    }

    /// Returns the names of its parameters.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Parameter(name) => Some(name.as_str()),
            Segment::Fixed(_) => None,
        })
    }

    fn matches(&self, path: &str) -> Option<Vec<(String, String)>> {
        let given: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        if given.len() != self.segments.len() {
            return None;
        }
        let mut parameters = Vec::new();
        for (segment, given) in self.segments.iter().zip(given) {
            match segment {
                Segment::Fixed(text) if text == given => {}
                Segment::Parameter(name) if !given.is_empty() => {
                    parameters.push((name.clone(), percent_decoded(given)));
                }
                _ => return None,
            }
        }
        Some(parameters)
    }
}

// === impl Segment ===

impl Segment {
    fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix('{').map(|rest| rest.strip_suffix('}')) {
            Some(Some(name)) if !name.is_empty() => Some(Self::Parameter(name.to_owned())),
            None if !text.contains(['{', '}']) => Some(Self::Fixed(text.to_owned())),
            _ => None,
        }
    }
}

// === impl RouteTable ===

impl RouteTable {
    /// Makes the table of a service's routes.
    ///
    /// # Panics
    ///
    /// If a path was not checked.
    pub(crate) fn new(routes: &[RouteConfig]) -> Self {
        let pattern = |path: &str| PathPattern::parse(path).expect("paths were checked");
        let routes = routes.iter().map(|route| (route.method.clone(), pattern(&route.path)));
        Self { routes: routes.collect() }
    }

    /// Finds the route of a request. A `HEAD` takes the way of a `GET`.
    pub(crate) fn find(&self, method: &str, path: &str) -> Match {
        let method = if method == "HEAD" { "GET" } else { method };
        let mut is_known_path = false;
        for (index, (route_method, pattern)) in self.routes.iter().enumerate() {
            if let Some(parameters) = pattern.matches(path) {
                if route_method == method {
                    return Match::Route(index, parameters);
                }
                is_known_path = true;
            }
        }
        if is_known_path { Match::MethodNotAllowed } else { Match::NotFound }
    }
}

/// Decodes `%20` and the like; what is not valid stays as it is.
pub(crate) fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let escaped = (bytes[index] == b'%').then(|| text.get(index + 1..index + 3)).flatten();
        if let Some(byte) = escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            decoded.push(byte);
            index += 3;
        } else {
            decoded.push(bytes[index]);
            index += 1;
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> RouteTable {
        let route = |method: &str, path: &str| RouteConfig {
            method: method.to_owned(),
            path: path.to_owned(),
            steps: Vec::new(),
        };
        RouteTable::new(&[
            route("GET", "/"),
            route("GET", "/items/new"),
            route("GET", "/items/{id}"),
            route("POST", "/items/{id}/stock/{place}"),
        ])
    }

    #[test]
    fn finds_the_route_and_its_parameters() {
        let check = |method: &str, path: &str, expected: Match| {
            assert_eq!(table().find(method, path), expected, "{method} {path}");
        };
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        check("GET", "/", Match::Route(0, vec![]));
        check("GET", "/items/new", Match::Route(1, vec![]));
        check("HEAD", "/items/4%202", Match::Route(2, vec![pair("id", "4 2")]));
        let expected = vec![pair("id", "7"), pair("place", "b")];
        check("POST", "/items/7/stock/b", Match::Route(3, expected));
        check("DELETE", "/items/7", Match::MethodNotAllowed);
        check("GET", "/items/", Match::NotFound);
        check("GET", "/items", Match::NotFound);
        check("OPTIONS", "*", Match::NotFound);
    }

    #[test]
    fn leaves_bad_escapes_alone() {
        assert_eq!(percent_decoded("100%&%4é%41"), "100%&%4éA");
    }
}
