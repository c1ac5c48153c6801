//! `advisory_key`.

use crate::error::{Error, OrRaise};
use crate::keys::keyset::key_of_row;
use crate::sql::arguments::one_row;
use crate::sql::call::Call;
use crate::sql::text_array_arg::TextArrayArg;
use pgrx::prelude::*;

/// The key of one name. `key`: one dimension, the parts.
///
/// Errors: 22004 (NULL), 22023 (empty), 2202E (more than one dimension), 22021 or 22P05 (not valid
/// in UTF-8 terms), 42804 (parts that may have been cut, as they are of type `name`).
#[pg_extern(immutable, parallel_safe)]
fn advisory_key(key: Option<TextArrayArg<'_>>, call: Call<'_>) -> i64 {
    key_of_one_name(key, call).or_raise()
}

fn key_of_one_name(key: Option<TextArrayArg<'_>>, call: Call<'_>) -> Result<i64, Error> {
    let array = one_row("advisory_key", key, call)?;
    key_of_row(&mut array.parts(), array.columns())
}
