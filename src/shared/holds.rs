//! Since when a backend holds its locks: a few places for each, which it alone writes. What does not fit is not known.
//!
//! A hold at transaction level stands with its transaction, and counts for nothing once the backend is in another; one
//! of the session until it is released. What core's functions release is not noticed, but by whoever takes the lock anew.

use super::version::Version;
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU32, Ordering::Relaxed};

/// Places of a backend.
pub const PLACES: usize = 16;

/// One mode of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Of the lock.
    pub key: i64,
    /// Or exclusive.
    pub shared: bool,
}

/// In which transaction and subtransaction; 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// As the entry of the backend in the process table says.
    pub local: u32,
    /// Those that begin later have higher numbers.
    pub sub: u32,
}

/// What a call was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// At session level.
    pub session: bool,
    /// The session did not hold it before.
    pub first: bool,
    /// When, in microseconds since 2000-01-01 UTC.
    pub since: i64,
}

/// What is known of a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Since when, in microseconds since 2000-01-01 UTC.
    pub since: i64,
    /// At session level.
    pub session: bool,
    /// At transaction level.
    pub transaction: bool,
}

/// The places of a backend. All bytes zero is one that holds nothing.
#[repr(C, align(64))]
#[cfg_attr(test, derive(Default))]
pub struct Backend {
    version: Version,
    /// The process that wrote them: after it, others have the same places.
    pid: AtomicI32,
    /// The places from here on are free.
    end: AtomicU32,
    /// [`Transaction::local`] when [`Backend::drop_stale`] was called last.
    asked: AtomicU32,
    keys: [AtomicI64; PLACES],
    since: [AtomicI64; PLACES],
    kinds: [AtomicU32; PLACES],
    /// [`Transaction::local`] and [`Transaction::sub`] where it is held at transaction level.
    transactions: [AtomicU32; PLACES],
    subtransactions: [AtomicU32; PLACES],
}

/// Bits of a kind.
const SHARED: u32 = 1;
const SESSION: u32 = 2;

impl Backend {
    /// Notes a grant; by the backend itself, as all that writes. False if there is no room.
    #[inline]
    pub fn granted(&self, pid: i32, subject: Subject, grant: Grant, now: Transaction) -> bool {
        self.version.write_own(|| {
            if self.pid.load(Relaxed) != pid {
                (0..PLACES).for_each(|place| self.clear(place));
                self.end.store(0, Relaxed);
                self.asked.store(0, Relaxed);
                self.pid.store(pid, Relaxed);
            }
            let known = self.place_of(subject, now.local);
            if known.is_none() && !grant.first {
                // Since when it is held was not noted, and is not now.
                return true;
            }
            let Some(place) = known.or_else(|| self.free_place(now.local)) else { return false };
            if grant.first {
                self.clear(place);
                self.keys[place].store(subject.key, Relaxed);
                self.kinds[place].store(if subject.shared { SHARED } else { 0 }, Relaxed);
                self.since[place].store(grant.since, Relaxed);
            }
            if grant.session {
                self.kinds[place].store(self.kinds[place].load(Relaxed) | SESSION, Relaxed);
            } else if self.transactions[place].load(Relaxed) != now.local {
                self.transactions[place].store(now.local, Relaxed);
                self.subtransactions[place].store(now.sub, Relaxed);
            }
            true
        })
    }

    /// May there be places of what core's functions have released at session level? Asked once in a transaction.
    pub fn may_have_stale(&self, now: Transaction) -> bool {
        self.asked.load(Relaxed) != now.local && (0..PLACES).any(|place| self.of_session(place))
    }

    /// Frees the places of what is held no longer.
    pub fn drop_stale(&self, pid: i32, now: Transaction, is_stale: impl Fn(Subject) -> bool) {
        self.asked.store(now.local, Relaxed);
        self.update(pid, |place| {
            if self.held(place, now.local) && is_stale(self.subject(place)) {
                self.clear(place);
            }
        });
    }

    /// Where it stands already.
    #[inline]
    fn place_of(&self, subject: Subject, transaction: u32) -> Option<usize> {
        let mut end = self.end.load(Relaxed) as usize;
        // What ended with its transaction.
        while end > 0 && !self.held(end - 1, transaction) {
            end -= 1;
        }
        self.end.store(end as u32, Relaxed);
        (0..end).find(|&place| self.subject(place) == subject && self.held(place, transaction))
    }

