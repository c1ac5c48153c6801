//! Who strikes at the clients of a load: cancels, terminations, and settings that change under them.

use crate::load::{Size, World};
use anyhow::Result;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use std::sync::Arc;
use std::time::Duration;

/// Strikes as often as asked for, evenly over the load.
pub async fn strike(world: Arc<World>, size: Size) -> Result<()> {
    let strikes = size.cancels + size.terminations;
    if strikes == 0 {
        return Ok(());
    }
    let mut random = StdRng::seed_from_u64(size.seed ^ 0xdead);
    let (client, _) = world.server.connect_patiently().await?;
    let cancel = client.prepare("SELECT pg_cancel_backend($1)").await?;
    let terminate = client.prepare("SELECT pg_terminate_backend($1)").await?;
    let (mut cancels, mut terminations) = (0, 0);
    while cancels + terminations < strikes && !world.is_over() {
        if world.progress() < (cancels + terminations) as f64 / strikes as f64 {
            tokio::time::sleep(Duration::from_micros(300)).await;
            continue;
        }
        let Some(&victim) = world.pids().choose(&mut random) else {
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        };
        let terminations_due = size.terminations * (cancels + terminations + 1) / strikes;
        let statement = if terminations < terminations_due { &terminate } else { &cancel };
        let struck: bool = client.query_one(statement, &[&victim]).await?.get(0);
        if !struck {
            // It has just ended.
        } else if terminations < terminations_due {
            terminations += 1;
        } else {
            cancels += 1;
            if cancels % 100 == 0 {
                change_settings(&client, &mut random).await?;
            }
        }
    }
    for name in CHANGED {
        client.batch_execute(&format!("ALTER SYSTEM RESET {name}")).await?;
    }
    client.batch_execute("SELECT pg_reload_conf()").await?;
    world.report.count("cancels sent", cancels);
    world.report.count("terminations sent", terminations);
    world.report.expect(cancels + terminations == strikes, "the nemesis", || {
        format!("struck {} times instead of {strikes}", cancels + terminations)
    });
    Ok(())
}

const CHANGED: [&str; 3] = ["deadlock_timeout", "log_lock_waits", "lock_timeout"];

/// New values, which reach all sessions between their statements.
async fn change_settings(client: &tokio_postgres::Client, random: &mut StdRng) -> Result<()> {
    let values = [
        format!("{}ms", random.random_range(2..100)),
        random.random_bool(0.5).to_string(),
        ["0", "3ms", "1s"].choose(random).expect("a choice").to_string(),
    ];
    for (name, value) in CHANGED.iter().zip(values) {
        client.batch_execute(&format!("ALTER SYSTEM SET {name} = '{value}'")).await?;
    }
    client.batch_execute("SELECT pg_reload_conf()").await?;
    Ok(())
}
