//! A `text[]` value, read in place.
//!
//! The layout is that of `src/include/utils/array.h` (`ArrayType`) and of `varlena` values in
//! `src/include/varatt.h`. What is read here is the *body* of the array: everything after its own
//! length word, so that a value stored with a 1-byte length word, which is not aligned, can be read
//! without copying it.
//!
//! ```text
//! offset in the array   0         4      8           12        16          16+4n
//!                       | length  | ndim | dataoffset | elemtype | dims[n]  | lower bounds[n] | null bitmap? | parts
//! ```
//!
//! Nothing here trusts the bytes: a malformed value is an error, never a read out of bounds. This
//! module knows nothing of Postgres but this layout.

/// Bytes of the array's own length word, which is not part of the body.
const LENGTH_WORD: usize = 4;

/// Where `dims` begins, counted from the start of the array, in bytes.
const HEADER: usize = 16;

/// What `MAXALIGN` rounds up to, in bytes; the parts begin at such an offset.
pub const MAX_ALIGN: usize = 8;

/// What each part begins at a multiple of, in bytes (`typalign` of `text` is `i`).
const PART_ALIGN: usize = 4;

#[cfg(not(target_endian = "little"))]
compile_error!("length words are read in their little-endian form");

/// Why a `text[]` value cannot be used as keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invalid {
    /// It has no element.
    Empty,
    /// It has more than two dimensions; the number is how many.
    Dimensions(i32),
    /// The part at this place is NULL; rows and parts count from 1.
    NullPart {
        /// The row, 1 in a one-dimensional array.
        row: usize,
        /// The part within the row.
        part: usize,
    },
    /// The bytes are not an array of `text`.
    Malformed,
}

/// A non-empty `text[]` of one or two dimensions without NULL: one row of parts, or several.
#[derive(Debug, Clone, Copy)]
pub struct TextArray<'a> {
    dimensions: u8,
    rows: usize,
    columns: usize,
    /// The parts, each a `varlena`, row by row.
    data: &'a [u8],
}

impl<'a> TextArray<'a> {
    /// Reads the body of an array: its bytes after the length word.
    #[inline]
    pub fn parse(body: &'a [u8]) -> Result<Self, Invalid> {
        let dimensions = int_at(body, 4)?;
        let data_offset = int_at(body, 8)?;
        let (rows, columns) = match dimensions {
            0 => return Err(Invalid::Empty),
            1 => (1, count_at(body, HEADER)?),
            2 => (count_at(body, HEADER)?, count_at(body, HEADER + 4)?),
            3.. => return Err(Invalid::Dimensions(dimensions)),
            _ => return Err(Invalid::Malformed),
        };
        let parts = rows.checked_mul(columns).ok_or(Invalid::Malformed)?;
        if parts == 0 {
            return Err(Invalid::Empty);
        }

        let after_bounds = HEADER + 8 * dimensions as usize;
        let data_start = if data_offset == 0 {
            after_bounds.next_multiple_of(MAX_ALIGN)
        } else {
            let bitmap = body
                .get(after_bounds - LENGTH_WORD..)
                .and_then(|rest| rest.get(..parts.div_ceil(8)))
                .ok_or(Invalid::Malformed)?;
            if let Some(null) = first_null(bitmap, parts) {
                return Err(Invalid::NullPart {
                    row: null / columns + 1,
                    part: null % columns + 1,
                });
            }
            usize::try_from(data_offset).map_err(|_| Invalid::Malformed)?
        };
        let data = data_start
            .checked_sub(LENGTH_WORD)
            .and_then(|start| body.get(start..))
            .ok_or(Invalid::Malformed)?;
        Ok(Self { dimensions: dimensions as u8, rows, columns, data })
    }

    /// 1 or 2.
    #[inline]
    pub fn dimensions(&self) -> u8 {
        self.dimensions
    }

    /// How many names the array holds: 1 if it has one dimension, else the length of the first.
    #[inline]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many parts each name has.
    #[inline]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The length in bytes of a part that text of the type `name` could have been cut to; none if
    /// there is no such part. That type keeps 63 bytes, cut between characters of up to 4.
    #[inline]
    pub fn length_of_cut_name(&self) -> Option<usize> {
        self.parts()
            .map_while(Result::ok)
            .map(<[u8]>::len)
            .find(|length| (60..=63).contains(length))
    }

