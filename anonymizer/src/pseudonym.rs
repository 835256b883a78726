//! Pseudonyms: other values of the same shape, always the same for one value and key.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::detector::{Shape, luhn_sum, shape_of};
use crate::key::Key;

/// An endless stream of bytes for one value.
struct Stream<'a> {
    key: &'a Key,
    seed: [u8; 32],
    block: [u8; 32],
    block_index: u32,
    used: usize,
}

/// Returns the pseudonym of a text.
///
/// Lengths, letter cases, digits and punctuation stay; what has a structure of its own (e-mail,
/// card number, UUID, address, token, date) keeps that structure.
pub(crate) fn text(key: &Key, value: &str) -> String {
    match shape_of(value) {
        Shape::Email => email(key, value),
        Shape::Card => card(key, value),
        Shape::Uuid => uuid(key, value),
        Shape::Address(address) => self::address(key, address).to_string(),
        Shape::Date => date(key, value),
        Shape::Jwt => jwt(key, value),
        Shape::Hex => hex(key, value),
        Shape::Other => letters(key, "text", value),
    }
}

/// Returns the pseudonym of an address: the same family, and loopback or private as it was.
pub(crate) fn address(key: &Key, address: IpAddr) -> IpAddr {
    if address.is_loopback() || address.is_unspecified() {
        return address;
    }
    match address {
        IpAddr::V4(v4) => {
            let digest = key.digest("address", &v4.octets());
            let [_, b, c, d] = [0, digest[0], digest[1], digest[2]];
            IpAddr::V4(match v4.octets() {
                [10, ..] => Ipv4Addr::new(10, b, c, d),
                [172, second @ 16..=31, ..] => Ipv4Addr::new(172, second, c, d),
                [192, 168, ..] => Ipv4Addr::new(192, 168, c, d),
                // 100.64.0.0/10 is nobody's public address (RFC 6598).
                _ => Ipv4Addr::new(100, 64 | (b & 63), c, d),
            })
        }
        IpAddr::V6(v6) => {
            let digest = key.digest("address", &v6.octets());
            let mut octets = [0; 16];
            octets.copy_from_slice(&digest[..16]);
            // fd00::/8 is nobody's public address (RFC 4193).
            octets[0] = 0xfd;
            IpAddr::V6(Ipv6Addr::from(octets))
        }
    }
}

/// Returns digits, letters and case of `value` by other ones; punctuation stays.
fn letters(key: &Key, kind: &str, value: &str) -> String {
    let mut stream = Stream::new(key, kind, value);
    let mut first_digit = true;
    value
        .chars()
        .map(|c| {
            let replaced = match c {
                '0' if first_digit => '0',
                '0'..='9' if first_digit => (b'1' + stream.below(9)) as char,
                '0'..='9' => (b'0' + stream.below(10)) as char,
                'a'..='z' => (b'a' + stream.below(26)) as char,
                'A'..='Z' => (b'A' + stream.below(26)) as char,
                _ if c.is_ascii() => c,
                _ if c.is_uppercase() => (b'A' + stream.below(26)) as char,
                _ => (b'a' + stream.below(26)) as char,
            };
            first_digit = !c.is_ascii_digit();
            replaced
        })
        .collect()
}

fn email(key: &Key, value: &str) -> String {
    let local = value.split('@').next().unwrap_or_default();
    format!(
        "{}@example.com",
        letters(key, "email", &format!("{local}\0{value}")).split('\0').next().unwrap_or("x")
    )
}

fn card(key: &Key, value: &str) -> String {
    let mut stream = Stream::new(key, "card", value);
    // The first digit names the kind of card, and a number in JSON may not start with a zero.
    let first = value.bytes().position(|byte| byte.is_ascii_digit());
    let mut digits: Vec<u8> = value
        .bytes()
        .enumerate()
        .map(|(index, byte)| match byte {
            b'0'..=b'9' if Some(index) == first => byte,
            b'0'..=b'9' => b'0' + stream.below(10),
            other => other,
        })
        .collect();
    // The last digit is the check digit: the one that makes the sum a multiple of ten.
    if let Some(last) = digits.iter().rposition(u8::is_ascii_digit) {
        digits[last] = b'0';
        let text = String::from_utf8_lossy(&digits).into_owned();
        digits[last] = b'0' + ((10 - luhn_sum(&text) % 10) % 10) as u8;
    }
    String::from_utf8_lossy(&digits).into_owned()
}

fn uuid(key: &Key, value: &str) -> String {
    let replaced = hex(key, value);
    // The version and variant digits stand at positions 14 and 19 (RFC 9562, section 4).
    let keep = |index: usize| index == 14 || index == 19;
    value
        .chars()
        .zip(replaced.chars())
        .enumerate()
        .map(|(i, (old, new))| if keep(i) { old } else { new })
        .collect()
}

