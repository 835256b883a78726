//! Bodies: JSON and forms are edited in place, everything else is dropped.

use prophecy_core::Header;
use prophecy_core::route::is_identifier;

use super::Sanitizer;
use super::target::is_plain_name;
use crate::detector::{is_sensitive, is_telling, is_telling_container};
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
    /// A body that is compressed, not UTF-8, broken or of another type is dropped: what cannot be
    /// read cannot be kept.
    pub(super) fn body(&self, body: Vec<u8>, headers: &[Header]) -> Option<Vec<u8>> {
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
        // No rule of a field can name anything in a body without fields.
        (self.policy.base == Base::Synthetic).then_some(body)
    }

    /// Says what a replay of JSON needs: words of an enumeration, numbers, ids, dates.
    fn keeps_value(&self, path: &str, value: &str) -> bool {
        match self.policy.base {
            Base::Synthetic => true,
            Base::Default => false,
            Base::Replayable => {
                !is_telling_path(path) && !is_sensitive(value) && is_enumerated(value)
            }
        }
    }
}

/// Says whether a field is personal or secret by its name, or by what it is part of.
///
/// A user, account or device has an id that a replay needs to find the row, so only their own
/// fields tell; whatever is below an address or a name is part of it.
fn is_telling_path(path: &str) -> bool {
    let mut names = path.split('.').map(|name| name.trim_end_matches("[*]")).rev();
    names.next().is_some_and(is_telling) || names.any(is_telling_container)
}

impl Edit for Document<'_> {
    fn key(&mut self, _path: &str, key: &str) -> Option<String> {
        if self.sanitizer.policy.base == Base::Synthetic {
            return None;
        }
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
                Scalar::Number(number) => match policy.base {
                    Base::Synthetic => true,
                    Base::Default => false,
                    Base::Replayable => !is_telling_path(path) && !is_sensitive(number),
                },
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
    let mantissa = pseudonym::text(&sanitizer.key, mantissa);
    let replaced = format!("{mantissa}{exponent}");
    // Other digits before the same exponent may leave the range of numbers.
    if serde_json::from_str::<serde_json::Number>(&replaced).is_ok() { replaced } else { mantissa }
}

/// Says whether a text is a word of an enumeration, an id or a date rather than prose or a name.
pub(super) fn is_enumerated(value: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    // Signs of ids, dates and amounts; `@` and `%` are not: they hide addresses.
    let sign = |byte: u8| word(byte) || b".:/+#,".contains(&byte);
    let shouted = !value.bytes().any(|byte| byte.is_ascii_lowercase());
    let starts_low = !value.starts_with(|c: char| c.is_ascii_uppercase());
    value.len() <= 40
        && ((value.bytes().all(word) && (shouted || starts_low))
            || (value.bytes().all(sign) && value.bytes().any(|byte| byte.is_ascii_digit())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_words_and_ids_from_names_and_prose() {
        for value in
            ["shipped", "IN_TRANSIT", "SKU-00017", "createdAt", "2024-05-01T12:00:00Z", "9.99"]
        {
            assert!(is_enumerated(value), "{value}");
        }
        for value in ["Ann", "Ann Lee", "ann@home1", "ann%40example.com", "née", "McNeil"] {
            assert!(!is_enumerated(value), "{value}");
        }
    }

    #[test]
    fn reads_telling_fields_from_what_they_are_part_of() {
        for path in ["$.email", "$.address.line", "$.name[*].given", "$.card.number", "$.user.name"]
        {
            assert!(is_telling_path(path), "{path}");
        }
        for path in ["$.customer.id", "$.user.id", "$.accounts[*].state", "$.items[*].sku"] {
            assert!(!is_telling_path(path), "{path}");
        }
    }
}
