//! In charge of how far a caller under row-level security reaches: the records that it may be shown anything of,
//! found by indexes before the stream is looked through.
//!
//! It is shown what has left its view, too, so that is every record of which any body passes the policies, and every
//! one whose row it sees: that may show a column's default where the body says nothing. The bodies are looked up in
//! the twin, of which the caller may read no more than what is visible now: so that one table is read with its owner's
//! rights, as Postgres reads what is under a view, and what the policies call runs as the caller.

use pgrx::pg_sys;
use pgrx::prelude::*;
use std::collections::HashSet;
use std::ffi::CString;

use crate::error::Error;
use crate::policy;
use crate::shape::Shape;

/// The least changes that are worth a look for records.
const CHANGES_MIN: i64 = 1000;
/// Records to be looked up, rather than to look through the stream.
const RECORDS_MAX: usize = 10_000;
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

/// The records that the caller may be shown anything of; None where looking through this many changes takes less, or
/// where they are too many.
pub fn of(shape: &Shape, changes: i64) -> Option<HashSet<String>> {
    if changes < CHANGES_MIN || !policy::applies(shape) || is_forced_on_owner(shape) {
        return None;
    }
    let cost_max = changes as f64 * COST_OF_A_CHANGE;
    let rows = format!("select {} from {} t", shape.id_of_row("t"), shape.table);
    let mut reach = ids(Query::of(&rows), cost_max)?;
    if let Some(bodies) = policy::passing(shape) {
        let mut query = Query::of(&bodies);
        query.read_as(shape.twin_relation, shape.owner);
        reach.extend(ids(query, cost_max)?);
    }
    (reach.len() <= RECORDS_MAX).then_some(reach)
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
        let Ok(text) = CString::new(sql) else {
            Error::Internal("a statement with a NUL".into()).report()
        };
        // SAFETY: the text outlives what is made of it; it is one statement.
        let query = unsafe {
            let parsed = pg_sys::list_nth(pg_sys::pg_parse_query(text.as_ptr()), 0);
            let (none, no_environment) = (std::ptr::null(), std::ptr::null_mut());
            pg_sys::parse_analyze_fixedparams(parsed.cast(), text.as_ptr(), none, 0, no_environment)
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
                #[cfg(any(feature = "pg13", feature = "pg14", feature = "pg15"))]
                {
                    (*entry).checkAsUser = user;
                }
                #[cfg(not(any(feature = "pg13", feature = "pg14", feature = "pg15")))]
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

/// The texts that a query answers; None where it would cost too much, or they are too many.
fn ids(query: Query, cost_max: f64) -> Option<HashSet<String>> {
    // SAFETY: what is begun is ended; where an error comes between, the abort of the (sub)transaction does it. The
    // texts are copied before their rows are gone.
    unsafe {
        pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot());
        let found = query.plan(cost_max).and_then(|plan| {
            let store = pg_sys::tuplestore_begin_heap(false, false, pg_sys::work_mem);
            execute(plan, &query.text, store);
            let few = pg_sys::tuplestore_tuple_count(store) <= RECORDS_MAX as i64;
            let found = few.then(|| texts(store));
            pg_sys::tuplestore_end(store);
            found
        });
        pg_sys::PopActiveSnapshot();
        found
    }
}

/// Runs a plan as far as one row more than are wanted.
///
/// # Safety
/// The plan must be of a query, and a snapshot active.
unsafe fn execute(
    plan: *mut pg_sys::PlannedStmt,
    text: &CString,
    store: *mut pg_sys::Tuplestorestate,
) {
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
        pg_sys::ExecutorRun(query, forward, RECORDS_MAX as u64 + 1, true);
        pg_sys::ExecutorFinish(query);
        pg_sys::ExecutorEnd(query);
        pg_sys::FreeQueryDesc(query);
    }
}

/// The first column of each row.
///
/// # Safety
/// It must be of type text.
unsafe fn texts(store: *mut pg_sys::Tuplestorestate) -> HashSet<String> {
    let mut found = HashSet::new();
    // SAFETY: the rows are of one text; the slot is dropped before they are.
    unsafe {
        let desc = pg_sys::CreateTemplateTupleDesc(1);
        pg_sys::TupleDescInitEntry(desc, 1, std::ptr::null(), pg_sys::TEXTOID, -1, 0);
        let slot = pg_sys::MakeSingleTupleTableSlot(desc, &raw const pg_sys::TTSOpsMinimalTuple);
        while pg_sys::tuplestore_gettupleslot(store, true, false, slot) {
            pg_sys::slot_getsomeattrs_int(slot, 1);
            let null = *(*slot).tts_isnull;
            found.extend(String::from_datum(*(*slot).tts_values, null));
        }
        pg_sys::ExecDropSingleTupleTableSlot(slot);
    }
    found
}
