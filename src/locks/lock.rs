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

    /// The other one.
    pub fn other(self) -> Mode {
        match self {
            Mode::Exclusive => Mode::Shared,
            Mode::Shared => Mode::Exclusive,
        }
    }

    /// The modes of other holders that exclude this one, as bits of a lock mask.
    pub fn conflicts(self) -> pg_sys::LOCKMASK {
        match self {
            Mode::Exclusive => bit(Mode::Exclusive.lockmode()) | bit(Mode::Shared.lockmode()),
            Mode::Shared => bit(Mode::Exclusive.lockmode()),
        }
    }
}

/// A mode of the lock manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockMode(pg_sys::LOCKMODE);

impl LockMode {
    /// Excludes nobody that takes advisory locks, and waits for nobody: with it, an entry of the lock table
    /// stays in place while it is looked at.
    pub const PROBE: Self = Self(pg_sys::AccessShareLock as pg_sys::LOCKMODE);
    /// Waits for exclusive locks, and keeps them waiting, but does not count among the shared ones.
    pub const PASSAGE: Self = Self(pg_sys::RowShareLock as pg_sys::LOCKMODE);

    /// What the lock manager calls it.
    pub fn number(self) -> pg_sys::LOCKMODE {
        self.0
    }
}

impl From<Mode> for LockMode {
    #[inline]
    fn from(mode: Mode) -> Self {
        Self(mode.lockmode())
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

impl From<pg_sys::LockAcquireResult::Type> for Attempt {
    #[inline]
    fn from(result: pg_sys::LockAcquireResult::Type) -> Self {
        use pg_sys::LockAcquireResult::*;
        match result {
            LOCKACQUIRE_NOT_AVAIL => Attempt::NotAvailable,
            LOCKACQUIRE_OK => Attempt::Taken,
            _ => Attempt::TakenAgain,
        }
    }
}

/// The fourth field of a tag, which core's functions set to 1 for a bigint key and to 2 for two integers; others
/// use 4 to 15 and 29749. Sessions with two versions of this library meet in one lock table, so a value never gets
/// another meaning.
pub mod class {
    /// A bigint key.
    pub const KEY: u16 = 1;
    /// The queue for the slots of a key.
    pub const QUEUE: u16 = 0x4B01;
    /// Who gives way, of several that took the last slot of a key at once.
    pub const TIE: u16 = 0x4B02;
    /// A call that waits for a slot; instead of a key, how many slots and since when.
    pub const WAITER: u16 = 0x4B03;
    /// The search for deadlocks among those who wait for slots; there is no key.
    pub const SEARCH: u16 = 0x4B04;
}

/// A lock in the current database, not yet in a mode or at a level: the one on a key, or one of those that stand
/// behind the slots of a key ([`class`]).
#[derive(Clone, Copy)]
pub struct AdvisoryLock(pg_sys::LOCKTAG);

impl AdvisoryLock {
    /// The lock that `pg_advisory_lock(key)` takes.
    #[inline]
    pub fn new(key: i64) -> Self {
        Self::of_class(class::KEY, key)
    }

    /// One of another [`class`].
    #[inline]
    pub fn of_class(class: u16, key: i64) -> Self {
        // SET_LOCKTAG_INT64 of src/backend/utils/adt/lockfuncs.c
        Self(pg_sys::LOCKTAG {
            locktag_field1: current_database(),
            locktag_field2: (key >> 32) as u32,
            locktag_field3: key as u32,
            locktag_field4: class,
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

    /// The [`class`], the database and the key of a tag of the lock table, in whatever database.
    pub fn parse(tag: &pg_sys::LOCKTAG) -> Option<(u16, u32, i64)> {
        let key = Self(*tag).key();
        let advisory = u32::from(tag.locktag_type) == pg_sys::LockTagType::LOCKTAG_ADVISORY
            && u32::from(tag.locktag_lockmethodid) == pg_sys::USER_LOCKMETHOD;
        advisory.then_some((tag.locktag_field4, tag.locktag_field1, key))
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
    pub fn try_acquire(&self, mode: impl Into<LockMode>, level: Level) -> Attempt {
        // SAFETY: the tag is complete, and the wrapper turns an error into unwinding.
        let result =
            unsafe { pg_sys::LockAcquire(&self.0, mode.into().0, level.is_session(), true) };
        Attempt::from(result)
    }

    /// As [`AdvisoryLock::try_acquire`] in shared mode; and, if it was taken, how many sessions hold it so then.
    #[inline]
    pub fn try_share(&self, level: Level) -> (Attempt, usize) {
        let mut local: *mut pg_sys::LOCALLOCK = std::ptr::null_mut();
        // SAFETY: the tag is complete; the shared entry stays while the lock is held.
        unsafe {
            let mode = Mode::Shared.lockmode();
            match acquire_local(&self.0, mode, level.is_session(), &mut local) {
                Attempt::NotAvailable => (Attempt::NotAvailable, 0),
                taken => (taken, shared_holders(local)),
            }
        }
    }

    /// Takes the lock, waiting in the queue for it as long as `LockTimeout` allows. For
    /// `crate::locks::wait`, which knows what has to be done when this raises an error.
    pub fn acquire(&self, mode: impl Into<LockMode>, level: Level) {
        // SAFETY: as in `try_acquire`.
        unsafe { pg_sys::LockAcquire(&self.0, mode.into().0, level.is_session(), false) };
    }

    /// Gives up one hold; false, with a WARNING from Postgres, if there is none at that level.
    ///
    /// At transaction level this works only for a hold that the same call of a function took: the
    /// hold belongs to the resource owner of the running statement.
    pub fn release(&self, mode: impl Into<LockMode>, level: Level) -> bool {
        // SAFETY: as in `try_acquire`.
        unsafe { pg_sys::LockRelease(&self.0, mode.into().0, level.is_session()) }
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
    pub fn held(&self, mode: impl Into<LockMode>) -> bool {
        // SAFETY: as in `try_acquire`.
        unsafe {
            #[cfg(any(feature = "pg15", feature = "pg16"))]
            return pg_sys::LockHeldByMe(&self.0, mode.into().0);
            #[cfg(not(any(feature = "pg15", feature = "pg16")))]
            return pg_sys::LockHeldByMe(&self.0, mode.into().0, false);
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
            if acquire_local(&self.0, LockMode::PROBE.0, false, &mut local) == Attempt::NotAvailable
            {
                return false;
            }
            let lock = (*local).lock;
            let free = if self.held(Mode::Shared) {
                shared_holders(local) == 1
            } else {
                (&raw const (*lock).grantMask).read_volatile() & mode.conflicts() == 0
            };
            pg_sys::LockRelease(&self.0, LockMode::PROBE.0, false);
            free
        }
    }

    /// How many sessions hold the lock in shared mode at this moment, this one included. Where the lock is held in
    /// the mode that is told, whichever, this touches only the backend's own table and that one number.
    pub fn shared_holders(&self, mode: impl Into<LockMode>) -> usize {
        let mode = mode.into().0;
        let mut local: *mut pg_sys::LOCALLOCK = std::ptr::null_mut();
        // SAFETY: as in `available`.
        unsafe {
            if acquire_local(&self.0, mode, false, &mut local) == Attempt::NotAvailable {
                return 0;
            }
            let holders = shared_holders(local);
            pg_sys::LockRelease(&self.0, mode, false);
            holders
        }
    }

    /// The same of a lock that need not be held.
    pub fn shared_holders_now(&self) -> usize {
        self.shared_holders(LockMode::PROBE)
    }

    /// How many hold or await the lock, each mode of a session by itself. This takes nothing.
    #[inline]
    pub fn requests(&self) -> usize {
        // SAFETY: looks the lock up under the lock of its partition.
        usize::try_from(unsafe { pg_sys::LockWaiterCount(&self.0) }).unwrap_or(0)
    }
}

/// The count of shared holders in the shared entry, which others change while we look.
///
/// # Safety
/// `local` is the entry of a lock that this backend holds.
unsafe fn shared_holders(local: *const pg_sys::LOCALLOCK) -> usize {
    // SAFETY: an aligned word of the shared entry, which stays as long as the lock is held.
    let holders = unsafe {
        (&raw const (*(*local).lock).granted[Mode::Shared.lockmode() as usize]).read_volatile()
    };
    usize::try_from(holders).unwrap_or(0)
}

/// Takes the lock without waiting and points `local` to the backend's entry for it.
///
/// # Safety
/// The tag is complete.
unsafe fn acquire_local(
    tag: &pg_sys::LOCKTAG,
    mode: pg_sys::LOCKMODE,
    session: bool,
    local: &mut *mut pg_sys::LOCALLOCK,
) -> Attempt {
    // SAFETY: as in `try_acquire`.
    let result = unsafe {
        #[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17"))]
        let result = pg_sys::LockAcquireExtended(tag, mode, session, true, true, local);
        #[cfg(not(any(feature = "pg15", feature = "pg16", feature = "pg17")))]
        let result = pg_sys::LockAcquireExtended(tag, mode, session, true, true, local, false);
        result
    };
    Attempt::from(result)
}
