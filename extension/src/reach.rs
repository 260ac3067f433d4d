//! In charge of how far a caller under row-level security reaches: the records that it may be shown anything of,
//! found by indexes before the stream is looked through.
//!
//! It is told of what has left its view, too, so that is every record of which any body passes the policies, and every
//! one whose row it sees: that may show a column's default where the body says nothing. The bodies are looked up in
//! the twin, of which the caller may read no more than what is visible now: so that one table is read with its owner's
//! rights, as Postgres reads what is under a view, and what the policies call runs as the caller.

use pgrx::pg_sys;
use std::collections::{HashMap, HashSet};
use std::ffi::CString;

use crate::error::Error;
use crate::policy;
use crate::row;
use crate::shape::Shape;
use crate::spi;
use crate::subtransaction;
use crate::unguarded::{self, guarded};

/// The least changes that are worth a look for records.
const CHANGES_MIN: i64 = 1000;
/// Rows of the table, and revisions, to be looked up rather than to look through the stream.
const FOUND_MAX: usize = 100_000;
/// What a look at a change costs, in the planner's units: about a page read, for its policies ask for its record's row.
const COST_OF_A_CHANGE: f64 = 1.0;

unsafe extern "C-unwind" {
    /// Declared in executor/tstoreReceiver.h, which pgrx doesn't read. It sets fields, and raises nothing.
    fn SetTuplestoreDestReceiverParams(
        receiver: *mut pg_sys::DestReceiver,
        store: *mut pg_sys::Tuplestorestate,
        memory: pg_sys::MemoryContext,
        detoast: bool,
        target: pg_sys::TupleDesc,
        message: *const std::ffi::c_char,
    );
}

/// What the caller reaches of a table. Whatever is committed later is no change of this page.
#[derive(Default)]
pub struct Reach {
    records: HashMap<String, Reached>,
}

/// What the caller may be shown of a record.
#[derive(Default)]
struct Reached {
    /// Whether it sees the record's row.
    is_visible: bool,
    /// The revisions whose bodies pass the policies, in their stored form.
    passing: Vec<Vec<u8>>,
}

impl Reach {
    /// None where looking through this many changes takes less, or where there is too much of it. Bodies are put to the
    /// policies that the caller would never come to: what one of them does to a policy (a number that isn't one, a
    /// division by zero) is nothing to tell, and each change is looked at then.
    pub fn of(shape: &Shape, changes: i64) -> Option<Reach> {
        if changes < CHANGES_MIN || !policy::applies(shape) || is_forced_on_owner(shape) {
            return None;
        }
        let cost_max = changes as f64 * COST_OF_A_CHANGE;
        let find = || {
            let _settings = policy::settings(shape);
            Reach::find(shape, cost_max)
        };
        match subtransaction::attempt(find) {
            Ok(found) => found,
            Err(f) if f.is_refusal() || f.is_of_value() || f.is_of_names() => None,
            Err(failure) => failure.rethrow(),
        }
    }

    fn find(shape: &Shape, cost_max: f64) -> Option<Reach> {
        let rows = format!("select {} from {} t", shape.id_of_row("t"), shape.table);
        let mut reach = Reach::default();
        find(Query::of(&rows), cost_max, |id, _| {
            reach.records.entry(id).or_default().is_visible = true;
        })?;
        let Some(bodies) = policy::passing(shape) else { return Some(reach) };
        let mut bodies = Query::of(&bodies);
        bodies.read_as(shape.twin_relation, shape.owner);
        find(bodies, cost_max, |id, revision| {
            reach.records.entry(id).or_default().passing.extend(revision);
        })?;
        Some(reach)
    }

    /// All of them, each once.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.records.keys().map(String::as_str)
    }

    /// The records that it has seen, and whose rows it doesn't see.
    pub fn unseen(&self) -> HashSet<&str> {
        let unseen = self.records.iter().filter(|(_, reached)| !reached.is_visible);
        unseen.map(|(id, _)| id.as_str()).collect()
    }

    pub fn has_unseen(&self) -> bool {
        self.records.values().any(|reached| !reached.is_visible)
    }

    /// Whether it is shown a revision, or none where that has no body, of a record whose row it sees. None where it doesn't: of
    /// such a record its policies are asked what was last in the row.
    pub fn shows(&self, id: &str, revision: Option<&[u8]>) -> Option<bool> {
        let reached = self.records.get(id).filter(|reached| reached.is_visible)?;
        Some(revision.is_none_or(|revision| reached.passes(revision)))
    }

    /// Whether a body passes the policies.
    pub fn passes(&self, id: &str, revision: &[u8]) -> bool {
        self.records.get(id).is_some_and(|reached| reached.passes(revision))
    }
}

impl Reached {
    fn passes(&self, revision: &[u8]) -> bool {
        self.passing.iter().any(|one| one == revision)
    }
}

/// Where the twin's policy holds for its owner, reading as its owner shows no more.
fn is_forced_on_owner(shape: &Shape) -> bool {
    // SAFETY: a catalog look-up by OIDs.
    let answer = unsafe { pg_sys::check_enable_rls(shape.twin_relation, shape.owner, true) };
    answer == pg_sys::CheckEnableRlsResult::RLS_ENABLED as i32
}

/// A statement of ours that reads, taken apart so far that it can be said as whom it reads a table.
struct Query {
    text: CString,
    query: *mut pg_sys::Query,
}

