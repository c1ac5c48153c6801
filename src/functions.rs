//! The SQL functions: from their arguments to the modules that do the work.
//!
//! The names of these functions are part of the installed SQL (`<name>_wrapper` symbols): none may
//! be renamed or removed once released.

use crate::argument::TextArrayArg;
use crate::error::{Error, OrRaise};
use crate::keyset::{KeySet, Request, key_of_row};
use crate::lock::{AdvisoryLock, Level, Mode};
use crate::name::NamedKey;
use crate::report::Report;
use crate::settings::{self, SessionLocks};
use crate::text_array::TextArray;
use crate::timeout::Timeout;
use pgrx::datum::Interval;
use pgrx::prelude::*;

/// The key of one name. `key`: one dimension, the parts.
///
/// Errors: 22004 (NULL), 22023 (empty), 2202E (more than one dimension), 22021 or 22P05 (not valid
/// in UTF-8 terms).
#[pg_extern(immutable, parallel_safe)]
fn advisory_key(key: Option<TextArrayArg<'_>>) -> i64 {
    key_of_one_name(key).or_raise()
}

fn key_of_one_name(key: Option<TextArrayArg<'_>>) -> Result<i64, Error> {
    let array = text_array("key", key)?;
    if array.dimensions() > 1 {
        return Err(Error::SeveralKeys);
    }
    key_of_row(&mut array.parts(), array.columns())
}

/// Locks the keys, or returns false when they could not be had within `timeout`.
///
/// `keys`: one dimension is one key, two are several. Errors: those of [`advisory_key`], and 22023
/// (negative timeout), 54000 (too many keys), 55000 (session-level locks switched off), 40P01
/// (deadlock), 53200 (lock table full), 57014 (cancel, `statement_timeout`).
#[pg_extern(volatile, parallel_restricted, cost = 10000)]
fn try_lock_keys(
    keys: Option<TextArrayArg<'_>>,
    timeout: default!(Option<Interval>, "'0'"),
    shared: default!(Option<bool>, "false"),
    session: default!(Option<bool>, "false"),
) -> bool {
    let (keys, request) = lock_arguments(keys, timeout, shared, session).or_raise();
    keys.lock(request).is_ok()
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
) {
    let (keys, request) = lock_arguments(keys, timeout, shared, session).or_raise();
    keys.lock(request).map_err(|missing| not_granted(&missing, request)).or_raise();
}

/// Releases one session-level hold of each key; false, with a WARNING for each, if some were not
/// held so. Errors: those of [`advisory_key`] but for dimensions, as in [`try_lock_keys`].
#[pg_extern(volatile, parallel_restricted, cost = 10000)]
fn unlock_keys(keys: Option<TextArrayArg<'_>>, shared: default!(Option<bool>, "false")) -> bool {
    let (keys, mode) = keys_and_mode(keys, shared).or_raise();
    let mut all = true;
    for key in keys.iter() {
        all &= unlock_key(&key, mode);
    }
    all
}

#[inline]
fn unlock_key(key: &NamedKey<'_>, mode: Mode) -> bool {
    let lock = AdvisoryLock::new(key.key);
    // Postgres warns by itself, but not of which key, when there is only a transaction's hold.
    let released = lock.held(mode) && lock.release(mode, Level::Session);
    if !released {
        warn_not_released(key, &lock, mode);
    }
    released
}

#[cold]
fn warn_not_released(key: &NamedKey<'_>, lock: &AdvisoryLock, mode: Mode) {
    let (wanted, other, pass_other) = match mode {
        Mode::Exclusive => ("exclusive", Mode::Shared, "Pass shared => true to release it."),
        Mode::Shared => ("shared", Mode::Exclusive, "Pass shared => false to release it."),
    };
    let (fact, cure) = if lock.held(mode) {
        (" is held at transaction level.", Some("It is released when the transaction ends."))
    } else if lock.held(other) {
        (" is held in the other mode.", Some(pass_other))
    } else {
        (" is not held.", None)
    };
    let mut detail = b"Key ".to_vec();
    detail.extend(key.describe());
    detail.extend(fact.bytes());
    let warning = Report::new(
        PgSqlErrorCode::ERRCODE_WARNING,
        format!("this session does not hold the {wanted} advisory lock at session level"),
    )
    .detail(detail);
    match cure {
        Some(cure) => warning.hint(cure).warn(),
        None => warning.warn(),
    }
}

