//! The CONTEXT of what Postgres reports during a wait: of errors, and of the log lines of `log_lock_waits`. Not of an
//! error of a parallel worker, which brings its own.
#![allow(unsafe_code)]

use crate::keys::name::NamedKey;
use crate::report::{add_context, c_string};
use pgrx::{pg_guard, pg_sys};
use std::ffi::{CStr, CString, c_void};

/// `while locking advisory key …`; put together before the wait, when it is still safe to look things up.
pub fn context_line(doing: &str, subject: &NamedKey<'_>) -> CString {
    let mut line = format!("while {doing} advisory key ").into_bytes();
    line.extend(subject.describe());
    c_string(line)
}

/// Runs `f`; whatever Postgres reports meanwhile carries the line as CONTEXT.
pub fn with_error_context<R>(line: &CStr, f: impl FnOnce() -> R) -> R {
    struct Pop(*mut pg_sys::ErrorContextCallback);
    impl Drop for Pop {
        fn drop(&mut self) {
            // SAFETY: puts back what was there before our callback, which dies now.
            unsafe { pg_sys::error_context_stack = self.0 }
        }
    }

    // SAFETY: the callback stays on this stack frame, and the line in the caller's, until `Pop` has
    // taken the callback off the list.
    unsafe {
        let previous = pg_sys::error_context_stack;
        let mut callback = pg_sys::ErrorContextCallback {
            previous,
            callback: Some(add_context_line),
            arg: line.as_ptr().cast_mut().cast(),
        };
        let _pop = Pop(previous);
        pg_sys::error_context_stack = &mut callback;
        f()
    }
}

/// The callback of [`with_error_context`]; `arg` is the line.
#[pg_guard]
unsafe extern "C-unwind" fn add_context_line(arg: *mut c_void) {
    // SAFETY: see `with_error_context`.
    add_context(unsafe { CStr::from_ptr(arg.cast()) });
}
