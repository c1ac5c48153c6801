//! The first free of many keys, each locked if that is possible at once.

use crate::backend::check_for_interrupts;
use crate::error::Error;
use crate::keys::keyset::key_of_row;
use crate::keys::name::NamedKey;
use crate::keys::text_array::TextArray;
use crate::locks::held_since;
use crate::locks::lock::{AdvisoryLock, Attempt, Level, Mode};
use crate::locks::outcome;
use crate::locks::session_limit;
use crate::locks::slots::wake::give_back;
use smallvec::SmallVec;

/// How many of the keys a call claims, and in which way.
#[derive(Clone, Copy)]
pub struct Claim {
    /// So many at most, at least 1.
    pub wanted: usize,
    /// Exclusive or shared.
    pub mode: Mode,
    /// Until the end of the transaction or of the session.
    pub level: Level,
}

/// Goes through the rows in their order and locks those that nobody holds in a conflicting mode, the
/// session itself in none, until there are enough. Never waits.
///
/// A key is computed when its row comes, so rows behind the last that is claimed cost nothing.
pub fn claim(names: TextArray<'_>, request: Claim) -> Result<Claimed, Error> {
    let Claim { wanted, mode, level } = request;
    let mut claimed = Claimed { rows: SmallVec::new(), mode, level };
    let mut parts = names.parts();
    for row in 0..names.rows() {
        let offset = parts.offset();
        let key = key_of_row(&mut parts, names.columns())?;
        let lock = AdvisoryLock::new(key);
        // That the session holds it in the mode that is asked for, Postgres says itself, below.
        if lock.held(mode.other()) {
            continue;
        }
        if session_limit::reached(claimed.rows.len()) && !lock.held(mode) {
            session_limit::check(claimed.rows.len())?;
        }
        // Before the lock, which nobody would know of if there were no room to note it.
        claimed.rows.try_reserve(1).map_err(|_| Error::OutOfMemory { rows: row + 1 })?;
        match lock.try_acquire(mode, level) {
            Attempt::NotAvailable => continue,
            // Among these is what this call has locked before, if its key comes again.
            Attempt::TakenAgain => {
                lock.release(mode, level);
                continue;
            }
            Attempt::Taken => claimed.rows.push(Row { number: row as i32 + 1, offset, key }),
        }
        NamedKey { array: names, offset, key }.record();
        if claimed.rows.len() == wanted {
            break;
        }
    }
    // As in `lock_all`.
    check_for_interrupts();
    outcome::granted(claimed.rows.iter().map(|row| row.subject(names)));
    if claimed.rows.is_empty() {
        // Of the names it was refused, by the first.
        outcome::refused(&NamedKey { array: names, offset: names.parts().offset(), key: 0 });
    }
    Ok(claimed)
}

/// A row that was claimed.
#[derive(Clone, Copy)]
struct Row {
    /// From 1; an array has fewer elements than an `i32` can count.
    number: i32,
    /// Where its parts begin.
    offset: usize,
    key: i64,
}

impl Row {
    fn subject(self, names: TextArray<'_>) -> NamedKey<'_> {
        NamedKey { array: names, offset: self.offset, key: self.key }
    }
}

/// What a call has claimed. Unless it is told to [`Claimed::keep`] that, it gives everything back
/// when it goes out of scope, also when an error unwinds through it.
#[must_use]
pub struct Claimed {
    rows: SmallVec<[Row; 4]>,
    mode: Mode,
    level: Level,
}

impl Claimed {
    /// Was there nothing to claim?
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The numbers of the rows, in their order.
    pub fn row_numbers(&self) -> impl ExactSizeIterator<Item = i32> {
        self.rows.iter().map(|row| row.number)
    }

    /// The caller will be told of the locks, and keeps them.
    pub fn keep(mut self) {
        session_limit::add(self.level, self.rows.len());
        for row in &self.rows {
            held_since::granted(row.key, self.mode, self.level, true, false);
        }
        self.rows.clear();
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        for row in self.rows.iter().rev() {
            give_back(&AdvisoryLock::new(row.key), self.mode, self.level);
        }
    }
}
