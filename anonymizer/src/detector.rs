//! Detectors: what a value looks like, and what a field's name says about it.

use std::net::IpAddr;

/// The structure of a value that its pseudonym keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Email,
    Card,
    Uuid,
    Address(IpAddr),
    Date,
    Jwt,
    Hex,
    Other,
}

/// Parts of names of fields that hold something personal or secret.
const TELLING_NAMES: [&str; 44] = [
    "name",
    "mail",
    "phone",
    "mobile",
    "tel",
    "fax",
    "address",
    "street",
    "city",
    "zip",
    "postal",
    "postcode",
    "birth",
    "dob",
    "ssn",
    "passport",
    "iban",
    "bic",
    "account",
    "card",
    "pan",
    "cvv",
    "cvc",
    "pass",
    "pwd",
    "secret",
    "token",
    "key",
    "auth",
    "credential",
    "session",
    "sid",
    "cookie",
    "signature",
    "otp",
    "pin",
    "user",
    "login",
    "customer_ref",
    "ip",
    "lat",
    "lon",
    "geo",
    "device",
];

/// Names that contain a telling part and are harmless.
const HARMLESS_NAMES: [&str; 16] = [
    "title",
    "filename",
    "hostname",
    "typename",
    "pagename",
    "classname",
    "template",
    "platform",
    "relation",
    "translation",
    "ship",
    "zipped",
    "description",
    "shipping",
    "latency",
    "cityscape",
];

/// Returns the structure of a value.
pub(crate) fn shape_of(value: &str) -> Shape {
    if is_email(value) {
        Shape::Email
    } else if is_uuid(value) {
        Shape::Uuid
    } else if is_card(value) {
        Shape::Card
    } else if let Ok(address) = value.parse() {
        Shape::Address(address)
    } else if is_date(value) {
        Shape::Date
    } else if is_jwt(value) {
        Shape::Jwt
    } else if is_hex(value) {
        Shape::Hex
    } else {
        Shape::Other
    }
}

/// Says whether a value looks personal or secret by itself, whatever the field is called.
pub(crate) fn is_sensitive(value: &str) -> bool {
    match shape_of(value) {
        Shape::Email | Shape::Card | Shape::Address(_) | Shape::Jwt => return true,
        Shape::Uuid | Shape::Date => return false,
        Shape::Hex | Shape::Other => {}
    }
    is_phone(value)
        || is_iban(value)
        || is_secret(value)
        || value.split(|c: char| c.is_whitespace() || ",;<>()\"'".contains(c)).any(|word| {
            word.len() < value.len()
                && (is_email(word) || is_card(word) || is_jwt(word) || is_secret(word))
        })
}

/// Says whether a field of this name holds something personal or secret.
pub(crate) fn is_telling(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    if HARMLESS_NAMES.iter().any(|harmless| name.contains(harmless)) {
        return false;
    }
    // Short parts count as whole words only: `pin` in `shopping` says nothing.
    let words: Vec<&str> = name.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    TELLING_NAMES
        .iter()
        .any(|part| if part.len() <= 3 { words.contains(part) } else { name.contains(part) })
}

/// Returns the Luhn sum of the digits in a text (ISO/IEC 7812-1, annex B).
pub(crate) fn luhn_sum(text: &str) -> u32 {
    let digits = text.bytes().filter(u8::is_ascii_digit).rev();
    digits
        .enumerate()
        .map(|(index, digit)| match (index % 2, u32::from(digit - b'0')) {
            (1, value) if value > 4 => 2 * value - 9,
            (1, value) => 2 * value,
            (_, value) => value,
        })
        .sum()
}

fn is_email(value: &str) -> bool {
    let Some((local, domain)) = value.split_once('@') else { return false };
    !local.is_empty()
        && domain.contains('.')
        && domain.len() >= 4
        && !value.contains(|c: char| c.is_whitespace() || c == '/' || c == '<' || c == '>')
        && domain.chars().all(|c| c.is_alphanumeric() || c == '.' || c == '-')
}

fn is_card(value: &str) -> bool {
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    (13..=19).contains(&digits)
        && value.bytes().all(|byte| byte.is_ascii_digit() || byte == b' ' || byte == b'-')
        && luhn_sum(value) % 10 == 0
}

fn is_uuid(value: &str) -> bool {
    value.len() == 36
        && value.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn is_date(value: &str) -> bool {
    let bytes = value.as_bytes();
    bytes.len() >= 10
        && value.is_char_boundary(10)
        && bytes[4] == b'-'
        && bytes[7] == b'-'
        && [0, 1, 2, 3, 5, 6, 8, 9].iter().all(|index| bytes[*index].is_ascii_digit())
        && (bytes.len() == 10 || bytes[10] == b'T' || bytes[10] == b' ')
}

fn is_jwt(value: &str) -> bool {
    value.starts_with("eyJ")
        && value.split('.').count() == 3
        && value.split('.').take(2).all(|part| part.len() >= 8)
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.=".contains(&byte))
}

fn is_hex(value: &str) -> bool {
    value.len() >= 8
        && value.bytes().all(|byte| byte.is_ascii_hexdigit())
        && value.bytes().any(|byte| byte.is_ascii_digit())
        && value.bytes().any(|byte| byte.is_ascii_alphabetic())
}

fn is_phone(value: &str) -> bool {
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    let rest = value.strip_prefix('+').or_else(|| value.strip_prefix("00"));
    let international = rest.is_some() && (8..=15).contains(&digits);
    let grouped = (9..=15).contains(&digits) && value.contains(['(', ' ']);
    (international || grouped) && value.chars().all(|c| c.is_ascii_digit() || "+-() ./".contains(c))
}

fn is_iban(value: &str) -> bool {
    let compact: String = value.chars().filter(|c| *c != ' ').collect();
    let bytes = compact.as_bytes();
    (15..=34).contains(&bytes.len())
        && bytes[..2].iter().all(u8::is_ascii_uppercase)
        && bytes[2..4].iter().all(u8::is_ascii_digit)
        && bytes[4..].iter().all(u8::is_ascii_alphanumeric)
}

/// Says whether a word is long and mixed enough to be a key or a token.
fn is_secret(value: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || b"-_+/=.~".contains(&byte);
    value.len() >= 20
        && !is_uuid(value)
        && value.bytes().all(word)
        && value.bytes().filter(u8::is_ascii_digit).count() >= 3
        && value.bytes().any(|byte| byte.is_ascii_alphabetic())
        && distinct(value) >= 10
}

fn distinct(value: &str) -> usize {
    let mut seen = [false; 256];
    value.bytes().for_each(|byte| seen[usize::from(byte)] = true);
    seen.iter().filter(|seen| **seen).count()
}
