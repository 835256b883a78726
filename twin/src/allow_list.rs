//! Where traffic may be sent: loopback, and what was allowed by name.

use std::net::SocketAddr;

/// Where traffic may be sent.
#[derive(Clone, Debug, Default)]
pub struct AllowList(Vec<SocketAddr>);

// === impl AllowList ===

impl AllowList {
    /// Returns the list of loopback and these addresses.
    pub fn new(addresses: Vec<SocketAddr>) -> Self {
        Self(addresses)
    }

    /// Says whether traffic may be sent to an address.
    pub fn allows(&self, address: SocketAddr) -> bool {
        address.ip().to_canonical().is_loopback() || self.0.contains(&address)
    }
}
