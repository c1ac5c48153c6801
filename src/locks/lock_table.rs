//! The lock table that all sessions share, as seen from outside: who holds, who waits
//! (`src/backend/storage/lmgr/lock.c`).
//!
//! There are two ways to look. A copy of the whole table, as `pg_locks` makes it, keeps others from
//! locking for a moment, longer the more locks there are. A look at one lock costs next to nothing, but
//! does not see sessions that hold at session level and are idle.
#![allow(unsafe_code)]

use crate::backend::process_id;
use crate::locks::lock::{AdvisoryLock, LockMode, Mode, bit};
use pgrx::{PgTryBuilder, pg_sys};
use std::cell::Cell;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

/// A holder or a waiter of a lock.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The key that is locked.
    pub key: i64,
    /// Exclusive or shared.
    pub mode: Mode,
    /// A holder, not a waiter.
    pub granted: bool,
    /// The process; none for a prepared transaction.
    pub pid: Option<i32>,
    /// Microseconds since 2000-01-01 UTC; not known for the first moment of a wait.
    pub waiting_since: Option<pg_sys::TimestampTz>,
}

/// The holders and waiters of all bigint advisory locks in the current database.
pub fn entries(table: &TableCopy) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (lock, instance) in table.advisory() {
        let pid = (instance.pid != 0).then_some(instance.pid);
        for mode in [Mode::Exclusive, Mode::Shared] {
            let entry = Entry { key: lock.key(), mode, pid, granted: true, waiting_since: None };
            if instance.holdMask & bit(mode.lockmode()) != 0 {
                entries.push(entry);
            }
            if instance.waitLockMode == mode.lockmode() {
                let since = (instance.waitStart != 0).then_some(instance.waitStart);
                entries.push(Entry { granted: false, waiting_since: since, ..entry });
            }
        }
    }
    entries
}

/// How many bigint advisory locks this backend holds in the current database, each mode by itself.
/// Copies the table.
pub fn held_by_this_backend() -> usize {
    let me = process_id();
    TableCopy::take()
        .advisory()
        .filter(|(_, instance)| instance.pid == me)
        .map(|(_, instance)| instance.holdMask.count_ones() as usize)
        .sum()
}

/// How many locks the table is made for (`NLOCKENTS()`); there may be room for some more.
#[inline]
pub fn nominal_size() -> usize {
    // SAFETY: reads settings that do not change while the server runs.
    let (per_transaction, transactions) =
        unsafe { (pg_sys::max_locks_per_xact, pg_sys::MaxBackends + pg_sys::max_prepared_xacts) };
    usize::try_from(i64::from(per_transaction) * i64::from(transactions)).unwrap_or(usize::MAX)
}

/// Who keeps a lock from being taken.
#[derive(Debug, PartialEq, Eq)]
pub struct Holders {
    /// These processes; 0 stands for a prepared transaction.
    pub pids: Vec<i32>,
    /// One of them, and then there is no other, has it exclusively.
    pub exclusive: bool,
    /// That is all of them; if there are none, it is free by now, or others wait for it in front. Else the lock alone
    /// was looked at, and sessions that are idle may hold it too.
    pub complete: bool,
}

/// The backends other than this one that hold the lock in a mode that conflicts with `mode`.
///
/// The table is copied only if a look at the lock names nobody, and at most once a second in each
/// session: who is refused in a loop must not slow down those who lock.
pub fn holders(lock: &AdvisoryLock, mode: Mode) -> Holders {
    thread_local! {
        static COPIED: Cell<Option<Instant>> = const { Cell::new(None) };
    }
    // Who excludes shared locks holds it exclusively, and alone.
    let alone = holders_in_transactions(lock, Mode::Shared);
    if !alone.is_empty() {
        return Holders { pids: alone, exclusive: true, complete: true };
    }
    let among = match mode {
        Mode::Exclusive => holders_in_transactions(lock, Mode::Exclusive),
        Mode::Shared => alone,
    };
    let now = Instant::now();
    let recently = |copied: Instant| now.duration_since(copied) < Duration::from_secs(1);
    if !among.is_empty() || COPIED.get().is_some_and(recently) {
        return Holders { pids: among, exclusive: false, complete: false };
    }
    COPIED.set(Some(now));
    let me = process_id();
    let mut holders = Holders { pids: Vec::new(), exclusive: false, complete: true };
    for (other, instance) in TableCopy::take().advisory() {
        if other.key() == lock.key()
            && instance.holdMask & mode.conflicts() != 0
            && instance.pid != me
        {
            holders.pids.push(instance.pid);
            holders.exclusive |= instance.holdMask & bit(Mode::Exclusive.lockmode()) != 0;
        }
    }
    holders
}

/// The holders that exclude this mode and have a transaction, running or prepared.
fn holders_in_transactions(lock: &AdvisoryLock, mode: Mode) -> Vec<i32> {
    transactions_that_exclude(lock, mode.into()).iter().filter_map(pid_of).collect()
}

/// The transactions of others that hold a lock in a mode that conflicts with this one. Raises no error: should memory be
/// short, it finds none.
pub fn transactions_that_exclude(lock: &AdvisoryLock, mode: LockMode) -> Transactions {
    // SAFETY: GetLockConflicts() returns `count` identifiers in the current memory context, for as many of which as
    // there can be at all it allocates room first.
    unsafe {
        let most =
            usize::try_from(pg_sys::MaxBackends + pg_sys::max_prepared_xacts + 1).unwrap_or(0);
        let room = pg_sys::palloc_extended(
            most * size_of::<pg_sys::VirtualTransactionId>(),
            pg_sys::MCXT_ALLOC_NO_OOM as i32,
        );
        if room.is_null() {
            return Transactions { first: std::ptr::null_mut(), count: 0 };
        }
        pg_sys::pfree(room);
        let mut count = 0;
        let first = pg_sys::GetLockConflicts(lock.tag(), mode.number(), &mut count);
        Transactions { first, count: usize::try_from(count).unwrap_or(0) }
    }
}

