//! A release that races with the end of a wait: of this extension, of core's function with lock_timeout, and of
//! the wrapper that people write in PL/pgSQL. Whatever the answer is, it has to agree with what is held.

use crate::report::Report;
use crate::server::{Server, await_waiting};
use crate::session::{Session, is_cancel, key_of, name, sqlstate};
use crate::slots::await_head;
use anyhow::Result;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_postgres::Error;

/// Who locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    AdvisoryKeys,
    /// `CALL acquire_keys`.
    Acquire,
    /// A slot that another session holds, at the head of the queue.
    Slot,
    /// A slot of a name that is locked exclusively.
    SlotOfLocked,
    Core,
    Naive,
}

impl Side {
    pub fn label(self) -> &'static str {
        match self {
            Side::AdvisoryKeys => "advisory_keys",
            Side::Acquire => "acquire_keys",
            Side::Slot => "slots",
            Side::SlotOfLocked => "slots of a locked name",
            Side::Core => "core",
            Side::Naive => "naive wrapper",
        }
    }

    fn is_ours(self) -> bool {
        !matches!(self, Side::Core | Side::Naive)
    }

    /// Does an error 55P03 stand for false?
    fn raises(self) -> bool {
        matches!(self, Side::Core | Side::Acquire)
    }

    /// A lock with a timeout.
    fn statement(self, number: usize, timeout_ms: u64, in_session: bool) -> String {
        let name = name(number);
        match self {
            // Whatever was pending when the lock was granted strikes in pg_sleep() at the latest.
            Side::AdvisoryKeys => format!(
                "SELECT try_lock_keys(ARRAY['{}', '{}'], timeout => '{timeout_ms}ms', session => {in_session}), \
                 pg_sleep(0)",
                name[0], name[1]
            ),
            Side::Acquire => format!(
                "CALL acquire_keys(ARRAY['{}', '{}'], '{timeout_ms}ms', false, {in_session})",
                name[0], name[1]
            ),
            Side::Slot | Side::SlotOfLocked => format!(
                "SELECT try_lock_slot(ARRAY['{}', '{}'], 1, '{timeout_ms}ms', {in_session}), pg_sleep(0)",
                name[0], name[1]
            ),
            Side::Core => format!("SELECT pg_advisory_lock({}) IS NOT NULL", key_of(&name)),
            Side::Naive => format!("SELECT naive_try_lock({}, {timeout_ms})", key_of(&name)),
        }
    }
}

const NAIVE: &str = "
    CREATE OR REPLACE FUNCTION naive_try_lock(key bigint, milliseconds int) RETURNS boolean LANGUAGE plpgsql AS $$
    BEGIN
      PERFORM set_config('lock_timeout', milliseconds::text, true);
      PERFORM pg_advisory_lock(key);
      RETURN true;
    EXCEPTION WHEN lock_not_available THEN
      RETURN false;
    END $$";

pub async fn prepare(server: &Server) -> Result<()> {
    let (client, _) = server.connect_patiently().await?;
    client.batch_execute(NAIVE).await?;
    Ok(())
}

/// A holder and a waiter of one name.
struct Pair {
    side: Side,
    number: usize,
    /// Does the waiter lock at session level? Else in a transaction that has begun.
    in_session: bool,
    holder: Session,
    waiter: Arc<Session>,
}

impl Pair {
    async fn new(server: &Server, side: Side, number: usize, in_session: bool) -> Result<Self> {
        let holder = Session::new(server).await?;
        let waiter = Arc::new(Session::new(server).await?);
        Ok(Self { side, number, in_session, holder, waiter })
    }

    async fn hold(&self) -> Result<()> {
        let statement = match self.side {
            Side::Slot => {
                let name = name(self.number);
                format!("SELECT lock_slot(ARRAY['{}', '{}'], 1, session => true)", name[0], name[1])
            }
            _ => format!("SELECT pg_advisory_lock({})", self.key()),
        };
        Ok(self.holder.client.batch_execute(&statement).await?)
    }

    async fn release(&self) -> Result<()> {
        let function = match self.side {
            Side::Slot => "pg_advisory_unlock_shared",
            _ => "pg_advisory_unlock",
        };
        let statement = format!("SELECT {function}({})", self.key());
        Ok(self.holder.client.batch_execute(&statement).await?)
    }

    fn key(&self) -> i64 {
        key_of(&name(self.number))
    }

    /// Begins to wait; the answer comes later.
    async fn wait(&self, timeout_ms: u64) -> Result<JoinHandle<Result<bool, Error>>> {
        if self.side == Side::Core {
            self.waiter.client.batch_execute(&format!("SET lock_timeout = {timeout_ms}")).await?;
        }
        let waiter = self.waiter.clone();
        if !self.in_session {
            self.waiter.client.batch_execute("BEGIN").await?;
        }
        let statement = self.side.statement(self.number, timeout_ms, self.in_session);
        let is_call = self.side == Side::Acquire;
        Ok(tokio::spawn(async move {
            if is_call {
                waiter.client.batch_execute(&statement).await?;
                return Ok(true);
            }
            Ok(waiter.client.query_one(&statement, &[]).await?.get(0))
        }))
    }

    /// Returns when the waiter waits.
    async fn await_waiting(&self) -> Result<()> {
        match self.side {
            Side::Slot => await_head(&self.holder.client, self.waiter.pid).await,
            _ => await_waiting(&self.holder.client, self.waiter.pid).await,
        }
    }

