//! Parallel queries: their leader waits for a lock while a worker raises an error, before, at and after the grant.
//! The error reaches the client as it is, nothing stays held, and the queue goes on.

mod case;
mod team;

use crate::report::Report;
use crate::server::{Server, truth};
use crate::session::sqlstate;
use anyhow::{Context, Result};
use case::{Case, FAILURES, Limit, MOMENTS, names};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use team::Team;

/// A table whose rows come from a worker; it fails at one of them. So many rows before that make the leader
/// begin with the first, and fit into the queue between the two.
const SCHEMA: &str = "
    CREATE TABLE parallel_rows WITH (parallel_workers = 2) AS SELECT i FROM generate_series(0, 200) AS i;
    ANALYZE parallel_rows;
    CREATE FUNCTION fails(i int, leader int, signal bigint, failure text) RETURNS text LANGUAGE plpgsql PARALLEL SAFE AS $$
    BEGIN
      IF leader = pg_backend_pid() THEN
        RAISE 'there is no worker';
      ELSIF i = 100 THEN
        WHILE NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND (classid::bigint << 32) | objid::bigint = signal) LOOP
          PERFORM pg_sleep(0.0002);
        END LOOP;
        CASE failure
          WHEN '22012' THEN PERFORM 1 / 0;
          WHEN '57P01' THEN PERFORM pg_terminate_backend(pg_backend_pid()), pg_sleep(10);
          ELSE RAISE 'the worker says no' USING ERRCODE = failure;
        END CASE;
      END IF;
      RETURN repeat('x', 400);
    END $$;
    CREATE FUNCTION runs(leader int, statement text) RETURNS text LANGUAGE plpgsql PARALLEL SAFE AS $$
    DECLARE result text;
    BEGIN
      IF leader = pg_backend_pid() THEN
        RAISE 'there is no worker';
      END IF;
      EXECUTE statement INTO result;
      RETURN result;
    END $$;";

/// Workers do all the work below the Gather node; as the table has one page, one of them.
const WORKERS: &str = "SET max_parallel_workers_per_gather = 2; SET parallel_leader_participation = off; \
    SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; \
    SET advisory_keys.warn_short_locks = off";

pub async fn prepare(server: &Server) -> Result<()> {
    let (client, _) = server.connect_patiently().await?;
    Ok(client.batch_execute(SCHEMA).await?)
}

/// So many of each error at each moment at each level, in calls that are else random.
pub async fn workers_fail(server: &Server, report: &Report, times: usize, seed: u64) -> Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    let team = Team::new(server).await?;
    for _ in 0..times {
        for failure in FAILURES {
            for moment in MOMENTS {
                for in_session in [false, true] {
                    let [first, middle, last] = names();
                    let case = Case {
                        failure,
                        moment,
                        limit: *[Limit::None, Limit::Long, Limit::Due]
                            .choose(&mut random)
                            .expect("a choice"),
                        by_setting: random.random(),
                        names: match random.random() {
                            true => vec![middle],
                            false => vec![last, middle, first],
                        },
                        in_session,
                        exclusive: random.random(),
                        blocking: random.random(),
                    };
                    let played = team.play(report, &case, &mut random).await;
                    if played.is_err() {
                        team.end().await?;
                    }
                    played.with_context(|| format!("{case:?}"))?;
                }
            }
        }
    }
    Ok(())
}

/// Functions that lock or look at locks are refused in a worker itself.
pub async fn calls_in_workers(server: &Server, report: &Report) -> Result<()> {
    let (client, pid) = server.connect_patiently().await?;
    client.batch_execute(WORKERS).await?;
    for call in [
        "try_lock_keys(''{worker}'')",
        "try_lock_keys(''{worker}'', timeout => ''1s'', session => true)",
        "lock_keys(''{worker}'', shared => true)",
        "lock_keys(''{{worker},{other}}'', session => true)",
        "unlock_keys(''{worker}'')",
        "release_keys(''{worker}'')",
        "holds_keys(''{worker}'')",
        "keys_available(''{worker}'')",
        "claim_keys(''{worker}'')",
        "try_lock_slot(''{worker}'', 2)",
        "lock_slot(''{worker}'', 2, session => true)",
        "unlock_slot(''{worker}'')",
        "slots_held(''{worker}'')",
    ] {
        let statement = format!("SELECT max(runs({pid}, 'SELECT {call}')) FROM parallel_rows");
        let answer = client.query_one(&statement, &[]).await;
        let code = answer.as_ref().err().map_or("no error", sqlstate);
        report.expect(code == "25000", "parallel queries", || {
            format!("{code} from {call} in a worker")
        });
        let none = "NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory')";
        report.expect(truth(&client, none).await?, "result and reality", || {
            format!("{call} in a worker has left a lock")
        });
        report.count("calls in a worker", 1);
    }
    Ok(())
}