impl Query {
    fn of(sql: &str) -> Query {
        let text = spi::statement(sql);
        // SAFETY: the text outlives what is made of it; it is one statement.
        let query = unsafe {
            let parsed = pg_sys::list_nth(pg_sys::pg_parse_query(text.as_ptr()), 0);
            let (none, no_environment) = (std::ptr::null(), std::ptr::null_mut());
            let text = text.as_ptr();
            pg_sys::parse_analyze_fixedparams(parsed.cast(), text, none, 0, no_environment)
        };
        Query { text, query }
    }

    /// Reads the table under the nested queries of FROM as this role does; whatever else it names stays the caller's.
    fn read_as(&mut self, relation: pg_sys::Oid, user: pg_sys::Oid) {
        // SAFETY: each node is one that the parser made; what has a range table has the entry that it begins with.
        unsafe {
            let mut query = self.query;
            loop {
                let entry: *mut pg_sys::RangeTblEntry = pg_sys::list_nth((*query).rtable, 0).cast();
                if (*entry).rtekind == pg_sys::RTEKind::RTE_SUBQUERY {
                    query = (*entry).subquery;
                    continue;
                }
                if (*entry).relid != relation {
                    Error::Internal(format!("{:?} reads another table", self.text)).report()
                }
                #[cfg(feature = "pg15")]
                {
                    (*entry).checkAsUser = user;
                }
                #[cfg(not(feature = "pg15"))]
                {
                    let rights = pg_sys::getRTEPermissionInfo((*query).rteperminfos, entry);
                    (*rights).checkAsUser = user;
                }
                return;
            }
        }
    }

    /// None where it would cost more, in the planner's units.
    fn plan(&self, cost_max: f64) -> Option<*mut pg_sys::PlannedStmt> {
        // SAFETY: the rewriter gives one query for one that reads.
        unsafe {
            let rewritten = pg_sys::list_nth(pg_sys::pg_rewrite_query(self.query), 0);
            let none = std::ptr::null_mut();
            let plan = pg_sys::pg_plan_query(rewritten.cast(), self.text.as_ptr(), 0, none);
            ((*(*plan).planTree).total_cost <= cost_max).then_some(plan)
        }
    }
}

/// Hands each row to `found`: an id, and maybe a stored revision. None where it would cost too much, or they are too
/// many.
fn find(query: Query, cost_max: f64, found: impl FnMut(String, Option<Vec<u8>>)) -> Option<()> {
    // SAFETY: what is begun is ended; where an error comes between, the abort of the (sub)transaction does it.
    unsafe {
        pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot());
        let found = query.plan(cost_max).and_then(|plan| {
            let store = pg_sys::tuplestore_begin_heap(false, false, pg_sys::work_mem);
            let desc = execute(plan, &query.text, store);
            let few = pg_sys::tuplestore_tuple_count(store) <= FOUND_MAX as i64;
            let found = few.then(|| read(store, desc, found));
            pg_sys::tuplestore_end(store);
            found
        });
        pg_sys::PopActiveSnapshot();
        found
    }
}

/// Runs a plan as far as one row more than are wanted; what its rows are like.
///
/// # Safety
/// The plan must be of a query, and a snapshot active.
unsafe fn execute(
    plan: *mut pg_sys::PlannedStmt,
    text: &CString,
    store: *mut pg_sys::Tuplestorestate,
) -> pg_sys::TupleDesc {
    // SAFETY: the caller vouches for the plan; all else is made here and ended here.
    unsafe {
        let receiver = pg_sys::CreateDestReceiver(pg_sys::CommandDest::DestTuplestore);
        let (none, memory) = (std::ptr::null_mut(), pg_sys::CurrentMemoryContext);
        let no_message = std::ptr::null();
        SetTuplestoreDestReceiverParams(receiver, store, memory, false, none, no_message);
        let snapshot = pg_sys::GetActiveSnapshot();
        let (no_snapshot, no_params) = (std::ptr::null_mut(), std::ptr::null_mut());
        let query = pg_sys::CreateQueryDesc(
            plan,
            text.as_ptr(),
            snapshot,
            no_snapshot,
            receiver,
            no_params,
            std::ptr::null_mut(),
            0,
        );
        let forward = pg_sys::ScanDirection::ForwardScanDirection;
        pg_sys::ExecutorStart(query, 0);
        #[cfg(feature = "pg18")]
        pg_sys::ExecutorRun(query, forward, FOUND_MAX as u64 + 1);
        #[cfg(not(feature = "pg18"))]
        pg_sys::ExecutorRun(query, forward, FOUND_MAX as u64 + 1, true);
        pg_sys::ExecutorFinish(query);
        let desc = pg_sys::CreateTupleDescCopy((*query).tupDesc);
        pg_sys::ExecutorEnd(query);
        pg_sys::FreeQueryDesc(query);
        desc
    }
}

/// The rows of a text and maybe a revision.
///
/// # Safety
/// They must be as the descriptor says, and have no nulls.
unsafe fn read(
    store: *mut pg_sys::Tuplestorestate,
    desc: pg_sys::TupleDesc,
    mut found: impl FnMut(String, Option<Vec<u8>>),
) {
    // SAFETY: the slot is dropped before its rows are; what is found is copied.
    unsafe {
        let count = (*desc).natts;
        let slot = pg_sys::MakeSingleTupleTableSlot(desc, &raw const pg_sys::TTSOpsMinimalTuple);
        while guarded(|| unguarded::take_next(store, slot)) {
            let values = std::slice::from_raw_parts((*slot).tts_values, count as usize);
            let revision = values.get(1).map(|value| row::plain_bytes(*value).to_vec());
            found(row::text(values[0]).to_owned(), revision);
        }
        pg_sys::ExecDropSingleTupleTableSlot(slot);
    }
}
