//! Who waits for slots, as the lock table shows it.
#![allow(unsafe_code)]

use crate::backend::{clock, current_database};
use crate::locks::lock::{AdvisoryLock, LockMode, Mode, bit, class};
use crate::locks::lock_table::{Entry, TableCopy, under_lwlocks};
use crate::locks::slots::deadlock::{Graph, Pid, Wait};
use pgrx::{FromDatum, pg_sys};
use std::cell::Cell;
use std::collections::HashMap;

/// Tells the calls of a backend that wait apart, and says when each began: milliseconds since 2000-01-01 UTC.
#[derive(Clone, Copy)]
pub struct Ticket(i64);

impl Ticket {
    /// That of a call that begins to wait now.
    pub fn now() -> Self {
        thread_local! {
            static LAST: Cell<i64> = const { Cell::new(0) };
        }
        let ticket = milliseconds().max(LAST.get() + 1);
        LAST.set(ticket);
        Self(ticket)
    }

    /// What stands for a key in the tag of the waiter's lock: the slots, and what there is room for of the ticket.
    pub fn with(self, slots: usize) -> i64 {
        (i64::try_from(slots).unwrap_or(0) << 32) | i64::from(self.0 as u32)
    }

    /// The other way round; the ticket is that of a wait of less than seven weeks.
    fn parse(key: i64) -> (usize, Self) {
        let now = milliseconds();
        // A backend that waits very often has its tickets from a little later.
        let age = i64::from((now as u32).wrapping_sub(key as u32) as i32);
        let age = if age < -60_000 { age + (1 << 32) } else { age };
        (usize::try_from(key >> 32).unwrap_or(0), Self(now - age))
    }
}

/// Since 2000-01-01 UTC.
fn milliseconds() -> i64 {
    clock() / 1000
}

/// The name that slots belong to: its database and its key.
type Name = (u32, i64);

/// Who holds a name, and who waits for its slots.
#[derive(Default)]
struct Slots {
    shared: Vec<Pid>,
    exclusive: Vec<Pid>,
    head: Option<Pid>,
    /// The others, in order, with the time at which they came; that is 0 for a moment.
    queue: Vec<(pg_sys::TimestampTz, Pid)>,
}

impl Slots {
    /// Who keeps this process from getting one of so many slots, and how many of those must let go.
    fn in_the_way(&self, pid: Pid, slots: usize) -> (Vec<Pid>, usize) {
        let others =
            |holders: &[Pid]| holders.iter().copied().filter(|&other| other != pid).collect();
        let exclusive: Vec<Pid> = others(&self.exclusive);
        if exclusive.is_empty() {
            let shared: Vec<Pid> = others(&self.shared);
            let enough = (shared.len() + 1).saturating_sub(slots);
            (shared, enough)
        } else {
            let enough = exclusive.len();
            (exclusive, enough)
        }
    }
}

/// A call that waits for a slot.
struct Waiter {
    slots: usize,
    ticket: Ticket,
}

/// A lock that a process waits for in the queue of Postgres.
struct Awaited {
    tag: pg_sys::LOCKTAG,
    mode: pg_sys::LOCKMODE,
    since: pg_sys::TimestampTz,
}

/// All waits of all databases at one moment.
#[derive(Default)]
pub struct Waits {
    names: HashMap<Name, Slots>,
    /// The name that a waiter waits for.
    places: HashMap<Pid, Name>,
    waiters: HashMap<Pid, Waiter>,
    awaited: HashMap<Pid, Awaited>,
}

/// By what a wait is told from the next one of the same process.
type Identity =
    (Option<i64>, Option<(u32, u32, u32, u16, u8, pg_sys::LOCKMODE, pg_sys::TimestampTz)>);

impl Waits {
    /// Reads them from the lock table.
    pub fn of(table: &TableCopy) -> Self {
        let mut waits = Self::default();
        let exclusive = Mode::Exclusive.lockmode();
        let held = |instance: &pg_sys::LockInstanceData, mode| instance.holdMask & bit(mode) != 0;
        for instance in table.all() {
            let (tag, pid) = (instance.locktag, instance.pid);
            let awaits = instance.waitLockMode != pg_sys::NoLock as pg_sys::LOCKMODE;
            let parsed = AdvisoryLock::parse(&tag);
            match parsed {
                Some((class::QUEUE, database, key)) => {
                    let slots = waits.names.entry((database, key)).or_default();
                    if held(instance, exclusive) {
                        slots.head = Some(pid);
                        waits.places.insert(pid, (database, key));
                    } else if awaits {
                        slots.queue.push((instance.waitStart, pid));
                        waits.places.insert(pid, (database, key));
                    }
                }
                Some((class::WAITER, _, key)) if held(instance, LockMode::PROBE.number()) => {
                    let (slots, ticket) = Ticket::parse(key);
                    waits.waiters.insert(pid, Waiter { slots, ticket });
                }
                _ => {}
            }
            // Waits of a moment say nothing.
            let short = matches!(parsed, Some((class::TIE | class::SEARCH, ..)));
            if awaits && !short {
                let awaited =
                    Awaited { tag, mode: instance.waitLockMode, since: instance.waitStart };
                // Who runs a parallel query waits for its workers, and so for what they wait for: pg_blocking_pids()
                // sees it so too.
                if pid == instance.leaderPid {
                    waits.awaited.insert(pid, awaited);
                } else {
                    waits.awaited.entry(instance.leaderPid).or_insert(awaited);
                }
            }
        }
        for slots in waits.names.values_mut() {
            slots.queue.sort_unstable();
        }
        // Of the names that somebody waits for only: of others there can be very many.
        for instance in table.all() {
            let Some((class::KEY, database, key)) = AdvisoryLock::parse(&instance.locktag) else {
                continue;
            };
            let Some(slots) = waits.names.get_mut(&(database, key)) else { continue };
            if held(instance, Mode::Shared.lockmode()) {
                slots.shared.push(instance.pid);
            }
            if held(instance, exclusive) {
                slots.exclusive.push(instance.pid);
            }
        }
        waits
    }

