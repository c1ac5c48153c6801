//! What a client does in one turn, chosen at random: one call, or a transaction.

use crate::leases::client::{Answer, Client, Held, is_gone};
use crate::leases::clock::{Moment, Times, micros, now};
use crate::leases::failovers::AHEAD;
use crate::leases::history::Write;
use crate::leases::lease::Lease;
use crate::leases::world::{HOT, ROLES, TTL_MS, role};
use crate::server::PATIENCE;
use crate::session::sqlstate;
use anyhow::Result;
use rand::Rng;
use rand::seq::IndexedRandom;
use std::time::Duration;
use tokio_postgres::Error;

/// What a transaction has done so far, which counts if it is committed.
#[derive(Default)]
pub struct Trial {
    pub held: Option<Held>,
    pub writes: Vec<Write>,
    /// The lease that it tried to get, whatever came of it.
    pub wanted: Option<Wanted>,
    /// Is its only call all of it?
    pub is_single: bool,
    /// What it runs as.
    pub role: Option<usize>,
    /// The backend that it runs in, if that is known.
    pub process: Option<i32>,
}

/// A lease that a client tries to get.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub name: String,
    pub holder: String,
    pub ttl_ms: i64,
    pub sent: Moment,
}

impl Wanted {
    pub fn call(&self) -> String {
        let Self { name, holder, ttl_ms, .. } = self;
        format!("SELECT advisory_leases.try_lease_key('{name}', '{ttl_ms} ms', '{holder}')")
    }
}

const DAY_MS: i64 = 86_400_000;

/// How a transaction ended.
enum End {
    /// By a commit that was sent, and known to be one, then.
    Committed(Moment, Moment),
    RolledBack(Option<Error>),
    Unknown(Error),
}

impl Client {
    pub async fn take_turn(&mut self) -> Result<()> {
        if self.world.keeps && self.random.random_bool(0.2) {
            return self.keep().await;
        }
        if self.random.random_bool(0.1) {
            self.pause(TTL_MS.end as u64).await;
        }
        let chosen = self.random.random_range(0..3);
        let held = (chosen < self.leases.len()).then(|| self.leases.swap_remove(chosen));
        if let Some(held) = &held
            && self.random.random_bool(0.05)
            && let Err(error) = self.as_a_stranger(&held.lease).await
        {
            self.sort_out(&error);
            self.recover(&error).await?;
        }
        let is_single = self.random.random_bool(0.3);
        let process = self.connection.process;
        let mut trial = Trial { held: held.clone(), is_single, process, ..Trial::default() };
        let end = match is_single {
            true => self.single(&mut trial).await,
            false => self.transaction(&mut trial).await,
        };
        self.settle(held, trial, end).await
    }

    /// One call, which is a transaction of its own.
    async fn single(&mut self, trial: &mut Trial) -> End {
        match self.act(trial).await {
            Ok((sent, answered)) => End::Committed(sent, answered),
            Err(error) if is_refusal(&error) => End::RolledBack(Some(error)),
            Err(error) => End::Unknown(error),
        }
    }

    async fn transaction(&mut self, trial: &mut Trial) -> End {
        match self.within(trial).await {
            Ok(()) => {}
            Err(error) => return End::RolledBack(Some(error)),
        }
        if self.random.random_bool(0.1) {
            return End::RolledBack(self.say("ROLLBACK").await.err());
        }
        match self.send("COMMIT", trial).await {
            Ok(answer) => End::Committed(answer.sent, answer.answered),
            Err(error) if is_refusal(&error) => End::RolledBack(Some(error)),
            Err(error) => End::Unknown(error),
        }
    }

    /// What comes before the end of a transaction.
    async fn within(&mut self, trial: &mut Trial) -> Result<(), Error> {
        trial.role = match &trial.held {
            None => self.any_role(),
            // A superuser has the rights of all.
            Some(_) if self.random.random_bool(0.2) => None,
            Some(held) => held.lease.role,
        };
        self.begin(trial).await?;
        for _ in 0..self.random.random_range(1..=3) {
            if self.random.random_bool(0.1) {
                self.pause(TTL_MS.end as u64).await;
            }
            self.act(trial).await?;
        }
        Ok(())
    }

