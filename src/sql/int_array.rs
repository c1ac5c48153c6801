//! The result `integer[]` of SQL functions.
#![allow(unsafe_code)]

use pgrx::callconv::{BoxRet, FcInfo};
use pgrx::datum::Datum;
use pgrx::pg_sys;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};
use std::ffi::c_int;

/// An `integer[]` that has been built. A `Vec` would be one only after the function has returned, when an error could
/// undo nothing any more.
pub struct IntArray(pg_sys::Datum);

impl IntArray {
    /// An array of one dimension; without elements, `{}`.
    pub fn new(elements: impl ExactSizeIterator<Item = i32>) -> Self {
        let mut elements: Vec<pg_sys::Datum> = elements.map(pg_sys::Datum::from).collect();
        // SAFETY: so many datums of integers, which are copied; their size and alignment are those of the type
        // (src/include/catalog/pg_type.dat).
        let array = unsafe {
            pg_sys::construct_array(
                elements.as_mut_ptr(),
                elements.len() as c_int,
                pg_sys::INT4OID,
                size_of::<i32>() as c_int,
                true,
                pg_sys::TYPALIGN_INT as _,
            )
        };
        Self(array.into())
    }
}

// SAFETY: a datum of type integer[], as declared below.
unsafe impl BoxRet for IntArray {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> Datum<'fcx> {
        // SAFETY: the caller returns the datum, which lives in the memory context of the call.
        unsafe { fcinfo.return_raw_datum(self.0) }
    }
}

// SAFETY: the type is integer[] in SQL.
unsafe impl SqlTranslatable for IntArray {
    const TYPE_IDENT: &'static str = "integer[]";
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> =
        Ok(SqlMappingRef::literal("integer[]"));
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> =
        Ok(ReturnsRef::One(SqlMappingRef::literal("integer[]")));
}
