//! The lock table that all sessions share, as seen from outside: who holds, who waits
//! (`src/backend/storage/lmgr/lock.c`).
//!
//! There are two ways to look. A copy of the whole table, as `pg_locks` makes it, keeps others from
//! locking for a moment, longer the more locks there are. A look at one lock costs next to nothing, but
//! does not see sessions that hold at session level and are idle.
#![allow(unsafe_code)]

use crate::backend::process_id;
use crate::locks::lock::{AdvisoryLock, Mode, bit};
use pgrx::pg_sys;
use std::cell::Cell;
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

/// The holders and waiters of all bigint advisory locks in the current database. Copies the table.
pub fn entries() -> Vec<Entry> {
    let mut entries = Vec::new();
    for (lock, instance) in TableCopy::take().advisory() {
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
pub enum Holders {
    /// These processes; 0 stands for a prepared transaction. None: it is free by now, or others wait
    /// for it in front.
    Known(Vec<i32>),
    /// These, and maybe sessions that are idle: the lock alone was looked at.
    Among(Vec<i32>),
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
        return Holders::Known(alone);
    }
    let among = match mode {
        Mode::Exclusive => holders_in_transactions(lock, Mode::Exclusive),
        Mode::Shared => alone,
    };
    let now = Instant::now();
    let recently = |copied: Instant| now.duration_since(copied) < Duration::from_secs(1);
    if !among.is_empty() || COPIED.get().is_some_and(recently) {
        return Holders::Among(among);
    }
    COPIED.set(Some(now));
    let me = process_id();
    Holders::Known(
        TableCopy::take()
            .advisory()
            .filter(|(other, _)| other.key() == lock.key())
            .filter(|(_, other)| other.holdMask & mode.conflicts() != 0 && other.pid != me)
            .map(|(_, other)| other.pid)
            .collect(),
    )
}

/// The holders that exclude this mode and have a transaction, running or prepared.
fn holders_in_transactions(lock: &AdvisoryLock, mode: Mode) -> Vec<i32> {
    let mut count = 0;
    // SAFETY: GetLockConflicts() returns `count` identifiers in the current memory context.
    let holders = unsafe {
        let first = pg_sys::GetLockConflicts(lock.tag(), mode.lockmode(), &mut count);
        std::slice::from_raw_parts(first, usize::try_from(count).unwrap_or(0))
    };
    holders.iter().filter_map(pid_of).collect()
}

/// The process that runs a transaction; 0 if it is prepared, none if it has ended.
fn pid_of(transaction: &pg_sys::VirtualTransactionId) -> Option<i32> {
    // SAFETY: an entry of the process table can be read at any time; at worst it is another
    // backend's by now, which the transaction's number tells.
    unsafe {
        #[cfg(any(feature = "pg15", feature = "pg16"))]
        let (process, current) = {
            let process = pg_sys::BackendIdGetProc(transaction.backendId);
            (process, if process.is_null() { 0 } else { (*process).lxid })
        };
        #[cfg(not(any(feature = "pg15", feature = "pg16")))]
        let (process, current) = {
            let process = pg_sys::ProcNumberGetProc(transaction.procNumber);
            (process, if process.is_null() { 0 } else { (*process).vxid.lxid })
        };
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

/// A copy of the table.
struct TableCopy(*mut pg_sys::LockData);

impl TableCopy {
    fn take() -> Self {
        // SAFETY: reads the table under its locks.
        Self(unsafe { pg_sys::GetLockStatusData() })
    }

    /// The bigint advisory locks in the current database with who holds or awaits them.
    fn advisory(&self) -> impl Iterator<Item = (AdvisoryLock, &pg_sys::LockInstanceData)> {
        // SAFETY: GetLockStatusData() has allocated `nelements` records, which live until the drop.
        let all = unsafe {
            std::slice::from_raw_parts(
                (*self.0).locks,
                usize::try_from((*self.0).nelements).unwrap_or(0),
            )
        };
        all.iter()
            .filter_map(|instance| Some((AdvisoryLock::from_tag(&instance.locktag)?, instance)))
    }
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
