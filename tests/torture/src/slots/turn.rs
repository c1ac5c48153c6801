//! What one client of the storm does in one turn, chosen at random, and what it must see.

use crate::server::PATIENCE;
use crate::session::{self, is_cancel, sqlstate};
use crate::slots::places::{MOST, Place};
use crate::slots::storm::{NAMES, World, name};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use std::time::{Duration, Instant};
use tokio_postgres::{Client, Error};

/// A turn of one client. Errors that it returns end its session.
pub struct Turn<'a> {
    pub world: &'a World,
    pub number: usize,
    pub client: &'a Client,
    pub random: &'a mut StdRng,
}

/// What came of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Granted,
    NotGranted,
    /// A cancel.
    Cancelled,
    /// A timeout or a deadlock.
    Failed,
}
use Outcome::{Cancelled, Failed, Granted, NotGranted};

/// A call for a slot.
struct Call {
    name: usize,
    slots: usize,
    statement: String,
}

impl Turn<'_> {
    pub async fn take(mut self) -> Result<(), Error> {
        match self.random.random_range(0..100) {
            0..42 => self.transaction().await,
            42..68 => self.session_level().await,
            68..76 => self.exclusively().await,
            76..84 => self.block_that_fails().await,
            84..90 => self.prepared().await,
            90..93 => self.two_names().await,
            _ => self.look().await,
        }
    }

    fn call(&mut self, in_session: bool) -> Call {
        let number = self.random.random_range(0..NAMES.len());
        self.call_for(number, in_session)
    }

    fn call_for(&mut self, number: usize, in_session: bool) -> Call {
        let slots = match NAMES[number] {
            0 => self.random.random_range(1..=MOST),
            slots => slots,
        };
        let (function, timeout) = match self.random.random_range(0..10) {
            0..3 => ("try_lock_slot", "'0'".to_string()),
            3..7 => ("try_lock_slot", format!("'{}ms'", self.random.random_range(1..50))),
            7 => ("lock_slot", format!("'{}ms'", self.random.random_range(1..50))),
            _ => ("lock_slot", "NULL".to_string()),
        };
        let statement = format!(
            "SELECT {function}('{}', {slots}, {timeout}, {in_session})::text",
            name(number)
        );
        Call { name: number, slots, statement }
    }

    /// Runs a statement that says whether something was granted; void says that it was.
    async fn run(&self, statement: &str) -> Result<Outcome, Error> {
        let begun = Instant::now();
        let answer = self.client.query_one(statement, &[]).await;
        if begun.elapsed() > PATIENCE {
            let what = format!("{statement} took {:?}", begun.elapsed());
            self.world.report.finding("waits that never end", what);
        }
        let outcome = match &answer {
            Ok(row) if row.get::<_, &str>(0) == "false" => NotGranted,
            Ok(_) => Granted,
            Err(error) => match sqlstate(error) {
                code @ ("57014" | "40P01" | "55P03") => {
                    self.world.report.count(&format!("slots: errors {code}"), 1);
                    if is_cancel(error) { Cancelled } else { Failed }
                }
                // A cancel has hit a check within the transaction.
                "25P02" => Failed,
                _ => return answer.map(|_| Failed),
            },
        };
        self.world
            .report
            .count(if outcome == Granted { "slots: granted" } else { "slots: not granted" }, 1);
        Ok(outcome)
    }

    /// Runs a statement that must not fail but by a cancel, until it runs.
    async fn must(&self, statement: &str) -> Result<(), Error> {
        session::must(self.client, statement).await
    }

    async fn hold(&mut self) {
        let time = self.random.random_range(0..3);
        if time > 0 {
            tokio::time::sleep(Duration::from_millis(time)).await;
        }
    }

    /// Nothing of any lock is held or awaited.
    async fn holds_nothing(&self, after: &str) -> Result<(), Error> {
        let held = self.held().await?;
        self.world.report.count("comparisons with pg_locks", 1);
        self.world
            .report
            .expect(held.is_empty(), "result and reality", || format!("after {after}: {held:?}"));
        Ok(())
    }

    /// The rows of this session in pg_locks: the kind of the tag, and the mode.
    async fn held(&self) -> Result<Vec<(i16, String)>, Error> {
        let statement = "SELECT objsubid, mode FROM pg_locks \
            WHERE locktype = 'advisory' AND pid = pg_backend_pid()";
        loop {
            match self.client.query(statement, &[]).await {
                Ok(rows) => return Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect()),
                Err(error) if is_cancel(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// After a grant: a shared lock on the key, and nothing beside it.
    async fn holds_a_slot(&self, call: &Call) -> Result<(), Error> {
        let held = self.held().await?;
        self.world.report.count("comparisons with pg_locks", 1);
        let expected = [(1, "ShareLock".to_string())];
        self.world.report.expect(held == expected, "result and reality", || {
            format!("after {}: {held:?}", call.statement)
        });
        Ok(())
    }

    /// Ends the transaction, whatever has become of it.
    async fn end(&mut self) -> Result<(), Error> {
        let end = if self.random.random_bool(0.5) { "COMMIT" } else { "ROLLBACK" };
        self.must(end).await?;
        self.holds_nothing(end).await
    }

    async fn begin(&mut self) -> Result<(), Error> {
        self.must("BEGIN").await?;
        if self.random.random_bool(0.1) {
            let limit = self.random.random_range(1..20);
            self.must_in_transaction(&format!("SET LOCAL statement_timeout = {limit}")).await?;
        }
        Ok(())
    }

    /// Runs a statement in a transaction; when a cancel hits it, all that follows fails.
    async fn must_in_transaction(&self, statement: &str) -> Result<(), Error> {
        match self.client.batch_execute(statement).await {
            Err(error) if matches!(sqlstate(&error), "57014" | "25P02") => Ok(()),
            other => other,
        }
    }

    async fn transaction(&mut self) -> Result<(), Error> {
        self.begin().await?;
        let call = self.call(false);
        if self.random.random_bool(0.3) {
            return self.savepoint(call).await;
        }
        if self.run(&call.statement).await? == Granted {
            self.world.taken(self.number, call.name, Place::Slot(call.slots));
            self.hold().await;
            self.world.left(self.number);
        }
        self.end().await
    }

    /// A slot that is taken after a savepoint goes with it, and stays when it is released.
    async fn savepoint(&mut self, call: Call) -> Result<(), Error> {
        self.must_in_transaction("SAVEPOINT a").await?;
        if self.run(&call.statement).await? == Granted {
            self.world.taken(self.number, call.name, Place::Slot(call.slots));
            self.hold().await;
            // A cancel that hits one of these ends the hold.
            self.world.left(self.number);
            if self.random.random_bool(0.5) {
                self.must_in_transaction("RELEASE a").await?;
            } else {
                self.must_in_transaction("ROLLBACK TO a").await?;
                self.must_in_transaction("SAVEPOINT b").await?;
                let again = self.call(false);
                self.run(&again.statement).await?;
            }
        }
        self.end().await
    }

    async fn session_level(&mut self) -> Result<(), Error> {
        let call = self.call(true);
        let outcome = self.run(&call.statement).await?;
        if outcome == Granted {
            self.world.taken(self.number, call.name, Place::Slot(call.slots));
            self.holds_a_slot(&call).await?;
            let again = self.random.random_bool(0.3);
            // Once more, which is granted whoever waits.
            if again {
                let call = self.call_for(call.name, false);
                let outcome = self.run(&call.statement).await?;
                self.world.report.expect(
                    matches!(outcome, Granted | Cancelled),
                    "no false refusal",
                    || format!("{} while a slot was held: {outcome:?}", call.statement),
                );
            }
            self.hold().await;
            self.world.left(self.number);
            match self.random.random_range(0..4) {
                0 => self.must("SELECT pg_advisory_unlock_all()").await?,
                1 => self.must("DISCARD ALL").await?,
                _ => {
                    let unlock = format!("SELECT unlock_slot('{}')::text", name(call.name));
                    match self.run(&unlock).await? {
                        Granted => {}
                        NotGranted => self
                            .world
                            .report
                            .finding("result and reality", format!("{unlock}: nothing was held")),
                        Cancelled | Failed => self.must("SELECT pg_advisory_unlock_all()").await?,
                    }
                }
            }
        } else if outcome == Cancelled && !self.held().await?.is_empty() {
            // The cancel came when the function had returned.
            self.world.report.count(LATE_CANCELS, 1);
            self.must("SELECT pg_advisory_unlock_all()").await?;
        }
        self.holds_nothing(&call.statement).await
    }

    /// Locks the name exclusively: when it has it, nobody has a slot.
    async fn exclusively(&mut self) -> Result<(), Error> {
        self.begin().await?;
        let number = self.random.random_range(0..NAMES.len());
        let statement = format!(
            "SELECT try_lock_keys('{}', timeout => '{}ms')::text",
            name(number),
            self.random.random_range(1..50)
        );
        if self.run(&statement).await? == Granted {
            self.world.taken(self.number, number, Place::Whole);
            self.hold().await;
            self.world.left(self.number);
        }
        self.end().await
    }

    async fn block_that_fails(&mut self) -> Result<(), Error> {
        let call = self.call(false);
        let statement = format!(
            "SELECT slot_taken_and_lost('{}', {}, '{}ms')::text",
            name(call.name),
            call.slots,
            self.random.random_range(0..20)
        );
        self.run(&statement).await?;
        self.holds_nothing(&statement).await
    }

    /// A slot of a prepared transaction.
    async fn prepared(&mut self) -> Result<(), Error> {
        self.begin().await?;
        let call = self.call(false);
        if self.run(&call.statement).await? == Granted {
            let gid = format!("storm {}", self.number);
            let prepare = format!("PREPARE TRANSACTION '{gid}'");
            self.must_in_transaction(&prepare).await?;
            // After a cancel there is none.
            let there = loop {
                let rows = self
                    .client
                    .query("SELECT FROM pg_prepared_xacts WHERE gid = $1", &[&gid])
                    .await;
                match rows {
                    Err(error) if is_cancel(&error) => {}
                    Err(error) if sqlstate(&error) == "25P02" => self.must("ROLLBACK").await?,
                    other => break !other?.is_empty(),
                }
            };
            if there {
                self.holds_nothing(&prepare).await?;
                self.world.taken(self.number, call.name, Place::Slot(call.slots));
                self.hold().await;
                self.world.left(self.number);
                let end = if self.random.random_bool(0.5) { "COMMIT" } else { "ROLLBACK" };
                self.must(&format!("{end} PREPARED '{gid}'")).await?;
                self.world.report.count("slots: of prepared transactions", 1);
            }
        }
        self.end().await
    }

    /// The only slots of two names, in whatever order and however long that takes, so that deadlocks come about.
    async fn two_names(&mut self) -> Result<(), Error> {
        self.begin().await?;
        let mut numbers = [0, 1];
        numbers.shuffle(self.random);
        for number in numbers {
            // The portable edition does not find them.
            let timeout = if self.world.server.is_native() { "NULL" } else { "'100ms'" };
            let statement = format!("SELECT lock_slot('{}', 1, {timeout})::text", name(number));
            if self.run(&statement).await? != Granted {
                break;
            }
            self.hold().await;
        }
        self.end().await
    }

    async fn look(&mut self) -> Result<(), Error> {
        let number = self.random.random_range(0..NAMES.len());
        let statement = format!(
            "SELECT concat(slots_held('{}'), (SELECT count(blocked_by) FROM advisory_locks WHERE NOT granted))",
            name(number)
        );
        self.run(&statement).await?;
        self.holds_nothing(&statement).await
    }
}

/// Cancels that hit the statement when the function had returned, before the answer was sent.
const LATE_CANCELS: &str = "slots: cancels after the call had returned";
