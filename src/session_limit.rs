//! `advisory_keys.max_keys_per_session`: a loop over rows must not fill the lock table, which all
//! sessions share; when it is full, nobody can even connect.
//!
//! The session counts the locks that its calls take. What is released without a call (at the end of a
//! savepoint, or by core's functions) is not noticed, so the count may be too high. When it reaches the
//! limit, the lock table says how many there can be.

use crate::backend::local_transaction;
use crate::error::Error;
use crate::lock::Level;
use crate::lock_table::{held_by_this_backend, nominal_size};
use crate::settings;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

/// Session-level locks.
static OF_SESSION: AtomicUsize = AtomicUsize::new(0);
/// Transaction-level locks, of this transaction.
static OF_TRANSACTION: AtomicUsize = AtomicUsize::new(0);
static TRANSACTION: AtomicU32 = AtomicU32::new(0);

/// Has the session so many locks that one more needs a closer look? `taken` are those of the running
/// call, which are not counted yet.
#[inline]
pub fn reached(taken: usize) -> bool {
    counted() + taken >= limit()
}

/// The closer look: an error if the session may hold no more.
#[cold]
pub fn check(taken: usize) -> Result<(), Error> {
    let held = held_by_this_backend();
    let excess = (counted() + taken).saturating_sub(held);
    // Which of the two were counted too high is not known. Those of the transaction begin anew with
    // the next one, so in doubt the count stays too high rather than too low.
    let of_transaction = excess.min(OF_TRANSACTION.load(Relaxed));
    OF_TRANSACTION.fetch_sub(of_transaction, Relaxed);
    let of_session = (excess - of_transaction).min(OF_SESSION.load(Relaxed));
    OF_SESSION.fetch_sub(of_session, Relaxed);

    if reached(taken) {
        return Err(Error::TooManyLocks { held: counted() + taken, limit: limit() });
    }
    Ok(())
}

/// Counts locks that a call has taken and the session did not hold before.
#[inline]
pub fn add(level: Level, taken: usize) {
    begin_transaction();
    match level {
        Level::Session => &OF_SESSION,
        Level::Transaction => &OF_TRANSACTION,
    }
    .fetch_add(taken, Relaxed);
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
