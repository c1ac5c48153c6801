//! Many clients that lock and unlock at random, while a nemesis strikes at them and an eye is kept on every
//! answer.

mod history;
mod nemesis;
mod turn;

use crate::aftermath::nobody_is_left;
use crate::report::Report;
use crate::server::{Server, patiently};
use crate::session::{Session, is_lost};
use anyhow::Result;
use history::History;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering::Relaxed};
use tokio_postgres::Client;
use turn::Turn;

/// The names that everybody wants, each with a counter to protect; and how many others there are.
pub const HOT: usize = 16;
pub const COLD: usize = 10_000;

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
pub struct World {
    pub server: Arc<Server>,
    pub report: Arc<Report>,
    pub history: History,
    /// For each hot name, how often its counter was raised: surely, and perhaps (the connection broke
    /// during COMMIT).
    pub raised: [AtomicU64; HOT],
    pub perhaps: [AtomicU64; HOT],
    operations: AtomicU64,
    goal: u64,
    /// The processes of the clients; 0 for none.
    pids: Vec<AtomicI32>,
    over: AtomicBool,
}

impl World {
    /// Counts one call of a function.
    pub fn operation(&self) {
        self.operations.fetch_add(1, Relaxed);
    }

    /// How much is done, from 0 to 1.
    pub fn progress(&self) -> f64 {
        self.operations.load(Relaxed) as f64 / self.goal as f64
    }

    pub fn is_over(&self) -> bool {
        self.over.load(Relaxed)
    }

    /// The processes of the clients that are connected.
    pub fn pids(&self) -> Vec<i32> {
        self.pids.iter().map(|pid| pid.load(Relaxed)).filter(|&pid| pid != 0).collect()
    }
}

/// Cancels that hit the statement when the function had returned, before the answer was sent.
pub const LATE_CANCELS: &str = "cancels after the call had returned";

/// The tables and functions that the clients use.
pub async fn prepare(server: &Server) -> Result<()> {
    let (client, _) = server.connect_patiently().await?;
    client
        .batch_execute(
            "CREATE TABLE counter (key int PRIMARY KEY, n bigint NOT NULL);
             CREATE FUNCTION locked_and_lost(names text[], in_session boolean) RETURNS boolean
             LANGUAGE plpgsql AS $$
             DECLARE locked boolean;
             BEGIN
               locked := try_lock_keys(names, session => in_session);
               RAISE division_by_zero;
             EXCEPTION WHEN division_by_zero THEN RETURN locked;
             END $$;",
        )
        .await?;
    Ok(())
}

/// Sets the counter of each hot name to 0.
pub async fn reset_counters(client: &Client) -> Result<()> {
    client
        .batch_execute(&format!(
            "TRUNCATE counter; INSERT INTO counter SELECT i, 0 FROM generate_series(0, {}) AS i",
            HOT - 1
        ))
        .await?;
    Ok(())
}

pub async fn run(server: Arc<Server>, report: Arc<Report>, size: Size) -> Result<()> {
    let (admin, _) = server.connect_patiently().await?;
    reset_counters(&admin).await?;
    let world = Arc::new(World {
        server,
        report,
        history: History::default(),
        raised: Default::default(),
        perhaps: Default::default(),
        operations: AtomicU64::new(0),
        goal: size.operations,
        pids: (0..size.clients).map(|_| AtomicI32::new(0)).collect(),
        over: AtomicBool::new(false),
    });
    let clients: Vec<_> = (0..size.clients)
        .map(|number| {
            tokio::spawn(client(
                world.clone(),
                number,
                StdRng::seed_from_u64(size.seed + number as u64),
            ))
        })
        .collect();
    let nemesis = tokio::spawn(nemesis::strike(world.clone(), size));
    for client in clients {
        client.await??;
    }
    world.over.store(true, Relaxed);
    nemesis.await??;
    drop(admin);
    settle(&world).await?;
    nobody_is_left(&world.server, &world.report).await
}

/// Judges the holds that were recorded, and the counters that the locks protected.
async fn settle(world: &World) -> Result<()> {
    let report = &world.report;
    report.count("operations", world.operations.load(Relaxed));
    for (key, first, second) in world.history.take_conflicts() {
        report.finding("overlapping holds", format!("key {key}: {first:?} and {second:?}"));
    }
    let (admin, _) = world.server.connect_patiently().await?;
    for (key, (raised, perhaps)) in world.raised.iter().zip(&world.perhaps).enumerate() {
        let (least, most) = (raised.load(Relaxed), raised.load(Relaxed) + perhaps.load(Relaxed));
        let n: i64 =
            admin.query_one("SELECT n FROM counter WHERE key = $1", &[&(key as i32)]).await?.get(0);
        report.count("counter increments", least);
        report.expect((least..=most).contains(&(n as u64)), "lost updates", || {
            format!("counter {key} is {n}, and was raised {least} to {most} times")
        });
    }
    let (late, all) = (report.get(LATE_CANCELS), report.get("errors 57014"));
    report.expect(late <= 5 + all / 50, "result and reality", || {
        format!("{late} of {all} cancels left a lock behind")
    });
    Ok(())
}

async fn client(world: Arc<World>, number: usize, mut random: StdRng) -> Result<()> {
    let mut session = connect(&world, number).await?;
    while world.progress() < 1.0 && !world.report.enough() {
        let turn = Turn { world: &world, number, session: &mut session, random: &mut random };
        let Err(error) = turn.take().await else { continue };
        if is_lost(&error) {
            // Terminated: all is released, and a new session begins with nothing.
            world.report.count("connections lost", 1);
            session = connect(&world, number).await?;
        } else {
            world.report.finding("error codes", format!("{error:?}"));
            return Ok(());
        }
    }
    world.pids[number].store(0, Relaxed);
    check_lock_timeout(&world, number, &session).await
}

/// The value of `lock_timeout` that a client has set for itself; the others follow the configuration.
fn own_lock_timeout(number: usize) -> Option<&'static str> {
    number.is_multiple_of(2).then_some("777ms")
}

async fn connect(world: &World, number: usize) -> Result<Session> {
    world.pids[number].store(0, Relaxed);
    // The server may crash anew while a session is being made.
    let session = patiently(|| async {
        let session = Session::new(&world.server).await?;
        if let Some(value) = own_lock_timeout(number) {
            session.must(&format!("SET lock_timeout = '{value}'")).await?;
        }
        Ok(session)
    })
    .await?;
    world.pids[number].store(session.pid, Relaxed);
    Ok(session)
}

/// No wait has left its own limit behind.
async fn check_lock_timeout(world: &World, number: usize, session: &Session) -> Result<()> {
    let Some(expected) = own_lock_timeout(number) else { return Ok(()) };
    loop {
        // The nemesis may not have noticed yet that this client is done.
        match session.client.query_one("SHOW lock_timeout", &[]).await {
            Ok(row) => {
                let value: &str = row.get(0);
                world.report.expect(value == expected, "lock_timeout", || {
                    format!("{value} instead of {expected}")
                });
                return Ok(());
            }
            Err(error) if is_lost(&error) => return Ok(()),
            Err(_) => {}
        }
    }
}
