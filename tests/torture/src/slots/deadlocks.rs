//! Deadlocks through slots, which Postgres does not see: each is found in time, and none is made up.

use crate::report::Report;
use crate::server::{Server, await_waiting};
use crate::session::sqlstate;
use anyhow::Result;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Error};

/// The `deadlock_timeout` of the sessions that wait here for an error.
const TIMEOUT: Duration = Duration::from_millis(500);
/// By then there has to be one: twice as long, and what a busy machine takes.
const LATEST: Duration = Duration::from_millis(1_300);

/// How a call that waits ended, and how long after it began.
type Waiting = JoinHandle<Result<(Result<(), Error>, Duration)>>;

/// Begins a call that ends its transaction at once, whatever comes of it.
fn begin(client: Client, statement: String) -> Waiting {
    tokio::spawn(async move {
        let begun = Instant::now();
        let outcome = client.batch_execute(&statement).await;
        let took = begun.elapsed();
        client.batch_execute("ROLLBACK").await?;
        Ok((outcome, took))
    })
}

async fn session(server: &Server) -> Result<(Client, i32)> {
    let (client, pid) = server.connect_patiently().await?;
    // What is not found ends some time.
    let settings = format!(
        "SET deadlock_timeout = {}; SET statement_timeout = '10s'; BEGIN",
        TIMEOUT.as_millis()
    );
    client.batch_execute(&settings).await?;
    Ok((client, pid))
}

/// Who got an error, and that it was the right one and came in time. An idle machine is asked for: whoever is
/// disturbed may be late in one of three attempts.
struct Verdict {
    victims: Vec<usize>,
    late: Option<Duration>,
}

async fn verdict(report: &Report, waiting: Vec<Waiting>) -> Result<Verdict> {
    let mut verdict = Verdict { victims: vec![], late: None };
    for (number, call) in waiting.into_iter().enumerate() {
        let (outcome, took) = call.await??;
        if let Err(error) = outcome {
            report.expect(sqlstate(&error) == "40P01", "deadlocks through slots", || {
                format!("{error:?}")
            });
            verdict.victims.push(number);
            if took > LATEST {
                verdict.late = Some(took);
            }
        }
    }
    Ok(verdict)
}

/// The scenes, each with the numbers of those of whom one has to get an error.
pub async fn found(server: &Server, report: &Report, seed: u64) -> Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    let (admin, _) = server.connect_patiently().await?;
    admin
        .batch_execute(
            "CREATE TABLE IF NOT EXISTS stuck (id int PRIMARY KEY, n int);
             INSERT INTO stuck VALUES (1, 0), (2, 0) ON CONFLICT DO NOTHING",
        )
        .await?;
    for scene in [Scene::TooFewLive, Scene::Mixed, Scene::Culprit(random.random_range(1..10))] {
        let mut late = None;
        for _ in 0..3 {
            let waiting = scene.play(server, &admin).await?;
            let verdict = verdict(report, waiting).await?;
            let expected = match scene {
                Scene::TooFewLive => verdict.victims == [0],
                Scene::Mixed => verdict.victims.len() == 1,
                Scene::Culprit(place) => verdict.victims == [place],
            };
            report.expect(expected, "deadlocks through slots", || {
                format!("{scene:?}: the victims are {:?}", verdict.victims)
            });
            report.count("slots: deadlocks", 1);
            late = verdict.late;
            if late.is_none() {
                break;
            }
        }
        report.expect(late.is_none(), "deadlocks through slots", || {
            format!("{scene:?}: found after {late:?}, deadlock_timeout is {TIMEOUT:?}")
        });
    }
    Ok(())
}

#[derive(Clone, Copy, Debug)]
enum Scene {
    /// A waiter for the only slot, which three hold; one of them waits for what the waiter holds.
    TooFewLive,
    /// A slot, a lock and a row.
    Mixed,
    /// Ten waiters for a slot, of whom the one at this place holds what the holder of the slot waits for.
    Culprit(usize),
}

/// In time for what waits, in the queue or at its head.
async fn settled(admin: &Client, pid: i32) -> Result<()> {
    let waits = format!("EXISTS (SELECT FROM advisory_locks WHERE pid = {pid} AND NOT granted)");
    anyhow::ensure!(crate::server::becomes_true(admin, &waits).await?, "nobody waits");
    Ok(())
}