    /// All parts, row by row; after an error nothing more comes.
    #[inline]
    pub fn parts(&self) -> Parts<'a> {
        Parts { rest: self.data, offset: 0, left: self.rows * self.columns }
    }

    /// The parts of the row whose first part is at this [`Parts::offset`], as far as they can be
    /// read: for display only.
    pub fn row_at(&self, offset: usize) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let rest = self.data.get(offset..).unwrap_or_default();
        Parts { rest, offset, left: self.columns }.map_while(Result::ok)
    }
}

/// Iterator over the bytes of the parts of a [`TextArray`].
#[derive(Debug, Clone)]
pub struct Parts<'a> {
    rest: &'a [u8],
    /// Of `rest`, from the start of the data, in bytes.
    offset: usize,
    left: usize,
}

impl<'a> Iterator for Parts<'a> {
    type Item = Result<&'a [u8], Invalid>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let part = self.take_part();
        if part.is_none() {
            self.left = 0;
        }
        Some(part.ok_or(Invalid::Malformed))
    }
}

impl<'a> Parts<'a> {
    /// Where the next part is looked for, in bytes from the start of the parts.
    #[inline]
    pub fn offset(&self) -> usize {
        self.offset
    }

    #[inline]
    fn take_part(&mut self) -> Option<&'a [u8]> {
        self.skip(self.offset.next_multiple_of(PART_ALIGN) - self.offset)?;
        let first = *self.rest.first()?;
        let (header, size) = match first & 0b11 {
            // A 4-byte length word; its value counts the word itself.
            0b00 => (4, (u32::from_ne_bytes(*self.rest.first_chunk()?) >> 2) as usize),
            // A 1-byte length word; its value counts itself. Arrays written by Postgres do not
            // hold them, but its own readers accept them.
            0b01 | 0b11 if first != 0b01 => (1, usize::from(first >> 1)),
            // Compressed or stored elsewhere: never inside an array.
            _ => return None,
        };
        let part = self.rest.get(header..size)?;
        self.skip(size)?;
        Some(part)
    }

    #[inline]
    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.rest = self.rest.get(bytes..)?;
        self.offset += bytes;
        Some(())
    }
}

/// The `int4` at an offset of the array.
#[inline]
fn int_at(body: &[u8], offset: usize) -> Result<i32, Invalid> {
    body.get(offset - LENGTH_WORD..)
        .and_then(|rest| rest.first_chunk())
        .map(|bytes| i32::from_ne_bytes(*bytes))
        .ok_or(Invalid::Malformed)
}

/// The length of a dimension, at an offset of the array.
#[inline]
fn count_at(body: &[u8], offset: usize) -> Result<usize, Invalid> {
    usize::try_from(int_at(body, offset)?).map_err(|_| Invalid::Malformed)
}

