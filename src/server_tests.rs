//! Tests that need both a server and a look inside: what SQL alone cannot see.

use crate::keys::keyset::key_of_row;
use crate::keys::name::{MAX_NAME, NamedKey};
use crate::keys::text_array::TextArray;
use crate::locks::lock::{AdvisoryLock, Attempt, Holds, Level, Mode, class};
use crate::locks::slots::take::{Request, take};
use crate::locks::slots::wake;
use crate::locks::timeout::Timeout;
use crate::sql::text_array_arg::TextArrayArg;
use pgrx::prelude::*;

fn read(argument: Option<TextArrayArg<'_>>) -> TextArray<'_> {
    TextArray::parse(argument.expect("not null").body()).expect("an array of text")
}

fn key_of(array: TextArray<'_>) -> i64 {
    key_of_row(&mut array.parts(), array.columns()).expect("a key")
}

/// The key of an array, without the checks of `advisory_key`.
#[pg_extern]
fn inspect_array(array: Option<TextArrayArg<'_>>) -> i64 {
    key_of(read(array))
}

/// How a key is shown in messages.
#[pg_extern]
fn describe_key(keys: Option<TextArrayArg<'_>>) -> String {
    String::from_utf8(NamedKey { array: read(keys), offset: 0, key: 7 }.describe()).expect("UTF-8")
}

/// Takes a slot and gives it back, as a call does that finds it one too many; is the head still woken when a slot that it
/// takes later goes?
#[pg_extern]
fn give_slot_back(key: Option<TextArrayArg<'_>>) -> bool {
    let array = read(key);
    let key = key_of(array);
    let request = Request { slots: 1, level: Level::Transaction, timeout: Timeout::NoWait };
    let slot = take(&NamedKey { array, offset: 0, key }, request).expect("no error");
    drop(slot.expect("a slot"));
    wake::remembers(key)
}

#[pg_schema]
mod tests {
    use super::*;

    fn run(sql: &str) -> i64 {
        Spi::get_one(sql).expect("the query runs").expect("a value")
    }

    #[pg_test]
    fn every_physical_shape_of_an_array_has_the_same_key() {
        let key = "advisory_key(ARRAY['order', '42'])";
        for shape in [
            "ARRAY['order', '42']",
            "'[-5:-4]={order,42}'::text[]",
            "(ARRAY['x', 'order', '42', NULL])[2:3]",
            "string_to_array('order,42', ',')",
            "ARRAY['order', '42']::varchar[]",
        ] {
            assert_eq!(
                run(&format!("SELECT inspect_array({shape})")),
                run(&format!("SELECT {key}"))
            );
        }
    }

    #[pg_test]
    fn stored_arrays_are_read_in_every_storage_form() {
        Spi::run("CREATE TABLE shapes (form text, parts text[])").unwrap();
        Spi::run("ALTER TABLE shapes ALTER parts SET STORAGE EXTENDED").unwrap();
        Spi::run(
            "INSERT INTO shapes VALUES
                ('1-byte length word', ARRAY['a', 'b']),
                ('compressed', ARRAY[repeat('x', 5000), 'b']),
                ('out of line', ARRAY[(SELECT string_agg(md5(i::text), '') FROM generate_series(1, 2000) i)])",
        )
        .unwrap();
        assert_eq!(
            run(
                "SELECT count(*) FROM shapes WHERE advisory_key(parts) = advisory_key(parts || '{}'::text[])"
            ),
            3
        );
    }

    #[pg_test]
    fn the_smallest_and_largest_keys_are_lockable() {
        for key in [i64::MIN, -1, 0, 1, i64::MAX] {
            let lock = AdvisoryLock::new(key);
            assert!(lock.available(Mode::Exclusive));
            assert_eq!(lock.try_acquire(Mode::Exclusive, Level::Transaction), Attempt::Taken);
            let seen = Spi::get_one::<i64>(
                "SELECT (classid::int8 << 32) | objid::int8 FROM pg_locks WHERE locktype = 'advisory'",
            );
            assert_eq!(seen.unwrap(), Some(key));
            assert!(lock.release(Mode::Exclusive, Level::Transaction));
            assert!(!lock.held(Mode::Exclusive));
        }
    }

    #[pg_test]
    fn holds_are_counted_by_level_and_mode() {
        let lock = AdvisoryLock::new(8);
        let take = |mode, level| lock.try_acquire(mode, level);
        assert_eq!(take(Mode::Exclusive, Level::Transaction), Attempt::Taken);
        assert_eq!(lock.holds(Mode::Exclusive), Holds { at_session_level: 0, in_all: 1 });
        for _ in 0..3 {
            assert_eq!(take(Mode::Exclusive, Level::Session), Attempt::TakenAgain);
        }
        assert_eq!(take(Mode::Shared, Level::Session), Attempt::Taken);
        assert_eq!(lock.holds(Mode::Exclusive), Holds { at_session_level: 3, in_all: 4 });
        assert_eq!(lock.holds(Mode::Shared), Holds { at_session_level: 1, in_all: 1 });
        for left in [2, 1, 0] {
            assert!(lock.release(Mode::Exclusive, Level::Session));
            assert_eq!(
                lock.holds(Mode::Exclusive),
                Holds { at_session_level: left, in_all: left + 1 }
            );
        }
        assert!(lock.held(Mode::Exclusive));
        assert!(lock.release(Mode::Shared, Level::Session));
        assert!(!lock.held(Mode::Shared));
    }

    #[pg_test]
    fn a_probe_leaves_no_lock_behind() {
        let lock = AdvisoryLock::new(7);
        assert!(lock.available(Mode::Shared) && lock.available(Mode::Exclusive));
        assert_eq!(run("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"), 0);
        // With our own shared hold the probe looks at the count of shared holders.
        assert_eq!(lock.try_acquire(Mode::Shared, Level::Transaction), Attempt::Taken);
        assert!(lock.available(Mode::Exclusive));
        assert_eq!(run("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"), 1);
    }

    /// Sessions with the libraries of two versions meet in the lock table.
    #[pg_test]
    fn the_locks_behind_slots_have_tags_of_their_own_for_ever() {
        let field4 = |class| AdvisoryLock::of_class(class, 7).tag().locktag_field4;
        let classes = [class::KEY, class::QUEUE, class::TIE, class::WAITER, class::SEARCH];
        assert_eq!(classes.map(field4), [1, 19201, 19202, 19203, 19204]);
        assert!(AdvisoryLock::from_tag(AdvisoryLock::new(7).tag()).is_some());
        for class in &classes[1..] {
            assert!(AdvisoryLock::from_tag(AdvisoryLock::of_class(*class, 7).tag()).is_none());
        }
    }

    #[pg_test]
    fn a_look_at_the_holders_leaves_no_lock_behind() {
        let lock = AdvisoryLock::new(9);
        assert_eq!((lock.requests(), lock.shared_holders_now()), (0, 0));
        assert_eq!(lock.try_share(Level::Session), (Attempt::Taken, 1));
        assert_eq!(lock.try_share(Level::Transaction), (Attempt::TakenAgain, 1));
        assert_eq!((lock.requests(), lock.shared_holders(Mode::Shared)), (1, 1));
        assert_eq!(lock.holds(Mode::Shared), Holds { at_session_level: 1, in_all: 2 });
        assert!(lock.release(Mode::Shared, Level::Session));
        assert!(lock.release(Mode::Shared, Level::Transaction));
        assert_eq!(run("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"), 0);
    }

    #[pg_test]
    fn long_names_are_cut_between_characters() {
        let shown = Spi::get_one::<String>("SELECT describe_key(ARRAY[repeat('ä', 150), 'x'])");
        let shown = shown.unwrap().unwrap();
        assert_eq!(shown, format!("\"{}...\" (7)", "ä".repeat(MAX_NAME / 2)));
        let whole = Spi::get_one::<String>("SELECT describe_key(ARRAY['a', '', 'b'])");
        assert_eq!(whole.unwrap().unwrap(), "\"a--b\" (7)");
    }

    #[pg_test]
    fn a_call_that_gave_a_slot_back_still_wakes_the_head() {
        assert_eq!(
            Spi::get_one("SELECT give_slot_back('{one,too,many}')").expect("the query runs"),
            Some(true)
        );
    }
}
