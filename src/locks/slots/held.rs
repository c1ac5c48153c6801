//! Locks that a call holds while it looks for a slot: those behind slots ([`class`](crate::locks::lock::class)), and the
//! way through the queue of the key itself.

use crate::locks::lock::{AdvisoryLock, Attempt, Level, LockMode};
use crate::locks::timeout::{Deadline, Timeout};
use crate::locks::wait::wait;
use std::ffi::CStr;

/// How long a call waits for the others that take slots of the same key, or look for deadlocks.
pub const MOMENT: Timeout = Timeout::Milliseconds(100);

/// A lock at transaction level, held as long as this lives.
pub struct Held {
    lock: AdvisoryLock,
    mode: LockMode,
}

impl Held {
    /// Takes the lock, and waits for it until the deadline; none if it was not had in time.
    pub fn wait(
        lock: AdvisoryLock,
        mode: impl Into<LockMode>,
        deadline: Deadline,
        context: &CStr,
    ) -> Option<Self> {
        let mode = mode.into();
        let held = lock.try_acquire(mode, Level::Transaction) != Attempt::NotAvailable
            || wait(&lock, mode, Level::Transaction, deadline, context, || ());
        held.then(|| Self { lock, mode })
    }

    /// Takes a lock that excludes nobody.
    pub fn probe(lock: AdvisoryLock) -> Option<Self> {
        let mode = LockMode::PROBE;
        let held = lock.try_acquire(mode, Level::Transaction) != Attempt::NotAvailable;
        held.then(|| Self { lock, mode })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.lock.release(self.mode, Level::Transaction);
    }
}
