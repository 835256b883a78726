//! Detectors: what a value looks like, and what a field's name says about it.

use std::net::{IpAddr, SocketAddr};

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
const TELLING_NAMES: [&str; 46] = [
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
    "apikey",
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
    "holder",
];

/// Words that contain a telling part by accident.
const HARMLESS_WORDS: [&str; 8] = [
    "filename",
    "hostname",
    "typename",
    "pagename",
    "classname",
    "capacity",
    "velocity",
    "cityscape",
];

/// Telling names of things that have ids and states beside what is personal.
const OWNERS: [&str; 6] = ["user", "users", "account", "accounts", "device", "devices"];

/// Owners whose ids a replay needs: `user_id` in a body is the `{id}` of `/users/{id}`.
const REFERRED: [&str; 3] = ["user", "account", "address"];

/// What the keys of well-known services start with, whatever follows.
const KEY_PREFIXES: [&str; 12] = [
    "sk_",
    "rk_",
    "pk_live_",
    "whsec_",
    "ghp_",
    "gho_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "AKIA",
    "AIza",
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
        || is_social_security(value)
        || is_iban(value)
        || is_secret(value)
        || is_socket_address(value)
        || stem_of(value).is_some_and(is_sensitive)
        || value.split(|c: char| c.is_whitespace() || ",;=<>()\"'".contains(c)).any(|word| {
            word.len() < value.len()
                && (is_email(word)
                    || is_card(word)
                    || is_jwt(word)
                    || is_phone(word)
                    || is_social_security(word)
                    || is_iban(word)
                    || is_secret(word)
                    || is_socket_address(word)
                    || word.parse::<IpAddr>().is_ok())
        })
}

/// Says whether two words in a row are written as names are: `Ann Smith`.
pub(crate) fn is_name_like(value: &str) -> bool {
    let mut previous = false;
    value.split_whitespace().any(|word| {
        let title = is_title(word);
        std::mem::replace(&mut previous, title) && title
    })
}

fn is_title(word: &str) -> bool {
    let mut chars = word.chars();
    chars.next().is_some_and(char::is_uppercase)
        && chars.clone().next().is_some_and(char::is_lowercase)
        && chars.all(|c| c.is_alphabetic() || "-'’.".contains(c))
}

/// Returns a file's name without its extension, which would hide what the name is.
fn stem_of(value: &str) -> Option<&str> {
    let (stem, extension) = value.rsplit_once('.')?;
    let is_extension = (1..=5).contains(&extension.len())
        && extension.bytes().all(|byte| byte.is_ascii_alphabetic());
    is_extension.then_some(stem)
}

/// Says whether this is a social security number of the United States: `123-45-6789`.
fn is_social_security(value: &str) -> bool {
    value.len() == 11
        && value.bytes().enumerate().all(|(index, byte)| match index {
            3 | 6 => byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}

/// Says whether a field of this name holds something personal or secret.
pub(crate) fn is_telling(name: &str) -> bool {
    let words = words_of(name);
    if matches!(words.as_slice(), [.., owner, id] if id == "id" && REFERRED.contains(&owner.as_str()))
    {
        return false;
    }
    let mut whole = name.to_ascii_lowercase();
    HARMLESS_WORDS.iter().for_each(|harmless| whole = whole.replace(harmless, " "));
    // Short parts count as whole words only: `pin` in `shopping` says nothing.
    TELLING_NAMES.iter().any(|part| match part.len() {
        ..=3 => words.iter().any(|word| word == part),
        _ => whole.contains(part),
    })
}

/// Says whether everything below a field of this name is personal or secret: `address`, not `user`.
pub(crate) fn is_telling_container(name: &str) -> bool {
    is_telling(name) && !OWNERS.contains(&name.to_ascii_lowercase().as_str())
}

/// Returns the words of a name in lower case: `clientIp` and `client_ip` have two.
fn words_of(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut after_lower = false;
    for c in name.chars() {
        if !c.is_ascii_alphanumeric() || (after_lower && c.is_ascii_uppercase()) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| c.is_ascii_alphanumeric()) {
            word.push(c.to_ascii_lowercase());
        }
        after_lower = c.is_ascii_lowercase();
    }
    words
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
    // Thirteen digits that start with 1 are milliseconds since 1970, and no card (ISO/IEC 7812-1).
    let is_time = digits == 13 && value.starts_with('1');
    (13..=19).contains(&digits)
        && !is_time
        && value.bytes().all(|byte| byte.is_ascii_digit() || byte == b' ' || byte == b'-')
        && luhn_sum(value).is_multiple_of(10)
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
        && (bytes.len() == 10 || is_time_of_day(&value[10..]))
}

/// Says whether this is `T12:30`, with or without seconds, fraction and zone (RFC 3339).
fn is_time_of_day(value: &str) -> bool {
    let Some(time) = value.strip_prefix(['T', ' ']) else { return false };
    let zone = time.find(['Z', '+', '-']).unwrap_or(time.len());
    let (clock, zone) = time.split_at(zone);
    let numbers = |text: &str, separators: &[u8]| {
        text.bytes().all(|byte| byte.is_ascii_digit() || separators.contains(&byte))
    };
    (5..=18).contains(&clock.len())
        && clock.as_bytes()[2] == b':'
        && numbers(clock, b":.")
        && (zone.is_empty() || zone == "Z" || (zone.len() <= 6 && numbers(&zone[1..], b":")))
}

fn is_socket_address(value: &str) -> bool {
    value.parse::<SocketAddr>().is_ok()
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
    // Three, three and four digits are how North America writes a number.
    let is_dashed = value.split(['-', '.']).map(str::len).eq([3, 3, 4]);
    let grouped = ((9..=15).contains(&digits) && value.contains(['(', ' '])) || is_dashed;
    (international || grouped) && value.chars().all(|c| c.is_ascii_digit() || "+-() ./".contains(c))
}

fn is_iban(value: &str) -> bool {
    let compact: String = value.chars().filter(|c| *c != ' ').collect();
    let bytes = compact.as_bytes();
    compact.is_ascii()
        && (15..=34).contains(&bytes.len())
        && bytes[..2].iter().all(u8::is_ascii_uppercase)
        && bytes[2..4].iter().all(u8::is_ascii_digit)
        && bytes[4..].iter().all(u8::is_ascii_alphanumeric)
}

/// Says whether a word is long and mixed enough to be a key or a token.
fn is_secret(value: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || b"-_+/=.~".contains(&byte);
    if value.len() >= 16 && KEY_PREFIXES.iter().any(|prefix| value.starts_with(prefix)) {
        return true;
    }
    value.len() >= 20
        && !is_uuid(value)
        && !is_row_id(value)
        && value.bytes().all(word)
        && value.bytes().filter(u8::is_ascii_digit).count() >= 3
        && value.bytes().any(|byte| byte.is_ascii_alphabetic())
        && distinct(value) >= 10
}

/// Says whether this is an id that a database made: an ObjectId or a ULID.
fn is_row_id(value: &str) -> bool {
    let object_id = value.len() == 24
        && value.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let ulid = value.len() == 26
        && value.starts_with("01")
        && value.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase());
    object_id || ulid
}

