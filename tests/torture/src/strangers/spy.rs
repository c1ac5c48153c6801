//! A session of some role, and all that it is shown.

use crate::server::{PATIENCE, Server, config};
use anyhow::{Context, Result};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_postgres::{AsyncMessage, Client, NoTls, SimpleQueryMessage};

/// Somebody who writes down all that the server sends: rows, errors with all their fields, messages of every level.
#[derive(Clone)]
pub struct Spy {
    pub client: Arc<Client>,
    pub pid: i32,
    messages: Arc<Mutex<String>>,
}

impl Spy {
    pub async fn new(server: &Server, role: &str) -> Result<Self> {
        let (client, mut connection) =
            config(&server.folder, 5432, role).connect(NoTls).await.context(role.to_string())?;
        let messages = Arc::new(Mutex::new(String::new()));
        let heard = messages.clone();
        tokio::spawn(async move {
            while let Some(Ok(message)) =
                std::future::poll_fn(|cx| connection.poll_message(cx)).await
            {
                if let AsyncMessage::Notice(notice) = message {
                    heard.lock().expect("no panic").push_str(&format!("{notice:?}\n"));
                }
            }
        });
        let pid = client.query_one("SELECT pg_backend_pid()", &[]).await?.get(0);
        client
            .batch_execute(
                "SET client_min_messages = debug5; SET advisory_keys.warn_short_locks = off",
            )
            .await?;
        Ok(Self { client: Arc::new(client), pid, messages })
    }

    /// What it is shown in answer to the statements: the rows or the error, and the messages.
    pub async fn sees(&self, statements: &str) -> String {
        let mut seen = String::new();
        match self.client.simple_query(statements).await {
            Err(error) => seen = format!("{error:?}\n"),
            Ok(answers) => {
                for answer in answers {
                    let SimpleQueryMessage::Row(row) = answer else { continue };
                    for column in 0..row.len() {
                        seen.push_str(row.get(column).unwrap_or("NULL"));
                        seen.push('|');
                    }
                    seen.push('\n');
                }
            }
        }
        seen + &std::mem::take(&mut *self.messages.lock().expect("no panic"))
    }

    /// The same of statements that wait.
    pub fn begin(&self, statements: &str) -> JoinHandle<String> {
        let (spy, statements) = (self.clone(), statements.to_string());
        tokio::spawn(async move { spy.sees(&statements).await })
    }

    /// Returns when it was told this, or when that takes too long.
    pub async fn awaits(&self, what: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.messages.lock().expect("no panic").contains(what) && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Releases what it holds at session level.
    pub async fn unlock_all(&self) -> Result<()> {
        Ok(self.client.batch_execute("SELECT pg_advisory_unlock_all()").await?)
    }
}
