//! Waiting for a lock that somebody else holds: in Postgres' own queue, without losing a grant and
//! without keeping one that the caller is not told of.
//!
//! When the holder's release grants the lock just before the waiter serves its timeout or cancel,
//! core raises the error *and* the lock is held. Here every way out that is not a grant cleans up, looks
//! what is held, and gives it back; only a timeout of our own becomes an answer, and that answer is what
//! is really held. So whoever calls [`wait`] has nothing to undo for this lock.
//!
//! # What can be raised while we wait
//!
//! `ProcSleep()` (`src/backend/storage/lmgr/proc.c`) serves interrupts while it sleeps, so whatever
//! `ProcessInterrupts()` (`src/backend/tcop/postgres.c`) can raise can come out of the wait. From Postgres 15 to
//! 19 these are:
//!
//! - 55P03, our timer, and 57014, cancel and `statement_timeout`: raised after `LockErrorCleanup()` has taken us out
//!   of the queue, or recorded the grant if it had come.
//! - In the leader of a parallel query, *any* error of a worker, with the worker's own SQLSTATE, 55P03 and 57014
//!   among them (`HandleParallelMessages()` in `src/backend/access/transam/parallel.c`, `ProcessParallelMessages()`
//!   in 19), and from 16 on in the same way those of parallel apply workers, in 19 of more: raised **without**
//!   `LockErrorCleanup()`. We are still in the queue, and the lock can still be granted to us.
//! - What absorbing a barrier raises (`ProcessProcSignalBarrier()`), without the clean-up as well.
//! - On a standby, a conflict with recovery (40001, 40P01).
//! - Termination, `transaction_timeout` (17), a lost client, most conflicts on a standby: FATAL, which ends the
//!   process and does not come back.
//!
//! 40P01, a deadlock, is raised once `ProcSleep()` has left the queue; 53200, no room in the lock table, before it enters.
//! A message of `log_lock_waits` serves interrupts too, and the callbacks that add CONTEXT to it, and hooks that see
//! it, may raise what they like.
//!
//! So after an error nothing is known until `LockErrorCleanup()` (`src/backend/storage/lmgr/proc.c`) was called, which
//! does nothing if it was called before. And an error is our timeout only if our timer is what raised it, whatever its
//! SQLSTATE says: see [`LockTimer`].
//!
//! Catching that one without a subtransaction is safe, because it is raised in the wait loop, or in our own check for
//! interrupts, with no other resource acquired since we called.
#![allow(unsafe_code)]

use crate::backend::check_for_interrupts;
use crate::error::Error;
use crate::locks::context::with_error_context;
use crate::locks::lock::{AdvisoryLock, Level, LockMode};
use crate::locks::timeout::{Deadline, Remaining};
use crate::report::sqlstate;
use pgrx::prelude::*;
use pgrx::{PgSqlErrorCode, pg_sys};
use std::ffi::{CStr, c_int};
use std::panic::AssertUnwindSafe;

/// Waits for the lock until the deadline; true if it is held now, and false if not. After an error it
/// is not held either, and the error goes on as it came, with `context` as its CONTEXT
/// ([`crate::locks::context::context_line`]).
///
/// The backend must not hold the lock in this mode yet, which is so if `try_acquire` just failed. `before_wait` is
/// called each time before it enters the queue; it may raise.
pub fn wait(
    lock: &AdvisoryLock,
    mode: impl Into<LockMode>,
    level: Level,
    deadline: Deadline,
    context: &CStr,
    mut before_wait: impl FnMut(),
) -> bool {
    let mode = mode.into();
    loop {
        // The value of lock_timeout: 0 stands for no limit.
        let limit = match deadline.remaining() {
            Remaining::Nothing => return false,
            Remaining::Unlimited => 0,
            Remaining::Milliseconds(limit) => limit,
        };
        before_wait();
        if wait_once(lock, mode, level, limit, context) {
            return true;
        }
    }
}

/// Waits in the queue once, at most `limit` milliseconds (0: no limit); is the lock held now?
fn wait_once(
    lock: &AdvisoryLock,
    mode: LockMode,
    level: Level,
    limit: i32,
    context: &CStr,
) -> bool {
    let timer = LockTimer::before_wait();
    let give_back = || {
        if lock.held(mode) {
            lock.release(mode, level);
        }
    };
    let in_time = unless_timed_out(
        || timer.raised_in_wait(),
        give_back,
        || {
            with_error_context(context, || {
                let _limited = LockTimeout::set(limit);
                lock.acquire(mode, level);
            });
        },
    );
    if !in_time {
        return lock.held(mode);
    }
    // A timer that fired while the lock was being granted is served here, not later in the caller's
    // statement: it is held all the same.
    let fired = LockTimer::has_fired();
    unless_timed_out(|| fired, give_back, check_for_interrupts);
    true
}

