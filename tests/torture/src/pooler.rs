//! Many clients on few connections: pgbouncer in transaction mode, with backends terminated under it.

use crate::load::{self, HOT};
use crate::process::kill_program;
use crate::report::Report;
use crate::server::{Server, dial, patiently};
use crate::session::name;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio_postgres::{Client, SimpleQueryMessage};

const CLIENTS: usize = 16;

/// Where it listens.
pub const PORT: u16 = 6432;

/// Transaction-level locks protect the counters, whichever connection each transaction gets.
pub async fn under_load(
    server: &Server,
    report: &Report,
    pool: usize,
    transactions: usize,
) -> Result<()> {
    let pooler = Pooler::start(server, pool)?;
    transactions_through(server, report, &pooler.folder, transactions).await
}

/// A pgbouncer in front of a server, as long as this lives.
pub struct Pooler {
    /// Where its socket is.
    pub folder: PathBuf,
    process: Child,
}

impl Pooler {
    pub fn start(server: &Server, pool: usize) -> Result<Self> {
        let folder = server.folder.join("pooler");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder)?;
        std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
        let users = folder.join("users");
        std::fs::write(&users, "\"postgres\" \"\"\n")?;
        let ini = folder.join("pgbouncer.ini");
        std::fs::write(
            &ini,
            format!(
                "[databases]\npostgres = host={} port=5432\n[pgbouncer]\nlisten_port = {PORT}\nlisten_addr =\n\
                 unix_socket_dir = {}\nauth_type = trust\nauth_file = {}\npool_mode = transaction\n\
                 default_pool_size = {pool}\nserver_login_retry = 0\nlogfile = {}/log\n",
                server.folder.display(),
                folder.display(),
                users.display(),
                folder.display()
            ),
        )?;
        let process =
            server.command("pgbouncer").arg("-q").arg(&ini).spawn().context("no pgbouncer")?;
        Ok(Self { folder, process })
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        kill_program(&mut self.process).expect("its process is ours");
    }
}

async fn transactions_through(
    server: &Server,
    report: &Report,
    folder: &Path,
    transactions: usize,
) -> Result<()> {
    let (admin, _) = server.connect_patiently().await?;
    load::reset_counters(&admin).await?;
    let (raised, perhaps) = (AtomicU64::new(0), AtomicU64::new(0));
    let clients = (0..CLIENTS).map(async |number| {
        let mut client = connect(folder).await?;
        for turn in 0..transactions {
            let key = (number + turn) % HOT;
            match raise(&client, key).await {
                Ok(()) => raised.fetch_add(1, Relaxed),
                Err(Failed::Before) => 0,
                Err(Failed::AtCommit) => perhaps.fetch_add(1, Relaxed),
            };
            if client.is_closed() {
                client = connect(folder).await?;
            }
        }
        anyhow::Ok(())
    });
    let strikes = async {
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            admin
                .batch_execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                     WHERE query LIKE '%lock_keys%' AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1",
                )
                .await?;
        }
        Ok(())
    };
    tokio::try_join!(futures_util::future::try_join_all(clients), strikes)?;
    let n: i64 = admin.query_one("SELECT sum(n)::bigint FROM counter", &[]).await?.get(0);
    let (least, most) = (raised.load(Relaxed), raised.load(Relaxed) + perhaps.load(Relaxed));
    report.count("transactions through a pooler", least);
    report.expect(least > 0 && (least..=most).contains(&(n as u64)), "lost updates", || {
        format!("through a pooler: {n}, and raised {least} to {most} times")
    });
    Ok(())
}

enum Failed {
    Before,
    AtCommit,
}

async fn raise(client: &Client, key: usize) -> Result<(), Failed> {
    let name = name(key);
    let read = async {
        client
            .batch_execute(&format!("BEGIN; SELECT lock_keys('{{{},{}}}')", name[0], name[1]))
            .await?;
        let rows = client.simple_query(&format!("SELECT n FROM counter WHERE key = {key}")).await?;
        let n = rows.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0)?.parse::<i64>().ok(),
            _ => None,
        });
        client
            .batch_execute(&format!(
                "UPDATE counter SET n = {} WHERE key = {key}",
                n.unwrap_or_default() + 1
            ))
            .await
    };
    read.await.map_err(|_| Failed::Before)?;
    client.batch_execute("COMMIT").await.map_err(|_| Failed::AtCommit)
}

async fn connect(folder: &Path) -> Result<Client> {
    patiently(|| dial(folder, PORT)).await
}
