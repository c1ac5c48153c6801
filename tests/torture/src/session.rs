//! One session: its connection, and a model of what it must be holding.

use crate::report::Report;
use crate::server::Server;
use anyhow::Result;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Statement};

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
    /// Follows a call that locked.
    pub fn call(&mut self, call: &Call, savepoint: u32) {
        for lock in call.locks() {
            self.taken(lock, call.in_session, savepoint);
        }
    }

    /// What pg_locks has to show.
    pub fn expected(&self) -> BTreeSet<Lock> {
        self.session.keys().chain(self.transaction.keys()).copied().collect()
    }

    fn taken(&mut self, lock: Lock, session: bool, savepoint: u32) {
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

    /// A savepoint is released: what was taken in it belongs to the one around it.
    pub fn release_savepoint(&mut self, around: u32) {
        for taken_in in self.transaction.values_mut() {
            *taken_in = around.min(*taken_in);
        }
    }

    /// Releases one session-level hold of each; true if all were held so.
    pub fn unlock(&mut self, names: &[Name], exclusive: bool) -> bool {
        let locks: BTreeSet<Lock> = names.iter().map(|name| (key_of(name), exclusive)).collect();
        let mut all = true;
        for lock in locks {
            all &= self.released(lock);
        }
        all
    }

    /// Releases one hold at session level; false if there is none.
    fn released(&mut self, lock: Lock) -> bool {
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

/// A call of a lock function.
#[derive(Clone, Debug)]
pub struct Call {
    pub names: Vec<Name>,
    pub exclusive: bool,
    pub in_session: bool,
    /// `lock_keys`, else `try_lock_keys`.
    pub blocking: bool,
    pub timeout_ms: Option<u32>,
}

impl Call {
    /// The locks of the call, each once.
    pub fn locks(&self) -> BTreeSet<Lock> {
        self.names.iter().map(|name| (key_of(name), self.exclusive)).collect()
    }
}

/// Names as the text of a two-dimensional array.
pub fn array(names: &[Name]) -> String {
    let rows: Vec<String> =
        names.iter().map(|[first, second]| format!("{{{first},{second}}}")).collect();
    format!("{{{}}}", rows.join(","))
}

pub struct Session {
    pub client: Client,
    pub pid: i32,
    pub model: Model,
    held: Statement,
    lock_keys: Statement,
    try_lock_keys: Statement,
    unlock_keys: Statement,
}

const HELD: &str = "SELECT (classid::int8 << 32) | objid::int8, mode FROM pg_locks \
    WHERE locktype = 'advisory' AND objsubid = 1 AND granted AND pid = pg_backend_pid()";
const ARGUMENTS: &str =
    "$1::text::text[], timeout => $2::text::interval, shared => $3, session => $4";

impl Session {
    pub async fn new(server: &Server) -> Result<Self> {
        let (client, pid) = server.connect_patiently().await?;
        let [lock, try_lock] =
            ["lock_keys", "try_lock_keys"].map(|name| format!("SELECT {name}({ARGUMENTS})::text"));
        let (held, lock_keys, try_lock_keys, unlock_keys) = tokio::try_join!(
            client.prepare(HELD),
            client.prepare(&lock),
            client.prepare(&try_lock),
            client.prepare("SELECT unlock_keys($1::text::text[], $2)"),
        )?;
        Ok(Self {
            client,
            pid,
            model: Model::default(),
            held,
            lock_keys,
            try_lock_keys,
            unlock_keys,
        })
    }

    /// Makes the call; true if it locked.
    pub async fn lock(&self, call: &Call) -> Result<bool, Error> {
        let statement = if call.blocking { &self.lock_keys } else { &self.try_lock_keys };
        let timeout = call.timeout_ms.map(|ms| format!("{ms}ms"));
        let arguments: [&(dyn ToSql + Sync); 4] =
            [&array(&call.names), &timeout, &!call.exclusive, &call.in_session];
        let row = self.client.query_one(statement, &arguments).await?;
        Ok(call.blocking || row.get::<_, &str>(0) == "true")
    }

    /// Releases one session-level hold of each; true if all were held so.
    pub async fn unlock(&self, names: &[Name], exclusive: bool) -> Result<bool, Error> {
        let row = self.client.query_one(&self.unlock_keys, &[&array(names), &!exclusive]).await?;
        Ok(row.get(0))
    }

    /// What the server says that this session holds. Cancels meant for other statements may hit this
    /// one, which is then sent again.
    pub async fn held(&self) -> Result<BTreeSet<Lock>, Error> {
        loop {
            match self.client.query(&self.held, &[]).await {
                Ok(rows) => {
                    return Ok(rows
                        .iter()
                        .map(|row| (row.get(0), row.get::<_, &str>(1) == "ExclusiveLock"))
                        .collect());
                }
                Err(error) if is_cancel(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Runs a statement that must not fail but by a cancel, until it runs.
    pub async fn must(&self, statement: &str) -> Result<(), Error> {
        must(&self.client, statement).await
    }

    /// What is held is what the answers so far say.
    pub async fn check(&self, report: &Report, after: &str) -> Result<(), Error> {
        let (held, expected) = (self.held().await?, self.model.expected());
        report.count("comparisons with pg_locks", 1);
        report.expect(held == expected, "result and reality", || {
            format!(
                "after {after}: not held {:?}, held besides {:?}",
                expected.difference(&held).collect::<Vec<_>>(),
                held.difference(&expected).collect::<Vec<_>>()
            )
        });
        Ok(())
    }
}

/// Runs a statement that must not fail but by a cancel, until it runs.
pub async fn must(client: &Client, statement: &str) -> Result<(), Error> {
    loop {
        match client.batch_execute(statement).await {
            Err(error) if is_cancel(&error) => {}
            other => return other,
        }
    }
}

/// No more statement_timeout, which may strike as late as before the next statement.
pub async fn lift_statement_timeout(client: &Client) -> Result<(), Error> {
    loop {
        let off = client.batch_execute("SET statement_timeout = 0").await;
        match off.and(client.batch_execute("SELECT 1").await) {
            Err(error) if is_cancel(&error) => {}
            other => return other,
        }
    }
}

/// Its SQLSTATE; empty if it does not come from the server.
pub fn sqlstate(error: &Error) -> &str {
    error.code().map_or("", |code| code.code())
}

/// Is the connection gone, or about to go?
pub fn is_lost(error: &Error) -> bool {
    error.is_closed() || matches!(sqlstate(error), "" | "57P01" | "57P02" | "57P03")
}

pub fn is_cancel(error: &Error) -> bool {
    sqlstate(error) == "57014"
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
        assert!(
            model.released((3, false)) && model.released((3, false)) && !model.released((3, false))
        );
    }
}
