//! The key format, version 1. It is frozen: other programs compute the same integers.
//!
//! ```text
//! key = first 8 bytes, big-endian, signed, of SHA-256( UTF-8( parts joined with '-' ) )
//! ```
//!
//! The bytes of the parts go in as they are: no trimming, no case folding, no Unicode
//! normalisation. The join is ambiguous, `('a-b', 'c')` and `('a', 'b-c')` are one key; that costs
//! waiting, never safety.
//!
//! This module knows nothing of Postgres.

use sha2::block_api::compress256;
use std::slice;

/// What stands between two parts.
pub const SEPARATOR: u8 = b'-';

/// Bytes of one SHA-256 block.
const BLOCK: usize = 64;

/// Where the last block of SHA-256 has the length of the name, in bits.
const LENGTH: usize = BLOCK - 8;

/// The state SHA-256 starts from (FIPS 180-4, section 5.3.3).
const SHA256_START: [u32; 8] = [
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
];

/// Computes the key of one name, part by part: SHA-256 over [`compress256`].
///
/// Most names fit into one block, and copying that costs more than filling it: the processor waits
/// before it reads in one piece what it has just written in several. So the block is read once,
/// where it was written.
pub struct KeyHasher {
    state: [u32; 8],
    /// What of the joined name is not in `state` yet, followed by zeros.
    block: [u8; BLOCK],
    /// Of the joined name, in bytes.
    length: u64,
    begun: bool,
}

impl KeyHasher {
    /// A hasher for a name that has no part yet.
    #[inline]
    pub fn new() -> Self {
        Self { state: SHA256_START, block: [0; BLOCK], length: 0, begun: false }
    }

    /// Begins the next part. Its bytes follow with [`KeyHasher::bytes`].
    #[inline]
    pub fn begin_part(&mut self) {
        if self.begun {
            self.bytes(&[SEPARATOR]);
        }
        self.begun = true;
    }

    /// Adds bytes (UTF-8) to the part that was begun last; a part may come in several pieces.
    #[inline]
    pub fn bytes(&mut self, bytes: &[u8]) {
        let filled = self.filled();
        let free = &mut self.block[filled..];
        if bytes.len() < free.len() {
            free[..bytes.len()].copy_from_slice(bytes);
        } else {
            self.fill(bytes);
        }
        self.length += bytes.len() as u64;
    }

    /// The key of the name, to which nothing can be added then. Not by value: that would be a copy.
    #[inline]
    pub fn finish(&mut self) -> i64 {
        let filled = self.filled();
        self.block[filled] = 0x80;
        if filled >= LENGTH {
            self.compress();
        }
        self.block[LENGTH..].copy_from_slice(&(8 * self.length).to_be_bytes());
        self.compress();
        (u64::from(self.state[0]) << 32 | u64::from(self.state[1])) as i64
    }

    /// How much of the block is taken.
    #[inline]
    fn filled(&self) -> usize {
        (self.length % BLOCK as u64) as usize
    }

    /// Adds bytes that fill the block at least.
    #[inline(never)]
    fn fill(&mut self, bytes: &[u8]) {
        let filled = self.filled();
        let (first, rest) = bytes.split_at(BLOCK - filled);
        self.block[filled..].copy_from_slice(first);
        self.compress();
        let (blocks, rest) = rest.as_chunks();
        compress256(&mut self.state, blocks);
        self.block[..rest.len()].copy_from_slice(rest);
    }

    #[inline]
    fn compress(&mut self) {
        compress256(&mut self.state, slice::from_ref(&self.block));
        self.block = [0; BLOCK];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;
    use sha2::{Digest, Sha256};

    fn key(parts: &[&[u8]]) -> i64 {
        let mut hasher = KeyHasher::new();
        for part in parts {
            hasher.begin_part();
            hasher.bytes(part);
        }
        hasher.finish()
    }

    /// The definition, word for word, over a whole byte string.
    fn reference(parts: &[Vec<u8>]) -> i64 {
        let digest = Sha256::digest(parts.join(&SEPARATOR));
        i64::from_be_bytes(digest[..8].try_into().unwrap())
    }

    /// `tests/vectors.json`; what the fields mean is said in `tests/vectors.py`, which writes it.
    #[derive(Deserialize)]
    struct Vectors {
        vectors: Vec<Vector>,
        described: Vec<Described>,
    }

    #[derive(Deserialize)]
    struct Vector {
        parts: Vec<String>,
        utf8: String,
        key: String,
    }

    #[derive(Deserialize)]
    struct Described {
        parts: Vec<Part>,
        key: String,
    }

    #[derive(Deserialize)]
    struct Part {
        text: String,
        repeat: usize,
    }

    #[test]
    #[cfg_attr(miri, ignore = "megabytes of names would take it half an hour")]
    fn golden_vectors() {
        let file: Vectors = serde_json::from_str(include_str!("../../tests/vectors.json")).unwrap();
        assert!(file.vectors.len() >= 60 && !file.described.is_empty());
        for Vector { parts, utf8, key: expected } in file.vectors {
            let hex: String = parts.join("-").bytes().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, utf8, "parts {parts:?}");
            assert_eq!(key_of_texts(&parts).to_string(), expected, "parts {parts:?}");
        }
        for Described { parts, key: expected } in file.described {
            let parts: Vec<_> = parts.iter().map(|part| part.text.repeat(part.repeat)).collect();
            assert_eq!(key_of_texts(&parts).to_string(), expected);
        }
    }

    fn key_of_texts(parts: &[String]) -> i64 {
        let parts: Vec<&[u8]> = parts.iter().map(String::as_bytes).collect();
        key(&parts)
    }

    #[test]
    fn the_join_is_ambiguous_by_contract() {
        assert_eq!(key(&[b"a-b", b"c"]), key(&[b"a", b"b-c"]));
        assert_eq!(key(&[b"a-b", b"c"]), key(&[b"a-b-c"]));
        assert_ne!(key(&[b""]), key(&[b"", b""]));
    }

    #[test]
    fn every_length_round_the_block_edges() {
        for len in if cfg!(miri) { 50..70 } else { 0..200 } {
            let name = vec![b'x'; len];
            assert_eq!(key(&[&name]), reference(std::slice::from_ref(&name)), "{len} bytes");
            // The separator too may be what fills the block.
            assert_eq!(key(&[&name, b""]), reference(&[name, vec![]]), "{len} bytes and '-'");
        }
    }

    proptest! {
        #[test]
        fn equals_the_definition(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..150), 1..6)) {
            let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(key(&slices), reference(&parts));
        }

        #[test]
        fn pieces_do_not_matter(part in prop::collection::vec(any::<u8>(), 0..300), cut in 0usize..300) {
            let cut = cut.min(part.len());
            let mut hasher = KeyHasher::new();
            hasher.begin_part();
            hasher.bytes(&part[..cut]);
            hasher.bytes(&part[cut..]);
            prop_assert_eq!(hasher.finish(), reference(&[part]));
        }
    }
}
