//! Torture for advisory_keys: load, races, crashes and random arguments, each answer held against reality.

mod acquire;
mod aftermath;
mod arguments;
mod claims;
mod crashes;
mod faults;
mod fuzz;
mod leaks;
mod leases;
mod load;
mod model;
mod parallel;
mod part;
mod pooler;
mod process;
mod queue;
mod races;
mod report;
mod server;
mod session;
mod slots;
mod statistics;
mod strangers;

use anyhow::{Context, Result, bail, ensure};
use arguments::{Arguments, Length};
use clap::{Parser, ValueEnum};
use part::Part;
use report::Report;
use server::{Edition, Server};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(rand::random);
    println!("seed {seed}");
    let begun = Instant::now();
    let edition = match (&arguments.library, &arguments.portable) {
        (Some(library), _) => Edition::Native(library.clone()),
        (None, Some(file)) => Edition::Portable(file.clone()),
        (None, None) => bail!("nothing to torture"),
    };
    let leases = arguments.leases.as_deref();
    let server = Arc::new(Server::create(&arguments.bindir, &arguments.folder, edition, leases)?);
    let report = Arc::new(Report::new(arguments.until.clone()));
    let outcome = rounds(&arguments, &server, &report, seed, begun).await;
    if let Err(error) = &outcome {
        let sql = error.downcast_ref::<tokio_postgres::Error>().is_some_and(|e| e.code().is_some());
        report.finding(if sql { "error codes" } else { "the run" }, format!("{error:#}"));
    }
    server.stop()?;
    report.set_seconds(begun.elapsed().as_secs());
    report.print();
    if let Some(path) = &arguments.report {
        std::fs::write(path, report.to_json())?;
    }
    match report.findings() {
        0 => println!("no findings"),
        count => {
            println!("{count} findings");
            std::process::exit(1);
        }
    }
    Ok(())
}

async fn rounds(
    arguments: &Arguments,
    server: &Arc<Server>,
    report: &Arc<Report>,
    seed: u64,
    begun: Instant,
) -> Result<()> {
    report.set_version(&server.version().await?);
    server.create_extension().await?;
    load::prepare(server).await?;
    races::prepare(server).await?;
    parallel::prepare(server).await?;
    let parts: Vec<Part> = match arguments.only.as_slice() {
        [] => Part::value_variants().iter().copied().filter(|part| part.is_for(server)).collect(),
        only => only.to_vec(),
    };
    ensure!(parts.iter().all(|part| part.is_for(server)), "not of the portable edition");
    if parts.iter().any(|part| part.is_about_leases()) {
        leases::prepare(server).await?;
    }
    if arguments.size == Length::Quick {
        return round(&parts, arguments.size, server, report, seed).await;
    }
    let end = Duration::from_secs(60 * arguments.minutes);
    for number in 0.. {
        let seed = seed.wrapping_add(1000 * number);
        round(&parts, arguments.size, server, report, seed).await?;
        let seconds = begun.elapsed().as_secs();
        println!(
            "round {number}: {} minutes, {} operations ({} a second), {} findings",
            seconds / 60,
            report.get("operations"),
            report.get("operations") / seconds.max(1),
            report.findings()
        );
        if begun.elapsed() >= end || report.enough() {
            break;
        }
    }
    Ok(())
}

/// Each part once; findings of what came before do not keep the rest from running.
async fn round(
    parts: &[Part],
    size: Length,
    server: &Arc<Server>,
    report: &Arc<Report>,
    seed: u64,
) -> Result<()> {
    for part in parts {
        let begun = Instant::now();
        tokio::select! {
            done = part.run(size, server, report, seed) => {
                done.with_context(|| format!("{part:?}"))?
            }
            () = tokio::time::sleep(LONGEST_PART) => {
                report.finding("waits that never end", format!("{part:?}"));
                return Ok(());
            }
            () = enough(report) => return Ok(()),
        }
        println!("{:>6} ms  {part:?}", begun.elapsed().as_millis());
    }
    Ok(())
}

/// A part that has not ended after this long never will.
const LONGEST_PART: Duration = Duration::from_secs(600);

/// Returns when there is no need to go on.
async fn enough(report: &Report) {
    while !report.enough() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
