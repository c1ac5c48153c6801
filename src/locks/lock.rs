//! One advisory lock, as the lock manager of Postgres knows it
//! (`src/backend/storage/lmgr/lock.c`, `src/include/storage/lock.h`).
#![allow(unsafe_code)]

use crate::backend::current_database;
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
    pub fn lockmode(self) -> pg_sys::LOCKMODE {
        let mode = match self {
            Mode::Exclusive => pg_sys::ExclusiveLock,
            Mode::Shared => pg_sys::ShareLock,
        };
        mode as pg_sys::LOCKMODE
    }

    /// The modes of other holders that exclude this one, as bits of a lock mask.
    pub fn conflicts(self) -> pg_sys::LOCKMASK {
        match self {
            Mode::Exclusive => bit(Mode::Exclusive.lockmode()) | bit(Mode::Shared.lockmode()),
            Mode::Shared => bit(Mode::Exclusive.lockmode()),
        }
    }
}

/// `LOCKBIT_ON` of `src/include/storage/lockdefs.h`.
pub fn bit(mode: pg_sys::LOCKMODE) -> pg_sys::LOCKMASK {
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

/// How often a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holds {
    /// At session level.
    pub at_session_level: usize,
    /// At both levels.
    pub in_all: usize,
}

/// What came of an attempt to take a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// Taken, and this backend had not held it in this mode before.
    Taken,
    /// Taken once more; nothing has changed for other sessions.
    TakenAgain,
    /// Somebody else's lock, or somebody who waits, is in the way.
    NotAvailable,
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

    /// The lock that a tag of the lock table stands for: one on a bigint key in the current database.
    pub fn from_tag(tag: &pg_sys::LOCKTAG) -> Option<Self> {
        let lock = Self(*tag);
        let same = Self::new(lock.key()).0;
        let fixed = |tag: &pg_sys::LOCKTAG| {
            (tag.locktag_type, tag.locktag_lockmethodid, tag.locktag_field1, tag.locktag_field4)
        };
        (fixed(tag) == fixed(&same)).then_some(lock)
    }

    /// The tag in the lock table.
    pub fn tag(&self) -> &pg_sys::LOCKTAG {
        &self.0
    }

    /// The key.
    pub fn key(&self) -> i64 {
        (i64::from(self.0.locktag_field2) << 32) | i64::from(self.0.locktag_field3)
    }

    /// Takes the lock if that is possible at once. Raises 53200 when the lock table is full.
    #[inline]
    pub fn try_acquire(&self, mode: Mode, level: Level) -> Attempt {
        use pg_sys::LockAcquireResult::*;
        // SAFETY: the tag is complete, and the wrapper turns an error into unwinding.
        let result =
            unsafe { pg_sys::LockAcquire(&self.0, mode.lockmode(), level.is_session(), true) };
        match result {
            LOCKACQUIRE_NOT_AVAIL => Attempt::NotAvailable,
            LOCKACQUIRE_OK => Attempt::Taken,
            _ => Attempt::TakenAgain,
        }
    }

    /// Takes the lock, waiting in the queue for it as long as `LockTimeout` allows. For
    /// `crate::locks::wait`, which knows what has to be done when this raises an error.
    pub fn acquire(&self, mode: Mode, level: Level) {
        // SAFETY: as in `try_acquire`.
        unsafe { pg_sys::LockAcquire(&self.0, mode.lockmode(), level.is_session(), false) };
    }

    /// Gives up one hold; false, with a WARNING from Postgres, if there is none at that level.
    ///
    /// At transaction level this works only for a hold that the same call of a function took: the
    /// hold belongs to the resource owner of the running statement.
    pub fn release(&self, mode: Mode, level: Level) -> bool {
        // SAFETY: as in `try_acquire`.
        unsafe { pg_sys::LockRelease(&self.0, mode.lockmode(), level.is_session()) }
    }

    /// How often this backend holds the lock in exactly this mode.
    pub fn holds(&self, mode: Mode) -> Holds {
        if !self.held(mode) {
            return Holds { at_session_level: 0, in_all: 0 };
        }
        let mut local: *mut pg_sys::LOCALLOCK = std::ptr::null_mut();
        // SAFETY: what is held already is only counted once more, in the backend's own table, and then
        // once less; its entry there stays as long as it is held. The session's holds are those without
        // an owner.
        unsafe {
            acquire_local(&self.0, mode.lockmode(), true, &mut local);
            let owners = std::slice::from_raw_parts(
                (*local).lockOwners,
                usize::try_from((*local).numLockOwners).unwrap_or(0),
            );
            let session = owners.iter().find(|owner| owner.owner.is_null());
            let count = |holds: i64| usize::try_from(holds - 1).unwrap_or(0);
            let holds = Holds {
                at_session_level: session.map_or(0, |session| count(session.nLocks)),
                in_all: count((*local).nLocks),
            };
            pg_sys::LockRelease(&self.0, mode.lockmode(), true);
            holds
        }
    }

    /// Does this backend hold the lock in exactly this mode, at whatever level? Looks only into
    /// the backend's own table.
    pub fn held(&self, mode: Mode) -> bool {
        // SAFETY: as in `try_acquire`.
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
            if !acquire_local(&self.0, PROBE_MODE, false, &mut local) {
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
}

/// Conflicts only with `AccessExclusiveLock`, which no advisory lock function uses.
const PROBE_MODE: pg_sys::LOCKMODE = pg_sys::AccessShareLock as pg_sys::LOCKMODE;

/// Takes the lock without waiting and points `local` to the backend's entry for it; false if it is
/// not available.
///
/// # Safety
/// The tag is complete.
unsafe fn acquire_local(
    tag: &pg_sys::LOCKTAG,
    mode: pg_sys::LOCKMODE,
    session: bool,
    local: &mut *mut pg_sys::LOCALLOCK,
) -> bool {
    // SAFETY: as in `try_acquire`.
    let result = unsafe {
        #[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17"))]
        let result = pg_sys::LockAcquireExtended(tag, mode, session, true, true, local);
        #[cfg(not(any(feature = "pg15", feature = "pg16", feature = "pg17")))]
        let result = pg_sys::LockAcquireExtended(tag, mode, session, true, true, local, false);
        result
    };
    result != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
}
