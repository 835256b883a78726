//! Paths, queries and authorities.

use std::collections::BTreeSet;
use std::net::IpAddr;

use prophecy_core::route::{is_identifier, is_version};

use super::Sanitizer;
use super::body::is_enumerated;
use crate::detector::{is_sensitive, is_telling};
use crate::policy::Base;
use crate::{pseudonym, vocabulary};

// === impl Sanitizer ===

impl Sanitizer {
    pub(super) fn path(&self, path: &str) -> String {
        if path == "*" {
            return path.to_owned();
        }
        let segments = path.split('/').map(|segment| self.segment(segment));
        segments.collect::<Vec<_>>().join("/")
    }

    fn segment(&self, segment: &str) -> String {
        let decoded = decode_path(segment);
        let keep = match self.policy.base {
            _ if self.denied_segments.contains(segment) => false,
            _ if segment.is_empty() || self.literal_segments.contains(segment) => true,
            Base::Synthetic => true,
            Base::Replayable => !is_sensitive(&decoded) && is_written(&decoded),
            Base::Default => {
                !is_identifier(segment) && (is_version(segment) || vocabulary::contains(segment))
            }
        };
        if keep { segment.to_owned() } else { encode(&pseudonym::text(&self.key, &decoded)) }
    }

    /// Sanitizes a query or a form: the same syntax.
    pub(super) fn query(&self, query: &str) -> String {
        let fields = query
            .split('&')
            .map(|field| self.field(field, &self.policy.allow.query, &self.policy.deny.query));
        fields.collect::<Vec<_>>().join("&")
    }

    pub(super) fn form(&self, form: &str) -> String {
        let strip = |paths: &BTreeSet<String>| {
            paths.iter().filter_map(|path| path.strip_prefix("$.")).map(str::to_owned).collect()
        };
        let (allow, deny) = (strip(&self.policy.allow.fields), strip(&self.policy.deny.fields));
        form.split('&').map(|field| self.field(field, &allow, &deny)).collect::<Vec<_>>().join("&")
    }

    fn field(&self, field: &str, allow: &BTreeSet<String>, deny: &BTreeSet<String>) -> String {
        let (name, value) = match field.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (field, None),
        };
        let decoded_name = decode(name);
        let plain = is_plain_name(&decoded_name) && !is_sensitive(&decoded_name);
        let kept_name = if plain || self.policy.base == Base::Synthetic {
            name.to_owned()
        } else {
            encode(&pseudonym::text(&self.key, &decoded_name))
        };
        let Some(value) = value else { return self.bare(name, kept_name, allow, deny) };
        let decoded = decode(value);
        let keep = if deny.contains(&decoded_name) {
            false
        } else if allow.contains(&decoded_name) {
            true
        } else {
            match self.policy.base {
                Base::Synthetic => true,
                Base::Replayable => {
                    !is_telling(&decoded_name)
                        && !is_sensitive(&decoded)
                        && decoded.split([',', ':']).all(is_enumerated)
                }
                Base::Default => value.is_empty(),
            }
        };
        let value =
            if keep { value.to_owned() } else { encode(&pseudonym::text(&self.key, &decoded)) };
        format!("{kept_name}={value}")
    }

    /// Sanitizes a field without `=`: a flag, or a value without a name.
    fn bare(
        &self,
        name: &str,
        kept_name: String,
        allow: &BTreeSet<String>,
        deny: &BTreeSet<String>,
    ) -> String {
        let decoded = decode(name);
        let keep = !deny.contains(&decoded)
            && (allow.contains(&decoded)
                || match self.policy.base {
                    Base::Synthetic => true,
                    Base::Replayable => is_enumerated(&decoded),
                    Base::Default => false,
                });
        if keep || kept_name != name {
            kept_name
        } else {
            encode(&pseudonym::text(&self.key, &decoded))
        }
    }

    pub(super) fn authority(&self, authority: &str) -> String {
        if self.policy.base == Base::Synthetic {
            return authority.to_owned();
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !host.ends_with(':') && port.parse::<u16>().is_ok() => {
                (host, Some(port))
            }
            _ => (authority, None),
        };
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse::<IpAddr>() {
            let address = pseudonym::address(&self.key, address);
            return match (address, port) {
                (IpAddr::V4(_), Some(port)) => format!("{address}:{port}"),
                (IpAddr::V4(_), None) => address.to_string(),
                (IpAddr::V6(_), Some(port)) => format!("[{address}]:{port}"),
                (IpAddr::V6(_), None) => format!("[{address}]"),
            };
        }
        let plain = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        let keep = host.is_empty()
            || host == "localhost"
            || (self.policy.base == Base::Replayable && plain && !is_sensitive(host));
        let host = if keep { host.to_owned() } else { pseudonym::text(&self.key, host) };
        match port {
            Some(port) => format!("{host}:{port}"),
            None => host,
        }
    }
}

/// Says whether a name of a field looks like one that a programmer wrote.
pub(super) fn is_plain_name(name: &str) -> bool {
    let part = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.[]$".contains(&byte);
    (1..=40).contains(&name.len()) && name.bytes().all(part) && !is_identifier_name(name)
}

/// Says whether a name of a field is itself data, such as a customer number.
fn is_identifier_name(name: &str) -> bool {
    name.bytes().filter(u8::is_ascii_digit).count() >= 3
}

/// Says whether a path segment looks written by a programmer or a database rather than by a person.
fn is_written(segment: &str) -> bool {
    segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:,+!$".contains(&byte))
}

/// Decodes the percent escapes of a path, in which `+` stands for itself.
fn decode_path(text: &str) -> String {
    decode(&text.replace('+', "%2B"))
}

/// Decodes percent escapes and `+`; what is not UTF-8 becomes U+FFFD.
pub(super) fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while let Some(&byte) = bytes.get(index) {
        let escape = (byte == b'%').then(|| text.get(index + 1..index + 3)).flatten();
        let escape = escape.filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
        if let Some(value) = escape.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            decoded.push(value);
            index += 3;
        } else {
            decoded.push(if byte == b'+' { b' ' } else { byte });
            index += 1;
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// Encodes what may not stand in a path segment or a query value (RFC 3986, section 2.3).
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:,@".contains(&byte) {
            encoded.push(byte as char);
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_escapes_and_survives_broken_ones() {
        let cases = [
            ("ann%40example.com", "ann@example.com"),
            ("a+b", "a b"),
            ("100%", "100%"),
            ("%4", "%4"),
            ("%+f", "% f"),
            ("%é9", "%é9"),
            ("%ff", "\u{fffd}"),
        ];
        for (text, expected) in cases {
            assert_eq!(decode(text), expected, "{text}");
        }
        assert_eq!(decode_path("a+b%20c"), "a+b c");
    }

    #[test]
    fn encodes_what_it_decodes() {
        for text in ["ann@example.com", "a b&c=d/e?f", "é%", ""] {
            assert_eq!(decode(&encode(text)), text);
        }
    }

    #[test]
    fn tells_names_of_fields_from_data() {
        for name in ["page", "filter[name]", "line2", "$top"] {
            assert!(is_plain_name(name), "{name}");
        }
        for name in ["", "Ann Lee", "ann@example.com", "customer-4711", "é"] {
            assert!(!is_plain_name(name), "{name}");
        }
    }
}
