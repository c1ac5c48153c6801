//! Loops that lock row after row, and would fill the lock table.

use crate::report::Report;
use crate::server::{Server, truth};
use crate::session::sqlstate;
use crate::strangers::spy::Spy;
use anyhow::Result;

/// A stranger locks each row of a large table, in one way after the other. It gets an error, and others can
/// connect and lock.
pub async fn over_rows(server: &Server, report: &Report) -> Result<()> {
    let (admin, _) = server.connect_patiently().await?;
    let stranger = Spy::new(server, "stranger").await?;
    stranger.client.batch_execute("SET client_min_messages = error").await?;
    let mut limit = None;
    for (number, (before, attempt)) in [
        ("", "SELECT lock_keys(ARRAY['row', i::text], session => true) FROM generate_series(1, 100000) AS i"),
        ("", "SELECT lock_keys(ARRAY['more', i::text], session => true) FROM generate_series(1, 100000) AS i"),
        ("", "SELECT lock_keys(ARRAY['row', i::text], shared => true, session => true) FROM generate_series(1, 100000) AS i"),
        ("", "SELECT try_lock_keys(ARRAY['row1', i::text]) FROM generate_series(1, 100000) AS i"),
        ("SELECT release_keys((SELECT array_agg(ARRAY['row', i::text]) FROM generate_series(1, 900) AS i)); \
          BEGIN; SELECT lock_keys((SELECT array_agg(ARRAY['row2', i::text]) FROM generate_series(1, 900) AS i)); SAVEPOINT s",
         "SELECT try_lock_keys(ARRAY[['row3', i::text], ['row4', i::text]]) FROM generate_series(1, 100000) AS i"),
        ("ROLLBACK TO s", "SELECT try_lock_keys(ARRAY['row5', i::text]) FROM generate_series(1, 100000) AS i"),
        ("ROLLBACK; SELECT pg_advisory_unlock_all(); BEGIN", "SELECT try_lock_keys(ARRAY['row6', i::text]) FROM generate_series(1, 100000) AS i"),
        ("ROLLBACK", "SELECT lock_keys((SELECT array_agg(ARRAY['row' || j, i::text]) FROM generate_series(1, 900) AS i), session => true) \
          FROM generate_series(1, 100) AS j"),
    ]
    .into_iter()
    .enumerate()
    {
        stranger.client.batch_execute(before).await?;
        let answer = stranger.client.simple_query(attempt).await;
        let error = answer.as_ref().err();
        let code = error.map_or("no error", sqlstate);
        // "The session holds …, … allows 1234."
        let detail = error.and_then(|error| error.as_db_error()?.detail()).unwrap_or_default();
        limit = limit.or_else(|| detail.trim_end_matches('.').rsplit(' ').next()?.parse::<i64>().ok());
        let count = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = $1";
        let held: i64 = admin.query_one(count, &[&stranger.pid]).await?.get(0);
        report.expect(
            code == "54000" && limit.is_some_and(|limit| held <= limit),
            "resources",
            || format!("{code} from {attempt}; held {held} of {limit:?}"),
        );
        let others = Spy::new(server, "other").await?;
        let locked = truth(
            &others.client,
            &format!("bool_and(try_lock_keys(ARRAY['other{number}', i::text])) FROM generate_series(1, 500) AS i"),
        )
        .await?;
        report.expect(locked, "resources", || format!("after {attempt} another cannot lock"));
        report.count("loops over the rows of a large table", 1);
    }
    stranger.unlock_all().await?;
    let again = truth(&stranger.client, "try_lock_keys('{again}', session => true)").await?;
    report.expect(again, "resources", || "refused when nothing is held".into());
    let seen = stranger.sees("SET advisory_keys.max_keys_per_session = 0").await;
    report.expect(seen.contains("42501"), "resources", || format!("raising the limit: {seen}"));
    Ok(())
}
