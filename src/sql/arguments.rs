//! The arguments of the functions, checked.

use crate::backend;
use crate::error::Error;
use crate::keys::keyset::{KeySet, key_of_row};
use crate::keys::name::NamedKey;
use crate::keys::text_array::TextArray;
use crate::locks::all_or_none::Request;
use crate::locks::claim::Claim;
use crate::locks::lock::{Level, Mode};
use crate::locks::slots::take;
use crate::locks::timeout::Timeout;
use crate::settings::{self, SessionLocks};
use crate::sql::call::Call;
use crate::sql::text_array_arg::TextArrayArg;
use pgrx::datum::Interval;

/// Those of the functions that lock keys: the keys, and how to lock them.
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

/// Those of `claim_keys`: the candidates, and what to do with them.
pub fn claim_arguments<'a>(
    keys: Option<TextArrayArg<'a>>,
    wanted: Option<i32>,
    shared: Option<bool>,
    session: Option<bool>,
    call: Call<'_>,
) -> Result<(TextArray<'a>, Claim), Error> {
    refuse_parallel_worker()?;
    let candidates = text_array("keys", keys, call)?;
    let wanted = at_least_one("wanted", wanted, Error::TooFewWanted)?;
    let mode = mode(shared)?;
    let level = level(session)?;
    refuse_standby()?;
    if wanted > settings::max_keys_per_call() {
        return Err(Error::TooManyWanted(wanted));
    }
    Ok((candidates, Claim { wanted, mode, level }))
}

/// Those of the functions that take a slot: the name, and how to take it.
#[inline]
pub fn slot_arguments<'a>(
    function: &'static str,
    key: Option<TextArrayArg<'a>>,
    slots: Option<i32>,
    timeout: Option<Interval>,
    session: Option<bool>,
    call: Call<'_>,
) -> Result<(NamedKey<'a>, take::Request), Error> {
    let subject = one_name(function, key, call)?;
    let slots = at_least_one("slots", slots, Error::TooFewSlots)?;
    let (level, timeout) = level_and_timeout(session, timeout)?;
    Ok((subject, take::Request { slots, level, timeout }))
}

/// How long to lock, and how long to wait for that; and whether locks may be taken here at all.
#[inline(always)] // a call would cost what the checks do
fn level_and_timeout(
    session: Option<bool>,
    timeout: Option<Interval>,
) -> Result<(Level, Timeout), Error> {
    let timeout = Timeout::from_argument(timeout)?;
    let level = level(session)?;
    refuse_standby()?;
    Ok((level, timeout))
}

/// Those of the functions that unlock keys or look at them.
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

/// The name that the argument `key` of a function about slots stands for.
#[inline]
pub fn one_name<'a>(
    function: &'static str,
    key: Option<TextArrayArg<'a>>,
    call: Call<'_>,
) -> Result<NamedKey<'a>, Error> {
    refuse_parallel_worker()?;
    let array = one_row(function, key, call)?;
    let mut parts = array.parts();
    let offset = parts.offset();
    let key = key_of_row(&mut parts, array.columns())?;
    Ok(NamedKey { array, offset, key })
}

/// The argument `key`, if it is an array of text that stands for one name.
#[inline]
pub fn one_row<'a>(
    function: &'static str,
    key: Option<TextArrayArg<'a>>,
    call: Call<'_>,
) -> Result<TextArray<'a>, Error> {
    let array = text_array("key", key, call)?;
    if array.dimensions() > 1 { Err(Error::SeveralKeys(function)) } else { Ok(array) }
}

/// A worker gets here in a function that is falsely labelled PARALLEL SAFE.
#[inline]
pub fn refuse_parallel_worker() -> Result<(), Error> {
    if backend::is_parallel_worker() { Err(Error::ParallelWorker) } else { Ok(()) }
}

/// A lock on a standby excludes nobody on the primary.
#[inline]
fn refuse_standby() -> Result<(), Error> {
    if backend::in_recovery() && !settings::standby_locks() { Err(Error::Standby) } else { Ok(()) }
}

/// The argument `name`, if it is an array of text that stands for a name or several.
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

/// The argument `name`, which counts something.
#[inline]
fn at_least_one(name: &'static str, argument: Option<i32>, too_few: Error) -> Result<usize, Error> {
    let number = argument.ok_or(Error::NullArgument(name))?;
    usize::try_from(number).ok().filter(|&number| number > 0).ok_or(too_few)
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
