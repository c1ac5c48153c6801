//! Torture for advisory_keys: load, races, crashes and random arguments, each answer held against reality.

mod acquire;
mod claims;
mod crashes;
mod faults;
mod fuzz;
mod history;
mod leaks;
mod load;
mod model;
mod nemesis;
mod parallel;
mod pooler;
mod queue;
mod races;
mod report;
mod server;
mod session;
mod slots;
mod statistics;
mod strangers;
mod turn;

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, ValueEnum};
use crashes::Crash;
use load::Size;
use races::{End, Side};
use report::Report;
use server::{Edition, Server};
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
    /// The library of the extension to torture; its SQL is taken from the server.
    #[arg(long, required_unless_present = "portable")]
    library: Option<PathBuf>,
    /// The file of the portable edition, to torture that.
    #[arg(long, conflicts_with = "library")]
    portable: Option<PathBuf>,
    /// How much.
    #[arg(long, value_enum, default_value = "quick")]
    size: Length,
    /// Of the long size: minutes after which no new round begins.
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// Where chance begins; random if not given.
    #[arg(long)]
    seed: Option<u64>,
    /// End when each of these checks has a finding.
    #[arg(long, value_delimiter = ';', value_parser = |check: &str| anyhow::Ok(check.trim().to_string()))]
    until: Vec<String>,
    /// Only these parts of a round; all if not given.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
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
    let edition = match (&arguments.library, &arguments.portable) {
        (Some(library), _) => Edition::Native(library.clone()),
        (None, Some(file)) => Edition::Portable(file.clone()),
        (None, None) => bail!("nothing to torture"),
    };
    let server = Arc::new(Server::create(&arguments.bindir, &arguments.folder, edition)?);
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
    if arguments.size == Length::Quick {
        return round(&parts, server, report, seed).await;
    }
    let end = Duration::from_secs(60 * arguments.minutes);
    for number in 0.. {
        round(&parts, server, report, seed.wrapping_add(1000 * number)).await?;
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
    server: &Arc<Server>,
    report: &Arc<Report>,
    seed: u64,
) -> Result<()> {
    for part in parts {
        let begun = Instant::now();
        tokio::select! {
            done = part_of_a_round(*part, server, report, seed) => {
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

/// What a round consists of, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    StoppedWaiters,
    AllOrNothing,
    OppositeOrders,
    Model,
    Queues,
    ParallelQueries,
    Strangers,
    Memory,
    RacingTimeouts,
    Load,
    SlotStarts,
    SlotQueues,
    SlotWakeUps,
    SlotRaces,
    SlotDeadlocks,
    SlotOrders,
    SlotStorm,
    Claims,
    Acquire,
    Statistics,
    RandomArguments,
    Faults,
    Pooler,
    SlotKills,
    Crashes,
}

impl Part {
    /// The rest is about the library, or its memory, or what the portable edition does not have.
    fn is_for(self, server: &Server) -> bool {
        use Part::*;
        server.is_native()
            || matches!(
                self,
                StoppedWaiters
                    | AllOrNothing
                    | OppositeOrders
                    | Model
                    | Queues
                    | RacingTimeouts
                    | Load
                    | SlotStarts
                    | SlotQueues
                    | SlotStorm
                    | Claims
            )
    }
}

/// The portable edition gets this part of what the extension gets.
const PORTABLE_SHARE: usize = 8;

async fn part_of_a_round(
    part: Part,
    server: &Arc<Server>,
    report: &Arc<Report>,
    seed: u64,
) -> Result<()> {
    // Of the portable edition, which is slower, a part of it; and what is there to compare with is known.
    let (share, others) = match server.is_native() {
        true => (1, [Side::Core, Side::Naive].as_slice()),
        false => (PORTABLE_SHARE, [].as_slice()),
    };
    match part {
        Part::StoppedWaiters => {
            let ends =
                [End::Timeout, End::TimeoutInTransaction, End::Cancel, End::StatementTimeout];
            for number in 0..104 / share {
                let end = ends[number % ends.len()];
                races::stopped(server, report, Side::AdvisoryKeys, end, number).await?;
            }
            for side in others {
                for number in 0..10 {
                    races::stopped(server, report, *side, End::Timeout, 1000 + number).await?;
                }
            }
        }
        Part::AllOrNothing => {
            leaks::half_taken(server, report).await?;
            leaks::full_lock_table(server, report).await?;
        }
        Part::OppositeOrders => queue::opposite_orders(server, report, 100, seed).await?,
        Part::Model => model::run(server, report, 200, seed).await?,
        Part::Queues => {
            queue::in_order(server, report, 10).await?;
            queue::on_time(server, report, 200).await?;
        }
        Part::ParallelQueries => {
            parallel::workers_fail(server, report, 2, seed).await?;
            parallel::calls_in_workers(server, report).await?;
        }
        Part::Strangers => {
            let server = server.preloading("strangers", strangers::SETTINGS)?;
            let outcome = strangers::look_and_loop(&server, report).await;
            server.stop()?;
            outcome?;
        }
        Part::Memory => leaks::memory(server, report).await?,
        Part::RacingTimeouts => {
            let count = 10_000 / share as u64;
            races::timeouts(server, report, Side::AdvisoryKeys, count, seed).await?;
            for side in others {
                races::timeouts(server, report, *side, 1_000, seed).await?;
            }
        }
        Part::Load => {
            let share = share as u64;
            let size = Size {
                clients: 32,
                operations: 200_000 / share,
                cancels: 5_000 / share,
                terminations: 200 / share,
                seed,
            };
            load::run(server.clone(), report.clone(), size).await?;
        }
        Part::SlotStarts => slots::starts::together(server, report, 10_000 / share).await?,
        Part::SlotQueues => {
            slots::queue::in_order(server, report, 4).await?;
            slots::queue::nobody_gets_past(server, report).await?;
            slots::queue::again(server, report).await?;
            if server.is_native() {
                slots::queue::beside_exclusive_lockers(server, report).await?;
            }
        }
        Part::SlotWakeUps => {
            slots::wakeups::each_way(server, report).await?;
            slots::wakeups::turns(server, report, 1_000, seed).await?;
        }
        Part::SlotRaces => {
            let ends =
                [End::Timeout, End::TimeoutInTransaction, End::Cancel, End::StatementTimeout];
            for side in [Side::Slot, Side::SlotOfLocked, Side::Acquire] {
                for number in 0..8 {
                    let end = ends[number % ends.len()];
                    races::stopped(server, report, side, end, 2_000 + number).await?;
                }
                races::timeouts(server, report, side, 1_000, seed).await?;
            }
        }
        Part::SlotDeadlocks => slots::deadlocks::found(server, report, seed).await?,
        Part::SlotOrders => slots::deadlocks::not_made_up(server, report, 5_000, seed).await?,
        Part::SlotStorm => {
            let share = share as u64;
            let size = slots::storm::Size {
                clients: 32,
                turns: 12_000 / share,
                cancels: 600 / share,
                terminations: 100 / share,
                seed,
            };
            slots::storm::run(server, report, size).await?;
        }
        Part::Claims => {
            let share = share as i32;
            claims::first_free(server, report, 200 / share as usize, seed).await?;
            claims::by_many(server, report, 2_000 / share, 40 / share as usize, seed).await?;
        }
        Part::Acquire => {
            acquire::without_snapshot(server, report, 3).await?;
            let size = acquire::Size { clients: 16, calls: 4_000, strikes: 300, seed };
            acquire::storm(server, report, size).await?;
        }
        Part::Statistics => statistics::add_up(server, report, 16, 250, seed).await?,
        Part::SlotKills => slots::kills::in_each_role(server, report).await?,
        Part::RandomArguments => fuzz::run(server, report, 10_000, seed).await?,
        Part::Faults => {
            faults::client_killed(server, report).await?;
            faults::holder_stopped(server, report).await?;
            faults::extension_dropped(server, report).await?;
            faults::library_replaced(server, report).await?;
            faults::standby_promoted(server, report).await?;
        }
        Part::Pooler => {
            for pool in [1, 4, 12] {
                pooler::under_load(server, report, pool, 100).await?;
            }
        }
        Part::Crashes => {
            for number in 0..5 {
                crashes::under_load(server, report, Crash::Backend, seed + number).await?;
            }
            let others =
                [Crash::Postmaster, Crash::Postmaster, Crash::RestartFast, Crash::RestartImmediate];
            for (number, crash) in (10..).zip(others) {
                crashes::under_load(server, report, crash, seed + number).await?;
            }
        }
    }
    load::quiet(server, report).await
}
