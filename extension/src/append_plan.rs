//! In charge of whether a twin takes rows without SQL, and what goes into its columns then.

use pgrx::pg_sys;
use std::ffi::CStr;

use crate::row;
use crate::shape::Shape;
use crate::trigger;

/// Where the columns of a twin come from, by their places.
pub struct Plan {
    pub columns: Vec<Source>,
    /// The twin's indexes, where all of them are as they were made; the key is the last.
    pub indexes: Option<Vec<Planned>>,
    /// Whether an index calls functions, which run as the table's owner then.
    pub calls_functions: bool,
}

/// An index that `godwit.track` made.
pub struct Planned {
    pub index: pg_sys::Oid,
    pub is_key: bool,
    pub takes: Takes,
}

/// Which rows go into an index.
#[derive(Clone, Copy)]
pub enum Takes {
    All,
    WithExtra,
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
            let indexes = own_indexes(shape, twin);
            let calls_functions = indexes.is_none() && has_expressions(twin);
            Some(Plan { columns: columns?, indexes, calls_functions })
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

/// The twin's indexes if `godwit.track` made all of them.
unsafe fn own_indexes(shape: &Shape, twin: pg_sys::Relation) -> Option<Vec<Planned>> {
    // SAFETY: the caller has the relation open.
    let found = unsafe { each_index(twin, |index| Planned::of(shape, twin, index)) };
    let mut planned: Vec<Planned> = found.into_iter().collect::<Option<_>>()?;
    planned.sort_by_key(|planned| planned.is_key);
    Some(planned)
}

unsafe fn has_expressions(twin: pg_sys::Relation) -> bool {
    // SAFETY: as above.
    let found = unsafe {
        each_index(twin, |index| {
            !pg_sys::RelationGetIndexExpressions(index).is_null()
                || !is_of_columns(pg_sys::RelationGetIndexPredicate(index))
        })
    };
    found.contains(&true)
}

unsafe fn each_index<T>(twin: pg_sys::Relation, look: impl Fn(pg_sys::Relation) -> T) -> Vec<T> {
    // SAFETY: the list and each index are let go before the relation is.
    unsafe {
        let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
        let list = pg_sys::RelationGetIndexList(twin);
        let found = (0..pg_sys::list_length(list)).map(|at| {
            let index = pg_sys::index_open(pg_sys::list_nth_oid(list, at), lock);
            let found = look(index);
            pg_sys::index_close(index, lock);
            found
        });
        let found = found.collect();
        pg_sys::list_free(list);
        found
    }
}

impl Planned {
    /// An index by columns alone; None where an executor is needed for it, or it refuses rows.
    unsafe fn of(
        shape: &Shape,
        twin: pg_sys::Relation,
        index: pg_sys::Relation,
    ) -> Option<Planned> {
        // SAFETY: the caller has both open.
        unsafe {
            let (class, form) = (&*(*index).rd_rel, &*(*index).rd_index);
            let is_key = (*index).rd_id == shape.twin_index();
            let is_plain = class.relam == pg_sys::BTREE_AM_OID
                && form.indisready
                && form.indisvalid
                && (is_key || !form.indisunique && !form.indisexclusion)
                && pg_sys::RelationGetIndexExpressions(index).is_null();
            let takes = Takes::by(twin, pg_sys::RelationGetIndexPredicate(index))?;
            is_plain.then_some(Planned { index: (*index).rd_id, is_key, takes })
        }
    }
}

impl Takes {
    /// What a predicate of ours lets in.
    unsafe fn by(twin: pg_sys::Relation, predicate: *mut pg_sys::List) -> Option<Takes> {
        // SAFETY: the list is NULL or holds nodes, whose tags are looked at before they are taken for what they say.
        unsafe {
            match pg_sys::list_length(predicate) {
                0 => return Some(Takes::All),
                1 => {}
                _ => return None,
            }
            let node = pg_sys::list_nth(predicate, 0).cast::<pg_sys::Node>();
            if (*node).type_ != pg_sys::NodeTag::T_NullTest {
                return None;
            }
            let test = &*node.cast::<pg_sys::NullTest>();
            let is_there = test.nulltesttype == pg_sys::NullTestType::IS_NOT_NULL;
            (is_there && is_column(twin, test.arg.cast(), c"_extra")).then_some(Takes::WithExtra)
        }
    }
}

/// Whether an expression is one column of the twin by itself.
unsafe fn is_column(twin: pg_sys::Relation, node: *mut pg_sys::Node, name: &CStr) -> bool {
    // SAFETY: a Var of an index's predicate is of its table, by the number of a column or of the whole row (0).
    unsafe {
        if (*node).type_ != pg_sys::NodeTag::T_Var {
            return false;
        }
        let number = (*node.cast::<pg_sys::Var>()).varattno;
        number > 0 && {
            let found = row::attribute((*twin).rd_att, number as usize - 1);
            CStr::from_ptr(found.attname.data.as_ptr()) == name
        }
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
