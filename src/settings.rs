//! The settings `advisory_keys.*`.

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting, PostgresGucEnum};
use pgrx::pg_sys;

/// What happens when a session-level lock is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PostgresGucEnum)]
pub enum SessionLocks {
    /// It is taken.
    #[name = c"on"]
    On,
    /// It is taken, with a WARNING.
    #[name = c"warn"]
    Warn,
    /// It is refused with an error.
    #[name = c"off"]
    Off,
}

static SESSION_LOCKS: GucSetting<SessionLocks> = GucSetting::<SessionLocks>::new(SessionLocks::On);
static SHOW_KEYS: GucSetting<bool> = GucSetting::<bool>::new(true);
static MAX_KEYS_PER_CALL: GucSetting<i32> = GucSetting::<i32>::new(1000);
static MAX_KEYS_PER_SESSION: GucSetting<i32> = GucSetting::<i32>::new(-1);
static STANDBY_LOCKS: GucSetting<bool> = GucSetting::<bool>::new(false);
static WARN_SHORT_LOCKS: GucSetting<bool> = GucSetting::<bool>::new(true);
static TRACK_NAMES: GucSetting<bool> = GucSetting::<bool>::new(true);
static MAX_NAMES: GucSetting<i32> = GucSetting::<i32>::new(10_000);
static TRACK_STATS: GucSetting<bool> = GucSetting::<bool>::new(true);
static MAX_STATS: GucSetting<i32> = GucSetting::<i32>::new(1000);

/// `advisory_keys.session_locks`
#[inline]
pub fn session_locks() -> SessionLocks {
    SESSION_LOCKS.get()
}

/// `advisory_keys.show_keys`: may the text of keys stand in messages?
pub fn show_keys() -> bool {
    SHOW_KEYS.get()
}

/// `advisory_keys.max_keys_per_call`
#[inline]
pub fn max_keys_per_call() -> usize {
    MAX_KEYS_PER_CALL.get() as usize
}

/// `advisory_keys.max_keys_per_session`: -1 stands for half of the lock table, 0 for no limit.
#[inline]
pub fn max_keys_per_session() -> i32 {
    MAX_KEYS_PER_SESSION.get()
}

/// `advisory_keys.standby_locks`: may locks be taken on a standby?
pub fn standby_locks() -> bool {
    STANDBY_LOCKS.get()
}

/// `advisory_keys.warn_short_locks`: is there a warning about locks that end with their statement?
pub fn warn_short_locks() -> bool {
    WARN_SHORT_LOCKS.get()
}

/// `advisory_keys.track_names`: are names recorded for `advisory_locks`?
#[inline]
pub fn track_names() -> bool {
    TRACK_NAMES.get()
}

/// `advisory_keys.max_names`: for how many names the record has room.
pub fn max_names() -> usize {
    MAX_NAMES.get() as usize
}

/// `advisory_keys.track_stats`: are calls counted for `advisory_lock_stats`?
#[inline]
pub fn track_stats() -> bool {
    TRACK_STATS.get()
}

/// `advisory_keys.max_stats`: for how many first parts of names there is room.
pub fn max_stats() -> usize {
    MAX_STATS.get() as usize
}

/// Defines the settings; to be called when the library is loaded. `preloading`: by the postmaster.
pub fn define(preloading: bool) {
    GucRegistry::define_enum_guc(
        c"advisory_keys.session_locks",
        c"Sets whether session-level locks may be taken by name.",
        c"\"warn\" takes them with a warning, \"off\" refuses them: for roles that connect through a transaction pooler.",
        &SESSION_LOCKS,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"advisory_keys.show_keys",
        c"Shows the text of keys in messages and in the server log.",
        c"When off, only the integer of a key is shown.",
        &SHOW_KEYS,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"advisory_keys.max_keys_per_call",
        c"Sets the maximum number of keys that one call may lock.",
        c"Each locked key takes a place in the lock table that all sessions share.",
        &MAX_KEYS_PER_CALL,
        1,
        i32::MAX,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"advisory_keys.max_keys_per_session",
        c"Sets the maximum number of locks that a session may hold by name.",
        c"-1 is half of the lock table that all sessions share, 0 is no limit.",
        &MAX_KEYS_PER_SESSION,
        -1,
        i32::MAX,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"advisory_keys.standby_locks",
        c"Allows locks to be taken on a standby.",
        c"They exclude other sessions on that standby only.",
        &STANDBY_LOCKS,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"advisory_keys.warn_short_locks",
        c"Warns of a lock that was released at once, since it was taken outside a transaction block.",
        c"The warning is given once in a session.",
        &WARN_SHORT_LOCKS,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"advisory_keys.track_names",
        c"Records the names of keys that are locked, for the view advisory_locks.",
        c"Needs shared_preload_libraries in Postgres 15 and 16.",
        &TRACK_NAMES,
        GucContext::Suset,
        GucFlags::default(),
    );
    // Once the server has started, Postgres allows no more settings of the first kind. The other is read from the
    // configuration file as well, and no session can change it.
    let at_start = || if preloading { GucContext::Postmaster } else { GucContext::Sighup };
    GucRegistry::define_int_guc(
        c"advisory_keys.max_names",
        c"Sets the maximum number of names that are recorded for the view advisory_locks.",
        c"Beyond it, names that were not used for long make room.",
        &MAX_NAMES,
        1,
        1_000_000,
        at_start(),
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"advisory_keys.track_stats",
        c"Counts the locks that are taken, for the view advisory_lock_stats.",
        c"Needs shared_preload_libraries in Postgres 15 and 16.",
        &TRACK_STATS,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"advisory_keys.max_stats",
        c"Sets the maximum number of first parts of names that are counted for the view advisory_lock_stats.",
        c"Beyond it, those that were used least make room.",
        &MAX_STATS,
        1,
        1_000_000,
        at_start(),
        GucFlags::default(),
    );
    reserve_prefix();
}

/// Makes a misspelt `advisory_keys.…` an error instead of a setting nobody reads.
#[allow(unsafe_code)]
fn reserve_prefix() {
    // SAFETY: the argument is a C string that lives for ever.
    unsafe { pg_sys::MarkGUCPrefixReserved(c"advisory_keys".as_ptr()) };
}
