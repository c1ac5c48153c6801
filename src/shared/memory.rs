//! Where names, statistics and the rest are: in memory that all backends share.
//!
//! In a library of `shared_preload_libraries` it is part of the server's shared memory
//! (`src/backend/storage/ipc/ipci.c`). Else, from Postgres 17 on, it is a named segment that the first
//! backend to lock a name makes (`src/backend/storage/ipc/dsm_registry.c`). Before 17 there is none.
//! Either way it begins empty after every start of the server, also after a crash.
#![allow(unsafe_code)]

use crate::backend::process_id;
use crate::shared::holds::Backend;
use crate::shared::layout::{Layout, Sizes};
use crate::shared::name_record::NameRecord;
use crate::shared::statistics::Statistics;
use pgrx::{pg_guard, pg_sys};
use std::sync::atomic::{AtomicPtr, Ordering};

/// Where the memory begins in this process; null while there is none. In the postmaster that can change: it makes it
/// anew after a crash.
static BASE: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());

/// The record of names, if there is one.
#[inline]
pub fn name_record() -> Option<NameRecord<'static>> {
    layout()?.names()
}

/// The statistics, if there are any.
#[inline]
pub fn statistics() -> Option<Statistics<'static>> {
    layout()?.statistics(process_id() as usize)
}

/// Since when each backend holds its locks, if that is known, by its number in the process table.
#[inline]
pub fn backends() -> Option<&'static [Backend]> {
    Some(layout()?.backends())
}

/// The same for who must not do what may be needed first: the clean-up of a transaction, or after an error.
#[inline]
pub fn known_backends() -> Option<&'static [Backend]> {
    Some(known_layout()?.backends())
}

#[inline]
fn layout() -> Option<Layout> {
    known_layout().or_else(attach)
}

#[inline]
fn known_layout() -> Option<Layout> {
    let base = BASE.load(Ordering::Relaxed);
    // SAFETY: it is set once the memory was begun, which stays for as long as the process lives.
    (!base.is_null()).then(|| unsafe { Layout::at(base) })
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
            pg_sys::RequestAddinShmemSpace(Sizes::wanted().total());
        }
    }

    #[pg_guard]
    unsafe extern "C-unwind" fn startup() {
        // SAFETY: called by the postmaster while it makes shared memory, and nobody else uses that
        // yet. ShmemInitStruct() aligns to 128 bytes.
        unsafe {
            if let Some(previous) = PREVIOUS_STARTUP {
                previous();
            }
            let sizes = Sizes::wanted();
            let mut found = false;
            let base =
                pg_sys::ShmemInitStruct(c"advisory_keys".as_ptr(), sizes.total(), &mut found);
            if !found {
                Layout::begin(base.cast(), sizes);
            }
            BASE.store(base.cast(), Ordering::Relaxed);
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

#[cfg(any(feature = "pg15", feature = "pg16"))]
fn attach() -> Option<Layout> {
    None
}

/// Finds or makes the named segment; tried once in each backend. Not in a parallel query: its leader may not
/// begin the subtransaction that this takes.
#[cfg(not(any(feature = "pg15", feature = "pg16")))]
#[cold]
fn attach() -> Option<Layout> {
    use std::sync::atomic::AtomicBool;
    static TRIED: AtomicBool = AtomicBool::new(false);
    // SAFETY: reads variables of the backend.
    if unsafe { pg_sys::IsInParallelMode() } || TRIED.swap(true, Ordering::Relaxed) {
        return None;
    }
    segment::attach();
    layout()
}

#[cfg(not(any(feature = "pg15", feature = "pg16")))]
mod segment {
    use super::{BASE, Layout, Sizes};
    use crate::report::{Report, report_of};
    use pgrx::{PgSqlErrorCode, PgTryBuilder, pg_sys};
    use std::ffi::{CStr, c_void};
    use std::mem::size_of;
    use std::sync::atomic::{AtomicPtr, Ordering};

    // The number is that of the layout: a library with another one must not meet these.
    const SIZES: &CStr = c"advisory_keys sizes 3";
    const MEMORY: &CStr = c"advisory_keys 3";

    /// Finds or makes the segment. It can fail, for want of memory or of segments, and then there are
    /// no names and no statistics: that is no reason to fail for the statement that locks.
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
                Some(report_of(&error).message().to_string())
            })
            .execute();
            pg_sys::CurrentMemoryContext = context;
            pg_sys::CurrentResourceOwner = owner;
            pg_sys::InterruptHoldoffCount = holdoff;
            if let Some(message) = failure {
                Report::new(
                    PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION,
                    "names and statistics of advisory locks are not recorded by this session",
                )
                .detail(message)
                .log();
            }
        }
    }

    /// The sizes stand in a segment of their own, since they say how large the other is: what the first backend read
    /// in its configuration holds for all.
    unsafe fn find_or_make() {
        /// For the two functions below: what they write.
        static WANTED: AtomicPtr<Sizes> = AtomicPtr::new(std::ptr::null_mut());

        // Postgres calls these two, from 19 on with an argument of the caller's. They cannot panic,
        // so they need no guard.
        unsafe extern "C-unwind" fn write_sizes(
            place: *mut c_void,
            #[cfg(feature = "pg19")] _: *mut c_void,
        ) {
            // SAFETY: a new segment of the size of this, which nobody else sees yet.
            unsafe { place.cast::<Sizes>().write(*WANTED.load(Ordering::Relaxed)) }
        }

        unsafe extern "C-unwind" fn begin(
            place: *mut c_void,
            #[cfg(feature = "pg19")] _: *mut c_void,
        ) {
            // SAFETY: as above, of so many bytes.
            unsafe { Layout::begin(place.cast(), *WANTED.load(Ordering::Relaxed)) }
        }

        let mut sizes = Sizes::wanted();
        WANTED.store(&raw mut sizes, Ordering::Relaxed);
        let mut found = false;
        // SAFETY: segments begin at a page of memory or, of preallocated memory, at one of Postgres'
        // own, so they are aligned; they stay mapped for as long as the backend lives.
        unsafe {
            let place = pg_sys::GetNamedDSMSegment(
                SIZES.as_ptr(),
                size_of::<Sizes>(),
                Some(write_sizes),
                &mut found,
                #[cfg(feature = "pg19")]
                std::ptr::null_mut(),
            );
            (&raw mut sizes).write(place.cast::<Sizes>().read());
            let base = pg_sys::GetNamedDSMSegment(
                MEMORY.as_ptr(),
                (&raw const sizes).read().total(),
                Some(begin),
                &mut found,
                #[cfg(feature = "pg19")]
                std::ptr::null_mut(),
            );
            BASE.store(base.cast(), Ordering::Relaxed);
        }
    }
}
