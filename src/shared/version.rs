//! The protocol of everything in shared memory that several fields belong to: see [`super`].

use std::sync::atomic::{AtomicU32, Ordering, fence};

/// Goes with fields that are written together. All of them are atomics, so that even what a reader throws away was
/// read without a data race; they need no order of their own.
///
/// 0 when they were never written, odd while a backend writes them.
#[repr(transparent)]
#[cfg_attr(test, derive(Default))]
pub struct Version(pub(super) AtomicU32);

impl Version {
    /// Were the fields never written?
    #[inline]
    pub fn is_unused(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    /// Is somebody writing them?
    #[inline]
    pub fn is_being_written(&self) -> bool {
        is_odd(self.0.load(Ordering::Acquire))
    }

    /// What `read` makes of the fields; none if it says so, if they were never written, or if somebody writes them
    /// meanwhile.
    #[inline]
    pub fn read<R>(&self, read: impl FnOnce() -> Option<R>) -> Option<R> {
        let version = self.0.load(Ordering::Acquire);
        if version == 0 || is_odd(version) {
            return None;
        }
        let result = read()?;
        fence(Ordering::Acquire);
        (self.0.load(Ordering::Relaxed) == version).then_some(result)
    }

    /// Writes fields that only one backend ever writes, which costs less.
    #[inline]
    pub fn write_own<R>(&self, write: impl FnOnce() -> R) -> R {
        let writing = self.0.load(Ordering::Relaxed) | 1;
        self.0.store(writing, Ordering::Relaxed);
        self.finish(writing, write)
    }

    /// Writes the fields; none, and nothing is done, while another backend does.
    pub fn write<R>(&self, write: impl FnOnce() -> R) -> Option<R> {
        let version = self.0.load(Ordering::Relaxed);
        let writing = version | 1;
        if version == writing {
            return None;
        }
        self.0.compare_exchange(version, writing, Ordering::Acquire, Ordering::Relaxed).ok()?;
        Some(self.finish(writing, write))
    }

    #[inline]
    fn finish<R>(&self, writing: u32, write: impl FnOnce() -> R) -> R {
        // Whoever sees one of the stores below sees the odd version too.
        fence(Ordering::Release);
        let result = write();
        // 0 would say that they were never written.
        self.0.store(writing.wrapping_add(1).max(2), Ordering::Release);
        result
    }
}

#[inline]
fn is_odd(version: u32) -> bool {
    !version.is_multiple_of(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_reads_or_writes_what_is_being_written() {
        let version = Version(AtomicU32::new(0));
        assert_eq!(version.read(|| Some(())), None);
        let inside = version.write(|| {
            assert!(version.is_being_written());
            (version.read(|| Some(())), version.write(|| ()))
        });
        assert_eq!(inside, Some((None, None)));
        assert_eq!(version.read(|| Some(7)), Some(7));
        version.write_own(|| assert_eq!(version.read(|| Some(())), None));
        assert_eq!(version.read(|| Some(7)), Some(7));
    }

    #[test]
    fn what_was_written_meanwhile_is_not_read() {
        let version = Version(AtomicU32::new(2));
        assert_eq!(version.read(|| version.write(|| ())), None);
        assert_eq!(version.read(|| Some(version.write_own(|| 7))), None);
    }

    #[test]
    fn the_version_never_says_unused_again() {
        let version = Version(AtomicU32::new(u32::MAX - 1));
        version.write(|| ());
        assert!(!version.is_unused());
        assert_eq!(version.read(|| Some(())), Some(()));
    }
}
