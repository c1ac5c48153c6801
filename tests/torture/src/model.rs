//! Random sequences of operations on three sessions, none of which waits, so that every answer and
//! every hold can be foretold. A sequence that goes wrong is shortened to the least that does.

use crate::report::Report;
use crate::server::Server;
use crate::session::{Call, Lock, Model, Name, Session, array, key_of, name, sqlstate};
use anyhow::Result;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, RngSeed, TestCaseError, TestError, TestRunner};
use tokio::runtime::Handle;

const SESSIONS: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    Begin,
    Commit,
    Rollback,
    Savepoint,
    RollbackTo,
    ReleaseSavepoint,
    Lock(Call),
    Unlock(Vec<Name>, bool),
    Look(Vec<Name>, bool),
}

fn steps() -> impl Strategy<Value = Vec<(usize, Step)>> {
    let names = || prop::collection::vec((5_000_000_usize..5_000_004).prop_map(name), 1..4);
    let lock = (names(), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(names, exclusive, in_session, blocking)| {
            Step::Lock(Call { names, exclusive, in_session, blocking, timeout_ms: Some(0) })
        },
    );
    let step = prop_oneof![
        2 => Just(Step::Begin),
        1 => Just(Step::Commit),
        1 => Just(Step::Rollback),
        2 => Just(Step::Savepoint),
        1 => Just(Step::RollbackTo),
        1 => Just(Step::ReleaseSavepoint),
        8 => lock,
        4 => (names(), any::<bool>()).prop_map(|(names, exclusive)| Step::Unlock(names, exclusive)),
        2 => (names(), any::<bool>()).prop_map(|(names, exclusive)| Step::Look(names, exclusive)),
    ];
    prop::collection::vec((0..SESSIONS, step), 1..60)
}

/// A session, and what its transaction has come to.
struct Actor {
    session: Session,
    in_transaction: bool,
    failed: bool,
    savepoints: u32,
}

impl Actor {
    fn model(&self) -> &Model {
        &self.session.model
    }

    fn holds(&self, lock: Lock) -> bool {
        self.model().expected().contains(&lock)
    }

    /// Does this session keep others from taking the lock?
    fn excludes(&self, (key, exclusive): Lock) -> bool {
        self.holds((key, true)) || (exclusive && self.holds((key, false)))
    }

    fn end_transaction(&mut self) {
        (self.in_transaction, self.failed, self.savepoints) = (false, false, 0);
        self.session.model.transaction.clear();
    }
}

/// So many sequences.
pub async fn run(server: &Server, report: &Report, cases: u32, seed: u64) -> Result<()> {
    let mut actors = vec![];
    for _ in 0..SESSIONS {
        let session = Session::new(server).await?;
        session.client.batch_execute("SET client_min_messages = error").await?;
        actors.push(Actor { session, in_transaction: false, failed: false, savepoints: 0 });
    }
    let config = Config {
        cases,
        failure_persistence: None,
        rng_algorithm: RngAlgorithm::ChaCha,
        rng_seed: RngSeed::Fixed(seed),
        max_shrink_iters: 500,
        ..Config::default()
    };
    let cell = std::cell::RefCell::new(actors);
    let result = tokio::task::block_in_place(|| {
        TestRunner::new(config).run(&steps(), |steps| {
            let actors = &mut *cell.borrow_mut();
            Handle::current().block_on(async {
                let outcome = play(actors, &steps).await;
                clean(actors)
                    .await
                    .map_err(|error| TestCaseError::fail(format!("cleaning up: {error}")))?;
                outcome
            })
        })
    });
    report.count("sequences of operations that were foretold", cases.into());
    match result {
        Ok(()) => {}
        Err(TestError::Fail(reason, steps)) => {
            report.finding("the model", format!("{reason}: {steps:?}"))
        }
        Err(error) => anyhow::bail!("{error}"),
    }
    Ok(())
}

async fn clean(actors: &mut [Actor]) -> Result<(), tokio_postgres::Error> {
    for actor in actors {
        actor.session.client.batch_execute("ROLLBACK").await?;
        actor.session.client.batch_execute("SELECT pg_advisory_unlock_all()").await?;
        actor.end_transaction();
        actor.session.model.session.clear();
    }
    Ok(())
}

async fn play(actors: &mut [Actor], steps: &[(usize, Step)]) -> Result<(), TestCaseError> {
    for (number, (actor, step)) in steps.iter().enumerate() {
        one(actors, *actor, step)
            .await
            .map_err(|error| TestCaseError::fail(format!("step {}: {error}", number + 1)))?;
    }
    Ok(())
}

