//! Waking the head of the queue when a slot gets free, however that comes: the end of a transaction or of a savepoint,
//! an error, a release, the end of the session.
//!
//! The backend remembers the keys of which it took slots, and looks what it still holds when Postgres has released
//! locks. That is after the commit, where an error would be a PANIC, or on the way out of the process: nothing here
//! raises an error, and nothing allocates that could fail.
#![allow(unsafe_code)]

use crate::error::Error;
use crate::locks::lock::{AdvisoryLock, Level, LockMode, Mode, class};
use crate::locks::lock_table::{process_of, transactions_that_exclude};
use pgrx::pg_sys::{self, ResourceReleasePhase};
use std::cell::RefCell;
use std::collections::HashSet;
use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

thread_local! {
    /// The keys of which this backend took slots.
    static TAKEN: RefCell<HashSet<i64>> = RefCell::default();
}

/// To be called before a slot is taken, so that no way of losing it is missed.
#[inline]
pub fn remember(key: i64) -> Result<(), Error> {
    follow_releases();
    TAKEN.with_borrow_mut(|taken| {
        taken.try_reserve(1).map_err(|_| Error::OutOfMemory { rows: 1 })?;
        taken.insert(key);
        Ok(())
    })
}

/// To be called when a slot that was remembered was not taken after all.
#[inline]
pub fn forget(key: i64) {
    if !AdvisoryLock::new(key).held(Mode::Shared) {
        TAKEN.with_borrow_mut(|taken| taken.remove(&key));
    }
}

/// To be called when the last shared hold of a key was given up, whoever took it.
pub fn released(key: i64) {
    TAKEN.with_borrow_mut(|taken| taken.remove(&key));
    wake_head(key);
}

/// Gives back what a call took that it does not keep. The key stays remembered, as the call may take a slot yet.
pub fn give_back(lock: &AdvisoryLock, mode: Mode, level: Level) {
    lock.release(mode, level);
    if mode == Mode::Shared && !lock.held(mode) {
        wake_head(lock.key());
    }
}

/// Will the head be woken when the last shared hold of this key goes?
#[cfg(any(test, feature = "pg_test"))]
pub fn remembers(key: i64) -> bool {
    TAKEN.with_borrow(|taken| taken.contains(&key))
}

/// Wakes the head of the queue for the slots of this key, if there is a queue.
fn wake_head(key: i64) {
    let queue = AdvisoryLock::of_class(class::QUEUE, key);
    if queue.requests() == 0 {
        return;
    }
    for head in transactions_that_exclude(&queue, LockMode::PASSAGE).iter() {
        let process = process_of(head);
        if !process.is_null() {
            // SAFETY: the latch of an entry of the process table, which are never freed. Should it be
            // another backend's by now, that one wakes up for nothing.
            unsafe { pg_sys::SetLatch(&raw mut (*process).procLatch) };
        }
    }
}

/// Wakes for each key that is not held any more.
fn look_what_is_gone() {
    let _ = TAKEN.try_with(|taken| {
        let Ok(mut taken) = taken.try_borrow_mut() else { return };
        if !taken.is_empty() {
            quietly(|| {
                taken.retain(|&key| {
                    let held = AdvisoryLock::new(key).held(Mode::Shared);
                    if !held {
                        wake_head(key);
                    }
                    held
                });
            });
        }
    });
}

/// Runs `f`. None of what it calls raises an error; should one do so, then whoever waits looks by himself a moment
/// later, which is better than the end of the server.
fn quietly(f: impl FnOnce()) {
    // SAFETY: variables of the backend, which an error resets (errfinish() in src/backend/utils/error/elog.c).
    let saved = unsafe { (pg_sys::InterruptHoldoffCount, pg_sys::QueryCancelHoldoffCount) };
    if catch_unwind(AssertUnwindSafe(f)).is_err() {
        // SAFETY: the error was taken out of Postgres' hands; it goes nowhere.
        unsafe {
            pg_sys::FlushErrorState();
            (pg_sys::InterruptHoldoffCount, pg_sys::QueryCancelHoldoffCount) = saved;
        }
    }
}

/// From the first slot on, for the life of the backend.
#[inline]
fn follow_releases() {
    /// Called by Postgres in each phase of the release of what a transaction, a savepoint or a portal owned
    /// (`ResourceOwnerRelease()` in `src/backend/utils/resowner/resowner.c`).
    unsafe extern "C-unwind" fn on_release(
        phase: ResourceReleasePhase::Type,
        is_commit: bool,
        is_top_level: bool,
        _: *mut c_void,
    ) {
        // The locks of what commits inside a transaction go over to what is around it.
        if phase == ResourceReleasePhase::RESOURCE_RELEASE_AFTER_LOCKS
            && (is_top_level || !is_commit)
        {
            look_what_is_gone();
        }
    }

    /// Called when the process ends, after Postgres has released the session's locks
    /// (`ShutdownPostgres()` in `src/backend/utils/init/postinit.c`), before it leaves the process table.
    unsafe extern "C-unwind" fn on_exit(_code: c_int, _: pg_sys::Datum) {
        look_what_is_gone();
    }

    static FOLLOWED: AtomicBool = AtomicBool::new(false);
    if !FOLLOWED.load(Relaxed) {
        // SAFETY: the functions live as long as the backend.
        unsafe {
            pg_sys::on_shmem_exit(Some(on_exit), pg_sys::Datum::null());
            pg_sys::RegisterResourceReleaseCallback(Some(on_release), std::ptr::null_mut());
        }
        FOLLOWED.store(true, Relaxed);
    }
}
