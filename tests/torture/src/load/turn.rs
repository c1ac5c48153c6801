//! What one client of a load does in one turn, chosen at random, and what it must see.

use crate::load::history::Hold;
use crate::load::{COLD, HOT, LATE_CANCELS, World};
use crate::session::{Call, Model, Name, Session, array, name, sqlstate};
use rand::Rng;
use rand::rngs::StdRng;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use tokio_postgres::Error;

/// A turn of one client. Errors that it returns end its session.
pub struct Turn<'a> {
    pub world: &'a World,
    pub number: usize,
    pub session: &'a mut Session,
    pub random: &'a mut StdRng,
}

/// What became of a statement that may fail.
enum Outcome<T> {
    Done(T),
    /// A cancel; in a transaction, that is over.
    Cancelled,
    /// A timeout or a deadlock; the same.
    Failed,
}
use Outcome::{Cancelled, Done, Failed};

impl Turn<'_> {
    pub async fn take(mut self) -> Result<(), Error> {
        match self.random.random_range(0..100) {
            0..45 => self.transaction().await,
            45..85 => self.session_level().await,
            85..90 => self.wrong_unlock().await,
            90..95 => self.block_that_fails().await,
            _ => self.look().await,
        }
    }

    fn names(&mut self, most: usize) -> Vec<Name> {
        let count =
            if self.random.random_bool(0.6) { 1 } else { self.random.random_range(1..=most) };
        (0..count)
            .map(|_| match self.random.random_bool(0.7) {
                true => name(self.random.random_range(0..HOT)),
                false => name(HOT + self.random.random_range(0..COLD)),
            })
            .collect()
    }

    fn call(&mut self, in_session: bool) -> Call {
        Call {
            names: self.names(8),
            exclusive: self.random.random_bool(0.6),
            in_session,
            blocking: self.random.random_bool(0.3),
            timeout_ms: match self.random.random_range(0..10) {
                0..4 => Some(0),
                4..9 => Some(self.random.random_range(1..15)),
                // Limited by deadlock detection, lock_timeout and the nemesis only.
                _ => None,
            },
        }
    }

    /// Sorts out the errors that may come: counts them, and passes the others on.
    fn sort_out<T>(&self, answer: Result<T, Error>) -> Result<Outcome<T>, Error> {
        match answer {
            Ok(value) => Ok(Done(value)),
            Err(error) => match sqlstate(&error) {
                code @ ("57014" | "40P01" | "55P03") => {
                    self.world.report.count(&format!("errors {code}"), 1);
                    Ok(if code == "57014" { Cancelled } else { Failed })
                }
                // A cancel has hit a check within the transaction.
                "25P02" => Ok(Failed),
                _ => Err(error),
            },
        }
    }

    /// Makes the call and follows it in the model.
    async fn lock(&mut self, call: &Call, savepoint: u32) -> Result<Outcome<bool>, Error> {
        self.world.operation();
        let answer = self.session.lock(call).await;
        if let Err(error) = &answer
            && sqlstate(error) == "55P03"
            && !call.blocking
        {
            self.world.report.finding("error codes", format!("{error:?} instead of false"));
        }
        let outcome = self.sort_out(answer)?;
        let locked = matches!(outcome, Done(true));
        self.world.report.count(if locked { "locked" } else { "not locked" }, 1);
        if locked {
            self.session.model.call(call, savepoint);
        }
        Ok(outcome)
    }

    async fn check(&self, after: &str) -> Result<Outcome<()>, Error> {
        self.sort_out(self.session.check(&self.world.report, after).await)
    }

    /// After an error in a transaction: all that it took is gone.
    async fn roll_back(&mut self) -> Result<(), Error> {
        self.session.must("ROLLBACK").await?;
        self.session.model.transaction.clear();
        self.session.check(&self.world.report, "ROLLBACK").await
    }

    async fn transaction(&mut self) -> Result<(), Error> {
        let begun = self.session.client.batch_execute("BEGIN").await;
        let Done(()) = self.sort_out(begun)? else { return self.roll_back().await };
        let call = self.call(false);
        let Done(locked) = self.lock(&call, 0).await? else { return self.roll_back().await };
        let since = Instant::now();
        let Done(()) = self.check("a transaction-level call").await? else {
            return self.roll_back().await;
        };
        if self.random.random_bool(0.3) {
            let Done(()) = self.savepoint().await? else { return self.roll_back().await };
        }
        let counted = if locked && call.exclusive { hot_number(&call.names) } else { None };
        if let Some(number) = counted {
            let answer = self.raise_counter(number).await;
            let Done(()) = self.sort_out(answer)? else { return self.roll_back().await };
        }
        if self.random.random_bool(0.1) {
            return self.roll_back().await;
        }
        let until = Instant::now();
        let committed = self.session.client.batch_execute("COMMIT").await;
        if let Some(number) = counted {
            match &committed {
                Ok(()) => self.world.raised[number].fetch_add(1, Relaxed),
                Err(_) => self.world.perhaps[number].fetch_add(1, Relaxed),
            };
        }
        match self.sort_out(committed)? {
            Done(()) => {
                if locked {
                    self.remember(&call, since, until);
                }
                self.session.model.transaction.clear();
                self.session.check(&self.world.report, "COMMIT").await
            }
            Cancelled | Failed => self.roll_back().await,
        }
    }

    /// What is taken after a savepoint is gone when that is rolled back to.
    async fn savepoint(&mut self) -> Result<Outcome<()>, Error> {
        let answer = self.session.client.batch_execute("SAVEPOINT here").await;
        let Done(()) = self.sort_out(answer)? else { return Ok(Failed) };
        let call = self.call(false);
        self.lock(&call, 1).await?;
        // Also cures an error of the call.
        self.session.must("ROLLBACK TO here").await?;
        self.session.model.roll_back_to(1);
        self.check("ROLLBACK TO").await
    }

    /// Raises the counter of a hot name: read and then written with nothing but the lock to protect it.
    async fn raise_counter(&self, number: usize) -> Result<(), Error> {
        let key = number as i32;
        let client = &self.session.client;
        let n: i64 =
            client.query_one("SELECT n FROM counter WHERE key = $1", &[&key]).await?.get(0);
        client.execute("UPDATE counter SET n = $2 WHERE key = $1", &[&key, &(n + 1)]).await?;
        Ok(())
    }

    /// Notes definite holds: until the release was sent, now that it is known to have been one. Who is
    /// terminated before does not know until when it held.
    fn remember(&self, call: &Call, from: Instant, until: Instant) {
        for (key, exclusive) in call.locks() {
            self.world.history.add(key, Hold { client: self.number, exclusive, from, until });
        }
    }

    async fn session_level(&mut self) -> Result<(), Error> {
        let call = self.call(true);
        if !self.lock_for_session(&call).await? {
            return self.release_all().await;
        }
        let since = Instant::now();
        self.session.check(&self.world.report, "a session-level call").await?;
        let again = self.call(true);
        let twice = self.random.random_bool(0.3) && self.lock_for_session(&again).await?;
        if self.random.random_bool(0.3) {
            tokio::time::sleep(Duration::from_millis(self.random.random_range(1..8))).await;
        }
        let until = Instant::now();
        if self.release(&call).await? {
            self.remember(&call, since, until);
        }
        if twice && self.random.random_bool(0.5) {
            self.release(&again).await?;
        }
        self.release_all().await
    }

    async fn lock_for_session(&mut self, call: &Call) -> Result<bool, Error> {
        let before = self.session.model.clone();
        let outcome = self.lock(call, 0).await?;
        if let Done(true) = outcome {
            return Ok(true);
        }
        self.nothing_kept(call, before, matches!(outcome, Cancelled)).await?;
        Ok(false)
    }

    /// After false or an error no key of the call is newly held.
    ///
    /// A cancel can also hit the statement when the function has returned already, in the last instants
    /// before the answer is sent. The lock is held then, as documented; that is counted, not a finding,
    /// as long as it is all of the call, and rare. In the portable edition, a second cancel can hit while the
    /// first is served, and some of the call is held.
    async fn nothing_kept(
        &mut self,
        call: &Call,
        before: Model,
        cancelled: bool,
    ) -> Result<(), Error> {
        let held = self.session.held().await?;
        let mut all = before.clone();
        all.call(call, 0);
        let late = held != before.expected()
            && (held == all.expected()
                || !self.world.server.is_native()
                    && held.is_subset(&all.expected())
                    && held.is_superset(&before.expected()));
        // A lock that was held before may be held once more, which cannot be seen.
        let hidden = call.locks().iter().any(|lock| before.session.contains_key(lock));
        if cancelled && (late || hidden) {
            self.world.report.count(LATE_CANCELS, late.into());
            self.session.model = all;
            return self.release_all().await;
        }
        self.session.model = before;
        self.session.check(&self.world.report, "a session-level call in vain").await
    }

    /// Releases what a call has locked; true if all of it was held.
    async fn release(&mut self, call: &Call) -> Result<bool, Error> {
        self.world.operation();
        let answer = self.session.unlock(&call.names, call.exclusive).await;
        let Done(released) = self.sort_out(answer)? else {
            // Some may be released: counts are not to be seen, so all goes.
            self.release_all().await?;
            return Ok(false);
        };
        let held = self.session.model.unlock(&call.names, call.exclusive);
        self.world.report.expect(released == held, "result and reality", || {
            format!("unlocking {:?} gave {released}", call.names)
        });
        self.session.check(&self.world.report, "unlocking").await?;
        Ok(released)
    }

    /// Releases what is left, as core does it.
    async fn release_all(&mut self) -> Result<(), Error> {
        if self.session.model.session.is_empty() {
            return Ok(());
        }
        self.session.must("SELECT pg_advisory_unlock_all()").await?;
        self.session.model.session.clear();
        self.session.check(&self.world.report, "unlocking everything").await
    }

    async fn wrong_unlock(&mut self) -> Result<(), Error> {
        self.world.operation();
        let names = self.names(3);
        let exclusive = self.random.random_bool(0.5);
        let answer = self.session.unlock(&names, exclusive).await;
        if let Done(released) = self.sort_out(answer)? {
            self.world.report.expect(!released, "result and reality", || {
                format!("{names:?} was not held, and released")
            });
        }
        self.session.check(&self.world.report, "a wrong unlock").await
    }

    /// What is taken in a block that fails is released with it at transaction level, and kept at session
    /// level.
    async fn block_that_fails(&mut self) -> Result<(), Error> {
        self.world.operation();
        let in_session = self.random.random_bool(0.5);
        let call = Call { exclusive: true, ..self.call(in_session) };
        let before = self.session.model.clone();
        let answer = self
            .session
            .client
            .query_one(
                "SELECT locked_and_lost($1::text::text[], $2)",
                &[&array(&call.names), &in_session],
            )
            .await;
        match self.sort_out(answer)? {
            Done(row) => {
                if row.get::<_, bool>(0) && in_session {
                    self.session.model.call(&call, 0);
                }
                self.session.check(&self.world.report, "a block that failed").await?;
            }
            outcome if in_session => {
                self.nothing_kept(&call, before, matches!(outcome, Cancelled)).await?
            }
            _ => self.session.check(&self.world.report, "a cancelled block").await?,
        }
        self.release_all().await
    }

    async fn look(&mut self) -> Result<(), Error> {
        self.world.operation();
        let names = array(&self.names(3));
        let statement = "SELECT holds_keys($1::text::text[]), keys_available($1::text::text[]), \
            (SELECT count(*) FROM advisory_locks WHERE pid = pg_backend_pid())";
        let answer = self.session.client.query_one(statement, &[&names]).await;
        if let Done(row) = self.sort_out(answer)? {
            self.world.report.expect(!row.get::<_, bool>(0), "result and reality", || {
                format!("{names} is not held")
            });
            self.world.report.expect(row.get::<_, i64>(2) == 0, "result and reality", || {
                "the view shows a lock".into()
            });
        }
        self.session.check(&self.world.report, "a look").await
    }
}

/// The number of the hot name, if a call is for one name and that is hot.
fn hot_number(names: &[Name]) -> Option<usize> {
    match names {
        [[_, number]] => number.parse().ok().filter(|&number| number < HOT),
        _ => None,
    }
}
