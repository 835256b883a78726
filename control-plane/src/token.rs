//! Bearer tokens: `prophecy_<id>_<secret>`, of which only a hash is stored.

use std::fmt;

use prophecy_core::Timestamp;
use prophecy_store::{Role, StoreError, Token, sortable_id};
use serde::{Deserialize, Serialize};

const PREFIX: &str = "prophecy_";
const SECRET_BYTES: usize = 32;

/// Where a token may be used; `*` stands for anywhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// The systems.
    pub systems: Vec<String>,
    /// The environments.
    pub environments: Vec<String>,
}

/// A token just made: the only time that its secret is known.
pub struct NewSecret {
    /// What is stored.
    pub token: Token,
    /// What its holder sends.
    pub text: String,
}

/// What a caller sent, taken apart.
pub(crate) struct Presented<'a> {
    pub(crate) id: &'a str,
    secret: &'a str,
}

// === impl Scope ===

impl Scope {
    /// Returns the scope that holds everything.
    pub fn everywhere() -> Self {
        Self { systems: vec!["*".to_owned()], environments: vec!["*".to_owned()] }
    }

    /// Returns whether the scope holds a place.
    pub fn holds(&self, system: &str, environment: &str) -> bool {
        contains(&self.systems, system) && contains(&self.environments, environment)
    }

    /// Returns whether the scope holds everything.
    pub fn is_everywhere(&self) -> bool {
        self.covers(&Self::everywhere())
    }

    /// Returns whether the scope holds all that another does.
    pub fn covers(&self, other: &Self) -> bool {
        other.systems.iter().all(|system| contains(&self.systems, system))
            && other.environments.iter().all(|place| contains(&self.environments, place))
    }
}

fn contains(names: &[String], name: &str) -> bool {
    names.iter().any(|known| known == "*" || known == name)
}

// === impl NewSecret ===

impl NewSecret {
    /// Makes a token. `expires_at` of nothing never expires.
    ///
    /// # Errors
    ///
    /// When the operating system has no random bytes.
    pub fn make(
        name: &str,
        role: Role,
        scope: &Scope,
        now: Timestamp,
        expires_at: Option<Timestamp>,
    ) -> Result<Self, getrandom::Error> {
        let mut unique = [0; 10];
        getrandom::fill(&mut unique)?;
        let secret = random_hex()?;
        let id = sortable_id(now, unique);
        let token = Token {
            hash: hash(&id, &secret).to_hex().to_string(),
            name: name.to_owned(),
            role,
            scope_json: serde_json::to_string(scope).expect("lists of text can be written"),
            created_at: now,
            expires_at,
            revoked_at: None,
            last_used_at: None,
            id,
        };
        let text = format!("{PREFIX}{}_{secret}", token.id);
        Ok(Self { token, text })
    }

    /// Makes a token and stores it: the way to the first one, by whoever may write the store.
    ///
    /// # Errors
    ///
    /// When the store cannot take it.
    pub async fn store(self, store: &prophecy_store::Store) -> Result<String, StoreError> {
        store.insert_token(&self.token).await?;
        Ok(self.text)
    }
}

impl fmt::Debug for NewSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewSecret").field("id", &self.token.id).finish_non_exhaustive()
    }
}

// === impl Presented ===

impl<'a> Presented<'a> {
    /// Takes a token apart.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.rsplit_once('_')?;
        let sound = |part: &str| part.bytes().all(|byte| byte.is_ascii_alphanumeric());
        (!id.is_empty() && id.len() <= 64 && secret.len() == 2 * SECRET_BYTES)
            .then_some(Self { id, secret })
            .filter(|presented| sound(presented.id) && sound(presented.secret))
    }

    /// Returns whether the secret is that of a stored token, in a time that does not tell how
    /// much of it was right.
    pub(crate) fn matches(&self, stored: &Token) -> bool {
        // `blake3::Hash` compares in constant time.
        blake3::Hash::from_hex(&stored.hash).is_ok_and(|known| known == hash(self.id, self.secret))
    }
}

/// The secret has 256 random bits, so that a slow hash would add nothing.
fn hash(id: &str, secret: &str) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_derive_key("prophecy control-plane token v1");
    hasher.update(id.as_bytes());
    hasher.update(b"\0");
    hasher.update(secret.as_bytes());
    hasher.finalize()
}

/// Returns 32 random bytes in hexadecimal.
pub(crate) fn random_hex() -> Result<String, getrandom::Error> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(blake3::Hash::from_bytes(bytes).to_hex().to_string())
}

/// Returns a new id that sorts by time.
pub(crate) fn new_id(now: Timestamp) -> String {
    let mut unique = [0; 10];
    // Without randomness there is no uniqueness, and a reused id is refused by the store.
    let _ = getrandom::fill(&mut unique);
    sortable_id(now, unique)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_matches_only_its_own_secret() {
        let make = || {
            NewSecret::make("ci", Role::Viewer, &Scope::everywhere(), Timestamp(1), None)
                .expect("random bytes")
        };
        let (ours, other) = (make(), make());
        let presented = Presented::parse(&ours.text).expect("a token");
        assert!(presented.matches(&ours.token));
        assert!(!presented.matches(&other.token));
        assert!(!ours.token.hash.contains(presented.secret));
        assert!(!format!("{ours:?}").contains(presented.secret));
    }

    #[test]
    fn refuses_what_is_no_token() {
        for text in ["", "prophecy_", "prophecy_a_b", "bearer x", "prophecy__", "prophecy_é_é"] {
            assert!(Presented::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_scope_covers_what_is_narrower() {
        let narrow = Scope { systems: vec!["shop".to_owned()], environments: vec!["*".to_owned()] };
        assert!(Scope::everywhere().covers(&narrow));
        assert!(!narrow.covers(&Scope::everywhere()));
        assert!(narrow.holds("shop", "production") && !narrow.holds("bank", "production"));
        let nowhere = Scope { systems: vec![], environments: vec![] };
        assert!(!nowhere.holds("shop", "production"));
    }
}
