//! Whether a key signed something, as a handshake would find it.

use tokio_rustls::rustls::crypto::ring;

/// Whether this is the key's signature of the message. The key is the bit string of a
/// certificate's public key; one of a kind that TLS does not know has signed nothing.
pub fn is_signature(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let known = ring::default_provider()
        .signature_verification_algorithms
        .all;
    // A key of another kind than the algorithm's is refused by it.
    known
        .iter()
        .any(|algorithm| algorithm.verify_signature(key, message, signature).is_ok())
}