/// The first of `parts` elements whose bit is not set, counted from 0.
fn first_null(bitmap: &[u8], parts: usize) -> Option<usize> {
    let byte = bitmap.iter().position(|&byte| byte != 0xFF)?;
    let null = byte * 8 + bitmap[byte].trailing_ones() as usize;
    (null < parts).then_some(null)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Builds the body of an array as Postgres would.
    fn body(dims: &[i32], lower: i32, parts: &[Option<&[u8]>]) -> Vec<u8> {
        let has_null = parts.iter().any(Option::is_none);
        let mut array = vec![0; LENGTH_WORD];
        let mut int = |value: i32| array.extend(value.to_ne_bytes());
        int(dims.len() as i32);
        int(0); // dataoffset, set below
        int(25); // text
        dims.iter().for_each(|&dim| int(dim));
        dims.iter().for_each(|_| int(lower));
        if has_null {
            let mut bitmap = vec![0u8; parts.len().div_ceil(8)];
            for (i, _) in parts.iter().enumerate().filter(|(_, part)| part.is_some()) {
                bitmap[i / 8] |= 1 << (i % 8);
            }
            array.extend(bitmap);
        }
        array.resize(array.len().next_multiple_of(MAX_ALIGN), 0);
        if has_null {
            let data_offset = array.len() as i32;
            array[8..12].copy_from_slice(&data_offset.to_ne_bytes());
        }
        for part in parts.iter().flatten() {
            array.resize(array.len().next_multiple_of(PART_ALIGN), 0);
            array.extend((((part.len() + 4) as u32) << 2).to_ne_bytes());
            array.extend(*part);
        }
        array.split_off(LENGTH_WORD)
    }

    fn read(body: &[u8]) -> Result<Vec<Vec<u8>>, Invalid> {
        TextArray::parse(body)?.parts().map(|part| part.map(<[u8]>::to_vec)).collect()
    }

    #[test]
    fn one_dimension_is_one_row() {
        let body = body(&[3], 1, &[Some(b"a"), Some(b""), Some(b"ccccc")]);
        let array = TextArray::parse(&body).unwrap();
        assert_eq!((array.dimensions(), array.rows(), array.columns()), (1, 1, 3));
        assert_eq!(read(&body).unwrap(), [&b"a"[..], b"", b"ccccc"]);
    }

    #[test]
    fn two_dimensions_are_rows() {
        let body = body(&[2, 2], -7, &[Some(b"a"), Some(b"1"), Some(b"bb"), Some(b"22")]);
        let array = TextArray::parse(&body).unwrap();
        assert_eq!((array.dimensions(), array.rows(), array.columns()), (2, 2, 2));
        let mut parts = array.parts();
        parts.by_ref().take(2).for_each(|part| assert!(part.is_ok()));
        assert_eq!(array.row_at(parts.offset()).collect::<Vec<_>>(), [b"bb", b"22"]);
        assert_eq!(array.row_at(0).collect::<Vec<_>>(), [b"a", b"1"]);
    }

    #[test]
    fn what_a_name_may_have_been_cut_to_is_found() {
        for (length, found) in [(59, None), (60, Some(60)), (63, Some(63)), (64, None)] {
            let part = vec![b'x'; length];
            let body = body(&[2], 1, &[Some(b"a"), Some(&part)]);
            assert_eq!(TextArray::parse(&body).unwrap().length_of_cut_name(), found);
        }
    }

    #[test]
    fn rejects_what_is_no_key() {
        assert_eq!(read(&body(&[], 1, &[])), Err(Invalid::Empty));
        assert_eq!(read(&body(&[1, 1, 1], 1, &[Some(b"a")])), Err(Invalid::Dimensions(3)));
        assert_eq!(
            read(&body(&[2, 2], 1, &[Some(b"a"), Some(b"b"), Some(b"c"), None])),
            Err(Invalid::NullPart { row: 2, part: 2 })
        );
    }

    #[test]
    fn a_null_bitmap_without_null_is_fine() {
        // What remains when the NULL element of an array was overwritten.
        let mut body = body(&[2], 1, &[Some(b"a"), None]);
        let bitmap = HEADER + 8 - LENGTH_WORD;
        body[bitmap] = 0b11;
        body.extend((5u32 << 2).to_ne_bytes());
        // The first part is 5 bytes long, the second begins at the next multiple of 4.
        let second = body.len() - 4;
        body.splice(second..second, [0; 3]);
        body.push(b'b');
        assert_eq!(read(&body).unwrap(), [b"a", b"b"]);
    }

    #[test]
    fn short_length_words_are_read() {
        let mut body = body(&[1], 1, &[]);
        body.extend([(4 << 1) | 1, b'x', b'y', b'z']);
        assert_eq!(read(&body).unwrap(), [b"xyz"]);
    }

    #[test]
    fn truncation_at_every_byte_is_an_error() {
        let whole = body(&[2], 1, &[Some(b"abc"), Some(b"defgh")]);
        for len in 0..whole.len() {
            assert_eq!(read(&whole[..len]), Err(Invalid::Malformed), "{len} bytes");
        }
    }

    #[test]
    fn compressed_and_external_parts_are_malformed() {
        for first in [0b10u8, 0b01] {
            let mut body = body(&[1], 1, &[]);
            body.extend([first, 0, 0, 0, 0, 0, 0, 0]);
            assert_eq!(read(&body), Err(Invalid::Malformed));
        }
    }

    proptest! {
        #[test]
        fn reads_back_what_was_written(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..20), lower in any::<i32>()) {
            let written: Vec<Option<&[u8]>> = parts.iter().map(|part| Some(part.as_slice())).collect();
            prop_assert_eq!(read(&body(&[parts.len() as i32], lower, &written)).unwrap(), parts);
        }

        #[test]
        fn finds_the_first_null(nulls in prop::collection::vec(any::<bool>(), 1..40)) {
            let parts: Vec<Option<&[u8]>> = nulls.iter().map(|&null| (!null).then_some(&b"x"[..])).collect();
            let result = read(&body(&[parts.len() as i32], 1, &parts));
            match nulls.iter().position(|&null| null) {
                Some(null) => prop_assert_eq!(result, Err(Invalid::NullPart { row: 1, part: null + 1 })),
                None => prop_assert!(result.is_ok()),
            }
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }

        #[test]
        fn any_damage_is_survived(at in 0usize..100, byte in any::<u8>()) {
            let mut body = body(&[2, 2], 1, &[Some(b"a"), Some(b"bb"), None, Some(b"dddd")]);
            let at = at % body.len();
            body[at] = byte;
            let _ = read(&body);
        }
    }
}
