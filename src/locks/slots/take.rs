//! Taking a slot.
//!
//! Never too many: of those who take slots at once, the one who is granted the shared lock last counts all of them
//! after that. Never a false refusal: who finds that he is one too many gives way only while he holds
//! [`class::TIE`], and only if there are still too many then, so as many as there are slots stay.
//!
//! First come, first served: who does not get a slot at once takes [`class::QUEUE`], exclusive, in Postgres' own queue. Its
//! holder, the head, looks for a slot whenever it is woken, and every [`LOOK`] should a holder have let go of one
//! in a way that wakes nobody. For the look it passes through the queue of the key itself, behind the exclusive
//! lockers that wait there, so that neither starves the other; it does not stay there between looks, which would keep a
//! holder from getting an exclusive lock.
#![allow(unsafe_code)]

use crate::backend::check_for_interrupts;
use crate::error::Error;
use crate::keys::name::NamedKey;
use crate::locks::context::{context_line, with_error_context};
use crate::locks::held_since;
use crate::locks::lock::{AdvisoryLock, Attempt, Level, LockMode, Mode, class};
use crate::locks::outcome;
use crate::locks::session_limit;
use crate::locks::slots::held::{Held, MOMENT};
use crate::locks::slots::search::{self, Verdict};
use crate::locks::slots::waits::Ticket;
use crate::locks::slots::wake;
use crate::locks::timeout::{Deadline, Remaining, Timeout};
use crate::locks::wait::{session_lock_timeout, wait};
use pgrx::pg_sys;
use std::ffi::CStr;
use std::time::{Duration, Instant};

/// How often a head looks that nobody wakes.
const LOOK: Duration = Duration::from_millis(100);

/// What a call asks for.
#[derive(Clone, Copy)]
pub struct Request {
    /// So many sessions may hold a slot.
    pub slots: usize,
    /// Until the end of the transaction or of the session.
    pub level: Level,
    /// How long it may wait.
    pub timeout: Timeout,
}

/// Takes a slot; none if there was none in time. On an error the call holds nothing.
pub fn take(subject: &NamedKey<'_>, request: Request) -> Result<Option<Slot>, Error> {
    subject.record();
    let lock = AdvisoryLock::new(subject.key);
    if session_limit::reached(0) && !lock.held(Mode::Shared) {
        session_limit::check(0)?;
    }
    wake::remember(subject.key)?;
    let call =
        Call { lock, queue: AdvisoryLock::of_class(class::QUEUE, subject.key), subject, request };
    let slot =
        if lock.held_at_least(Mode::Shared) { Some(call.again()) } else { call.first_time()? };
    match slot {
        // A cancel that came meanwhile is served now, when the slot can still be given back.
        Some(_) => {
            check_for_interrupts();
            outcome::granted([*subject].into_iter());
        }
        None => wake::forget(subject.key),
    }
    Ok(slot)
}

/// A slot that a call has taken. Unless it is told to [`Slot::keep`] it, it is given back when it goes out of scope,
/// also when an error unwinds through it.
#[must_use]
pub struct Slot {
    lock: AdvisoryLock,
    level: Level,
    attempt: Attempt,
    waited: bool,
    kept: bool,
}

impl Slot {
    /// Did the session not hold one before, at session level if that was asked for?
    pub fn is_new(&self) -> bool {
        // A lock of the transaction that becomes one of the session outlives the transaction.
        self.attempt == Attempt::Taken
            || self.level == Level::Session && self.lock.holds(Mode::Shared).at_session_level == 1
    }

    /// Had the call to wait for it?
    pub fn waited(&self) -> bool {
        self.waited
    }

    /// The caller will be told of it, and keeps it.
    pub fn keep(mut self) {
        session_limit::add(self.level, usize::from(self.is_new()));
        let first = self.attempt == Attempt::Taken;
        held_since::granted(self.lock.key(), Mode::Shared, self.level, first, self.waited);
        self.kept = true;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if !self.kept {
            wake::give_back(&self.lock, Mode::Shared, self.level);
        }
    }
}

/// A call that takes a slot.
struct Call<'a> {
    /// The lock on the key.
    lock: AdvisoryLock,
    queue: AdvisoryLock,
    subject: &'a NamedKey<'a>,
    request: Request,
}

