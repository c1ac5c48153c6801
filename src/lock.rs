//! One advisory lock, as the lock manager of Postgres knows it
//! (`src/backend/storage/lmgr/lock.c`, `src/include/storage/lock.h`).
#![allow(unsafe_code)]

use pgrx::pg_sys;

/// In which way a lock excludes others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Excludes every other holder.
    Exclusive,
    /// Excludes exclusive holders only.
    Shared,
}

impl Mode {
    /// The lock modes of `pg_advisory_lock` and `pg_advisory_lock_shared`
    /// (`src/backend/utils/adt/lockfuncs.c`).
    fn lockmode(self) -> pg_sys::LOCKMODE {
        let mode = match self {
            Mode::Exclusive => pg_sys::ExclusiveLock,
            Mode::Shared => pg_sys::ShareLock,
        };
        mode as pg_sys::LOCKMODE
    }

    /// The modes of other holders that exclude this one, as bits of a lock mask.
    fn conflicts(self) -> pg_sys::LOCKMASK {
        match self {
            Mode::Exclusive => bit(Mode::Exclusive.lockmode()) | bit(Mode::Shared.lockmode()),
            Mode::Shared => bit(Mode::Exclusive.lockmode()),
        }
    }
}

/// `LOCKBIT_ON` of `src/include/storage/lockdefs.h`.
fn bit(mode: pg_sys::LOCKMODE) -> pg_sys::LOCKMASK {
    1 << mode
}

/// How long a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Until the transaction (or the savepoint it was taken in) ends.
    Transaction,
    /// Until it is released or the session ends.
    Session,
}

impl Level {
    fn is_session(self) -> bool {
        self == Level::Session
    }
}

/// The OID of the database that the backend is connected to.
#[inline]
pub fn current_database() -> u32 {
    // SAFETY: reads a variable of the backend.
    unsafe { pg_sys::MyDatabaseId }.to_u32()
}

/// The lock on one key in the current database, not yet in a mode or at a level.
#[derive(Clone, Copy)]
pub struct AdvisoryLock(pg_sys::LOCKTAG);

impl AdvisoryLock {
    /// The lock that `pg_advisory_lock(key)` takes.
    #[inline]
    pub fn new(key: i64) -> Self {
        // SET_LOCKTAG_INT64 of src/backend/utils/adt/lockfuncs.c; the 1 marks a bigint key.
        Self(pg_sys::LOCKTAG {
            locktag_field1: current_database(),
            locktag_field2: (key >> 32) as u32,
            locktag_field3: key as u32,
            locktag_field4: 1,
            locktag_type: pg_sys::LockTagType::LOCKTAG_ADVISORY as u8,
            locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
        })
    }

    /// Takes the lock if that is possible at once; false if not. Raises 53200 when the lock table
    /// is full.
    #[inline]
    pub fn try_acquire(&self, mode: Mode, level: Level) -> bool {
        self.lock_acquire(mode.lockmode(), level, true)
    }

    /// Takes the lock, waiting in the queue for it as long as `LockTimeout` allows; may raise
    /// 40P01, 53200, 55P03, 57014, and after 55P03 or 57014 may hold the lock all the same: the
    /// grant can come just before the interrupt is served. See `crate::wait`.
    pub fn acquire(&self, mode: Mode, level: Level) {
        self.lock_acquire(mode.lockmode(), level, false);
    }

    #[inline]
    fn lock_acquire(&self, mode: pg_sys::LOCKMODE, level: Level, dont_wait: bool) -> bool {
        // SAFETY: the tag is complete, and the wrapper turns an error into unwinding.
        let result = unsafe { pg_sys::LockAcquire(&self.0, mode, level.is_session(), dont_wait) };
        result != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
    }

    /// Gives up one hold; false, with a WARNING from Postgres, if there is none at that level.
    ///
    /// At transaction level this works only for a hold that the same call of a function took: the
    /// hold belongs to the resource owner of the running statement.
    pub fn release(&self, mode: Mode, level: Level) -> bool {
        // SAFETY: as in `lock_acquire`.
        unsafe { pg_sys::LockRelease(&self.0, mode.lockmode(), level.is_session()) }
    }

    /// Does this backend hold the lock in exactly this mode, at whatever level? Looks only into
    /// the backend's own table.
    pub fn held(&self, mode: Mode) -> bool {
        // SAFETY: as in `lock_acquire`.
        unsafe {
            #[cfg(any(feature = "pg15", feature = "pg16"))]
            return pg_sys::LockHeldByMe(&self.0, mode.lockmode());
            #[cfg(not(any(feature = "pg15", feature = "pg16")))]
            return pg_sys::LockHeldByMe(&self.0, mode.lockmode(), false);
        }
    }

    /// Does this backend hold the lock in this mode or a stronger one?
    pub fn held_at_least(&self, mode: Mode) -> bool {
        self.held(Mode::Exclusive) || (mode == Mode::Shared && self.held(Mode::Shared))
    }

