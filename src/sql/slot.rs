//! `lock_slot`, `try_lock_slot`, `unlock_slot` and `slots_held`.

use crate::error::{Error, OrRaise};
use crate::keys::name::NamedKey;
use crate::locks::lock::{AdvisoryLock, Mode};
use crate::locks::lock_table::holders;
use crate::locks::slots::take::{Request, take};
use crate::sql::arguments::{one_name, slot_arguments};
use crate::sql::call::Call;
use crate::sql::lock::say_what_was_granted;
use crate::sql::text_array_arg::TextArrayArg;
use crate::sql::unlock::unlock;
use pgrx::datum::Interval;
use pgrx::prelude::*;

/// Takes one of so many slots of a name, or returns false when none could be had within `timeout`.
///
/// Errors: those of [`advisory_key`](crate::sql::key), and 22004 and 22023 (`slots` NULL, below 1), and those of
/// [`try_lock_keys`](crate::sql::lock).
#[pg_extern(volatile, parallel_restricted, cost = 10000)]
fn try_lock_slot(
    key: Option<TextArrayArg<'_>>,
    slots: Option<i32>,
    timeout: default!(Option<Interval>, "'0'"),
    session: default!(Option<bool>, "false"),
    call: Call<'_>,
) -> bool {
    let (subject, request) =
        slot_arguments("try_lock_slot", key, slots, timeout, session, call).or_raise();
    lock_one(&subject, request, call).or_raise()
}

/// Takes one of so many slots of a name, or raises 55P03 when none could be had within `timeout`.
///
/// Arguments and other errors are those of [`try_lock_slot`].
#[pg_extern(volatile, parallel_restricted, cost = 10000)]
fn lock_slot(
    key: Option<TextArrayArg<'_>>,
    slots: Option<i32>,
    timeout: default!(Option<Interval>, "NULL"),
    session: default!(Option<bool>, "false"),
    call: Call<'_>,
) {
    let (subject, request) =
        slot_arguments("lock_slot", key, slots, timeout, session, call).or_raise();
    if !lock_one(&subject, request, call).or_raise() {
        Error::SlotNotGranted {
            key: subject.describe(),
            slots: request.slots,
            timeout: request.timeout,
            holders: holders(&AdvisoryLock::new(subject.key), Mode::Exclusive),
        }
        .raise();
    }
}

/// Gives up one session-level hold of a slot; false, with a WARNING, if there is none. Errors: those of
/// [`advisory_key`](crate::sql::key), and 25000.
#[pg_extern(volatile, parallel_restricted, cost = 10000)]
fn unlock_slot(key: Option<TextArrayArg<'_>>, call: Call<'_>) -> bool {
    let subject = one_name("unlock_slot", key, call).or_raise();
    unlock(&subject, Mode::Shared)
}

/// How many sessions hold a slot of a name, or a shared lock on it, at this moment. Takes nothing.
///
/// Errors: as [`unlock_slot`], and 53200 (lock table full).
#[pg_extern(volatile, parallel_restricted, cost = 100)]
fn slots_held(key: Option<TextArrayArg<'_>>, call: Call<'_>) -> i32 {
    let subject = one_name("slots_held", key, call).or_raise();
    let held = AdvisoryLock::new(subject.key).shared_holders_now();
    i32::try_from(held).unwrap_or(i32::MAX)
}

/// Takes a slot; false if none could be had in time.
fn lock_one(subject: &NamedKey<'_>, request: Request, call: Call<'_>) -> Result<bool, Error> {
    let Some(slot) = take(subject, request)? else { return Ok(false) };
    say_what_was_granted(request.level, slot.is_new(), slot.waited(), call);
    slot.keep();
    Ok(true)
}
