//! The public keys of those who may approve.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::VerifyingKey;
use prophecy_core::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::key::{PrivateKey, id_of};
use crate::instant;

/// A public key, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicKey {
    /// The name of the key, which follows from the key.
    pub key_id: String,
    /// Whose it is.
    pub actor: String,
    /// The 32 bytes, in base64.
    pub public: String,
    /// Since when it no longer counts: nothing it ever signed does.
    #[serde(default, with = "instant::optional", skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
}

/// The keys that may sign approvals, by name.
#[derive(Clone, Debug, Default)]
pub struct KeyRing {
    keys: BTreeMap<String, (PublicKey, VerifyingKey)>,
}

/// Why a key ring was refused.
#[derive(Debug, Error)]
pub enum RingError {
    /// The document is not a key ring.
    #[error("cannot read the key ring")]
    Document(#[source] serde_saphyr::Error),
    /// The ring could not be written as YAML.
    #[error("cannot write the key ring")]
    Write(#[source] serde_saphyr::ser::Error),
    /// The bytes are not a key.
    #[error("key `{key_id}` of `{actor}` is not base64 of a sound Ed25519 public key")]
    Key {
        /// The key.
        key_id: String,
        /// Whose it is.
        actor: String,
    },
    /// The name does not follow from the key.
    #[error("key `{key_id}` is named wrongly: its bytes give `{expected}`")]
    Name {
        /// What was found.
        key_id: String,
        /// What was expected.
        expected: String,
    },
    /// It has no owner.
    #[error("key `{key_id}` has no `actor`")]
    NoActor {
        /// The key.
        key_id: String,
    },
    /// It is listed twice: it would be unclear whose it is, or whether it is revoked.
    #[error("key `{key_id}` is listed twice")]
    Twice {
        /// The key.
        key_id: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    keys: Vec<PublicKey>,
}

// === impl PublicKey ===

impl PublicKey {
    /// Returns the public half of `key` as one of `actor`.
    pub fn of(key: &PrivateKey, actor: &str) -> Self {
        Self { key_id: key.id(), actor: actor.to_owned(), public: key.public(), revoked_at: None }
    }
}

// === impl KeyRing ===

impl KeyRing {
    /// Reads a ring from YAML.
    pub fn parse(yaml: &str) -> Result<Self, RingError> {
        let document: Document = serde_saphyr::from_str(yaml).map_err(RingError::Document)?;
        let mut ring = Self::default();
        document.keys.into_iter().try_for_each(|key| ring.insert(key))?;
        Ok(ring)
    }

    /// Writes the ring as YAML.
    pub fn to_yaml(&self) -> Result<String, RingError> {
        let keys = self.keys.values().map(|(key, _)| key.clone()).collect();
        serde_saphyr::to_string(&Document { keys }).map_err(RingError::Write)
    }

    /// Adds a key after checking it.
    pub fn insert(&mut self, key: PublicKey) -> Result<(), RingError> {
        let refuse = || RingError::Key { key_id: key.key_id.clone(), actor: key.actor.clone() };
        let bytes = BASE64.decode(&key.public).map_err(|_| refuse())?;
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| refuse())?;
        let verifying = VerifyingKey::from_bytes(&bytes).map_err(|_| refuse())?;
        // Anybody can make signatures that a weak key accepts.
        if verifying.is_weak() {
            return Err(refuse());
        }
        let expected = id_of(&verifying);
        if key.key_id != expected {
            return Err(RingError::Name { key_id: key.key_id, expected });
        }
        if key.actor.trim().is_empty() {
            return Err(RingError::NoActor { key_id: key.key_id });
        }
        if self.keys.contains_key(&expected) {
            return Err(RingError::Twice { key_id: expected });
        }
        self.keys.insert(expected, (key, verifying));
        Ok(())
    }

    /// Revokes a key, and returns whether there is one of that name; the first revocation stays.
    pub fn revoke(&mut self, key_id: &str, at: Timestamp) -> bool {
        let found = self.keys.get_mut(key_id);
        found.map(|(key, _)| key.revoked_at.get_or_insert(at)).is_some()
    }

    /// Returns a key by its name.
    pub fn get(&self, key_id: &str) -> Option<&PublicKey> {
        self.keys.get(key_id).map(|(key, _)| key)
    }

    pub(super) fn verifying(&self, key_id: &str) -> Option<&VerifyingKey> {
        self.keys.get(key_id).map(|(_, key)| key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(actor: &str, seed: u8) -> PublicKey {
        PublicKey::of(&PrivateKey::from_seed(&[seed; 32]), actor)
    }

    #[test]
    fn a_ring_survives_writing_and_reading_with_its_revocations() {
        let mut ring = KeyRing::default();
        ring.insert(key("ada", 1)).unwrap();
        ring.insert(key("bob", 2)).unwrap();
        let revoked = key("bob", 2).key_id;
        assert!(ring.revoke(&revoked, Timestamp(5_000_000_000)));
        assert!(ring.revoke(&revoked, Timestamp(9_000_000_000)), "the first revocation stays");
        assert!(!ring.revoke("nobody", Timestamp(0)));
        let read = KeyRing::parse(&ring.to_yaml().unwrap()).unwrap();
        assert_eq!(read.get(&revoked).unwrap().revoked_at, Some(Timestamp(5_000_000_000)));
        assert_eq!(read.get(&key("ada", 1).key_id), Some(&key("ada", 1)));
    }

    #[test]
    fn a_key_that_is_not_what_it_says_is_refused() {
        let mut ring = KeyRing::default();
        let mut renamed = key("ada", 1);
        renamed.key_id = key("bob", 2).key_id;
        assert!(matches!(ring.insert(renamed), Err(RingError::Name { .. })));
        let mut short = key("ada", 1);
        short.public = BASE64.encode([1; 31]);
        assert!(matches!(ring.insert(short), Err(RingError::Key { .. })));
        let mut weak = key("ada", 1);
        // The neutral element of the curve: every message has a signature it accepts.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        weak.public = BASE64.encode(neutral);
        assert!(matches!(ring.insert(weak), Err(RingError::Key { .. })));
        assert!(matches!(ring.insert(key(" ", 1)), Err(RingError::NoActor { .. })));
        ring.insert(key("ada", 1)).unwrap();
        assert!(matches!(ring.insert(key("eve", 1)), Err(RingError::Twice { .. })));
    }
}