fn hex(key: &Key, value: &str) -> String {
    let mut stream = Stream::new(key, "hex", &value.to_ascii_lowercase());
    let upper = value.bytes().any(|byte| byte.is_ascii_uppercase());
    value
        .chars()
        .map(|c| {
            if !c.is_ascii_hexdigit() {
                return c;
            }
            let digit = char::from_digit(u32::from(stream.below(16)), 16).expect("below sixteen");
            if upper { digit.to_ascii_uppercase() } else { digit }
        })
        .collect()
}

fn date(key: &Key, value: &str) -> String {
    let mut stream = Stream::new(key, "date", value);
    let month = 1 + stream.below(12);
    let day = 1 + stream.below(28);
    format!("{}-{month:02}-{day:02}{}", &value[..4], &value[10..])
}

fn jwt(key: &Key, value: &str) -> String {
    let rest = value.split_once('.').map_or("", |(_, rest)| rest);
    // `{"alg":"none"}` in base64url: it parses, and signs nothing.
    format!("eyJhbGciOiJub25lIn0.{}", letters(key, "jwt", rest))
}

// === impl Stream ===

impl<'a> Stream<'a> {
    fn new(key: &'a Key, kind: &str, value: &str) -> Self {
        let seed = key.digest(kind, value.as_bytes());
        Self { key, seed, block: seed, block_index: 0, used: 0 }
    }

    /// Returns a number below `bound`.
    fn below(&mut self, bound: u8) -> u8 {
        if self.used + 2 > self.block.len() {
            self.block_index += 1;
            let mut input = self.seed.to_vec();
            input.extend(self.block_index.to_le_bytes());
            self.block = self.key.digest("more", &input);
            self.used = 0;
        }
        let pair = u16::from_le_bytes([self.block[self.used], self.block[self.used + 1]]);
        self.used += 2;
        (pair % u16::from(bound)) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key::from_bytes([7; 32])
    }

    #[test]
    fn keeps_the_shape_of_every_kind_of_value() {
        let values = [
            "ann.lee@example.org",
            "4111 1111 1111 1111",
            "-4111111111111111",
            "0b54f3a2-aa0e-4b0c-9f3d-1d2f3a4b5c6d",
            "203.0.113.9",
            "2001:db8::7",
            "2024-05-01T12:00:00Z",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2ln",
            "deadbeef42",
        ];
        for value in values {
            let replaced = text(&key(), value);
            assert_ne!(replaced, value);
            let (before, after) = (shape_of(value), shape_of(&replaced));
            assert_eq!(std::mem::discriminant(&before), std::mem::discriminant(&after), "{value}");
        }
    }

    #[test]
    fn keeps_the_version_of_a_uuid_and_the_family_of_an_address() {
        let replaced = text(&key(), "0b54f3a2-aa0e-4b0c-9f3d-1d2f3a4b5c6d");
        assert_eq!((&replaced[14..15], &replaced[19..20]), ("4", "9"));
        for (value, start) in
            [("10.1.2.3", "10."), ("192.168.1.2", "192.168."), ("8.8.8.8", "100.")]
        {
            assert!(text(&key(), value).starts_with(start), "{value}");
        }
        assert_eq!(text(&key(), "127.0.0.1"), "127.0.0.1");
    }

    #[test]
    fn keeps_a_card_number_valid_and_free_of_a_leading_zero() {
        for tail in 0..200_u32 {
            let body = format!("-4{tail:014}");
            let check = (10 - luhn_sum(&format!("{body}0")) % 10) % 10;
            let replaced = card(&key(), &format!("{body}{check}"));
            assert_eq!(luhn_sum(&replaced) % 10, 0, "{replaced}");
            assert!(replaced.starts_with("-4"), "{replaced}");
        }
    }

    #[test]
    fn never_says_more_than_length_case_and_punctuation() {
        let replaced = text(&key(), "Ann O'Neil, née Brück 17");
        assert_eq!(replaced.chars().count(), 24);
        assert!(replaced.is_ascii() && replaced.contains('\'') && replaced.contains(','));
        assert!(!replaced.contains("Neil") && !replaced.contains("ck"));
    }

    #[test]
    fn has_bytes_for_long_values() {
        let long = "a".repeat(10_000);
        let replaced = text(&key(), &long);
        assert_eq!(replaced.len(), long.len());
        // A stream that repeated its blocks would show the same sixteen letters again.
        assert_ne!(replaced[16..32], replaced[32..48]);
    }
}
