//! Waiting: in order, not too short and not too long.

use crate::report::Report;
use crate::server::Server;
use anyhow::Result;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Check (f): exclusive waiters are served in the order in which they came.
pub async fn in_order(server: &Server, report: &Report, rounds: usize) -> Result<()> {
    const WAITERS: usize = 8;
    for _ in 0..rounds {
        let (holder, _) = server.connect_patiently().await?;
        holder.batch_execute("SELECT lock_keys('{queue}', session => true)").await?;
        let served = Arc::new(Mutex::new(vec![]));
        let mut waiters = vec![];
        for number in 0..WAITERS {
            let (client, pid) = server.connect_patiently().await?;
            let served = served.clone();
            waiters.push(tokio::spawn(async move {
                client.batch_execute("BEGIN; SELECT try_lock_keys('{queue}', timeout => '30s')").await?;
                served.lock().expect("no panic").push(number);
                client.batch_execute("COMMIT").await
            }));
            let waits = format!("SELECT count(*) FROM pg_locks WHERE pid = {pid} AND NOT granted");
            while holder.query_one(&waits, &[]).await?.get::<_, i64>(0) == 0 {}
        }
        holder.batch_execute("SELECT unlock_keys('{queue}')").await?;
        for waiter in waiters {
            waiter.await??;
        }
        let served = served.lock().expect("no panic").clone();
        report.expect(served.is_sorted(), "first come, first served", || format!("{served:?}"));
    }
    report.count("queues served in order", rounds as u64);
    Ok(())
}

/// Check (g): a wait in vain ends not before its timeout, and 99 of 100 not later than 20 ms after it, on an idle
/// server.
pub async fn on_time(server: &Server, report: &Report, waits: usize) -> Result<()> {
    let (holder, _) = server.connect_patiently().await?;
    let (waiter, _) = server.connect_patiently().await?;
    holder.batch_execute("SELECT lock_keys('{clock}', session => true)").await?;
    let mut late = vec![];
    for number in 0..waits {
        let timeout = Duration::from_millis(1 + (number % 40) as u64);
        let begun = Instant::now();
        let statement = format!("SELECT try_lock_keys('{{clock}}', timeout => '{}ms')", timeout.as_millis());
        let locked: bool = waiter.query_one(&statement, &[]).await?.get(0);
        let took = begun.elapsed();
        report.expect(!locked, "result and reality", || "locked what another session holds".into());
        report.expect(took >= timeout, "on time", || format!("a wait of {timeout:?} took {took:?}"));
        late.push(took.saturating_sub(timeout));
    }
    late.sort();
    let p99 = late[waits * 99 / 100];
    report.count("timed waits", waits as u64);
    report.count("timed waits, microseconds too late (p99)", p99.as_micros() as u64);
    report.expect(p99 <= Duration::from_millis(20), "on time", || format!("p99 {p99:?} too late"));
    Ok(())
}
