//! Backends and postmasters killed under load, and restarts: what was held is gone, but for prepared transactions,
//! and everybody can go on.

use crate::load::{self, Size};
use crate::report::Report;
use crate::server::{PATIENCE, Server};
use crate::session::{key_of, name};
use anyhow::{Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_postgres::Client;

#[derive(Clone, Copy, Debug)]
pub enum Crash {
    Backend,
    Postmaster,
    RestartFast,
    RestartImmediate,
}

/// Runs a load and strikes in the middle of it.
pub async fn under_load(
    server: &Arc<Server>,
    report: &Arc<Report>,
    crash: Crash,
    seed: u64,
) -> Result<()> {
    let (client, _) = server.connect_patiently().await?;
    let prepared = name(3_000_000);
    client
        .batch_execute(&format!(
            "BEGIN; SELECT lock_keys(ARRAY['{}', '{}']); PREPARE TRANSACTION 'torture'",
            prepared[0], prepared[1]
        ))
        .await?;

    let size = Size { clients: 16, operations: 8_000, cancels: 0, terminations: 0, seed };
    let running = tokio::spawn(load::run(server.clone(), report.clone(), size));
    let victim = one_who_locks(&client).await?;
    match crash {
        Crash::Backend => kill(Pid::from_raw(victim), Signal::SIGKILL)?,
        Crash::Postmaster => server.kill_postmaster().await?,
        Crash::RestartFast => server.restart("fast")?,
        Crash::RestartImmediate => server.restart("immediate")?,
    }
    running.await??;
    report.count(&format!("crashes: {crash:?}"), 1);

    // The prepared transaction has survived, with its lock.
    let (client, _) = server.connect_patiently().await?;
    let statement = format!("SELECT pg_try_advisory_xact_lock({})", key_of(&prepared));
    let free: bool = client.query_one(&statement, &[]).await?.get(0);
    report.expect(!free, "prepared transactions", || format!("the lock was lost: {crash:?}"));
    client.batch_execute("ROLLBACK PREPARED 'torture'").await?;
    let free: bool = client.query_one(&statement, &[]).await?.get(0);
    report.expect(free, "prepared transactions", || format!("the lock was kept: {crash:?}"));
    Ok(())
}

/// The process of a client that is seen locking; some time after the first of them began.
async fn one_who_locks(client: &Client) -> Result<i32> {
    let end = Instant::now() + PATIENCE;
    let statement = "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() \
        AND backend_type = 'client backend' AND query LIKE '%lock_keys%' ORDER BY random() LIMIT 1";
    let mut seen = 0;
    loop {
        if let Some(row) = client.query_opt(statement, &[]).await? {
            seen += 1;
            if seen == 10 {
                return Ok(row.get(0));
            }
        }
        ensure!(Instant::now() < end, "no client locks");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
