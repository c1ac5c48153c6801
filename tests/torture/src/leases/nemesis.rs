//! Who strikes at the clients of a storm: backends are stopped for longer than a lease lasts, cancelled and terminated,
//! wherever they happen to be.

use crate::leases::stopped::Stopped;
use crate::leases::world::{TTL_MS, World};
use crate::server::Server;
use anyhow::Result;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::time::Duration;
use tokio_postgres::Client;

pub async fn strike(server: &Server, world: &World, seed: u64) -> Result<()> {
    let random = |number| StdRng::seed_from_u64(seed ^ number);
    tokio::try_join!(
        stop(server, world, random(0xdead)),
        cancel_and_terminate(server, world, random(0xbeef))
    )?;
    Ok(())
}

async fn stop(server: &Server, world: &World, mut random: StdRng) -> Result<()> {
    let (admin, _) = server.connect_patiently().await?;
    while !world.is_over() {
        let Some(victim) = victim(&admin).await? else { continue };
        let Some(stopped) = Stopped::stop(&world.stopped, victim) else { continue };
        // It may hold any lock inside of the server meanwhile: nothing is asked of that.
        sleep_up_to(2 * TTL_MS.end as u64, &mut random).await;
        drop(stopped);
        world.report.count("leases: backends stopped", 1);
    }
    Ok(())
}

async fn cancel_and_terminate(server: &Server, world: &World, mut random: StdRng) -> Result<()> {
    let (admin, _) = server.connect_patiently().await?;
    while !world.is_over() {
        sleep_up_to(50, &mut random).await;
        let Some(victim) = victim(&admin).await? else { continue };
        let what = if random.random_bool(0.8) { "cancel" } else { "terminate" };
        admin.execute(&format!("SELECT pg_{what}_backend({victim})"), &[]).await?;
        world.report.count(&format!("leases: backends told to {what}"), 1);
    }
    Ok(())
}

/// One who is busy with leases, not another nemesis: this has the brackets.
async fn victim(admin: &Client) -> Result<Option<i32>> {
    const VICTIM: &str = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND state = 'active' \
        AND query ~ 'lease[_]key|COMMI[T]|fence[d]' ORDER BY random() LIMIT 1";
    let row = admin.query_opt(VICTIM, &[]).await?;
    if row.is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(row.map(|row| row.get(0)))
}

async fn sleep_up_to(most_ms: u64, random: &mut StdRng) {
    tokio::time::sleep(Duration::from_millis(random.random_range(0..=most_ms))).await;
}
