//! `lock_keys`, `try_lock_keys` and the procedure `acquire_keys`.

use crate::backend;
use crate::error::{Error, OrRaise};
use crate::keys::keyset::KeySet;
use crate::keys::name::NamedKey;
use crate::locks::all_or_none::{Locked, Request, lock_all};
use crate::locks::lock::{AdvisoryLock, Level};
use crate::locks::lock_table::holders;
use crate::locks::snapshot::{Kept, LetGo, Snapshot};
use crate::settings::{self, SessionLocks};
use crate::sql::arguments::lock_arguments;
use crate::sql::call::Call;
use crate::sql::short_lock;
use crate::sql::text_array_arg::TextArrayArg;
use crate::warning;
use pgrx::datum::Interval;
use pgrx::prelude::*;

/// Locks the keys, or returns false when they could not be had within `timeout`.
///
/// `keys`: one dimension is one key, two are several. Errors: those of [`advisory_key`](crate::sql::key), and 22023
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
    lock(&keys, request, call, &mut Kept).or_raise().is_none()
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
    if let Some(missing) = lock(&keys, request, call, &mut Kept).or_raise() {
        not_granted(&missing, request).raise();
    }
}

/// [`lock_keys`] as a procedure, which lets others do without its snapshot while it waits, where that is possible.
#[pg_extern(sql = r#"
CREATE PROCEDURE "acquire_keys"(
  "keys" text[],
  "timeout" interval DEFAULT NULL,
  "shared" bool DEFAULT false,
  "session" bool DEFAULT false
)
LANGUAGE c
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
"#)]
fn acquire_keys(
    keys: Option<TextArrayArg<'_>>,
    timeout: Option<Interval>,
    shared: Option<bool>,
    session: Option<bool>,
    call: Call<'_>,
) {
    let (keys, request) = lock_arguments(keys, timeout, shared, session, call).or_raise();
    let mut snapshot = if call.is_of_procedure() { LetGo::Untried } else { LetGo::Kept };
    if let Some(missing) = lock(&keys, request, call, &mut snapshot).or_raise() {
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
    snapshot: &mut impl Snapshot,
) -> Result<Option<NamedKey<'a>>, Error> {
    let outcome = lock_all(keys, request, snapshot);
    snapshot.after_waits();
    let taken = match outcome? {
        Locked::All(taken) => taken,
        Locked::NotInTime(missing) => return Ok(Some(missing)),
    };
    say_what_was_granted(request.level, taken.anything_new(), taken.waited(), call);
    taken.keep();
    Ok(None)
}

/// The warnings about what a call was granted: something that the session did not hold before, or after a wait.
#[inline(always)] // a call would cost what the checks do
pub fn say_what_was_granted(level: Level, new: bool, waited: bool, call: Call<'_>) {
    if waited && snapshot_outlives_wait(level, call) {
        warning::old_snapshot();
    }
    match level {
        // What was held before at session level is not released with the statement.
        Level::Transaction if new => short_lock::granted(call),
        Level::Session if settings::session_locks() == SessionLocks::Warn => {
            warning::session_lock_taken();
        }
        _ => {}
    }
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

/// The error of `lock_keys`, with those who hold the key that could not be had.
#[cold]
fn not_granted(missing: &NamedKey<'_>, request: Request) -> Error {
    Error::NotGranted {
        key: missing.describe(),
        timeout: request.timeout,
        holders: holders(&AdvisoryLock::new(missing.key), request.mode),
    }
}
