//! `claim_keys`.

use crate::error::{Error, OrRaise};
use crate::locks::claim::claim;
use crate::sql::arguments::claim_arguments;
use crate::sql::call::Call;
use crate::sql::int_array::IntArray;
use crate::sql::lock::say_what_was_granted;
use crate::sql::text_array_arg::TextArrayArg;
use pgrx::prelude::*;

/// Goes through the rows of `keys` in their order, locks those that are free until it has `wanted`, and
/// returns their numbers, from 1. Never waits; skips what the session holds already, in whatever way.
///
/// One dimension is one key, row 1. Errors: those of [`try_lock_keys`](crate::sql::lock) but deadlocks; `wanted` below 1
/// is 22023, above `advisory_keys.max_keys_per_call` 54000.
#[pg_extern(volatile, parallel_restricted, cost = 10000)]
fn claim_keys(
    keys: Option<TextArrayArg<'_>>,
    wanted: default!(Option<i32>, "1"),
    shared: default!(Option<bool>, "false"),
    session: default!(Option<bool>, "false"),
    call: Call<'_>,
) -> IntArray {
    claimed_rows(keys, wanted, shared, session, call).or_raise()
}

fn claimed_rows(
    keys: Option<TextArrayArg<'_>>,
    wanted: Option<i32>,
    shared: Option<bool>,
    session: Option<bool>,
    call: Call<'_>,
) -> Result<IntArray, Error> {
    let (names, request) = claim_arguments(keys, wanted, shared, session, call)?;
    let claimed = claim(names, request)?;
    // What can fail is done while the locks can still be given back.
    let rows = IntArray::new(claimed.row_numbers());
    if !claimed.is_empty() {
        say_what_was_granted(request.level, true, false, call);
    }
    claimed.keep();
    Ok(rows)
}
