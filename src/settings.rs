//! The settings `advisory_keys.*`.

use crate::shared_memory::preloading;
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
static TRACK_NAMES: GucSetting<bool> = GucSetting::<bool>::new(true);
static MAX_NAMES: GucSetting<i32> = GucSetting::<i32>::new(10_000);

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

/// `advisory_keys.track_names`: are names recorded for `advisory_locks`?
#[inline]
pub fn track_names() -> bool {
    TRACK_NAMES.get()
}

/// `advisory_keys.max_names`: for how many names the record has room.
pub fn max_names() -> usize {
    MAX_NAMES.get() as usize
}

/// Defines the settings; to be called when the library is loaded.
pub fn define() {
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
    GucRegistry::define_bool_guc(
        c"advisory_keys.track_names",
        c"Records the names of keys that are locked, for the view advisory_locks.",
        c"Needs shared_preload_libraries in Postgres 15 and 16.",
        &TRACK_NAMES,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"advisory_keys.max_names",
        c"Sets the maximum number of names that are recorded for the view advisory_locks.",
        c"Beyond it, names that were not used for long make room.",
        &MAX_NAMES,
        1,
        1_000_000,
        // Once the server has started, Postgres allows no more settings of the first kind. The
        // other is read from the configuration file as well, and no session can change it.
        if preloading() { GucContext::Postmaster } else { GucContext::Sighup },
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
