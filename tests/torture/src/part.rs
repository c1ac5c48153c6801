//! The parts of a round, and how much of each there is.

use crate::aftermath::nobody_is_left;
use crate::arguments::Length;
use crate::crashes::{self, Crash};
use crate::leases::failovers::Replication;
use crate::load::{self, Size};
use crate::races::{ENDS, End, Side};
use crate::report::Report;
use crate::server::Server;
use crate::{
    acquire, claims, faults, fuzz, leaks, leases, model, parallel, pooler, queue, races, slots,
    statistics, strangers,
};
use anyhow::Result;
use clap::ValueEnum;
use std::sync::Arc;
use std::time::Duration;

/// The portable edition gets one in so many of what the extension gets.
const PORTABLE_SHARE: usize = 8;

/// What a round consists of, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
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
    LeaseStarts,
    LeaseStalls,
    LeaseStorm,
    RandomArguments,
    Faults,
    Pooler,
    SlotKills,
    Crashes,
    LeaseCrashes,
    LeaseFailovers,
}

impl Part {
    /// Can that be tortured so? The portable edition has no library, no memory of its own, and not everything else.
    pub fn is_for(self, server: &Server) -> bool {
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
            || self.is_about_leases()
    }

    pub fn is_about_leases(self) -> bool {
        use Part::*;
        matches!(self, LeaseStarts | LeaseStalls | LeaseStorm | LeaseCrashes | LeaseFailovers)
    }

    /// Runs it, and looks that nothing is left behind.
    pub async fn run(
        self,
        length: Length,
        server: &Arc<Server>,
        report: &Arc<Report>,
        seed: u64,
    ) -> Result<()> {
        // The portable edition is slower, and what there is to compare with is known.
        let (share, others) = match server.is_native() {
            true => (1, [Side::Core, Side::Naive].as_slice()),
            false => (PORTABLE_SHARE, [].as_slice()),
        };
        match self {
            Part::StoppedWaiters => {
                for number in 0..104 / share {
                    let end = ENDS[number % ENDS.len()];
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
                for side in [Side::Slot, Side::SlotOfLocked, Side::Acquire] {
                    for number in 0..8 {
                        let end = ENDS[number % ENDS.len()];
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
            Part::LeaseStarts => leases::starts::together(server, report, 1_000).await?,
            Part::LeaseStalls => leases::stalls::nobody_waits(server, report).await?,
            Part::LeaseStorm => {
                leases::storm::under_strikes(server, report, Duration::from_secs(8), seed).await?
            }
            Part::LeaseCrashes => {
                let between = Duration::from_millis(1500);
                leases::storm::under_crashes(server, report, between, seed).await?;
            }
            Part::LeaseFailovers => {
                let links = if length == Length::Quick { 2 } else { 10 };
                for replication in [Replication::Synchronous, Replication::Asynchronous] {
                    leases::failovers::chain(server, report, replication, links, seed).await?;
                }
            }
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
                let others = [
                    Crash::Postmaster,
                    Crash::Postmaster,
                    Crash::RestartFast,
                    Crash::RestartImmediate,
                ];
                for (number, crash) in (10..).zip(others) {
                    crashes::under_load(server, report, crash, seed + number).await?;
                }
            }
        }
        nobody_is_left(server, report).await
    }
}