    #[inline]
    fn free_place(&self, transaction: u32) -> Option<usize> {
        let end = self.end.load(Relaxed) as usize;
        let place = (0..end).find(|&place| !self.held(place, transaction)).unwrap_or(end);
        if place == PLACES {
            return None;
        }
        self.end.store(end.max(place + 1) as u32, Relaxed);
        Some(place)
    }

    /// Notes what is left of a hold.
    pub fn released(&self, pid: i32, subject: Subject, session: bool, transaction: bool) {
        self.update(pid, |place| {
            if self.subject(place) == subject {
                if !session {
                    self.kinds[place].store(self.kinds[place].load(Relaxed) & !SESSION, Relaxed);
                }
                if !transaction {
                    self.transactions[place].store(0, Relaxed);
                }
            }
        });
    }

    /// A subtransaction was rolled back, and what it and those inside it were granted at transaction level.
    pub fn rolled_back(&self, pid: i32, subtransaction: u32) {
        self.update(pid, |place| {
            if self.subtransactions[place].load(Relaxed) >= subtransaction {
                self.transactions[place].store(0, Relaxed);
            }
        });
    }

    /// What is known of a hold of this process, which is in that transaction.
    pub fn read(&self, pid: i32, subject: Subject, transaction: u32) -> Option<Held> {
        self.version.read(|| {
            if self.pid.load(Relaxed) != pid {
                return None;
            }
            let place = (0..PLACES)
                .find(|&place| self.subject(place) == subject && self.held(place, transaction))?;
            Some(Held {
                since: self.since[place].load(Relaxed),
                session: self.of_session(place),
                transaction: self.of_transaction(place, transaction),
            })
        })
    }

    fn update(&self, pid: i32, work: impl Fn(usize)) {
        if self.pid.load(Relaxed) == pid {
            self.version.write_own(|| (0..self.end.load(Relaxed) as usize).for_each(work));
        }
    }

    #[inline]
    fn subject(&self, place: usize) -> Subject {
        Subject {
            key: self.keys[place].load(Relaxed),
            shared: self.kinds[place].load(Relaxed) & SHARED != 0,
        }
    }

    #[inline]
    fn held(&self, place: usize, transaction: u32) -> bool {
        self.of_session(place) || self.of_transaction(place, transaction)
    }

    #[inline]
    fn of_session(&self, place: usize) -> bool {
        self.kinds[place].load(Relaxed) & SESSION != 0
    }

    #[inline]
    fn of_transaction(&self, place: usize, transaction: u32) -> bool {
        transaction != 0 && self.transactions[place].load(Relaxed) == transaction
    }

