//! Things that happen to clients, to servers and to the extension itself while locks are held.

use crate::process::kill_program;
use crate::report::Report;
use crate::server::{Server, becomes_true, truth};
use crate::session::sqlstate;
use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::Write;
use std::process::{Child, Stdio};

/// A client process of its own, which runs the statements and then waits for more.
fn psql(server: &Server, statements: &str) -> Result<Child> {
    let host = server.folder.display().to_string();
    let mut child = server
        .command("psql")
        .args(["-Xq", "-h", &host, "-U", "postgres", "postgres"])
        .stdin(Stdio::piped())
        .spawn()?;
    child.stdin.as_mut().context("a pipe")?.write_all(statements.as_bytes())?;
    Ok(child)
}

/// The client dies by SIGKILL: while it is idle and holds a lock, and while it waits for one.
pub async fn client_killed(server: &Server, report: &Report) -> Result<()> {
    let (admin, _) = server.connect_patiently().await?;
    const HELD: &str =
        "EXISTS (SELECT FROM advisory_locks WHERE granted AND key = advisory_key('{killed}'))";
    const AWAITED: &str =
        "EXISTS (SELECT FROM advisory_locks WHERE NOT granted AND key = advisory_key('{killed}'))";
    for level in [
        "BEGIN; SELECT lock_keys('{killed}');\n",
        "SELECT lock_keys('{killed}', session => true);\n",
    ] {
        let mut client = psql(server, level)?;
        ensure!(becomes_true(&admin, HELD).await?, "psql does not lock");
        kill_program(&mut client)?;
        let free = truth(&admin, "try_lock_keys('{killed}', timeout => '30s')").await?;
        report.expect(free, "dead clients", || {
            "a lock of a client that was killed is still held".into()
        });
        report.count("clients killed", 1);
    }
    admin.batch_execute("SELECT lock_keys('{killed}', session => true)").await?;
    for wait in [
        // A backend that waits looks for its client only if told to; else the wait goes on to its end.
        "SET client_connection_check_interval = '20ms'; SELECT lock_keys('{killed}', session => true);\n",
        "SELECT try_lock_keys('{killed}', timeout => '200ms', session => true);\n",
    ] {
        let mut client = psql(server, wait)?;
        ensure!(becomes_true(&admin, AWAITED).await?, "psql does not wait");
        kill_program(&mut client)?;
        let gone = becomes_true(&admin, &format!("NOT {AWAITED}")).await?;
        report.expect(gone, "dead clients", || "a client that was killed still waits".into());
        report.count("clients killed", 1);
    }
    Ok(())
}

/// The holder is stopped by SIGSTOP: others wait as long as they wanted, and it still holds when it goes on.
pub async fn holder_stopped(server: &Server, report: &Report) -> Result<()> {
    let (holder, pid) = server.connect_patiently().await?;
    let (other, _) = server.connect_patiently().await?;
    for level in [
        "BEGIN; SELECT lock_keys('{stopped}')",
        "COMMIT; SELECT lock_keys('{stopped}', session => true)",
    ] {
        holder.batch_execute(level).await?;
        kill(Pid::from_raw(pid), Signal::SIGSTOP)?;
        let taken = truth(&other, "try_lock_keys('{stopped}', timeout => '100ms')").await?;
        let unrelated = truth(&other, "try_lock_keys('{stopped,not}', timeout => '10s')").await?;
        kill(Pid::from_raw(pid), Signal::SIGCONT)?;
        let still = truth(&holder, "holds_keys('{stopped}')").await?;
        report.expect(!taken && unrelated && still, "stopped holders", || {
            format!("{level}: taken by another {taken}, another name free {unrelated}, still held {still}")
        });
        report.count("holders stopped", 1);
    }
    Ok(())
}

/// DROP EXTENSION while locks are held: they are core's, stay, and can be released by core's functions; the
/// extension made anew sees them.
pub async fn extension_dropped(server: &Server, report: &Report) -> Result<()> {
    let (admin, _) = server.connect_patiently().await?;
    let (holder, _) = server.connect_patiently().await?;
    let key: i64 = admin.query_one("SELECT advisory_key('{dropped}')", &[]).await?.get(0);
    let held = format!("NOT pg_try_advisory_xact_lock({key})");
    holder
        .batch_execute(
            "SELECT lock_keys('{dropped}', session => true); BEGIN; SELECT lock_keys('{dropped}')",
        )
        .await?;

    admin.batch_execute("DROP EXTENSION advisory_keys").await?;
    let while_dropped = truth(&admin, &held).await?;
    holder.batch_execute("COMMIT").await?;
    let after_commit = truth(&admin, &held).await?;
    server.create_extension().await?;
    let seen_anew = truth(&holder, "holds_keys('{dropped}')").await?
        && truth(&admin, "NOT keys_available('{dropped}')").await?;
    let released = truth(&holder, "unlock_keys('{dropped}')").await?
        && truth(&admin, "keys_available('{dropped}')").await?;
    report.expect(while_dropped && after_commit && seen_anew && released, "the extension is replaced", || {
        format!("held while dropped {while_dropped}, after COMMIT {after_commit}, seen anew {seen_anew}, released {released}")
    });
    report.count("extension dropped and made anew with locks held", 1);
    Ok(())
}

