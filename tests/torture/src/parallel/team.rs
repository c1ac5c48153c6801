//! The sessions around a parallel query, which play the cases.

use crate::parallel::WORKERS;
use crate::parallel::case::{Case, DUE_MS, Limit, Moment, marker, names, signal};
use crate::report::Report;
use crate::server::{Server, await_waiting, becomes_true, truth};
use crate::session::{array, key_of, sqlstate};
use anyhow::{Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::Rng;
use rand::rngs::StdRng;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::{Client, Error, Row};

/// After a worker's error, a leader that has not answered so long later never will.
const ANSWER: Duration = Duration::from_secs(5);

/// The sessions that it takes.
pub struct Team {
    leader: Arc<Client>,
    leader_pid: i32,
    /// Holds the lock first.
    holder: Client,
    /// Waits for it behind the leader.
    next: Arc<Client>,
    next_pid: i32,
    /// Tells the worker to fail, and looks at the others.
    observer: Client,
}

impl Team {
    pub async fn new(server: &Server) -> Result<Self> {
        let (leader, leader_pid) = server.connect_patiently().await?;
        let (holder, _) = server.connect_patiently().await?;
        let (next, next_pid) = server.connect_patiently().await?;
        let (observer, _) = server.connect_patiently().await?;
        leader.batch_execute(WORKERS).await?;
        let (leader, next) = (Arc::new(leader), Arc::new(next));
        Ok(Self { leader, leader_pid, holder, next, next_pid, observer })
    }

    /// Ends the leader, which may wait where it does not see that its client is gone.
    pub async fn end(&self) -> Result<()> {
        let end = format!("SELECT pg_terminate_backend({})", self.leader_pid);
        Ok(self.observer.batch_execute(&end).await?)
    }

    /// Plays a case, and looks at the answer, the locks and the queue.
    pub async fn play(&self, report: &Report, case: &Case, random: &mut StdRng) -> Result<()> {
        let held = key_of(&names()[1]);
        self.holder.batch_execute(&format!("SELECT pg_advisory_lock({held})")).await?;
        let fail = format!("SELECT pg_advisory_lock({})", signal());
        let release = format!("SELECT pg_advisory_unlock({held})");

        if case.moment == Moment::AtOnce {
            self.observer.batch_execute(&fail).await?;
        }
        self.leader.batch_execute(&format!("SET lock_timeout = '{}'", case.lock_timeout())).await?;
        let (leader, statement) = (self.leader.clone(), self.statement(case));
        let answer = tokio::spawn(async move { leader.query_one(&statement, &[]).await });
        if case.moment != Moment::AtOnce {
            let waiting = await_waiting(&self.holder, self.leader_pid);
            if case.limit == Limit::Due {
                // On a busy machine so short a wait can be over before it is seen.
                let _ = tokio::time::timeout(Duration::from_millis(2 * DUE_MS), waiting).await;
            } else {
                waiting.await?;
            }
        }
        let next = self.next.clone();
        let wait = format!("SELECT pg_advisory_lock({held})");
        let served = tokio::spawn(async move { next.batch_execute(&wait).await });
        await_waiting(&self.holder, self.next_pid).await?;

        if case.limit == Limit::Due && case.moment != Moment::AtOnce {
            self.until_due(case, random).await?;
        }
        let mut pause = || Duration::from_micros(random.random_range(0..1_500));
        match case.moment {
            Moment::AtOnce => {}
            Moment::Before => self.observer.batch_execute(&fail).await?,
            Moment::At => {
                let (first, second) = (pause(), pause());
                let fail = async {
                    tokio::time::sleep(first).await;
                    self.observer.batch_execute(&fail).await
                };
                let release = async {
                    tokio::time::sleep(second).await;
                    self.holder.batch_execute(&release).await
                };
                tokio::try_join!(fail, release)?;
            }
            Moment::After => {
                self.holder.batch_execute(&release).await?;
                tokio::time::sleep(pause()).await;
                self.observer.batch_execute(&fail).await?;
            }
            Moment::Stopped => {
                let leader = Pid::from_raw(self.leader_pid);
                kill(leader, Signal::SIGSTOP)?;
                let outcome = self.fail_and_release(&fail, &release, random.random()).await;
                if case.limit == Limit::Due {
                    tokio::time::sleep(Duration::from_millis(DUE_MS)).await;
                }
                kill(leader, Signal::SIGCONT)?;
                outcome?;
            }
        }
        let Ok(answer) = tokio::time::timeout(ANSWER, answer).await else {
            report.finding("parallel queries", format!("{case:?}: no answer"));
            bail!("the leader has not answered");
        };
        self.check_answer(report, case, answer?);
        self.check_locks(report, case).await?;

        if matches!(case.moment, Moment::AtOnce | Moment::Before) {
            let waits = format!(
                "EXISTS (SELECT FROM pg_locks WHERE pid = {} AND NOT granted)",
                self.next_pid
            );
            let still = truth(&self.observer, &waits).await?;
            report.expect(still, "parallel queries", || {
                format!("{case:?}: the lock was granted while it was held")
            });
            self.holder.batch_execute(&release).await?;
        }
        served.await??;
        self.check_queue(report, case).await?;
        self.observer.batch_execute("SELECT pg_advisory_unlock_all()").await?;
        report.count("workers that failed while their leader waited", 1);
        Ok(())
    }

    fn statement(&self, case: &Case) -> String {
        format!(
            "SELECT count(*), max(f), bool_or(locked) FROM ( \
               SELECT f, CASE WHEN i = 0 THEN {} END AS locked \
               FROM (SELECT i, fails(i, {}, {}, '{}') AS f FROM parallel_rows OFFSET 0) AS rows OFFSET 0) AS answers",
            case.call(),
            self.leader_pid,
            signal(),
            case.failure.0
        )
    }

    /// Returns about when the leader's wait comes to its limit.
    async fn until_due(&self, case: &Case, random: &mut StdRng) -> Result<()> {
        if case.moment == Moment::Stopped {
            return Ok(());
        }
        let statement = "SELECT extract(epoch FROM clock_timestamp() - waitstart)::float8 FROM pg_locks \
            WHERE pid = $1 AND waitstart IS NOT NULL";
        let row = self.observer.query_opt(statement, &[&self.leader_pid]).await?;
        let waited: f64 = row.map_or(0.0, |row| row.get(0));
        let aim = DUE_MS as f64 / 1000.0 + random.random_range(-0.003..0.001);
        tokio::time::sleep(Duration::from_secs_f64((aim - waited).max(0.0))).await;
        Ok(())
    }

    /// The worker fails and the lock is granted, in either order; returns when both have happened.
    async fn fail_and_release(&self, fail: &str, release: &str, fail_first: bool) -> Result<()> {
        if fail_first {
            self.observer.batch_execute(fail).await?;
        }
        self.holder.batch_execute(release).await?;
        if !fail_first {
            self.observer.batch_execute(fail).await?;
        }
        let gone = format!(
            "NOT EXISTS (SELECT FROM pg_stat_activity WHERE leader_pid = {0} AND pid <> {0})",
            self.leader_pid
        );
        ensure!(becomes_true(&self.observer, &gone).await?, "the worker does not end");
        Ok(())
    }

    /// The error is the worker's, or says that the lock could not be had in time.
    fn check_answer(&self, report: &Report, case: &Case, answer: Result<Row, Error>) {
        let error = match answer {
            Ok(row) => {
                let locked: Option<bool> = row.get(2);
                report.finding(
                    "parallel queries",
                    format!("{case:?}: answered {locked:?} though a worker has failed"),
                );
                return;
            }
            Err(error) => error,
        };
        let message = error.as_db_error().map_or("", |error| error.message());
        let own = case.blocking
            && case.limit == Limit::Due
            && sqlstate(&error) == "55P03"
            && message.starts_with("could not obtain advisory lock within");
        if own {
            report.count("workers that failed when their leader's wait had ended", 1);
        }
        report.expect(
            own || sqlstate(&error) == case.failure.0 && message.starts_with(case.failure.1),
            "parallel queries",
            || format!("{case:?}: {error:?}"),
        );
    }

    /// Nothing of the call is held or waited for. But a session-level call that has returned keeps what it took:
    /// the statement fails afterwards.
    async fn check_locks(&self, report: &Report, case: &Case) -> Result<()> {
        // An error reaches the client before transaction-level locks are released.
        self.leader.batch_execute("").await?;
        let statement = "SELECT (classid::int8 << 32) | objid::int8, granted FROM pg_locks \
            WHERE locktype = 'advisory' AND pid = $1";
        let rows = self.observer.query(statement, &[&self.leader_pid]).await?;
        let mut seen: BTreeSet<(i64, bool)> =
            rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let returned = seen.remove(&(marker(), true));
        let kept = returned && case.in_session && matches!(case.moment, Moment::At | Moment::After);
        let expected: BTreeSet<(i64, bool)> = match kept {
            true => case.names.iter().map(|name| (key_of(name), true)).collect(),
            false => BTreeSet::new(),
        };
        report.count("workers that failed after the call had returned", returned.into());
        report.expect(seen == expected, "result and reality", || {
            format!("{case:?}, returned: {returned}: pg_locks shows {seen:?}")
        });
        self.leader.batch_execute("SELECT pg_advisory_unlock_all()").await?;
        Ok(())
    }

    /// The next in the queue has the lock now; the leader can wait for it in vain, and have it afterwards.
    async fn check_queue(&self, report: &Report, case: &Case) -> Result<()> {
        let key = key_of(&names()[1]);
        let lock_timeout: String = self.leader.query_one("SHOW lock_timeout", &[]).await?.get(0);
        report.expect(lock_timeout == case.lock_timeout(), "lock_timeout", || {
            format!("{case:?}: {lock_timeout}")
        });
        let attempt = format!("try_lock_keys('{}', timeout => '3ms')", array(&case.names));
        let early = truth(&self.leader, &attempt).await?;
        let released = truth(&self.next, &format!("pg_advisory_unlock({key})")).await?;
        let late = truth(&self.leader, &attempt).await?;
        report.expect((early, released, late) == (false, true, true), "parallel queries", || {
            format!("{case:?}, afterwards: locked while held {early}, released {released}, locked when free {late}")
        });
        Ok(())
    }
}
