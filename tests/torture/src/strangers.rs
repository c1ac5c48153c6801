//! Strangers: roles without grants that try to read names which are not theirs, in every way there is, and to
//! take the whole lock table. Those who may read the names do.

use crate::load::quiet;
use crate::report::Report;
use crate::server::{Server, await_waiting, config, truth};
use crate::session::{key_of, state};
use anyhow::{Context, Result, ensure};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_postgres::{AsyncMessage, Client, NoTls, SimpleQueryMessage};

/// A record that can be filled, and lines about long waits, which a client can ask for.
pub const SETTINGS: &str = "advisory_keys.max_names = 100\nlog_lock_waits = on";

/// Begins every name that strangers must not see.
const SECRET: &str = "PATIENT";

/// A name that is secret.
fn secret(number: usize) -> [String; 2] {
    [SECRET.into(), number.to_string()]
}

/// The functions of a stranger: one that shows what it is given, and one that looks with its owner's eyes. And
/// one of the owner's that locks for whoever calls it.
const SCHEMA: &str = "
    CREATE ROLE owner LOGIN;
    CREATE ROLE member LOGIN IN ROLE owner;
    CREATE ROLE late_member LOGIN NOINHERIT IN ROLE owner;
    CREATE ROLE reader LOGIN IN ROLE pg_read_all_stats;
    CREATE ROLE knower LOGIN;
    CREATE ROLE other LOGIN;
    CREATE ROLE stranger LOGIN IN ROLE other;
    CREATE FUNCTION tells(name text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$
      BEGIN RAISE NOTICE 'it is %', name; RETURN true; END $$;
    CREATE FUNCTION looks_for_others(key bigint) RETURNS SETOF text LANGUAGE sql SECURITY DEFINER AS $$
      SELECT l::text FROM advisory_locks AS l UNION ALL SELECT advisory_key_name(key) $$;
    ALTER FUNCTION tells OWNER TO other;
    ALTER FUNCTION looks_for_others OWNER TO other;
    CREATE FUNCTION locks_for_others(number int) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
      BEGIN PERFORM lock_keys(ARRAY[reverse('TNEITAP'), number::text], session => true); END $$;
    ALTER FUNCTION locks_for_others OWNER TO owner;";

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

/// Somebody who writes down all that the server sends: rows, errors with all their fields, messages of every level.
struct Spy {
    client: Arc<Client>,
    pid: i32,
    messages: Arc<Mutex<String>>,
}

impl Spy {
    async fn new(server: &Server, role: &str) -> Result<Self> {
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

    async fn sees(&self, statements: &str) -> String {
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

pub async fn look_and_loop(server: &Server, report: &Report) -> Result<()> {
    server.create_extension().await?;
    look(server, report).await?;
    loop_over_rows(server, report).await?;
    quiet(server, report).await
}

async fn look(server: &Server, report: &Report) -> Result<()> {
    let (admin, _) = server.connect_patiently().await?;
    admin.batch_execute(SCHEMA).await?;
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

    async fn unlock_all(&self, spy: &Spy) -> Result<()> {
        Ok(spy.client.batch_execute("SELECT pg_advisory_unlock_all()").await?)
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
        self.unlock_all(&self.owner).await
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
            let waiting = self.begin(&self.agent, &wait);
            await_waiting(&self.admin, self.agent.pid).await?;
            self.stranger_looks(&wait, &self.spy, key).await;
            // Long enough for the line of log_lock_waits, which comes to those who ask for it.
            tokio::time::sleep(Duration::from_millis(70)).await;
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
        self.unlock_all(&self.owner).await
    }

    /// What the spy sees of statements that wait.
    fn begin(&self, spy: &Spy, statements: &str) -> tokio::task::JoinHandle<String> {
        let spy = Spy { client: spy.client.clone(), pid: spy.pid, messages: spy.messages.clone() };
        let statements = statements.to_string();
        tokio::spawn(async move { spy.sees(&statements).await })
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
        self.unlock_all(&self.agent).await
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

        self.unlock_all(&self.owner).await?;
        self.knower.client.batch_execute(&format!("SELECT pg_advisory_lock({key})")).await?;
        let row = format!("SELECT name FROM advisory_locks WHERE pid = {}", self.knower.pid);
        self.shown("the own row", 5, &self.knower.sees(&row).await);
        self.unlock_all(&self.knower).await
    }

    /// The victim of a deadlock is told of processes, not of names or statements.
    async fn deadlock(&self) -> Result<()> {
        let (first, second) = (key_of(&secret(6)), key_of(&secret(7)));
        self.owner.client.batch_execute("BEGIN; SELECT lock_keys('{PATIENT,6}')").await?;
        self.agent
            .client
            .batch_execute(&format!("BEGIN; SELECT pg_advisory_xact_lock({second})"))
            .await?;
        let owner = self.begin(&self.owner, "SELECT lock_keys('{PATIENT,7}')");
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
        self.unlock_all(&self.owner).await
    }

    /// Another role of the same name is a stranger.
    async fn owner_made_anew(&self) -> Result<()> {
        let key = self.lock(11).await?;
        self.unlock_all(&self.owner).await?;
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

/// A stranger locks each row of a large table, in one way after the other. It gets an error, and others can
/// connect and lock.
async fn loop_over_rows(server: &Server, report: &Report) -> Result<()> {
    let (admin, _) = server.connect_patiently().await?;
    let stranger = Spy::new(server, "stranger").await?;
    stranger.client.batch_execute("SET client_min_messages = error").await?;
    let mut limit = None;
    for (number, (before, attempt)) in [
        ("", "SELECT lock_keys(ARRAY['row', i::text], session => true) FROM generate_series(1, 100000) AS i"),
        ("", "SELECT lock_keys(ARRAY['more', i::text], session => true) FROM generate_series(1, 100000) AS i"),
        ("", "SELECT lock_keys(ARRAY['row', i::text], shared => true, session => true) FROM generate_series(1, 100000) AS i"),
        ("", "SELECT try_lock_keys(ARRAY['row1', i::text]) FROM generate_series(1, 100000) AS i"),
        ("SELECT release_keys((SELECT array_agg(ARRAY['row', i::text]) FROM generate_series(1, 900) AS i)); \
          BEGIN; SELECT lock_keys((SELECT array_agg(ARRAY['row2', i::text]) FROM generate_series(1, 900) AS i)); SAVEPOINT s",
         "SELECT try_lock_keys(ARRAY[['row3', i::text], ['row4', i::text]]) FROM generate_series(1, 100000) AS i"),
        ("ROLLBACK TO s", "SELECT try_lock_keys(ARRAY['row5', i::text]) FROM generate_series(1, 100000) AS i"),
        ("ROLLBACK; SELECT pg_advisory_unlock_all(); BEGIN", "SELECT try_lock_keys(ARRAY['row6', i::text]) FROM generate_series(1, 100000) AS i"),
        ("ROLLBACK", "SELECT lock_keys((SELECT array_agg(ARRAY['row' || j, i::text]) FROM generate_series(1, 900) AS i), session => true) \
          FROM generate_series(1, 100) AS j"),
    ]
    .into_iter()
    .enumerate()
    {
        stranger.client.batch_execute(before).await?;
        let answer = stranger.client.simple_query(attempt).await;
        let error = answer.as_ref().err();
        let code = error.map_or("no error", state);
        // "The session holds …, … allows 1234."
        let detail = error.and_then(|error| error.as_db_error()?.detail()).unwrap_or_default();
        limit = limit.or_else(|| detail.trim_end_matches('.').rsplit(' ').next()?.parse::<i64>().ok());
        let count = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = $1";
        let held: i64 = admin.query_one(count, &[&stranger.pid]).await?.get(0);
        report.expect(
            code == "54000" && limit.is_some_and(|limit| held <= limit),
            "resources",
            || format!("{code} from {attempt}; held {held} of {limit:?}"),
        );
        let others = Spy::new(server, "other").await?;
        let locked = truth(
            &others.client,
            &format!("bool_and(try_lock_keys(ARRAY['other{number}', i::text])) FROM generate_series(1, 500) AS i"),
        )
        .await?;
        report.expect(locked, "resources", || format!("after {attempt} another cannot lock"));
        report.count("loops over the rows of a large table", 1);
    }
    stranger.client.batch_execute("SELECT pg_advisory_unlock_all()").await?;
    let again = truth(&stranger.client, "try_lock_keys('{again}', session => true)").await?;
    report.expect(again, "resources", || "refused when nothing is held".into());
    let seen = stranger.sees("SET advisory_keys.max_keys_per_session = 0").await;
    report.expect(seen.contains("42501"), "resources", || format!("raising the limit: {seen}"));
    Ok(())
}
