//! What came of calls, counted for `advisory_lock_stats` by the first part of their names, unless
//! `advisory_keys.track_stats` is off. It neither fails nor waits, and allocates nothing.

use crate::backend::{clock, current_database};
use crate::keys::encoding::{CUT_MARK, cut};
use crate::keys::name::NamedKey;
use crate::report::sqlstate;
use crate::settings;
use crate::shared::memory::statistics;
use crate::shared::statistics::{Counter, Counts, MAX_TEXT};
use pgrx::{PgSqlErrorCode, PgTryBuilder};
use smallvec::SmallVec;
use std::panic::AssertUnwindSafe;
use std::time::Instant;

/// These locks were granted.
#[inline]
pub fn granted<'a>(subjects: impl Iterator<Item = NamedKey<'a>>) {
    if settings::track_stats() {
        for subject in subjects {
            count(&subject, Counter::Locks);
        }
    }
}

/// The lock was not granted, and not waited for.
#[inline]
pub fn refused(subject: &NamedKey<'_>) {
    if settings::track_stats() {
        count(subject, Counter::Refused);
    }
}

/// Does the work, which is one wait for the lock, and counts how it ended. `in_vain` tells whether it ended without
/// it, for want of time. A session that is terminated meanwhile does not come back to be counted.
pub fn waited<R>(
    subject: &NamedKey<'_>,
    work: impl FnOnce() -> R,
    in_vain: impl FnOnce(&R) -> bool,
) -> R {
    let Some(counts_then) = settings::track_stats().then(|| counts(subject)).flatten() else {
        return work();
    };
    counts_then.add(Counter::Waits, 1);
    let begun = Instant::now();
    // Its row may have made room meanwhile.
    let ended = AssertUnwindSafe(|counter: Option<Counter>| {
        let Some(counts) = counts(subject) else { return };
        counts.add_wait(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
        if let Some(counter) = counter {
            counts.add(counter, 1);
        }
    });
    let result = PgTryBuilder::new(AssertUnwindSafe(work))
        .catch_others(|error| {
            let ended = &*ended;
            ended(match sqlstate(&error) {
                PgSqlErrorCode::ERRCODE_T_R_DEADLOCK_DETECTED => Some(Counter::Deadlocks),
                PgSqlErrorCode::ERRCODE_QUERY_CANCELED => Some(Counter::Cancels),
                _ => None,
            });
            error.rethrow()
        })
        .execute();
    ended(in_vain(&result).then_some(Counter::Timeouts));
    result
}

#[inline]
fn count(subject: &NamedKey<'_>, counter: Counter) {
    if let Some(counts) = counts(subject) {
        counts.add(counter, 1);
    }
}

#[inline]
fn counts(subject: &NamedKey<'_>) -> Option<&'static Counts> {
    let first = subject.first_part();
    statistics()?.counts(current_database(), first, clock, || {
        // A little more than is shown, so that a cut can be seen and falls between characters.
        let mut text = SmallVec::<[u8; 128]>::from_slice(&first[..first.len().min(MAX_TEXT + 8)]);
        cut(&mut text, MAX_TEXT - CUT_MARK.len());
        text
    })
}
