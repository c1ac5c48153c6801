//! What stands behind the view `advisory_locks`: the holders and waiters of bigint advisory locks in
//! this database, with the names that the user may see.
#![allow(unsafe_code)]

use crate::encoding::is_valid;
use crate::lock::{AdvisoryLock, Mode, current_database};
use crate::name_record::Subject;
use crate::shared_memory::name_record;
use pgrx::callconv::{BoxRet, FcInfo};
use pgrx::datum::Datum;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};
use pgrx::prelude::*;
use pgrx::{IntoDatum, pg_sys};
use std::collections::HashMap;

/// One row for each holder and each waiter. `pid` is NULL for a prepared transaction; `name` is NULL
/// when it is not in the record, or when the user could not see that backend's query in
/// `pg_stat_activity` either.
#[allow(clippy::type_complexity)] // the columns stand where they are declared
#[pg_extern(volatile, parallel_restricted)]
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
    let mut readers = Readers::default();
    TableIterator::new(AdvisoryLock::all().into_iter().map(move |entry| {
        let name = if readers.may_see(entry.pid) { name_of(entry.key) } else { None };
        let mode = match entry.mode {
            Mode::Exclusive => "exclusive",
            Mode::Shared => "shared",
        };
        let waiting_since = entry.waiting_since.and_then(|time| time.try_into().ok());
        (entry.key, name, mode, entry.granted, entry.pid, waiting_since)
    }))
}

fn name_of(key: i64) -> Option<ServerText> {
    let subject = Subject { database: current_database(), key };
    name_record()?.read(subject).filter(|name| is_valid(name)).map(ServerText)
}

/// The role `pg_read_all_stats`.
const READ_ALL_STATS: pg_sys::Oid = pg_sys::Oid::from_u32(pg_sys::ROLE_PG_READ_ALL_STATS);

/// For each backend, whether the user may see what it does: the rule of
/// `HAS_PGSTAT_PERMISSIONS` in `src/backend/utils/adt/pgstatfuncs.c`.
#[derive(Default)]
struct Readers(HashMap<Option<i32>, bool>);

impl Readers {
    fn may_see(&mut self, pid: Option<i32>) -> bool {
        *self.0.entry(pid).or_insert_with(|| {
            // SAFETY: the functions look up roles; an entry of the process table can be read at any
            // time, at worst it is another backend's by now.
            unsafe {
                let user = pg_sys::GetUserId();
                if pg_sys::has_privs_of_role(user, READ_ALL_STATS) {
                    return true;
                }
                let Some(pid) = pid else { return false };
                let backend = pg_sys::BackendPidGetProc(pid);
                !backend.is_null() && pg_sys::has_privs_of_role(user, (*backend).roleId)
            }
        })
    }
}

/// Text in the server's encoding, which a Rust string need not be.
struct ServerText(Vec<u8>);

impl IntoDatum for ServerText {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        // SAFETY: the function copies that many bytes.
        let text = unsafe {
            pg_sys::cstring_to_text_with_len(self.0.as_ptr().cast(), self.0.len() as i32)
        };
        Some(text.into())
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::TEXTOID
    }
}

// SAFETY: a datum of type text, as declared below.
unsafe impl BoxRet for ServerText {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> Datum<'fcx> {
        // SAFETY: the caller returns the datum.
        unsafe { fcinfo.return_optional_datum(self.into_datum()) }
    }
}

// SAFETY: the type is text in SQL.
unsafe impl SqlTranslatable for ServerText {
    const TYPE_IDENT: &'static str = "text";
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::literal("text"));
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> =
        Ok(ReturnsRef::One(SqlMappingRef::literal("text")));
}
