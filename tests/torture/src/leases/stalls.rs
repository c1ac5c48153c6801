//! Nothing waits for a caller that is stalled, but for the few milliseconds that are said.

use crate::leases::clock::now;
use crate::report::Report;
use crate::server::{Server, becomes_true};
use crate::session::sqlstate;
use anyhow::{Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio_postgres::Client;

/// What somebody does in a transaction, before its backend is stopped; and what others get meanwhile, who want the
/// lease, or have its token: from try, renew, release, holds and fence.
struct Stall {
    what: &'static str,
    /// The ttl of the lease that there is before, if there is one.
    before: Option<&'static str>,
    call: &'static str,
    /// Does the lease end before others come?
    ends: bool,
    answers: [&'static str; 5],
}

const STALLS: [Stall; 6] = [
    Stall {
        what: "takes a new name",
        before: None,
        call: "try_lease_key(NAME, '1 min')",
        ends: false,
        answers: ["NULL", "f", "f", "f", "55000"],
    },
    Stall {
        what: "takes a name over",
        before: Some("1 ms"),
        call: "try_lease_key(NAME, '1 min')",
        ends: true,
        answers: ["NULL", "f", "f", "f", "55000"],
    },
    Stall {
        what: "renews",
        before: Some("1 min"),
        call: "renew_lease_key(NAME, TOKEN, '1 min')",
        ends: false,
        answers: ["NULL", "55P03", "55P03", "t", ""],
    },
    Stall {
        what: "releases",
        before: Some("1 min"),
        call: "release_lease_key(NAME, TOKEN)",
        ends: false,
        answers: ["NULL", "55P03", "55P03", "t", ""],
    },
    Stall {
        what: "fences",
        before: Some("1 min"),
        call: "fence_lease_key(NAME, TOKEN)",
        ends: false,
        answers: ["NULL", "t", "t", "t", ""],
    },
    Stall {
        what: "has fenced what has ended since",
        before: Some("150 ms"),
        call: "fence_lease_key(NAME, TOKEN)",
        ends: true,
        answers: ["NULL", "f", "f", "f", "55000"],
    },
];

const CALLS: [&str; 5] = [
    "try_lease_key(NAME, '1 min')",
    "renew_lease_key(NAME, TOKEN, '1 min')",
    "release_lease_key(NAME, TOKEN)",
    "holds_lease_key(NAME, TOKEN)",
    "fence_lease_key(NAME, TOKEN)",
];

/// One of so many calls must be quick enough, since the machine may be busy:
const ATTEMPTS: usize = 8;
/// lock_timeout, and what all else takes.
const LONGEST_MS: i64 = 10 + 30;

pub async fn nobody_waits(server: &Server, report: &Report) -> Result<()> {
    let (admin, _) = server.connect_patiently().await?;
    for stall in STALLS {
        for (call, expected) in CALLS.into_iter().zip(stall.answers) {
            let mut quickest = i64::MAX;
            for attempt in 0..ATTEMPTS {
                let name = format!("'{{stall,{},{attempt}}}'", now());
                let (answer, micros) = beside(server, &admin, &stall, &name, call).await?;
                report.expect(answer == expected, "beside a stalled caller", || {
                    format!("{call} while somebody {}: {answer}, not {expected}", stall.what)
                });
                report.count("leases: calls beside a stalled one", 1);
                quickest = quickest.min(micros);
                if quickest <= 1000 * LONGEST_MS {
                    break;
                }
            }
            report.expect(
                quickest <= 1000 * LONGEST_MS,
                "nobody waits for a stalled caller",
                || format!("{call} while somebody {}: {quickest} µs", stall.what),
            );
            report.highest("leases: µs that a call took beside a stalled one", quickest as u64);
        }
    }
    Ok(())
}

/// The answer to a call while somebody is stalled, or its SQLSTATE; and the microseconds that it took.
async fn beside(
    server: &Server,
    admin: &Client,
    stall: &Stall,
    name: &str,
    call: &str,
) -> Result<(String, i64)> {
    let (stalled, process) = server.connect_patiently().await?;
    let (other, _) = server.connect_patiently().await?;
    other.batch_execute("SET statement_timeout = '2s'").await?;
    let token: i64 = match stall.before {
        None => 1,
        Some(ttl) => {
            let take = format!("SELECT advisory_leases.try_lease_key({name}, '{ttl}')");
            admin.query_one(&take, &[]).await?.get(0)
        }
    };
    let filled = |call: &str| {
        let call = call.replace("NAME", name).replace("TOKEN", &token.to_string());
        format!("SELECT coalesce(advisory_leases.{call}::text, 'NULL')")
    };
    let ended =
        format!("EXISTS (SELECT FROM advisory_leases.leases WHERE token = {token} AND expired)");
    let fences = stall.call.starts_with("fence");
    if stall.ends && !fences {
        ensure!(becomes_true(admin, &ended).await?, "the lease does not end");
    }
    stalled.batch_execute(&format!("BEGIN; {}", filled(stall.call))).await?;
    if stall.ends && fences {
        ensure!(becomes_true(admin, &ended).await?, "the lease does not end");
    }
    kill(Pid::from_raw(process), Signal::SIGSTOP)?;
    other.batch_execute("BEGIN").await?;
    let begun = now();
    let answer = other.query_one(&filled(call), &[]).await;
    let micros = now() - begun;
    kill(Pid::from_raw(process), Signal::SIGCONT)?;
    other.batch_execute("ROLLBACK").await?;
    stalled.batch_execute("ROLLBACK").await?;
    Ok(match answer {
        Ok(row) => (short(row.get(0)), micros),
        Err(error) => (sqlstate(&error).to_string(), micros),
    })
}

fn short(answer: String) -> String {
    match &*answer {
        "true" => "t".into(),
        "false" => "f".into(),
        _ => answer,
    }
}
