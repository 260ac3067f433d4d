//! In charge of arguments that SQL may hand over and Rust can't take as they are: nulls, and JSON that
//! Postgres reads and serde doesn't. Whoever calls is told so; nothing panics.

use pgrx::callconv::{Arg, ArgAbi};
use pgrx::pg_sys;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};
use pgrx::prelude::*;
use std::ffi::CStr;

use crate::error::{Error, OrReport};

/// What may not be null, with the argument's name.
pub fn need<T>(argument: Option<T>, name: &str) -> T {
    argument.ok_or_else(|| Error::BadArgument(format!("{name} must not be null"))).or_report()
}

/// An array without its nulls.
pub fn without_nulls<T>(array: Vec<Option<T>>) -> Vec<T> {
    array.into_iter().flatten().collect()
}

/// A jsonb that has not been parsed yet. Postgres takes thousands of levels; serde 127, and an object
/// with the one member `$serde_json::private::Number` is no object to it. pgrx's own type panics there.
pub struct Json(String);

impl Json {
    pub fn read(&self) -> Result<serde_json::Value, Error> {
        parse(&self.0)
    }

    pub fn into_text(self) -> String {
        self.0
    }
}

pub fn parse(json: &str) -> Result<serde_json::Value, Error> {
    revision::parse_wire(json)
        .map_err(|error| Error::BadRecord(format!("the JSON can't be read: {error}")))
}

impl FromDatum for Json {
    unsafe fn from_polymorphic_datum(
        datum: pg_sys::Datum,
        is_null: bool,
        _: pg_sys::Oid,
    ) -> Option<Self> {
        // SAFETY: the caller vouches for a jsonb; its text is copied before it is freed.
        (!is_null).then(|| unsafe {
            let text = pg_sys::OidOutputFunctionCall(pg_sys::Oid::from(JSONB_OUT), datum);
            let copy = CStr::from_ptr(text).to_string_lossy().into_owned();
            pg_sys::pfree(text.cast());
            Json(copy)
        })
    }
}

/// pg_proc.dat: jsonb_out.
const JSONB_OUT: u32 = 3804;

// SAFETY: the SQL declares these arguments as jsonb.
unsafe impl<'call> ArgAbi<'call> for Json {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'call>) -> Self {
        // SAFETY: as above.
        need(unsafe { arg.unbox_arg_using_from_datum() }, "a jsonb argument")
    }

    unsafe fn unbox_nullable_arg(arg: Arg<'_, 'call>) -> pgrx::nullable::Nullable<Self> {
        // SAFETY: as above.
        unsafe { arg.unbox_arg_using_from_datum().into() }
    }
}

// SAFETY: nothing is generated from it; `sql/*.sql` is the schema.
unsafe impl SqlTranslatable for Json {
    const TYPE_IDENT: &'static str = pgrx::pgrx_resolved_type!(Json);
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::literal("jsonb"));
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> =
        Ok(ReturnsRef::One(SqlMappingRef::literal("jsonb")));
}
