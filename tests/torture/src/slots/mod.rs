//! Slots: at most so many holders of a name.

pub mod deadlocks;
pub mod kills;
mod places;
pub mod queue;
pub mod starts;
pub mod storm;
mod turn;
pub mod wakeups;

use crate::report::Report;
use crate::server::{Server, becomes_true, truth};
use anyhow::{Result, ensure};
use tokio_postgres::Client;

/// After whatever came before it, so many sessions get a slot of the name at once, and no other one.
pub async fn none_is_lost(
    server: &Server,
    report: &Report,
    name: &str,
    slots: usize,
) -> Result<()> {
    let mut granted = vec![];
    let mut sessions = vec![];
    for _ in 0..=slots {
        let (session, _) = server.connect_patiently().await?;
        let call = format!("try_lock_slot('{name}', {slots}, session => true)");
        granted.push(truth(&session, &call).await?);
        sessions.push(session);
    }
    let expected: Vec<bool> = (0..=slots).map(|number| number < slots).collect();
    report.expect(granted == expected, "no slot is lost", || {
        format!("of {slots} slots of {name}, tried one after the other: {granted:?}")
    });
    report.count("slots: names of which all slots could be had in the end", 1);
    Ok(())
}

/// Returns when the process waits for a slot of the name, as the head of the queue.
pub async fn await_head(client: &Client, pid: i32) -> Result<()> {
    // Not in the queue of any lock of Postgres, but for moments.
    let waits = format!(
        "EXISTS (SELECT FROM advisory_locks WHERE pid = {pid} AND NOT granted) \
         AND EXISTS (SELECT FROM pg_locks WHERE pid = {pid} AND granted AND locktype = 'advisory' \
             AND mode = 'ExclusiveLock' AND objsubid > 1000)"
    );
    ensure!(becomes_true(client, &waits).await?, "nobody waits for a slot");
    Ok(())
}
