//! What can go wrong, and how it is reported: one SQLSTATE, message, detail and hint for each.
//!
//! Messages are lower case without a full stop; facts stand in DETAIL, the cure in HINT.

use crate::keys::text_array::Invalid;
use crate::locks::lock_table::Holders;
use crate::locks::timeout::Timeout;
use crate::locks::wait::session_lock_timeout;
use crate::report::Report;
use crate::settings;
use pgrx::PgSqlErrorCode;

/// Every error that the functions of this extension raise themselves. What Postgres raises while a
/// lock is waited for (deadlock, cancel, a full lock table) goes through unchanged.
#[derive(Debug)]
pub enum Error {
    /// An argument that must not be NULL is; its name.
    NullArgument(&'static str),
    /// The integer of which the name is asked for is NULL.
    NullKey,
    /// The array cannot be used as keys.
    Array(Invalid),
    /// Two dimensions where one key is taken: by this function.
    SeveralKeys(&'static str),
    /// The parts are of type `name`, and one of them may have been cut; its length in bytes.
    PartsOfTypeName(usize),
    /// `timeout` is below zero.
    NegativeTimeout,
    /// `slots` is below one.
    TooFewSlots,
    /// More keys than one call may lock.
    TooManyKeys {
        /// Rows of the array.
        rows: usize,
    },
    /// `wanted` is below one.
    TooFewWanted,
    /// `wanted` is more than one call may lock.
    TooManyWanted(usize),
    /// Memory for that many keys could not be had.
    OutOfMemory {
        /// Rows of the array.
        rows: usize,
    },
    /// `session => true` where `advisory_keys.session_locks` is `off`.
    SessionLocksOff,
    /// The session holds as many locks by name as `advisory_keys.max_keys_per_session` allows.
    TooManyLocks {
        /// So many does it hold.
        held: usize,
        /// So many may it hold.
        limit: usize,
    },
    /// A function that locks, or asks what the session holds, runs in a parallel worker.
    ParallelWorker,
    /// A lock is taken on a standby while `advisory_keys.standby_locks` is `off`.
    Standby,
    /// `lock_keys` did not get a lock in time.
    NotGranted {
        /// The key, as [`crate::keys::name::NamedKey::describe`] shows it.
        key: Vec<u8>,
        /// How long the call was to wait.
        timeout: Timeout,
        /// Who holds it.
        holders: Holders,
    },
    /// `lock_slot` did not get a slot in time.
    SlotNotGranted {
        /// The key, as [`crate::keys::name::NamedKey::describe`] shows it.
        key: Vec<u8>,
        /// So many slots.
        slots: usize,
        /// How long the call was to wait.
        timeout: Timeout,
        /// Who holds it.
        holders: Holders,
    },
    /// Those who wait for a slot, and those who hold one, wait for each other; a line for each.
    Deadlock(Vec<u8>),
    /// `statement_timeout` fired in the same moment as the timeout of a lock.
    StatementTimeout,
}

impl Error {
    /// Raises the error; unwinds, so that every guard on the way releases what it holds.
    #[cold]
    pub fn raise(self) -> ! {
        self.into_report().raise()
    }

    fn into_report(self) -> Report {
        use PgSqlErrorCode::*;
        match self {
            Error::NullArgument(name) => Report::new(
                ERRCODE_NULL_VALUE_NOT_ALLOWED,
                format!("argument \"{name}\" must not be null"),
            )
            .hint(match name {
                "key" => PARTS,
                "keys" => ROWS,
                "slots" => SLOTS,
                "wanted" => WANTED,
                // The flags.
                _ => "Pass true or false.",
            }),
            Error::NullKey => {
                Report::new(ERRCODE_NULL_VALUE_NOT_ALLOWED, "argument \"key\" must not be null")
                    .hint("Pass the integer, as advisory_key() computes it.")
            }
            Error::Array(Invalid::Empty) => {
                Report::new(ERRCODE_INVALID_PARAMETER_VALUE, "a key needs at least one part")
                    .detail("The array is empty.")
                    .hint(
                        "Pass the parts of the key, for example ARRAY['order', '42']; \
                         do not call without keys.",
                    )
            }
            Error::Array(Invalid::Dimensions(n)) => Report::new(
                ERRCODE_ARRAY_ELEMENT_ERROR,
                "an array of keys must have one or two dimensions",
            )
            .detail(format!("The array has {n} dimensions."))
            .hint(
                "One dimension is one key, its elements the parts; \
                 two dimensions are several keys, one in each row.",
            ),
            Error::Array(Invalid::NullPart { row, part }) => {
                Report::new(ERRCODE_NULL_VALUE_NOT_ALLOWED, "a part of a key must not be null")
                    .detail(format!("Part {part} of key {row} is null."))
                    .hint("Use coalesce(), or leave the part out.")
            }
            Error::Array(Invalid::Malformed) => {
                Report::new(ERRCODE_DATA_CORRUPTED, "the array of keys is malformed")
            }
            Error::SeveralKeys(function) => {
                Report::new(ERRCODE_ARRAY_ELEMENT_ERROR, format!("{function} takes one key"))
                    .detail("The array has 2 dimensions, which is several keys.")
                    .hint("Pass the parts of one key as a one-dimensional array.")
            }
            Error::PartsOfTypeName(length) => Report::new(
                ERRCODE_DATATYPE_MISMATCH,
                "a part of a key may have been cut",
            )
            .detail(format!(
                "The parts are of type name, which keeps 63 bytes at most; one has {length}."
            ))
            .hint("Cast each part, not the array: for example ARRAY[current_user::text, '...']."),
            Error::NegativeTimeout => {
                Report::new(ERRCODE_INVALID_PARAMETER_VALUE, "timeout must not be negative")
                    .hint("Use '0' not to wait at all, or NULL to wait without a limit.")
            }
            Error::TooFewSlots => {
                Report::new(ERRCODE_INVALID_PARAMETER_VALUE, "slots must be at least 1")
                    .hint(SLOTS)
            }
            Error::TooFewWanted => {
                Report::new(ERRCODE_INVALID_PARAMETER_VALUE, "wanted must be at least 1")
                    .hint(WANTED)
            }
            Error::TooManyKeys { rows } => {
                too_many(format!("The array has {rows} keys"), "Lock something coarser")
            }
            Error::TooManyWanted(wanted) => {
                too_many(format!("The call wants {wanted} keys"), "Claim fewer at once")
            }
            Error::OutOfMemory { rows } => Report::new(ERRCODE_OUT_OF_MEMORY, "out of memory")
                .detail(format!("Failed on a request for {rows} keys.")),
            Error::SessionLocksOff => Report::new(
                ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                "session-level locks are switched off",
            )
            .detail("\"advisory_keys.session_locks\" is \"off\".")
            .hint(
                "Lock at transaction level; behind a transaction pooler a session-level lock \
                 stays with a connection that other clients use.",
            ),
            Error::TooManyLocks { held, limit } => Report::new(
                ERRCODE_PROGRAM_LIMIT_EXCEEDED,
                "too many advisory locks in one session",
            )
            .detail(format!(
                "The session holds {held} by name, with those of this call, \
                 \"advisory_keys.max_keys_per_session\" allows {limit}."
            ))
            .hint(
                "Lock something coarser than each row, or have a superuser raise the setting; the lock table \
                 is shared by all sessions, and when it is full, nobody can connect.",
            ),
            Error::ParallelWorker => Report::new(
                ERRCODE_INVALID_TRANSACTION_STATE,
                "advisory locks cannot be used in a parallel worker",
            )
            .detail("The worker's locks exclude nobody in its query, and are lost when it ends.")
            .hint("Do not label functions that lock by name PARALLEL SAFE."),
            Error::Standby => Report::new(
                ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                "advisory locks taken on a standby exclude nobody on the primary",
            )
            .detail("The server is in recovery, \"advisory_keys.standby_locks\" is \"off\".")
            .hint(
                "Lock on the primary, or set advisory_keys.standby_locks to on \
                 to exclude others on this standby only.",
            ),
            Error::NotGranted { key, timeout, holders } => Report::new(
                ERRCODE_LOCK_NOT_AVAILABLE,
                format!("could not obtain advisory lock {}", how_long(timeout)),
            )
            .detail({
                let held = in_words(&holders.pids, holders.complete, "held");
                [b"Key ", key.as_slice(), held.as_bytes(), b"."].concat()
            })
            .hint(WHO),
            Error::SlotNotGranted { key, slots, timeout, holders } => Report::new(
                ERRCODE_LOCK_NOT_AVAILABLE,
                format!("could not obtain a slot {}", how_long(timeout)),
            )
            .detail(
                [b"Key ", key.as_slice(), slots_in_words(slots, &holders).as_bytes(), b"."].concat(),
            )
            .hint(WHO),
            // The words of DeadLockReport() in src/backend/storage/lmgr/deadlock.c.
            Error::Deadlock(lines) => {
                Report::new(ERRCODE_T_R_DEADLOCK_DETECTED, "deadlock detected").detail(lines)
            }
            // The words of ProcessInterrupts() in src/backend/tcop/postgres.c.
            Error::StatementTimeout => {
                Report::new(ERRCODE_QUERY_CANCELED, "canceling statement due to statement timeout")
            }
        }
    }
}

/// How to pass one name.
const PARTS: &str = "Pass the parts of the key, for example ARRAY['order', '42'].";
/// How to pass names.
const ROWS: &str = "Pass the parts of a key, for example ARRAY['order', '42']; \
    array_agg() of no rows is null: do not call without keys.";
/// What `slots` is.
const SLOTS: &str = "Pass how many sessions may hold the name at once.";
/// What `wanted` is.
const WANTED: &str = "Pass how many of the keys to lock.";
/// What to do about a holder.
const WHO: &str =
    "Try again, allow more time, or look in advisory_locks for who holds and who waits.";

/// More keys than one call may lock.
fn too_many(fact: String, instead: &str) -> Report {
    let limit = settings::max_keys_per_call();
    Report::new(PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED, "too many keys in one call")
        .detail(format!("{fact}, \"advisory_keys.max_keys_per_call\" is {limit}."))
        .hint(format!(
            "{instead}, or have a superuser raise the setting; \
             each key takes a place in the lock table that all sessions share."
        ))
}

impl From<Invalid> for Error {
    fn from(invalid: Invalid) -> Self {
        Error::Array(invalid)
    }
}

/// Raises the error of a result.
pub trait OrRaise<T> {
    /// The value, or [`Error::raise`].
    fn or_raise(self) -> T;
}

impl<T> OrRaise<T> for Result<T, Error> {
    #[inline]
    fn or_raise(self) -> T {
        self.unwrap_or_else(|error| error.raise())
    }
}

/// `within 500 ms`
fn how_long(timeout: Timeout) -> String {
    match timeout {
        Timeout::Session => format!("within lock_timeout ({} ms)", session_lock_timeout()),
        Timeout::NoWait => "without waiting".into(),
        Timeout::Milliseconds(limit) => format!("within {limit} ms"),
    }
}

/// ` has 3 slots and is held by process 4711`
fn slots_in_words(slots: usize, holders: &Holders) -> String {
    let Holders { pids, exclusive, complete } = holders;
    let left_over = *complete && !exclusive && (1..slots).contains(&pids.len());
    let rest = if left_over {
        ", the rest is free now or others wait for it before this session"
    } else {
        ""
    };
    let noun = if slots == 1 { "slot" } else { "slots" };
    let how = if *exclusive { "held exclusively" } else { "held" };
    format!(" has {slots} {noun} and{}{rest}", in_words(pids, *complete, how))
}

/// ` is held by process 4711 and process 4712`
fn in_words(pids: &[i32], complete: bool, how: &str) -> String {
    /// So many are named, the rest are counted.
    const NAMED: usize = 8;

    let mut names: Vec<String> = pids
        .iter()
        .take(NAMED)
        .map(|&pid| match pid {
            0 => "a prepared transaction".to_string(),
            _ => format!("process {pid}"),
        })
        .collect();
    if pids.len() > NAMED {
        names.push(format!("{} more", pids.len() - NAMED));
    }
    if !names.is_empty() && !complete {
        names.push("perhaps sessions that are idle".to_string());
    }
    match names.as_slice() {
        [] if complete => " is free now or others wait for it before this session".to_string(),
        [] => " is held by a session that is idle, or free now, or others wait for it before this session"
            .to_string(),
        [one] => format!(" is {how} by {one}"),
        [rest @ .., last] => format!(" is {how} by {} and {last}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(pids: &[i32]) -> Holders {
        Holders { pids: pids.to_vec(), exclusive: false, complete: true }
    }

    fn among(pids: &[i32]) -> Holders {
        Holders { complete: false, ..known(pids) }
    }

    #[test]
    fn holders_are_listed_in_words() {
        let held = |holders: &Holders| in_words(&holders.pids, holders.complete, "held");
        assert_eq!(held(&known(&[7])), " is held by process 7");
        assert_eq!(held(&known(&[7, 0])), " is held by process 7 and a prepared transaction");
        assert!(held(&known(&[1; 10])).ends_with("process 1 and 2 more"));
        assert!(held(&known(&[])).starts_with(" is free now"));
        assert!(held(&among(&[])).starts_with(" is held by a session that is idle"));
        assert_eq!(held(&among(&[7])), " is held by process 7 and perhaps sessions that are idle");
    }

    #[test]
    fn slots_say_what_keeps_them() {
        assert_eq!(slots_in_words(1, &known(&[7])), " has 1 slot and is held by process 7");
        let exclusive = Holders { exclusive: true, ..known(&[7]) };
        assert_eq!(
            slots_in_words(2, &exclusive),
            " has 2 slots and is held exclusively by process 7"
        );
        assert_eq!(
            slots_in_words(2, &known(&[7])),
            " has 2 slots and is held by process 7, the rest is free now or others wait for it before this session"
        );
        assert_eq!(
            slots_in_words(3, &among(&[7])),
            " has 3 slots and is held by process 7 and perhaps sessions that are idle"
        );
    }
}
