//! The keys of one call: sorted, without duplicates, locked all or not at all.

use crate::encoding::to_utf8;
use crate::error::Error;
use crate::key::KeyHasher;
use crate::lock::{AdvisoryLock, Attempt, Level, Mode};
use crate::name::NamedKey;
use crate::session_limit;
use crate::text_array::{Parts, TextArray};
use crate::timeout::{Deadline, Timeout};
use crate::wait::{check_for_interrupts, session_lock_timeout, wait};
use smallvec::SmallVec;

/// The keys of a call in ascending order, each once.
pub struct KeySet<'a> {
    array: TextArray<'a>,
    entries: SmallVec<[Entry; 4]>,
}

/// One key and where the parts it was computed from begin, the first of them if there are several.
#[derive(Clone, Copy)]
struct Entry {
    key: i64,
    offset: usize,
}

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

impl<'a> KeySet<'a> {
    /// Computes the keys of all rows.
    #[inline]
    pub fn new(array: TextArray<'a>) -> Result<Self, Error> {
        let mut entries: SmallVec<[Entry; 4]> = SmallVec::new();
        let rows = array.rows();
        // Only what does not fit on the stack is allocated, and if that fails it is an error of
        // this call, not the end of the server.
        entries.try_reserve_exact(rows).map_err(|_| Error::OutOfMemory { rows })?;
        let mut parts = array.parts();
        for _ in 0..rows {
            let offset = parts.offset();
            let key = key_of_row(&mut parts, array.columns())?;
            entries.push(Entry { key, offset });
        }
        if rows > 1 {
            entries.sort_unstable_by_key(|entry| (entry.key, entry.offset));
            entries.dedup_by_key(|entry| entry.key);
        }
        Ok(Self { array, entries })
    }

    /// The keys in ascending order, with their names.
    pub fn iter(&self) -> impl Iterator<Item = NamedKey<'a>> {
        let array = self.array;
        self.entries.iter().map(move |&Entry { key, offset }| NamedKey { array, offset, key })
    }

    /// Locks all keys, in ascending order. If one cannot be had in time, or an error ends the call, what
    /// it took is given back.
    #[inline]
    pub fn lock(&self, request: Request) -> Result<Locked<'_, 'a>, Error> {
        let Request { mode, level, timeout } = request;
        let mut taken =
            Taken { entries: &self.entries, granted: 0, new: 0, waited: false, mode, level };
        let mut deadline = None;
        for subject in self.iter() {
            subject.record();
            let lock = AdvisoryLock::new(subject.key);
            if session_limit::reached(taken.new) && !lock.held(mode) {
                session_limit::check(taken.new)?;
            }
            match lock.try_acquire(mode, level) {
                Attempt::Taken => taken.new += 1,
                // A lock of the transaction that becomes one of the session outlives the transaction.
                Attempt::TakenAgain
                    if level == Level::Session && lock.holds(mode).at_session_level == 1 =>
                {
                    taken.new += 1;
                }
                Attempt::TakenAgain => {}
                Attempt::NotAvailable => {
                    if timeout == Timeout::NoWait {
                        return Ok(Locked::NotInTime(subject));
                    }
                    let deadline = *deadline
                        .get_or_insert_with(|| Deadline::begin(timeout, session_lock_timeout()));
                    if !wait(&lock, mode, level, deadline, &subject) {
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
        Ok(Locked::All(taken))
    }
}

/// What came of a call that locks.
pub enum Locked<'set, 'a> {
    /// All keys are held.
    All(Taken<'set>),
    /// This one could not be had in time, and nothing of the call is held.
    NotInTime(NamedKey<'a>),
}

/// Computes the key of the next row.
#[inline]
pub fn key_of_row(parts: &mut Parts<'_>, columns: usize) -> Result<i64, Error> {
    /// Bytes that are hashed between two looks for a cancel.
    const PIECE: usize = 1 << 20;

    let mut hasher = KeyHasher::new();
    for part in parts.take(columns) {
        hasher.begin_part();
        let part = to_utf8(part?);
        if part.len() <= PIECE {
            hasher.bytes(part);
        } else {
            for piece in part.chunks(PIECE) {
                check_for_interrupts();
                hasher.bytes(piece);
            }
        }
    }
    check_for_interrupts();
    Ok(hasher.finish())
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
        self.granted = 0;
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        for entry in self.entries[..self.granted].iter().rev() {
            AdvisoryLock::new(entry.key).release(self.mode, self.level);
        }
    }
}
