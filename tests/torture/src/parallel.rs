//! Parallel queries: their leader waits for a lock while a worker raises an error, before, at and after the grant.
//! The error reaches the client as it is, nothing stays held, and the queue goes on.

use crate::report::Report;
use crate::server::{Server, await_waiting, becomes_true, truth};
use crate::session::{Name, array, key_of, name, state};
use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::{Client, Error, Row};

/// SQLSTATEs of a worker's errors, and how the messages that come with them begin.
const FAILURES: [(&str, &str); 8] = [
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
enum Moment {
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

const MOMENTS: [Moment; 5] =
    [Moment::AtOnce, Moment::Before, Moment::At, Moment::After, Moment::Stopped];

/// How long the leader may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    None,
    Long,
    /// Until the very moment of the worker's error.
    Due,
}

/// After a worker's error, a leader that has not answered so long later never will.
const ANSWER: Duration = Duration::from_secs(5);

const LONG_MS: u64 = 20_000;
const DUE_MS: u64 = 40;

#[derive(Debug)]
struct Case {
    failure: (&'static str, &'static str),
    moment: Moment,
    limit: Limit,
    /// The limit is `lock_timeout`, else the argument.
    by_setting: bool,
    names: Vec<Name>,
    in_session: bool,
    exclusive: bool,
    /// `lock_keys`, else `try_lock_keys`.
    blocking: bool,
}

impl Case {
    /// The value of `lock_timeout`, which the call has to leave as it is.
    fn lock_timeout(&self) -> &'static str {
        match self.limit {
            Limit::None => "0",
            _ if !self.by_setting => "7ms",
            Limit::Long => "20s",
            Limit::Due => "40ms",
        }
    }

    /// True when it has locked; then it locks the marker too, which shows that the call has returned.
    fn call(&self) -> String {
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

fn marker() -> i64 {
    key_of(&name(6_000_010))
}

/// While this is locked, workers raise their errors.
fn signal() -> i64 {
    key_of(&name(6_000_011))
}

/// Three names in the order of their keys.
fn names() -> [Name; 3] {
    let mut names = [6_000_000, 6_000_001, 6_000_002].map(name);
    names.sort_by_key(key_of);
    names
}

/// A table whose rows come from a worker; it fails at one of them. So many rows before that make the leader
/// begin with the first, and fit into the queue between the two.
const SCHEMA: &str = "
    CREATE TABLE parallel_rows WITH (parallel_workers = 2) AS SELECT i FROM generate_series(0, 200) AS i;
    ANALYZE parallel_rows;
    CREATE FUNCTION fails(i int, leader int, signal bigint, failure text) RETURNS text LANGUAGE plpgsql PARALLEL SAFE AS $$
    BEGIN
      IF leader = pg_backend_pid() THEN
        RAISE 'there is no worker';
      ELSIF i = 100 THEN
        WHILE NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND (classid::bigint << 32) | objid::bigint = signal) LOOP
          PERFORM pg_sleep(0.0002);
        END LOOP;
        CASE failure
          WHEN '22012' THEN PERFORM 1 / 0;
          WHEN '57P01' THEN PERFORM pg_terminate_backend(pg_backend_pid()), pg_sleep(10);
          ELSE RAISE 'the worker says no' USING ERRCODE = failure;
        END CASE;
      END IF;
      RETURN repeat('x', 400);
    END $$;
    CREATE FUNCTION runs(leader int, statement text) RETURNS text LANGUAGE plpgsql PARALLEL SAFE AS $$
    DECLARE result text;
    BEGIN
      IF leader = pg_backend_pid() THEN
        RAISE 'there is no worker';
      END IF;
      EXECUTE statement INTO result;
      RETURN result;
    END $$;";

/// Workers do all the work below the Gather node; as the table has one page, one of them.
const WORKERS: &str = "SET max_parallel_workers_per_gather = 2; SET parallel_leader_participation = off; \
    SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; \
    SET advisory_keys.warn_short_locks = off";

pub async fn prepare(server: &Server) -> Result<()> {
    let (client, _) = server.connect_patiently().await?;
    Ok(client.batch_execute(SCHEMA).await?)
}

struct Team {
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

/// So many of each error at each moment at each level, in calls that are else random.
pub async fn workers_fail(server: &Server, report: &Report, times: usize, seed: u64) -> Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    let (leader, leader_pid) = server.connect_patiently().await?;
    let (holder, _) = server.connect_patiently().await?;
    let (next, next_pid) = server.connect_patiently().await?;
    let (observer, _) = server.connect_patiently().await?;
    leader.batch_execute(WORKERS).await?;
    let (leader, next) = (Arc::new(leader), Arc::new(next));
    let team = Team { leader, leader_pid, holder, next, next_pid, observer };
    for _ in 0..times {
        for failure in FAILURES {
            for moment in MOMENTS {
                for in_session in [false, true] {
                    let [first, middle, last] = names();
                    let case = Case {
                        failure,
                        moment,
                        limit: *[Limit::None, Limit::Long, Limit::Due]
                            .choose(&mut random)
                            .expect("a choice"),
                        by_setting: random.random(),
                        names: match random.random() {
                            true => vec![middle],
                            false => vec![last, middle, first],
                        },
                        in_session,
                        exclusive: random.random(),
                        blocking: random.random(),
                    };
                    let played = team.play(report, &case, &mut random).await;
                    if played.is_err() {
                        // It may wait where it does not see that its client is gone.
                        let end = format!("SELECT pg_terminate_backend({leader_pid})");
                        team.observer.batch_execute(&end).await?;
                    }
                    played.with_context(|| format!("{case:?}"))?;
                }
            }
        }
    }
    Ok(())
}

impl Team {
    async fn play(&self, report: &Report, case: &Case, random: &mut StdRng) -> Result<()> {
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
            && state(&error) == "55P03"
            && message.starts_with("could not obtain advisory lock within");
        if own {
            report.count("workers that failed when their leader's wait had ended", 1);
        }
        report.expect(
            own || state(&error) == case.failure.0 && message.starts_with(case.failure.1),
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

/// Functions that lock or look at locks are refused in a worker itself.
pub async fn calls_in_workers(server: &Server, report: &Report) -> Result<()> {
    let (client, pid) = server.connect_patiently().await?;
    client.batch_execute(WORKERS).await?;
    for call in [
        "try_lock_keys(''{worker}'')",
        "try_lock_keys(''{worker}'', timeout => ''1s'', session => true)",
        "lock_keys(''{worker}'', shared => true)",
        "lock_keys(''{{worker},{other}}'', session => true)",
        "unlock_keys(''{worker}'')",
        "release_keys(''{worker}'')",
        "holds_keys(''{worker}'')",
        "keys_available(''{worker}'')",
        "claim_keys(''{worker}'')",
        "try_lock_slot(''{worker}'', 2)",
        "lock_slot(''{worker}'', 2, session => true)",
        "unlock_slot(''{worker}'')",
        "slots_held(''{worker}'')",
    ] {
        let statement = format!("SELECT max(runs({pid}, 'SELECT {call}')) FROM parallel_rows");
        let answer = client.query_one(&statement, &[]).await;
        let code = answer.as_ref().err().map_or("no error", state);
        report.expect(code == "25000", "parallel queries", || {
            format!("{code} from {call} in a worker")
        });
        let none = "NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory')";
        report.expect(truth(&client, none).await?, "result and reality", || {
            format!("{call} in a worker has left a lock")
        });
        report.count("calls in a worker", 1);
    }
    Ok(())
}
