//! Where the record of names is: in memory that all backends share.
//!
//! In a library of `shared_preload_libraries` it is part of the server's shared memory
//! (`src/backend/storage/ipc/ipci.c`). Else, from Postgres 17 on, it is a named segment that the first
//! backend to lock a name makes (`src/backend/storage/ipc/dsm_registry.c`). Before 17 there is none.
//! Either way it begins empty after every start of the server, also after a crash.
#![allow(unsafe_code)]

use crate::settings;
use crate::shared::name_record::{NameRecord, Set};
use pgrx::{pg_guard, pg_sys};
use std::mem::size_of;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// The sets of the record in the memory of this process; null while there are none. In the
/// postmaster they can change: it makes them anew after a crash.
static SETS: AtomicPtr<Set> = AtomicPtr::new(std::ptr::null_mut());
/// How many there are.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// The record of names, if there is one.
#[inline]
pub fn name_record() -> Option<NameRecord<'static>> {
    let sets = SETS.load(Ordering::Relaxed);
    if sets.is_null() {
        return attach();
    }
    // SAFETY: `SETS` is set together with `COUNT`, to initialised sets that stay for as long as the
    // process lives, and all fields of a set are atomics.
    NameRecord::new(unsafe { std::slice::from_raw_parts(sets, COUNT.load(Ordering::Relaxed)) })
}

/// Makes the sets known to this process, and to those that it forks.
///
/// # Safety
/// `sets` points to that many sets that stay for as long as the process lives.
unsafe fn set_place(sets: *mut Set, count: usize) {
    COUNT.store(count, Ordering::Relaxed);
    SETS.store(sets, Ordering::Relaxed);
}

/// Is the library being loaded as one of `shared_preload_libraries`?
pub fn preloading() -> bool {
    // SAFETY: reads a variable of the postmaster.
    unsafe { pg_sys::process_shared_preload_libraries_in_progress }
}

/// Asks for room in the server's shared memory; only while [`preloading`].
pub fn reserve() {
    static mut PREVIOUS_REQUEST: pg_sys::shmem_request_hook_type = None;
    static mut PREVIOUS_STARTUP: pg_sys::shmem_startup_hook_type = None;

    #[pg_guard]
    unsafe extern "C-unwind" fn request() {
        // SAFETY: called by the postmaster, which is the time to ask for room.
        unsafe {
            if let Some(previous) = PREVIOUS_REQUEST {
                previous();
            }
            pg_sys::RequestAddinShmemSpace(wanted_sets() * size_of::<Set>());
        }
    }

    #[pg_guard]
    unsafe extern "C-unwind" fn startup() {
        // SAFETY: called by the postmaster while it makes shared memory, and nobody else uses that
        // yet. ShmemInitStruct() aligns to more than a set needs; zeros are an empty set.
        unsafe {
            if let Some(previous) = PREVIOUS_STARTUP {
                previous();
            }
            let count = wanted_sets();
            let mut found = false;
            let name = c"advisory_keys names".as_ptr();
            let sets = pg_sys::ShmemInitStruct(name, count * size_of::<Set>(), &mut found);
            if !found {
                sets.cast::<Set>().write_bytes(0, count);
            }
            set_place(sets.cast(), count);
        }
    }

    // SAFETY: the postmaster has one thread, and calls this once.
    unsafe {
        PREVIOUS_REQUEST = pg_sys::shmem_request_hook;
        pg_sys::shmem_request_hook = Some(request);
        PREVIOUS_STARTUP = pg_sys::shmem_startup_hook;
        pg_sys::shmem_startup_hook = Some(startup);
    }
}

fn wanted_sets() -> usize {
    NameRecord::sets_for(settings::max_names())
}

#[cfg(any(feature = "pg15", feature = "pg16"))]
fn attach() -> Option<NameRecord<'static>> {
    None
}

/// Finds or makes the named segment; tried once in each backend. Not in a parallel query: its leader may not
/// begin the subtransaction that this takes.
#[cfg(not(any(feature = "pg15", feature = "pg16")))]
#[cold]
fn attach() -> Option<NameRecord<'static>> {
    use std::sync::atomic::AtomicBool;
    static TRIED: AtomicBool = AtomicBool::new(false);
    // SAFETY: reads variables of the backend.
    if unsafe { pg_sys::IsInParallelMode() } || TRIED.swap(true, Ordering::Relaxed) {
        return None;
    }
    segment::attach();
    name_record()
}

