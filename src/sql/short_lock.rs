//! The warning about a transaction-level lock that has ended with the statement that took it, because
//! there was no transaction block: the commonest mistake of all, and a silent one.
//!
//! It is noted when such a lock is granted, and said when the transaction commits, if that is still the
//! same statement: a client that sends a pipeline has no transaction block in its first statement, but
//! the transaction goes on.

use crate::backend;
use crate::settings;
use crate::sql::call::Call;
use crate::warning;
use pgrx::{PgXactCallbackEvent, register_xact_callback};
use std::sync::atomic::{AtomicBool, Ordering};

/// Once in a session is enough.
static SAID: AtomicBool = AtomicBool::new(false);

/// To be called when a transaction-level lock was granted.
#[inline]
pub fn granted(call: Call<'_>) {
    if !SAID.load(Ordering::Relaxed) && !backend::in_transaction_block() {
        note(call);
    }
}

#[cold]
fn note(call: Call<'_>) {
    // In a function or a longer query, the lock may be meant for the rest of the statement.
    if !settings::warn_short_locks() || !call.is_whole_statement() {
        return;
    }
    let statement = backend::statement_start();
    register_xact_callback(PgXactCallbackEvent::PreCommit, move || {
        if backend::statement_start() == statement {
            SAID.store(true, Ordering::Relaxed);
            warning::short_lock();
        }
    });
}