/// Does this backend hold all of the keys (`shared`: at least shared), at whatever level?
///
/// Errors: as [`unlock_keys`].
#[pg_extern(volatile, parallel_restricted, cost = 100)]
fn holds_keys(keys: Option<TextArrayArg<'_>>, shared: default!(Option<bool>, "false")) -> bool {
    let (keys, mode) = keys_and_mode(keys, shared).or_raise();
    keys.iter().all(|key| AdvisoryLock::new(key.key).held_at_least(mode))
}

/// Does no one else hold a conflicting lock on any of the keys at this moment? Takes nothing.
///
/// Errors: as [`unlock_keys`], and 53200 (lock table full).
#[pg_extern(volatile, parallel_restricted, cost = 100)]
fn keys_available(keys: Option<TextArrayArg<'_>>, shared: default!(Option<bool>, "false")) -> bool {
    let (keys, mode) = keys_and_mode(keys, shared).or_raise();
    keys.iter().all(|key| AdvisoryLock::new(key.key).available(mode))
}

/// The arguments of the lock functions, checked.
#[inline]
fn lock_arguments<'a>(
    keys: Option<TextArrayArg<'a>>,
    timeout: Option<Interval>,
    shared: Option<bool>,
    session: Option<bool>,
) -> Result<(KeySet<'a>, Request), Error> {
    let array = text_array("keys", keys)?;
    let timeout = Timeout::from_argument(timeout)?;
    let mode = mode(shared)?;
    let level = level(session)?;
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
) -> Result<(KeySet<'a>, Mode), Error> {
    let array = text_array("keys", keys)?;
    let mode = mode(shared)?;
    Ok((KeySet::new(array)?, mode))
}

#[inline]
fn text_array<'a>(
    name: &'static str,
    argument: Option<TextArrayArg<'a>>,
) -> Result<TextArray<'a>, Error> {
    let argument = argument.ok_or(Error::NullArgument(name))?;
    Ok(TextArray::parse(argument.body())?)
}

#[inline]
fn mode(shared: Option<bool>) -> Result<Mode, Error> {
    let shared = shared.ok_or(Error::NullArgument("shared"))?;
    Ok(if shared { Mode::Shared } else { Mode::Exclusive })
}

/// The level that was asked for, if `advisory_keys.session_locks` allows it.
#[inline]
fn level(session: Option<bool>) -> Result<Level, Error> {
    if !session.ok_or(Error::NullArgument("session"))? {
        return Ok(Level::Transaction);
    }
    match settings::session_locks() {
        SessionLocks::On => {}
        SessionLocks::Warn => warn_of_session_lock(),
        SessionLocks::Off => return Err(Error::SessionLocksOff),
    }
    Ok(Level::Session)
}

#[cold]
fn warn_of_session_lock() {
    Report::new(PgSqlErrorCode::ERRCODE_WARNING, "session-level lock taken by name")
        .detail("\"advisory_keys.session_locks\" is \"warn\".")
        .hint("Lock at transaction level if this role connects through a transaction pooler.")
        .warn();
}

/// The error of `lock_keys`, with those who hold the key that could not be had.
#[cold]
fn not_granted(missing: &NamedKey<'_>, request: Request) -> Error {
    let bound = match request.timeout {
        Timeout::Session => "within lock_timeout".to_string(),
        Timeout::NoWait => "without waiting".to_string(),
        Timeout::Milliseconds(limit) => format!("within {limit} ms"),
    };
    let holders = AdvisoryLock::new(missing.key).holders(request.mode);
    let mut detail = b"Key ".to_vec();
    detail.extend(missing.describe());
    detail.extend(describe_holders(&holders).into_bytes());
    Error::NotGranted { bound, detail }
}

/// ` is held by processes 4711 and 4712.`
fn describe_holders(pids: &[i32]) -> String {
    /// So many are named, the rest are counted.
    const NAMED: usize = 8;

    let mut names: Vec<String> = pids
        .iter()
        .take(NAMED)
        .map(|&pid| match pid {
            0 => "a prepared transaction".to_string(),
            _ => format!("process {pid}"),
        })
        .collect();
    if pids.len() > NAMED {
        names.push(format!("{} more", pids.len() - NAMED));
    }
    match names.as_slice() {
        [] => " is free now or others wait for it before this session.".to_string(),
        [one] => format!(" is held by {one}."),
        [rest @ .., last] => format!(" is held by {} and {last}.", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::describe_holders;

    #[test]
    fn holders_are_listed_in_words() {
        assert_eq!(describe_holders(&[7]), " is held by process 7.");
        assert_eq!(describe_holders(&[7, 0]), " is held by process 7 and a prepared transaction.");
        assert!(describe_holders(&[1; 10]).ends_with("process 1 and 2 more."));
        assert!(describe_holders(&[]).contains("is free now"));
    }
}
