//! Bodies: JSON and forms are edited in place, everything else is dropped.

use prophecy_core::Header;
use prophecy_core::route::is_identifier;

use super::Sanitizer;
use super::target::is_plain_name;
use crate::detector::{is_sensitive, is_telling};
use crate::json::{Edit, Scalar, edit};
use crate::policy::Base;
use crate::pseudonym;

/// Decides about the values of one document.
struct Document<'a> {
    sanitizer: &'a Sanitizer,
}

// === impl Sanitizer ===

impl Sanitizer {
    /// Sanitizes a body by its content type.
    ///
    /// A body that is compressed, cut, not UTF-8 or of another type is dropped: what cannot be read
    /// cannot be kept.
    pub(super) fn body(&self, body: Option<Vec<u8>>, headers: &mut [Header]) -> Option<Vec<u8>> {
        let body = body?;
        if body.is_empty() {
            return Some(body);
        }
        let header = |name: &str| {
            headers.iter().find(|header| header.name == name).map(|header| header.value.as_str())
        };
        if header("content-encoding").is_some_and(|encoding| encoding != "identity") {
            return None;
        }
        let kind = header("content-type").unwrap_or_default().to_ascii_lowercase();
        let kind = kind.split(';').next().unwrap_or_default().trim().to_owned();
        let text = std::str::from_utf8(&body).ok()?;
        let looks_like_json = kind.is_empty() && text.trim_start().starts_with(['{', '[']);
        if kind == "application/json" || kind.ends_with("+json") || looks_like_json {
            return edit(text, &mut Document { sanitizer: self }).map(String::into_bytes);
        }
        if kind == "application/x-www-form-urlencoded" {
            return Some(self.form(text).into_bytes());
        }
        None
    }

    /// Says what a replay of JSON needs: words of an enumeration, numbers, ids, dates.
    fn keeps_value(&self, path: &str, value: &str) -> bool {
        let name = path.rsplit('.').next().unwrap_or_default().trim_end_matches("[*]");
        match self.policy.base {
            Base::Synthetic => true,
            Base::Default => false,
            // A telling field is pseudonymized whatever it holds, and so is everything below it
            // that is text; `customer.id` itself is what a replay needs to find the row.
            Base::Replayable => !is_telling(name) && !is_sensitive(value) && is_enumerated(value),
        }
    }
}

impl Edit for Document<'_> {
    fn key(&mut self, _path: &str, key: &str) -> Option<String> {
        let data = !is_plain_name(key) || is_sensitive(key);
        (data
            || (is_identifier(key)
                && key.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')))
        .then(|| pseudonym::text(&self.sanitizer.key, key))
    }

    fn scalar(&mut self, path: &str, scalar: Scalar<'_>) -> Option<String> {
        let policy = &self.sanitizer.policy;
        let (Scalar::Text(value) | Scalar::Number(value)) = scalar;
        if !policy.deny.fields.contains(path) {
            if policy.allow.fields.contains(path) || value.is_empty() {
                return None;
            }
            let keep = match scalar {
                Scalar::Text(value) => self.sanitizer.keeps_value(path, value),
                Scalar::Number(number) => {
                    let name = path.rsplit('.').next().unwrap_or_default();
                    policy.base == Base::Replayable && !is_telling(name) && !is_sensitive(number)
                }
            };
            if keep {
                return None;
            }
        }
        match scalar {
            Scalar::Text(value) => Some(pseudonym::text(&self.sanitizer.key, value)),
            Scalar::Number(number) => Some(number_pseudonym(self.sanitizer, number)),
        }
    }
}

/// Replaces the digits of a number; sign, point and exponent stay.
fn number_pseudonym(sanitizer: &Sanitizer, number: &str) -> String {
    let (mantissa, exponent) = match number.find(['e', 'E']) {
        Some(index) => number.split_at(index),
        None => (number, ""),
    };
    format!("{}{exponent}", pseudonym::text(&sanitizer.key, mantissa))
}

/// Says whether a text is a word of an enumeration, an id or a date rather than prose or a name.
fn is_enumerated(value: &str) -> bool {
    value.len() <= 40
        && !value.contains(char::is_whitespace)
        && value.is_ascii()
        && (value.bytes().all(|byte| byte.is_ascii_lowercase() || b"_-".contains(&byte))
            || value.bytes().all(|byte| {
                byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"_-".contains(&byte)
            })
            || is_identifier(value))
}
