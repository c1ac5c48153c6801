//! The statistics of named locks: a row for each first part of a name, in each database.
//!
//! The rows are in a table of fixed size, in sets of [`WAYS`] slots; the first part says which set. What is counted is
//! added to a counter of the row and nothing else, so whoever is stopped or killed between two counters leaves nothing half
//! done. Sessions that use one first part at the same time seldom write the same cache line: a row has [`STRIPES`] of
//! each counter, and what is read are the sums. Two rows for one first part there cannot be, since only one backend at a
//! time puts a new one into a set ([`Set::entrance`]).
//!
//! In a full set, the row that was used least makes room. Its count of uses stays with the slot as the head start of
//! the one that comes: so of many first parts that come once, each pushes out the one before it, those in steady use stay, and
//! those in use no longer go in the end (Metwally, Agrawal, El Abbadi: "Efficient Computation of Frequent and Top-k
//! Elements in Data Streams"). A backend that found a row in the moment in which it makes room counts for the row that
//! took its place.

use super::text::Text;
use super::version::Version;
use std::hint::spin_loop;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64};

/// Slots in a set.
pub const WAYS: usize = 16;

/// How many of each counter there are in a row.
const STRIPES: usize = 4;

/// The longest text that a row takes, in bytes.
pub const MAX_TEXT: usize = Text::<WORDS>::MAX;

/// 8-byte words of text in a row.
const WORDS: usize = 13;

/// How often a new row is tried while others come into the same set.
const ATTEMPTS: usize = 1000;

/// What is counted. Times are in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Locks granted.
    Locks,
    /// Locks not granted, and not waited for.
    Refused,
    /// Waits that began.
    Waits,
    /// How long they were, when they had ended.
    WaitTime,
    /// The longest of them.
    MaxWaitTime,
    /// Waits that ended in vain, in time.
    Timeouts,
    /// Waits that ended by an error: a deadlock.
    Deadlocks,
    /// Cancelled, or by `statement_timeout`.
    Cancels,
}

const COUNTERS: usize = Counter::Cancels as usize + 1;

/// What is counted together: the names of a database that have one first part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kind {
    /// Not 0.
    database: u32,
    /// Of both.
    hash: u64,
}

/// Slots, and what finds them, in few cache lines. All bytes zero is a set without rows.
#[repr(C, align(64))]
#[cfg_attr(test, derive(Default))]
pub struct Set {
    hashes: [AtomicU64; WAYS],
    versions: [Version; WAYS],
    /// 0: no row.
    databases: [AtomicU32; WAYS],
    /// Held by who brings a new row.
    entrance: Version,
    rows: [Row; WAYS],
}

/// What is known of a first part.
#[repr(C, align(64))]
#[cfg_attr(test, derive(Default))]
struct Row {
    counts: [Counts; STRIPES],
    /// How often those were used that were in the slot before.
    head_start: AtomicU64,
    /// Since when it counts, in microseconds since 2000-01-01 UTC.
    since: AtomicI64,
    text: Text<WORDS>,
}

/// Counters that some of the sessions add to.
#[repr(C, align(64))]
#[cfg_attr(test, derive(Default))]
pub struct Counts([AtomicU64; COUNTERS]);

/// A row, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The first part, in the encoding of its database, maybe cut.
    pub text: Vec<u8>,
    /// Since when it was counted, in microseconds since 2000-01-01 UTC.
    pub since: i64,
    counts: [u64; COUNTERS],
}

impl Counted {
    /// One of the counts.
    pub fn of(&self, counter: Counter) -> u64 {
        self.counts[counter as usize]
    }
}

/// The statistics, wherever they are.
#[derive(Clone, Copy)]
pub struct Statistics<'a> {
    sets: &'a [Set],
    evictions: &'a AtomicU64,
    secret: u64,
    stripe: usize,
}

impl<'a> Statistics<'a> {
    /// Those in these sets, for the session of this number; `None` if there are none. The secret stays the same.
    pub fn new(
        sets: &'a [Set],
        evictions: &'a AtomicU64,
        secret: u64,
        session: usize,
    ) -> Option<Self> {
        (!sets.is_empty()).then_some(Self { sets, evictions, secret, stripe: session % STRIPES })
    }

    /// How many sets are needed for that many rows. A set can be full while others are not, so there is room for
    /// twice as many.
    pub fn sets_for(rows: usize) -> usize {
        (rows * 2).div_ceil(WAYS)
    }

