//! When all is over, nothing is left behind: no backend, and no lock.

use crate::report::Report;
use crate::server::{PATIENCE, Server, becomes_true};
use anyhow::Result;
use std::time::{Duration, Instant};
use tokio_postgres::Client;

/// When all clients are gone, so are their backends, and no lock is left but those of prepared transactions.
pub async fn nobody_is_left(server: &Server, report: &Report) -> Result<()> {
    let (admin, _) = server.connect_patiently().await?;
    let end = Instant::now() + PATIENCE;
    loop {
        let others: i64 = admin
            .query_one(
                "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
                &[],
            )
            .await?
            .get(0);
        if others == 0 {
            break;
        }
        if Instant::now() > end {
            report.finding("backends that do not end", format!("{others} backends"));
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let left: i64 = admin
        .query_one(
            "SELECT count(*) FROM pg_locks AS l WHERE locktype = 'advisory' \
             AND NOT EXISTS (SELECT FROM pg_prepared_xacts WHERE l.virtualtransaction = '-1/' || transaction)",
            &[],
        )
        .await?
        .get(0);
    report.expect(left == 0, "locks left behind", || format!("{left} rows in pg_locks"));
    Ok(())
}

/// No call is running: nobody holds or awaits any advisory lock, neither on a key nor behind the slots of one.
pub async fn nothing_is_left(client: &Client, report: &Report, after: &str) -> Result<()> {
    const NONE: &str = "NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory')";
    let rows = "coalesce((SELECT string_agg(concat_ws(' ', pid, objsubid, mode, granted), ', ') FROM pg_locks \
        WHERE locktype = 'advisory'), '')";
    // Who is told of an error may be told a moment before the transaction has ended.
    if becomes_true(client, NONE).await? {
        return Ok(());
    }
    let rows: String = client.query_one(&format!("SELECT {rows}"), &[]).await?.get(0);
    report.finding("locks left behind", format!("after {after}: {rows}"));
    Ok(())
}
