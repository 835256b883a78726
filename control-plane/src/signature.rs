//! Signed webhooks: `prophecy-signature: t=<seconds>,v1=<hex>`, HMAC-SHA256 over `t.body`.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use thiserror::Error;

/// The header that carries the signature.
pub const HEADER: &str = "prophecy-signature";

/// Why a delivery is not to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum VerifySignatureError {
    /// The header is not of the form `t=<seconds>,v1=<hex>`.
    #[error("the signature header is not of the form `t=<seconds>,v1=<hex>`")]
    Malformed,
    /// The signature was made too long ago, or in the future.
    #[error("the signature is {age_seconds} s old; at most {window_seconds} s are accepted")]
    OutsideWindow {
        /// Its age.
        age_seconds: i64,
        /// The age that is accepted, both ways.
        window_seconds: u64,
    },
    /// The body or the time was changed, or the secret is another.
    #[error("the signature does not belong to this body and this secret")]
    Mismatch,
}

/// Signs a body at a time.
pub fn sign(secret: &str, unix_seconds: i64, body: &[u8]) -> String {
    let tag = mac(secret, unix_seconds, body).finalize().into_bytes();
    let hex: String = tag.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={unix_seconds},v1={hex}")
}

/// Checks a delivery. A receiver that also remembers the ids of events (`ce-id`) it has taken within
/// the window takes nothing twice.
///
/// # Errors
///
/// When the delivery is not to be believed.
pub fn verify(
    secret: &str,
    header: &str,
    body: &[u8],
    now_unix_seconds: i64,
    window_seconds: u64,
) -> Result<(), VerifySignatureError> {
    let (time, hex) = header
        .split_once(",v1=")
        .and_then(|(time, hex)| Some((time.strip_prefix("t=")?.parse::<i64>().ok()?, hex)))
        .ok_or(VerifySignatureError::Malformed)?;
    let tag = bytes(hex).ok_or(VerifySignatureError::Malformed)?;
    let age_seconds = now_unix_seconds.saturating_sub(time);
    if age_seconds.unsigned_abs() > window_seconds {
        return Err(VerifySignatureError::OutsideWindow { age_seconds, window_seconds });
    }
    // Compares in constant time.
    mac(secret, time, body).verify_slice(&tag).map_err(|_| VerifySignatureError::Mismatch)
}

fn mac(secret: &str, unix_seconds: i64, body: &[u8]) -> Hmac<Sha256> {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(unix_seconds.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    mac
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    if !hex.is_ascii() || hex.len() != 64 {
        return None;
    }
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_body_time_and_secret_only() {
        let header = sign("secret", 1_000, b"body");
        assert_eq!(verify("secret", &header, b"body", 1_200, 300), Ok(()));
        assert_eq!(
            verify("secret", &header, b"bodx", 1_200, 300),
            Err(VerifySignatureError::Mismatch)
        );
        assert_eq!(
            verify("other", &header, b"body", 1_200, 300),
            Err(VerifySignatureError::Mismatch)
        );
        let later = header.replace("t=1000", "t=1100");
        assert_eq!(
            verify("secret", &later, b"body", 1_200, 300),
            Err(VerifySignatureError::Mismatch)
        );
        assert_eq!(
            verify("secret", &header, b"body", 1_301, 300),
            Err(VerifySignatureError::OutsideWindow { age_seconds: 301, window_seconds: 300 })
        );
    }

    #[test]
    fn a_known_answer() {
        // Computed apart with `printf '%s' '1.x' | openssl dgst -sha256 -hmac k`.
        assert_eq!(sign("k", 1, b"x"), KNOWN);
    }

    const KNOWN: &str = "t=1,v1=976cb87e4f568d1c0f03f32859e90af8597cf00b978ba37c229c97d3a15b8449";

    #[test]
    fn refuses_what_is_no_signature() {
        for header in ["", "t=,v1=", "v1=00,t=1", "t=1,v1=zz", "t=1,v1=é"] {
            assert_eq!(
                verify("k", header, b"", 1, 300),
                Err(VerifySignatureError::Malformed),
                "{header}"
            );
        }
    }
}
