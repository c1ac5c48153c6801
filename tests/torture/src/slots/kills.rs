//! SIGKILL of a backend in each role at a slot. The server restarts its backends, and nothing is left of any lock.

use crate::aftermath::nothing_is_left;
use crate::report::Report;
use crate::server::{Server, await_waiting, becomes_true};
use crate::slots::{await_head, none_is_lost};
use anyhow::{Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio_postgres::Client;

#[derive(Clone, Copy, Debug)]
enum Role {
    Holder,
    Head,
    InQueue,
    ExclusiveLocker,
}

pub async fn in_each_role(server: &Server, report: &Report) -> Result<()> {
    for role in [Role::Holder, Role::Head, Role::InQueue, Role::ExclusiveLocker] {
        let (admin, _) = server.connect_patiently().await?;
        admin
            .batch_execute(
                "BEGIN; SELECT lock_slot('{killed}', 2); PREPARE TRANSACTION 'slot of the killed'",
            )
            .await?;
        let (holder, holder_pid) = server.connect_patiently().await?;
        holder.batch_execute("SELECT lock_slot('{killed}', 2, session => true)").await?;
        let head = waiter(server, "lock_slot('{killed}', 2)").await?;
        await_head(&admin, head).await?;
        let second = waiter(server, "lock_slot('{killed}', 1)").await?;
        await_waiting(&admin, second).await?;
        let locker = waiter(server, "lock_keys('{killed}')").await?;
        await_waiting(&admin, locker).await?;
        let victim = match role {
            Role::Holder => holder_pid,
            Role::Head => head,
            Role::InQueue => second,
            Role::ExclusiveLocker => locker,
        };
        kill(Pid::from_raw(victim), Signal::SIGKILL)?;
        lost(&holder).await?;
        let (admin, _) = server.connect_patiently().await?;
        // That of the prepared transaction survives.
        let one = "1 = (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory') \
            AND slots_held('{killed}') = 1";
        report.expect(becomes_true(&admin, one).await?, "prepared transactions", || {
            format!("{role:?} killed: the slot of a prepared transaction is not all that is left")
        });
        admin.batch_execute("ROLLBACK PREPARED 'slot of the killed'").await?;
        nothing_is_left(&admin, report, &format!("SIGKILL of {role:?}")).await?;
        none_is_lost(server, report, "{killed}", 2).await?;
        report.count("slots: SIGKILL, in each role", 1);
    }
    Ok(())
}

/// The process of a session that makes the call, and waits.
async fn waiter(server: &Server, call: &str) -> Result<i32> {
    let (client, pid) = server.connect_patiently().await?;
    let statement = format!("SELECT {call}");
    // It ends with the server.
    tokio::spawn(async move { client.batch_execute(&statement).await });
    Ok(pid)
}

/// Returns when the crash has reached this session.
async fn lost(client: &Client) -> Result<()> {
    for _ in 0..3_000 {
        if client.batch_execute("").await.is_err() {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    ensure!(client.is_closed(), "the server goes on after SIGKILL of a backend");
    Ok(())
}
