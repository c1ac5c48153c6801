//! Torture for advisory_keys: load, races, crashes and random arguments, each answer held against reality.

mod crashes;
mod fuzz;
mod history;
mod load;
mod queue;
mod races;
mod report;
mod server;
mod session;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use crashes::Crash;
use load::Size;
use races::{End, Side};
use report::Report;
use server::Server;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[derive(Parser)]
struct Arguments {
    /// Where the programs of the Postgres to torture are.
    #[arg(long)]
    bindir: PathBuf,
    /// An empty folder for its server, owned by the user that it runs as.
    #[arg(long)]
    folder: PathBuf,
    /// How much.
    #[arg(long, value_enum, default_value = "quick")]
    size: Length,
    /// Of the long size: minutes after which no new round begins.
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// Where chance begins; random if not given.
    #[arg(long)]
    seed: Option<u64>,
    /// A file for the counts and findings, as JSON.
    #[arg(long)]
    report: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Length {
    Quick,
    Long,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(rand::random);
    println!("seed {seed}");
    let begun = Instant::now();
    let server = Arc::new(Server::create(&arguments.bindir, &arguments.folder)?);
    let report = Arc::new(Report::default());
    let outcome = rounds(&arguments, &server, &report, seed, begun).await;
    if let Err(error) = &outcome {
        report.finding("the run", format!("{error:#}"));
    }
    server.stop()?;
    println!("\nafter {} s:", begun.elapsed().as_secs());
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

async fn rounds(arguments: &Arguments, server: &Arc<Server>, report: &Arc<Report>, seed: u64, begun: Instant) -> Result<()> {
    load::prepare(server).await?;
    races::prepare(server).await?;
    if arguments.size == Length::Quick {
        return round(server, report, seed).await;
    }
    let end = Duration::from_secs(60 * arguments.minutes);
    for number in 0.. {
        round(server, report, seed.wrapping_add(1000 * number)).await?;
        let minutes = begun.elapsed().as_secs_f64() / 60.0;
        println!("round {number}: {minutes:.1} minutes, {} operations, {} findings",
            report.get("operations"), report.findings());
        if begun.elapsed() >= end {
            break;
        }
    }
    Ok(())
}

/// Everything once; findings of what came before do not keep the rest from running.
async fn round(server: &Arc<Server>, report: &Arc<Report>, seed: u64) -> Result<()> {
    step("load, with cancels and terminations");
    let size = Size { clients: 32, operations: 200_000, cancels: 5_000, terminations: 200, seed };
    load::run(server.clone(), report.clone(), size).await?;

    step("timeouts that race with a release");
    races::timeouts(server, report, Side::AdvisoryKeys, 10_000, seed).await?;
    for side in [Side::Core, Side::Naive] {
        races::timeouts(server, report, side, 1_000, seed).await?;
    }
    step("the same race with a stopped waiter");
    for number in 0..34 {
        for (i, end) in [End::Timeout, End::Cancel, End::StatementTimeout].into_iter().enumerate() {
            races::stopped(server, report, Side::AdvisoryKeys, end, 3 * number + i).await?;
        }
    }
    for side in Side::ALL {
        for number in 0..5 {
            races::stopped(server, report, side, End::Timeout, 1000 + number).await?;
        }
    }
    step("queues and clocks");
    queue::in_order(server, report, 10).await?;
    queue::on_time(server, report, 200).await?;
    step("random arguments");
    fuzz::run(server, report, 20_000, seed).await?;
    crashes::full_lock_table(server, report).await?;
    step("crashes and restarts");
    for number in 0..5 {
        crashes::under_load(server, report, Crash::Backend, seed + number).await?;
    }
    for (number, crash) in [Crash::Postmaster, Crash::Postmaster, Crash::RestartFast, Crash::RestartImmediate].into_iter().enumerate() {
        crashes::under_load(server, report, crash, seed + 10 + number as u64).await?;
    }
    load::quiet(server, report).await
}

fn step(what: &str) {
    println!("==> {what}");
}
