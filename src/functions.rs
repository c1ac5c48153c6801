//! The SQL functions: from their arguments to the modules that do the work.
//!
//! The names of these functions are part of the installed SQL (`<name>_wrapper` symbols): none may
//! be renamed or removed once released.

use crate::argument::TextArrayArg;
use crate::backend;
use crate::call::Call;
use crate::error::{Error, OrRaise};
use crate::keyset::{KeySet, Locked, Request, key_of_row};
use crate::lock::{AdvisoryLock, Level, Mode};
use crate::lock_table::holders;
use crate::name::NamedKey;
use crate::session_limit;
use crate::settings::{self, SessionLocks};
use crate::short_lock;
use crate::text_array::TextArray;
use crate::timeout::Timeout;
use crate::warning;
use pgrx::datum::Interval;
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
    let array = text_array("key", key, call)?;
    if array.dimensions() > 1 {
        return Err(Error::SeveralKeys);
    }
    key_of_row(&mut array.parts(), array.columns())
}

/// Locks the keys, or returns false when they could not be had within `timeout`.
///
/// `keys`: one dimension is one key, two are several. Errors: those of [`advisory_key`], and 22023
/// (negative timeout), 25000 (in a parallel worker), 54000 (too many keys, in the call or in the
/// session), 55000 (session-level locks switched off; on a standby), 40P01 (deadlock), 53200 (lock
/// table full), 57014 (cancel, `statement_timeout`).
#[pg_extern(volatile, parallel_restricted, cost = 10000)]
fn try_lock_keys(
    keys: Option<TextArrayArg<'_>>,
    timeout: default!(Option<Interval>, "'0'"),
    shared: default!(Option<bool>, "false"),
    session: default!(Option<bool>, "false"),
    call: Call<'_>,
) -> bool {
    let (keys, request) = lock_arguments(keys, timeout, shared, session, call).or_raise();
    lock(&keys, request, call).or_raise().is_none()
}

/// Locks the keys, or raises 55P03 when they could not be had within `timeout`.
///
/// Arguments and other errors are those of [`try_lock_keys`].
#[pg_extern(volatile, parallel_restricted, cost = 10000)]
fn lock_keys(
    keys: Option<TextArrayArg<'_>>,
    timeout: default!(Option<Interval>, "NULL"),
    shared: default!(Option<bool>, "false"),
    session: default!(Option<bool>, "false"),
    call: Call<'_>,
) {
    let (keys, request) = lock_arguments(keys, timeout, shared, session, call).or_raise();
    if let Some(missing) = lock(&keys, request, call).or_raise() {
        not_granted(&missing, request).raise();
    }
}

/// Locks; the key that could not be had in time, if there is one.
///
/// What has to be said is said while the locks can still be given back, should that fail.
#[inline]
fn lock<'a>(
    keys: &KeySet<'a>,
    request: Request,
    call: Call<'_>,
) -> Result<Option<NamedKey<'a>>, Error> {
    let taken = match keys.lock(request)? {
        Locked::All(taken) => taken,
        Locked::NotInTime(missing) => return Ok(Some(missing)),
    };
    if taken.waited() && snapshot_outlives_wait(request.level, call) {
        warning::old_snapshot();
    }
    match request.level {
        // What was held before at session level is not released with the statement.
        Level::Transaction if taken.anything_new() => short_lock::granted(call),
        Level::Session if settings::session_locks() == SessionLocks::Warn => {
            warning::session_lock_taken();
        }
        _ => {}
    }
    taken.keep();
    Ok(None)
}

/// Will the transaction read, under the lock, with a snapshot from before the wait for it?
///
/// Not if it is over with this call: one that locks at session level outside a transaction block, and
/// does nothing else.
#[cold]
fn snapshot_outlives_wait(level: Level, call: Call<'_>) -> bool {
    backend::reads_with_one_snapshot()
        && (level == Level::Transaction
            || backend::in_transaction_block()
            || !call.is_whole_statement())
}

