//! Text as an answer, in the server's encoding.
#![allow(unsafe_code)]

use pgrx::callconv::{BoxRet, FcInfo};
use pgrx::datum::Datum;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};
use pgrx::{IntoDatum, pg_sys};

/// Bytes that are valid in the server's encoding, which a Rust string need not be.
pub struct ServerText(pub Vec<u8>);

impl IntoDatum for ServerText {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        // SAFETY: the function copies that many bytes.
        let text = unsafe {
            pg_sys::cstring_to_text_with_len(self.0.as_ptr().cast(), self.0.len() as i32)
        };
        Some(text.into())
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::TEXTOID
    }
}

// SAFETY: a datum of type text, as declared below.
unsafe impl BoxRet for ServerText {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> Datum<'fcx> {
        // SAFETY: the caller returns the datum.
        unsafe { fcinfo.return_optional_datum(self.into_datum()) }
    }
}

// SAFETY: the type is text in SQL.
unsafe impl SqlTranslatable for ServerText {
    const TYPE_IDENT: &'static str = "text";
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::literal("text"));
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> =
        Ok(ReturnsRef::One(SqlMappingRef::literal("text")));
}
