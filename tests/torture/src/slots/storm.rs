//! Many clients that take slots of a few names, while a nemesis strikes at them: never more than there are slots, and
//! afterwards as many as before.

use crate::aftermath::nothing_is_left;
use crate::report::Report;
use crate::server::{Server, patiently};
use crate::session::is_lost;
use crate::slots::none_is_lost;
use crate::slots::places::{Place, Places};
use crate::slots::turn::Turn;
use anyhow::Result;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio_postgres::Client;

/// How many slots the names have; 0 where every call wants another number, from 1 to 8.
pub const NAMES: [usize; 5] = [1, 2, 3, 8, 0];

/// The name of that number, as the text of an array.
pub fn name(number: usize) -> String {
    format!("{{storm,{number}}}")
}

#[derive(Clone, Copy)]
pub struct Size {
    pub clients: usize,
    pub turns: u64,
    pub cancels: u64,
    pub terminations: u64,
    pub seed: u64,
}

/// What all clients share.
pub struct World {
    pub server: Arc<Server>,
    pub report: Arc<Report>,
    pub places: Places,
    turns: AtomicU64,
    goal: u64,
    over: AtomicBool,
    marks: Vec<Mutex<Mark>>,
}

/// What is known of a client.
#[derive(Default)]
struct Mark {
    pid: i32,
    /// What it holds for sure.
    held: Option<(usize, Place)>,
    /// Was its session told to end? Nobody knows what it holds then.
    doomed: bool,
}

impl World {
    fn mark(&self, client: usize) -> MutexGuard<'_, Mark> {
        self.marks[client].lock().expect("no task panics while it notes something")
    }

    /// Called when the client was told that it holds this.
    pub fn taken(&self, client: usize, name: usize, place: Place) {
        let mut mark = self.mark(client);
        if !mark.doomed {
            mark.held = Some((name, place));
            self.places.taken(name, place, &self.report);
        }
    }

    /// Called before the client does what may release it.
    pub fn left(&self, client: usize) {
        if let Some((name, place)) = self.mark(client).held.take() {
            self.places.left(name, place);
        }
    }

    /// Its process, which from now on holds nothing for sure.
    fn doom(&self, client: usize) -> i32 {
        let mut mark = self.mark(client);
        mark.doomed = true;
        if let Some((name, place)) = mark.held.take() {
            self.places.left(name, place);
        }
        mark.pid
    }

    fn progress(&self) -> f64 {
        self.turns.load(Relaxed) as f64 / self.goal as f64
    }
}

pub async fn run(server: &Arc<Server>, report: &Arc<Report>, size: Size) -> Result<()> {
    let world = Arc::new(World {
        server: server.clone(),
        report: report.clone(),
        places: Places::new(NAMES.len()),
        turns: AtomicU64::new(0),
        goal: size.turns,
        over: AtomicBool::new(false),
        marks: (0..size.clients).map(|_| Mutex::default()).collect(),
    });
    let (admin, _) = server.connect_patiently().await?;
    admin.batch_execute(FUNCTIONS).await?;
    let clients: Vec<_> = (0..size.clients)
        .map(|number| {
            let random = StdRng::seed_from_u64(size.seed + number as u64);
            tokio::spawn(client(world.clone(), number, random))
        })
        .collect();
    let nemesis = tokio::spawn(strike(world.clone(), size));
    let mut sessions = vec![];
    for client in clients {
        sessions.extend(client.await??);
    }
    world.over.store(true, Relaxed);
    nemesis.await??;
    report.count("slots: turns of the storm", world.turns.load(Relaxed));
    // The sessions are still there, and hold nothing.
    nothing_is_left(&admin, report, "a storm on slots").await?;
    drop(sessions);
    for (number, slots) in NAMES.into_iter().enumerate() {
        none_is_lost(server, report, &name(number), slots.max(1)).await?;
    }
    Ok(())
}

/// Takes a slot in a block that fails.
const FUNCTIONS: &str = "
    CREATE OR REPLACE FUNCTION slot_taken_and_lost(name text[], slots int, wait interval) RETURNS boolean
    LANGUAGE plpgsql AS $$
    DECLARE
      granted boolean;
    BEGIN
      granted := try_lock_slot(name, slots, wait);
      RAISE division_by_zero;
    EXCEPTION WHEN division_by_zero THEN RETURN granted;
    END $$";

/// The session that it had in the end.
async fn client(world: Arc<World>, number: usize, mut random: StdRng) -> Result<Option<Client>> {
    let mut session = connect(&world, number).await?;
    while world.progress() < 1.0 && !world.report.enough() {
        world.turns.fetch_add(1, Relaxed);
        let turn = Turn { world: &world, number, client: &session, random: &mut random };
        let Err(error) = turn.take().await else { continue };
        if is_lost(&error) {
            world.report.count("connections lost", 1);
            session = connect(&world, number).await?;
        } else {
            world.report.finding("error codes", format!("{error:?}"));
            return Ok(None);
        }
    }
    Ok(Some(session))
}

async fn connect(world: &World, number: usize) -> Result<Client> {
    // It may be struck while it is being made.
    patiently(|| async {
        let (client, pid) = world.server.connect_patiently().await?;
        *world.mark(number) = Mark { pid, ..Mark::default() };
        // The session that was lost may have left a prepared transaction.
        let gid = format!("storm {number}");
        let left =
            client.query("SELECT FROM pg_prepared_xacts WHERE gid = $1", &[&gid]).await?.len();
        if left > 0 {
            client.batch_execute(&format!("ROLLBACK PREPARED '{gid}'")).await?;
        }
        Ok(client)
    })
    .await
}

/// Strikes as often as asked for, evenly over the storm.
async fn strike(world: Arc<World>, size: Size) -> Result<()> {
    let mut random = StdRng::seed_from_u64(size.seed ^ 0xdead);
    let (client, _) = world.server.connect_patiently().await?;
    let cancel = client.prepare("SELECT pg_cancel_backend($1)").await?;
    let terminate = client.prepare("SELECT pg_terminate_backend($1)").await?;
    let strikes = size.cancels + size.terminations;
    for number in 0..strikes {
        while world.progress() < number as f64 / strikes as f64 && !world.over.load(Relaxed) {
            tokio::time::sleep(Duration::from_micros(300)).await;
        }
        if world.over.load(Relaxed) {
            break;
        }
        let victim = random.random_range(0..size.clients);
        let terminates = random.random_range(0..strikes) < size.terminations;
        let (statement, pid) = match terminates {
            true => (&terminate, world.doom(victim)),
            false => (&cancel, world.mark(victim).pid),
        };
        client.query(statement, &[&pid]).await?;
        let what = if terminates { "terminations sent" } else { "cancels sent" };
        world.report.count(&format!("slots: {what}"), 1);
    }
    Ok(())
}
