//! Many clients that want a few names, directly and through pgbouncer in transaction mode, in all isolation levels, while
//! backends are stopped, cancelled and terminated, or while the server crashes.

use crate::aftermath::nobody_is_left;
use crate::leases::client::Client;
use crate::leases::clock::Watch;
use crate::leases::nemesis;
use crate::leases::verdict::judge;
use crate::leases::world::{HOT, TTL_MS, Way, World};
use crate::pooler::Pooler;
use crate::report::Report;
use crate::server::{Server, configure, patiently, truth};
use anyhow::Result;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinHandle, block_in_place};

const CLIENTS: usize = 20;

/// Clients and a nemesis, for that time.
pub async fn under_strikes(
    server: &Server,
    report: &Arc<Report>,
    time: Duration,
    seed: u64,
) -> Result<()> {
    let world = Arc::new(World::new(server, report, true, false));
    run(server, &world, seed, async {
        // They end by themselves only if there is no need to go on.
        tokio::time::timeout(time, nemesis::strike(server, &world, seed)).await.unwrap_or(Ok(()))
    })
    .await
}

/// Clients and crashes, each after that time. No lease that is kept is lost, though nobody asks for a commit that waits
/// for the disk: those that do would bring the others' there too.
pub async fn under_crashes(
    server: &Server,
    report: &Arc<Report>,
    time: Duration,
    seed: u64,
) -> Result<()> {
    let mut world = World::new(server, report, true, true);
    world.commits = &["off"];
    let world = Arc::new(world);
    let (admin, _) = server.connect_patiently().await?;
    configure(&admin, "SET synchronous_commit = off").await?;
    run(server, &world, seed, async {
        for number in 0..4 {
            tokio::time::sleep(time).await;
            match number {
                0 => kill_a_backend(server).await?,
                1 => block_in_place(|| server.restart("fast"))?,
                2 => block_in_place(|| server.restart("immediate"))?,
                _ => server.kill_postmaster().await?,
            }
            report.count("leases: crashes", 1);
            kept(server, &world).await?;
        }
        tokio::time::sleep(time).await;
        Ok(())
    })
    .await?;
    let (admin, _) = server.connect_patiently().await?;
    configure(&admin, "RESET synchronous_commit").await?;
    for (name, token) in world.kept() {
        let released =
            truth(&admin, &format!("advisory_leases.release_lease_key('{name}', {token})")).await?;
        report
            .expect(released, "leases last", || format!("{name} could not be released in the end"));
    }
    Ok(())
}

/// Runs the clients as long as something else takes, and judges what they did.
async fn run(
    server: &Server,
    world: &Arc<World>,
    seed: u64,
    meanwhile: impl Future<Output = Result<()>>,
) -> Result<()> {
    let watch = Watch::begin();
    let pooler = Pooler::start(server, 6)?;
    let ways = [Way::Direct, Way::Pooled(pooler.folder.clone())];
    let clients = start(world, &ways, seed);
    let outcome = meanwhile.await;
    world.end();
    for client in clients {
        client.await??;
    }
    drop(pooler);
    outcome?;
    world.report.expect(!watch.was_set(), "the clock", || "somebody has set it".into());
    judge(world);
    all_are_free(server, &world.report).await
}

/// Clients by each of the ways, in turn.
pub fn start(world: &Arc<World>, ways: &[Way], seed: u64) -> Vec<JoinHandle<Result<()>>> {
    (0..CLIENTS)
        .map(|number| {
            let (world, way) = (world.clone(), ways[number % ways.len()].clone());
            tokio::spawn(async move { Client::new(&world, way, number, seed).await?.live().await })
        })
        .collect()
}

async fn kill_a_backend(server: &Server) -> Result<()> {
    let (admin, _) = server.connect_patiently().await?;
    const VICTIM: &str = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' \
        AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1";
    let victim: i32 = admin.query_one(VICTIM, &[]).await?.get(0);
    Ok(kill(Pid::from_raw(victim), Signal::SIGKILL)?)
}

/// What was kept before is still there, as it was. Returns how many are not, which nobody keeps from then on.
pub async fn lost(server: &Server, world: &World) -> Result<Vec<String>> {
    let kept = world.kept();
    const THERE: &str =
        "SELECT name, token FROM advisory_leases.leases WHERE NOT expired AND name LIKE 'kept-%'";
    // The server may notice only now that one of its processes was killed, and end this connection too.
    let rows = patiently(async || {
        let (admin, _) = server.connect_patiently().await?;
        Ok(admin.query(THERE, &[]).await?)
    })
    .await?;
    let there: std::collections::HashMap<String, i64> =
        rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let mut lost = vec![];
    for (name, token) in kept {
        let shown = name.trim_matches(['{', '}']).replace(',', "-");
        if there.get(&shown) != Some(&token) {
            world.forget(&name);
            lost.push(name);
        }
    }
    Ok(lost)
}

async fn kept(server: &Server, world: &World) -> Result<()> {
    for name in lost(server, world).await? {
        world.report.finding("leases last", format!("{name} is gone after a crash"));
    }
    Ok(())
}

/// When the last lease has ended, and nobody calls, each name is had by the first who wants it.
async fn all_are_free(server: &Server, report: &Report) -> Result<()> {
    tokio::time::sleep(Duration::from_millis(TTL_MS.end as u64)).await;
    nobody_is_left(server, report).await?;
    let (admin, _) = server.connect_patiently().await?;
    for number in 0..HOT {
        let call = format!("advisory_leases.try_lease_key('{{lease,{number}}}', '1 ms')");
        let granted = truth(&admin, &format!("{call} IS NOT NULL")).await?;
        report.expect(granted, "leases left behind", || format!("{call} after a storm"));
    }
    Ok(())
}