    fn clear(&self, place: usize) {
        self.kinds[place].store(0, Relaxed);
        self.transactions[place].store(0, Relaxed);
        self.subtransactions[place].store(0, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PID: i32 = 42;
    const NOW: Transaction = Transaction { local: 7, sub: 1 };

    fn exclusive(key: i64) -> Subject {
        Subject { key, shared: false }
    }

    fn grant(
        backend: &Backend,
        key: i64,
        session: bool,
        first: bool,
        since: i64,
        now: Transaction,
    ) {
        backend.granted(PID, exclusive(key), Grant { session, first, since }, now);
    }

    fn held(since: i64, session: bool, transaction: bool) -> Option<Held> {
        Some(Held { since, session, transaction })
    }

    #[test]
    fn a_hold_of_a_transaction_ends_with_it() {
        let backend = Backend::default();
        grant(&backend, 1, false, true, 100, NOW);
        assert_eq!(backend.read(PID, exclusive(1), 7), held(100, false, true));
        assert_eq!(backend.read(PID, Subject { key: 1, shared: true }, 7), None);
        for (pid, key, transaction) in [(PID, 1, 8), (PID, 1, 0), (PID, 2, 7), (43, 1, 7)] {
            assert_eq!(backend.read(pid, exclusive(key), transaction), None);
        }
    }

    #[test]
    fn both_levels_end_by_themselves() {
        let backend = Backend::default();
        grant(&backend, 1, false, true, 100, NOW);
        grant(&backend, 1, true, false, 200, NOW);
        assert_eq!(backend.read(PID, exclusive(1), 7), held(100, true, true));
        assert_eq!(backend.read(PID, exclusive(1), 0), held(100, true, false));
        backend.released(PID, exclusive(1), false, true);
        assert_eq!(backend.read(PID, exclusive(1), 7), held(100, false, true));
        backend.released(PID, exclusive(1), false, false);
        assert_eq!(backend.read(PID, exclusive(1), 7), None);
    }

    #[test]
    fn what_is_taken_anew_is_held_since_then() {
        let backend = Backend::default();
        grant(&backend, 1, true, true, 100, NOW);
        // Core's function released it, and nobody noticed.
        grant(&backend, 1, false, true, 200, NOW);
        assert_eq!(backend.read(PID, exclusive(1), 7), held(200, false, true));
        grant(&backend, 1, false, true, 300, Transaction { local: 8, sub: 1 });
        assert_eq!(backend.read(PID, exclusive(1), 8), held(300, false, true));
    }

    #[test]
    fn a_savepoint_takes_its_own_with_it() {
        let backend = Backend::default();
        for (key, sub) in [(1, 1), (2, 2), (3, 3)] {
            grant(&backend, key, false, true, key, Transaction { local: 7, sub });
        }
        // Taken before the savepoint, and once more in it.
        grant(&backend, 1, false, false, 9, Transaction { local: 7, sub: 3 });
        grant(&backend, 4, true, true, 4, Transaction { local: 7, sub: 3 });
        backend.rolled_back(PID, 2);
        assert_eq!(backend.read(PID, exclusive(1), 7), held(1, false, true));
        assert_eq!(backend.read(PID, exclusive(2), 7), None);
        assert_eq!(backend.read(PID, exclusive(3), 7), None);
        assert_eq!(backend.read(PID, exclusive(4), 7), held(4, true, false));
    }

    #[test]
    fn what_does_not_fit_is_not_known() {
        let backend = Backend::default();
        let places = PLACES as i64;
        for key in 0..2 * places {
            grant(&backend, key, false, true, key, NOW);
        }
        assert_eq!(backend.read(PID, exclusive(places - 1), 7), held(places - 1, false, true));
        assert_eq!(backend.read(PID, exclusive(places), 7), None);
        let next = Transaction { local: 8, sub: 1 };
        grant(&backend, places, false, true, 5, next);
        assert_eq!(backend.read(PID, exclusive(places), 8), held(5, false, true));
    }

    #[test]
    fn what_core_released_makes_room() {
        let backend = Backend::default();
        for key in 0..PLACES as i64 {
            grant(&backend, key, true, true, key, NOW);
        }
        let next = Transaction { local: 8, sub: 1 };
        let new = Grant { session: false, first: true, since: 5 };
        assert!(!backend.granted(PID, exclusive(100), new, next) && backend.may_have_stale(next));
        backend.drop_stale(PID, next, |subject| subject.key == 3);
        assert!(!backend.may_have_stale(next), "asked once in a transaction");
        assert!(backend.granted(PID, exclusive(100), new, next));
        assert_eq!(backend.read(PID, exclusive(100), 8), held(5, false, true));
        assert_eq!(backend.read(PID, exclusive(3), 8), None);
        assert_eq!(backend.read(PID, exclusive(4), 8), held(4, true, false));
    }

    #[test]
    fn what_was_held_before_and_not_noted_stays_unknown() {
        let backend = Backend::default();
        grant(&backend, 1, true, false, 100, NOW);
        assert_eq!(backend.read(PID, exclusive(1), 7), None);
    }

    #[test]
    fn another_process_finds_nothing_of_the_one_before() {
        let backend = Backend::default();
        grant(&backend, 1, true, true, 100, NOW);
        backend.granted(43, exclusive(2), Grant { session: true, first: true, since: 5 }, NOW);
        assert_eq!(backend.read(43, exclusive(1), 7), None);
        assert_eq!(backend.read(43, exclusive(2), 7), held(5, true, false));
        assert_eq!(backend.read(PID, exclusive(1), 7), None);
        backend.rolled_back(PID, 0);
        assert_eq!(backend.read(43, exclusive(2), 0), held(5, true, false));
    }
}
