//! The record of names: under which name a key was locked last. It is there for people who look at
//! `advisory_locks`, and a hint only: no lock depends on it, and it may have lost any name.
//!
//! The record is a table of fixed size that all backends share: sets of [`WAYS`] slots. The key says
//! which set, so what one backend does in a set concerns only those whose keys fall into it.
//!
//! Each slot has a [`Version`]: all reading goes through [`Set::read_slot`], all writing through [`Set::write_slot`].
//!
//! A new name goes to a slot of its set that was never used, else to the one that was used longest
//! ago.
//!
//! # Who may read a name
//!
//! With each name stand the roles that recorded it: whoever has locked by this name knows it already.
//! The record itself shows everything; those who read from it ask ([`Recorded::roles`]).

use super::text::Text;
use super::version::Version;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

/// Slots in a set.
pub const WAYS: usize = 8;

/// The longest text that a slot takes, in bytes.
pub const MAX_TEXT: usize = Text::<WORDS>::MAX;

/// 8-byte words of text in a slot.
const WORDS: usize = 26;

/// Roles that stand with a name: those that came last.
pub const ROLES: usize = 4;

/// Slots with the clock by which their age is told. What a search looks at stands together, so that
/// it meets few cache lines. All bytes zero is a set without names.
#[repr(C, align(64))]
#[cfg_attr(test, derive(Default))]
pub struct Set {
    /// Counts the names written into this set.
    clock: AtomicU32,
    versions: [Version; WAYS],
    databases: [AtomicU32; WAYS],
    /// The clock of the set when the slot was used last.
    used: [AtomicU32; WAYS],
    keys: [AtomicI64; WAYS],
    names: [Name; WAYS],
}

#[repr(C)]
#[cfg_attr(test, derive(Default))]
struct Name {
    /// Tells apart the ways to split one text into parts.
    split: AtomicU64,
    /// Whether a second way was reported already.
    told: AtomicU32,
    /// OIDs of those that recorded it, the latest first; 0 for none.
    roles: [AtomicU32; ROLES],
    text: Text<WORDS>,
}

/// What a name is recorded for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The database that the lock is in.
    pub database: u32,
    /// The key of the name.
    pub key: i64,
}

/// What stands in the record for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The name, in the encoding of its database.
    pub text: Vec<u8>,
    /// OIDs of roles that recorded it, some of the last; 0 is none.
    pub roles: [u32; ROLES],
}

/// What was noticed when a name was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noticed {
    /// Nothing.
    Nothing,
    /// The same key stands in the record with its text split into other parts. Told once for each
    /// name in the record.
    OtherParts,
}

/// The record, wherever its sets are.
#[derive(Clone, Copy)]
pub struct NameRecord<'a> {
    sets: &'a [Set],
}

impl<'a> NameRecord<'a> {
    /// A record in these sets; `None` if there are none.
    pub fn new(sets: &'a [Set]) -> Option<Self> {
        (!sets.is_empty()).then_some(Self { sets })
    }

    /// How many sets a record of that many names needs. A set can be full while others are not, so
    /// there is room for twice as many.
    pub fn sets_for(names: usize) -> usize {
        (names * 2).div_ceil(WAYS)
    }

    /// Records the name of a key for a role, unless that is there already. `text` gives the name, at
    /// most [`MAX_TEXT`] bytes of it; it is asked for new names only.
    #[inline]
    pub fn write<T: AsRef<[u8]>>(
        self,
        subject: Subject,
        split: u64,
        role: u32,
        text: impl FnOnce() -> T,
    ) -> Noticed {
        let set = self.set_of(subject);
        let known = set.find(subject, |name| {
            name.has_role(role)
                && (name.split.load(Ordering::Relaxed) == split
                    || name.told.load(Ordering::Relaxed) != 0)
        });
        match known {
            None => {
                set.insert(subject, split, role, text().as_ref());
                Noticed::Nothing
            }
            Some((slot, nothing_new)) => {
                set.touch(slot);
                if nothing_new { Noticed::Nothing } else { set.add(slot, subject, split, role) }
            }
        }
    }

    /// The name of a key, if it is in the record.
    pub fn read(self, subject: Subject) -> Option<Recorded> {
        self.set_of(subject).find(subject, Name::read).map(|(_, recorded)| recorded)
    }

    #[inline]
    fn set_of(self, subject: Subject) -> &'a Set {
        // Keys are spread evenly already; the factor keeps equal keys of several databases apart.
        let spread = subject.key as u64 ^ u64::from(subject.database).wrapping_mul(GOLDEN_RATIO);
        &self.sets[(spread % self.sets.len() as u64) as usize]
    }
}

