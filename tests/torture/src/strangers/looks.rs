//! Looks at names, of those who may not see them and of those who may.

use crate::report::Report;
use crate::server::{Server, await_waiting, truth};
use crate::session::key_of;
use crate::strangers::spy::Spy;
use anyhow::{Result, ensure};
use std::time::Duration;
use tokio_postgres::Client;

/// Begins every name that strangers must not see.
const SECRET: &str = "PATIENT";

/// A name that is secret.
fn secret(number: usize) -> [String; 2] {
    [SECRET.into(), number.to_string()]
}

/// What a stranger can think of, without a lock of the session's own.
fn looks(key: i64) -> Vec<String> {
    let all_keys = "SELECT advisory_key_name((classid::int8 << 32) | objid::int8) FROM pg_locks WHERE locktype = 'advisory'";
    let mut looks: Vec<String> = [
        "SELECT * FROM advisory_locks",
        "SELECT * FROM advisory_lock_entries()",
        "SELECT count(*) FROM advisory_locks WHERE tells(name)",
        "SELECT count(*) FROM advisory_lock_entries() WHERE tells(name)",
        "SELECT * FROM pg_locks",
        "SELECT * FROM pg_stat_activity",
        "SELECT * FROM pg_stat_get_activity(NULL)",
        "SELECT * FROM pg_shmem_allocations",
        "SELECT * FROM pg_prepared_xacts",
        all_keys,
    ]
    .map(String::from)
    .into();
    looks.push(format!("SELECT advisory_key_name({key})"));
    looks.push(format!("SELECT looks_for_others({key})"));
    looks.push(format!(
        "SET ROLE other; SELECT * FROM advisory_locks; SELECT advisory_key_name({key})"
    ));
    looks.push("RESET ROLE".into());
    looks
}

/// All roles, of each one session that looks; and one of the stranger's that does something.
struct Scene<'a> {
    server: &'a Server,
    report: &'a Report,
    admin: Client,
    owner: Spy,
    friends: Vec<(&'static str, Spy)>,
    late_member: Spy,
    knower: Spy,
    agent: Spy,
    spy: Spy,
}

pub async fn at_names(server: &Server, report: &Report) -> Result<()> {
    let (admin, _) = server.connect_patiently().await?;
    let mut friends = vec![];
    for role in ["owner", "member", "reader", "postgres"] {
        friends.push((role, Spy::new(server, role).await?));
    }
    let scene = Scene {
        server,
        report,
        admin,
        owner: Spy::new(server, "owner").await?,
        friends,
        late_member: Spy::new(server, "late_member").await?,
        knower: Spy::new(server, "knower").await?,
        agent: Spy::new(server, "stranger").await?,
        spy: Spy::new(server, "stranger").await?,
    };
    scene.owner_holds().await?;
    scene.stranger_waits().await?;
    scene.stranger_holds().await?;
    scene.owners_function().await?;
    scene.rows_of_others().await?;
    scene.deadlock().await?;
    scene.two_ways_to_split().await?;
    scene.prepared().await?;
    scene.pushed_out().await?;
    scene.owner_made_anew().await
}

