//! Waiting for a lock that somebody else holds: in Postgres' own queue, without losing a grant and
//! without keeping one that the caller is not told of.
//!
//! When the holder's release grants the lock just before the waiter serves its timeout or cancel,
//! core raises the error *and* the lock is held. Here a timeout asks afterwards what is really
//! held, and every other error leaves through guards of the caller that release it.
//!
//! Catching 55P03 without a subtransaction is safe for exactly this error from exactly this call:
//! it is raised by `ProcessInterrupts()` (`src/backend/tcop/postgres.c`) in the wait loop of
//! `ProcSleep()` (`src/backend/storage/lmgr/proc.c`), after `LockErrorCleanup()` has taken us out
//! of the queue or recorded the grant, with no other resource acquired since we called.
#![allow(unsafe_code)]

use crate::error::Error;
use crate::lock::{AdvisoryLock, Level, Mode};
use crate::name::NamedKey;
use crate::report::{add_context, c_string};
use crate::timeout::{Deadline, Remaining};
use pgrx::prelude::*;
use pgrx::{PgSqlErrorCode, pg_guard, pg_sys};
use std::ffi::{CStr, CString, c_int, c_void};
use std::panic::AssertUnwindSafe;

/// Waits for the lock until the deadline; true if it is held now.
///
/// The backend must not hold the lock in this mode yet, which is so if `try_acquire` just failed.
/// Any error but a lock timeout unwinds, and then the lock may be held: the caller's guard has to
/// ask [`AdvisoryLock::held`] and to release it.
pub fn wait(
    lock: &AdvisoryLock,
    mode: Mode,
    level: Level,
    deadline: Deadline,
    subject: &NamedKey<'_>,
) -> bool {
    let context = context_line(subject);
    let statement_timer = statement_timeout_runs();
    loop {
        // The value of lock_timeout: 0 stands for no limit.
        let limit = match deadline.remaining() {
            Remaining::Nothing => return false,
            Remaining::Unlimited => 0,
            Remaining::Milliseconds(limit) => limit,
        };
        if wait_once(lock, mode, level, limit, &context) {
            return true;
        }
        // Both timers may have fired, and core serves one of them only.
        if statement_timer && !statement_timeout_runs() {
            Error::StatementTimeout.raise();
        }
        if lock.held(mode) {
            return true;
        }
    }
}

/// Waits in the queue once, at most `limit` milliseconds (0: no limit). False after a lock timeout,
/// which says nothing about whether the lock is held.
fn wait_once(lock: &AdvisoryLock, mode: Mode, level: Level, limit: i32, context: &CStr) -> bool {
    PgTryBuilder::new(AssertUnwindSafe(|| {
        with_error_context(context, || {
            {
                let _limited = LockTimeout::set(limit);
                lock.acquire(mode, level);
            }
            // A timer that fired while the lock was being granted is served here, not later in
            // the caller's statement.
            pgrx::check_for_interrupts!();
        });
        true
    }))
    .catch_when(PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE, |_| false)
    .execute()
}

/// Serves a cancel or timeout that is pending; may raise.
#[inline]
pub fn check_for_interrupts() {
    pgrx::check_for_interrupts!();
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

/// Is the timer of `statement_timeout` set and has not fired? If it was before a wait and is not
/// after it, it fired meanwhile: nothing else ends it within a statement.
fn statement_timeout_runs() -> bool {
    unsafe extern "C-unwind" {
        /// `src/backend/utils/misc/timeout.c`; reads a variable.
        fn get_timeout_active(id: c_int) -> bool;
    }
    /// `STATEMENT_TIMEOUT` of `enum TimeoutId` in `src/include/utils/timeout.h`.
    const STATEMENT_TIMEOUT: c_int = 3;
    // SAFETY: the function reads a table by an index that is in range.
    unsafe { get_timeout_active(STATEMENT_TIMEOUT) }
}

/// What is added to whatever Postgres reports during a wait: errors, and the log lines of
/// `log_lock_waits`. It is put together before the wait, when it is still safe to look things up.
fn context_line(subject: &NamedKey<'_>) -> CString {
    let mut line = b"while locking advisory key ".to_vec();
    line.extend(subject.describe());
    c_string(line)
}

/// Runs `f`; whatever Postgres reports meanwhile carries the line as CONTEXT.
fn with_error_context<R>(line: &CStr, f: impl FnOnce() -> R) -> R {
    struct Pop(*mut pg_sys::ErrorContextCallback);
    impl Drop for Pop {
        fn drop(&mut self) {
            // SAFETY: puts back what was there before our callback, which dies now.
            unsafe { pg_sys::error_context_stack = self.0 }
        }
    }

    // SAFETY: the callback stays on this stack frame, and the line in the caller's, until `Pop` has
    // taken the callback off the list.
    unsafe {
        let previous = pg_sys::error_context_stack;
        let mut callback = pg_sys::ErrorContextCallback {
            previous,
            callback: Some(add_context_line),
            arg: line.as_ptr().cast_mut().cast(),
        };
        let _pop = Pop(previous);
        pg_sys::error_context_stack = &mut callback;
        f()
    }
}

/// The callback of [`with_error_context`]; `arg` is the line.
#[pg_guard]
unsafe extern "C-unwind" fn add_context_line(arg: *mut c_void) {
    // SAFETY: see `with_error_context`.
    add_context(unsafe { CStr::from_ptr(arg.cast()) });
}
