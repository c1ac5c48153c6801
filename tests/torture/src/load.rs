//! Many clients that lock and unlock at random, while a nemesis cancels and terminates them and an eye is kept
//! on every answer.

use crate::history::{History, Hold};
use crate::report::Report;
use crate::server::Server;
use crate::session::{Lock, Model, Name, Session, key_of, name, state};
use anyhow::Result;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio_postgres::Error;

pub const HOT: usize = 16;
const COLD: usize = 10_000;

/// How much of it.
#[derive(Clone, Copy)]
pub struct Size {
    pub clients: usize,
    pub operations: u64,
    pub cancels: u64,
    pub terminations: u64,
    pub seed: u64,
}

/// What all clients share.
struct World {
    server: Arc<Server>,
    report: Arc<Report>,
    history: History,
    operations: AtomicU64,
    goal: u64,
    /// For each hot key, how often its counter was raised: surely, and perhaps (the connection broke
    /// during COMMIT).
    raised: Vec<AtomicU64>,
    perhaps: Vec<AtomicU64>,
    /// The processes of the clients, for the nemesis.
    pids: Vec<AtomicI64>,
    done: AtomicBool,
}

/// The tables and functions that the clients use.
pub async fn prepare(server: &Server) -> Result<()> {
    let (client, _) = server.connect_patiently().await?;
    client.batch_execute("
        CREATE EXTENSION IF NOT EXISTS advisory_keys;
        CREATE TABLE IF NOT EXISTS counter (key int PRIMARY KEY, n bigint NOT NULL);
        CREATE OR REPLACE FUNCTION locked_and_lost(names text[], in_session boolean) RETURNS boolean
        LANGUAGE plpgsql AS $$
        DECLARE locked boolean;
        BEGIN
          locked := try_lock_keys(names, session => in_session);
          RAISE division_by_zero;
        EXCEPTION WHEN division_by_zero THEN RETURN locked;
        END $$;
    ").await?;
    Ok(())
}

pub async fn run(server: Arc<Server>, report: Arc<Report>, size: Size) -> Result<()> {
    let (admin, _) = server.connect_patiently().await?;
    admin.batch_execute(&format!(
        "TRUNCATE counter; INSERT INTO counter SELECT i, 0 FROM generate_series(0, {}) AS i", HOT - 1)).await?;
    let world = Arc::new(World {
        server, report,
        history: History::default(),
        operations: AtomicU64::new(0),
        goal: size.operations,
        raised: (0..HOT).map(|_| AtomicU64::new(0)).collect(),
        perhaps: (0..HOT).map(|_| AtomicU64::new(0)).collect(),
        pids: (0..size.clients).map(|_| AtomicI64::new(0)).collect(),
        done: AtomicBool::new(false),
    });
    let clients: Vec<_> = (0..size.clients)
        .map(|number| tokio::spawn(client(world.clone(), number, StdRng::seed_from_u64(size.seed + number as u64))))
        .collect();
    let nemesis = tokio::spawn(nemesis(world.clone(), size));
    for client in clients {
        client.await??;
    }
    world.done.store(true, Ordering::Relaxed);
    nemesis.await??;

    let report = &world.report;
    report.count("operations", world.operations.load(Ordering::Relaxed));
    for (key, first, second) in world.history.take_conflicts() {
        report.finding("overlapping holds", format!("key {key}: {first:?} and {second:?}"));
    }
    for (key, (raised, perhaps)) in world.raised.iter().zip(&world.perhaps).enumerate() {
        let (least, most) = (raised.load(Ordering::Relaxed), perhaps.load(Ordering::Relaxed));
        let n: i64 = admin.query_one("SELECT n FROM counter WHERE key = $1", &[&(key as i32)]).await?.get(0);
        report.count("counter increments", least);
        report.expect((least..=least + most).contains(&(n as u64)), "lost updates", || {
            format!("counter {key} is {n}, raised {least} times and perhaps {most} times more")
        });
    }
    let (late, all) = (report.get(LATE_CANCELS), report.get("errors 57014"));
    report.expect(late <= 5 + all / 50, "result and reality", || format!("{late} of {all} cancels left a lock behind"));
    drop(admin);
    quiet(&world.server, report).await
}

/// Cancels that hit the statement when the function had returned, before the answer was sent.
const LATE_CANCELS: &str = "cancels after the call had returned";

/// Check (e): when all clients are gone, nothing is left.
pub async fn quiet(server: &Server, report: &Report) -> Result<()> {
    let (admin, _) = server.connect_patiently().await?;
    let end = Instant::now() + crate::server::PATIENCE;
    loop {
        let others: i64 = admin.query_one("SELECT count(*) FROM pg_stat_activity \
            WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()", &[]).await?.get(0);
        if others == 0 {
            break;
        }
        if Instant::now() > end {
            report.finding("backends that do not end", format!("{others} backends"));
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let left: i64 = admin.query_one("SELECT count(*) FROM pg_locks AS l WHERE locktype = 'advisory' \
        AND NOT EXISTS (SELECT FROM pg_prepared_xacts WHERE l.virtualtransaction = '-1/' || transaction)", &[]).await?.get(0);
    report.expect(left == 0, "locks left behind", || format!("{left} rows in pg_locks"));
    Ok(())
}

async fn nemesis(world: Arc<World>, size: Size) -> Result<()> {
    let mut random = StdRng::seed_from_u64(size.seed ^ 0xdead);
    let (client, _) = world.server.connect_patiently().await?;
    let (mut cancels, mut terminations, mut ticks) = (0, 0, 0u64);
    while !world.done.load(Ordering::Relaxed) {
        let victim = world.pids.choose(&mut random).map_or(0, |pid| pid.load(Ordering::Relaxed)) as i32;
        ticks += 1;
        if victim == 0 {
            // Not connected yet.
        } else if terminations < size.terminations && ticks % (size.cancels / size.terminations.max(1)).max(1) == 0 {
            client.query_one("SELECT pg_terminate_backend($1)", &[&victim]).await?;
            terminations += 1;
        } else if cancels < size.cancels {
            client.query_one("SELECT pg_cancel_backend($1)", &[&victim]).await?;
            cancels += 1;
        }
        if ticks % 500 == 0 {
            // New values reach all sessions between their statements.
            let deadlock = random.random_range(5..200);
            client.batch_execute(&format!("ALTER SYSTEM SET deadlock_timeout = '{deadlock}ms'")).await?;
            client.batch_execute(&format!("ALTER SYSTEM SET log_lock_waits = {}", random.random_bool(0.5))).await?;
            client.batch_execute("SELECT pg_reload_conf()").await?;
        }
        tokio::time::sleep(Duration::from_micros(300)).await;
    }
    world.report.count("cancels sent", cancels);
    world.report.count("terminations sent", terminations);
    world.report.expect(cancels + terminations > 0 || size.cancels == 0, "the nemesis", || "did nothing".into());
    Ok(())
}

async fn client(world: Arc<World>, number: usize, mut random: StdRng) -> Result<()> {
    let mut session = connect(&world, number).await?;
    while world.operations.load(Ordering::Relaxed) < world.goal {
        let outcome = Act { world: &world, number, session: &mut session, random: &mut random }.one().await;
        if outcome.is_err() || session.client.is_closed() {
            // Terminated: all is released, and a new session begins with nothing.
            world.report.count("connections lost", 1);
            session = connect(&world, number).await?;
        }
    }
    Ok(())
}

async fn connect(world: &World, number: usize) -> Result<Session> {
    let session = Session::new(world.server.connect_patiently().await?);
    world.pids[number].store(session.pid.into(), Ordering::Relaxed);
    Ok(session)
}

/// One client's turn.
struct Act<'a> {
    world: &'a World,
    number: usize,
    session: &'a mut Session,
    random: &'a mut StdRng,
}

/// A call of a lock function.
struct Call {
    names: Vec<Name>,
    exclusive: bool,
    in_session: bool,
    blocking: bool,
    timeout_ms: Option<u32>,
}

impl Act<'_> {
    async fn one(&mut self) -> Result<()> {
        match self.random.random_range(0..100) {
            0..45 => self.transaction().await,
            45..85 => self.session_level().await,
            85..90 => self.wrong_unlock().await,
            90..95 => self.lock_in_a_block_that_fails().await,
            _ => self.look().await,
        }
    }

    fn names(&mut self, most: usize) -> Vec<Name> {
        let count = if self.random.random_bool(0.6) { 1 } else { self.random.random_range(1..=most) };
        (0..count).map(|_| match self.random.random_bool(0.7) {
            true => name(self.random.random_range(0..HOT)),
            false => name(HOT + self.random.random_range(0..COLD)),
        }).collect()
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
                // Limited by deadlock detection and by the nemesis only.
                _ => None,
            },
        }
    }

    /// Makes the call and follows it in the model. True if it locked.
    async fn lock(&mut self, call: &Call, savepoint: u32) -> Result<bool> {
        self.world.operations.fetch_add(1, Ordering::Relaxed);
        let function = if call.blocking { "lock_keys" } else { "try_lock_keys" };
        let timeout = call.timeout_ms.map(|ms| format!("{ms}ms"));
        let statement = format!(
            "SELECT {function}($1::text::text[], timeout => $2::text::interval, shared => {}, session => {})::text",
            !call.exclusive, call.in_session);
        let answer = self.session.client.query_one(&statement, &[&array(&call.names), &timeout]).await;
        let locked = match answer {
            Ok(row) => call.blocking || row.get::<_, &str>(0) == "true",
            Err(error) => {
                self.failed(&error)?;
                false
            }
        };
        self.world.report.count(if locked { "locked" } else { "not locked" }, 1);
        if locked {
            for lock in locks(call) {
                self.session.model.taken(lock, call.in_session, savepoint);
            }
        }
        Ok(locked)
    }

    /// Counts an error that may come, notes one that may not, and passes on the end of the connection.
    fn failed(&self, error: &Error) -> Result<()> {
        match state(error) {
            "57014" | "40P01" | "55P03" => {
                self.world.report.count(&format!("errors {}", state(error)), 1);
                Ok(())
            }
            "57P01" | "57P02" | "57P03" | "" => anyhow::bail!("the connection is lost"),
            other => {
                self.world.report.finding("error codes", format!("{other}: {error}"));
                Ok(())
            }
        }
    }

    async fn check(&self, after: &str) -> Result<()> {
        self.session.check(&self.world.report, after).await
    }

    /// After an error in a transaction: all that it took is gone.
    async fn roll_back(&mut self) -> Result<()> {
        self.session.must("ROLLBACK").await?;
        self.session.model.transaction.clear();
        self.check("ROLLBACK").await
    }

    async fn transaction(&mut self) -> Result<()> {
        self.session.must("BEGIN").await?;
        let call = self.call(false);
        let locked = self.lock(&call, 0).await?;
        let since = Instant::now();
        if !locked && self.in_failed_transaction().await? {
            return self.roll_back().await;
        }
        self.check("a transaction-level call").await?;

        if self.random.random_bool(0.3) {
            self.session.must("SAVEPOINT inner").await?;
            let inner = self.call(false);
            self.lock(&inner, 1).await?;
            // Also cures an error of the call.
            self.session.must("ROLLBACK TO inner").await?;
            self.session.model.roll_back_to(1);
            self.check("ROLLBACK TO").await?;
        }

        let counted = if locked && call.exclusive { hot_number(&call.names) } else { None };
        if let Some(number) = counted
            && !self.raise_counter(number).await?
        {
            return self.roll_back().await;
        }
        if locked {
            self.remember(&call, since);
        }
        if counted.is_none() && self.random.random_bool(0.2) {
            return self.roll_back().await;
        }
        let committed = match self.session.client.batch_execute("COMMIT").await {
            Ok(()) => true,
            Err(error) if state(&error) == "57014" => {
                self.session.must("ROLLBACK").await?;
                false
            }
            Err(error) => {
                if let Some(number) = counted {
                    self.world.perhaps[number].fetch_add(1, Ordering::Relaxed);
                }
                return Err(error.into());
            }
        };
        if let Some(number) = counted {
            let counter = if committed { &self.world.raised } else { &self.world.perhaps };
            counter[number].fetch_add(1, Ordering::Relaxed);
        }
        self.session.model.transaction.clear();
        self.check("COMMIT").await
    }

    /// Check (b): the counter of a hot key, read and then written with nothing but the lock to protect it.
    async fn raise_counter(&mut self, number: usize) -> Result<bool> {
        let key = number as i32;
        let client = &self.session.client;
        let raised = async {
            let n: i64 = client.query_one("SELECT n FROM counter WHERE key = $1", &[&key]).await?.get(0);
            client.execute("UPDATE counter SET n = $2 WHERE key = $1", &[&key, &(n + 1)]).await
        };
        match raised.await {
            Ok(_) => Ok(true),
            Err(error) => {
                self.failed(&error)?;
                Ok(false)
            }
        }
    }

    /// Notes holds that certainly lasted until now.
    fn remember(&self, call: &Call, from: Instant) {
        for (key, exclusive) in locks(call) {
            self.world.history.add(key, Hold { client: self.number, exclusive, from, until: Instant::now() });
        }
    }

    async fn session_level(&mut self) -> Result<()> {
        let call = self.call(true);
        let before = self.session.model.clone();
        if !self.lock(&call, 0).await? {
            self.nothing_kept(&call, before).await?;
            return self.release_all().await;
        }
        let since = Instant::now();
        self.check("a session-level call").await?;
        if self.random.random_bool(0.3) {
            let again = self.call(true);
            let before = self.session.model.clone();
            if !self.lock(&again, 0).await? {
                self.nothing_kept(&again, before).await?;
            }
        }
        if self.random.random_bool(0.3) {
            tokio::time::sleep(Duration::from_millis(self.random.random_range(1..8))).await;
        }
        self.remember(&call, since);
        self.release_all().await
    }

    /// Check (d): after false or an error no key of the call is newly held.
    ///
    /// A cancel can also hit the statement when the function has returned already, in the last instants
    /// before the answer is sent. The lock is held then, as documented; that is counted, not a finding,
    /// as long as it is all of the call, and rare.
    async fn nothing_kept(&mut self, call: &Call, before: Model) -> Result<()> {
        let held = self.session.held().await?;
        let mut all = before.clone();
        for lock in locks(call) {
            all.taken(lock, true, 0);
        }
        self.session.model = before;
        let expected: std::collections::BTreeSet<Lock> = all.session.keys().copied().collect();
        let newly = all.session.keys().any(|lock| !self.session.model.session.contains_key(lock));
        if newly && held == expected {
            self.world.report.count(LATE_CANCELS, 1);
            self.session.model = all;
            return Ok(());
        }
        self.check("a session-level call in vain").await
    }

    async fn release_all(&mut self) -> Result<()> {
        while let Some((&(key, exclusive), _)) = self.session.model.session.iter().next() {
            // By integer: the names of a key are not kept here.
            let function = if exclusive { "pg_advisory_unlock" } else { "pg_advisory_unlock_shared" };
            match self.session.client.query_one(&format!("SELECT {function}($1)"), &[&key]).await {
                Ok(row) => {
                    let released: bool = row.get(0);
                    self.session.model.released((key, exclusive));
                    self.world.report.expect(released, "result and reality", || format!("{key} was not held"));
                }
                Err(error) => {
                    self.failed(&error)?;
                    // Whether it was released: counts are not to be seen, so all goes.
                    self.session.must("SELECT pg_advisory_unlock_all()").await?;
                    self.session.model.session.clear();
                }
            }
        }
        self.check("unlocking").await
    }

    async fn wrong_unlock(&mut self) -> Result<()> {
        self.world.operations.fetch_add(1, Ordering::Relaxed);
        let names = array(&self.names(3));
        let shared = self.random.random_bool(0.5);
        match self.session.client.query_one(&format!("SELECT unlock_keys($1::text::text[], {shared})"), &[&names]).await {
            Ok(row) => {
                let released: bool = row.get(0);
                self.world.report.expect(!released, "result and reality", || format!("{names} was not held, and released"));
            }
            Err(error) => self.failed(&error)?,
        }
        self.check("a wrong unlock").await
    }

    /// What is taken in a block that fails is released with it at transaction level, and kept at session
    /// level.
    async fn lock_in_a_block_that_fails(&mut self) -> Result<()> {
        self.world.operations.fetch_add(1, Ordering::Relaxed);
        let in_session = self.random.random_bool(0.5);
        let call = Call { exclusive: true, ..self.call(in_session) };
        let before = self.session.model.clone();
        let answer = self.session.client
            .query_one("SELECT locked_and_lost($1::text::text[], $2)", &[&array(&call.names), &in_session]).await;
        match answer {
            Ok(row) => {
                if row.get::<_, bool>(0) && in_session {
                    for lock in locks(&call) {
                        self.session.model.taken(lock, true, 0);
                    }
                }
                self.check("a block that failed").await?;
            }
            Err(error) => {
                self.failed(&error)?;
                if in_session {
                    self.nothing_kept(&call, before).await?;
                } else {
                    self.check("a cancelled block").await?;
                }
            }
        }
        self.release_all().await
    }

    async fn look(&mut self) -> Result<()> {
        self.world.operations.fetch_add(1, Ordering::Relaxed);
        let names = array(&self.names(3));
        let statement = "SELECT holds_keys($1::text::text[]), keys_available($1::text::text[])";
        match self.session.client.query_one(statement, &[&names]).await {
            Ok(row) => self.world.report.expect(!row.get::<_, bool>(0), "result and reality", || format!("{names} is not held")),
            Err(error) => self.failed(&error)?,
        }
        self.check("a look").await
    }

    async fn in_failed_transaction(&self) -> Result<bool> {
        match self.session.client.batch_execute("SELECT 1").await {
            Ok(()) => Ok(false),
            Err(error) => {
                self.failed_quietly(&error)?;
                Ok(true)
            }
        }
    }

    fn failed_quietly(&self, error: &Error) -> Result<()> {
        match state(error) {
            "25P02" | "25P01" | "57014" => Ok(()),
            _ => self.failed(error),
        }
    }
}

/// The locks of a call, each once.
fn locks(call: &Call) -> Vec<Lock> {
    let mut locks: Vec<Lock> = call.names.iter().map(|name| (key_of(name), call.exclusive)).collect();
    locks.sort_unstable();
    locks.dedup();
    locks
}

/// The number of the hot key, if a call is for one key and that is hot.
fn hot_number(names: &[Name]) -> Option<usize> {
    match names {
        [[_, number]] => number.parse().ok().filter(|&number| number < HOT),
        _ => None,
    }
}

/// The names as the text of a two-dimensional array.
fn array(names: &[Name]) -> String {
    let rows: Vec<String> = names.iter().map(|[first, second]| format!("{{{first},{second}}}")).collect();
    format!("{{{}}}", rows.join(","))
}
