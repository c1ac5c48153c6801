//! The arguments of the functions, checked.

use crate::backend;
use crate::error::Error;
use crate::keys::keyset::KeySet;
use crate::keys::text_array::TextArray;
use crate::locks::all_or_none::Request;
use crate::locks::lock::{Level, Mode};
use crate::locks::timeout::Timeout;
use crate::settings::{self, SessionLocks};
use crate::sql::call::Call;
use crate::sql::text_array_arg::TextArrayArg;
use pgrx::datum::Interval;

/// The arguments of the lock functions, checked.
#[inline]
pub fn lock_arguments<'a>(
    keys: Option<TextArrayArg<'a>>,
    timeout: Option<Interval>,
    shared: Option<bool>,
    session: Option<bool>,
    call: Call<'_>,
) -> Result<(KeySet<'a>, Request), Error> {
    refuse_parallel_worker()?;
    let array = text_array("keys", keys, call)?;
    let mode = mode(shared)?;
    let (level, timeout) = level_and_timeout(session, timeout)?;
    if array.rows() > settings::max_keys_per_call() {
        return Err(Error::TooManyKeys { rows: array.rows() });
    }
    Ok((KeySet::new(array)?, Request { mode, level, timeout }))
}

/// How long to lock, and how long to wait for that, checked; and whether locks may be taken here at all.
#[inline(always)] // a call would cost what the checks do
pub fn level_and_timeout(
    session: Option<bool>,
    timeout: Option<Interval>,
) -> Result<(Level, Timeout), Error> {
    let timeout = Timeout::from_argument(timeout)?;
    let level = level(session)?;
    if backend::in_recovery() && !settings::standby_locks() {
        return Err(Error::Standby);
    }
    Ok((level, timeout))
}

/// The arguments of the other functions, checked.
#[inline]
pub fn keys_and_mode<'a>(
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

/// The argument `name`, if it is an array of text that stands for a name or several.
#[inline]
pub fn text_array<'a>(
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