impl Call<'_> {
    fn slot(&self, attempt: Attempt, waited: bool) -> Slot {
        Slot { lock: self.lock, level: self.request.level, attempt, waited, kept: false }
    }

    /// Who holds the key already gets it again, and never waits: its own lock keeps exclusive ones out, and
    /// Postgres lets it pass those who wait for it.
    fn again(&self) -> Slot {
        let level = self.request.level;
        let attempt = match self.lock.try_acquire(Mode::Shared, level) {
            Attempt::NotAvailable => {
                let context = self.context();
                wait(&self.lock, Mode::Shared, level, Deadline::NEVER, &context, || ());
                Attempt::Taken
            }
            attempt => attempt,
        };
        self.slot(attempt, false)
    }

    fn first_time(&self) -> Result<Option<Slot>, Error> {
        if let Some(slot) = self.look() {
            return Ok(Some(slot));
        }
        match self.request.timeout {
            Timeout::NoWait => {
                outcome::refused(self.subject);
                Ok(None)
            }
            timeout => outcome::waited(
                self.subject,
                || self.wait(Deadline::begin(timeout, session_lock_timeout())),
                |slot| matches!(slot, Ok(None)),
            ),
        }
    }

    /// A look without waiting; nobody gets past those in the queue.
    fn look(&self) -> Option<Slot> {
        let slots = self.request.slots;
        if self.queue.requests() > 0 {
            return None;
        }
        // What is held and awaited in all modes is an upper bound, and cheaper to know.
        if self.lock.requests() >= slots {
            let _probe = Held::probe(self.lock)?;
            if self.lock.shared_holders(LockMode::PROBE) >= slots {
                return None;
            }
        }
        match self.lock.try_share(self.request.level) {
            (Attempt::NotAvailable, _) => None,
            (attempt, holders) => self.unless_too_many(self.slot(attempt, false), holders),
        }
    }

    /// The look of the head, behind the exclusive lockers; none also when the deadline passes meanwhile.
    fn look_as_head(&self, deadline: Deadline, context: &CStr) -> Option<Slot> {
        let _passage = Held::wait(self.lock, LockMode::PASSAGE, deadline, context)?;
        if self.lock.shared_holders(LockMode::PASSAGE) >= self.request.slots {
            return None;
        }
        // Exclusive lockers are kept out by now, and Postgres lets us pass those who wait for us.
        let level = self.request.level;
        if self.lock.try_acquire(Mode::Shared, level) == Attempt::NotAvailable
            && !wait(&self.lock, Mode::Shared, level, deadline, context, || ())
        {
            return None;
        }
        let holders = self.lock.shared_holders(Mode::Shared);
        self.unless_too_many(self.slot(Attempt::Taken, true), holders)
    }

    /// The slot that was just taken, unless it is one too many.
    fn unless_too_many(&self, slot: Slot, holders: usize) -> Option<Slot> {
        if holders <= self.request.slots { Some(slot) } else { self.settle(slot) }
    }

    #[cold]
    fn settle(&self, slot: Slot) -> Option<Slot> {
        let tie = AdvisoryLock::of_class(class::TIE, self.subject.key);
        let deadline = Deadline::begin(MOMENT, 0);
        let _tie = Held::wait(tie, Mode::Exclusive, deadline, &self.context())?;
        if self.lock.shared_holders(Mode::Shared) <= self.request.slots {
            return Some(slot);
        }
        // While nobody else gives way.
        drop(slot);
        None
    }

    /// Waits in the queue and at its head.
    #[cold]
    fn wait(&self, deadline: Deadline) -> Result<Option<Slot>, Error> {
        let context = self.context();
        let begun = Instant::now();
        let mut next_search = begun + deadlock_timeout();
        let mut reported = false;
        let ticket = Ticket::now();
        loop {
            // Tells others, in the lock table, that we wait and for how many slots.
            let waiter = AdvisoryLock::of_class(class::WAITER, ticket.with(self.request.slots));
            let waiter = Held::probe(waiter);
            let Some(head) = Held::wait(self.queue, Mode::Exclusive, deadline, &context) else {
                return Ok(None);
            };
            loop {
                reset_latch();
                if let Some(slot) = self.look_as_head(deadline, &context) {
                    if reported {
                        search::report_granted(self.subject, begun.elapsed());
                    }
                    return Ok(Some(slot));
                }
                let now = Instant::now();
                if now >= next_search {
                    if !reported {
                        reported = search::report_waiting(self.subject, begun.elapsed());
                    }
                    let (verdict, _search) =
                        search::run(self.subject, self.request.slots, &context);
                    next_search = Instant::now() + deadlock_timeout();
                    // Whoever searches next must not find us any more.
                    match verdict {
                        Verdict::WaitOn => {}
                        Verdict::GiveWay => {
                            drop((head, waiter));
                            break;
                        }
                        Verdict::Deadlock(processes) => {
                            drop((head, waiter));
                            with_error_context(&context, || Error::Deadlock(processes).raise());
                        }
                    }
                }
                let nap = LOOK.min(next_search.saturating_duration_since(Instant::now()));
                match deadline.remaining() {
                    Remaining::Nothing => return Ok(None),
                    Remaining::Unlimited => sleep(nap, &context),
                    Remaining::Milliseconds(left) => {
                        let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
                        sleep(nap.min(left), &context);
                    }
                }
            }
        }
    }

    fn context(&self) -> std::ffi::CString {
        context_line("locking a slot of", self.subject)
    }
}

/// `deadlock_timeout`
fn deadlock_timeout() -> Duration {
    // SAFETY: reads a variable of the backend.
    Duration::from_millis(u64::try_from(unsafe { pg_sys::DeadlockTimeout }).unwrap_or(0))
}

fn reset_latch() {
    // SAFETY: the backend's own latch.
    unsafe { pg_sys::ResetLatch(pg_sys::MyLatch) };
}

/// Sleeps until somebody sets the latch, or this long; serves interrupts.
fn sleep(limit: Duration, context: &CStr) {
    const EVENTS: u32 = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
    let limit = std::ffi::c_long::try_from(limit.as_micros().div_ceil(1000)).unwrap_or(0);
    // SAFETY: the backend's own latch.
    unsafe { pg_sys::WaitLatch(pg_sys::MyLatch, EVENTS as i32, limit, wait_event()) };
    with_error_context(context, check_for_interrupts);
}

/// What `pg_stat_activity` shows of a head.
#[cfg(any(feature = "pg15", feature = "pg16"))]
fn wait_event() -> u32 {
    pg_sys::PG_WAIT_EXTENSION
}

/// What `pg_stat_activity` shows of a head.
#[cfg(not(any(feature = "pg15", feature = "pg16")))]
fn wait_event() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    static EVENT: AtomicU32 = AtomicU32::new(0);
    if EVENT.load(Relaxed) == 0 {
        // SAFETY: the name lives for ever; the same name gets the same number in each backend.
        EVENT
            .store(unsafe { pg_sys::WaitEventExtensionNew(c"AdvisoryKeysSlot".as_ptr()) }, Relaxed);
    }
    EVENT.load(Relaxed)
}