/// 2⁶⁴ divided by the golden ratio.
const GOLDEN_RATIO: u64 = 0x9e37_79b9_7f4a_7c15;

/// A number for the way in which a text is split into parts of these lengths.
#[inline]
pub fn split_of(lengths: impl Iterator<Item = usize>) -> u64 {
    lengths.fold(0, |split: u64, length| {
        (split.rotate_left(5) ^ (length as u64 + 1)).wrapping_mul(GOLDEN_RATIO)
    })
}

impl Set {
    /// The slot of a subject, and what `read` says of its name.
    #[inline]
    fn find<R>(&self, subject: Subject, read: impl Fn(&Name) -> R) -> Option<(usize, R)> {
        (0..WAYS).find_map(|slot| Some((slot, self.read_slot(slot, subject, &read)?)))
    }

    /// Reads a slot; none if it holds another subject or none, or is being written to.
    #[inline]
    fn read_slot<R>(
        &self,
        slot: usize,
        subject: Subject,
        read: impl FnOnce(&Name) -> R,
    ) -> Option<R> {
        // Most slots hold another one, so that comes first; it is asked again below.
        if self.subject(slot) != subject {
            return None;
        }
        self.versions[slot]
            .read(|| (self.subject(slot) == subject).then(|| read(&self.names[slot])))
    }

    /// Writes to a slot; none, and nothing is done, while another backend does.
    fn write_slot<R>(&self, slot: usize, write: impl FnOnce(&Name) -> R) -> Option<R> {
        self.versions[slot].write(|| write(&self.names[slot]))
    }

    #[inline]
    fn subject(&self, slot: usize) -> Subject {
        Subject {
            key: self.keys[slot].load(Ordering::Relaxed),
            database: self.databases[slot].load(Ordering::Relaxed),
        }
    }

    /// Notes that the name was used again. Should the slot get another name in this moment, that
    /// one is only taken for younger than it is.
    #[inline]
    fn touch(&self, slot: usize) {
        let now = self.clock.load(Ordering::Relaxed);
        if self.used[slot].load(Ordering::Relaxed) != now {
            self.used[slot].store(now, Ordering::Relaxed);
        }
    }

    /// Adds what is new to a name that stands in the slot, if it still does.
    #[cold]
    fn add(&self, slot: usize, subject: Subject, split: u64, role: u32) -> Noticed {
        let noticed = self.write_slot(slot, |name| {
            if self.subject(slot) != subject {
                return Noticed::Nothing;
            }
            if !name.has_role(role) {
                name.add_role(role);
            }
            if name.split.load(Ordering::Relaxed) == split
                || name.told.swap(1, Ordering::Relaxed) != 0
            {
                return Noticed::Nothing;
            }
            Noticed::OtherParts
        });
        noticed.unwrap_or(Noticed::Nothing)
    }

    fn insert(&self, subject: Subject, split: u64, role: u32, text: &[u8]) {
        let now = self.clock.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let age = |slot: usize| match &self.versions[slot] {
            version if version.is_unused() => u32::MAX,
            version if version.is_being_written() => 0,
            _ => now.wrapping_sub(self.used[slot].load(Ordering::Relaxed)),
        };
        let Some(oldest) = (0..WAYS).max_by_key(|&slot| age(slot)) else { return };
        self.write_slot(oldest, |name| {
            self.databases[oldest].store(subject.database, Ordering::Relaxed);
            self.keys[oldest].store(subject.key, Ordering::Relaxed);
            self.used[oldest].store(now, Ordering::Relaxed);
            name.write(split, role, text);
        });
    }
}

impl Name {
    #[inline]
    fn has_role(&self, role: u32) -> bool {
        self.roles.iter().any(|known| known.load(Ordering::Relaxed) == role)
    }

    /// Puts the role in front; the one that came first makes room.
    fn add_role(&self, role: u32) {
        let mut role = role;
        for place in &self.roles {
            role = place.swap(role, Ordering::Relaxed);
        }
    }

    fn write(&self, split: u64, role: u32, text: &[u8]) {
        self.split.store(split, Ordering::Relaxed);
        self.told.store(0, Ordering::Relaxed);
        self.roles.iter().for_each(|place| place.store(0, Ordering::Relaxed));
        self.add_role(role);
        self.text.write(text);
    }

    fn read(&self) -> Recorded {
        let text = self.text.read();
        Recorded { text, roles: std::array::from_fn(|i| self.roles[i].load(Ordering::Relaxed)) }
    }
}

#[cfg(test)]
mod tests;
