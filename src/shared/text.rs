//! A short text in shared memory. It has no protocol of its own: what it belongs to has a
//! [`Version`](super::version::Version).

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Room for so many words of 8 bytes.
#[repr(C)]
pub struct Text<const WORDS: usize> {
    /// In bytes.
    length: AtomicU32,
    words: [AtomicU64; WORDS],
}

impl<const WORDS: usize> Text<WORDS> {
    /// The longest that fits, in bytes.
    pub const MAX: usize = WORDS * 8;

    /// Writes what fits of the text.
    pub fn write(&self, text: &[u8]) {
        let text = &text[..text.len().min(Self::MAX)];
        self.length.store(text.len() as u32, Ordering::Relaxed);
        for (word, bytes) in self.words.iter().zip(text.chunks(8)) {
            let mut padded = [0; 8];
            padded[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_ne_bytes(padded), Ordering::Relaxed);
        }
    }

    /// The text.
    pub fn read(&self) -> Vec<u8> {
        let length = self.length.load(Ordering::Relaxed) as usize;
        let words = self.words.iter().take(length.div_ceil(8));
        let mut text: Vec<u8> =
            words.flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes()).collect();
        text.truncate(length);
        text
    }
}

#[cfg(test)]
impl<const WORDS: usize> Default for Text<WORDS> {
    fn default() -> Self {
        let words = std::array::from_fn(|_| AtomicU64::new(0));
        Self { length: AtomicU32::new(0), words }
    }
}
