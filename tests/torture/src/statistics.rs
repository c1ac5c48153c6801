//! What `advisory_lock_stats` counts, held against what the callers were told.

use crate::report::Report;
use crate::server::{Server, truth};
use crate::session::{is_cancel, lift_statement_timeout, must, sqlstate};
use anyhow::Result;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio_postgres::{Client, Error};

const CHECK: &str = "counts and answers";

/// First parts of this run.
const KINDS: u32 = 3;

/// Names, which are few, so that callers meet.
const NAMES: u32 = 12;

/// What callers were told, and what is counted, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    locks: i64,
    refused: i64,
    waits: i64,
    timeouts: i64,
    deadlocks: i64,
    cancels: i64,
}

/// A call, and how it can end without the lock.
#[derive(Clone, Copy, PartialEq)]
enum Patience {
    /// It does not wait.
    None,
    /// It gives up by itself.
    Short,
    /// Its statement is cancelled by a timeout.
    Cancelled,
}

/// So many clients, each with so many calls; more first parts come and go meanwhile.
pub async fn add_up(
    server: &Arc<Server>,
    report: &Arc<Report>,
    clients: u64,
    calls: u32,
    seed: u64,
) -> Result<()> {
    let server = Arc::new(
        server.preloading("statistics", "advisory_keys.max_stats = 64\ndeadlock_timeout = 5ms")?,
    );
    let outcome = async {
        server.create_extension().await?;
        let work = |number| {
            let (server, report) = (server.clone(), report.clone());
            async move { client(&server, &report, calls, seed + number).await }
        };
        let clients: Vec<_> = (0..clients).map(|number| tokio::spawn(work(number))).collect();
        let mut told = BTreeMap::<u32, Counts>::new();
        let (reader, _) = server.connect_patiently().await?;
        while clients.iter().any(|client| !client.is_finished()) {
            never_back(&reader, report).await?;
        }
        for client in clients {
            for (kind, counts) in client.await?? {
                told.entry(kind).or_default().add(counts);
            }
        }
        let counted = counted(&reader).await?;
        report.count("statistics: answers counted", told.values().map(Counts::answers).sum());
        for (kind, told) in &told {
            let counted = counted.get(&format!("kind {kind}")).copied().unwrap_or_default();
            report.expect(counted.explains(told), CHECK, || {
                format!("kind {kind}: told {told:?}, counted {counted:?}")
            });
            let ended_badly = counted.timeouts + counted.deadlocks + counted.cancels;
            report.expect(counted.waits >= ended_badly, CHECK, || format!("{counted:?}"));
        }
        anyhow::Ok(())
    }
    .await;
    server.stop()?;
    outcome
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.locks += other.locks;
        self.refused += other.refused;
        self.timeouts += other.timeouts;
        self.deadlocks += other.deadlocks;
        self.cancels += other.cancels;
    }

    /// Is this what has to be counted? A few cancels come before the call has begun to wait.
    fn explains(self, told: &Self) -> bool {
        let early = told.cancels - self.cancels;
        (0..=5 + told.cancels / 20).contains(&early)
            && Self { waits: 0, cancels: told.cancels, ..self } == *told
    }

    fn answers(&self) -> u64 {
        let Self { locks, refused, timeouts, deadlocks, cancels, .. } = self;
        (locks + refused + timeouts + deadlocks + cancels) as u64
    }
}

/// What one client was told, by kind. It locks at session level, where it can be seen whether a call was cancelled
/// when it had returned.
async fn client(
    server: &Server,
    report: &Report,
    calls: u32,
    seed: u64,
) -> Result<BTreeMap<u32, Counts>> {
    let mut random = StdRng::seed_from_u64(seed);
    let (client, _) = server.connect_patiently().await?;
    let mut told = BTreeMap::<u32, Counts>::new();
    for number in 0..calls {
        if report.enough() {
            break;
        }
        // Somebody has data in the first part.
        client
            .batch_execute(&format!("SELECT try_lock_keys('{{passer {seed} {number}}}')"))
            .await?;
        // Two names, so that there are deadlocks.
        let first = random.random_range(0..NAMES);
        for name in [first, first + random.random_range(1..NAMES)] {
            let (kind, name) = (name % KINDS, format!("kind {},{}", name % KINDS, name % NAMES));
            let patience =
                [Patience::None, Patience::Short, Patience::Cancelled][random.random_range(0..3)];
            let counts = told.entry(kind).or_default();
            let outcome = lock(&client, &name, patience, random.random_range(1..15)).await;
            lift_statement_timeout(&client).await?;
            match outcome {
                Ok(true) => counts.locks += 1,
                Ok(false) if patience == Patience::None => counts.refused += 1,
                Ok(false) => counts.timeouts += 1,
                Err(error) if sqlstate(&error) == "40P01" => counts.deadlocks += 1,
                Err(error) if is_cancel(&error) => {
                    match truth(&client, &format!("holds_keys('{{{name}}}')")).await? {
                        true => counts.locks += 1,
                        false => counts.cancels += 1,
                    }
                }
                Err(error) => {
                    report.finding("error codes", format!("{} of {name}", sqlstate(&error)));
                }
            }
        }
        client.batch_execute("SELECT pg_advisory_unlock_all()").await?;
    }
    Ok(told)
}

async fn lock(client: &Client, name: &str, patience: Patience, ms: u32) -> Result<bool, Error> {
    let timeout = match patience {
        Patience::None => 0,
        Patience::Short => ms,
        Patience::Cancelled => {
            must(client, &format!("SET statement_timeout = {ms}")).await?;
            10_000
        }
    };
    let call =
        format!("SELECT try_lock_keys('{{{name}}}', timeout => '{timeout} ms', session => true)");
    Ok(client.query_one(&call, &[]).await?.get(0))
}

async fn counted(client: &Client) -> Result<BTreeMap<String, Counts>> {
    let rows = client
        .query(
            "SELECT first_part, locks, refused, waits, timeouts, deadlocks, cancels \
             FROM advisory_lock_stats WHERE first_part LIKE 'kind %'",
            &[],
        )
        .await?;
    Ok(rows
        .iter()
        .map(|row| {
            let counts = Counts {
                locks: row.get(1),
                refused: row.get(2),
                waits: row.get(3),
                timeouts: row.get(4),
                deadlocks: row.get(5),
                cancels: row.get(6),
            };
            (row.get(0), counts)
        })
        .collect())
}

/// Two looks, one after the other: no count is less in the second.
async fn never_back(reader: &Client, report: &Report) -> Result<()> {
    let (before, after) = (counted(reader).await?, counted(reader).await?);
    for (kind, before) in before {
        let after = after.get(&kind).copied().unwrap_or_default();
        let less = after.locks < before.locks
            || after.waits < before.waits
            || after.answers() < before.answers();
        report.expect(!less, CHECK, || format!("{kind}: {before:?}, then {after:?}"));
    }
    report.count("statistics: looks", 2);
    Ok(())
}
