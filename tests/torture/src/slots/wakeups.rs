//! Who waits for a slot is woken when one gets free. A head that nobody wakes looks after 100 ms, so a wake-up that is
//! missed shows as a delay.

use crate::report::Report;
use crate::server::Server;
use crate::slots::await_head;
use anyhow::Result;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_postgres::Client;

/// Later than this, it was not the wake-up.
const AT_ONCE: Duration = Duration::from_millis(50);

/// How a slot is taken, and how it gets free; `end`: by the end of the session.
const WAYS: [(&str, &str); 12] = [
    ("BEGIN; SELECT lock_slot('{wake}', 1)", "COMMIT"),
    ("BEGIN; SELECT lock_slot('{wake}', 1)", "ROLLBACK"),
    ("BEGIN; SELECT lock_slot('{wake}', 1)", "SELECT 1 / 0"),
    ("BEGIN; SAVEPOINT a; SELECT lock_slot('{wake}', 1)", "ROLLBACK TO a"),
    ("BEGIN; SAVEPOINT a; SELECT lock_slot('{wake}', 1); SAVEPOINT b; RELEASE a", "COMMIT"),
    ("SELECT lock_slot('{wake}', 1, session => true)", "SELECT unlock_slot('{wake}')"),
    (
        "BEGIN; SELECT lock_slot('{wake}', 1, session => true)",
        "SELECT unlock_keys('{wake}', shared => true)",
    ),
    ("SELECT lock_slot('{wake}', 1, session => true)", "SELECT pg_advisory_unlock_all()"),
    ("SELECT lock_slot('{wake}', 1, session => true)", "DISCARD ALL"),
    ("BEGIN; SELECT lock_keys('{wake}')", "COMMIT"),
    ("SELECT lock_slot('{wake}', 1, session => true)", END),
    ("BEGIN; SELECT lock_slot('{wake}', 1)", END),
];
const END: &str = "end";

/// Each way to let go of a slot wakes the head of the queue.
pub async fn each_way(server: &Server, report: &Report) -> Result<()> {
    const TRIALS: usize = 5;
    for (take, release) in WAYS {
        let mut took = vec![];
        // An idle machine is asked for; whoever is disturbed may try again.
        for _ in 0..4 {
            took.clear();
            for _ in 0..TRIALS {
                took.push(one_way(server, take, release).await?);
            }
            took.sort();
            if took[TRIALS / 2] < AT_ONCE {
                break;
            }
        }
        report.expect(took[TRIALS / 2] < AT_ONCE, "woken at once", || {
            format!("{take}, {release}: granted after {took:?}")
        });
    }
    report.count("slots: ways to let go that woke the head", WAYS.len() as u64);
    Ok(())
}

/// How long it takes from the release to the grant.
async fn one_way(server: &Server, take: &str, release: &str) -> Result<Duration> {
    let (holder, pid) = server.connect_patiently().await?;
    let (waiter, waiter_pid) = server.connect_patiently().await?;
    let (admin, _) = server.connect_patiently().await?;
    holder.batch_execute(take).await?;
    let granted = tokio::spawn(async move {
        waiter.batch_execute("BEGIN; SELECT lock_slot('{wake}', 1)").await?;
        let granted = Instant::now();
        waiter.batch_execute("COMMIT").await?;
        anyhow::Ok(granted)
    });
    if take.contains("lock_keys") {
        crate::server::await_waiting(&admin, waiter_pid).await?;
    } else {
        await_head(&admin, waiter_pid).await?;
    }
    let released = Instant::now();
    if release == END {
        admin.execute("SELECT pg_terminate_backend($1)", &[&pid]).await?;
    } else {
        // One of them is an error.
        let _ = holder.batch_execute(release).await;
    }
    Ok(granted.await??.saturating_duration_since(released))
}

/// Two sessions that take turns, the release of one and the arrival of the other as close together as chance has
/// it: the moment between the look of a head and its sleep is where a wake-up could be missed.
pub async fn turns(
    server: &Arc<Server>,
    report: &Arc<Report>,
    turns: u64,
    seed: u64,
) -> Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut sessions = [server.connect_patiently().await?.0, server.connect_patiently().await?.0];
    sessions[0].batch_execute("SELECT lock_slot('{turns}', 1, session => true)").await?;
    let (mut late, mut longest) = (0, Duration::ZERO);
    for _ in 0..turns {
        let [holder, waiter] = sessions;
        let granted = tokio::spawn(async move {
            waiter.batch_execute("SELECT lock_slot('{turns}', 1, session => true)").await?;
            anyhow::Ok((waiter, Instant::now()))
        });
        spin(Duration::from_micros(random.random_range(0..400))).await;
        let released = Instant::now();
        unlock(&holder).await?;
        let (waiter, granted) = granted.await??;
        let took = granted.saturating_duration_since(released);
        late += u64::from(took >= AT_ONCE);
        longest = longest.max(took);
        sessions = [waiter, holder];
    }
    report.count("slots: turns of two", turns);
    report.count("slots: turns of two, of which later than 50 ms", late);
    report.highest("slots: turns of two, microseconds of the longest", longest.as_micros() as u64);
    report.expect(late <= turns / 20, "woken at once", || {
        format!("{late} of {turns} turns took longer than {AT_ONCE:?}")
    });
    Ok(())
}

async fn unlock(client: &Client) -> Result<()> {
    Ok(client.batch_execute("SELECT unlock_slot('{turns}')").await?)
}

/// Waits this long, without sleep.
async fn spin(time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        tokio::task::yield_now().await;
    }
}
