//! A client with its leases: how it reaches the server, and what becomes of what it does in a transaction.

use crate::leases::clock::{Moment, Times, micros, now};
use crate::leases::history::Grant;
use crate::leases::lease::Lease;
use crate::leases::stopped::Stopped;
use crate::leases::world::{Way, World};
use crate::server::{PATIENCE, patiently};
use crate::session::{is_lost, sqlstate};
use anyhow::Result;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio_postgres::{Error, SimpleQueryMessage};

pub struct Client {
    pub world: Arc<World>,
    pub number: usize,
    pub random: StdRng,
    /// Those that it believes to have.
    pub leases: Vec<Held>,
    /// So many leases it wanted, each with a holder of its own,
    pub wanted: u64,
    /// also among those of other runs.
    pub since: Moment,
    way: Way,
    pub connection: Connection,
}

/// A lease, with what its records need.
#[derive(Clone, Debug)]
pub struct Held {
    pub lease: Lease,
    pub begun: Moment,
    pub committed: Moment,
}

/// What was said, and when: not earlier than the first, and not later than the second.
pub struct Answer {
    pub value: Option<String>,
    pub sent: Moment,
    pub answered: Moment,
}

impl Answer {
    pub fn is_true(&self) -> bool {
        self.value.as_deref() == Some("t")
    }

    pub fn number(&self) -> Option<i64> {
        self.value.as_ref().map(|value| value.parse().expect("a number"))
    }

    pub fn times(&self) -> Times {
        (self.sent, self.answered)
    }
}

impl Client {
    pub async fn new(world: &Arc<World>, way: Way, number: usize, seed: u64) -> Result<Self> {
        let connection = Connection::new(&way, world).await?;
        Ok(Self {
            world: world.clone(),
            number,
            random: StdRng::seed_from_u64(seed + number as u64),
            leases: vec![],
            wanted: 0,
            since: now(),
            way,
            connection,
        })
    }

    /// Takes turns until it is over, and notes the leases that are left.
    pub async fn live(mut self) -> Result<()> {
        while !self.world.is_over() {
            self.take_turn().await?;
        }
        for held in std::mem::take(&mut self.leases) {
            self.note(held);
        }
        Ok(())
    }

    /// After an error, ends its transaction, or gets another connection.
    pub async fn recover(&mut self, error: &Error) -> Result<()> {
        if !is_gone(error) && self.connection.client.batch_execute("ROLLBACK").await.is_ok() {
            return Ok(());
        }
        self.world.report.count("leases: connections lost", 1);
        // The pooler takes clients also while there is no server.
        tokio::time::sleep(Duration::from_millis(10)).await;
        self.connection = Connection::new(&self.way, &self.world).await?;
        Ok(())
    }

    /// Sends statements, and returns the first value of the last one that has any.
    pub async fn say(&self, statements: &str) -> Result<Answer, Error> {
        let sent = now();
        let messages = self.connection.client.simple_query(statements).await;
        let answered = now();
        if answered - sent > micros(PATIENCE) {
            self.world.report.finding("waits that never end", statements);
        }
        let value = messages?.into_iter().rev().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0).map(String::from)),
            _ => None,
        });
        Ok(Answer { value: value.flatten(), sent, answered })
    }

    /// The same, while the backend is stopped for that time: it goes on with what it was sent.
    pub async fn say_stopped(
        &self,
        statements: &str,
        process: i32,
        time: Duration,
    ) -> Result<Answer, Error> {
        let Some(stopped) = Stopped::stop(&self.world.stopped, process) else {
            return self.say(statements).await;
        };
        let going_on = async {
            tokio::time::sleep(time).await;
            let sent = now();
            drop(stopped);
            sent
        };
        let (answer, sent) = futures_util::future::join(self.say(statements), going_on).await;
        self.world.report.count("leases: calls of stopped backends", 1);
        answer.map(|answer| Answer { sent, ..answer })
    }

    /// The same, by a client that hangs up after that time.
    pub async fn say_and_hang_up(&self, statements: &str, time: Duration) -> Result<Answer, Error> {
        let hanging_up = async {
            tokio::time::sleep(time).await;
            self.connection.task.abort();
        };
        let (answer, ()) = futures_util::future::join(self.say(statements), hanging_up).await;
        self.world.report.count("leases: clients that hung up", 1);
        answer
    }

    /// Notes a lease when no more is going to happen to it.
    pub fn note(&self, held: Held) {
        let Held { lease, begun, committed } = held;
        let Lease { name, token, least: until, .. } = lease;
        self.world.history.grant(Grant { name, token, begun, committed, until });
    }

    pub async fn pause(&mut self, most_ms: u64) {
        let time = self.random.random_range(0..=most_ms);
        tokio::time::sleep(Duration::from_millis(time)).await;
    }
}

/// Is the connection gone, or about to go, or does the pooler say so?
pub fn is_gone(error: &Error) -> bool {
    is_lost(error) || sqlstate(error).starts_with("08")
}

pub struct Connection {
    client: tokio_postgres::Client,
    /// What reads and writes for it.
    task: AbortHandle,
    /// The backend, if it is always the same.
    pub process: Option<i32>,
}

impl Connection {
    async fn new(way: &Way, world: &World) -> Result<Self> {
        patiently(|| async {
            let (client, task) = way.connect(world).await?;
            let process = match way {
                Way::Pooled(_) => None,
                Way::Direct => Some(client.query_one("SELECT pg_backend_pid()", &[]).await?.get(0)),
            };
            Ok(Self { client, task, process })
        })
        .await
    }
}
