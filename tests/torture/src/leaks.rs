//! What may not stay behind in a session that lives long: locks of a call that failed half-way, and memory.

use crate::report::Report;
use crate::server::Server;
use crate::session::{Session, sqlstate};
use anyhow::{Context, Result};

/// The lock table is full in the middle of a call of many keys: an error, and nothing is kept.
pub async fn full_lock_table(server: &Server, report: &Report) -> Result<()> {
    let session = Session::new(server).await?;
    session
        .client
        .batch_execute(
            "SET advisory_keys.max_keys_per_call = 10000000; SET advisory_keys.max_keys_per_session = 0",
        )
        .await?;
    for in_session in [false, true] {
        let statement = format!(
            "SELECT try_lock_keys((SELECT array_agg(ARRAY['full', i::text]) FROM generate_series(1, 200000) AS i), \
             session => {in_session})"
        );
        let answer = session.client.query_one(&statement, &[]).await;
        let code = answer.as_ref().err().map_or("no error", sqlstate);
        report
            .expect(code == "53200", "all or nothing", || format!("a full lock table gave {code}"));
        session.check(report, "a full lock table").await?;
    }
    report.count("full lock tables", 2);
    Ok(())
}

/// A second key that cannot be had gives the first one back, at both levels.
pub async fn half_taken(server: &Server, report: &Report) -> Result<()> {
    let (holder, _) = server.connect_patiently().await?;
    let (session, other) = (Session::new(server).await?, Session::new(server).await?);
    for number in 0..8 {
        let (taken, timeout) = (number % 4, if number < 4 { "0" } else { "5ms" });
        holder
            .batch_execute(&format!("SELECT lock_keys('{{half,{taken}}}', session => true)"))
            .await?;
        for in_session in ["true", "false"] {
            session
                .client
                .batch_execute(&format!(
                    "BEGIN; SELECT try_lock_keys('{{{{half,0}},{{half,1}},{{half,2}},{{half,3}}}}', \
                     timeout => '{timeout}', session => {in_session})"
                ))
                .await?;
            session.check(report, "a call for several keys, one of which is taken").await?;
            session.client.batch_execute("COMMIT").await?;
        }
        holder.batch_execute("SELECT pg_advisory_unlock_all()").await?;
        other.check(report, "doing nothing").await?;
    }
    Ok(())
}

/// Thousands of waits in vain, locks and releases do not make a session grow.
pub async fn memory(server: &Server, report: &Report) -> Result<()> {
    let (holder, _) = server.connect_patiently().await?;
    holder.batch_execute("SELECT lock_keys('{memory}', session => true)").await?;
    let (client, pid) = server.connect_patiently().await?;
    client
        .batch_execute(
            "CREATE OR REPLACE PROCEDURE go_on(rounds int) LANGUAGE plpgsql AS $$
             BEGIN
               FOR i IN 1..rounds LOOP
                 PERFORM try_lock_keys('{memory}', timeout => '1ms', session => i % 2 = 0);
                 PERFORM lock_keys(ARRAY[['a', i::text], ['b', i::text]], session => true);
                 PERFORM unlock_keys(ARRAY[['a', i::text], ['b', i::text]]);
                 PERFORM lock_keys(ARRAY['c', i::text]);
                 COMMIT;
               END LOOP;
             END $$",
        )
        .await?;
    const ROUNDS: i64 = 1_000;
    // Measured is Postgres' contexts, and all memory, which includes what Rust allocates.
    let mut sizes = vec![];
    for _ in 0..3 {
        client.batch_execute(&format!("CALL go_on({ROUNDS})")).await?;
        let row = client
            .query_one("SELECT sum(used_bytes)::bigint FROM pg_backend_memory_contexts", &[])
            .await?;
        sizes.push([row.get(0), anonymous_memory(pid)?]);
    }
    report.count("locks, releases and waits in vain watched for memory", 3 * ROUNDS as u64);
    for (before, after) in sizes[1].iter().zip(sizes[2]) {
        report.expect(after - before < 32 * ROUNDS, "memory", || {
            format!("bytes after each {ROUNDS} rounds: {sizes:?}")
        });
    }
    Ok(())
}

/// Bytes of a process that no file stands behind.
fn anonymous_memory(pid: i32) -> Result<i64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Anonymous:"));
    let kilobytes: i64 =
        line.and_then(|line| line.split_whitespace().next()).context("no size")?.parse()?;
    Ok(1024 * kilobytes)
}
