//! What is read is what was written, by several threads too.

use super::*;
use std::thread;

fn sets(count: usize) -> Vec<Set> {
    (0..count).map(|_| Set::default()).collect()
}

const ROLE: u32 = 10;

fn subject(key: i64) -> Subject {
    Subject { database: 1, key }
}

fn text_of(record: NameRecord<'_>, subject: Subject) -> Option<Vec<u8>> {
    record.read(subject).map(|recorded| recorded.text)
}

#[test]
fn the_roles_that_came_last_stand_with_a_name() {
    let sets = sets(1);
    let record = NameRecord::new(&sets).unwrap();
    let roles = || record.read(subject(1)).unwrap().roles;
    record.write(subject(1), 1, 10, || "name");
    assert_eq!(roles(), [10, 0, 0, 0]);
    for role in [11, 10, 11, 12, 13] {
        record.write(subject(1), 1, role, || unreachable!("it is there") as &str);
    }
    assert_eq!(roles(), [13, 12, 11, 10]);
    record.write(subject(1), 1, 14, || unreachable!("it is there") as &str);
    assert_eq!(roles(), [14, 13, 12, 11]);
}

#[test]
fn a_role_is_not_added_to_the_name_that_took_the_place_of_its_own() {
    let sets = sets(1);
    let record = NameRecord::new(&sets).unwrap();
    record.write(subject(1), 1, 10, || "name");
    let (slot, ()) = sets[0].find(subject(1), |_| ()).unwrap();
    assert_eq!(sets[0].add(slot, subject(2), 2, 11), Noticed::Nothing);
    assert_eq!(record.read(subject(1)).unwrap().roles, [10, 0, 0, 0]);
}

#[test]
fn a_new_name_has_none_of_the_roles_of_the_one_that_made_room() {
    let sets = sets(1);
    let record = NameRecord::new(&sets).unwrap();
    for key in 0..2 * WAYS as i64 {
        record.write(subject(key), 1, 100 + key as u32, || "name");
        assert_eq!(record.read(subject(key)).unwrap().roles, [100 + key as u32, 0, 0, 0]);
    }
}

#[test]
fn a_name_is_read_as_it_was_written() {
    let sets = sets(4);
    let record = NameRecord::new(&sets).unwrap();
    for (key, text) in
        [(0, ""), (-1, "a"), (i64::MIN, "12345678"), (7, "123456789"), (8, &"x".repeat(MAX_TEXT))]
    {
        assert_eq!(record.read(subject(key)), None);
        assert_eq!(record.write(subject(key), 1, ROLE, || text), Noticed::Nothing);
        assert_eq!(text_of(record, subject(key)).as_deref(), Some(text.as_bytes()));
    }
}

#[test]
fn a_key_of_another_database_has_another_name() {
    let sets = sets(1);
    let record = NameRecord::new(&sets).unwrap();
    record.write(subject(5), 1, ROLE, || "here");
    assert_eq!(record.read(Subject { database: 2, key: 5 }), None);
    record.write(Subject { database: 2, key: 5 }, 1, ROLE, || "there");
    assert_eq!(text_of(record, subject(5)).as_deref(), Some(&b"here"[..]));
}

#[test]
fn the_name_that_was_not_used_longest_goes_first() {
    let sets = sets(1);
    let record = NameRecord::new(&sets).unwrap();
    for key in 0..WAYS as i64 {
        record.write(subject(key), 1, ROLE, || "old");
    }
    record.write(subject(0), 1, ROLE, || unreachable!("it is there") as &str);
    record.write(subject(100), 1, ROLE, || "new");
    assert!(record.read(subject(0)).is_some() && record.read(subject(100)).is_some());
    assert_eq!(record.read(subject(1)), None);
}

#[test]
fn another_way_to_split_is_told_once() {
    let sets = sets(1);
    let record = NameRecord::new(&sets).unwrap();
    let (split, other) = (split_of([3, 1].into_iter()), split_of([1, 3].into_iter()));
    assert_ne!(split, other);
    assert_eq!(record.write(subject(1), split, ROLE, || "a-b-c"), Noticed::Nothing);
    assert_eq!(record.write(subject(1), split, ROLE, || "a-b-c"), Noticed::Nothing);
    assert_eq!(record.write(subject(1), other, ROLE, || "a-b-c"), Noticed::OtherParts);
    assert_eq!(record.write(subject(1), other, ROLE, || "a-b-c"), Noticed::Nothing);
}

#[test]
fn a_slot_that_is_being_written_is_passed_over() {
    let sets = sets(1);
    let record = NameRecord::new(&sets).unwrap();
    record.write(subject(1), 1, ROLE, || "one");
    let (slot, ()) = sets[0].find(subject(1), |_| ()).unwrap();
    sets[0].versions[slot].0.fetch_add(1, Ordering::Relaxed);
    assert_eq!(record.read(subject(1)), None);
    for key in 1..100 {
        record.write(subject(key), 1, ROLE, || "next");
        assert_eq!(text_of(record, subject(key)).as_deref(), Some(&b"next"[..]));
    }
}

#[test]
fn names_are_never_mixed_up() {
    const KEYS: i64 = 40;
    const ROUNDS: i64 = if cfg!(miri) { 50 } else { 20_000 };
    let sets = sets(2);
    let record = NameRecord::new(&sets).unwrap();
    let text = |key: i64| format!("{key}-").repeat(1 + key as usize % 30);
    thread::scope(|scope| {
        for offset in 0..4 {
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let key = (round * 7 + offset * 11) % KEYS;
                    record.write(subject(key), 1, ROLE, || text(key));
                    let key = (round * 13 + offset) % KEYS;
                    if let Some(read) = text_of(record, subject(key)) {
                        assert_eq!(String::from_utf8(read).unwrap(), text(key));
                    }
                }
            });
        }
    });
}

/// Each name is always split in the same way and recorded by two roles of its own, while names push
/// one another out of the record.
#[test]
fn what_belongs_to_one_name_is_never_taken_for_anothers() {
    const KEYS: i64 = 12;
    const ROUNDS: i64 = if cfg!(miri) { 50 } else { 50_000 };
    let sets = sets(1);
    let record = NameRecord::new(&sets).unwrap();
    let write = |key: i64, role: i64| {
        record.write(subject(key), key as u64, (role * KEYS + key) as u32, || "x")
    };
    thread::scope(|scope| {
        for offset in 0..6 {
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let key = (round * 7 + offset * 5) % KEYS;
                    assert_eq!(write(key, 1 + round % 2), Noticed::Nothing);
                    let key = (round * 5 + offset) % KEYS;
                    let Some(Recorded { roles, .. }) = record.read(subject(key)) else {
                        continue;
                    };
                    let foreign = |role: &u32| *role != 0 && i64::from(*role) % KEYS != key;
                    assert!(!roles.iter().any(foreign), "{roles:?} recorded {key}");
                }
            });
        }
    });
}
