//! The keys of one call, locked all or none.

use crate::backend::check_for_interrupts;
use crate::error::Error;
use crate::keys::keyset::{Entry, KeySet};
use crate::keys::name::NamedKey;
use crate::locks::context::context_line;
use crate::locks::held_since;
use crate::locks::lock::{AdvisoryLock, Attempt, Level, Mode};
use crate::locks::outcome;
use crate::locks::session_limit;
use crate::locks::slots::wake::give_back;
use crate::locks::snapshot::Snapshot;
use crate::locks::timeout::{Deadline, Timeout};
use crate::locks::wait::{session_lock_timeout, wait};

/// In which way a call locks its keys.
#[derive(Clone, Copy)]
pub struct Request {
    /// Exclusive or shared.
    pub mode: Mode,
    /// Until the end of the transaction or of the session.
    pub level: Level,
    /// For all keys together.
    pub timeout: Timeout,
}

/// What came of a call that locks.
pub enum Locked<'set, 'a> {
    /// All keys are held.
    All(Taken<'set>),
    /// This one could not be had in time, and nothing of the call is held.
    NotInTime(NamedKey<'a>),
}

/// Locks all keys, in ascending order. If one cannot be had in time, or an error ends the call, what
/// it took is given back. The snapshot is told of each wait, not of the last one's end.
#[inline]
pub fn lock_all<'set, 'a>(
    keys: &'set KeySet<'a>,
    request: Request,
    snapshot: &mut impl Snapshot,
) -> Result<Locked<'set, 'a>, Error> {
    let Request { mode, level, timeout } = request;
    let mut taken = Taken {
        entries: keys.entries(),
        granted: 0,
        new: 0,
        again: false,
        waited: false,
        mode,
        level,
    };
    let mut deadline = None;
    for subject in keys.iter() {
        subject.record();
        let lock = AdvisoryLock::new(subject.key);
        if session_limit::reached(taken.new) && !lock.held(mode) {
            session_limit::check(taken.new)?;
        }
        match lock.try_acquire(mode, level) {
            Attempt::Taken => taken.new += 1,
            Attempt::TakenAgain => {
                taken.again = true;
                // A lock of the transaction that becomes one of the session outlives the transaction.
                if level == Level::Session && lock.holds(mode).at_session_level == 1 {
                    taken.new += 1;
                }
            }
            Attempt::NotAvailable => {
                if timeout == Timeout::NoWait {
                    outcome::refused(&subject);
                    return Ok(Locked::NotInTime(subject));
                }
                let deadline = *deadline
                    .get_or_insert_with(|| Deadline::begin(timeout, session_lock_timeout()));
                let context = context_line("locking", &subject);
                let granted = outcome::waited(
                    &subject,
                    || wait(&lock, mode, level, deadline, &context, || snapshot.before_wait()),
                    |granted| !granted,
                );
                if !granted {
                    return Ok(Locked::NotInTime(subject));
                }
                taken.new += 1;
                taken.waited = true;
            }
        }
        taken.granted += 1;
    }
    // A cancel that came while we took the locks is served now, when they can still be given
    // back, and not after the caller's statement has lost the answer.
    check_for_interrupts();
    outcome::granted(keys.iter());
    Ok(Locked::All(taken))
}

/// What a call has taken so far. Unless it is told to [`Taken::keep`] that, it gives everything
/// back when it goes out of scope, also when an error unwinds through it.
#[must_use]
pub struct Taken<'set> {
    entries: &'set [Entry],
    /// So many of the entries are held by this call.
    granted: usize,
    /// So many of those the session did not hold before, at session level if that was asked for.
    new: usize,
    /// The session held some of them before.
    again: bool,
    waited: bool,
    mode: Mode,
    level: Level,
}

impl Taken<'_> {
    /// Is any of them held only because of this call?
    #[inline]
    pub fn anything_new(&self) -> bool {
        self.new > 0
    }

    /// Had the call to wait for any of them?
    #[inline]
    pub fn waited(&self) -> bool {
        self.waited
    }

    /// The caller will be told of the locks, and keeps them.
    #[inline]
    pub fn keep(mut self) {
        session_limit::add(self.level, self.new);
        for entry in &self.entries[..self.granted] {
            let first = !self.again || AdvisoryLock::new(entry.key).holds(self.mode).in_all == 1;
            held_since::granted(entry.key, self.mode, self.level, first, self.waited);
        }
        self.granted = 0;
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        for entry in self.entries[..self.granted].iter().rev() {
            give_back(&AdvisoryLock::new(entry.key), self.mode, self.level);
        }
    }
}
