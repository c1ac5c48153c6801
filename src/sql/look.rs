//! `holds_keys` and `keys_available`, which take nothing.

use crate::error::OrRaise;
use crate::locks::lock::AdvisoryLock;
use crate::sql::arguments::keys_and_mode;
use crate::sql::call::Call;
use crate::sql::text_array_arg::TextArrayArg;
use pgrx::prelude::*;

/// Does this backend hold all of the keys (`shared`: at least shared), at whatever level?
///
/// Errors: as [`unlock_keys`](crate::sql::unlock).
#[pg_extern(volatile, parallel_restricted, cost = 100)]
fn holds_keys(
    keys: Option<TextArrayArg<'_>>,
    shared: default!(Option<bool>, "false"),
    call: Call<'_>,
) -> bool {
    let (keys, mode) = keys_and_mode(keys, shared, call).or_raise();
    keys.iter().all(|key| AdvisoryLock::new(key.key).held_at_least(mode))
}

/// Does no one else hold a conflicting lock on any of the keys at this moment? Takes nothing.
///
/// Errors: as [`unlock_keys`](crate::sql::unlock), and 53200 (lock table full).
#[pg_extern(volatile, parallel_restricted, cost = 100)]
fn keys_available(
    keys: Option<TextArrayArg<'_>>,
    shared: default!(Option<bool>, "false"),
    call: Call<'_>,
) -> bool {
    let (keys, mode) = keys_and_mode(keys, shared, call).or_raise();
    keys.iter().all(|key| AdvisoryLock::new(key.key).available(mode))
}
