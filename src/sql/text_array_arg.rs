//! The argument `text[]` of the SQL functions.
#![allow(unsafe_code)]

use crate::keys::text_array::MAX_ALIGN;
use pgrx::callconv::{Arg, ArgAbi};
use pgrx::pg_sys;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};
use std::ptr::NonNull;
use std::slice;

const _: () = assert!(pg_sys::MAXIMUM_ALIGNOF as usize == MAX_ALIGN);

/// A `text[]` argument: the bytes of the array after its length word, where they are if they are
/// plain, else a copy (from a TOAST table, decompressed, or flattened from an expanded array).
///
/// `pgrx::Array<&str>` would look up the element type at each call and treat the text of any
/// server encoding as UTF-8.
#[derive(Clone, Copy)]
pub struct TextArrayArg<'fcx>(&'fcx [u8]);

impl<'fcx> TextArrayArg<'fcx> {
    /// The body, as [`crate::keys::text_array::TextArray::parse`] takes it.
    #[inline]
    pub fn body(self) -> &'fcx [u8] {
        self.0
    }

    /// # Safety
    /// `varlena` is a valid array value that lives as long as `'fcx`.
    #[inline]
    unsafe fn from_varlena(varlena: NonNull<pg_sys::varlena>) -> Self {
        // SAFETY: the first byte tells the form of the length word, see src/include/varatt.h; a
        // value in its plain form is as long as that word says.
        unsafe {
            let start = varlena.as_ptr().cast::<u8>();
            let first = *start;
            if first & 0b11 == 0b00 {
                Self::from_plain(start)
            } else if first & 0b01 == 0b01 && first != 0b01 {
                let size = usize::from(first >> 1);
                Self(slice::from_raw_parts(start.add(1), size - 1))
            } else {
                Self::detoast(varlena)
            }
        }
    }

    /// Apart from [`Self::from_varlena`], so that this stays small enough to be inlined.
    ///
    /// # Safety
    /// As there.
    #[cold]
    unsafe fn detoast(varlena: NonNull<pg_sys::varlena>) -> Self {
        // SAFETY: the result has a 4-byte length word and lives in the current memory context.
        unsafe { Self::from_plain(pg_sys::pg_detoast_datum(varlena.as_ptr()).cast()) }
    }

    /// # Safety
    /// `start` is a `varlena` with a 4-byte length word that lives as long as `'fcx`.
    #[inline]
    unsafe fn from_plain(start: *const u8) -> Self {
        // SAFETY: as the caller says; values with a 4-byte length word are aligned for it.
        unsafe {
            let size = (*start.cast::<u32>() >> 2) as usize;
            Self(slice::from_raw_parts(start.add(4), size - 4))
        }
    }
}

// SAFETY: the SQL type is text[], whose datum is a pointer to a varlena; arguments and what
// detoasting allocates live until the function returns.
unsafe impl<'fcx> ArgAbi<'fcx> for TextArrayArg<'fcx> {
    #[inline]
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: the caller has made sure that the argument is not NULL.
        unsafe {
            let datum = arg.unbox_arg_using_from_datum::<pg_sys::Datum>();
            let varlena = datum.and_then(|datum| NonNull::new(datum.cast_mut_ptr()));
            Self::from_varlena(varlena.expect("the functions take a NULL array as Option::None"))
        }
    }
}

// SAFETY: the type is text[] in SQL.
unsafe impl SqlTranslatable for TextArrayArg<'_> {
    const TYPE_IDENT: &'static str = "text[]";
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::literal("text[]"));
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> =
        Ok(ReturnsRef::One(SqlMappingRef::literal("text[]")));
}
