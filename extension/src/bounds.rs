//! In charge of keys that are arrays whose elements are counted from something else than 1. A list on the wire says nothing
//! of that: `[0:1]={1,2}` and `{1,2}` are two keys, and would be one record.

use pgrx::pg_sys;

use crate::error::Error;
use crate::put;
use crate::row::{self, Cells};
use crate::shape::Shape;

/// Refuses such a row of the table.
pub fn check(shape: &Shape, id: &str, row: &Cells) {
    for column in shape.key_columns().filter(|column| column.codec.is_named_by_wire()) {
        let key = row.datum_at(column.number);
        // SAFETY: the datum is of the column's type.
        if key.is_some_and(|key| unsafe { counts_otherwise(column.codec.type_oid, key) }) {
            let reason = "the elements of an array in a key are counted from 1".to_owned();
            Error::BadId { id: put::short(id), reason }.report()
        }
    }
}

/// Whether a value is an array that counts its elements otherwise, or has one among its members.
///
/// # Safety
/// The datum must be of the type.
unsafe fn counts_otherwise(type_oid: pg_sys::Oid, datum: pg_sys::Datum) -> bool {
    // SAFETY: the caller vouches for the datum; the lower bounds of an array stand behind its sizes.
    unsafe {
        let base = pg_sys::getBaseType(type_oid);
        if pg_sys::get_element_type(base) == pg_sys::InvalidOid {
            return pg_sys::get_typtype(base) as u8 == pg_sys::TYPTYPE_COMPOSITE
                && has_member_that_does(datum);
        }
        let array = pg_sys::pg_detoast_datum(datum.cast_mut_ptr()).cast::<pg_sys::ArrayType>();
        let dimensions = (*array).ndim as usize;
        let sizes = array.cast::<u8>().add(size_of::<pg_sys::ArrayType>()).cast::<i32>();
        let lower = std::slice::from_raw_parts(sizes.add(dimensions), dimensions);
        lower.iter().any(|bound| *bound != 1) || has_element_that_does(array)
    }
}

/// # Safety
/// The array must be whole.
unsafe fn has_element_that_does(array: *mut pg_sys::ArrayType) -> bool {
    // SAFETY: the array names its elements' type, of which they are taken apart.
    unsafe {
        let element = (*array).elemtype;
        let base = pg_sys::getBaseType(element);
        let may_be = pg_sys::get_element_type(base) != pg_sys::InvalidOid
            || pg_sys::get_typtype(base) as u8 == pg_sys::TYPTYPE_COMPOSITE;
        if !may_be {
            return false;
        }
        let (mut length, mut by_value, mut align) = (0, false, 0);
        pg_sys::get_typlenbyvalalign(element, &mut length, &mut by_value, &mut align);
        let (mut values, mut nulls, mut count) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
        pg_sys::deconstruct_array(
            array,
            element,
            length.into(),
            by_value,
            align,
            &mut values,
            &mut nulls,
            &mut count,
        );
        (0..count as usize).any(|at| !*nulls.add(at) && counts_otherwise(element, *values.add(at)))
    }
}

/// # Safety
/// The datum must be a composite.
unsafe fn has_member_that_does(datum: pg_sys::Datum) -> bool {
    // SAFETY: a composite's datum names its type, whose descriptor tells the members' types.
    unsafe {
        let (cells, desc) =
            row::record_cells(pg_sys::pg_detoast_datum(datum.cast_mut_ptr()).cast());
        let found = (0..(*desc).natts as usize).any(|at| {
            let attribute = row::attribute(desc, at);
            !attribute.attisdropped
                && cells
                    .datum_at(at as i16 + 1)
                    .is_some_and(|member| counts_otherwise(attribute.atttypid, member))
        });
        pg_sys::FreeTupleDesc(desc);
        found
    }
}
