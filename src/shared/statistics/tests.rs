//! Counts, who makes room for whom, and several threads at once.

use super::*;
use std::thread;

const SECRET: u64 = 0x0123_4567_89ab_cdef;

fn sets(count: usize) -> Vec<Set> {
    (0..count).map(|_| Set::default()).collect()
}

fn lock(statistics: Statistics<'_>, database: u32, text: &str) {
    statistics
        .counts(database, text.as_bytes(), || 7, || text)
        .expect("a row")
        .add(Counter::Locks, 1);
}

fn locks(statistics: Statistics<'_>, database: u32, text: &str) -> Option<u64> {
    let mut rows = statistics.rows(database).filter(|row| row.text == text.as_bytes());
    let row = rows.next()?;
    assert_eq!(rows.next(), None, "one row");
    Some(row.of(Counter::Locks))
}

#[test]
fn a_row_counts_what_was_added() {
    let (sets, evictions) = (sets(4), AtomicU64::new(0));
    let statistics = Statistics::new(&sets, &evictions, SECRET, 0).unwrap();
    for text in ["", "ORDER", "12345678", "123456789", &"x".repeat(MAX_TEXT)] {
        assert_eq!(locks(statistics, 1, text), None);
        lock(statistics, 1, text);
        lock(statistics, 1, text);
        assert_eq!(locks(statistics, 1, text), Some(2));
        assert_eq!(locks(statistics, 2, text), None);
    }
    let there = || unreachable!("it is there") as &str;
    let row = statistics.counts(1, b"ORDER", || 8, there).unwrap();
    row.add_wait(5);
    row.add_wait(3);
    let row = statistics.rows(1).find(|row| row.text == b"ORDER").unwrap();
    assert_eq!((row.of(Counter::WaitTime), row.of(Counter::MaxWaitTime)), (8, 5));
    assert_eq!((row.since, statistics.evictions()), (7, 0));
}

#[test]
fn a_reset_is_of_one_database() {
    let (sets, evictions) = (sets(2), AtomicU64::new(0));
    let statistics = Statistics::new(&sets, &evictions, SECRET, 0).unwrap();
    lock(statistics, 1, "a");
    lock(statistics, 2, "a");
    statistics.reset(1);
    assert_eq!((locks(statistics, 1, "a"), locks(statistics, 2, "a")), (None, Some(1)));
    lock(statistics, 1, "a");
    assert_eq!((locks(statistics, 1, "a"), statistics.evictions()), (Some(1), 0));
}

#[test]
fn what_is_in_steady_use_stays() {
    const ROUNDS: u64 = if cfg!(miri) { 30 } else { 1000 };
    let (sets, evictions) = (sets(1), AtomicU64::new(0));
    let statistics = Statistics::new(&sets, &evictions, SECRET, 0).unwrap();
    for i in 0..ROUNDS {
        lock(statistics, 1, "steady");
        lock(statistics, 1, &format!("once {i}"));
        assert_eq!(locks(statistics, 1, "steady"), Some(i + 1));
    }
    assert_eq!(statistics.rows(1).count(), WAYS);
    assert_eq!(statistics.evictions(), ROUNDS + 1 - WAYS as u64);
}

#[test]
fn what_is_used_no_longer_goes_in_the_end() {
    let (sets, evictions) = (sets(1), AtomicU64::new(0));
    let statistics = Statistics::new(&sets, &evictions, SECRET, 0).unwrap();
    for _ in 0..10 {
        lock(statistics, 1, "former");
    }
    for i in 0..20 * WAYS {
        lock(statistics, 1, &format!("once {i}"));
    }
    assert_eq!(locks(statistics, 1, "former"), None);
}

#[test]
fn no_count_is_lost_or_doubled_while_others_come() {
    const ROUNDS: u64 = if cfg!(miri) { 30 } else { 20_000 };
    let (sets, evictions) = (sets(1), AtomicU64::new(0));
    let statistics = Statistics::new(&sets, &evictions, SECRET, 0).unwrap();
    thread::scope(|scope| {
        for session in 0..4 {
            let statistics = Statistics::new(&sets, &evictions, SECRET, session).unwrap();
            scope.spawn(move || {
                for i in 0..ROUNDS {
                    lock(statistics, 1, ["a", "b", "c", "d", "e"][i as usize % 5]);
                }
            });
        }
        scope.spawn(move || {
            let mut seen = 0;
            for _ in 0..ROUNDS {
                let now = locks(statistics, 1, "a").unwrap_or(seen);
                assert!(now >= seen);
                seen = now;
            }
        });
    });
    let counted: u64 = statistics.rows(1).map(|row| row.of(Counter::Locks)).sum();
    assert_eq!((counted, statistics.rows(1).count()), (4 * ROUNDS, 5));
}
