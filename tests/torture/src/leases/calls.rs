//! The calls for leases, each held against what its client knows.

use crate::leases::client::{Answer, Client, Held};
use crate::leases::clock::{Moment, Times, now};
use crate::leases::history::Write;
use crate::leases::lease::{Contradiction, Lease};
use crate::leases::turn::Trial;
use crate::leases::world::{ROLES, TTL_MS, role};
use crate::session::sqlstate;
use rand::Rng;
use tokio_postgres::Error;

impl Client {
    pub async fn try_to_take(&mut self, trial: &mut Trial) -> Result<Times, Error> {
        let wanted = trial.wanted.insert(self.want()).clone();
        let answer = self.send(&wanted.call(), trial).await?;
        match answer.number() {
            None => {
                trial.wanted = None;
                self.world.report.count("leases: refused", 1);
            }
            Some(token) => {
                let lease =
                    Lease::taken(wanted.name, token, trial.role, answer.times(), wanted.ttl_ms);
                trial.held = Some(Held { lease, begun: answer.sent, committed: Moment::MAX });
            }
        }
        Ok(answer.times())
    }

    pub async fn renew(&mut self, lease: &mut Lease, trial: &Trial) -> Result<Times, Error> {
        let (begun, ttl_ms) = (now(), self.random.random_range(TTL_MS));
        let call = format!(
            "SELECT advisory_leases.renew_lease_key('{}', {}, '{ttl_ms} ms')",
            lease.name, lease.token
        );
        let answer = match self.send(&call, trial).await {
            Ok(answer) => answer,
            Err(error) => {
                lease.perhaps_extend(begun, ttl_ms);
                return Err(error);
            }
        };
        self.judge(lease, "renewal", answer.is_true(), answer.times());
        match answer.is_true() {
            true => lease.extend(answer.times(), ttl_ms),
            false => lease.over = true,
        }
        let what = if lease.over { "leases: renewals in vain" } else { "leases: renewals" };
        self.world.report.count(what, 1);
        Ok(answer.times())
    }

    pub async fn release(&mut self, lease: &mut Lease, trial: &Trial) -> Result<Times, Error> {
        let call =
            format!("SELECT advisory_leases.release_lease_key('{}', {})", lease.name, lease.token);
        let before = lease.clone();
        // Whatever comes of it, nobody counts on the lease from here on.
        lease.least = lease.least.min(now());
        let answer = self.send(&call, trial).await?;
        self.judge(&before, "release", answer.is_true(), answer.times());
        lease.over = true;
        self.world.report.count("leases: releases", answer.is_true().into());
        Ok(answer.times())
    }

    /// Fences, and writes.
    pub async fn write(&mut self, lease: &mut Lease, trial: &mut Trial) -> Result<Times, Error> {
        let Lease { name, token, .. } = &*lease;
        let fence = format!("SELECT advisory_leases.fence_lease_key('{name}', {token})");
        let insert = format!("INSERT INTO fenced VALUES ('{name}', {token})");
        let write = Write { name: name.clone(), token: *token, commit_sent: Moment::MAX };
        let begun = now();
        let call = if trial.is_single { format!("{fence}; {insert}") } else { fence };
        let times = match self.send(&call, trial).await {
            Ok(answer) => {
                self.judge(lease, "fence", true, answer.times());
                answer.times()
            }
            Err(error) => {
                if sqlstate(&error) == "55000" {
                    self.judge(lease, "fence", false, (begun, now()));
                }
                return Err(error);
            }
        };
        if !trial.is_single {
            if self.random.random_bool(0.3) {
                self.pause(2 * TTL_MS.end as u64).await;
            }
            self.say(&insert).await?;
        }
        trial.writes.push(write);
        Ok(times)
    }

    pub async fn look(&mut self, lease: &mut Lease, trial: &Trial) -> Result<Times, Error> {
        let call =
            format!("SELECT advisory_leases.holds_lease_key('{}', {})", lease.name, lease.token);
        let answer = self.send(&call, trial).await?;
        self.judge(lease, "look", answer.is_true(), answer.times());
        lease.over |= !answer.is_true();
        self.world.report.count("leases: looks", 1);
        Ok(answer.times())
    }

    pub async fn look_at_the_view(&mut self, lease: &Lease, trial: &Trial) -> Result<Times, Error> {
        let call = format!(
            "SELECT (extract(epoch FROM expires_at) * 1000000)::bigint FROM advisory_leases.leases \
             WHERE name = array_to_string('{}'::text[], '-') AND token = {}",
            lease.name, lease.token
        );
        let answer = self.send(&call, trial).await?;
        self.world.report.count("leases: looks at the view", 1);
        if self.world.is_durable && !lease.over {
            let fits = match answer.number() {
                Some(end) => (lease.least..=lease.most).contains(&end),
                // Somebody else has taken it.
                None => answer.answered >= lease.least,
            };
            self.world.report.expect(fits, "leases and the view", || {
                format!("{lease:?} ends {:?} at {:?}", answer.value, answer.times())
            });
        }
        Ok(answer.times())
    }

    /// With the token, but without the rights of the role that took the lease.
    pub async fn as_a_stranger(&mut self, lease: &Lease) -> Result<(), Error> {
        let first = self.random.random_range(0..ROLES);
        let stranger = if lease.role == Some(first) { (first + 1) % ROLES } else { first };
        self.say(&format!("BEGIN; SET LOCAL ROLE {}", role(stranger))).await?;
        let Lease { name, token, .. } = lease;
        let call = match self.random.random_range(0..4) {
            0 => format!("renew_lease_key('{name}', {token}, '1 hour')"),
            1 => format!("release_lease_key('{name}', {token})"),
            2 => format!("holds_lease_key('{name}', {token})"),
            _ => format!("fence_lease_key('{name}', {token}) IS NOT NULL"),
        };
        let answer = self.say(&format!("SELECT advisory_leases.{call}")).await;
        self.world.report.count("leases: calls of strangers with the token", 1);
        self.world.report.expect(
            !answer.as_ref().is_ok_and(Answer::is_true),
            "leases of others",
            || format!("{call} by {} of {lease:?}", role(stranger)),
        );
        answer?;
        self.say("ROLLBACK").await?;
        Ok(())
    }

    fn judge(&self, lease: &Lease, what: &str, ours: bool, times: Times) {
        if !self.world.is_durable {
            return;
        }
        let check = match lease.contradiction(ours, times) {
            None => return,
            Some(Contradiction::LostTooEarly) => "leases last",
            Some(Contradiction::OursAgain | Contradiction::OursTooLong) => {
                "what is lost stays lost"
            }
        };
        self.world.report.finding(check, format!("{what}: {ours} at {times:?} of {lease:?}"));
    }
}
