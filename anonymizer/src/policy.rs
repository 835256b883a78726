//! Policies: what may be kept.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// What may be kept of traffic; everything else is replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    name: String,
    pub(crate) base: Base,
    pub(crate) allow: Rules,
    pub(crate) deny: Rules,
}

/// What holds where no rule says anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Base {
    /// Nothing is kept.
    Default,
    /// What a replay needs is kept, unless it looks personal or secret.
    Replayable,
    /// Everything is kept; for test systems.
    Synthetic,
}

/// Rules by place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Rules {
    /// Header names.
    pub(crate) headers: BTreeSet<String>,
    /// Query fields.
    pub(crate) query: BTreeSet<String>,
    /// Cookie names.
    pub(crate) cookies: BTreeSet<String>,
    /// Paths of body fields: `$.items[*].sku`; form fields are `$.field`.
    pub(crate) fields: BTreeSet<String>,
    /// Routes whose literal path segments are kept, or replaced: `GET /users/{id}`.
    pub(crate) routes: BTreeSet<String>,
}

/// A policy file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default = "unnamed")]
    name: String,
    #[serde(default = "default_base")]
    extends: Base,
    #[serde(default)]
    allow: Rules,
    #[serde(default)]
    deny: Rules,
}

/// Why a policy file was refused.
#[derive(Debug, Error)]
#[error("the policy does not fit the format: {message}")]
pub struct ReadPolicyError {
    message: String,
}

// === impl Policy ===

impl Policy {
    /// Returns a built-in policy: `default`, `replayable` or `synthetic`.
    pub fn named(name: &str) -> Option<Self> {
        let base = match name {
            "default" => Base::Default,
            "replayable" => Base::Replayable,
            "synthetic" => Base::Synthetic,
            _ => return None,
        };
        Some(Self { name: name.to_owned(), base, allow: Rules::default(), deny: Rules::default() })
    }

    /// Parses a policy file.
    ///
    /// # Errors
    ///
    /// [`ReadPolicyError`] if it is not YAML, or has an unknown field.
    pub fn from_yaml(text: &str) -> Result<Self, ReadPolicyError> {
        let document: Document = serde_saphyr::from_str(text).map_err(|error| {
            let message = error.to_string().lines().next().unwrap_or_default().to_owned();
            ReadPolicyError { message: message.trim_start_matches("error: ").to_owned() }
        })?;
        let Document { name, extends, mut allow, mut deny } = document;
        for rules in [&mut allow, &mut deny] {
            rules.headers = rules.headers.iter().map(|name| name.to_ascii_lowercase()).collect();
        }
        Ok(Self { name, base: extends, allow, deny })
    }

    /// Returns the policy's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the SHA-256 digest of the rules, in hexadecimal.
    pub fn digest(&self) -> String {
        let rules = serde_json::to_vec(&(self.base, &self.allow, &self.deny))
            .expect("rules are plain data");
        Sha256::digest(rules).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Keeps the literal path segments of more routes, such as those of a manifest's promises.
    #[must_use]
    pub fn with_routes<I: IntoIterator<Item = String>>(mut self, routes: I) -> Self {
        self.allow.routes.extend(routes);
        self
    }

    /// Says whether nothing at all is to be replaced.
    pub(crate) fn keeps_all(&self) -> bool {
        self.base == Base::Synthetic && self.deny == Rules::default()
    }

    /// Returns the path segments that the allowed routes name literally.
    pub(crate) fn literal_segments(&self) -> BTreeSet<String> {
        literals(&self.allow.routes)
    }

    /// Returns the path segments that the denied routes name literally.
    pub(crate) fn denied_segments(&self) -> BTreeSet<String> {
        literals(&self.deny.routes)
    }
}

fn literals(routes: &BTreeSet<String>) -> BTreeSet<String> {
    let paths =
        routes.iter().map(|route| route.split_once(' ').map_or(route.as_str(), |(_, path)| path));
    let segments = paths.flat_map(|path| path.split('/'));
    let literal = |segment: &&str| !segment.is_empty() && !segment.starts_with('{');
    segments.filter(literal).map(str::to_owned).collect()
}

fn unnamed() -> String {
    "custom".to_owned()
}

fn default_base() -> Base {
    Base::Default
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_three_names() {
        for name in ["default", "replayable", "synthetic"] {
            assert_eq!(Policy::named(name).expect("built in").name(), name);
        }
        assert_eq!(Policy::named("everything"), None);
    }

    #[test]
    fn extends_the_default_unless_it_says_otherwise() {
        let policy = Policy::from_yaml("name: shop\nallow: { headers: [X-Tenant] }").unwrap();
        assert_eq!((policy.name(), policy.base), ("shop", Base::Default));
        assert!(policy.allow.headers.contains("x-tenant"));
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        let texts = [
            "name: shop\nalow: {}",
            "allow: { header: [a] }",
            "extends: everything",
            "allow: [a",
            "allow: { headers: 7 }",
        ];
        for text in texts {
            assert!(Policy::from_yaml(text).is_err(), "{text}");
        }
    }

    #[test]
    fn has_a_digest_of_its_rules_and_not_of_its_name() {
        let digest = |text: &str| Policy::from_yaml(text).unwrap().digest();
        let rules = "\nallow: { query: [b, a] }";
        assert_eq!(digest(&format!("name: one{rules}")), digest("allow: { query: [a, b] }"));
        assert_ne!(digest(&format!("name: one{rules}")), digest("deny: { query: [a, b] }"));
        assert_eq!(digest("name: x").len(), 64);
    }
}
