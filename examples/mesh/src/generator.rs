//! Made-up people and things: names, e-mail addresses, card and telephone numbers, ids and prices.
//!
//! They look like the personal data of real systems, so that there is something to protect, and are
//! nobody's: domains, telephone and card numbers are of ranges kept for examples.

use std::time::SystemTime;

use prophecy_core::random::fnv1a;
use prophecy_core::{Philox, Seed, Timestamp};
use serde_json::Value;

/// What is made up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Generator {
    /// A number, up to a billion.
    Id,
    /// A first and a last name.
    Name,
    /// The e-mail address of the person of that name.
    Email,
    /// Their telephone number.
    Phone,
    /// Their card number, with a valid check digit.
    Card,
    /// A random UUID (version 4).
    Uuid,
    /// The time, as RFC 3339 has it; of a key, still the time.
    Now,
    /// A secret of 32 hexadecimal digits.
    Token,
    /// A price in cents.
    Price,
}

/// Somebody who does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Person {
    /// First and last name.
    pub(crate) name: String,
    /// E-mail address.
    pub(crate) email: String,
    /// Telephone number.
    pub(crate) phone: String,
    /// Card number.
    pub(crate) card: String,
}

const FIRST_NAMES: [&str; 20] = [
    "Ada",
    "Alan",
    "Annie",
    "Barbara",
    "Claude",
    "Edith",
    "Emmy",
    "Evelyn",
    "Frances",
    "Grace",
    "Hedy",
    "Joan",
    "Karen",
    "Katherine",
    "Leslie",
    "Margaret",
    "Mary",
    "Radia",
    "Sophie",
    "Tim",
];
const LAST_NAMES: [&str; 20] = [
    "Allen", "Boyd", "Clarke", "Easley", "Germain", "Hamilton", "Hopper", "Jackson", "Johnson",
    "Jones", "Kern", "Lamarr", "Lee", "Liskov", "Lovelace", "Noether", "Perlman", "Shannon",
    "Turing", "Wilson",
];

// === impl Generator ===

impl Generator {
    /// Returns the generator of that name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "id" => Self::Id,
            "name" => Self::Name,
            "email" => Self::Email,
            "phone" => Self::Phone,
            "card" => Self::Card,
            "uuid" => Self::Uuid,
            "now" => Self::Now,
            "token" => Self::Token,
            "price" => Self::Price,
            _ => return None,
        })
    }

    /// Makes up the value that a key has under a seed.
    pub(crate) fn keyed(self, seed: Seed, key: &str) -> Value {
        self.fresh(&mut key_stream(seed, key))
    }

    /// Makes up the next value.
    pub(crate) fn fresh(self, stream: &mut Philox) -> Value {
        match self {
            Self::Id => Value::from(1 + stream.next_u64() % 1_000_000_000),
            Self::Name => Value::from(Person::draw(stream).name),
            Self::Email => Value::from(Person::draw(stream).email),
            Self::Phone => Value::from(Person::draw(stream).phone),
            Self::Card => Value::from(Person::draw(stream).card),
            Self::Uuid => Value::from(uuid(stream)),
            Self::Now => Value::from(now()),
            Self::Token => {
                Value::from(format!("{:016x}{:016x}", stream.next_u64(), stream.next_u64()))
            }
            Self::Price => Value::from(99 + stream.below(500) as u64 * 100),
        }
    }
}

// === impl Person ===

impl Person {
    /// Makes up the person that a key has under a seed.
    pub(crate) fn keyed(seed: Seed, key: &str) -> Self {
        Self::draw(&mut key_stream(seed, key))
    }

    fn draw(stream: &mut Philox) -> Self {
        let first = FIRST_NAMES[stream.below(FIRST_NAMES.len())];
        let last = LAST_NAMES[stream.below(LAST_NAMES.len())];
        let number = stream.below(10_000);
        let domain = ["example.com", "example.net", "example.org"][stream.below(3)];
        let email = format!("{}.{}{number}@{domain}", first.to_lowercase(), last.to_lowercase());
        // 555-0100 to 555-0199 are kept for fiction in each area.
        let phone = format!("+1 {} 555 01{:02}", 201 + stream.below(700), stream.below(100));
        let card = with_check_digit(&format!("400000{:09}", stream.below(1_000_000_000)));
        Self { name: format!("{first} {last}"), email, phone, card }
    }
}

fn key_stream(seed: Seed, key: &str) -> Philox {
    seed.stream(0, fnv1a(key), "generated")
}

/// Appends the check digit of Luhn (ISO/IEC 7812-1, annex B).
fn with_check_digit(digits: &str) -> String {
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(index, digit)| {
            let value = u32::from(digit - b'0');
            match index % 2 {
                0 if value > 4 => 2 * value - 9,
                0 => 2 * value,
                _ => value,
            }
        })
        .sum();
    format!("{digits}{}", (10 - sum % 10) % 10)
}

fn uuid(stream: &mut Philox) -> String {
    let (high, low) = (stream.next_u64(), stream.next_u64());
    let (first, second, third) = (high >> 32, high >> 16 & 0xFFFF, high & 0xFFF);
    let (fourth, fifth) = (low >> 48 & 0x3FFF | 0x8000, low & 0xFFFF_FFFF_FFFF);
    format!("{first:08x}-{second:04x}-4{third:03x}-{fourth:04x}-{fifth:012x}")
}

fn now() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_one_key_one_person() {
        let ada = Person::keyed(Seed(7), "42");
        assert_eq!(ada, Person::keyed(Seed(7), "42"));
        assert_ne!(ada, Person::keyed(Seed(7), "43"));
        assert_ne!(ada, Person::keyed(Seed(8), "42"));
        assert_eq!(Generator::Email.keyed(Seed(7), "42"), Value::from(ada.email.clone()));
        let first = ada.name.split(' ').next().expect("a first name").to_lowercase();
        assert!(ada.email.starts_with(&first), "{ada:?}");
    }

    #[test]
    fn ends_card_numbers_with_a_valid_check_digit() {
        assert_eq!(with_check_digit("7992739871"), "79927398713");
        assert_eq!(Person::keyed(Seed(1), "1").card.len(), 16);
    }

    #[test]
    fn makes_version_4_uuids() {
        let mut stream = Seed(1).stream(0, 0, "test");
        for _ in 0..100 {
            let text = uuid(&mut stream);
            let bytes = text.as_bytes();
            assert_eq!((text.len(), bytes[14]), (36, b'4'), "{text}");
            assert!(b"89ab".contains(&bytes[19]), "{text}");
        }
    }
}
