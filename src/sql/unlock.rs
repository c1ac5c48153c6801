//! `unlock_keys` and `release_keys`.

use crate::error::OrRaise;
use crate::keys::name::NamedKey;
use crate::locks::held_since;
use crate::locks::lock::{AdvisoryLock, Holds, Level, Mode};
use crate::locks::session_limit;
use crate::locks::slots::wake;
use crate::sql::arguments::keys_and_mode;
use crate::sql::call::Call;
use crate::sql::text_array_arg::TextArrayArg;
use crate::warning;
use pgrx::prelude::*;

/// Releases one session-level hold of each key; false, with a WARNING for each, if some were not
/// held so. Errors: those of [`advisory_key`](crate::sql::key) but for dimensions, as in
/// [`try_lock_keys`](crate::sql::lock); 25000.
#[pg_extern(volatile, parallel_restricted, cost = 10000)]
fn unlock_keys(
    keys: Option<TextArrayArg<'_>>,
    shared: default!(Option<bool>, "false"),
    call: Call<'_>,
) -> bool {
    let (keys, mode) = keys_and_mode(keys, shared, call).or_raise();
    let mut all = true;
    for key in keys.iter() {
        all &= unlock(&key, mode);
    }
    all
}

/// Releases one session-level hold of a key; false, with a WARNING, if there is none.
#[inline]
pub fn unlock(key: &NamedKey<'_>, mode: Mode) -> bool {
    let lock = AdvisoryLock::new(key.key);
    let released = release(&lock, mode, 1) > 0;
    if !released {
        warning::not_released(key, &lock, mode);
    }
    released
}

/// Releases every session-level hold of each key in this mode; how many there were. None is no
/// warning. Errors: as [`unlock_keys`].
#[pg_extern(volatile, parallel_restricted, cost = 10000)]
fn release_keys(
    keys: Option<TextArrayArg<'_>>,
    shared: default!(Option<bool>, "false"),
    call: Call<'_>,
) -> i32 {
    let (keys, mode) = keys_and_mode(keys, shared, call).or_raise();
    let released: usize =
        keys.iter().map(|key| release(&AdvisoryLock::new(key.key), mode, usize::MAX)).sum();
    i32::try_from(released).unwrap_or(i32::MAX)
}

/// Gives up at most so many session-level holds; how many it were. Postgres warns of a hold that is
/// not there, so it is asked first.
#[inline]
fn release(lock: &AdvisoryLock, mode: Mode, most: usize) -> usize {
    let holds = lock.holds(mode);
    let released = holds.at_session_level.min(most);
    for _ in 0..released {
        lock.release(mode, Level::Session);
    }
    if released > 0 {
        let left = Holds {
            at_session_level: holds.at_session_level - released,
            in_all: holds.in_all - released,
        };
        held_since::released(lock.key(), mode, left);
    }
    if released > 0 && released == holds.in_all {
        session_limit::remove();
        if mode == Mode::Shared {
            wake::released(lock.key());
        }
    }
    released
}
