//! `advisory_keys.max_keys_per_session`: a loop over rows must not fill the lock table, which all
//! sessions share; when it is full, nobody can even connect.
//!
//! The session counts the locks that its calls take, and follows what transactions and savepoints
//! release. What core's functions release (`pg_advisory_unlock_all`, `DISCARD ALL`) it does not notice, so
//! the count may be too high. When it reaches the limit, the lock table says how many there can be.
#![allow(unsafe_code)]

use crate::backend::local_transaction;
use crate::error::Error;
use crate::locks::held_since;
use crate::locks::lock::Level;
use crate::locks::lock_table::{held_by_this_backend, nominal_size};
use crate::settings;
use pgrx::pg_sys::{self, SubTransactionId, SubXactEvent};
use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Session-level locks.
static OF_SESSION: AtomicUsize = AtomicUsize::new(0);
/// Transaction-level locks, of this transaction.
static OF_TRANSACTION: AtomicUsize = AtomicUsize::new(0);
static TRANSACTION: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// How many transaction-level locks there were when each of the open subtransactions began.
    static BEFORE_SUBTRANSACTIONS: RefCell<Vec<(SubTransactionId, usize)>> = const { RefCell::new(Vec::new()) };
    /// The last refusal: in which transaction, and when.
    static REFUSED: Cell<Option<(u32, Instant)>> = const { Cell::new(None) };
}

/// Has the session so many locks that one more needs a closer look? `taken` are those of the running
/// call, which are not counted yet.
#[inline]
pub fn reached(taken: usize) -> bool {
    counted() + taken >= limit()
}

/// The closer look: an error if the session may hold no more.
///
/// It copies the lock table, so who is refused in a loop gets a second one only after a while.
#[cold]
pub fn check(taken: usize) -> Result<(), Error> {
    let (transaction, now) = (local_transaction(), Instant::now());
    let refused = REFUSED.get().is_some_and(|(refused, when)| {
        refused == transaction && now.duration_since(when) < Duration::from_secs(1)
    });
    if !refused {
        recount(taken);
    }
    if reached(taken) {
        REFUSED.set(Some((transaction, now)));
        return Err(Error::TooManyLocks { held: counted() + taken, limit: limit() });
    }
    Ok(())
}

fn recount(taken: usize) {
    // Also those that core's functions took, so it is no more than a bound.
    let held = held_by_this_backend();
    let excess = (counted() + taken).saturating_sub(held);
    // Which of the two were counted too high is not known. Those of the transaction begin anew with
    // the next one, so in doubt the count stays too high rather than too low.
    let of_transaction = excess.min(OF_TRANSACTION.load(Relaxed));
    OF_TRANSACTION.fetch_sub(of_transaction, Relaxed);
    let of_session = (excess - of_transaction).min(OF_SESSION.load(Relaxed));
    OF_SESSION.fetch_sub(of_session, Relaxed);
}

/// Counts locks that a call has taken and the session did not hold before.
#[inline]
pub fn add(level: Level, taken: usize) {
    begin_transaction();
    match level {
        Level::Session => OF_SESSION.fetch_add(taken, Relaxed),
        Level::Transaction => {
            follow_subtransactions();
            OF_TRANSACTION.fetch_add(taken, Relaxed)
        }
    };
}

/// Counts a session-level lock off.
#[inline]
pub fn remove() {
    OF_SESSION.store(OF_SESSION.load(Relaxed).saturating_sub(1), Relaxed);
}

#[inline]
fn counted() -> usize {
    begin_transaction();
    OF_SESSION.load(Relaxed) + OF_TRANSACTION.load(Relaxed)
}

/// Transaction-level locks are gone with their transaction.
#[inline]
fn begin_transaction() {
    let transaction = local_transaction();
    if TRANSACTION.load(Relaxed) != transaction {
        TRANSACTION.store(transaction, Relaxed);
        OF_TRANSACTION.store(0, Relaxed);
        BEFORE_SUBTRANSACTIONS.with_borrow_mut(Vec::clear);
    }
}

/// Follows them from the first lock on.
#[inline]
fn follow_subtransactions() {
    /// Called by Postgres when a subtransaction begins and ends (`src/backend/access/transam/xact.c`). It
    /// must not fail: some of that is clean-up.
    unsafe extern "C-unwind" fn on_event(
        event: SubXactEvent::Type,
        subtransaction: SubTransactionId,
        _parent: SubTransactionId,
        _: *mut c_void,
    ) {
        begin_transaction();
        if event == SubXactEvent::SUBXACT_EVENT_ABORT_SUB {
            held_since::rolled_back(subtransaction);
        }
        BEFORE_SUBTRANSACTIONS.with_borrow_mut(|open| {
            if event == SubXactEvent::SUBXACT_EVENT_START_SUB {
                if open.try_reserve(1).is_ok() {
                    open.push((subtransaction, OF_TRANSACTION.load(Relaxed)));
                }
                return;
            }
            // One that is not here began before the first lock, and all were taken in it.
            let at = open.iter().rposition(|&(id, _)| id == subtransaction);
            if event == SubXactEvent::SUBXACT_EVENT_ABORT_SUB {
                OF_TRANSACTION.store(at.map_or(0, |at| open[at].1), Relaxed);
                open.truncate(at.unwrap_or(0));
            } else if event == SubXactEvent::SUBXACT_EVENT_COMMIT_SUB {
                open.truncate(at.unwrap_or(open.len()));
            }
        });
    }

    static FOLLOWED: AtomicBool = AtomicBool::new(false);
    if !FOLLOWED.load(Relaxed) {
        // SAFETY: the function lives as long as the backend.
        unsafe { pg_sys::RegisterSubXactCallback(Some(on_event), std::ptr::null_mut()) };
        FOLLOWED.store(true, Relaxed);
    }
}

#[inline]
fn limit() -> usize {
    match settings::max_keys_per_session() {
        -1 => nominal_size() / 2,
        0 => usize::MAX,
        limit => usize::try_from(limit).unwrap_or(usize::MAX),
    }
}
