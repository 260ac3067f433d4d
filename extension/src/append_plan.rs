//! In charge of whether a twin takes rows without SQL, and what goes into its columns then.

use pgrx::pg_sys;
use std::ffi::CStr;

use crate::row;
use crate::shape::Shape;
use crate::trigger;

/// Where the columns of a twin come from, by their places.
pub struct Plan {
    pub columns: Vec<Source>,
    /// Whether an index calls functions, which run as the table's owner then.
    pub calls_functions: bool,
}

#[derive(Clone, Copy)]
pub enum Source {
    Id,
    Revision,
    Previous,
    Deleted,
    Sequence,
    At,
    By,
    Stub,
    Extra,
    /// A column of the table, by its place in `Shape::columns`.
    Body(usize),
    /// A column that the table has no more.
    Null,
}

impl Plan {
    /// The plan for a twin that is as it was made; `None` where only SQL knows what is to be done.
    pub fn of(shape: &Shape) -> Option<Plan> {
        let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
        // SAFETY: the relation is open while it is looked at.
        unsafe {
            let twin = pg_sys::table_open(shape.twin_relation, lock);
            let plan = is_plain(twin).then(|| Plan::of_columns(shape, twin)).flatten();
            pg_sys::table_close(twin, pg_sys::NoLock as pg_sys::LOCKMODE);
            plan
        }
    }

    unsafe fn of_columns(shape: &Shape, twin: pg_sys::Relation) -> Option<Plan> {
        // SAFETY: the caller has the relation open; places stay below its number of columns.
        unsafe {
            let desc = (*twin).rd_att;
            let columns: Option<Vec<Source>> = (0..(*desc).natts as usize)
                .map(|at| Source::of(shape, row::attribute(desc, at)))
                .collect();
            Some(Plan { columns: columns?, calls_functions: has_expressions(twin) })
        }
    }
}

impl Source {
    fn of(shape: &Shape, attribute: &pg_sys::FormData_pg_attribute) -> Option<Source> {
        if attribute.attisdropped {
            return Some(Source::Null);
        }
        // SAFETY: an attribute's name is NUL-terminated.
        let name = unsafe { CStr::from_ptr(attribute.attname.data.as_ptr()) };
        let own = match name.to_bytes() {
            b"_id" => Source::Id,
            b"_rev" => Source::Revision,
            b"_prev" => Source::Previous,
            b"_deleted" => Source::Deleted,
            b"_seq" => Source::Sequence,
            b"_at" => Source::At,
            b"_by" => Source::By,
            b"_stub" => Source::Stub,
            b"_extra" => Source::Extra,
            name => return Source::of_body(shape, name, attribute),
        };
        Some(own)
    }

    /// What the table keeps in a column is kept in the twin's as it is, where both are of one type.
    fn of_body(
        shape: &Shape,
        name: &[u8],
        attribute: &pg_sys::FormData_pg_attribute,
    ) -> Option<Source> {
        let mut attributes = shape.attributes.iter().copied();
        let found = attributes.find(|at| shape.columns[*at].name.as_bytes() == name);
        match found {
            _ if attribute.attnotnull => None,
            None => (!attribute.atthasdef).then_some(Source::Null),
            Some(at) => {
                let same = shape.columns[at].codec.base_type() == attribute.atttypid;
                same.then_some(Source::Body(at))
            }
        }
    }
}

/// Whether a twin is a heap with no trigger, rule or constraint that `godwit.track` did not make.
unsafe fn is_plain(twin: pg_sys::Relation) -> bool {
    // SAFETY: the caller has the relation open, and so its descriptors are there.
    unsafe {
        let class = &*(*twin).rd_rel;
        let is_heap = class.relkind as u8 == pg_sys::RELKIND_RELATION
            && class.relam == pg_sys::HEAP_TABLE_AM_OID;
        is_heap
            && !class.relispartition
            && (*twin).rd_rules.is_null()
            && has_our_triggers(twin)
            && has_our_check(twin)
    }
}

unsafe fn has_our_triggers(twin: pg_sys::Relation) -> bool {
    // SAFETY: as above.
    let triggers = unsafe { trigger::of_relation(twin) };
    triggers.iter().all(|one| trigger::name_of(one).starts_with(b"godwit_reconcile_"))
}

unsafe fn has_our_check(twin: pg_sys::Relation) -> bool {
    // SAFETY: as above.
    unsafe {
        let rules = (*(*twin).rd_att).constr;
        if rules.is_null() {
            return true;
        }
        let checks = match (*rules).num_check {
            0 => &[],
            count => std::slice::from_raw_parts((*rules).check, count as usize),
        };
        !(*rules).has_generated_stored
            && checks.iter().all(|check| CStr::from_ptr(check.ccname) == c"body_or_stub")
    }
}

unsafe fn has_expressions(twin: pg_sys::Relation) -> bool {
    // SAFETY: the list and each index are closed again before the relation is.
    unsafe {
        let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
        let list = pg_sys::RelationGetIndexList(twin);
        let mut found = false;
        for at in 0..pg_sys::list_length(list) {
            let index = pg_sys::index_open(pg_sys::list_nth_oid(list, at), lock);
            found |= !pg_sys::RelationGetIndexExpressions(index).is_null()
                || !is_of_columns(pg_sys::RelationGetIndexPredicate(index));
            pg_sys::index_close(index, lock);
        }
        pg_sys::list_free(list);
        found
    }
}

/// Whether an index's predicate is none, or asks of a column if it is true or null: that calls nothing.
unsafe fn is_of_columns(predicate: *mut pg_sys::List) -> bool {
    // SAFETY: the list is NULL or holds nodes, whose tags are looked at before they are taken for what they say.
    unsafe {
        (0..pg_sys::list_length(predicate)).all(|at| {
            let node = pg_sys::list_nth(predicate, at).cast::<pg_sys::Node>();
            match (*node).type_ {
                pg_sys::NodeTag::T_Var => true,
                pg_sys::NodeTag::T_NullTest => {
                    let asked = (*node.cast::<pg_sys::NullTest>()).arg;
                    (*asked).type_ == pg_sys::NodeTag::T_Var
                }
                _ => false,
            }
        })
    }
}