/// Releases one session-level hold of each key; false, with a WARNING for each, if some were not
/// held so. Errors: those of [`advisory_key`] but for dimensions, as in [`try_lock_keys`]; 25000.
#[pg_extern(volatile, parallel_restricted, cost = 10000)]
fn unlock_keys(
    keys: Option<TextArrayArg<'_>>,
    shared: default!(Option<bool>, "false"),
    call: Call<'_>,
) -> bool {
    let (keys, mode) = keys_and_mode(keys, shared, call).or_raise();
    let mut all = true;
    for key in keys.iter() {
        let lock = AdvisoryLock::new(key.key);
        if release(&lock, mode, 1) == 0 {
            warning::not_released(&key, &lock, mode);
            all = false;
        }
    }
    all
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
    if released > 0 && released == holds.in_all {
        session_limit::remove();
    }
    released
}

/// Does this backend hold all of the keys (`shared`: at least shared), at whatever level?
///
/// Errors: as [`unlock_keys`].
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
/// Errors: as [`unlock_keys`], and 53200 (lock table full).
#[pg_extern(volatile, parallel_restricted, cost = 100)]
fn keys_available(
    keys: Option<TextArrayArg<'_>>,
    shared: default!(Option<bool>, "false"),
    call: Call<'_>,
) -> bool {
    let (keys, mode) = keys_and_mode(keys, shared, call).or_raise();
    keys.iter().all(|key| AdvisoryLock::new(key.key).available(mode))
}

/// The arguments of the lock functions, checked.
#[inline]
fn lock_arguments<'a>(
    keys: Option<TextArrayArg<'a>>,
    timeout: Option<Interval>,
    shared: Option<bool>,
    session: Option<bool>,
    call: Call<'_>,
) -> Result<(KeySet<'a>, Request), Error> {
    refuse_parallel_worker()?;
    let array = text_array("keys", keys, call)?;
    let timeout = Timeout::from_argument(timeout)?;
    let mode = mode(shared)?;
    let level = level(session)?;
    if backend::in_recovery() && !settings::standby_locks() {
        return Err(Error::Standby);
    }
    if array.rows() > settings::max_keys_per_call() {
        return Err(Error::TooManyKeys { rows: array.rows() });
    }
    Ok((KeySet::new(array)?, Request { mode, level, timeout }))
}

/// The arguments of the other functions, checked.
#[inline]
fn keys_and_mode<'a>(
    keys: Option<TextArrayArg<'a>>,
    shared: Option<bool>,
    call: Call<'_>,
) -> Result<(KeySet<'a>, Mode), Error> {
    refuse_parallel_worker()?;
    let array = text_array("keys", keys, call)?;
    let mode = mode(shared)?;
    Ok((KeySet::new(array)?, mode))
}

/// A worker gets here in a function that is falsely labelled PARALLEL SAFE.
#[inline]
pub fn refuse_parallel_worker() -> Result<(), Error> {
    if backend::is_parallel_worker() { Err(Error::ParallelWorker) } else { Ok(()) }
}

#[inline]
fn text_array<'a>(
    name: &'static str,
    argument: Option<TextArrayArg<'a>>,
    call: Call<'_>,
) -> Result<TextArray<'a>, Error> {
    let argument = argument.ok_or(Error::NullArgument(name))?;
    let array = TextArray::parse(argument.body())?;
    match array.length_of_cut_name() {
        Some(length) if call.casts_name_array() => Err(Error::PartsOfTypeName(length)),
        _ => Ok(array),
    }
}

#[inline]
fn mode(shared: Option<bool>) -> Result<Mode, Error> {
    let shared = shared.ok_or(Error::NullArgument("shared"))?;
    Ok(if shared { Mode::Shared } else { Mode::Exclusive })
}

/// The level that was asked for, if `advisory_keys.session_locks` allows it.
#[inline]
fn level(session: Option<bool>) -> Result<Level, Error> {
    match session.ok_or(Error::NullArgument("session"))? {
        false => Ok(Level::Transaction),
        true if settings::session_locks() == SessionLocks::Off => Err(Error::SessionLocksOff),
        true => Ok(Level::Session),
    }
}

/// The error of `lock_keys`, with those who hold the key that could not be had.
#[cold]
fn not_granted(missing: &NamedKey<'_>, request: Request) -> Error {
    Error::NotGranted {
        key: missing.describe(),
        timeout: request.timeout,
        holders: holders(&AdvisoryLock::new(missing.key), request.mode),
    }
}
