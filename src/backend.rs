//! The backend that runs a call: what kind of process it is, and in what transaction
//! (`src/backend/access/transam/xact.c`, `src/backend/storage/lmgr/proc.c`).
#![allow(unsafe_code)]

use crate::shared::holds::Transaction;
use pgrx::pg_sys;
use std::sync::atomic::{AtomicBool, Ordering};

/// Functions of Postgres that only read variables, or the clock: they raise nothing, so they are called without
/// the guard that turns an error into unwinding.
mod reads {
    use pgrx::pg_sys::{Oid, SubTransactionId, TimestampTz};

    unsafe extern "C-unwind" {
        pub fn GetUserId() -> Oid;
        pub fn IsTransactionBlock() -> bool;
        pub fn RecoveryInProgress() -> bool;
        pub fn GetCurrentStatementStartTimestamp() -> TimestampTz;
        pub fn GetCurrentTransactionStartTimestamp() -> TimestampTz;
        pub fn GetCurrentTimestamp() -> TimestampTz;
        pub fn GetCurrentSubTransactionId() -> SubTransactionId;
    }
}

/// The OID of the database that the backend is connected to.
#[inline]
pub fn current_database() -> u32 {
    // SAFETY: reads a variable of the backend.
    unsafe { pg_sys::MyDatabaseId }.to_u32()
}

/// The OID of the current user: that of `SET ROLE`, or the owner of a SECURITY DEFINER function.
#[inline]
pub fn current_user() -> u32 {
    // SAFETY: see `reads`.
    unsafe { reads::GetUserId() }.to_u32()
}

/// The process ID of the backend.
#[inline]
pub fn process_id() -> i32 {
    // SAFETY: reads a variable of the backend.
    unsafe { pg_sys::MyProcPid }
}

/// Is it a worker of a parallel query? Such a worker is in a lock group with its leader, none of whom
/// excludes another, and ends with the query.
#[inline]
pub fn is_parallel_worker() -> bool {
    // SAFETY: reads a variable of the backend; IsParallelWorker() of src/include/access/parallel.h.
    unsafe { pg_sys::ParallelWorkerNumber >= 0 }
}

/// Is the server a standby?
#[inline]
pub fn in_recovery() -> bool {
    /// A promotion ends recovery, and nothing begins it again while the backend lives.
    static ENDED: AtomicBool = AtomicBool::new(false);
    if ENDED.load(Ordering::Relaxed) {
        return false;
    }
    // SAFETY: see `reads`.
    let in_recovery = unsafe { reads::RecoveryInProgress() };
    ENDED.store(!in_recovery, Ordering::Relaxed);
    in_recovery
}

/// Is there a transaction block, explicit or of several statements in one message? If not, the
/// transaction ends with the statement, unless the client sends a pipeline.
#[inline]
pub fn in_transaction_block() -> bool {
    // SAFETY: see `reads`.
    unsafe { reads::IsTransactionBlock() }
}

/// Does the transaction read as of its first statement (REPEATABLE READ, SERIALIZABLE)?
#[inline]
pub fn reads_with_one_snapshot() -> bool {
    // SAFETY: reads a variable of the backend.
    unsafe { pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as i32 }
}

/// Tells the transactions of this backend apart.
#[inline]
pub fn local_transaction() -> u32 {
    // SAFETY: a backend that runs a function has an entry in the process table, and nobody but itself
    // writes this field of it.
    unsafe { local_transaction_of(pg_sys::MyProc) }
}

/// The same of some backend, which may end it at any time; 0 for none.
///
/// # Safety
/// It is an entry of the process table.
#[inline]
pub unsafe fn local_transaction_of(process: *const pg_sys::PGPROC) -> u32 {
    // SAFETY: an aligned word of the table, which does not move.
    unsafe {
        #[cfg(any(feature = "pg15", feature = "pg16"))]
        return (&raw const (*process).lxid).read_volatile();
        #[cfg(not(any(feature = "pg15", feature = "pg16")))]
        return (&raw const (*process).vxid.lxid).read_volatile();
    }
}

/// The transaction and the subtransaction that the backend is in.
#[inline]
pub fn current_transaction() -> Transaction {
    // SAFETY: see `reads`.
    Transaction { local: local_transaction(), sub: unsafe { reads::GetCurrentSubTransactionId() } }
}

/// Now, in microseconds since 2000-01-01 UTC.
pub fn clock() -> pg_sys::TimestampTz {
    // SAFETY: see `reads`.
    unsafe { reads::GetCurrentTimestamp() }
}

/// When the client's last message came, in microseconds since 2000-01-01 UTC: in the extended protocol
/// each statement has messages of its own.
#[inline]
pub fn statement_start() -> pg_sys::TimestampTz {
    // SAFETY: see `reads`.
    unsafe { reads::GetCurrentStatementStartTimestamp() }
}

/// When the transaction began, in microseconds since 2000-01-01 UTC.
#[inline]
pub fn transaction_start() -> pg_sys::TimestampTz {
    // SAFETY: see `reads`.
    unsafe { reads::GetCurrentTransactionStartTimestamp() }
}

/// Serves a cancel or timeout that is pending; may raise.
#[inline]
pub fn check_for_interrupts() {
    pgrx::check_for_interrupts!();
}
