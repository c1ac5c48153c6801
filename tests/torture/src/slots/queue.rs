//! The queue for slots: its order, beside exclusive lockers, and who need not wait.

use crate::report::Report;
use crate::server::{Server, await_waiting, truth};
use crate::slots::await_head;
use anyhow::Result;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Waiters for the only slot are served in the order in which they came.
pub async fn in_order(server: &Server, report: &Report, rounds: usize) -> Result<()> {
    const WAITERS: usize = 12;
    for _ in 0..rounds {
        let (holder, _) = server.connect_patiently().await?;
        holder.batch_execute("SELECT lock_slot('{line}', 1, session => true)").await?;
        let served = Arc::new(Mutex::new(vec![]));
        let mut waiters = vec![];
        for number in 0..WAITERS {
            let (client, pid) = server.connect_patiently().await?;
            let served = served.clone();
            waiters.push(tokio::spawn(async move {
                let call = format!("BEGIN; SELECT {}", wait(number));
                client.batch_execute(&call).await?;
                served.lock().expect("no panic").push(number);
                client.batch_execute("COMMIT").await
            }));
            match number {
                0 if server.is_native() => await_head(&holder, pid).await?,
                0 => tokio::time::sleep(Duration::from_millis(50)).await,
                _ => await_waiting(&holder, pid).await?,
            }
        }
        holder.batch_execute("SELECT unlock_slot('{line}')").await?;
        for waiter in waiters {
            waiter.await??;
        }
        let served = served.lock().expect("no panic").clone();
        report.expect(served.is_sorted(), "first come, first served", || format!("{served:?}"));
    }
    report.count("slots: queues served in order", rounds as u64);
    Ok(())
}

fn wait(number: usize) -> &'static str {
    match number % 2 {
        0 => "lock_slot('{line}', 1)",
        _ => "try_lock_slot('{line}', 1, timeout => '30s')",
    }
}

/// Nobody gets past a waiter, also who asks for more slots than it.
pub async fn nobody_gets_past(server: &Server, report: &Report) -> Result<()> {
    let (holder, _) = server.connect_patiently().await?;
    let (first, pid) = server.connect_patiently().await?;
    let (second, _) = server.connect_patiently().await?;
    holder.batch_execute("SELECT lock_slot('{past}', 1, session => true)").await?;
    let waiting = tokio::spawn(async move {
        first.batch_execute("SELECT lock_slot('{past}', 1)").await?;
        anyhow::Ok(())
    });
    match server.is_native() {
        true => await_head(&holder, pid).await?,
        false => tokio::time::sleep(Duration::from_millis(100)).await,
    }
    for timeout in ["0", "150ms"] {
        let call = format!("try_lock_slot('{{past}}', 8, timeout => '{timeout}')");
        let past = truth(&second, &call).await?;
        report.expect(!past, "first come, first served", || format!("{call} got past a waiter"));
    }
    holder.batch_execute("SELECT unlock_slot('{past}')").await?;
    waiting.await??;
    report.count("slots: tries to get past a waiter", 2);
    Ok(())
}

/// Who holds a slot or the name gets a slot again, however many there are and whoever waits.
pub async fn again(server: &Server, report: &Report) -> Result<()> {
    let (holder, _) = server.connect_patiently().await?;
    let (admin, _) = server.connect_patiently().await?;
    for (take, level) in [
        ("lock_slot('{again}', 1, session => true)", "true"),
        ("lock_slot('{again}', 1, session => true)", "false"),
        ("lock_keys('{again}', session => true)", "true"),
    ] {
        holder.batch_execute(&format!("SELECT {take}")).await?;
        let (client, pid) = server.connect_patiently().await?;
        let waiting = tokio::spawn(async move {
            client.batch_execute("BEGIN; SELECT lock_keys('{again}'); COMMIT").await?;
            anyhow::Ok(())
        });
        await_waiting(&admin, pid).await?;
        let call = format!("try_lock_slot('{{again}}', 1, session => {level})");
        let granted = truth(&holder, &call).await?;
        report.expect(granted, "no false refusal", || format!("{call} of who did {take}"));
        holder.batch_execute("SELECT pg_advisory_unlock_all()").await?;
        waiting.await??;
        report.count("slots: taken again", 1);
    }
    Ok(())
}

/// Two that lock the name exclusively, back to back, do not keep a waiter for a slot from it.
pub async fn beside_exclusive_lockers(server: &Server, report: &Report) -> Result<()> {
    const LONGEST: Duration = Duration::from_secs(2);
    let over = Arc::new(AtomicBool::new(false));
    let mut lockers = vec![];
    for _ in 0..2 {
        let (client, _) = server.connect_patiently().await?;
        let over = over.clone();
        lockers.push(tokio::spawn(async move {
            while !over.load(Relaxed) {
                client
                    .batch_execute(
                        "BEGIN; SELECT lock_keys('{beside}'); SELECT pg_sleep(0.002); COMMIT",
                    )
                    .await?;
            }
            anyhow::Ok(())
        }));
    }
    let (client, _) = server.connect_patiently().await?;
    for number in 0..10 {
        let call =
            format!("try_lock_slot('{{beside}}', 2, timeout => '{}ms')", LONGEST.as_millis());
        let granted = truth(&client, &call).await?;
        report.expect(granted, "starved by exclusive locks", || {
            format!("call {number} was not granted in {LONGEST:?}")
        });
        if !granted {
            break;
        }
    }
    over.store(true, Relaxed);
    for locker in lockers {
        locker.await??;
    }
    report.count("slots: taken beside two who lock back to back", 10);
    Ok(())
}
