//! How long a call may wait.

use crate::error::Error;
use pgrx::datum::Interval;
use std::time::{Duration, Instant};

/// The argument `timeout` of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// NULL: no limit of its own; the `lock_timeout` of the session applies.
    Session,
    /// Do not wait.
    NoWait,
    /// Wait this many milliseconds at most, at least 1.
    Milliseconds(u64),
}

impl Timeout {
    /// Reads the argument: rounded up to whole milliseconds, a month being 30 days. What does not
    /// fit, and infinity, is a limit that is never reached.
    #[inline]
    pub fn from_argument(timeout: Option<Interval>) -> Result<Self, Error> {
        match timeout {
            None => Ok(Timeout::Session),
            Some(interval) => Self::from_micros(interval.as_micros()),
        }
    }

    #[inline]
    fn from_micros(micros: i128) -> Result<Self, Error> {
        match micros {
            0 => Ok(Timeout::NoWait),
            ..0 => Err(Error::NegativeTimeout),
            _ => {
                Ok(Timeout::Milliseconds(u64::try_from((micros + 999) / 1000).unwrap_or(u64::MAX)))
            }
        }
    }
}

/// The moment at which a call stops waiting; `None` is never.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// The deadline of who waits as long as it takes.
    pub const NEVER: Self = Self(None);

    /// The deadline of a call that begins to wait now. `session_limit` is the `lock_timeout` of
    /// the session in milliseconds, 0 for none.
    pub fn begin(timeout: Timeout, session_limit: u32) -> Self {
        let limit = match timeout {
            Timeout::Session if session_limit == 0 => return Self(None),
            Timeout::Session => u64::from(session_limit),
            Timeout::NoWait => 0,
            Timeout::Milliseconds(limit) => limit,
        };
        Self(Instant::now().checked_add(Duration::from_millis(limit)))
    }

    /// What is left, in milliseconds, rounded up.
    pub fn remaining(self) -> Remaining {
        match self.0 {
            None => Remaining::Unlimited,
            Some(end) => {
                let left = end.saturating_duration_since(Instant::now());
                match left.as_micros().div_ceil(1000) {
                    0 => Remaining::Nothing,
                    millis => Remaining::Milliseconds(i32::try_from(millis).unwrap_or(i32::MAX)),
                }
            }
        }
    }
}

/// What is left until a [`Deadline`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remaining {
    /// There is no deadline.
    Unlimited,
    /// It has passed.
    Nothing,
    /// At least 1 millisecond; no more than a timer of Postgres takes, about 24.8 days.
    Milliseconds(i32),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_up_to_milliseconds() {
        for (micros, millis) in [(1, 1), (400, 1), (1000, 1), (1001, 2), (5_000_000, 5000)] {
            assert_eq!(Timeout::from_micros(micros).unwrap(), Timeout::Milliseconds(millis));
        }
        assert_eq!(Timeout::from_micros(0).unwrap(), Timeout::NoWait);
        assert!(matches!(Timeout::from_micros(-1), Err(Error::NegativeTimeout)));
    }

    #[test]
    fn never_overflows() {
        let longest = Timeout::from_micros(i128::MAX / 2).unwrap();
        assert_eq!(longest, Timeout::Milliseconds(u64::MAX));
        assert!(!matches!(Deadline::begin(longest, 0).remaining(), Remaining::Nothing));
        let weeks = Deadline::begin(Timeout::Milliseconds(u64::from(u32::MAX)), 0);
        assert_eq!(weeks.remaining(), Remaining::Milliseconds(i32::MAX));
    }

    #[test]
    fn the_session_limit_counts_only_without_a_timeout() {
        assert_eq!(Deadline::begin(Timeout::Session, 0).remaining(), Remaining::Unlimited);
        let Remaining::Milliseconds(left) = Deadline::begin(Timeout::Session, 7000).remaining()
        else {
            panic!("lock_timeout must bound the wait");
        };
        assert!((1..=7000).contains(&left));
        let Remaining::Milliseconds(left) =
            Deadline::begin(Timeout::Milliseconds(90_000), 10).remaining()
        else {
            panic!("the timeout must bound the wait");
        };
        assert!(left > 10);
    }
}