/// Does the work; false if our timer ended it, which `timer_raised` knows if the error is one of a timer.
/// Every other error goes on once the lock was given back.
fn unless_timed_out(
    timer_raised: impl Fn() -> bool,
    give_back: impl Fn(),
    work: impl FnOnce(),
) -> bool {
    let statement_timer = is_active(STATEMENT_TIMEOUT);
    let catch = AssertUnwindSafe((timer_raised, &give_back));
    let outcome = PgTryBuilder::new(AssertUnwindSafe(|| {
        work();
        Ok(true)
    }))
    .catch_others(|error| {
        let (timer_raised, give_back) = &*catch;
        let timed_out =
            sqlstate(&error) == PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE && timer_raised();
        // SAFETY: lets go of a lightweight lock under which the error was raised (that of the partition, when there was no
        // memory for a line of log_lock_waits), as the end of the transaction would; then takes this backend out of the
        // queue, or records the grant. Neither raises anything.
        unsafe {
            pg_sys::LWLockReleaseAll();
            pg_sys::LockErrorCleanup();
        }
        if !timed_out {
            give_back();
            error.rethrow()
        }
        // Core raised this before it looked at what else was pending, and counts on the end of the
        // transaction. We go on, so it has to look again: a leader that misses the last message of its
        // worker waits for it for ever.
        // SAFETY: a flag, which signal handlers set too.
        unsafe { pg_sys::InterruptPending = 1 };
        // Both timers may have fired, and core serves one of them only.
        if statement_timer && !is_active(STATEMENT_TIMEOUT) {
            return Err(Error::StatementTimeout);
        }
        Ok(false)
    })
    .execute();
    outcome.unwrap_or_else(|error| {
        give_back();
        error.raise()
    })
}

/// `lock_timeout` of the session in milliseconds, 0 for none.
pub fn session_lock_timeout() -> u32 {
    // SAFETY: reads a variable of the backend.
    u32::try_from(unsafe { pg_sys::LockTimeout }).unwrap_or(0)
}

/// Sets the variable behind `lock_timeout` and puts the old value back when dropped. No SQL runs
/// meanwhile, so nobody sees it.
struct LockTimeout {
    saved: c_int,
}

impl LockTimeout {
    fn set(milliseconds: i32) -> Self {
        // SAFETY: a plain variable that ProcSleep() reads when a wait begins; it has no hooks.
        unsafe {
            let saved = pg_sys::LockTimeout;
            pg_sys::LockTimeout = milliseconds;
            Self { saved }
        }
    }
}

impl Drop for LockTimeout {
    fn drop(&mut self) {
        // SAFETY: as in `set`.
        unsafe { pg_sys::LockTimeout = self.saved }
    }
}

/// `enum TimeoutId` of `src/include/utils/timeout.h`.
const LOCK_TIMEOUT: c_int = 2;
const STATEMENT_TIMEOUT: c_int = 3;

/// `src/backend/utils/misc/timeout.c`; the functions read variables and raise nothing.
mod timers {
    use pgrx::pg_sys::TimestampTz;
    use std::ffi::c_int;

    unsafe extern "C-unwind" {
        pub fn get_timeout_active(id: c_int) -> bool;
        pub fn get_timeout_indicator(id: c_int, reset: bool) -> bool;
        pub fn get_timeout_start_time(id: c_int) -> TimestampTz;
    }
}

/// Is the timer set, and has not fired? If that of `statement_timeout` was before a wait and is not after
/// it, it fired meanwhile: nothing else ends it within a statement.
fn is_active(timer: c_int) -> bool {
    // SAFETY: the function reads a table by an index that is in range.
    unsafe { timers::get_timeout_active(timer) }
}

/// The timer that core sets at the beginning of a wait, from the variable behind `lock_timeout`, and
/// ends when the lock is granted.
struct LockTimer {
    /// When it was set last before the wait.
    set_before: pg_sys::TimestampTz,
}

impl LockTimer {
    fn before_wait() -> Self {
        Self { set_before: Self::last_set() }
    }

    fn last_set() -> pg_sys::TimestampTz {
        // SAFETY: as in `is_active`.
        unsafe { timers::get_timeout_start_time(LOCK_TIMEOUT) }
    }

    /// Has it fired, and nobody has served that yet?
    fn has_fired() -> bool {
        // SAFETY: as in `is_active`.
        unsafe { timers::get_timeout_indicator(LOCK_TIMEOUT, false) }
    }

    /// Has it raised its error in the wait, before the lock was granted? To be asked before
    /// `LockErrorCleanup()`, which ends it.
    ///
    /// It was set by the wait; it is no longer running, so it has fired, as nothing else ends it before the
    /// grant; and the note of that was taken away, which only `ProcessInterrupts()` does, when it raises the
    /// error for it.
    fn raised_in_wait(&self) -> bool {
        Self::last_set() != self.set_before && !is_active(LOCK_TIMEOUT) && !Self::has_fired()
    }
}
