//! Errors, warnings and context lines whose text is in the server's encoding.
//!
//! `pgrx::ErrorReport` carries Rust strings, that is UTF-8, and hands them to the server unchanged;
//! a key's name in a LATIN1 database would come out broken. So reports are written with the
//! functions behind the `ereport` macro of `src/include/utils/elog.h`.
#![allow(unsafe_code)]

use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use pgrx::pg_sys::panic::{CaughtError, ErrorReportWithLevel};
use pgrx::{PgLogLevel, PgSqlErrorCode};
use std::ffi::{CStr, CString, c_char, c_int};

unsafe extern "C-unwind" {
    fn errstart(elevel: c_int, domain: *const c_char) -> bool;
    fn errcode(sqlerrcode: c_int) -> c_int;
    fn errmsg(fmt: *const c_char, ...) -> c_int;
    fn errdetail(fmt: *const c_char, ...) -> c_int;
    fn errhint(fmt: *const c_char, ...) -> c_int;
    fn errcontext_msg(fmt: *const c_char, ...) -> c_int;
    fn errfinish(filename: *const c_char, lineno: c_int, funcname: *const c_char);
}

/// An error, a warning or a line of the log; its texts are in the server's encoding.
pub struct Report {
    code: PgSqlErrorCode,
    message: CString,
    detail: Option<CString>,
    hint: Option<CString>,
}

impl Report {
    /// A report with a SQLSTATE and the primary message.
    pub fn new(code: PgSqlErrorCode, message: impl Into<Vec<u8>>) -> Self {
        Self { code, message: c_string(message), detail: None, hint: None }
    }

    /// Adds the facts.
    pub fn detail(mut self, detail: impl Into<Vec<u8>>) -> Self {
        self.detail = Some(c_string(detail));
        self
    }

    /// Adds the cure.
    pub fn hint(mut self, hint: impl Into<Vec<u8>>) -> Self {
        self.hint = Some(c_string(hint));
        self
    }

    /// Raises an ERROR. It unwinds like any error from Postgres, so guards on the way do their work.
    pub fn raise(self) -> ! {
        self.emit(PgLogLevel::ERROR);
        unreachable!("errfinish() does not return from an ERROR")
    }

    /// Sends a WARNING.
    pub fn warn(self) {
        self.emit(PgLogLevel::WARNING);
    }

    /// Writes a line to the server's log, and to no client whatever it has asked for.
    pub fn log(self) {
        self.emit(PgLogLevel::LOG_SERVER_ONLY);
    }

    fn emit(self, level: PgLogLevel) {
        const TEXT: *const c_char = c"%s".as_ptr();
        // SAFETY: the closure has only values without destructors and calls only C, which may leave
        // it by longjmp; the texts outlive it and are copied by the functions they are given to.
        unsafe {
            pg_guard_ffi_boundary(|| {
                if errstart(level as c_int, std::ptr::null()) {
                    errcode(self.code as c_int);
                    errmsg(TEXT, self.message.as_ptr());
                    if let Some(detail) = &self.detail {
                        errdetail(TEXT, detail.as_ptr());
                    }
                    if let Some(hint) = &self.hint {
                        errhint(TEXT, hint.as_ptr());
                    }
                    // No source location: Postgres keeps these pointers longer than we could.
                    errfinish(std::ptr::null(), 0, std::ptr::null());
                }
            })
        }
    }
}

/// Adds a CONTEXT line to the report that Postgres is putting together; to be called from an
/// error-context callback only.
pub fn add_context(line: &CStr) {
    // SAFETY: as in `Report::emit`; outside a report errcontext_msg() raises an ordinary error.
    unsafe {
        pg_guard_ffi_boundary(|| errcontext_msg(c"%s".as_ptr(), line.as_ptr()));
    }
}

/// The SQLSTATE of an error that was caught.
pub fn sqlstate(error: &CaughtError) -> PgSqlErrorCode {
    report_of(error).sql_error_code()
}

/// What was reported by an error that was caught.
pub fn report_of(error: &CaughtError) -> &ErrorReportWithLevel {
    match error {
        CaughtError::PostgresError(report)
        | CaughtError::ErrorReport(report)
        | CaughtError::RustPanic { ereport: report, .. } => report,
    }
}

/// Text for C. No text of Postgres holds a NUL byte; should one come, the text ends there.
pub fn c_string(text: impl Into<Vec<u8>>) -> CString {
    let mut text = text.into();
    text.truncate(text.iter().position(|&byte| byte == 0).unwrap_or(text.len()));
    CString::new(text).unwrap_or_default()
}
