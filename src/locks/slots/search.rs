//! The search for deadlocks by the head of a queue, and what it reports of a long wait.
#![allow(unsafe_code)]

use crate::backend::process_id;
use crate::keys::name::NamedKey;
use crate::locks::lock::{AdvisoryLock, Mode, class};
use crate::locks::lock_table::TableCopy;
use crate::locks::slots::deadlock::{Finding, Pid, judge};
use crate::locks::slots::held::{Held, MOMENT};
use crate::locks::slots::waits::Waits;
use crate::locks::timeout::Deadline;
use crate::report::Report;
use pgrx::{PgSqlErrorCode, pg_sys};
use std::ffi::CStr;
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};
use std::time::Duration;

/// What a head has to do.
pub enum Verdict {
    /// Wait on.
    WaitOn,
    /// Go to the end of the queue.
    GiveWay,
    /// Raise an error, with these facts.
    Deadlock(Vec<u8>),
}

/// Searches; one at a time in a database, while what is returned beside the verdict is held.
pub fn run(subject: &NamedKey<'_>, slots: usize, context: &CStr) -> (Verdict, Option<Held>) {
    let lock = AdvisoryLock::of_class(class::SEARCH, 0);
    let deadline = Deadline::begin(MOMENT, 0);
    let Some(held) = Held::wait(lock, Mode::Exclusive, deadline, context) else {
        return (Verdict::WaitOn, None);
    };
    (in_scratch_memory(|| look(subject, slots)), Some(held))
}

fn look(subject: &NamedKey<'_>, slots: usize) -> Verdict {
    let me = process_id();
    let first = Waits::of(&TableCopy::take());
    let behind = first.queue(subject.key);
    let (finding, rests_on) = judge(&first.graph(me, &behind), me, &behind);
    if finding == Finding::Nothing {
        return Verdict::WaitOn;
    }
    // The parts of the picture were not taken at one moment. If all of these waited from the first to the last, it holds.
    let second = Waits::of(&TableCopy::take());
    if rests_on.iter().any(|&pid| first.identity(pid) != second.identity(pid)) {
        return Verdict::WaitOn;
    }
    match finding {
        Finding::Nothing => Verdict::WaitOn,
        Finding::OutOfOrder => Verdict::GiveWay,
        Finding::Deadlock(circle) => {
            // SAFETY: counts it in pg_stat_database, as Postgres does its own.
            unsafe { pg_sys::pgstat_report_deadlock() };
            Verdict::Deadlock(in_words(&circle, &first, subject, slots))
        }
    }
}

/// As in the DETAIL of Postgres' own deadlocks: a line for each process.
fn in_words(circle: &[Pid], waits: &Waits, subject: &NamedKey<'_>, slots: usize) -> Vec<u8> {
    let mut lines = Vec::new();
    for (i, &pid) in circle.iter().enumerate() {
        let what = match i {
            0 => Waits::describe_slots(slots, &subject.describe()),
            _ => waits.describe(pid),
        };
        let next = circle[(i + 1) % circle.len()];
        lines.push(
            [
                format!("Process {pid} ").as_bytes(),
                &what,
                format!("; blocked by process {next}.").as_bytes(),
            ]
            .concat(),
        );
    }
    lines.join(&b'\n')
}

/// Frees in the end whatever Postgres allocates meanwhile: a head may search for days.
fn in_scratch_memory<R>(f: impl FnOnce() -> R) -> R {
    static SCRATCH: AtomicPtr<pg_sys::MemoryContextData> = AtomicPtr::new(std::ptr::null_mut());

    struct Back(pg_sys::MemoryContext);
    impl Drop for Back {
        fn drop(&mut self) {
            // SAFETY: goes back to the caller's memory context, where nobody has anything of the other.
            unsafe {
                pg_sys::CurrentMemoryContext = self.0;
                pg_sys::MemoryContextReset(SCRATCH.load(Relaxed));
            }
        }
    }

    // SAFETY: the context lives as long as the backend; what is returned is not allocated by Postgres.
    unsafe {
        if SCRATCH.load(Relaxed).is_null() {
            let context = pg_sys::AllocSetContextCreateExtended(
                pg_sys::TopMemoryContext,
                c"advisory_keys slots".as_ptr(),
                pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
            );
            SCRATCH.store(context, Relaxed);
        }
        let _back = Back(pg_sys::CurrentMemoryContext);
        pg_sys::CurrentMemoryContext = SCRATCH.load(Relaxed);
        f()
    }
}

/// The line of `log_lock_waits`, as Postgres writes it for its own waits; false if it is off.
pub fn report_waiting(subject: &NamedKey<'_>, waited: Duration) -> bool {
    // SAFETY: reads a variable of the backend.
    if !unsafe { pg_sys::log_lock_waits } {
        return false;
    }
    let (holders, queue) =
        in_scratch_memory(|| Waits::of(&TableCopy::take()).holders_and_queue(subject.key));
    let list = |pids: &[Pid]| pids.iter().map(Pid::to_string).collect::<Vec<_>>().join(", ");
    let processes = if holders.len() == 1 { "Process" } else { "Processes" };
    line(subject, "still waiting for", waited)
        .detail(format!(
            "{processes} holding the lock: {}. Wait queue: {}.",
            list(&holders),
            list(&queue)
        ))
        .log();
    true
}

/// The line that follows [`report_waiting`] in the end.
pub fn report_granted(subject: &NamedKey<'_>, waited: Duration) {
    line(subject, "acquired", waited).log();
}

fn line(subject: &NamedKey<'_>, did: &str, waited: Duration) -> Report {
    let begin = format!("process {} {did} a slot of advisory key ", process_id()).into_bytes();
    let end = format!(" after {:.3} ms", waited.as_secs_f64() * 1000.0).into_bytes();
    Report::new(
        PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION,
        [begin, subject.describe(), end].concat(),
    )
}
