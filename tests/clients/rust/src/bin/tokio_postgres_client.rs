//! tokio-postgres: prepared and binary.

use clients::{array_text, commands, own_key, version, Command};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, NoTls};

// The driver knows arrays of one dimension only; the server makes a row of each name.
const CLAIM: &str =
    "SELECT claim_keys(array_agg(ARRAY[name]), wanted => $2) FROM unnest($1::text[]) AS name";

async fn try_lock(client: &Client, query: &str, parameters: &[&(dyn ToSql + Sync)]) -> String {
    client.batch_execute("BEGIN").await.expect("a transaction");
    client.query_one(query, parameters).await.expect("an answer").get::<_, bool>(0).to_string()
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let variable = |name: &str| std::env::var(name).expect("a variable of libpq");
    let (client, connection) = Config::new()
        .host(variable("PGHOST"))
        .port(variable("PGPORT").parse().expect("a port"))
        .user(variable("PGUSER"))
        .password(std::env::var("PGPASSWORD").unwrap_or_default())
        .dbname(variable("PGDATABASE"))
        .connect(NoTls)
        .await
        .expect("a connection");
    tokio::spawn(connection);
    // BEGIN within a transaction is a warning, nothing more.
    client.batch_execute("SET client_min_messages = error").await.expect("a setting");

    for command in commands() {
        let answer = match command {
            Command::Driver => version("tokio-postgres"),
            Command::Key(parts) => {
                let key: i64 = client
                    .query_one("SELECT advisory_key($1)", &[&parts])
                    .await
                    .expect("a key")
                    .get(0);
                format!("{} {key}", own_key(&parts))
            }
            Command::Try(parts) => try_lock(&client, "SELECT try_lock_keys($1)", &[&parts]).await,
            Command::Integer(parts) => {
                try_lock(&client, "SELECT pg_try_advisory_xact_lock($1)", &[&own_key(&parts)]).await
            }
            Command::Wait(milliseconds, parts) => {
                let query = "SELECT try_lock_keys($1, timeout => $2 * interval '1 ms')";
                try_lock(&client, query, &[&parts, &f64::from(milliseconds)]).await
            }
            Command::Slot(slots, parts) => {
                try_lock(&client, "SELECT try_lock_slot($1, $2)", &[&parts, &slots]).await
            }
            Command::Claim(wanted, names) => {
                client.batch_execute("BEGIN").await.expect("a transaction");
                let row = client.query_one(CLAIM, &[&names, &wanted]).await.expect("an answer");
                let rows: Vec<i32> = row.get(0);
                array_text(&rows)
            }
            Command::Acquire(parts) => {
                client.batch_execute("BEGIN").await.expect("a transaction");
                client.execute("CALL acquire_keys($1)", &[&parts]).await.expect("the lock");
                "ok".to_string()
            }
            Command::Fail(parts) => {
                client.batch_execute("BEGIN").await.expect("a transaction");
                let error = client
                    .query_one("SELECT lock_keys($1, timeout => '0')", &[&parts])
                    .await
                    .expect_err("the lock is taken");
                client.batch_execute("ROLLBACK").await.expect("a rollback");
                error.code().expect("a SQLSTATE").code().to_string()
            }
            Command::Commit => {
                client.batch_execute("COMMIT").await.expect("a commit");
                "ok".to_string()
            }
        };
        println!("{answer}");
    }
}