    /// What came of a call: true if it says that it locked.
    fn answer(&self, report: &Report, result: Result<bool, Error>) -> Result<bool> {
        match result {
            Err(error) if sqlstate(&error) == "55P03" => {
                report.expect(self.side.raises() || !self.side.is_ours(), "error codes", || {
                    format!("{error:?} instead of false")
                });
                Ok(false)
            }
            Err(error) if is_cancel(&error) => Ok(false),
            other => Ok(other?),
        }
    }

    /// The answer is held against reality, and the lock released. True if they agreed.
    async fn settle(&self, answer: bool) -> Result<bool> {
        let held = !self.waiter.held().await?.is_empty();
        let release = if self.in_session { "SELECT pg_advisory_unlock_all()" } else { "ROLLBACK" };
        self.waiter.client.batch_execute(release).await?;
        Ok(held == answer)
    }
}

/// Races of a release against the timeout, so many in all.
pub async fn timeouts(
    server: &Arc<Server>,
    report: &Arc<Report>,
    side: Side,
    count: u64,
    seed: u64,
) -> Result<()> {
    const PAIRS: u64 = 4;
    let (wrong, granted) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut tasks = vec![];
    for number in 0..PAIRS {
        let (server, report) = (server.clone(), report.clone());
        let (wrong, granted) = (wrong.clone(), granted.clone());
        tasks.push(tokio::spawn(async move {
            let mut random = StdRng::seed_from_u64(seed + number);
            let pair = Pair::new(&server, side, 1_000_000 + number as usize, true).await?;
            // The moment of the release, in microseconds after the wait began: follows the results, so that half of
            // the waits end either way.
            let mut aim = 2_000.0;
            for _ in 0..count / PAIRS {
                pair.hold().await?;
                let call = pair.wait(2).await?;
                let begun = Instant::now();
                let moment = Duration::from_micros(
                    (aim + random.random_range(-400.0..400.0_f64)).max(0.0) as u64,
                );
                while begun.elapsed() < moment {
                    tokio::task::yield_now().await;
                }
                pair.release().await?;
                let answer = pair.answer(&report, call.await?)?;
                aim += if answer { 20.0 } else { -20.0 };
                granted.fetch_add(answer.into(), Ordering::Relaxed);
                if !pair.settle(answer).await? {
                    wrong.fetch_add(1, Ordering::Relaxed);
                }
            }
            anyhow::Ok(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    let (wrong, granted) = (wrong.load(Ordering::Relaxed), granted.load(Ordering::Relaxed));
    report.count(&format!("racing timeouts: {}", side.label()), count);
    report.count(&format!("racing timeouts, wrong answers: {}", side.label()), wrong);
    // Else the races were none.
    report.expect(granted > count / 20 && granted < count - count / 20, "the races", || {
        format!("{}: {granted} of {count} were granted", side.label())
    });
    if side.is_ours() {
        report.expect(wrong == 0, "result and reality", || {
            format!("{wrong} of {count} racing timeouts")
        });
    }
    Ok(())
}

/// How a wait is ended while the waiter is stopped.
#[derive(Clone, Copy, Debug)]
pub enum End {
    Timeout,
    TimeoutInTransaction,
    Cancel,
    StatementTimeout,
}

pub const ENDS: [End; 4] =
    [End::Timeout, End::TimeoutInTransaction, End::Cancel, End::StatementTimeout];

/// The race made certain: the waiter is stopped, the lock is released to it, its wait is ended, and it goes on.
pub async fn stopped(
    server: &Server,
    report: &Report,
    side: Side,
    end: End,
    number: usize,
) -> Result<()> {
    let in_session = !matches!(end, End::TimeoutInTransaction);
    let pair = Pair::new(server, side, 2_000_000 + number, in_session).await?;
    pair.hold().await?;
    if let End::StatementTimeout = end {
        pair.waiter.client.batch_execute("SET statement_timeout = '100ms'").await?;
    }
    let timeout_ms = match end {
        End::Timeout | End::TimeoutInTransaction => 100,
        End::Cancel | End::StatementTimeout => 60_000,
    };
    let call = loop {
        let call = pair.wait(timeout_ms).await?;
        let waiting = pair.await_waiting();
        if let End::Cancel = end {
            waiting.await?;
            break call;
        }
        // On a busy machine so short a wait can be over before it is seen.
        if let Ok(seen) = tokio::time::timeout(Duration::from_millis(200), waiting).await {
            seen?;
            break call;
        }
        let _ = call.await?;
    };
    let waiter = Pid::from_raw(pair.waiter.pid);
    kill(waiter, Signal::SIGSTOP)?;
    pair.release().await?;
    match end {
        End::Cancel => {
            let statement = format!("SELECT pg_cancel_backend({})", pair.waiter.pid);
            pair.holder.client.batch_execute(&statement).await?;
        }
        End::Timeout | End::TimeoutInTransaction | End::StatementTimeout => {
            tokio::time::sleep(Duration::from_millis(120)).await
        }
    }
    kill(waiter, Signal::SIGCONT)?;
    let answer = pair.answer(report, call.await?)?;
    pair.waiter.must("RESET statement_timeout").await?;
    let wrong = !pair.settle(answer).await?;
    report.count(&format!("SIGSTOP races: {}", side.label()), 1);
    report.count(&format!("SIGSTOP races, wrong answers: {}", side.label()), wrong.into());
    if side.is_ours() {
        report.expect(!wrong, "result and reality", || {
            format!("a stopped waiter, {end:?}: answered {answer}")
        });
        // The portable edition gives back what its transaction was granted so late.
        let granted = match end {
            End::Timeout => true,
            End::TimeoutInTransaction => server.is_native(),
            End::Cancel | End::StatementTimeout => false,
        };
        report.expect(answer == granted, "grants at the last moment", || {
            format!("a stopped waiter, {end:?}: answered {answer}")
        });
    }
    Ok(())
}
