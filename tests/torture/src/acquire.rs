//! `CALL acquire_keys`: a waiter that holds no snapshot, in whatever it is nested, beside waiters of `lock_keys`.

use crate::aftermath::nothing_is_left;
use crate::report::Report;
use crate::server::{PATIENCE, Server, await_waiting};
use crate::session::{self, is_cancel, is_lost, sqlstate};
use anyhow::Result;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio_postgres::{Client, Error};

/// What the clients call. Each counts up by reading and writing, with nothing but the lock to protect that, so
/// what it reads has to be as new as the lock; and keeps what it has read, too long for a row, over the wait.
const ROUTINES: &str = "
    CREATE TABLE IF NOT EXISTS acquired (n bigint, filler text);
    CREATE TABLE IF NOT EXISTS acquired_turns (n bigint, name text);
    TRUNCATE acquired, acquired_turns;
    INSERT INTO acquired SELECT 0, string_agg(md5(i::text), '') FROM generate_series(1, 3000) AS i;
    CREATE OR REPLACE PROCEDURE count_up() LANGUAGE plpgsql AS $$
    DECLARE
      seen bigint;
    BEGIN
      SELECT n INTO seen FROM acquired;
      UPDATE acquired SET n = seen + 1;
      INSERT INTO acquired_turns SELECT seen, name FROM current_setting('application_name') AS name WHERE name <> '';
    END $$;
    -- What PL/pgSQL checks with the snapshot that it has.
    CREATE OR REPLACE FUNCTION acquired_is_there(n bigint) RETURNS boolean LANGUAGE sql STABLE
      AS $$ SELECT count(*) = 1 FROM acquired $$;
    DO $$ BEGIN
      CREATE DOMAIN checked AS bigint CHECK (acquired_is_there(VALUE));
    EXCEPTION WHEN duplicate_object THEN NULL;
    END $$;
    CREATE OR REPLACE FUNCTION acquired_name() RETURNS text[] LANGUAGE sql
      AS $$ SELECT ARRAY['acquire', CASE WHEN length(filler) > 0 THEN 'storm' END] FROM acquired $$;
    CREATE OR REPLACE PROCEDURE acquire_inside(wait interval) LANGUAGE plpgsql AS $$
    DECLARE
      kept text;
      rows checked;
    BEGIN
      SELECT filler INTO kept FROM acquired;
      CALL acquire_keys('{acquire,storm}', wait);
      GET DIAGNOSTICS rows = ROW_COUNT;
      IF length(kept) <> 96000 THEN RAISE 'lost what was read before the wait'; END IF;
      CALL count_up();
    END $$;
    CREATE OR REPLACE PROCEDURE acquire_between(wait interval) LANGUAGE plpgsql AS $$
    BEGIN
      COMMIT;
      CALL acquire_inside(wait);
      COMMIT;
    END $$;
    CREATE OR REPLACE PROCEDURE acquire_and_catch(wait interval) LANGUAGE plpgsql AS $$
    BEGIN
      CALL acquire_inside(wait);
    EXCEPTION WHEN lock_not_available THEN
      RAISE lock_not_available;
    END $$;
    CREATE OR REPLACE PROCEDURE acquire_in_a_loop(wait interval) LANGUAGE plpgsql AS $$
    DECLARE
      line record;
    BEGIN
      FOR line IN SELECT filler FROM acquired LOOP
        CALL acquire_keys(acquired_name(), wait);
        CALL count_up();
      END LOOP;
    END $$;
    CREATE OR REPLACE FUNCTION acquire_in_function(wait interval) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
      CALL acquire_inside(wait);
    END $$;
    CREATE OR REPLACE PROCEDURE acquire_with_setting(wait interval) LANGUAGE plpgsql SET work_mem = '1MB' AS $$
    BEGIN
      CALL acquire_inside(wait);
    END $$";