    /// What counts names with this first part, in this database (not 0). The row is made if need be, with the clock and
    /// the text that are asked for then; none if others came into its set [`ATTEMPTS`] times.
    #[inline]
    pub fn counts<T: AsRef<[u8]>>(
        self,
        database: u32,
        first_part: &[u8],
        now: impl FnOnce() -> i64,
        text: impl FnOnce() -> T,
    ) -> Option<&'a Counts> {
        let kind = Kind { database, hash: hash(self.secret, database, first_part) };
        let set = self.set_of(kind);
        let slot = match set.find(kind) {
            Some(slot) => slot,
            None => self.enter(set, kind, now(), text().as_ref())?,
        };
        Some(&set.rows[slot].counts[self.stripe])
    }

    #[cold]
    fn enter(self, set: &Set, kind: Kind, now: i64, text: &[u8]) -> Option<usize> {
        (0..ATTEMPTS).find_map(|_| {
            let entered = set.entrance.write(|| {
                // Somebody may have been faster.
                set.find(kind).or_else(|| {
                    let slot = (0..WAYS).min_by_key(|&slot| set.uses(slot))?;
                    let evicted = set.put(slot, kind, now, text)?;
                    self.evictions.fetch_add(u64::from(evicted), Relaxed);
                    Some(slot)
                })
            });
            if entered.is_none() {
                spin_loop();
            }
            entered.flatten().or_else(|| set.find(kind))
        })
    }

    /// All rows of a database.
    pub fn rows(self, database: u32) -> impl Iterator<Item = Counted> + use<'a> {
        self.slots().filter_map(move |(set, slot)| set.read(slot, database))
    }

    /// Removes all rows of a database.
    pub fn reset(self, database: u32) {
        for (set, slot) in self.slots() {
            if set.databases[slot].load(Relaxed) == database {
                // What is being written now is new.
                set.versions[slot].write(|| set.databases[slot].store(0, Relaxed));
            }
        }
    }

    /// How many rows have made room for others.
    pub fn evictions(self) -> u64 {
        self.evictions.load(Relaxed)
    }

    fn slots(self) -> impl Iterator<Item = (&'a Set, usize)> + use<'a> {
        self.sets.iter().flat_map(|set| (0..WAYS).map(move |slot| (set, slot)))
    }

    #[inline]
    fn set_of(self, kind: Kind) -> &'a Set {
        // As good as a remainder, and faster.
        &self.sets[((u128::from(kind.hash) * self.sets.len() as u128) >> 64) as usize]
    }
}

/// A number for a first part, in a database.
#[inline]
fn hash(secret: u64, database: u32, text: &[u8]) -> u64 {
    let mut words = text.chunks_exact(8);
    let mut hash = u64::from(database) << 32 ^ text.len() as u64;
    for word in words.by_ref() {
        hash = fold(secret, hash, u64::from_le_bytes(word.try_into().unwrap_or_default()));
    }
    let mut last = [0; 8];
    last[..words.remainder().len()].copy_from_slice(words.remainder());
    fold(secret, hash, u64::from_le_bytes(last))
}

/// Mixes two numbers: the halves of the product of what they are made into.
#[inline]
fn fold(secret: u64, hash: u64, word: u64) -> u64 {
    let product = u128::from(hash ^ secret ^ 0x9e37_79b9_7f4a_7c15)
        * u128::from(word ^ secret.rotate_left(32) ^ 0xd1b5_4a32_d192_ed03);
    product as u64 ^ (product >> 64) as u64
}

impl Set {
    /// The slot of a kind.
    #[inline]
    fn find(&self, kind: Kind) -> Option<usize> {
        (0..WAYS).find(|&slot| self.is(slot, kind) && !self.versions[slot].is_being_written())
    }

    #[inline]
    fn is(&self, slot: usize, kind: Kind) -> bool {
        // Whoever sees what a row begins with sees that it is being written.
        self.hashes[slot].load(Acquire) == kind.hash
            && self.databases[slot].load(Acquire) == kind.database
    }

    fn read(&self, slot: usize, database: u32) -> Option<Counted> {
        if self.databases[slot].load(Relaxed) != database {
            return None;
        }
        // A row that somebody took away meanwhile is no row; one that is coming counts nothing yet.
        self.versions[slot].read(|| {
            (self.databases[slot].load(Relaxed) == database).then(|| self.rows[slot].read())
        })
    }

    /// How much speaks for keeping what is in the slot.
    fn uses(&self, slot: usize) -> u64 {
        if self.versions[slot].is_being_written() {
            u64::MAX
        } else if self.databases[slot].load(Relaxed) == 0 {
            0
        } else {
            self.rows[slot].uses().saturating_add(1)
        }
    }

    /// Begins a row; was there another?
    fn put(&self, slot: usize, kind: Kind, now: i64, text: &[u8]) -> Option<bool> {
        self.versions[slot].write(|| {
            let evicted = self.databases[slot].load(Relaxed) != 0;
            let row = &self.rows[slot];
            row.begin(if evicted { row.uses() } else { 0 }, now, text);
            self.hashes[slot].store(kind.hash, Relaxed);
            self.databases[slot].store(kind.database, Relaxed);
            evicted
        })
    }
}

impl Counts {
    /// Counts.
    #[inline]
    pub fn add(&self, counter: Counter, count: u64) {
        self.0[counter as usize].fetch_add(count, Relaxed);
    }

    /// Counts a wait that has ended.
    pub fn add_wait(&self, microseconds: u64) {
        self.add(Counter::WaitTime, microseconds);
        self.0[Counter::MaxWaitTime as usize].fetch_max(microseconds, Relaxed);
    }
}

impl Row {
    fn uses(&self) -> u64 {
        use Counter::{Cancels, Deadlocks, Locks, Refused, Timeouts};
        [Locks, Refused, Timeouts, Deadlocks, Cancels]
            .iter()
            .map(|&counter| self.count(counter as usize))
            .fold(self.head_start.load(Relaxed), u64::saturating_add)
    }

    fn begin(&self, head_start: u64, now: i64, text: &[u8]) {
        self.counts.iter().flat_map(|counts| &counts.0).for_each(|count| count.store(0, Relaxed));
        self.head_start.store(head_start, Relaxed);
        self.since.store(now, Relaxed);
        self.text.write(text);
    }

    fn read(&self) -> Counted {
        Counted {
            text: self.text.read(),
            since: self.since.load(Relaxed),
            counts: std::array::from_fn(|counter| self.count(counter)),
        }
    }

    /// Over all stripes.
    fn count(&self, counter: usize) -> u64 {
        let together =
            if counter == Counter::MaxWaitTime as usize { u64::max } else { u64::saturating_add };
        self.counts.iter().map(|counts| counts.0[counter].load(Relaxed)).fold(0, together)
    }
}

#[cfg(test)]
mod tests;
