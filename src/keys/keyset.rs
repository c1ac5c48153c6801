//! The keys of one call: sorted, without duplicates.

use crate::backend::check_for_interrupts;
use crate::error::Error;
use crate::keys::encoding::to_utf8;
use crate::keys::key::KeyHasher;
use crate::keys::name::NamedKey;
use crate::keys::text_array::{Parts, TextArray};
use smallvec::SmallVec;

/// The keys of a call in ascending order, each once.
pub struct KeySet<'a> {
    array: TextArray<'a>,
    entries: SmallVec<[Entry; 4]>,
}

/// One key and where the parts it was computed from begin, the first of them if there are several.
#[derive(Clone, Copy)]
pub struct Entry {
    /// The key.
    pub key: i64,
    offset: usize,
}

impl<'a> KeySet<'a> {
    /// Computes the keys of all rows.
    #[inline]
    pub fn new(array: TextArray<'a>) -> Result<Self, Error> {
        let mut entries: SmallVec<[Entry; 4]> = SmallVec::new();
        let rows = array.rows();
        // Only what does not fit on the stack is allocated, and if that fails it is an error of
        // this call, not the end of the server.
        entries.try_reserve_exact(rows).map_err(|_| Error::OutOfMemory { rows })?;
        let mut parts = array.parts();
        for _ in 0..rows {
            let offset = parts.offset();
            let key = key_of_row(&mut parts, array.columns())?;
            entries.push(Entry { key, offset });
        }
        if rows > 1 {
            entries.sort_unstable_by_key(|entry| (entry.key, entry.offset));
            entries.dedup_by_key(|entry| entry.key);
        }
        Ok(Self { array, entries })
    }

    /// The keys in ascending order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The keys in ascending order, with their names.
    pub fn iter(&self) -> impl Iterator<Item = NamedKey<'a>> {
        let array = self.array;
        self.entries.iter().map(move |&Entry { key, offset }| NamedKey { array, offset, key })
    }
}

/// Computes the key of the next row.
#[inline]
pub fn key_of_row(parts: &mut Parts<'_>, columns: usize) -> Result<i64, Error> {
    /// Bytes that are hashed between two looks for a cancel.
    const PIECE: usize = 1 << 20;

    let mut hasher = KeyHasher::new();
    for part in parts.take(columns) {
        hasher.begin_part();
        let part = to_utf8(part?);
        if part.len() <= PIECE {
            hasher.bytes(&part);
        } else {
            for piece in part.chunks(PIECE) {
                check_for_interrupts();
                hasher.bytes(piece);
            }
        }
    }
    check_for_interrupts();
    Ok(hasher.finish())
}
