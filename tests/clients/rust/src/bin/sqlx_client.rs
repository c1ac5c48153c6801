//! sqlx.

use clients::{array_text, commands, own_key, version, Command};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgQueryResult};
use sqlx::{ConnectOptions, Executor};

// The driver knows arrays of one dimension only; the server makes a row of each name.
const CLAIM: &str =
    "SELECT claim_keys(array_agg(ARRAY[name]), wanted => $2) FROM unnest($1) AS name";

async fn run(connection: &mut PgConnection, statement: &str) -> PgQueryResult {
    connection.execute(statement).await.expect("the statement runs")
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut connection = PgConnectOptions::new().connect().await.expect("a connection");
    // BEGIN within a transaction is a warning, nothing more.
    run(&mut connection, "SET client_min_messages = error").await;

    for command in commands() {
        if !matches!(command, Command::Driver | Command::Key(_) | Command::Commit) {
            run(&mut connection, "BEGIN").await;
        }
        let answer = match command {
            Command::Driver => version("sqlx"),
            Command::Key(parts) => {
                let mut keys = vec![own_key(&parts)];
                // Kept as a prepared statement, and not.
                for persistent in [true, false] {
                    let query =
                        sqlx::query_scalar("SELECT advisory_key($1)").persistent(persistent);
                    keys.push(query.bind(&parts).fetch_one(&mut connection).await.expect("a key"));
                }
                keys.iter().map(i64::to_string).collect::<Vec<_>>().join(" ")
            }
            Command::Try(parts) => {
                let query = sqlx::query_scalar("SELECT try_lock_keys($1)").bind(parts);
                let locked: bool = query.fetch_one(&mut connection).await.expect("an answer");
                locked.to_string()
            }
            Command::Integer(parts) => {
                let query = sqlx::query_scalar("SELECT pg_try_advisory_xact_lock($1)")
                    .bind(own_key(&parts));
                let locked: bool = query.fetch_one(&mut connection).await.expect("an answer");
                locked.to_string()
            }
            Command::Wait(milliseconds, parts) => {
                let query =
                    sqlx::query_scalar("SELECT try_lock_keys($1, timeout => $2::text::interval)")
                        .bind(parts)
                        .bind(format!("{milliseconds}ms"));
                let locked: bool = query.fetch_one(&mut connection).await.expect("an answer");
                locked.to_string()
            }
            Command::Slot(slots, parts) => {
                let query =
                    sqlx::query_scalar("SELECT try_lock_slot($1, $2)").bind(parts).bind(slots);
                let locked: bool = query.fetch_one(&mut connection).await.expect("an answer");
                locked.to_string()
            }
            Command::Claim(wanted, names) => {
                let query = sqlx::query_scalar(CLAIM).bind(names).bind(wanted);
                let rows: Vec<i32> = query.fetch_one(&mut connection).await.expect("an answer");
                array_text(&rows)
            }
            Command::Acquire(parts) => {
                let query = sqlx::query("CALL acquire_keys($1)").bind(parts);
                query.execute(&mut connection).await.expect("the lock");
                "ok".to_string()
            }
            Command::Fail(parts) => {
                let error = sqlx::query("SELECT lock_keys($1, timeout => '0')")
                    .bind(parts)
                    .fetch_one(&mut connection)
                    .await
                    .expect_err("the lock is taken");
                run(&mut connection, "ROLLBACK").await;
                let code =
                    error.as_database_error().and_then(|error| error.code()).expect("a SQLSTATE");
                code.into_owned()
            }
            Command::Commit => {
                run(&mut connection, "COMMIT").await;
                "ok".to_string()
            }
        };
        println!("{answer}");
    }
}
