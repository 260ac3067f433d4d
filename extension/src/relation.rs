//! In charge of what Postgres's catalogs say of a relation, from the caches that every backend has of them. In SQL the
//! same had to be planned in each: ten milliseconds before a first write.

use pgrx::prelude::*;
use pgrx::{direct_function_call, pg_sys};
use std::ffi::{CStr, CString, c_char};

use crate::own;
use crate::row;
use crate::shape::quote;
use crate::unguarded::{self, guarded};

pub struct Relation {
    pub owner: pg_sys::Oid,
    pub schema: String,
    pub name: String,
    pub has_row_security: bool,
    pub has_rules: bool,
    /// The living columns, in their order.
    pub columns: Vec<Column>,
}

pub struct Column {
    pub name: String,
    pub number: i16,
    pub type_oid: pg_sys::Oid,
    pub type_mod: i32,
    pub collation: pg_sys::Oid,
    pub not_null: bool,
    pub is_generated: bool,
    /// `GENERATED ALWAYS AS IDENTITY`.
    pub is_identity_always: bool,
    /// The default's expression as SQL, or that of a generated column.
    pub default: Option<String>,
}

impl Relation {
    /// None where there is none.
    pub fn of(relation: pg_sys::Oid) -> Option<Relation> {
        // SAFETY: the relation is open while it is read. Nothing is looked up meanwhile, which could change its entry.
        let (mut read, schema, defaults) = unsafe {
            let open = pg_sys::RelationIdGetRelation(relation);
            if open.is_null() {
                return None;
            }
            let class = &*(*open).rd_rel;
            let read = Relation {
                owner: class.relowner,
                schema: String::new(),
                name: text(class.relname.data.as_ptr()),
                has_row_security: class.relrowsecurity,
                has_rules: class.relhasrules,
                columns: columns((*open).rd_att),
            };
            let (schema, defaults) = (class.relnamespace, defaults((*open).rd_att));
            pg_sys::RelationClose(open);
            (read, schema, defaults)
        };
        read.schema = schema_name(schema)?;
        for (number, node) in defaults {
            if let Some(column) = read.columns.iter_mut().find(|column| column.number == number) {
                // SAFETY: a copy of the text, as the catalog has it.
                let node = unsafe { pg_sys::cstring_to_text(node.as_ptr()) };
                // A default names no column, and Postgres goes through all columns' names for who might.
                let of = if column.is_generated { relation } else { pg_sys::InvalidOid };
                column.default = expression(node.into(), of);
            }
        }
        Some(read)
    }

    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The name as SQL takes it, with its schema.
    pub fn quoted(&self) -> String {
        format!("{}.{}", quote(&self.schema), quote(&self.name))
    }
}

impl Column {
    /// Whether its collation takes other texts for equal.
    pub fn is_loose(&self) -> bool {
        let has_one = self.collation != pg_sys::InvalidOid;
        // SAFETY: a catalog look-up by OID.
        has_one && unsafe { !pg_sys::get_collation_isdeterministic(self.collation) }
    }
}

/// # Safety
/// The descriptor must be a relation's.
unsafe fn columns(desc: pg_sys::TupleDesc) -> Vec<Column> {
    // SAFETY: the caller vouches for the descriptor.
    let all = unsafe { (0..(*desc).natts as usize).map(|at| row::attribute(desc, at)) };
    let living = all.filter(|attribute| !attribute.attisdropped);
    let column = |attribute: &pg_sys::FormData_pg_attribute| Column {
        // SAFETY: a name ends in a zero.
        name: unsafe { text(attribute.attname.data.as_ptr()) },
        number: attribute.attnum,
        type_oid: attribute.atttypid,
        type_mod: attribute.atttypmod,
        collation: attribute.attcollation,
        not_null: attribute.attnotnull,
        is_generated: attribute.attgenerated != 0,
        is_identity_always: attribute.attidentity as u8 == pg_sys::ATTRIBUTE_IDENTITY_ALWAYS,
        default: None,
    };
    living.map(column).collect()
}

/// The columns' defaults, by their numbers, as the catalog has them.
///
/// # Safety
/// The descriptor must be a relation's.
unsafe fn defaults(desc: pg_sys::TupleDesc) -> Vec<(i16, CString)> {
    // SAFETY: the caller vouches for the descriptor; there are as many as it says, each a text that ends in a zero.
    unsafe {
        let constraints = (*desc).constr;
        if constraints.is_null() || (*constraints).num_defval == 0 {
            return Vec::new();
        }
        let count = usize::from((*constraints).num_defval);
        let all = std::slice::from_raw_parts((*constraints).defval, count);
        all.iter().map(|one| (one.adnum, CStr::from_ptr(one.adbin).to_owned())).collect()
    }
}

/// An expression of a relation's, as SQL. Names in it are as the search path has them.
fn expression(node: pg_sys::Datum, relation: pg_sys::Oid) -> Option<String> {
    // SAFETY: the built-in function with its two arguments.
    unsafe { direct_function_call(pg_sys::pg_get_expr, &[Some(node), relation.into_datum()]) }
}

/// A type as SQL takes it under any search path.
pub fn type_name(type_oid: pg_sys::Oid, type_mod: i32) -> String {
    named_type(type_oid, type_mod, pg_sys::FORMAT_TYPE_FORCE_QUALIFY)
}

/// A type as people read it.
pub fn shown_type(type_oid: pg_sys::Oid, type_mod: i32) -> String {
    named_type(type_oid, type_mod, 0)
}