/// The library file is replaced under a session that holds and under one that waits, as by an upgrade of the
/// package: sessions of before and after exclude each other, and see each other's locks.
pub async fn library_replaced(server: &Server, report: &Report) -> Result<()> {
    let (old, old_pid) = server.connect_patiently().await?;
    let (waiter, _) = server.connect_patiently().await?;
    old.batch_execute("SELECT lock_keys('{upgrade}', session => true)").await?;
    let waiting = tokio::spawn(async move {
        truth(&waiter, "try_lock_keys('{upgrade}', timeout => '30s')").await
    });
    const AWAITED: &str =
        "EXISTS (SELECT FROM advisory_locks WHERE NOT granted AND key = advisory_key('{upgrade}'))";
    ensure!(becomes_true(&old, AWAITED).await?, "the waiter does not wait");

    server.replace_library()?;
    let (new, new_pid) = server.connect_patiently().await?;
    let excluded = !truth(&new, "try_lock_keys('{upgrade}', timeout => '5ms')").await?;
    ensure!(
        server.loaded_library(old_pid)? != server.loaded_library(new_pid)?,
        "both sessions run the same library"
    );
    let seen =
        truth(&new, "count(*) = 2 FROM advisory_locks WHERE key = advisory_key('{upgrade}')")
            .await?;
    let released = truth(&old, "unlock_keys('{upgrade}')").await?;
    let served = waiting.await??;
    let free = truth(&new, "try_lock_keys('{upgrade}', timeout => '10s')").await?;
    report.expect(excluded && seen && released && served && free, "the extension is replaced", || {
        format!("excluded {excluded}, seen {seen}, released {released}, waiter served {served}, free then {free}")
    });
    report.count("library replaced with locks held and awaited", 1);
    Ok(())
}

/// A standby has locks of its own, which outlive its promotion; of the primary's, those of prepared transactions
/// come with it.
pub async fn standby_promoted(server: &Server, report: &Report) -> Result<()> {
    let (primary, _) = server.connect_patiently().await?;
    primary.batch_execute("SELECT lock_keys('{ha}', session => true)").await?;
    primary
        .batch_execute("BEGIN; SELECT lock_keys('{prepared}'); PREPARE TRANSACTION 'ha'")
        .await?;
    let standby = server.standby()?;
    let outcome = async {
        let (client, _) = standby.connect_patiently().await?;
        let (other, _) = standby.connect_patiently().await?;
        let refused = client.query("SELECT try_lock_keys('{ha}', session => true)", &[]).await;
        let code = refused.as_ref().err().map_or("no error", sqlstate);
        report.expect(code == "55000", "promotion", || format!("{code} from a standby"));
        for session in [&client, &other] {
            session.batch_execute("SET advisory_keys.standby_locks = on").await?;
        }
        let own =
            truth(&client, "try_lock_keys('{ha}', session => true, timeout => '10ms')").await?;
        let excludes = !truth(&other, "try_lock_keys('{ha}', timeout => '10ms')").await?;
        let lsn: String = primary.query_one("SELECT pg_current_wal_lsn()::text", &[]).await?.get(0);
        ensure!(
            becomes_true(&other, &format!("pg_last_wal_replay_lsn() >= '{lsn}'")).await?,
            "the standby does not follow"
        );

        client.batch_execute("SELECT pg_promote()").await?;
        let kept = truth(&client, "holds_keys('{ha}')").await?
            && !truth(&other, "try_lock_keys('{ha}', timeout => '10ms')").await?;
        let prepared = truth(&other, "NOT try_lock_keys('{prepared}', timeout => '10ms')").await?;
        other.batch_execute("ROLLBACK PREPARED 'ha'").await?;
        let freed = truth(&other, "try_lock_keys('{prepared}', timeout => '10s')").await?;
        let released = truth(&client, "unlock_keys('{ha}')").await?
            && truth(&other, "try_lock_keys('{ha}')").await?;
        report.expect(own && excludes && kept && prepared && freed && released, "promotion", || {
            format!(
                "own locks {own}, exclusive {excludes}, kept {kept}; prepared: come with it {prepared}, freed {freed}; released {released}"
            )
        });
        anyhow::Ok(())
    };
    let outcome = outcome.await;
    standby.stop()?;
    primary.batch_execute("ROLLBACK PREPARED 'ha'").await?;
    report.count("standbys promoted", 1);
    outcome
}