    fn any_role(&mut self) -> Option<usize> {
        Some(self.random.random_range(0..=ROLES)).filter(|&role| role < ROLES)
    }

    fn any_commit(&mut self) -> &'static str {
        self.world.commits.choose(&mut self.random).expect("a choice")
    }

    async fn begin(&mut self, trial: &mut Trial) -> Result<(), Error> {
        const LEVELS: [&str; 3] = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"];
        let level = LEVELS.choose(&mut self.random).expect("a choice");
        let commit = self.any_commit();
        let mut begin =
            format!("BEGIN ISOLATION LEVEL {level}; SET LOCAL synchronous_commit = {commit}");
        if let Some(number) = trial.role {
            begin += &format!("; SET LOCAL ROLE {}", role(number));
        }
        if self.random.random_bool(0.5) {
            // In stricter isolation this takes the snapshot.
            begin += "; SELECT pg_backend_pid()";
        }
        let process = self.say(&begin).await?.value;
        trial.process = trial.process.or(process.and_then(|process| process.parse().ok()));
        if self.random.random_bool(0.1) {
            self.pause(TTL_MS.end as u64).await;
        }
        Ok(())
    }

    /// Takes a lease, or does something with that which there is. Returns when it was sent and answered.
    async fn act(&mut self, trial: &mut Trial) -> Result<Times, Error> {
        let Some(mut held) = trial.held.take() else { return self.try_to_take(trial).await };
        let lease = &mut held.lease;
        let outcome = match self.random.random_range(0..100) {
            0..35 => self.renew(lease, trial).await,
            35..65 => self.write(lease, trial).await,
            65..80 => self.release(lease, trial).await,
            80..90 => self.look(lease, trial).await,
            _ => self.look_at_the_view(lease, trial).await,
        };
        trial.held = Some(held);
        outcome
    }

    /// What is known after the end of a transaction.
    async fn settle(&mut self, before: Option<Held>, trial: Trial, end: End) -> Result<()> {
        match end {
            End::Committed(sent, answered) => {
                for write in trial.writes {
                    self.world.history.write(Write { commit_sent: sent, ..write });
                }
                if let Some(mut held) = trial.held {
                    if before.is_none() {
                        held.committed = answered;
                    }
                    self.put_back(held);
                }
                Ok(())
            }
            End::RolledBack(error) => {
                if let Some(mut held) = before {
                    held.lease.over |=
                        error.as_ref().is_some_and(|error| sqlstate(error) == "55000");
                    self.put_back(held);
                }
                let Some(error) = error else { return Ok(()) };
                self.sort_out(&error);
                self.recover(&error).await
            }
            End::Unknown(error) => {
                self.sort_out(&error);
                self.recover(&error).await?;
                match (before, trial.held) {
                    (Some(before), Some(trial)) => {
                        let lease = trial.lease.or(&before.lease);
                        self.put_back(Held { lease, ..before });
                        Ok(())
                    }
                    (_, taken) => self.look_for(trial.wanted, taken).await,
                }
            }
        }
    }

    fn put_back(&mut self, held: Held) {
        match held.lease.over {
            true => self.note(held),
            false => self.leases.push(held),
        }
    }

    /// Nobody knows whether the lease that it wanted was granted.
    async fn look_for(&mut self, wanted: Option<Wanted>, taken: Option<Held>) -> Result<()> {
        let Some(wanted) = wanted else { return Ok(()) };
        let Some(found) = self.found_by_holder(&wanted).await? else { return Ok(()) };
        // It may have been renewed or released in the same transaction.
        let told = taken.map_or_else(|| found.lease.clone(), |taken| taken.lease);
        let ahead = if self.world.is_durable { 0 } else { AHEAD };
        let fits = [0, ahead].contains(&(found.lease.token - told.token));
        self.world.report.expect(fits, "leases and the view", || {
            format!("{wanted:?} was granted as {}, shown as {}", told.token, found.lease.token)
        });
        self.put_back(Held { lease: told.or(&found.lease), ..found });
        Ok(())
    }

    /// After a lost reply the view knows it, by the holder.
    async fn found_by_holder(&mut self, wanted: &Wanted) -> Result<Option<Held>> {
        let Wanted { name, holder, ttl_ms, sent } = wanted;
        let statement =
            format!("SELECT token FROM advisory_leases.leases WHERE holder = '{holder}'");
        let end = now() + micros(PATIENCE);
        let answer = loop {
            match self.say(&statement).await {
                Ok(answer) => break answer,
                Err(error) if now() > end => return Err(error.into()),
                Err(error) => self.recover(&error).await?,
            }
        };
        let Some(token) = answer.number() else { return Ok(None) };
        self.world.report.count("leases: found by their holder after a lost reply", 1);
        let lease = Lease::taken(name.clone(), token, None, (*sent, answer.answered), *ttl_ms);
        Ok(Some(Held { lease, begun: *sent, committed: answer.answered }))
    }

    /// Is it an error that may come?
    fn sort_out(&self, error: &Error) {
        if is_gone(error) {
            return;
        }
        match sqlstate(error) {
            code @ ("40001" | "55P03" | "55000" | "57014") => {
                self.world.report.count(&format!("leases: errors {code}"), 1);
            }
            _ => self.world.report.finding("error codes", format!("{error:?}")),
        }
    }

    /// Sends what ends a transaction, or may be all of it.
    pub async fn send(&mut self, statement: &str, trial: &Trial) -> Result<Answer, Error> {
        match (self.random.random_range(0..100), trial.process) {
            (0..3, Some(process)) => {
                let time = self.random.random_range(1..2 * TTL_MS.end as u64);
                self.say_stopped(statement, process, Duration::from_millis(time)).await
            }
            (3..5, _) => {
                let time = self.random.random_range(0..3000);
                self.say_and_hang_up(statement, Duration::from_micros(time)).await
            }
            _ => self.say(statement).await,
        }
    }

    /// A name that is on its own, leased for longer than the run takes.
    async fn keep(&mut self) -> Result<()> {
        self.world.report.count(WANTED_ALONE, 1);
        let wanted = self.want();
        let name = format!("{{kept,{}}}", wanted.holder.replace('-', ","));
        let wanted = Wanted { name, ttl_ms: DAY_MS, ..wanted };
        let commit = self.any_commit();
        let call =
            format!("BEGIN; SET LOCAL synchronous_commit = {commit}; {}; COMMIT", wanted.call());
        let held = match self.send(&call, &Trial::default()).await {
            Ok(answer) => match answer.number() {
                Some(token) => {
                    let lease =
                        Lease::taken(wanted.name, token, None, answer.times(), wanted.ttl_ms);
                    Some(Held { lease, begun: answer.sent, committed: answer.answered })
                }
                None => {
                    let report = &self.world.report;
                    report.count(REFUSED, 1);
                    let (refused, all) = (report.get(REFUSED), report.get(WANTED_ALONE));
                    report.expect(refused <= 3 + all / 50, "leases refused without reason", || {
                        format!("{refused} of {all} that nobody else wanted, the last of them {wanted:?}")
                    });
                    None
                }
            },
            Err(error) => {
                self.sort_out(&error);
                self.recover(&error).await?;
                self.found_by_holder(&wanted).await?
            }
        };
        if let Some(held) = held {
            self.world.keep(held.lease.name.clone(), held.lease.token);
            self.note(held);
        }
        Ok(())
    }

    /// The name of a lease that many want, and what else belongs to a call for it.
    pub fn want(&mut self) -> Wanted {
        self.wanted += 1;
        Wanted {
            name: format!("{{lease,{}}}", self.random.random_range(0..HOT)),
            holder: format!("{}-{}-{}", self.since, self.number, self.wanted),
            ttl_ms: self.random.random_range(TTL_MS),
            sent: now(),
        }
    }
}

/// Calls for a name that nobody else wants.
const WANTED_ALONE: &str = "leases: names wanted by one alone";
/// Refused all the same: on a busy server a call can wait for more than the 10 ms that it allows itself, to make the
/// table longer, say.
const REFUSED: &str = "leases: names wanted by one alone and refused";

/// Does it say that nothing was done?
fn is_refusal(error: &Error) -> bool {
    matches!(sqlstate(error), "40001" | "55P03" | "55000")
}