    /// Those who wait for slots in the current database, as rows of the view: who waits, and for whom.
    pub fn entries(&self) -> impl Iterator<Item = (Entry, Vec<Pid>)> {
        let here = current_database();
        self.places.iter().filter(move |(_, (database, _))| *database == here).filter_map(
            |(&pid, name)| {
                let waiter = self.waiters.get(&pid)?;
                let entry = Entry {
                    key: name.1,
                    mode: Mode::Shared,
                    granted: false,
                    pid: Some(pid),
                    waiting_since: Some(waiter.ticket.0 * 1000),
                };
                Some((entry, self.names[name].in_the_way(pid, waiter.slots).0))
            },
        )
    }

    /// Those who hold a name of the current database, and those who wait for its slots.
    pub fn holders_and_queue(&self, key: i64) -> (Vec<Pid>, Vec<Pid>) {
        let Some(slots) = self.names.get(&(current_database(), key)) else {
            return Default::default();
        };
        let holders = slots.exclusive.iter().chain(&slots.shared).copied().collect();
        let queue = slots.head.into_iter().chain(self.queue(key)).collect();
        (holders, queue)
    }

    /// Those behind the head of the queue for the slots of a name of the current database, in order.
    pub fn queue(&self, key: i64) -> Vec<Pid> {
        let slots = self.names.get(&(current_database(), key));
        slots.map_or_else(Vec::new, |slots| slots.queue.iter().map(|&(_, pid)| pid).collect())
    }

    /// Who waits for whom, as far as it concerns `me` and those `behind` it in its queue.
    pub fn graph(&self, me: Pid, behind: &[Pid]) -> Graph {
        let mut graph = Graph::new();
        let mut next = [&[me], behind].concat();
        while let Some(pid) = next.pop() {
            if graph.contains_key(&pid) {
                continue;
            }
            if let Some(wait) = self.wait_of(pid) {
                next.extend(wait.of.iter().copied().chain(wait.before));
                graph.insert(pid, wait);
            }
        }
        graph
    }

    fn wait_of(&self, pid: Pid) -> Option<Wait> {
        let awaited = self.awaited.get(&pid);
        // It has only just begun.
        if awaited.is_some_and(|awaited| awaited.since == 0) {
            return None;
        }
        let Some((waiter, name)) = self.waiters.get(&pid).zip(self.places.get(&pid)) else {
            return awaited.map(|_| Wait::for_all(blocking(pid)));
        };
        let slots = &self.names[name];
        let before = if slots.head == Some(pid) {
            if slots.shared.contains(&pid) {
                return None;
            }
            if awaited.is_some() {
                // Behind exclusive lockers.
                return Some(Wait::for_all(blocking(pid)));
            }
            None
        } else {
            let at = slots.queue.iter().position(|&(_, other)| other == pid)?;
            at.checked_sub(1).map(|previous| slots.queue[previous].1).or(slots.head)
        };
        let (of, enough) = slots.in_the_way(pid, waiter.slots);
        Some(Wait { of, enough, before })
    }

    /// Equal for two moments if the process has waited from one to the other.
    pub fn identity(&self, pid: Pid) -> Identity {
        let awaited = self.awaited.get(&pid).map(|Awaited { tag, mode, since }| {
            (
                tag.locktag_field1,
                tag.locktag_field2,
                tag.locktag_field3,
                tag.locktag_field4,
                tag.locktag_type,
                *mode,
                *since,
            )
        });
        (self.waiters.get(&pid).map(|waiter| waiter.ticket.0), awaited)
    }

    /// `waits for one of 4 slots of advisory key …`
    pub fn describe_slots(slots: usize, key: &[u8]) -> Vec<u8> {
        let which =
            if slots == 1 { "the only slot".into() } else { format!("one of {slots} slots") };
        [format!("waits for {which} of advisory key ").as_bytes(), key].concat()
    }

    /// `waits for …`
    pub fn describe(&self, pid: Pid) -> Vec<u8> {
        if let Some((waiter, (_, key))) = self.waiters.get(&pid).zip(self.places.get(&pid)) {
            return Self::describe_slots(waiter.slots, key.to_string().as_bytes());
        }
        let Some(Awaited { tag, mode, .. }) = self.awaited.get(&pid) else {
            return b"waits".to_vec();
        };
        // SAFETY: both name what the lock table has; the text lives in the current memory context.
        unsafe {
            let mode = pg_sys::GetLockmodeName(tag.locktag_lockmethodid.into(), *mode);
            let object = pg_sys::makeStringInfo();
            pg_sys::DescribeLockTag(object, tag);
            let text = |text| std::ffi::CStr::from_ptr(text).to_bytes();
            [b"waits for ", text(mode), b" on ", text((*object).data)].concat()
        }
    }
}

/// `pg_blocking_pids()`: the processes that block one which waits for a lock of Postgres.
fn blocking(pid: Pid) -> Vec<Pid> {
    // SAFETY: the function takes an integer and returns an array of integers, never NULL.
    under_lwlocks(|| unsafe {
        let pids = pg_sys::OidFunctionCall1Coll(
            pg_sys::F_PG_BLOCKING_PIDS.into(),
            pg_sys::InvalidOid,
            pid.into(),
        );
        Vec::from_datum(pids, false).unwrap_or_default()
    })
}