/// What [`transactions_that_exclude`] has found.
pub struct Transactions {
    first: *mut pg_sys::VirtualTransactionId,
    count: usize,
}

impl Transactions {
    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = &pg_sys::VirtualTransactionId> {
        // SAFETY: so many were allocated, and live until the drop.
        (0..self.count).map(|i| unsafe { &*self.first.add(i) })
    }
}

impl Drop for Transactions {
    fn drop(&mut self) {
        if !self.first.is_null() {
            // SAFETY: allocated by GetLockConflicts(), and nobody else has it.
            unsafe { pg_sys::pfree(self.first.cast()) };
        }
    }
}

/// The entry of the process table for the backend that runs, or ran, a transaction; NULL if there is none. Entries can be
/// read at any time; at worst it is another backend's by now.
pub fn process_of(transaction: &pg_sys::VirtualTransactionId) -> *mut pg_sys::PGPROC {
    // SAFETY: looks into the process table.
    unsafe {
        #[cfg(any(feature = "pg15", feature = "pg16"))]
        return pg_sys::BackendIdGetProc(transaction.backendId);
        #[cfg(not(any(feature = "pg15", feature = "pg16")))]
        return pg_sys::ProcNumberGetProc(transaction.procNumber);
    }
}

/// The process that runs a transaction; 0 if it is prepared, none if it has ended.
fn pid_of(transaction: &pg_sys::VirtualTransactionId) -> Option<i32> {
    let process = process_of(transaction);
    // SAFETY: see there; whether it is still the same backend the transaction's number tells.
    unsafe {
        #[cfg(any(feature = "pg15", feature = "pg16"))]
        let current = if process.is_null() { 0 } else { (*process).lxid };
        #[cfg(not(any(feature = "pg15", feature = "pg16")))]
        let current = if process.is_null() { 0 } else { (*process).vxid.lxid };
        if !process.is_null() && current == transaction.localTransactionId {
            return Some((*process).pid).filter(|&pid| pid != 0);
        }
        is_prepared(transaction).then_some(0)
    }
}

fn is_prepared(transaction: &pg_sys::VirtualTransactionId) -> bool {
    #[cfg(any(feature = "pg15", feature = "pg16"))]
    let backend = transaction.backendId;
    #[cfg(not(any(feature = "pg15", feature = "pg16")))]
    let backend = transaction.procNumber;
    // One that was prepared before the last start of the server has no backend; any other keeps the
    // identifier that it had.
    let mut others = false;
    // SAFETY: looks into the list of prepared transactions under its lock.
    backend == -1
        || unsafe { pg_sys::TwoPhaseGetXidByVirtualXID(*transaction, &mut others) }.into_inner()
            != pg_sys::InvalidTransactionId.into_inner()
}

/// A copy of the table, with all locks of all databases.
pub struct TableCopy(*mut pg_sys::LockData);

impl TableCopy {
    /// Copies it.
    pub fn take() -> Self {
        Self::make_sure_of_memory();
        // SAFETY: reads the table under its locks.
        Self(under_lwlocks(|| unsafe { pg_sys::GetLockStatusData() }))
    }

    /// Where memory is short, the error comes here, and not under the locks of the table.
    fn make_sure_of_memory() {
        // SAFETY: reads settings that do not change while the server runs.
        let backends = usize::try_from(unsafe { pg_sys::MaxBackends }).unwrap_or(0);
        // A lock may have several holders, and the array of them is made larger while it is filled.
        let instances = 2 * (2 * nominal_size() + backends);
        // SAFETY: memory that nobody uses.
        unsafe {
            pg_sys::pfree(pg_sys::palloc_extended(
                instances * size_of::<pg_sys::LockInstanceData>(),
                pg_sys::MCXT_ALLOC_HUGE as i32,
            ));
        }
    }

    /// Each lock with each of those who hold or await it.
    pub fn all(&self) -> &[pg_sys::LockInstanceData] {
        // SAFETY: GetLockStatusData() has allocated `nelements` records, which live until the drop.
        unsafe {
            std::slice::from_raw_parts(
                (*self.0).locks,
                usize::try_from((*self.0).nelements).unwrap_or(0),
            )
        }
    }

    /// The bigint advisory locks in the current database with who holds or awaits them.
    fn advisory(&self) -> impl Iterator<Item = (AdvisoryLock, &pg_sys::LockInstanceData)> {
        self.all()
            .iter()
            .filter_map(|instance| Some((AdvisoryLock::from_tag(&instance.locktag)?, instance)))
    }
}

/// Runs a function of Postgres that takes lightweight locks and allocates memory under them. Should that fail, it leaves them
/// to the clean-up of the transaction; but what we hold is given back before that, and to take such a lock again would
/// be to wait for oneself, for ever, and the whole server with it.
pub fn under_lwlocks<R>(f: impl FnOnce() -> R) -> R {
    PgTryBuilder::new(AssertUnwindSafe(f))
        .catch_others(|error| {
            // SAFETY: whoever calls a function of SQL holds none, so all of them are of `f`.
            unsafe { pg_sys::LWLockReleaseAll() };
            error.rethrow()
        })
        .execute()
}

impl Drop for TableCopy {
    fn drop(&mut self) {
        // SAFETY: both were allocated by GetLockStatusData(), and nobody else has them.
        unsafe {
            pg_sys::pfree((*self.0).locks.cast());
            pg_sys::pfree(self.0.cast());
        }
    }
}