/// One step, and all that can be seen of it; nothing if it makes no sense there.
async fn one(actors: &mut [Actor], number: usize, step: &Step) -> Result<()> {
    let available = |names: &[Name], exclusive: bool| {
        let excluded = |name: &Name| {
            actors
                .iter()
                .enumerate()
                .any(|(other, actor)| other != number && actor.excludes((key_of(name), exclusive)))
        };
        !names.iter().any(excluded)
    };
    match step {
        Step::Lock(call) => {
            let expected = available(&call.names, call.exclusive);
            lock(&mut actors[number], call, expected).await?;
        }
        Step::Look(names, exclusive) => {
            let available = available(names, *exclusive);
            look(&actors[number], names, *exclusive, available).await?;
        }
        Step::Unlock(names, exclusive) => unlock(&mut actors[number], names, *exclusive).await?,
        control => transaction(&mut actors[number], control).await?,
    }
    let actor = &actors[number];
    if !actor.failed {
        let (held, expected) = (actor.session.held().await?, actor.model().expected());
        anyhow::ensure!(held == expected, "held {held:?}, expected {expected:?}");
    }
    Ok(())
}

async fn lock(actor: &mut Actor, call: &Call, expected: bool) -> Result<()> {
    if actor.failed {
        return Ok(());
    }
    match actor.session.lock(call).await {
        Ok(locked) => {
            anyhow::ensure!(locked == expected, "locked: {locked}, expected: {expected}");
            if locked && (call.in_session || actor.in_transaction) {
                actor.session.model.call(call, actor.savepoints);
            }
        }
        Err(error) => {
            anyhow::ensure!(sqlstate(&error) == "55P03" && call.blocking && !expected, "{error}");
            actor.failed = actor.in_transaction;
            // Locks are released by the error already, not only by the ROLLBACK that has to follow: after it was
            // sent, but before the next statement.
            actor.session.client.batch_execute("").await?;
            actor.session.model.roll_back_to(actor.savepoints);
        }
    }
    Ok(())
}

async fn look(actor: &Actor, names: &[Name], exclusive: bool, available: bool) -> Result<()> {
    if actor.failed {
        return Ok(());
    }
    let row = actor
        .session
        .client
        .query_one(
            "SELECT holds_keys($1::text::text[], $2), keys_available($1::text::text[], $2)",
            &[&array(names), &!exclusive],
        )
        .await?;
    let holds = names
        .iter()
        .map(key_of)
        .all(|key| actor.holds((key, true)) || (!exclusive && actor.holds((key, false))));
    let seen: (bool, bool) = (row.get(0), row.get(1));
    anyhow::ensure!(
        seen == (holds, available),
        "holds, available: {seen:?}, expected {:?}",
        (holds, available)
    );
    Ok(())
}

async fn unlock(actor: &mut Actor, names: &[Name], exclusive: bool) -> Result<()> {
    if actor.failed {
        return Ok(());
    }
    let released = actor.session.unlock(names, exclusive).await?;
    let expected = actor.session.model.unlock(names, exclusive);
    anyhow::ensure!(released == expected, "released: {released}, expected: {expected}");
    Ok(())
}

async fn transaction(actor: &mut Actor, step: &Step) -> Result<()> {
    let client = &actor.session.client;
    match step {
        Step::Begin if !actor.in_transaction => {
            client.batch_execute("BEGIN").await?;
            actor.in_transaction = true;
        }
        Step::Commit if actor.in_transaction => {
            client.batch_execute("COMMIT").await?;
            actor.end_transaction();
        }
        Step::Rollback if actor.in_transaction => {
            client.batch_execute("ROLLBACK").await?;
            actor.end_transaction();
        }
        Step::Savepoint if actor.in_transaction && !actor.failed => {
            actor.savepoints += 1;
            client.batch_execute(&format!("SAVEPOINT s{}", actor.savepoints)).await?;
        }
        Step::RollbackTo if actor.savepoints > 0 => {
            client.batch_execute(&format!("ROLLBACK TO s{}", actor.savepoints)).await?;
            actor.failed = false;
            actor.session.model.roll_back_to(actor.savepoints);
        }
        Step::ReleaseSavepoint if actor.savepoints > 0 && !actor.failed => {
            client.batch_execute(&format!("RELEASE s{}", actor.savepoints)).await?;
            actor.savepoints -= 1;
            actor.session.model.release_savepoint(actor.savepoints);
        }
        _ => {}
    }
    Ok(())
}
