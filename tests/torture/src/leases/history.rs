//! What was granted and written, and when: by these records leases are judged.

use crate::leases::clock::Moment;
use std::sync::Mutex;

/// A lease whose grant was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub name: String,
    pub token: i64,
    /// When the call for it was sent.
    pub begun: Moment,
    /// When its commit was known.
    pub committed: Moment,
    /// It was not over before: its client had not released it, and its ttl, counted from when the last call that set it
    /// was sent, had not ended.
    pub until: Moment,
}

/// A transaction that was committed after it had fenced what it wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub name: String,
    pub token: i64,
    /// When its commit was sent, so that it was not committed before.
    pub commit_sent: Moment,
}

/// All of them.
#[derive(Default)]
pub struct History(Mutex<Records>);

#[derive(Clone, Debug, Default)]
pub struct Records {
    pub grants: Vec<Grant>,
    pub writes: Vec<Write>,
}

impl History {
    pub fn grant(&self, grant: Grant) {
        self.lock().grants.push(grant);
    }

    pub fn write(&self, write: Write) {
        self.lock().writes.push(write);
    }

    pub fn take(&self) -> Records {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Records> {
        self.0.lock().expect("no task panics while it notes something")
    }
}
