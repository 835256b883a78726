//! How a hook knows that a call is ours, and new.
//!
//! The header `prophecy-signature: t=<seconds since 1970>,v1=<hex>` carries HMAC-SHA256 of the
//! seconds, a full stop, and the body. A receiver refuses what is too old, and what it has seen.

use std::collections::BTreeSet;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use thiserror::Error;

use super::Secret;

/// The name of the header.
pub const SIGNATURE_HEADER: &str = "prophecy-signature";

/// The most signatures in one header: the sender's secret changes one at a time.
const MOST_SIGNATURES: usize = 4;

type Digest = [u8; 32];

/// Remembers which calls were seen for as long as they would be believed.
#[derive(Clone, Debug)]
pub struct ReplayGuard {
    tolerance_seconds: u64,
    capacity: usize,
    latest: u64,
    seen: BTreeSet<(u64, Digest)>,
}

/// Why a call is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum VerifyHookError {
    /// The header is not one.
    #[error("the signature header is not `t=<seconds>,v1=<64 hexadecimal digits>`")]
    Malformed,
    /// It was signed too long ago, or in the future.
    #[error(
        "the call was signed {skew_seconds} s away from now, expected at most {tolerance_seconds} s"
    )]
    OutsideTolerance {
        /// How far.
        skew_seconds: u64,
        /// How far at most.
        tolerance_seconds: u64,
    },
    /// It was not signed with a known secret.
    #[error("the signature is not one of this body with a known secret")]
    BadSignature,
    /// It was seen before.
    #[error("the call was seen before")]
    Replayed,
    /// Too many calls are remembered to be sure.
    #[error("more than {capacity} calls are remembered; a new one cannot be told from a replay")]
    Full {
        /// How many are remembered at most.
        capacity: usize,
    },
}

// === impl ReplayGuard ===

impl ReplayGuard {
    /// Believes calls signed within `tolerance_seconds` of now, and remembers up to `capacity`.
    pub fn new(tolerance_seconds: u64, capacity: usize) -> Self {
        Self { tolerance_seconds, capacity, latest: 0, seen: BTreeSet::new() }
    }

    fn check_time(&mut self, signed_at: u64, now: u64) -> Result<(), VerifyHookError> {
        // A clock set back must not revive what was already forgotten.
        self.latest = self.latest.max(now);
        let skew_seconds = signed_at.abs_diff(self.latest);
        if skew_seconds > self.tolerance_seconds {
            let tolerance_seconds = self.tolerance_seconds;
            return Err(VerifyHookError::OutsideTolerance { skew_seconds, tolerance_seconds });
        }
        Ok(())
    }

    fn remember(&mut self, signed_at: u64, digest: Digest) -> Result<(), VerifyHookError> {
        let oldest = self.latest.saturating_sub(self.tolerance_seconds);
        self.seen = self.seen.split_off(&(oldest, [0; 32]));
        if self.seen.contains(&(signed_at, digest)) {
            return Err(VerifyHookError::Replayed);
        }
        if self.seen.len() >= self.capacity {
            return Err(VerifyHookError::Full { capacity: self.capacity });
        }
        self.seen.insert((signed_at, digest));
        Ok(())
    }
}

/// Returns the value of [`SIGNATURE_HEADER`] for a body sent at `unix_seconds`.
pub fn sign(secret: &Secret, unix_seconds: u64, body: &[u8]) -> String {
    let digest: Digest = mac(secret, unix_seconds, body).finalize().into_bytes().into();
    format!("t={unix_seconds},v1={}", hex(&digest))
}

/// Checks a call against any of `secrets`, and remembers it.
///
/// # Errors
///
/// [`VerifyHookError`]. A call that is not believed leaves no trace in the guard.
pub fn verify(
    secrets: &[Secret],
    header: &str,
    body: &[u8],
    unix_seconds: u64,
    guard: &mut ReplayGuard,
) -> Result<(), VerifyHookError> {
    let (signed_at, signatures) = parse(header).ok_or(VerifyHookError::Malformed)?;
    let good = secrets.iter().any(|secret| {
        let mut signatures = signatures.iter();
        // The comparison takes the same time wherever two digests differ.
        signatures.any(|digest| mac(secret, signed_at, body).verify_slice(digest).is_ok())
    });
    if !good {
        return Err(VerifyHookError::BadSignature);
    }
    guard.check_time(signed_at, unix_seconds)?;
    // One digest per call whichever secret signed it, or a second signature would be a second call.
    let first = secrets.first().ok_or(VerifyHookError::BadSignature)?;
    guard.remember(signed_at, mac(first, signed_at, body).finalize().into_bytes().into())
}

fn mac(secret: &Secret, unix_seconds: u64, body: &[u8]) -> Hmac<Sha256> {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.bytes()).expect("HMAC takes keys of any length");
    mac.update(unix_seconds.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    mac
}

/// Fields of other names are for later versions, and are passed over.
fn parse(header: &str) -> Option<(u64, Vec<Digest>)> {
    let mut signed_at = None;
    let mut signatures = Vec::new();
    for field in header.split(',') {
        let (name, value) = field.trim().split_once('=')?;
        match name {
            "t" if signed_at.is_none() && value.bytes().all(|b| b.is_ascii_digit()) => {
                signed_at = Some(value.parse().ok()?);
            }
            "t" => return None,
            "v1" if signatures.len() < MOST_SIGNATURES => signatures.push(unhex(value)?),
            "v1" => return None,
            _ => {}
        }
    }
    signed_at.filter(|_| !signatures.is_empty()).map(|signed_at| (signed_at, signatures))
}

