//! The server's encoding: text to UTF-8, and cutting text between characters.
#![allow(unsafe_code)]

use pgrx::pg_sys;
use smallvec::{Array, SmallVec};
use std::ffi::{CStr, c_int};
use std::ops::Deref;
use std::sync::atomic::{AtomicI32, Ordering};

const UTF8: c_int = pg_sys::pg_enc::PG_UTF8 as c_int;
const SQL_ASCII: c_int = pg_sys::pg_enc::PG_SQL_ASCII as c_int;

/// Text as UTF-8; what had to be converted is freed when it is dropped, as there may be millions in one call.
pub struct Utf8<'a> {
    text: &'a [u8],
    converted: bool,
}

impl Deref for Utf8<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.text
    }
}

impl Drop for Utf8<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.converted {
            // SAFETY: `convert` has got it from Postgres, and nobody else has it.
            unsafe { pg_sys::pfree(self.text.as_ptr().cast_mut().cast()) };
        }
    }
}

/// Text of the server as UTF-8.
///
/// Text that is not valid, or that has no UTF-8 equivalent, is an error with SQLSTATE 22021 or
/// 22P05; more than about 256 MB of non-ASCII text in another encoding than UTF8 is one with 54000.
#[inline]
pub fn to_utf8(text: &[u8]) -> Utf8<'_> {
    if database_encoding() == UTF8 || text.is_ascii() {
        return Utf8 { text, converted: false };
    }
    convert(text)
}

/// The encoding of the database. It never changes while a backend lives, so it is asked for once.
#[inline]
fn database_encoding() -> c_int {
    static ENCODING: AtomicI32 = AtomicI32::new(-1);

    #[cold]
    fn ask() -> c_int {
        // SAFETY: reads a variable of the backend; a function call implies a connected database.
        let encoding = unsafe { pg_sys::GetDatabaseEncoding() };
        ENCODING.store(encoding, Ordering::Relaxed);
        encoding
    }

    match ENCODING.load(Ordering::Relaxed) {
        -1 => ask(),
        known => known,
    }
}

#[cold]
fn convert(text: &[u8]) -> Utf8<'_> {
    // SAFETY: pg_server_to_any() (src/backend/utils/mb/mbutils.c) reads `len` bytes and returns
    // either its argument, when there is nothing to convert (then the bytes have been verified), or
    // a new string that ends with NUL and lives until it is freed, or the current memory context is,
    // which outlives the call of the SQL function as `text` does.
    unsafe {
        let utf8 = pg_sys::pg_server_to_any(text.as_ptr().cast(), text.len() as c_int, UTF8);
        if utf8.cast_const() == text.as_ptr().cast() {
            Utf8 { text, converted: false }
        } else {
            Utf8 { text: CStr::from_ptr(utf8).to_bytes(), converted: true }
        }
    }
}

/// What follows a text that was cut.
pub const CUT_MARK: &[u8] = b"...";

/// Cuts a text that is longer than `limit` bytes, between two characters, and marks the cut.
pub fn cut<A: Array<Item = u8>>(text: &mut SmallVec<A>, limit: usize) {
    if text.len() > limit {
        let shown = clip(text, limit).len();
        text.truncate(shown);
        text.extend_from_slice(CUT_MARK);
    }
}

/// The longest prefix of at most `limit` bytes that ends between two characters.
fn clip(text: &[u8], limit: usize) -> &[u8] {
    if text.len() <= limit {
        return text;
    }
    // A SQL_ASCII server takes every byte for a character; keys there are UTF-8 all the same.
    let encoding = match database_encoding() {
        SQL_ASCII => UTF8,
        encoding => encoding,
    };
    // SAFETY: pg_encoding_mbcliplen() reads at most `len` bytes.
    let len = unsafe {
        pg_sys::pg_encoding_mbcliplen(
            encoding,
            text.as_ptr().cast(),
            text.len() as c_int,
            limit as c_int,
        )
    };
    &text[..len as usize]
}

/// Is this text in the server's encoding?
pub fn is_valid(text: &[u8]) -> bool {
    // SAFETY: reads that many bytes; with `noError` it answers false instead of raising an error.
    unsafe { pg_sys::pg_verifymbstr(text.as_ptr().cast(), text.len() as c_int, true) }
}

/// Can text of the server be sent to the client? Postgres raises an error in the place of a message
/// that has a character the client's encoding lacks.
pub fn client_can_show(text: &[u8]) -> bool {
    /// `MAX_CONVERSION_GROWTH` of `src/include/mb/pg_wchar.h`, in bytes per byte.
    const MAX_GROWTH: usize = 4;

    if text.is_ascii() {
        return true;
    }
    let server = database_encoding();
    // SAFETY: the functions read the text, whose length they are told, and write no more than the
    // length of the buffer; with `noError` a character that cannot be converted ends the work.
    unsafe {
        let client = pg_sys::pg_get_client_encoding();
        if client == server || client == SQL_ASCII {
            return true;
        }
        let (source, len) = (text.as_ptr(), text.len() as c_int);
        if server == SQL_ASCII {
            return pg_sys::pg_encoding_verifymbstr(client, source.cast(), len) == len;
        }
        let conversion = pg_sys::FindDefaultConversionProc(server, client);
        let mut converted = vec![0u8; text.len() * MAX_GROWTH + 1];
        conversion != pg_sys::InvalidOid
            && pg_sys::pg_do_encoding_conversion_buf(
                conversion,
                server,
                client,
                source.cast_mut(),
                len,
                converted.as_mut_ptr(),
                converted.len() as c_int,
                true,
            ) == len
    }
}
