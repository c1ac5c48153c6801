//! What the running transaction is like (`src/backend/access/transam/xact.c`).
#![allow(unsafe_code)]

use crate::lock::Level;
use pgrx::pg_sys;

/// Does the transaction read with a snapshot that was taken before a lock that was just granted?
///
/// True in REPEATABLE READ and SERIALIZABLE: the snapshot is that of the first statement, at the
/// latest the one that locks. A session-level lock outside a transaction block is taken by a
/// transaction that ends with the statement, and the next one has a new snapshot.
pub fn reads_with_snapshot_older_than_lock(level: Level) -> bool {
    // SAFETY: reads variables of the backend.
    unsafe {
        pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as i32
            && (level == Level::Transaction || pg_sys::IsTransactionBlock())
    }
}