fn distinct(value: &str) -> usize {
    let mut seen = [false; 256];
    value.bytes().for_each(|byte| seen[usize::from(byte)] = true);
    seen.iter().filter(|seen| **seen).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_personal_or_secret_by_its_looks() {
        let values = [
            "ann.lee@example.org",
            "4111 1111 1111 1111",
            "5500-0000-0000-0004",
            "+49 170 1234567",
            "555-867-5309",
            "DE89 3704 0044 0532 0130 00",
            "203.0.113.9",
            "203.0.113.9:443",
            "2001:db8::7",
            "for=203.0.113.9",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2ln",
            "sk_live_4eC39HqLyjWDarjtT1zdp7dc",
            "write to ann.lee@example.org",
            "2024-05-01 ann.lee@example.org",
        ];
        for value in values {
            assert!(is_sensitive(value), "{value}");
        }
    }

    #[test]
    fn leaves_ids_dates_and_words_alone() {
        let values = [
            "",
            "SKU-00017",
            "2024-05-01",
            "2024-05-01T12:00:00.123Z",
            "2024-05-01T12:00:00+02:00",
            "0b54f3a2-aa0e-4b0c-9f3d-1d2f3a4b5c6d",
            "507f1f77bcf86cd799439011",
            "01ARZ3NDEKTSV4RRFFQ69G5FAV",
            "1714558200000",
            "42",
            "shipped",
        ];
        for value in values {
            assert!(!is_sensitive(value), "{value}");
        }
    }

    #[test]
    fn takes_for_a_date_only_what_is_nothing_more() {
        for value in ["2024-05-01", "2024-05-01T12:30", "2024-05-01 12:30:01.5Z"] {
            assert_eq!(shape_of(value), Shape::Date, "{value}");
        }
        for value in ["2024-05-01 Ann Lee", "2024-05-01Tann", "2024-05-01T", "2024-05-01é"] {
            assert_ne!(shape_of(value), Shape::Date, "{value}");
        }
    }

    #[test]
    fn reads_names_of_fields_by_their_words() {
        let telling = [
            "email",
            "firstName",
            "shipping_address",
            "clientIp",
            "zipCode",
            "apikey",
            "api_key",
            "x-session-id",
            "membership_token",
            "pin",
        ];
        for name in telling {
            assert!(is_telling(name), "{name}");
        }
        for name in ["id", "sku", "quantity", "shopping", "title", "filename", "capacity", "price"]
        {
            assert!(!is_telling(name), "{name}");
        }
    }

    #[test]
    fn sums_digits_as_luhn_does() {
        // The example of ISO/IEC 7812-1, annex B, and one digit off it.
        assert_eq!(luhn_sum("79927398713") % 10, 0);
        assert_ne!(luhn_sum("79927398714") % 10, 0);
    }

    #[test]
    fn looks_behind_extensions_and_at_social_security_numbers() {
        for value in
            ["078-05-1120", "4111111111111111.pdf", "+491701234567.pdf", "84.23.11.231.txt"]
        {
            assert!(is_sensitive(value), "{value}");
        }
        for value in ["app.min.js", "report-2024.pdf", "SKU-00017", "1.24.0"] {
            assert!(!is_sensitive(value), "{value}");
        }
    }

    #[test]
    fn takes_the_id_of_a_user_for_an_id_and_a_session_for_a_secret() {
        for name in ["user_id", "userId", "account_id", "addressId"] {
            assert!(!is_telling(name), "{name}");
        }
        for name in ["user", "username", "session_id", "device_id", "user_email"] {
            assert!(is_telling(name), "{name}");
        }
        assert!(is_sensitive("sk_live_AaaaAAAaAaaaAAaaaaAA"));
    }

    #[test]
    fn knows_names_by_their_capitals() {
        for (value, expected) in
            [("Ann Smith", true), ("Zoë Lee-Brückner", true), ("Ann", false), ("two words", false)]
        {
            assert_eq!(is_name_like(value), expected, "{value}");
        }
    }
}
