//! Headers, cookies and credentials.

use prophecy_core::Header;

use super::Sanitizer;
use super::target::is_plain_name;
use crate::detector::{is_name_like, is_sensitive, is_telling};
use crate::policy::Base;
use crate::pseudonym;

/// Headers that say how a message is to be read, and nothing about a person.
const STRUCTURAL: [&str; 40] = [
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "age",
    "allow",
    "cache-control",
    "connection",
    "content-encoding",
    "content-language",
    "content-length",
    "content-range",
    "content-type",
    "date",
    "expect",
    "expires",
    "http2-settings",
    "if-modified-since",
    "keep-alive",
    "last-modified",
    "pragma",
    "proxy-connection",
    "range",
    "retry-after",
    "sec-fetch-dest",
    "sec-fetch-mode",
    "sec-fetch-site",
    "server",
    "te",
    "traceparent",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "upgrade-insecure-requests",
    "vary",
    "x-content-type-options",
];

/// Schemes of credentials that say nothing themselves, sorted.
const SCHEMES: [&str; 7] = ["apikey", "basic", "bearer", "digest", "hmac", "negotiate", "token"];

// === impl Sanitizer ===

impl Sanitizer {
    pub(super) fn headers(&self, headers: Vec<Header>) -> Vec<Header> {
        headers.into_iter().map(|header| self.header(header)).collect()
    }

    fn header(&self, header: Header) -> Header {
        let Header { name, value } = header;
        let (allow, deny) = (&self.policy.allow.headers, &self.policy.deny.headers);
        let replaced = if deny.contains(&name) {
            pseudonym::text(&self.key, &value)
        } else if allow.contains(&name) || is_structural(&name, &value) {
            value
        } else {
            self.header_value(&name, value)
        };
        let keep = self.policy.base == Base::Synthetic;
        let name = if keep || (is_plain_name(&name) && !is_sensitive(&name)) {
            name
        } else {
            pseudonym::text(&self.key, &name)
        };
        Header { name, value: replaced }
    }

    fn header_value(&self, name: &str, value: String) -> String {
        match name {
            "cookie" => self.pairs(&value, "; "),
            "set-cookie" => self.set_cookie(&value),
            _ if self.policy.base == Base::Synthetic => value,
            "host" => self.authority(&value),
            "authorization" | "proxy-authorization" => self.credentials(&value),
            "user-agent" => family(&value),
            _ if value.is_empty() => value,
            _ if self.policy.base == Base::Replayable
                && !is_telling(name)
                && is_ordinary(&value) =>
            {
                value
            }
            _ => pseudonym::text(&self.key, &value),
        }
    }

    /// Keeps the scheme of credentials and replaces the rest.
    fn credentials(&self, value: &str) -> String {
        match value.split_once(' ') {
            Some((scheme, secret)) if SCHEMES.contains(&scheme.to_ascii_lowercase().as_str()) => {
                format!("{scheme} {}", pseudonym::text(&self.key, secret))
            }
            _ => pseudonym::text(&self.key, value),
        }
    }

    /// Replaces the values of cookies.
    fn pairs(&self, value: &str, separator: &str) -> String {
        let cookies = value.split(';').map(|pair| self.cookie(pair.trim()));
        cookies.collect::<Vec<_>>().join(separator)
    }

    fn cookie(&self, pair: &str) -> String {
        let Some((name, value)) = pair.split_once('=') else {
            if self.policy.base == Base::Synthetic {
                return pair.to_owned();
            }
            return pseudonym::text(&self.key, pair);
        };
        let (allow, deny) = (&self.policy.allow.cookies, &self.policy.deny.cookies);
        let keep = self.policy.base == Base::Synthetic || allow.contains(name);
        let keep = keep && !deny.contains(name);
        let value = if keep { value.to_owned() } else { pseudonym::text(&self.key, value) };
        let plain = self.policy.base == Base::Synthetic || is_plain_name(name);
        let name = if plain { name.to_owned() } else { pseudonym::text(&self.key, name) };
        format!("{name}={value}")
    }

    fn set_cookie(&self, value: &str) -> String {
        let (pair, attributes) = value.split_once(';').unwrap_or((value, ""));
        let kept = attributes.split(';').map(str::trim).filter(|attribute| {
            if self.policy.base == Base::Synthetic {
                return !attribute.is_empty();
            }
            let name = attribute.split('=').next().unwrap_or_default().to_ascii_lowercase();
            ["max-age", "secure", "httponly", "samesite", "expires"].contains(&name.as_str())
                && is_harmless(attribute)
        });
        std::iter::once(self.cookie(pair.trim()))
            .chain(kept.map(str::to_owned))
            .collect::<Vec<_>>()
            .join("; ")
    }
}

/// Says whether a header tells how to read a message, and holds nothing that looks personal.
fn is_structural(name: &str, value: &str) -> bool {
    STRUCTURAL.binary_search(&name).is_ok()
        && (is_harmless(value) || (name == "traceparent" && is_traceparent(value)))
}

/// Says whether neither a value nor a parameter of it looks personal: `name="Ann Smith"` does.
fn is_harmless(value: &str) -> bool {
    let parts = value.split([',', ';', '=']).map(|part| part.trim().trim_matches('"'));
    !is_sensitive(value) && parts.into_iter().all(|part| !is_sensitive(part) && !is_name_like(part))
}

/// Says whether this is `version-trace-parent-flags` in hexadecimal (Trace Context, section 3.2).
fn is_traceparent(value: &str) -> bool {
    value.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
        && value.split('-').map(str::len).eq([2, 32, 16, 2])
}

/// Reduces a user agent to the names of its products, without versions or devices.
fn family(value: &str) -> String {
    let outside = value.split('(').filter_map(|piece| piece.split(')').next_back());
    let products = outside.flat_map(str::split_whitespace).filter_map(|word| word.split_once('/'));
    let known: Vec<&str> = products
        .map(|(name, _)| name)
        .filter(|name| {
            (2..=24).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'-')
        })
        .take(4)
        .collect();
    known.join(" ")
}

/// Says whether a header's value is a short word or number that a program wrote.
fn is_ordinary(value: &str) -> bool {
    value.len() <= 16
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.=/;,".contains(&byte))
        && !is_sensitive(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structural_headers_are_sorted_so_that_they_can_be_searched() {
        assert!(STRUCTURAL.is_sorted());
    }

    #[test]
    fn reduces_a_user_agent_to_its_families() {
        assert_eq!(
            family("Mozilla/5.0 (X11; Linux x86_64; Ann's laptop) Gecko/2010 Firefox/115.0"),
            "Mozilla Gecko Firefox"
        );
    }

    #[test]
    fn keeps_structural_headers_only_while_they_say_nothing_else() {
        for (name, value, expected) in [
            ("content-type", "application/json; charset=utf-8", true),
            ("content-type", "text/plain; name=\"(555) 123-4567\"", false),
            ("content-type", "text/plain; name=\"Ann Smith\"", false),
            ("accept-language", "de-CH,de;q=0.9", true),
            ("accept-language", "Ann Smith", false),
            ("date", "Sun, 06 Nov 1994 08:49:37 GMT", true),
            ("vary", "Accept-Encoding, Origin, Cookie", true),
            ("server", "nginx/1.24.0 (Ubuntu)", true),
            ("server", "078-05-1120", false),
        ] {
            assert_eq!(is_structural(name, value), expected, "{name}: {value}");
        }
    }
}
