//! The key of pseudonyms.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// A secret key. Its `Debug` form shows the public number only.
#[derive(Clone)]
pub struct Key([u8; 32]);

// === impl Key ===

impl Key {
    /// Returns the key of these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns a number that tells keys apart and does not help to guess one: 16 hexadecimal digits.
    pub fn id(&self) -> String {
        let digest = self.digest("prophecy key id", b"");
        digest[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Returns the keyed digest of a value of a kind (HMAC-SHA-256, RFC 2104).
    pub(crate) fn digest(&self, kind: &str, value: &[u8]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any size");
        mac.update(kind.as_bytes());
        mac.update(&[0]);
        mac.update(value);
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_its_number_and_never_itself() {
        let key = Key::from_bytes([0xab; 32]);
        let shown = format!("{key:?}");
        assert_eq!(shown, format!("Key({})", key.id()));
        assert!(!shown.contains("abab") && !shown.contains("171"));
        assert_eq!(key.id().len(), 16);
        assert_ne!(key.id(), Key::from_bytes([0xac; 32]).id());
    }
}
