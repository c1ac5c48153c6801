//! What stands behind the view `advisory_lock_stats`, and what goes with it.

use crate::backend::current_database;
use crate::error::OrRaise;
use crate::keys::encoding::is_valid;
use crate::settings;
use crate::shared::memory::statistics;
use crate::shared::statistics::Counter;
use crate::sql::arguments::refuse_parallel_worker;
use crate::sql::lock_status::reads_all_stats;
use crate::sql::server_text::ServerText;
use crate::warning;
use pgrx::prelude::*;
use std::mem::take;

/// One row for each first part of the names that were locked in this database; none for who may not see statistics.
/// Times are in milliseconds. `first_part` is NULL where `advisory_keys.show_keys` is off.
///
/// Errors: 25000 (in a parallel worker).
#[allow(clippy::type_complexity)] // the columns stand where they are declared
#[pg_extern(volatile, parallel_restricted)]
fn advisory_lock_counts() -> TableIterator<
    'static,
    (
        name!(first_part, Option<ServerText>),
        name!(locks, i64),
        name!(refused, i64),
        name!(waits, i64),
        name!(wait_time, f64),
        name!(max_wait_time, f64),
        name!(timeouts, i64),
        name!(deadlocks, i64),
        name!(cancels, i64),
        name!(stats_reset, TimestampWithTimeZone),
    ),
> {
    refuse_parallel_worker().or_raise();
    let statistics = statistics().filter(|_| reads_all_stats());
    let rows = statistics.into_iter().flat_map(|statistics| statistics.rows(current_database()));
    TableIterator::new(rows.filter_map(|mut row| {
        let first_part = first_part(take(&mut row.text));
        let count = |counter| i64::try_from(row.of(counter)).unwrap_or(i64::MAX);
        let milliseconds = |counter| row.of(counter) as f64 / 1000.0;
        Some((
            first_part,
            count(Counter::Locks),
            count(Counter::Refused),
            count(Counter::Waits),
            milliseconds(Counter::WaitTime),
            milliseconds(Counter::MaxWaitTime),
            count(Counter::Timeouts),
            count(Counter::Deadlocks),
            count(Counter::Cancels),
            row.since.try_into().ok()?,
        ))
    }))
}

fn first_part(text: Vec<u8>) -> Option<ServerText> {
    (settings::show_keys() && is_valid(&text)).then_some(ServerText(text))
}

/// Begins the statistics of this database anew; with a WARNING where there are none. Errors: 25000.
#[pg_extern(volatile, parallel_restricted)]
fn advisory_lock_stats_reset() {
    refuse_parallel_worker().or_raise();
    match statistics() {
        Some(statistics) => statistics.reset(current_database()),
        None => warning::no_statistics(),
    }
}

/// How many rows of the statistics, of all databases, have made room for others since the server started; NULL where
/// there are no statistics, and for who may not see them. Errors: 25000.
#[pg_extern(volatile, parallel_restricted)]
fn advisory_lock_stats_evictions() -> Option<i64> {
    refuse_parallel_worker().or_raise();
    let evictions = statistics().filter(|_| reads_all_stats())?.evictions();
    Some(i64::try_from(evictions).unwrap_or(i64::MAX))
}
