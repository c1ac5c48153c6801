//! Any array as Postgres would write it: [`TextArray`] gives back its parts, and [`KeyHasher`] the
//! keys that the definition says.

use crate::in_memory;
use crate::keys::key::KeyHasher;
use crate::keys::text_array::{Invalid, MAX_ALIGN, TextArray};
use arbitrary::Arbitrary;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

/// An array, and how it is written down.
#[derive(Arbitrary, Debug)]
pub struct Array<'a> {
    parts: Vec<Part<'a>>,
    /// Which parts are NULL, counted from 0.
    nulls: BTreeSet<u8>,
    two_dimensions: bool,
    columns: u8,
    lower_bounds: [i32; 2],
    /// Whether there is a null bitmap though there is no NULL.
    bitmap: bool,
    /// Where the array is cut off to see that this is an error.
    truncation: u16,
}

#[derive(Arbitrary, Debug)]
struct Part<'a> {
    bytes: &'a [u8],
    short_length_word: bool,
    /// Where the hasher gets the part in two pieces.
    cut: u8,
}

/// Fails unless the array is read as it was written.
pub fn check(mut array: Array) {
    let count = array.parts.len();
    let columns = match array.two_dimensions {
        true => (usize::from(array.columns) % 8 + 1).min(count.max(1)),
        false => count,
    };
    array.parts.truncate(count.checked_div(columns).unwrap_or(0) * columns);
    let first_null = array.nulls.iter().map(|&i| usize::from(i)).find(|&i| i < array.parts.len());
    let written = array.write(columns);

    in_memory(&written, |body| {
        let read = match TextArray::parse(body) {
            Ok(read) => read,
            Err(error) if array.parts.is_empty() => return assert_eq!(error, Invalid::Empty),
            Err(error) => {
                let null = first_null.expect("an error without a reason");
                let (row, part) = (null / columns + 1, null % columns + 1);
                return assert_eq!(error, Invalid::NullPart { row, part });
            }
        };
        assert_eq!(first_null, None);
        assert_eq!(read.dimensions(), 1 + u8::from(array.two_dimensions));
        assert_eq!((read.rows(), read.columns()), (array.parts.len() / columns, columns));

        let mut lengths = array.parts.iter().map(|part| part.bytes.len());
        assert_eq!(read.length_of_cut_name(), lengths.find(|length| (60..=63).contains(length)));

        let mut parts = read.parts();
        for expected in array.parts.chunks(columns) {
            let bytes: Vec<&[u8]> = expected.iter().map(|part| part.bytes).collect();
            assert!(read.row_at(parts.offset()).eq(bytes.iter().copied()));
            let mut hasher = KeyHasher::new();
            for (expected, part) in expected.iter().zip(parts.by_ref()) {
                let part = part.expect("a part");
                assert_eq!(part, expected.bytes);
                let (left, right) = part.split_at(part.len().min(expected.cut.into()));
                hasher.begin_part();
                hasher.bytes(left);
                hasher.bytes(right);
            }
            let digest = Sha256::digest(bytes.join(&b'-'));
            assert_eq!(hasher.finish(), i64::from_be_bytes(digest[..8].try_into().unwrap()));
        }
        assert!(parts.next().is_none());
    });

    let truncated = &written[..usize::from(array.truncation) % written.len()];
    in_memory(truncated, |body| {
        let read = TextArray::parse(body).and_then(|array| array.parts().collect());
        let read: Result<Vec<&[u8]>, Invalid> = read;
        assert!(read.is_err());
    });
}

impl Array<'_> {
    /// The body of the array.
    fn write(&self, columns: usize) -> Vec<u8> {
        let count = self.parts.len();
        let dimensions = match columns {
            0 => vec![],
            _ if self.two_dimensions => vec![count / columns, columns],
            _ => vec![count],
        };
        let is_null = |i: usize| u8::try_from(i).is_ok_and(|i| self.nulls.contains(&i));
        let bitmap = match self.bitmap || (0..count).any(is_null) {
            true => count.div_ceil(8),
            false => 0,
        };
        let start = (16 + 8 * dimensions.len() + bitmap).next_multiple_of(MAX_ALIGN);

        // The length word is cut off in the end.
        let mut array = vec![0; 4];
        let mut int = |value: i32| array.extend(value.to_le_bytes());
        int(dimensions.len() as i32);
        int(if bitmap > 0 { start as i32 } else { 0 });
        int(25); // text
        dimensions.iter().for_each(|&length| int(length as i32));
        self.lower_bounds.iter().take(dimensions.len()).for_each(|&bound| int(bound));
        for byte in 0..bitmap {
            let present = |bit: &usize| byte * 8 + bit < count && !is_null(byte * 8 + bit);
            array.push((0..8).filter(present).map(|bit| 1 << bit).sum());
        }
        array.resize(start, 0);
        for (_, part) in self.parts.iter().enumerate().filter(|(i, _)| !is_null(*i)) {
            array.resize(array.len().next_multiple_of(4), 0);
            let length = part.bytes.len();
            if part.short_length_word && length < 127 {
                array.push((length as u8 + 1) * 2 + 1);
            } else {
                array.extend((length as u32 * 4 + 16).to_le_bytes());
            }
            array.extend(part.bytes);
        }
        array.split_off(4)
    }
}
