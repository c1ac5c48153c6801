//! Chains of failovers under load: the primary dies, its standby is promoted and gets a standby of its own, and so on. With
//! synchronous replication it is all one server; with asynchronous replication leases are lost, but no token comes again.

use crate::leases::clock::Watch;
use crate::leases::prepare;
use crate::leases::stopped::Stopped;
use crate::leases::storm::{lost, start};
use crate::leases::verdict::judge;
use crate::leases::world::{Way, World};
use crate::report::Report;
use crate::server::{Server, becomes_true, configure};
use anyhow::{Result, ensure};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::block_in_place;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Replication {
    Synchronous,
    Asynchronous,
}

pub async fn chain(
    server: &Server,
    report: &Arc<Report>,
    replication: Replication,
    links: usize,
    seed: u64,
) -> Result<()> {
    let primary = server.another("leases0", "")?;
    primary.create_extension().await?;
    prepare(&primary).await?;
    let is_durable = replication == Replication::Synchronous;
    let world = Arc::new(World::new(&primary, report, is_durable, true));
    let watch = Watch::begin();
    let clients = start(&world, &[Way::Direct], seed);
    let mut servers = vec![primary];
    let outcome = fail_over(server, &world, &mut servers, links).await;
    world.end();
    if outcome.is_ok() {
        for client in clients {
            client.await??;
        }
    }
    let last = servers.pop();
    last.map_or(Ok(()), |last| last.stop())?;
    outcome?;
    report.expect(!watch.was_set(), "the clock", || "somebody has set it".into());
    judge(&world);
    Ok(())
}

/// One after the other, until the chain has so many links; the last of the servers is the primary then.
async fn fail_over(
    server: &Server,
    world: &World,
    servers: &mut Vec<Server>,
    links: usize,
) -> Result<()> {
    for link in 1..=links {
        let primary = servers.last().expect("there is always one");
        let standby = block_in_place(|| server.standby_of(primary, &format!("leases{link}")))?;
        let outcome = replicate_and_die(primary, world).await;
        if outcome.is_err() {
            // The primary is stopped by who called.
            standby.stop()?;
        }
        outcome?;
        block_in_place(|| standby.promote())?;
        world.move_to(&standby.folder);
        let lost = lost(&standby, world).await?;
        match world.is_durable {
            true => world.report.expect(lost.is_empty(), "leases last", || {
                format!("lost in a synchronous failover: {lost:?}")
            }),
            false => {
                world.report.count("leases: lost in asynchronous failovers", lost.len() as u64)
            }
        }
        let kind = if world.is_durable { "synchronous" } else { "asynchronous" };
        world.report.count(&format!("leases: {kind} failovers"), 1);
        std::fs::remove_dir_all(&primary.folder)?;
        servers.push(standby);
    }
    // There is no standby to wait for any more.
    let (admin, _) = servers.last().expect("there is always one").connect_patiently().await?;
    configure(&admin, "RESET synchronous_standby_names").await?;
    tokio::time::sleep(LOAD / 2).await;
    Ok(())
}

/// So many milliseconds is the clock of a server ahead that is lost in an asynchronous failover, by the tokens in its last moments.
pub const AHEAD: i64 = 3_600_000;

/// How long a primary is under load with its standby.
const LOAD: Duration = Duration::from_millis(1500);

async fn replicate_and_die(primary: &Server, world: &World) -> Result<()> {
    let (admin, _) = primary.connect_patiently().await?;
    let mut follows = "EXISTS (SELECT FROM pg_stat_replication \
        WHERE application_name = 'walreceiver' AND state = 'streaming'"
        .to_string();
    if world.is_durable {
        configure(&admin, "SET synchronous_standby_names = 'walreceiver'").await?;
        follows += " AND sync_state = 'sync'";
    }
    ensure!(becomes_true(&admin, &(follows + ")")).await?, "the standby does not follow");
    tokio::time::sleep(LOAD).await;
    let sender: i32 = admin
        .query_one(
            "SELECT pid FROM pg_stat_replication WHERE application_name = 'walreceiver'",
            &[],
        )
        .await?
        .get(0);
    // What is committed from now on is lost.
    let cut = match world.is_durable {
        true => None,
        false => Stopped::stop(&world.stopped, sender),
    };
    if cut.is_some() {
        // What is granted for these names from now on is as if this server's clock were ahead of the next one's.
        admin
            .batch_execute(&format!(
                "UPDATE advisory_leases.lease SET token = token + {AHEAD} WHERE name LIKE 'lease-%'"
            ))
            .await?;
        tokio::time::sleep(LOAD / 5).await;
    }
    primary.kill_all().await
}
