//! What can meet in a parallel query: a call of the leader, and a worker that fails.

use crate::session::{Name, array, key_of, name};

/// SQLSTATEs of a worker's errors, and how the messages that come with them begin.
pub const FAILURES: [(&str, &str); 8] = [
    ("55P03", NO),
    ("57014", NO),
    ("40P01", NO),
    ("25P02", NO),
    ("XX000", NO),
    ("P0001", NO),
    ("22012", "division by zero"),
    ("57P01", "terminating "),
];
const NO: &str = "the worker says no";

/// When the worker's error comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Perhaps before the leader waits.
    AtOnce,
    /// While the lock is held by another.
    Before,
    /// Together with the grant.
    At,
    /// A little later than the grant.
    After,
    /// Together with the grant, both while the leader is stopped: it finds them when it goes on.
    Stopped,
}

pub const MOMENTS: [Moment; 5] =
    [Moment::AtOnce, Moment::Before, Moment::At, Moment::After, Moment::Stopped];

/// How long the leader may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    None,
    Long,
    /// Until the very moment of the worker's error.
    Due,
}

const LONG_MS: u64 = 20_000;
pub const DUE_MS: u64 = 40;

/// A call of the leader, and the failure that meets it.
#[derive(Debug)]
pub struct Case {
    /// One of [`FAILURES`].
    pub failure: (&'static str, &'static str),
    pub moment: Moment,
    pub limit: Limit,
    /// The limit is `lock_timeout`, else the argument.
    pub by_setting: bool,
    pub names: Vec<Name>,
    pub in_session: bool,
    pub exclusive: bool,
    /// `lock_keys`, else `try_lock_keys`.
    pub blocking: bool,
}

impl Case {
    /// The value of `lock_timeout`, which the call has to leave as it is.
    pub fn lock_timeout(&self) -> &'static str {
        match self.limit {
            Limit::None => "0",
            _ if !self.by_setting => "7ms",
            Limit::Long => "20s",
            Limit::Due => "40ms",
        }
    }

    /// True when it has locked; then it locks the [`marker`] too.
    pub fn call(&self) -> String {
        let timeout = match self.limit {
            Limit::Long if !self.by_setting => format!("'{LONG_MS}ms'"),
            Limit::Due if !self.by_setting => format!("'{DUE_MS}ms'"),
            _ => "NULL".into(),
        };
        let arguments = format!(
            "'{}', timeout => {timeout}, shared => {}, session => {}",
            array(&self.names),
            !self.exclusive,
            self.in_session
        );
        let call = match self.blocking {
            true => format!("concat(lock_keys({arguments})) = ''"),
            false => format!("try_lock_keys({arguments})"),
        };
        format!("{call} AND pg_try_advisory_lock({})", marker())
    }
}

/// The lock by which a call shows that it has returned.
pub fn marker() -> i64 {
    key_of(&name(6_000_010))
}

/// While this is locked, workers raise their errors.
pub fn signal() -> i64 {
    key_of(&name(6_000_011))
}

/// Three names in the order of their keys.
pub fn names() -> [Name; 3] {
    let mut names = [6_000_000, 6_000_001, 6_000_002].map(name);
    names.sort_by_key(key_of);
    names
}
