//! Since when the session holds its locks, noted for `advisory_locks`, unless `advisory_keys.track_stats` is off. It
//! neither fails nor waits.
#![allow(unsafe_code)]

use crate::backend::{
    clock, current_transaction, local_transaction_of, process_id, statement_start,
    transaction_start,
};
use crate::locks::lock::{AdvisoryLock, Holds, Level, Mode};
use crate::settings;
use crate::shared::holds::{Backend, Grant, Held, Subject};
use crate::shared::memory;
use pgrx::pg_sys;

/// A lock was granted, which the caller will be told: `first` if the session did not hold it in this mode. After a wait it is
/// held since now, else since the statement began, or the transaction, if a procedure began it later.
#[inline]
pub fn granted(key: i64, mode: Mode, level: Level, first: bool, waited: bool) {
    if !settings::track_stats() {
        return;
    }
    let Some(own) = memory::backends().and_then(own) else { return };
    let since = if waited { clock() } else { statement_start().max(transaction_start()) };
    let grant = Grant { session: level == Level::Session, first, since };
    let (pid, subject, transaction) = (process_id(), subject(key, mode), current_transaction());
    if !own.granted(pid, subject, grant, transaction) && own.may_have_stale(transaction) {
        own.drop_stale(pid, transaction, |stale| {
            let mode = if stale.shared { Mode::Shared } else { Mode::Exclusive };
            !AdvisoryLock::new(stale.key).held(mode)
        });
        own.granted(pid, subject, grant, transaction);
    }
}

/// Something was released, and this is left.
#[inline]
pub fn released(key: i64, mode: Mode, left: Holds) {
    if let Some(own) = memory::known_backends().and_then(own) {
        let session = left.at_session_level > 0;
        let transaction = left.in_all > left.at_session_level;
        own.released(process_id(), subject(key, mode), session, transaction);
    }
}

/// A subtransaction was rolled back.
pub fn rolled_back(subtransaction: pg_sys::SubTransactionId) {
    if let Some(own) = memory::known_backends().and_then(own) {
        own.rolled_back(process_id(), subtransaction);
    }
}

/// What is known of a hold of some process; nothing if there is no such process any more.
pub fn of(pid: i32, key: i64, mode: Mode) -> Option<Held> {
    // SAFETY: as in `lock_status`: at worst it is another backend's entry by now, and then its process is another.
    let process = unsafe { pg_sys::BackendPidGetProc(pid) };
    if process.is_null() {
        return None;
    }
    // SAFETY: as above.
    let transaction = unsafe { local_transaction_of(process) };
    place(memory::backends()?, process)?.read(pid, subject(key, mode), transaction)
}

fn subject(key: i64, mode: Mode) -> Subject {
    Subject { key, shared: mode == Mode::Shared }
}

#[inline]
fn own(backends: &'static [Backend]) -> Option<&'static Backend> {
    // SAFETY: reads a variable of the backend.
    place(backends, unsafe { pg_sys::MyProc })
}

/// The places of a process, by its entry in the process table.
#[inline]
fn place(backends: &'static [Backend], process: *const pg_sys::PGPROC) -> Option<&'static Backend> {
    // SAFETY: both point into the process table, which does not move.
    let number = unsafe { process.offset_from((*pg_sys::ProcGlobal).allProcs) };
    backends.get(usize::try_from(number).ok()?)
}