impl Scene<'_> {
    /// The owner locks a name at session level; its key.
    async fn lock(&self, number: usize) -> Result<i64> {
        let name = secret(number);
        let statement =
            format!("SELECT lock_keys(ARRAY['{}', '{}'], session => true)", name[0], name[1]);
        self.owner.client.batch_execute(&statement).await?;
        Ok(key_of(&name))
    }

    fn hidden(&self, when: &str, seen: &str) {
        self.report.count("looks of strangers", 1);
        self.report.expect(!seen.contains(SECRET), "strangers", || format!("{when}: {seen}"));
    }

    fn shown(&self, when: &str, number: usize, seen: &str) {
        let name = secret(number).join("-");
        self.report.count("looks of those who may see", 1);
        self.report.expect(seen.contains(&name), "strangers", || {
            format!("{when}: {name} should be seen, and was not: {seen}")
        });
    }

    async fn stranger_looks(&self, when: &str, spy: &Spy, key: i64) {
        for look in looks(key) {
            let seen = spy.sees(&look).await;
            self.hidden(&format!("{when}, {look}"), &seen);
        }
    }

    /// Those with the owner's privileges, or all, see the name.
    async fn friends_look(&self, when: &str, number: usize) {
        let key = key_of(&secret(number));
        for (role, friend) in &self.friends {
            let seen = friend.sees(&format!("SELECT advisory_key_name({key})")).await;
            self.shown(&format!("{when}, {role}"), number, &seen);
        }
    }

    async fn owner_holds(&self) -> Result<()> {
        let key = self.lock(1).await?;
        self.stranger_looks("the owner holds it", &self.spy, key).await;
        self.friends_look("the owner holds it", 1).await;
        let rows = format!("SELECT name FROM advisory_locks WHERE key = {key}");
        for (role, friend) in &self.friends {
            self.shown(&format!("its row, {role}"), 1, &friend.sees(&rows).await);
        }
        let name = format!("SELECT advisory_key_name({key})");
        self.hidden("a member that does not inherit", &self.late_member.sees(&name).await);
        let as_owner = self.late_member.sees(&format!("SET ROLE owner; {name}")).await;
        self.shown("a member that has taken the role", 1, &as_owner);
        self.owner.unlock_all().await
    }

    /// A stranger takes the integer from `pg_locks` and waits for it: the row is the stranger's own.
    async fn stranger_waits(&self) -> Result<()> {
        let key = self.lock(2).await?;
        let mut waits: Vec<String> = ["", "_shared", "_xact", "_xact_shared"]
            .iter()
            .map(|kind| match kind.strip_prefix("_xact") {
                Some(mode) => format!("SELECT pg_advisory_xact_lock{mode}({key})"),
                None => format!("SELECT pg_advisory_lock{kind}({key})"),
            })
            .collect();
        waits.push(format!("SET ROLE other; SELECT pg_advisory_lock({key})"));
        for wait in waits {
            let waiting = self.agent.begin(&wait);
            await_waiting(&self.admin, self.agent.pid).await?;
            self.stranger_looks(&wait, &self.spy, key).await;
            // The line of log_lock_waits, which comes to those who ask for it; on a busy machine not at once.
            self.agent.awaits("still waiting").await;
            let cancel =
                self.spy.sees(&format!("SELECT pg_cancel_backend({})", self.agent.pid)).await;
            ensure!(
                cancel.starts_with('t'),
                "the stranger cannot cancel a session of its own: {cancel}"
            );
            let answer = waiting.await?;
            self.report.expect(answer.contains("still waiting"), "strangers", || {
                format!("{wait}: no line about a long wait: {answer}")
            });
            self.hidden(&wait, &answer);
            self.agent.client.batch_execute("RESET ROLE").await?;
        }
        let limited = format!("SET lock_timeout = '10ms'; SELECT pg_advisory_lock({key})");
        self.hidden("lock_timeout", &self.agent.sees(&limited).await);
        self.agent.client.batch_execute("RESET lock_timeout").await?;
        self.friends_look("a stranger has waited", 2).await;
        self.owner.unlock_all().await
    }

    /// When the owner does not hold it any more, or is gone, strangers take the integer themselves.
    async fn stranger_holds(&self) -> Result<()> {
        let guest = Spy::new(self.server, "owner").await?;
        guest.client.batch_execute("SELECT lock_keys('{PATIENT,3}', session => true)").await?;
        let key = key_of(&secret(3));
        drop(guest);
        for hold in [
            "SELECT pg_advisory_lock({key})",
            "SELECT pg_advisory_lock_shared({key})",
            "BEGIN; SELECT pg_advisory_xact_lock({key})",
            "BEGIN; SELECT pg_advisory_xact_lock_shared({key})",
            "SET ROLE other; SELECT pg_advisory_lock({key})",
            "SET ROLE other; BEGIN; SELECT pg_advisory_xact_lock({key})",
        ] {
            let hold = hold.replace("{key}", &key.to_string());
            self.agent.client.batch_execute(&hold).await?;
            self.stranger_looks(&hold, &self.spy, key).await;
            self.stranger_looks(&hold, &self.agent, key).await;
            self.friends_look(&hold, 3).await;
            self.agent
                .client
                .batch_execute("ROLLBACK; SELECT pg_advisory_unlock_all(); RESET ROLE")
                .await?;
        }
        Ok(())
    }

    /// A function of the owner locks for the stranger, whose session holds the lock then.
    async fn owners_function(&self) -> Result<()> {
        self.hidden("the owner's function", &self.agent.sees("SELECT locks_for_others(4)").await);
        let key = key_of(&secret(4));
        let held = format!(
            "EXISTS (SELECT FROM advisory_locks WHERE key = {key} AND pid = {})",
            self.agent.pid
        );
        ensure!(truth(&self.admin, &held).await?, "the owner's function does not lock");
        self.stranger_looks("the owner's function has locked", &self.agent, key).await;
        self.friends_look("the owner's function has locked", 4).await;
        self.agent.unlock_all().await
    }

    /// Who has locked by the name knows it, and sees it in rows of sessions that are not hidden otherwise.
    async fn rows_of_others(&self) -> Result<()> {
        let key = self.lock(5).await?;
        self.knower.client.batch_execute("SELECT try_lock_keys('{PATIENT,5}')").await?;
        let name = format!("SELECT advisory_key_name({key})");
        self.shown("who locks by it", 5, &self.knower.sees(&name).await);
        let row = format!("SELECT name FROM advisory_locks WHERE pid = {}", self.owner.pid);
        self.hidden("another's row", &self.knower.sees(&row).await);
        self.stranger_looks("another knows it too", &self.spy, key).await;
        self.friends_look("another knows it too", 5).await;

        self.owner.unlock_all().await?;
        self.knower.client.batch_execute(&format!("SELECT pg_advisory_lock({key})")).await?;
        let row = format!("SELECT name FROM advisory_locks WHERE pid = {}", self.knower.pid);
        self.shown("the own row", 5, &self.knower.sees(&row).await);
        self.knower.unlock_all().await
    }

    /// The victim of a deadlock is told of processes, not of names or statements.
    async fn deadlock(&self) -> Result<()> {
        let (first, second) = (key_of(&secret(6)), key_of(&secret(7)));
        self.owner.client.batch_execute("BEGIN; SELECT lock_keys('{PATIENT,6}')").await?;
        self.agent
            .client
            .batch_execute(&format!("BEGIN; SELECT pg_advisory_xact_lock({second})"))
            .await?;
        let owner = self.owner.begin("SELECT lock_keys('{PATIENT,7}')");
        await_waiting(&self.admin, self.owner.pid).await?;
        // The owner has looked for a deadlock by now, so it is the stranger who finds it.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let answer = self.agent.sees(&format!("SELECT pg_advisory_xact_lock({first})")).await;
        self.report.expect(answer.contains("deadlock detected"), "strangers", || {
            format!("no deadlock: {answer}")
        });
        self.hidden("a deadlock", &answer);
        self.agent.client.batch_execute("ROLLBACK").await?;
        owner.await?;
        Ok(self.owner.client.batch_execute("ROLLBACK").await?)
    }

    /// The line about a key of two names stands in the log, and comes to no client.
    async fn two_ways_to_split(&self) -> Result<()> {
        const LINE: &str = "one advisory key is used for two different names";
        let answer = self
            .owner
            .sees("SELECT try_lock_keys('{PATIENT,8,x}'), try_lock_keys('{PATIENT-8,x}')")
            .await;
        let log = std::fs::read_to_string(self.server.folder.join("server.log"))?;
        self.report.expect(log.contains(LINE) && !answer.contains(LINE), "strangers", || {
            format!("in the log: {}; to the client: {answer}", log.contains(LINE))
        });
        Ok(())
    }

    /// Nobody's process stands in the row of a prepared transaction.
    async fn prepared(&self) -> Result<()> {
        self.owner
            .client
            .batch_execute("BEGIN; SELECT lock_keys('{PATIENT,9}'); PREPARE TRANSACTION 'p'")
            .await?;
        let key = key_of(&secret(9));
        self.stranger_looks("a prepared transaction", &self.spy, key).await;
        self.friends_look("a prepared transaction", 9).await;
        Ok(self.owner.client.batch_execute("ROLLBACK PREPARED 'p'").await?)
    }

    /// A name that others push out of the record is nobody's, and comes back as the owner's.
    async fn pushed_out(&self) -> Result<()> {
        let key = self.lock(10).await?;
        self.owner
            .client
            .batch_execute(
                "DO $$ BEGIN FOR i IN 1..3000 LOOP
                   PERFORM lock_keys(ARRAY['more', i::text], session => true);
                   PERFORM unlock_keys(ARRAY['more', i::text]);
                 END LOOP; END $$",
            )
            .await?;
        for (role, friend) in &self.friends {
            let seen = friend.sees(&format!("SELECT advisory_key_name({key})")).await;
            self.hidden(&format!("pushed out of the record, {role}"), &seen);
        }
        self.stranger_looks("pushed out of the record", &self.spy, key).await;
        self.agent.client.batch_execute(&format!("SELECT pg_try_advisory_lock({key})")).await?;
        self.lock(10).await?;
        self.stranger_looks("recorded again", &self.spy, key).await;
        self.friends_look("recorded again", 10).await;
        self.owner.unlock_all().await
    }

    /// Another role of the same name is a stranger.
    async fn owner_made_anew(&self) -> Result<()> {
        let key = self.lock(11).await?;
        self.owner.unlock_all().await?;
        self.admin
            .batch_execute("DROP OWNED BY owner; DROP ROLE owner; CREATE ROLE owner LOGIN")
            .await?;
        let owner = Spy::new(self.server, "owner").await?;
        owner.client.batch_execute(&format!("SELECT pg_advisory_lock({key})")).await?;
        let name = format!("SELECT advisory_key_name({key}), name FROM advisory_locks");
        for (role, spy) in self.friends.iter().map(|(role, spy)| (*role, spy)) {
            let seen = spy.sees(&name).await;
            match role {
                "reader" | "postgres" => self.shown("the owner is gone", 11, &seen),
                // A session of the owner's goes on when the role is gone.
                "owner" => {}
                _ => self.hidden("a member of a role that is gone", &seen),
            }
        }
        self.hidden("another role of that name", &owner.sees(&name).await);
        self.stranger_looks("the owner is gone", &self.spy, key).await;
        Ok(())
    }
}