/// Each takes the lock and counts up once; `{}` stands for how long it waits.
const NESTINGS: [&str; 12] = [
    "BEGIN; CALL acquire_keys('{acquire,storm}', {}); CALL count_up(); COMMIT",
    "BEGIN; SAVEPOINT a; CALL acquire_keys('{acquire,storm}', {}); CALL count_up(); RELEASE a; COMMIT",
    "BEGIN; SELECT lock_keys('{acquire,storm}', {}); CALL count_up(); COMMIT",
    "BEGIN; CALL acquire_inside({}); COMMIT",
    "CALL acquire_inside({})",
    "CALL acquire_between({})",
    "CALL acquire_and_catch({})",
    "CALL acquire_in_a_loop({})",
    "SELECT acquire_in_function({})",
    "CALL acquire_with_setting({})",
    "DO $$ BEGIN CALL acquire_inside({}); END $$",
    "DO $$ BEGIN EXECUTE 'CALL acquire_and_catch({})'; EXCEPTION WHEN division_by_zero THEN NULL; END $$",
];

#[derive(Clone, Copy)]
pub struct Size {
    pub clients: usize,
    pub calls: u64,
    pub strikes: u64,
    pub seed: u64,
}

/// Random nestings of many clients, with timeouts, cancels and terminations.
pub async fn storm(server: &Arc<Server>, report: &Arc<Report>, size: Size) -> Result<()> {
    let (admin, _) = server.connect_patiently().await?;
    admin.batch_execute(ROUTINES).await?;
    let (raised, perhaps) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let over = Arc::new(AtomicBool::new(false));
    let client = |number: usize| {
        let (server, report) = (server.clone(), report.clone());
        let (raised, perhaps) = (raised.clone(), perhaps.clone());
        async move {
            let mut random = StdRng::seed_from_u64(size.seed + number as u64);
            let mut client = server.connect_patiently().await?.0;
            for _ in 0..size.calls / size.clients as u64 {
                let statement = nesting(&mut random);
                let begun = Instant::now();
                match client.batch_execute(&statement).await {
                    Ok(()) => raised.fetch_add(1, Relaxed),
                    Err(error) if is_lost(&error) => {
                        client = server.connect_patiently().await?.0;
                        perhaps.fetch_add(1, Relaxed)
                    }
                    Err(error) => {
                        report.count(&format!("acquire: errors {}", sqlstate(&error)), 1);
                        report.expect(
                            matches!(sqlstate(&error), "57014" | "55P03"),
                            "error codes",
                            || format!("{error:?} from {statement}"),
                        );
                        must(&client, "ROLLBACK").await?;
                        // It may have come when all was done.
                        perhaps.fetch_add(is_cancel(&error).into(), Relaxed)
                    }
                };
                report.expect(begun.elapsed() < PATIENCE, "waits that never end", || {
                    statement.clone()
                });
                if report.enough() {
                    break;
                }
            }
            anyhow::Ok(client)
        }
    };
    let clients: Vec<_> = (0..size.clients).map(|number| tokio::spawn(client(number))).collect();
    let nemesis = tokio::spawn(strike(server.clone(), size, over.clone()));
    let mut sessions = vec![];
    for client in clients {
        sessions.push(client.await??);
    }
    over.store(true, Relaxed);
    let struck = nemesis.await??;
    let (raised, perhaps) = (raised.load(Relaxed), perhaps.load(Relaxed));
    let n: i64 = admin.query_one("SELECT n FROM acquired", &[]).await?.get(0);
    report.expect((raised..=raised + perhaps).contains(&(n as u64)), "lost updates", || {
        format!("the counter is {n}, and was raised {raised} to {} times", raised + perhaps)
    });
    nothing_is_left(&admin, report, "a storm on acquire_keys").await?;
    report.count("acquire: calls", size.calls);
    report.count("acquire: counter increments", raised);
    report.count("acquire: cancels and terminations sent", struck);
    Ok(())
}

