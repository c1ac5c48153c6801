//! What lies where in the memory that all sessions share: see [`super`].
#![allow(unsafe_code)]

use crate::settings;
use crate::shared::holds::Backend;
use crate::shared::name_record::{self, NameRecord};
use crate::shared::statistics::{self, Statistics};
use pgrx::pg_sys;
use std::mem::size_of;
use std::sync::atomic::AtomicU64;

/// How much there is of everything.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Sizes {
    name_sets: usize,
    statistics_sets: usize,
    backends: usize,
}

/// What the memory begins with.
#[repr(C, align(64))]
struct Header {
    sizes: Sizes,
    /// A number that nobody can guess: with it, nobody can choose which first parts meet in a set.
    secret: u64,
    /// Rows of the statistics that made room for others.
    evictions: AtomicU64,
}

impl Sizes {
    /// As the settings say.
    pub fn wanted() -> Self {
        Self {
            name_sets: NameRecord::sets_for(settings::max_names()),
            statistics_sets: Statistics::sets_for(settings::max_stats()),
            // SAFETY: it does not change once the server has begun to make shared memory.
            backends: usize::try_from(unsafe { pg_sys::MaxBackends }).unwrap_or(0),
        }
    }

    /// In bytes.
    pub fn total(self) -> usize {
        self.backends() + self.backends * size_of::<Backend>()
    }

    fn names(self) -> usize {
        size_of::<Header>()
    }

    fn statistics(self) -> usize {
        self.names() + self.name_sets * size_of::<name_record::Set>()
    }

    fn backends(self) -> usize {
        self.statistics() + self.statistics_sets * size_of::<statistics::Set>()
    }
}

/// The memory, with everything in its place.
#[derive(Clone, Copy)]
pub struct Layout {
    base: *mut u8,
}

impl Layout {
    /// Makes new memory ready: nothing is recorded.
    ///
    /// # Safety
    /// There are [`Sizes::total`] bytes at `base`, aligned to 64, which nobody else uses yet.
    pub unsafe fn begin(base: *mut u8, sizes: Sizes) {
        // SAFETY: as the caller says. All bytes zero is a valid value of everything here, without anything in it.
        unsafe {
            base.write_bytes(0, sizes.total());
            let header = base.cast::<Header>();
            (&raw mut (*header).sizes).write(sizes);
            pg_sys::pg_strong_random((&raw mut (*header).secret).cast(), size_of::<u64>());
        }
    }

    /// Memory that was begun.
    ///
    /// # Safety
    /// It was, by [`Layout::begin`], and stays for as long as the process lives.
    pub unsafe fn at(base: *mut u8) -> Self {
        Self { base }
    }

    /// The record of names.
    #[inline]
    pub fn names(self) -> Option<NameRecord<'static>> {
        let Sizes { name_sets, .. } = self.header().sizes;
        // SAFETY: they are there, and all their fields are atomics.
        NameRecord::new(unsafe { self.slice(self.header().sizes.names(), name_sets) })
    }

    /// The statistics, for the session of this number.
    #[inline]
    pub fn statistics(self, session: usize) -> Option<Statistics<'static>> {
        let Header { sizes, secret, evictions } = self.header();
        // SAFETY: as for the names.
        let sets = unsafe { self.slice(sizes.statistics(), sizes.statistics_sets) };
        Statistics::new(sets, evictions, *secret, session)
    }

    /// The places of each backend, by its number in the process table.
    #[inline]
    pub fn backends(self) -> &'static [Backend] {
        let sizes = self.header().sizes;
        // SAFETY: as for the names.
        unsafe { self.slice(sizes.backends(), sizes.backends) }
    }

    #[inline]
    fn header(self) -> &'static Header {
        // SAFETY: it is there, and what of it is no atomic does not change.
        unsafe { &*self.base.cast() }
    }

    /// # Safety
    /// There are so many of them that many bytes behind the base.
    #[inline]
    unsafe fn slice<T>(self, offset: usize, count: usize) -> &'static [T] {
        // SAFETY: as the caller says; each type here is as large as a multiple of its alignment of 64.
        unsafe { std::slice::from_raw_parts(self.base.add(offset).cast(), count) }
    }
}
