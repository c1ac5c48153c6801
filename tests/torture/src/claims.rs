//! Workers that claim the first free of many names: no name by two, nothing locked that is not returned, in order.

use crate::report::Report;
use crate::server::Server;
use crate::session::{is_cancel, key_of, lift_statement_timeout, sqlstate};
use anyhow::{Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::SeqCst};
use std::time::Duration;
use tokio_postgres::{Client, Error, Statement};

/// The candidates of a call: names whose numbers follow each other, the first of them in the first row.
const CLAIM: &str = "SELECT claim_keys((SELECT array_agg(ARRAY['job', i::text] ORDER BY i) \
    FROM generate_series($1::int, $1::int + $2::int - 1) AS i), $3, $4, $5)";
const HELD: &str = "SELECT (classid::int8 << 32) | objid::int8, mode FROM pg_locks \
    WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid()";

/// Calls that their statement_timeout ended.
const CANCELLED: &str = "claims: cancelled";
/// Cancels that hit the statement when the function had returned, before the answer was sent.
const LATE_CANCELS: &str = "claims: cancels after the call had returned";

/// What a call asks for.
#[derive(Debug)]
struct Call {
    /// The number of the first candidate.
    first: i32,
    candidates: i32,
    wanted: i32,
    shared: bool,
    in_session: bool,
}

impl Call {
    fn key(&self, row: i32) -> i64 {
        key_of(&["job".to_string(), (self.first + row - 1).to_string()])
    }
}

struct Worker {
    client: Client,
    claim: Statement,
    held: Statement,
}

impl Worker {
    async fn new(server: &Server) -> Result<Self> {
        let (client, _) = server.connect_patiently().await?;
        let (claim, held) = (client.prepare(CLAIM).await?, client.prepare(HELD).await?);
        Ok(Self { client, claim, held })
    }

    /// The rows that were claimed.
    async fn claim(&self, call: &Call) -> Result<Vec<i32>, Error> {
        let Call { first, candidates, wanted, shared, in_session } = call;
        let row = self
            .client
            .query_one(&self.claim, &[first, candidates, wanted, shared, in_session])
            .await?;
        Ok(row.get(0))
    }

    async fn held(&self) -> Result<BTreeSet<(i64, bool)>, Error> {
        let rows = self.client.query(&self.held, &[]).await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get::<_, &str>(1) == "ShareLock")).collect())
    }

    /// What the call returned is what is locked, the first so many of them in their order.
    async fn check(&self, report: &Report, call: &Call, rows: &[i32]) -> Result<()> {
        let expected = rows.iter().map(|&row| (call.key(row), call.shared)).collect();
        let held = self.held().await?;
        report.count("comparisons with pg_locks", 1);
        report.expect(held == expected, "claimed and locked", || {
            let besides = held.difference(&expected).count();
            format!("{call:?} returned {rows:?}: {} locked, {besides} besides", held.len())
        });
        report.expect(rows.len() <= call.wanted as usize, "claimed and locked", || {
            format!("{call:?} returned {rows:?}")
        });
        report.expect(rows.is_sorted_by(|a, b| a < b), "claims in order", || {
            format!("{call:?} returned {rows:?}")
        });
        Ok(())
    }

    async fn unlock(&self) -> Result<()> {
        Ok(self.client.batch_execute("ROLLBACK; SELECT pg_advisory_unlock_all()").await?)
    }
}