#[cfg(not(any(feature = "pg15", feature = "pg16")))]
mod segment {
    use super::{set_place, wanted_sets};
    use crate::report::Report;
    use crate::shared::name_record::Set;
    use pgrx::pg_sys::panic::CaughtError;
    use pgrx::{PgSqlErrorCode, PgTryBuilder, pg_sys};
    use std::ffi::{CStr, c_void};
    use std::mem::size_of;
    use std::sync::atomic::{AtomicUsize, Ordering};

    // The number is that of the layout of a set: a library with another layout must not meet these.
    const SIZE: &CStr = c"advisory_keys size of names 2";
    const NAMES: &CStr = c"advisory_keys names 2";

    /// Finds or makes the segment. It can fail, for want of memory or of segments, and then there are
    /// no names: that is no reason to fail for the statement that locks.
    pub(super) fn attach() {
        // SAFETY: the subtransaction gives back what Postgres took (locks of its own, memory) if an
        // error ends the work halfway; the context and the owner are those of the caller again
        // afterwards. No cancel is served meanwhile, so the only errors are those of the work.
        unsafe {
            let (context, owner) = (pg_sys::CurrentMemoryContext, pg_sys::CurrentResourceOwner);
            let holdoff = pg_sys::InterruptHoldoffCount;
            pg_sys::InterruptHoldoffCount += 1;
            let failure = PgTryBuilder::new(|| {
                pg_sys::BeginInternalSubTransaction(std::ptr::null());
                find_or_make();
                pg_sys::ReleaseCurrentSubTransaction();
                None
            })
            .catch_others(|error| {
                pg_sys::RollbackAndReleaseCurrentSubTransaction();
                Some(message(&error))
            })
            .execute();
            pg_sys::CurrentMemoryContext = context;
            pg_sys::CurrentResourceOwner = owner;
            pg_sys::InterruptHoldoffCount = holdoff;
            if let Some(message) = failure {
                Report::new(
                    PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION,
                    "names of advisory locks are not recorded by this session",
                )
                .detail(message)
                .log();
            }
        }
    }

    /// The number of sets stands in a segment of its own, since it is the size of the other: what
    /// the first backend read in its configuration holds for all.
    unsafe fn find_or_make() {
        static COUNT: AtomicUsize = AtomicUsize::new(0);

        // Postgres calls these two, from 19 on with an argument of the caller's. They cannot panic,
        // so they need no guard.
        unsafe extern "C-unwind" fn write_size(
            size: *mut c_void,
            #[cfg(feature = "pg19")] _: *mut c_void,
        ) {
            // SAFETY: a new segment of the size of a usize, which nobody else sees yet.
            unsafe { size.cast::<usize>().write(COUNT.load(Ordering::Relaxed)) }
        }

        unsafe extern "C-unwind" fn write_sets(
            sets: *mut c_void,
            #[cfg(feature = "pg19")] _: *mut c_void,
        ) {
            // SAFETY: as above, of that many sets; zeros are an empty set.
            unsafe { sets.cast::<Set>().write_bytes(0, COUNT.load(Ordering::Relaxed)) }
        }

        COUNT.store(wanted_sets(), Ordering::Relaxed);
        let mut found = false;
        // SAFETY: segments begin at a page of memory or, of preallocated memory, at one of Postgres'
        // own, so they are aligned; they stay mapped for as long as the backend lives.
        unsafe {
            let size = pg_sys::GetNamedDSMSegment(
                SIZE.as_ptr(),
                size_of::<usize>(),
                Some(write_size),
                &mut found,
                #[cfg(feature = "pg19")]
                std::ptr::null_mut(),
            );
            let count = size.cast::<usize>().read();
            COUNT.store(count, Ordering::Relaxed);
            let sets = pg_sys::GetNamedDSMSegment(
                NAMES.as_ptr(),
                count * size_of::<Set>(),
                Some(write_sets),
                &mut found,
                #[cfg(feature = "pg19")]
                std::ptr::null_mut(),
            );
            set_place(sets.cast(), count);
        }
    }

    fn message(error: &CaughtError) -> String {
        match error {
            CaughtError::PostgresError(report)
            | CaughtError::ErrorReport(report)
            | CaughtError::RustPanic { ereport: report, .. } => report.message().to_string(),
        }
    }
}
