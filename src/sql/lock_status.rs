//! What stands behind the view `advisory_locks` and behind `advisory_key_name`: the holders and waiters of
//! bigint advisory locks in this database, and the names that the user may see.
#![allow(unsafe_code)]

use crate::backend::{current_database, current_user};
use crate::error::{Error, OrRaise};
use crate::keys::encoding::is_valid;
use crate::locks::held_since;
use crate::locks::lock::Mode;
use crate::locks::lock_table::{Entry, TableCopy, entries};
use crate::locks::slots::Waits;
use crate::shared::memory::name_record;
use crate::shared::name_record::{Recorded, Subject};
use crate::sql::arguments::refuse_parallel_worker;
use crate::sql::server_text::ServerText;
use pgrx::pg_sys;
use pgrx::prelude::*;
use std::collections::HashMap;

/// One row for each holder and each waiter. `pid` is NULL for a prepared transaction; `name` is NULL
/// when it is not in the record, or not for the user to see ([`Reader::may_see`],
/// [`Reader::may_read`]). `slot_holders` are the processes, 0 for a prepared transaction, that one waits for who waits for
/// a slot: Postgres knows of its place in the queue at most.
#[allow(clippy::type_complexity)] // the columns stand where they are declared
#[pg_extern(volatile, parallel_restricted)]
fn advisory_lock_entries() -> TableIterator<
    'static,
    (
        name!(key, i64),
        name!(name, Option<ServerText>),
        name!(mode, &'static str),
        name!(granted, bool),
        name!(pid, Option<i32>),
        name!(waiting_since, Option<TimestampWithTimeZone>),
        name!(slot_holders, Option<Vec<i32>>),
        name!(held_since, Option<TimestampWithTimeZone>),
        name!(level, Option<&'static str>),
    ),
> {
    refuse_parallel_worker().or_raise();
    let mut reader = Reader::default();
    let table = TableCopy::take();
    let waiters: Vec<_> = Waits::of(&table).entries().collect();
    let waiters = waiters.into_iter().map(|(entry, holders)| (entry, Some(holders)));
    let others = entries(&table).into_iter().map(|entry| (entry, None));
    TableIterator::new(others.chain(waiters).map(move |(entry, slot_holders)| {
        let (held_since, level) = reader.hold(&entry).unzip();
        let (key, name, mode, granted, pid, since) = reader.row(entry);
        (key, name, mode, granted, pid, since, slot_holders, held_since.flatten(), level)
    }))
}

/// What stood behind the view in 0.1.0: the first columns.
#[allow(clippy::type_complexity)]
#[pg_extern(sql = false)]
fn advisory_lock_status() -> TableIterator<
    'static,
    (
        name!(key, i64),
        name!(name, Option<ServerText>),
        name!(mode, &'static str),
        name!(granted, bool),
        name!(pid, Option<i32>),
        name!(waiting_since, Option<TimestampWithTimeZone>),
    ),
> {
    refuse_parallel_worker().or_raise();
    let mut reader = Reader::default();
    TableIterator::new(entries(&TableCopy::take()).into_iter().map(move |entry| reader.row(entry)))
}

/// The name behind a key; NULL when it is not in the record, or not for the user to see
/// ([`Reader::may_read`]).
///
/// Errors: 22004 (NULL), 25000 (in a parallel worker).
#[pg_extern(volatile, parallel_restricted)]
fn advisory_key_name(key: Option<i64>) -> Option<ServerText> {
    refuse_parallel_worker().or_raise();
    let key = key.ok_or(Error::NullKey).or_raise();
    Reader::default().name_of(key)
}

/// The columns that every version has.
type Row =
    (i64, Option<ServerText>, &'static str, bool, Option<i32>, Option<TimestampWithTimeZone>);

/// The role `pg_read_all_stats`.
const READ_ALL_STATS: u32 = pg_sys::ROLE_PG_READ_ALL_STATS;

/// The user who looks, and what was found out about him already.
#[derive(Default)]
struct Reader {
    backends: HashMap<Option<i32>, bool>,
    roles: HashMap<u32, bool>,
}

impl Reader {
    /// What the user sees of a holder or waiter.
    fn row(&mut self, entry: Entry) -> Row {
        let name = if self.may_see(entry.pid) { self.name_of(entry.key) } else { None };
        let mode = match entry.mode {
            Mode::Exclusive => "exclusive",
            Mode::Shared => "shared",
        };
        let waiting_since = entry.waiting_since.and_then(|time| time.try_into().ok());
        (entry.key, name, mode, entry.granted, entry.pid, waiting_since)
    }

    /// Since when a holder holds, and at which level; none if it is not known, or not for the user to see.
    fn hold(&mut self, entry: &Entry) -> Option<(Option<TimestampWithTimeZone>, &'static str)> {
        let pid = entry.pid.filter(|_| entry.granted)?;
        let held =
            held_since::of(pid, entry.key, entry.mode).filter(|_| self.may_see(Some(pid)))?;
        let level = match (held.session, held.transaction) {
            (true, true) => "both",
            (true, false) => "session",
            _ => "transaction",
        };
        Some((held.since.try_into().ok(), level))
    }

    /// May the user see what this backend does? The rule of `HAS_PGSTAT_PERMISSIONS` in
    /// `src/backend/utils/adt/pgstatfuncs.c`.
    fn may_see(&mut self, pid: Option<i32>) -> bool {
        *self.backends.entry(pid).or_insert_with(|| {
            if has_privileges_of(READ_ALL_STATS) {
                return true;
            }
            let Some(pid) = pid else { return false };
            // SAFETY: an entry of the process table can be read at any time, at worst it is another
            // backend's by now.
            let role = unsafe {
                let backend = pg_sys::BackendPidGetProc(pid);
                (!backend.is_null()).then(|| (*backend).roleId.to_u32())
            };
            role.is_some_and(has_privileges_of)
        })
    }

    /// May the user read a name that these roles recorded? Seeing a backend that holds or awaits the
    /// lock is not enough: anybody can wait for an integer from `pg_locks`.
    fn may_read(&mut self, recorders: &[u32]) -> bool {
        [READ_ALL_STATS].iter().chain(recorders).any(|&role| {
            role != 0 && *self.roles.entry(role).or_insert_with(|| has_privileges_of(role))
        })
    }

    fn name_of(&mut self, key: i64) -> Option<ServerText> {
        let Recorded { text, roles } =
            name_record()?.read(Subject { database: current_database(), key })?;
        (self.may_read(&roles) && is_valid(&text)).then_some(ServerText(text))
    }
}

/// May the user see the statistics of all?
pub fn reads_all_stats() -> bool {
    has_privileges_of(READ_ALL_STATS)
}

/// Has the user the privileges of a role? A superuser has those of all; a role that was dropped gives
/// them to nobody else.
fn has_privileges_of(role: u32) -> bool {
    // SAFETY: looks up memberships; the role need not exist.
    unsafe { pg_sys::has_privs_of_role(current_user().into(), role.into()) }
}