/// So many workers, each with so many calls.
pub async fn by_many(
    server: &Arc<Server>,
    report: &Arc<Report>,
    candidates: i32,
    calls: usize,
    seed: u64,
) -> Result<()> {
    const WORKERS: u64 = 32;
    // For each candidate, how many hold it shared; -1 stands for one who holds it exclusively.
    let owners: Arc<Vec<AtomicI32>> =
        Arc::new((0..candidates).map(|_| AtomicI32::new(0)).collect());
    let claimed = Arc::new(AtomicU64::new(0));
    let worker = |number: u64| {
        let (server, report) = (server.clone(), report.clone());
        let (owners, claimed) = (owners.clone(), claimed.clone());
        async move {
            let mut random = StdRng::seed_from_u64(seed + number);
            let worker = Worker::new(&server).await?;
            // Calls of these do not live long; at session level, where that ends nothing else.
            let hurried = number.is_multiple_of(4);
            for _ in 0..calls {
                if report.enough() {
                    break;
                }
                // All of them begin to look at the first candidate, or chance has it.
                let first =
                    if random.random_bool(0.5) { 0 } else { random.random_range(0..candidates) };
                let call = Call {
                    first,
                    candidates: candidates - first,
                    wanted: random.random_range(1..=10),
                    shared: random.random_bool(0.1),
                    in_session: hurried || random.random_bool(0.5),
                };
                if !call.in_session {
                    worker.client.batch_execute("BEGIN").await?;
                }
                if hurried {
                    let limit = random.random_range(1..8);
                    worker
                        .client
                        .batch_execute(&format!("SET statement_timeout = {limit}"))
                        .await?;
                }
                let answer = worker.claim(&call).await;
                if hurried {
                    lift_statement_timeout(&worker.client).await?;
                }
                let rows = match answer {
                    Ok(rows) => rows,
                    Err(error) if is_cancel(&error) => {
                        given_back(&report, &worker, &call).await?;
                        continue;
                    }
                    Err(error) => {
                        report
                            .finding("error codes", format!("{} from {call:?}", sqlstate(&error)));
                        worker.unlock().await?;
                        continue;
                    }
                };
                claimed.fetch_add(rows.len() as u64, SeqCst);
                let owners_of = || rows.iter().map(|&row| &owners[(call.first + row - 1) as usize]);
                for owner in owners_of() {
                    let before = match call.shared {
                        true => owner.fetch_add(1, SeqCst),
                        false => owner.swap(-1, SeqCst),
                    };
                    let alone = if call.shared { before >= 0 } else { before == 0 };
                    report.expect(alone, "claimed by two", || format!("{call:?} on {before}"));
                }
                worker.check(&report, &call, &rows).await?;
                if random.random_bool(0.3) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                for owner in owners_of() {
                    match call.shared {
                        true => owner.fetch_sub(1, SeqCst),
                        false => owner.swap(0, SeqCst),
                    };
                }
                worker.unlock().await?;
            }
            anyhow::Ok(())
        }
    };
    let workers: Vec<_> = (0..WORKERS).map(|number| tokio::spawn(worker(number))).collect();
    for worker in workers {
        worker.await??;
    }
    report.count("claims: calls of workers", WORKERS * calls as u64);
    report.count("claims: names claimed", claimed.load(SeqCst));
    let (late, all) = (report.get(LATE_CANCELS), report.get(CANCELLED));
    report.expect(late <= 5 + all / 50, "claimed and locked", || {
        format!("{late} of {all} cancels left a lock behind")
    });
    ensure!(claimed.load(SeqCst) > 0, "nothing was claimed");
    Ok(())
}

/// After an error nothing is locked, unless that came when a call at session level had returned, which is rare.
async fn given_back(report: &Report, worker: &Worker, call: &Call) -> Result<()> {
    let held = worker.held().await?;
    report.count(CANCELLED, 1);
    report.count(LATE_CANCELS, (!held.is_empty() && call.in_session).into());
    report.expect(held.is_empty() || call.in_session, "claimed and locked", || {
        format!("{} locked after {call:?} was cancelled", held.len())
    });
    worker.unlock().await
}

/// Nobody else is there who changes anything, so it is known which are the first free ones.
pub async fn first_free(server: &Server, report: &Report, calls: usize, seed: u64) -> Result<()> {
    const CANDIDATES: i32 = 60;
    let mut random = StdRng::seed_from_u64(seed);
    let (holder, worker) = (Worker::new(server).await?, Worker::new(server).await?);
    for _ in 0..calls {
        // 0 free, 1 shared, 2 exclusive, 3 and 4 shared and exclusive by the worker itself
        let states: Vec<i32> = (0..CANDIDATES)
            .map(|_| if random.random_bool(0.4) { random.random_range(1..5) } else { 0 })
            .collect();
        for (client, wanted) in [(&holder, [1, 2]), (&worker, [3, 4])] {
            let calls: Vec<String> = (0..CANDIDATES)
                .zip(&states)
                .filter(|(_, state)| wanted.contains(state))
                .map(|(number, state)| {
                    format!(
                        "lock_keys('{{job,{number}}}', shared => {}, session => true)",
                        *state == wanted[0]
                    )
                })
                .collect();
            if !calls.is_empty() {
                let statement = format!("SELECT {}", calls.join(", "));
                client.client.batch_execute(&statement).await?;
            }
        }
        let call = Call {
            first: 0,
            candidates: CANDIDATES,
            wanted: random.random_range(1..=CANDIDATES),
            shared: random.random_bool(0.5),
            in_session: random.random_bool(0.5),
        };
        let free: Vec<i32> = (1..=CANDIDATES)
            .zip(&states)
            .filter(|(_, state)| **state == 0 || call.shared && **state == 1)
            .map(|(row, _)| row)
            .take(call.wanted as usize)
            .collect();
        let before = worker.held().await?;
        worker.client.batch_execute("BEGIN").await?;
        let rows = worker.claim(&call).await?;
        let mut expected = before;
        expected.extend(rows.iter().map(|&row| (call.key(row), call.shared)));
        let held = worker.held().await?;
        report.expect(rows == free, "claims in order", || {
            format!("{call:?} returned {rows:?} instead of {free:?}")
        });
        report.expect(held == expected, "claimed and locked", || {
            format!("{call:?} returned {rows:?} and locked others")
        });
        worker.unlock().await?;
        holder.unlock().await?;
    }
    report.count("claims: calls that were foretold", calls as u64);
    Ok(())
}
