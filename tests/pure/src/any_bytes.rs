//! Any bytes as the body of an array: [`TextArray`] finds what a plain reader by offsets finds.

use crate::in_memory;
use crate::keys::text_array::{Invalid, TextArray};

/// Fails unless both readers agree, on every part and on the place where they stop.
pub fn check(body: &[u8]) {
    in_memory(body, |body| {
        let (array, plain) = match (TextArray::parse(body), Plain::read(body)) {
            (Ok(array), Ok(plain)) => (array, plain),
            (array, plain) => return assert_eq!(array.err(), plain.err()),
        };
        let dimensions = i64::from(array.dimensions());
        let size = (dimensions, array.rows() as i64, array.columns() as i64);
        assert_eq!(size, (plain.dimensions, plain.rows, plain.columns));

        // Equal addresses say too that each part lies within the body.
        let parts: Vec<_> = array.parts().map(|part| part.map(<[u8]>::as_ptr_range)).collect();
        let expected: Vec<_> =
            plain.parts.iter().map(|part| part.map(<[u8]>::as_ptr_range)).collect();
        assert_eq!(parts, expected);

        let mut parts = array.parts();
        for row in plain.parts.chunks(array.columns()) {
            let shown = array.row_at(parts.offset());
            assert!(shown.eq(row.iter().map_while(|part| part.ok())));
            parts.by_ref().take(array.columns()).for_each(drop);
        }
    });
}

/// The array, read as the C macros of Postgres do it but with every offset checked.
struct Plain<'a> {
    dimensions: i64,
    rows: i64,
    columns: i64,
    /// Up to the first error.
    parts: Vec<Result<&'a [u8], Invalid>>,
}

impl<'a> Plain<'a> {
    fn read(body: &'a [u8]) -> Result<Self, Invalid> {
        let dimensions = int(body, 4)?;
        let data_offset = int(body, 8)?;
        if dimensions < 0 {
            return Err(Invalid::Malformed);
        } else if dimensions == 0 {
            return Err(Invalid::Empty);
        } else if dimensions > 2 {
            return Err(Invalid::Dimensions(dimensions as i32));
        }
        let columns = int(body, 16 + 4 * (dimensions - 1))?;
        let rows = if dimensions == 2 { int(body, 16)? } else { 1 };
        if rows < 0 || columns < 0 {
            return Err(Invalid::Malformed);
        }
        let count = rows * columns;
        if count == 0 {
            return Err(Invalid::Empty);
        }
        let bounds_end = 16 + 8 * dimensions;
        if data_offset != 0 {
            let bitmap = bytes(body, bounds_end, (count + 7) / 8)?;
            for i in 0..count {
                if bitmap[i as usize / 8] & (1 << (i % 8)) == 0 {
                    let (row, part) = ((i / columns) as usize + 1, (i % columns) as usize + 1);
                    return Err(Invalid::NullPart { row, part });
                }
            }
        }
        let start = if data_offset == 0 { (bounds_end + 7) / 8 * 8 } else { data_offset };
        bytes(body, start, 0)?;

        let mut parts = Vec::new();
        let mut offset = start;
        for _ in 0..count {
            offset = start + (offset - start + 3) / 4 * 4;
            let part = part(body, offset);
            parts.push(part.map(|(part, _)| part));
            match part {
                Ok((_, end)) => offset = end,
                Err(_) => break,
            }
        }
        Ok(Self { dimensions, rows, columns, parts })
    }
}

/// The part at an offset of the array, and the offset of its end.
fn part(body: &[u8], offset: i64) -> Result<(&[u8], i64), Invalid> {
    let first = bytes(body, offset, 1)?[0];
    let (header, size) = match first {
        1 => return Err(Invalid::Malformed),
        _ if first % 2 == 1 => (1, i64::from(first / 2)),
        _ if first % 4 == 2 => return Err(Invalid::Malformed),
        _ => (4, (int(body, offset)? & 0xFFFF_FFFF) / 4),
    };
    Ok((bytes(body, offset + header, size - header)?, offset + size))
}

fn int(body: &[u8], offset: i64) -> Result<i64, Invalid> {
    let bytes = bytes(body, offset, 4)?;
    Ok(i64::from(i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])))
}

/// So many bytes at an offset of the array, whose first 4 bytes are not in the body.
fn bytes(body: &[u8], offset: i64, count: i64) -> Result<&[u8], Invalid> {
    let start = offset - 4;
    if start < 0 || count < 0 || start + count > body.len() as i64 {
        return Err(Invalid::Malformed);
    }
    Ok(&body[start as usize..(start + count) as usize])
}
