//! The modules of the extension that know nothing of Postgres, in a crate that needs no server to
//! run in: their own tests under Miri, and what the fuzz targets check.

pub mod any_array;
pub mod any_bytes;

#[path = "../../../src/shared"]
pub mod shared {
    pub mod holds;
    pub mod name_record;
    pub mod statistics;
    pub mod text;
    pub mod version;
}

#[path = "../../../src/keys"]
mod keys {
    pub mod key;
    pub mod text_array;
}

/// Calls `check` with the body where Postgres can have it: behind a length word of 4 bytes, or of 1,
/// which leaves it unaligned. The allocation ends with the body, so that a sanitizer notices a read
/// behind it.
fn in_memory(body: &[u8], check: impl Fn(&[u8])) {
    for length_word in [4, 1] {
        let mut array = vec![0; length_word];
        array.extend(body);
        check(&array.into_boxed_slice()[length_word..]);
    }
}

#[cfg(test)]
mod tests {
    use super::{any_array, any_bytes};
    use arbitrary::{Arbitrary, Unstructured};
    use std::fs;

    /// What the fuzzer starts from; an input that once failed belongs there too.
    #[test]
    fn seeds() {
        let seeds: Vec<_> = fs::read_dir("seeds").unwrap().collect();
        assert!(!seeds.is_empty());
        for seed in seeds {
            let input = fs::read(seed.unwrap().path()).unwrap();
            any_bytes::check(&input);
            if let Ok(array) = Arbitrary::arbitrary_take_rest(Unstructured::new(&input)) {
                any_array::check(array);
            }
        }
    }
}