    /// Does nobody else hold the lock in a conflicting mode at this moment?
    ///
    /// `GetLockConflicts()` cannot answer this: it leaves out session-level locks of sessions that
    /// are idle. So the entry in the shared lock table is looked at through a lock in a mode
    /// that conflicts with none that advisory locks are taken in: it excludes nobody, waits for
    /// nobody, and keeps the entry in place for the look.
    pub fn available(&self, mode: Mode) -> bool {
        if self.held_at_least(mode) {
            // Our own hold keeps every conflicting one out.
            return true;
        }
        let mut local: *mut pg_sys::LOCALLOCK = std::ptr::null_mut();
        // SAFETY: the entry that `local` points to, and the shared one it refers to, stay while we
        // hold the lock. One aligned word of it is read, which needs no further lock: either our
        // own shared hold keeps exclusive ones out, so that only the count of shared ones can
        // change, or we hold nothing and the mask of granted modes says it all.
        unsafe {
            if !probe(&self.0, &mut local) {
                return false;
            }
            let lock = (*local).lock;
            let free = if self.held(Mode::Shared) {
                let shared = &raw const (*lock).granted[Mode::Shared.lockmode() as usize];
                shared.read_volatile() == 1
            } else {
                (&raw const (*lock).grantMask).read_volatile() & mode.conflicts() == 0
            };
            pg_sys::LockRelease(&self.0, PROBE_MODE, false);
            free
        }
    }

    /// The holders and waiters of all bigint advisory locks in the current database. Copies the
    /// whole lock table of the server, as `pg_locks` does.
    pub fn all() -> Vec<Entry> {
        let mut entries = Vec::new();
        for lock in lock_table() {
            let Some(key) = key_of_tag(&lock.locktag) else { continue };
            let pid = (lock.pid != 0).then_some(lock.pid);
            for mode in [Mode::Exclusive, Mode::Shared] {
                let entry = Entry { key, mode, pid, granted: true, waiting_since: None };
                if lock.holdMask & bit(mode.lockmode()) != 0 {
                    entries.push(entry);
                }
                if lock.waitLockMode == mode.lockmode() {
                    let since = (lock.waitStart != 0).then_some(lock.waitStart);
                    entries.push(Entry { granted: false, waiting_since: since, ..entry });
                }
            }
        }
        entries
    }

    /// The backends other than this one that hold the lock in a mode that conflicts with `mode`;
    /// 0 stands for a prepared transaction. Copies the whole lock table of the server: for error
    /// messages only.
    pub fn holders(&self, mode: Mode) -> Vec<i32> {
        // SAFETY: reads a variable of the backend.
        let me = unsafe { pg_sys::MyProcPid };
        let key = key_of_tag(&self.0);
        lock_table()
            .iter()
            .filter(|lock| key_of_tag(&lock.locktag) == key)
            .filter(|lock| lock.holdMask & mode.conflicts() != 0 && lock.pid != me)
            .map(|lock| lock.pid)
            .collect()
    }
}

/// A holder or a waiter of a lock.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The key that is locked.
    pub key: i64,
    /// Exclusive or shared.
    pub mode: Mode,
    /// A holder, not a waiter.
    pub granted: bool,
    /// The process; none for a prepared transaction.
    pub pid: Option<i32>,
    /// Microseconds since 2000-01-01 UTC; not known for the first moment of a wait.
    pub waiting_since: Option<pg_sys::TimestampTz>,
}

/// A copy of the lock table of the server. It lives as long as the current memory context, which
/// outlives the call of the SQL function.
fn lock_table<'a>() -> &'a [pg_sys::LockInstanceData] {
    // SAFETY: GetLockStatusData() returns `nelements` records in the current memory context.
    unsafe {
        let data = pg_sys::GetLockStatusData();
        std::slice::from_raw_parts((*data).locks, (*data).nelements as usize)
    }
}

/// The key of a bigint advisory lock in the current database.
fn key_of_tag(tag: &pg_sys::LOCKTAG) -> Option<i64> {
    let key = (i64::from(tag.locktag_field2) << 32) | i64::from(tag.locktag_field3);
    let ours = AdvisoryLock::new(key).0;
    let fixed = |tag: &pg_sys::LOCKTAG| {
        (tag.locktag_type, tag.locktag_lockmethodid, tag.locktag_field1, tag.locktag_field4)
    };
    (fixed(tag) == fixed(&ours)).then_some(key)
}

/// Conflicts only with `AccessExclusiveLock`, which no advisory lock function uses.
const PROBE_MODE: pg_sys::LOCKMODE = pg_sys::AccessShareLock as pg_sys::LOCKMODE;

/// Takes the lock in [`PROBE_MODE`] without waiting and points `local` to the backend's entry.
///
/// # Safety
/// The tag is complete.
unsafe fn probe(tag: &pg_sys::LOCKTAG, local: &mut *mut pg_sys::LOCALLOCK) -> bool {
    // SAFETY: as in `lock_acquire`.
    let result = unsafe {
        #[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17"))]
        let result = pg_sys::LockAcquireExtended(tag, PROBE_MODE, false, true, true, local);
        #[cfg(not(any(feature = "pg15", feature = "pg16", feature = "pg17")))]
        let result = pg_sys::LockAcquireExtended(tag, PROBE_MODE, false, true, true, local, false);
        result
    };
    result != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
}
