//! What can go wrong, and how it is reported: one SQLSTATE, message, detail and hint for each.
//!
//! Messages are lower case without a full stop; facts stand in DETAIL, the cure in HINT.

use crate::report::Report;
use crate::settings;
use crate::text_array::Invalid;
use pgrx::PgSqlErrorCode;

/// Every error that the functions of this extension raise themselves. What Postgres raises while a
/// lock is waited for (deadlock, cancel, a full lock table) goes through unchanged.
#[derive(Debug)]
pub enum Error {
    /// An argument that must not be NULL is; its name.
    NullArgument(&'static str),
    /// The array cannot be used as keys.
    Array(Invalid),
    /// Two dimensions where one key is taken.
    SeveralKeys,
    /// `timeout` is below zero.
    NegativeTimeout,
    /// More keys than one call may lock.
    TooManyKeys {
        /// Rows of the array.
        rows: usize,
    },
    /// Memory for that many keys could not be had.
    OutOfMemory {
        /// Rows of the array.
        rows: usize,
    },
    /// `session => true` where `advisory_keys.session_locks` is `off`.
    SessionLocksOff,
    /// `lock_keys` did not get a lock in time.
    NotGranted {
        /// How the wait was bounded: stands at the end of the message.
        bound: String,
        /// Who holds the lock, in the server's encoding.
        detail: Vec<u8>,
    },
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
            ),
            Error::Array(Invalid::Empty) => {
                Report::new(ERRCODE_INVALID_PARAMETER_VALUE, "a key needs at least one part")
                    .detail("The array is empty.")
                    .hint("Pass the parts of the key, for example ARRAY['order', '42'].")
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
            Error::SeveralKeys => {
                Report::new(ERRCODE_ARRAY_ELEMENT_ERROR, "advisory_key takes one key")
                    .detail("The array has 2 dimensions, which is several keys.")
                    .hint("Pass the parts of one key as a one-dimensional array.")
            }
            Error::NegativeTimeout => {
                Report::new(ERRCODE_INVALID_PARAMETER_VALUE, "timeout must not be negative")
                    .hint("Use '0' not to wait at all, or NULL to wait without a limit.")
            }
            Error::TooManyKeys { rows } => {
                let limit = settings::max_keys_per_call();
                Report::new(ERRCODE_PROGRAM_LIMIT_EXCEEDED, "too many keys in one call")
                    .detail(format!(
                        "The array has {rows} keys, \"advisory_keys.max_keys_per_call\" is {limit}."
                    ))
                    .hint(
                        "Lock something coarser, or have a superuser raise the setting; \
                         each key takes a place in the lock table that all sessions share.",
                    )
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
            Error::NotGranted { bound, detail } => Report::new(
                ERRCODE_LOCK_NOT_AVAILABLE,
                format!("could not obtain advisory lock {bound}"),
            )
            .detail(detail)
            .hint("Try again, allow more time, or end the holder."),
            // The words of ProcessInterrupts() in src/backend/tcop/postgres.c.
            Error::StatementTimeout => {
                Report::new(ERRCODE_QUERY_CANCELED, "canceling statement due to statement timeout")
            }
        }
    }
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
