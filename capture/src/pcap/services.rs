//! The names of services by their addresses.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// The names of services by address and port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceNames {
    by_address: BTreeMap<SocketAddr, String>,
}

// === impl ServiceNames ===

impl ServiceNames {
    /// Names the service that listens at an address.
    pub fn insert(&mut self, address: SocketAddr, name: impl Into<String>) {
        self.by_address.insert(address, name.into());
    }

    /// Returns the name of a called service: `port-8080` if nobody named it.
    pub(super) fn destination(&self, server: SocketAddr) -> String {
        let port = || ["port-", &server.port().to_string()].concat();
        self.by_address.get(&server).cloned().unwrap_or_else(port)
    }

    /// Returns the name of a calling service: that of the only service at its address.
    pub(super) fn source(&self, client: SocketAddr) -> String {
        let at = |port| SocketAddr::new(client.ip(), port);
        let mut names = self
            .by_address
            .range(at(0)..)
            .take_while(|(address, _)| address.ip() == client.ip())
            .map(|(_, name)| name);
        match (names.next(), names.next()) {
            // Several services on one machine cannot be told apart by the ports of their clients.
            (Some(name), None) if !is_shared(client.ip()) => name.clone(),
            _ => "client".to_owned(),
        }
    }
}

impl FromIterator<(SocketAddr, String)> for ServiceNames {
    fn from_iter<I: IntoIterator<Item = (SocketAddr, String)>>(iter: I) -> Self {
        Self { by_address: iter.into_iter().collect() }
    }
}

/// Says whether everything on a machine has this address.
fn is_shared(address: IpAddr) -> bool {
    address.is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_both_ends() {
        let names = [
            ("10.0.0.1:80", "shop"),
            ("10.0.0.2:80", "stock"),
            ("10.0.0.2:81", "admin"),
            ("127.0.0.1:80", "local"),
        ];
        let names: ServiceNames = names
            .map(|(address, name)| (address.parse().unwrap(), name.to_owned()))
            .into_iter()
            .collect();
        let source = |address: &str| names.source(address.parse().unwrap());
        let destination = |address: &str| names.destination(address.parse().unwrap());
        assert_eq!(source("10.0.0.1:54321"), "shop");
        assert_eq!(source("10.0.0.2:54321"), "client");
        assert_eq!(source("10.0.0.3:54321"), "client");
        assert_eq!(source("127.0.0.1:54321"), "client");
        assert_eq!(destination("10.0.0.2:81"), "admin");
        assert_eq!(destination("127.0.0.1:8080"), "port-8080");
    }
}