fn nesting(random: &mut StdRng) -> String {
    let wait = match random.random_range(0..3) {
        0 => "NULL".to_string(),
        // Of an interval, as in a nested string of SQL.
        _ => format!("make_interval(secs => {}e-3)", random.random_range(0..40)),
    };
    NESTINGS[random.random_range(0..NESTINGS.len())].replace("{}", &wait)
}

/// As [`session::must`]; whose connection is lost need not.
async fn must(client: &Client, statement: &str) -> Result<(), Error> {
    match session::must(client, statement).await {
        Err(error) if is_lost(&error) => Ok(()),
        other => other,
    }
}

/// Strikes at clients that wait or run, until there are enough strikes.
async fn strike(server: Arc<Server>, size: Size, over: Arc<AtomicBool>) -> Result<u64> {
    let (client, _) = server.connect_patiently().await?;
    for number in 0..size.strikes {
        if over.load(Relaxed) {
            return Ok(number);
        }
        let how = if number % 10 == 9 { "pg_terminate_backend" } else { "pg_cancel_backend" };
        let statement = format!(
            "SELECT count({how}(pid)) FROM (SELECT pid FROM pg_stat_activity WHERE state = 'active' \
             AND backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1) AS victim"
        );
        client.query_one(&statement, &[]).await?;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(size.strikes)
}

/// In these nestings the snapshot is let go, so VACUUM and CREATE INDEX CONCURRENTLY need not wait for the waiter.
const WITHOUT: [&str; 4] = [
    "BEGIN; CALL acquire_keys('{acquire,storm}'); CALL count_up(); COMMIT",
    "CALL acquire_inside('1h')",
    "CALL acquire_between(NULL)",
    "DO $$ BEGIN CALL acquire_inside(NULL); CALL count_up(); END $$",
];

/// Waiters of `CALL` hold no snapshot, in the same queue as those of `lock_keys`, which do.
pub async fn without_snapshot(server: &Server, report: &Report, rounds: usize) -> Result<()> {
    let (admin, _) = server.connect_patiently().await?;
    for _ in 0..rounds {
        admin.batch_execute(ROUTINES).await?;
        admin.batch_execute("SELECT lock_keys('{acquire,storm}', session => true)").await?;
        let mut waiters = vec![];
        for number in 0..2 * WITHOUT.len() {
            let lets_go = number % 2 == 0;
            let statement = match lets_go {
                true => WITHOUT[number / 2],
                false => "BEGIN; SELECT lock_keys('{acquire,storm}'); CALL count_up(); COMMIT",
            };
            let (client, pid) = server.connect_patiently().await?;
            client.batch_execute(&format!("SET application_name = '{number}'")).await?;
            waiters.push(tokio::spawn(async move { client.batch_execute(statement).await }));
            await_waiting(&admin, pid).await?;
            let held = "SELECT backend_xmin IS NOT NULL FROM pg_stat_activity WHERE pid = $1";
            let held: bool = admin.query_one(held, &[&pid]).await?.get(0);
            report.expect(held != lets_go, "waits without a snapshot", || {
                format!("{statement}: holds a snapshot {held}")
            });
        }
        admin.batch_execute("SELECT unlock_keys('{acquire,storm}')").await?;
        for waiter in waiters {
            if let Err(error) = waiter.await? {
                report.finding("waits without a snapshot", format!("{error:?}"));
                return Ok(());
            }
        }
        let order = "SELECT array_agg(name::int ORDER BY n) FROM acquired_turns";
        let served: Vec<i32> = admin.query_one(order, &[]).await?.get(0);
        report.expect(served.is_sorted(), "first come, first served", || format!("{served:?}"));
        nothing_is_left(&admin, report, "waiters of acquire_keys").await?;
    }
    report.count("acquire: waiters looked at", (rounds * 2 * WITHOUT.len()) as u64);
    Ok(())
}