fn named_type(type_oid: pg_sys::Oid, type_mod: i32, flags: u32) -> String {
    let flags = (flags | pg_sys::FORMAT_TYPE_TYPEMOD_GIVEN) as pg_sys::bits16;
    // SAFETY: a catalog look-up by OID; Postgres raises an error for one that is gone. The name is copied at once.
    unsafe { text(pg_sys::format_type_extended(type_oid, type_mod, flags)) }
}

/// # Safety
/// The text must end in a zero.
unsafe fn text(name: *const c_char) -> String {
    // SAFETY: the caller vouches for it.
    unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
}

fn schema_name(schema: pg_sys::Oid) -> Option<String> {
    // SAFETY: a catalog look-up by OID; the name is copied at once.
    unsafe {
        let name = pg_sys::get_namespace_name(schema);
        (!name.is_null()).then(|| text(name))
    }
}

/// An index as pg_index has it.
pub struct Index {
    pub oid: pg_sys::Oid,
    pub table: pg_sys::Oid,
    /// Numbers of the columns by which it sorts; 0 is an expression.
    pub columns: Vec<i16>,
    pub classes: Vec<pg_sys::Oid>,
    pub is_primary: bool,
    /// Whether it keeps any two rows apart.
    pub is_constraint: bool,
    /// Whether it does so at once, and not when it is asked to.
    pub is_immediate: bool,
    pub is_valid: bool,
}

impl Index {
    /// The indexes of a relation.
    pub fn all_of(relation: pg_sys::Oid) -> Vec<Index> {
        let indexes =
            (pg_sys::IndexRelationId, pg_sys::Oid::from_u32(pg_sys::IndexIndrelidIndexId));
        own::rows_of(indexes, pg_sys::Anum_pg_index_indrelid as i16, relation, |row| {
            // SAFETY: a row of pg_index, whose vectors have as many members as they say.
            let (index, columns, classes) = unsafe {
                let index = &*pg_sys::GETSTRUCT(row.tuple).cast::<pg_sys::FormData_pg_index>();
                let columns = index.indkey.values.as_slice(index.indnkeyatts as usize).to_vec();
                let classes: *const pg_sys::oidvector =
                    row.there(pg_sys::Anum_pg_index_indclass as i32).cast_mut_ptr();
                (index, columns, (*classes).values.as_slice((*classes).dim1 as usize).to_vec())
            };
            Index {
                oid: index.indexrelid,
                table: relation,
                columns,
                classes,
                is_primary: index.indisprimary,
                is_constraint: index.indisunique || index.indisexclusion,
                is_immediate: index.indimmediate,
                is_valid: index.indisvalid,
            }
        })
    }

    /// Which rows of its table have an entry, as SQL, where not all do.
    pub fn predicate(&self) -> Option<String> {
        let indexes = pg_sys::SysCacheIdentifier::INDEXRELID as i32;
        let mut is_null = false;
        // SAFETY: a look-up by the cache's one key. The row stays while its member is read.
        unsafe {
            let row = pg_sys::SearchSysCache1(indexes, self.oid.into());
            if row.is_null() {
                return None;
            }
            let number = pg_sys::Anum_pg_index_indpred as i16;
            let node = pg_sys::SysCacheGetAttr(indexes, row, number, &mut is_null);
            let predicate = if is_null { None } else { expression(node, self.table) };
            pg_sys::ReleaseSysCache(row);
            predicate
        }
    }

    /// The equality operator of the column at a place, as `operator(schema.=)`.
    pub fn equals(&self, place: usize) -> Option<String> {
        let class = *self.classes.get(place)?;
        let (mut family, mut of) = (pg_sys::InvalidOid, pg_sys::InvalidOid);
        let equal = pg_sys::BTEqualStrategyNumber as i16;
        // SAFETY: catalog look-ups by OID, which write the two. The operator's row stays while it is read.
        unsafe {
            if !pg_sys::get_opclass_opfamily_and_input_type(class, &mut family, &mut of) {
                return None;
            }
            let operator = pg_sys::get_opfamily_member(family, of, of, equal);
            let operators = pg_sys::SysCacheIdentifier::OPEROID as i32;
            let row = pg_sys::SearchSysCache1(operators, operator.into());
            if row.is_null() {
                return None;
            }
            let found = &*pg_sys::GETSTRUCT(row).cast::<pg_sys::FormData_pg_operator>();
            let (name, schema) = (text(found.oprname.data.as_ptr()), found.oprnamespace);
            pg_sys::ReleaseSysCache(row);
            Some(format!("operator({}.{name})", quote(&schema_name(schema)?)))
        }
    }
}

/// A relation and its partitions, and theirs.
pub fn tree(relation: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    let kind = own::with_class(relation, |class| class.relkind as u8);
    if kind != Some(pg_sys::RELKIND_PARTITIONED_TABLE) {
        return vec![relation];
    }
    let none = pg_sys::NoLock as pg_sys::LOCKMODE;
    // SAFETY: a list of OIDs, in memory of the caller's.
    unsafe {
        members(guarded(|| unguarded::find_all_inheritors(relation, none, std::ptr::null_mut())))
    }
}

/// What a relation is a partition of, and what that is, from the nearest on.
pub fn ancestors(partition: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    // SAFETY: as above.
    unsafe { members(guarded(|| unguarded::get_partition_ancestors(partition))) }
}

/// # Safety
/// It must be a list of OIDs.
unsafe fn members(list: *mut pg_sys::List) -> Vec<pg_sys::Oid> {
    // SAFETY: the caller vouches for the list, which is as long as it says.
    unsafe {
        let count = if list.is_null() { 0 } else { (*list).length };
        (0..count).map(|at| pg_sys::list_nth_oid(list, at)).collect()
    }
}
