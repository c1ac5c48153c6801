//! What is said beside the answer of a call: warnings, each with its SQLSTATE, detail and hint.

use crate::keys::name::NamedKey;
use crate::locks::lock::{AdvisoryLock, Mode};
use crate::report::Report;
use pgrx::PgSqlErrorCode;

/// A session-level lock was taken while `advisory_keys.session_locks` is `warn`.
#[cold]
pub fn session_lock_taken() {
    Report::new(PgSqlErrorCode::ERRCODE_WARNING, "session-level lock taken by name")
        .detail("\"advisory_keys.session_locks\" is \"warn\".")
        .hint("Lock at transaction level if this role connects through a transaction pooler.")
        .warn();
}

/// A key that was to be released is not held in this mode at session level.
#[cold]
pub fn not_released(key: &NamedKey<'_>, lock: &AdvisoryLock, mode: Mode) {
    let (wanted, other, pass_other) = match mode {
        Mode::Exclusive => (
            "exclusive",
            Mode::Shared,
            "Pass shared => true to release it; a slot, by unlock_slot().",
        ),
        Mode::Shared => {
            ("shared", Mode::Exclusive, "unlock_keys() releases it, without shared => true.")
        }
    };
    let at_the_end = Some("It is released when the transaction ends.");
    let (fact, cure) = if lock.held(mode) {
        (" is held at transaction level.", at_the_end)
    } else if lock.holds(other).at_session_level > 0 {
        (" is held in the other mode.", Some(pass_other))
    } else if lock.held(other) {
        (" is held in the other mode, at transaction level.", at_the_end)
    } else {
        (" is not held.", None)
    };
    let warning = Report::new(
        PgSqlErrorCode::ERRCODE_WARNING,
        format!("this session does not hold the {wanted} advisory lock at session level"),
    )
    .detail([b"Key ", key.describe().as_slice(), fact.as_bytes()].concat());
    match cure {
        Some(cure) => warning.hint(cure).warn(),
        None => warning.warn(),
    }
}

/// A lock was granted after waiting to a transaction that reads as of before the wait.
#[cold]
pub fn old_snapshot() {
    Report::new(
        PgSqlErrorCode::ERRCODE_WARNING,
        "advisory lock was granted after waiting, but the transaction's snapshot is older",
    )
    .detail("What this transaction reads may be older than what the previous holder left.")
    .hint("Use READ COMMITTED, or lock at session level before BEGIN.")
    .warn();
}

/// A transaction-level lock ends with the statement that took it.
#[cold]
pub fn short_lock() {
    Report::new(
        PgSqlErrorCode::ERRCODE_NO_ACTIVE_SQL_TRANSACTION,
        "advisory lock is released already, as it was taken outside a transaction block",
    )
    .detail(
        "A transaction-level lock ends with its transaction, here with the statement that took it.",
    )
    .hint("Lock between BEGIN and COMMIT, or pass session => true.")
    .warn();
}

/// There is no memory for statistics, or not in this session.
#[cold]
pub fn no_statistics() {
    #[cfg(any(feature = "pg15", feature = "pg16"))]
    let cure = "Add advisory_keys to shared_preload_libraries, and restart the server.";
    #[cfg(not(any(feature = "pg15", feature = "pg16")))]
    let cure = "Call it outside of a parallel query; otherwise the server's log says why.";
    Report::new(
        PgSqlErrorCode::ERRCODE_WARNING,
        "this session has no statistics of advisory locks to reset",
    )
    .hint(cure)
    .warn();
}
