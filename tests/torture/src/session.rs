//! One session: its connection, and a model of what it must be holding.

use crate::report::Report;
use anyhow::Result;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use tokio_postgres::{Client, Error};

/// A name, as `ARRAY['torture', …]`.
pub type Name = [String; 2];

pub fn name(number: usize) -> Name {
    ["torture".to_string(), number.to_string()]
}

/// The key of a name, computed here.
pub fn key_of(name: &Name) -> i64 {
    let digest = Sha256::digest(name.join("-"));
    i64::from_be_bytes(digest[..8].try_into().expect("8 bytes"))
}

/// One lock in one mode.
pub type Lock = (i64, bool);

/// What a session holds: a count for each lock at session level, and the locks at transaction level
/// with the savepoint (counted from 0) in which they were taken first.
#[derive(Clone, Default)]
pub struct Model {
    pub session: BTreeMap<Lock, u32>,
    pub transaction: BTreeMap<Lock, u32>,
}

impl Model {
    /// What pg_locks has to show.
    fn expected(&self) -> BTreeSet<Lock> {
        self.session.keys().chain(self.transaction.keys()).copied().collect()
    }

    pub fn taken(&mut self, lock: Lock, session: bool, savepoint: u32) {
        if session {
            *self.session.entry(lock).or_default() += 1;
        } else {
            self.transaction.entry(lock).or_insert(savepoint);
        }
    }

    /// A savepoint is rolled back to: what was taken in it is gone.
    pub fn roll_back_to(&mut self, savepoint: u32) {
        self.transaction.retain(|_, taken_in| *taken_in < savepoint);
    }

    /// Releases one hold at session level; false if there is none.
    pub fn released(&mut self, lock: Lock) -> bool {
        match self.session.get_mut(&lock) {
            None => false,
            Some(1) => self.session.remove(&lock).is_some(),
            Some(count) => {
                *count -= 1;
                true
            }
        }
    }
}

pub struct Session {
    pub client: Client,
    pub pid: i32,
    pub model: Model,
}

const HELD: &str = "SELECT (classid::int8 << 32) | objid::int8, mode FROM pg_locks \
    WHERE locktype = 'advisory' AND objsubid = 1 AND granted AND pid = pg_backend_pid()";

impl Session {
    pub fn new((client, pid): (Client, i32)) -> Self {
        Self { client, pid, model: Model::default() }
    }

    /// What the server says that this session holds. Cancels meant for other statements may hit this
    /// one, which is then sent again.
    pub async fn held(&self) -> Result<BTreeSet<Lock>> {
        loop {
            match self.client.query(HELD, &[]).await {
                Ok(rows) => {
                    return Ok(rows.iter().map(|row| (row.get(0), row.get::<_, &str>(1) == "ExclusiveLock")).collect());
                }
                Err(error) if is_cancel(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Runs a statement that must not fail but by a cancel, until it runs.
    pub async fn must(&self, statement: &str) -> Result<()> {
        loop {
            match self.client.batch_execute(statement).await {
                Ok(()) => return Ok(()),
                Err(error) if is_cancel(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Check (c): what is held is what the answers so far say.
    pub async fn check(&self, report: &Report, after: &str) -> Result<()> {
        let (held, expected) = (self.held().await?, self.model.expected());
        report.count("comparisons with pg_locks", 1);
        report.expect(held == expected, "result and reality", || {
            format!("after {after}: not held {:?}, held besides {:?}",
                expected.difference(&held).collect::<Vec<_>>(), held.difference(&expected).collect::<Vec<_>>())
        });
        Ok(())
    }
}

pub fn state(error: &Error) -> &str {
    error.code().map_or("", |code| code.code())
}

pub fn is_cancel(error: &Error) -> bool {
    state(error) == "57014"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_that_of_the_contract() {
        assert_eq!(key_of(&["order".into(), "42".into()]), 4321398832972926703);
    }

    #[test]
    fn savepoints_and_counts() {
        let mut model = Model::default();
        model.taken((1, true), false, 0);
        model.taken((1, true), false, 1);
        model.taken((2, true), false, 1);
        model.roll_back_to(1);
        assert_eq!(model.expected(), BTreeSet::from([(1, true)]));
        model.taken((3, false), true, 0);
        model.taken((3, false), true, 0);
        assert!(model.released((3, false)) && model.released((3, false)) && !model.released((3, false)));
    }
}