impl Scene {
    async fn play(self, server: &Server, admin: &Client) -> Result<Vec<Waiting>> {
        match self {
            Scene::TooFewLive => {
                let (waiter, waiter_pid) = session(server).await?;
                waiter.batch_execute("UPDATE stuck SET n = n + 1 WHERE id = 1").await?;
                let mut holders = vec![];
                for _ in 0..3 {
                    let (holder, pid) = session(server).await?;
                    holder.batch_execute("SELECT lock_slot('{few}', 3)").await?;
                    holders.push((holder, pid));
                }
                let (blocked, pid) = holders.remove(0);
                let blocked = begin(blocked, "UPDATE stuck SET n = n + 1 WHERE id = 1".to_string());
                await_waiting(admin, pid).await?;
                let waiting = begin(waiter, "SELECT lock_slot('{few}', 1)".to_string());
                settled(admin, waiter_pid).await?;
                // The others go later than a deadlock has to be found.
                tokio::spawn(async move {
                    tokio::time::sleep(LATEST).await;
                    drop(holders);
                });
                Ok(vec![waiting, blocked])
            }
            Scene::Mixed => {
                let (slot, slot_pid) = session(server).await?;
                let (lock, lock_pid) = session(server).await?;
                let (row, _) = session(server).await?;
                slot.batch_execute("SELECT lock_slot('{mixed,slot}', 1)").await?;
                lock.batch_execute("SELECT lock_keys('{mixed,lock}')").await?;
                row.batch_execute("UPDATE stuck SET n = n + 1 WHERE id = 2").await?;
                let first = begin(slot, "SELECT lock_keys('{mixed,lock}')".to_string());
                await_waiting(admin, slot_pid).await?;
                let second = begin(lock, "UPDATE stuck SET n = n + 1 WHERE id = 2".to_string());
                await_waiting(admin, lock_pid).await?;
                let third = begin(row, "SELECT lock_slot('{mixed,slot}', 1)".to_string());
                Ok(vec![first, second, third])
            }
            Scene::Culprit(place) => {
                let (holder, holder_pid) = session(server).await?;
                holder.batch_execute("SELECT lock_slot('{culprit}', 1)").await?;
                let mut waiting = vec![];
                let mut sessions = vec![];
                for _ in 0..10 {
                    sessions.push(session(server).await?);
                }
                sessions[place].0.batch_execute("SELECT lock_keys('{culprit,has}')").await?;
                let blocked = begin(holder, "SELECT lock_keys('{culprit,has}')".to_string());
                await_waiting(admin, holder_pid).await?;
                for (client, pid) in sessions {
                    waiting.push(begin(client, "SELECT lock_slot('{culprit}', 1)".to_string()));
                    settled(admin, pid).await?;
                }
                waiting.push(blocked);
                Ok(waiting)
            }
        }
    }
}

/// A load that takes all it takes in one order, so that no deadlock is possible, with a `deadlock_timeout` of 1 ms:
/// nobody gets an error.
pub async fn not_made_up(
    server: &Arc<Server>,
    report: &Arc<Report>,
    transactions: u64,
    seed: u64,
) -> Result<()> {
    const CLIENTS: u64 = 16;
    let (admin, _) = server.connect_patiently().await?;
    admin
        .batch_execute(
            "CREATE TABLE IF NOT EXISTS ordered (id int PRIMARY KEY, n int);
             INSERT INTO ordered SELECT i, 0 FROM generate_series(0, 5) AS i ON CONFLICT DO NOTHING",
        )
        .await?;
    let client = |number: u64| {
        let (server, report) = (server.clone(), report.clone());
        async move {
            let mut random = StdRng::seed_from_u64(seed + number);
            let (client, _) = server.connect_patiently().await?;
            client.batch_execute("SET deadlock_timeout = '1ms'").await?;
            for _ in 0..transactions / CLIENTS {
                let mut places: Vec<usize> = (0..6).collect();
                places.shuffle(&mut random);
                places.truncate(random.random_range(1..=3));
                places.sort();
                client.batch_execute("BEGIN").await?;
                for place in places {
                    let statement = take_in_order(place, &mut random);
                    match client.batch_execute(&statement).await {
                        Err(error) if sqlstate(&error) == "40P01" => {
                            report.finding("deadlocks made up", format!("{statement}: {error:?}"));
                            break;
                        }
                        other => other?,
                    }
                }
                if random.random_bool(0.2) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                client.batch_execute("COMMIT").await?;
                if report.enough() {
                    break;
                }
            }
            anyhow::Ok(())
        }
    };
    let clients: Vec<_> = (0..CLIENTS).map(|number| tokio::spawn(client(number))).collect();
    for client in clients {
        client.await??;
    }
    report.count("slots: transactions in one order", transactions);
    Ok(())
}

/// Slots, locks and rows, each name of one kind. Who waits for a slot holds only what comes before it.
fn take_in_order(place: usize, random: &mut StdRng) -> String {
    match place {
        0 => "SELECT lock_slot('{order,0}', 1)".to_string(),
        1 => format!("SELECT lock_slot('{{order,1}}', {})", random.random_range(1..=4)),
        2 => "SELECT lock_keys('{order,2}')".to_string(),
        3 => "SELECT lock_slot('{order,3}', 3)".to_string(),
        4 => "UPDATE ordered SET n = n + 1 WHERE id = 4".to_string(),
        _ => format!("SELECT lock_slot('{{order,5}}', {})", random.random_range(1..=2)),
    }
}