fn hex(digest: &Digest) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Digest> {
    let bytes = text.as_bytes();
    if bytes.len() != 64 {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut digest = [0; 32];
    for (byte, pair) in digest.iter_mut().zip(bytes.chunks_exact(2)) {
        *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BODY: &[u8] = br#"{"rollout":"r1"}"#;
    const NOW: u64 = 1_767_369_600;

    fn secret(text: &str) -> Secret {
        Secret::new(text).unwrap()
    }

    fn ours() -> Secret {
        secret("correct-horse-battery")
    }

    fn guard() -> ReplayGuard {
        ReplayGuard::new(300, 100)
    }

    #[test]
    fn the_digest_is_that_of_another_implementation() {
        // printf '1767369600.{"rollout":"r1"}' | openssl dgst -sha256 -hmac correct-horse-battery
        let known = "62458335384c37f64db8c9cf46e6e16c539bf21cc19b538aa7842db8654703b2";
        assert_eq!(sign(&ours(), NOW, BODY), format!("t=1767369600,v1={known}"));
    }

    #[test]
    fn a_call_is_believed_once() {
        let mut guard = guard();
        let header = sign(&ours(), NOW, BODY);
        assert_eq!(verify(&[ours()], &header, BODY, NOW + 300, &mut guard), Ok(()));
        let again = verify(&[ours()], &header, BODY, NOW + 300, &mut guard);
        assert_eq!(again, Err(VerifyHookError::Replayed));
        let later = verify(&[ours()], &header, BODY, NOW + 301, &mut guard);
        assert!(matches!(later, Err(VerifyHookError::OutsideTolerance { skew_seconds: 301, .. })));
        // Another call makes the guard forget, then the clock goes back: nothing comes to life.
        let newer = sign(&ours(), NOW + 700, BODY);
        assert_eq!(verify(&[ours()], &newer, BODY, NOW + 700, &mut guard), Ok(()));
        let back = verify(&[ours()], &header, BODY, NOW, &mut guard);
        assert!(matches!(back, Err(VerifyHookError::OutsideTolerance { skew_seconds: 700, .. })));
    }

    #[test]
    fn a_call_from_too_far_in_the_future_is_not_believed() {
        let header = sign(&ours(), NOW + 301, BODY);
        let found = verify(&[ours()], &header, BODY, NOW, &mut guard());
        assert!(matches!(found, Err(VerifyHookError::OutsideTolerance { .. })));
    }

    #[test]
    fn while_the_secret_changes_both_are_believed_and_a_call_still_counts_once() {
        let next = secret("staple-staple-staple");
        let mut guard = guard();
        let with_old = sign(&ours(), NOW, BODY);
        let with_new = sign(&next, NOW, BODY);
        let both = [next.clone(), ours()];
        assert_eq!(verify(&both, &with_old, BODY, NOW, &mut guard), Ok(()));
        let again = verify(&both, &with_new, BODY, NOW, &mut guard);
        assert_eq!(again, Err(VerifyHookError::Replayed));
        let unknown = verify(&[next], &with_old, BODY, NOW, &mut guard);
        assert_eq!(unknown, Err(VerifyHookError::BadSignature));
        let nobody = verify(&[], &with_old, BODY, NOW, &mut guard);
        assert_eq!(nobody, Err(VerifyHookError::BadSignature));
    }

    #[test]
    fn forged_calls_cannot_fill_the_guard_and_a_full_one_refuses() {
        let mut guard = ReplayGuard::new(300, 2);
        for forged in 0..10_u64 {
            let header = sign(&secret("another-secret-of-eve"), NOW + forged, BODY);
            let found = verify(&[ours()], &header, BODY, NOW, &mut guard);
            assert_eq!(found, Err(VerifyHookError::BadSignature));
        }
        let mut call =
            |at: u64, now: u64| verify(&[ours()], &sign(&ours(), at, BODY), BODY, now, &mut guard);
        assert_eq!(call(NOW, NOW), Ok(()));
        assert_eq!(call(NOW + 1, NOW), Ok(()));
        assert_eq!(call(NOW + 2, NOW), Err(VerifyHookError::Full { capacity: 2 }));
        assert_eq!(call(NOW + 301, NOW + 301), Ok(()), "what is too old makes room");
    }

    #[test]
    fn a_header_of_another_shape_is_malformed() {
        let digits = "a".repeat(64);
        for header in [
            String::new(),
            "t=1".to_owned(),
            format!("v1={digits}"),
            format!("t=1,t=1,v1={digits}"),
            format!("t=-1,v1={digits}"),
            format!("t=+1,v1={digits}"),
            format!("t=,v1={digits}"),
            "t=1,v1=abc".to_owned(),
            format!("t=1,v1={}é", "a".repeat(62)),
            format!("t=1{}", format!(",v1={digits}").repeat(5)),
        ] {
            let found = verify(&[ours()], &header, BODY, 1, &mut guard());
            assert_eq!(found, Err(VerifyHookError::Malformed), "{header}");
        }
    }

    proptest! {
        #[test]
        fn no_header_panics_or_is_believed(header in "[tv1=,0-9a-f ]{0,160}") {
            prop_assert!(verify(&[ours()], &header, BODY, NOW, &mut guard()).is_err());
        }

        #[test]
        fn any_changed_bit_of_the_body_breaks_the_signature(index in 0..16_usize, bit in 0..8_u32) {
            let header = sign(&ours(), NOW, BODY);
            let mut body = BODY.to_vec();
            body[index] ^= 1 << bit;
            let found = verify(&[ours()], &header, &body, NOW, &mut guard());
            prop_assert_eq!(found, Err(VerifyHookError::BadSignature));
        }
    }
}
