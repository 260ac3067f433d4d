//! In charge of running SQL inside the backend: kept plans, typed arguments, the newest snapshot.
//!
//! Why not pgrx's client: a query of ours must see what has been committed up to now even when the
//! caller runs under REPEATABLE READ, or a winner would be elected among yesterday's leaves. That
//! takes `SPI_execute_snapshot`, as referential integrity triggers use it; a caller that then
//! changes a row newer than its snapshot gets Postgres's own serialization failure.

use pgrx::pg_sys;
use pgrx::prelude::*;
use revision::Value;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::CString;

use crate::codec::Codec;
use crate::error::Error;
use crate::row;

/// Plans kept per backend; when there are this many, all are forgotten. Some ten statements a
/// tracked table, so fifty busy tables.
const KEPT_PLANS_MAX: usize = 512;

/// Above this many rows in a transition table a plan is made for the statement at hand: a kept
/// one may have been made for a single row and join by nested loop.
const KEPT_PLAN_ROWS_MAX: i64 = 64;

/// A plan that fitted an empty table doesn't fit a full one, and Postgres makes a new one only when
/// the table was analyzed. So a kept plan is made anew after this many uses, then after as many
/// times more, and so on: from the beginning where Postgres has made a new one.
const PLAN_USES: u64 = 4;

struct Plan {
    /// Whose rows the transition tables have, which a statement names alike for every table.
    relation: pg_sys::Oid,
    types: Vec<pg_sys::Oid>,
    plan: pg_sys::SPIPlanPtr,
    uses: u64,
    uses_max: u64,
    /// Which of Postgres's own plans for it is being counted.
    generation: i32,
}

/// By statement; more than one for the transition tables of several tables, or where a table was dropped
/// and another took its name, for the types of the arguments are then others.
type Plans = HashMap<String, Vec<Plan>>;

thread_local! {
    static PLANS: RefCell<Plans> = RefCell::new(HashMap::new());
    /// How many statements of ours are running, one inside the other's triggers.
    static RUNNING: Cell<usize> = const { Cell::new(0) };
}

/// A statement under way; counted down when it ends, well or not.
struct Running;

impl Running {
    fn begin() -> Running {
        RUNNING.set(RUNNING.get() + 1);
        Running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.set(RUNNING.get() - 1);
    }
}

/// One typed argument of a statement.
#[derive(Clone, Copy)]
pub struct Arg(pub pg_sys::Oid, pub Option<pg_sys::Datum>);

pub fn text(value: &str) -> Arg {
    Arg(pg_sys::TEXTOID, value.into_datum())
}

pub fn oid(value: pg_sys::Oid) -> Arg {
    Arg(pg_sys::OIDOID, value.into_datum())
}

pub fn int8(value: i64) -> Arg {
    Arg(pg_sys::INT8OID, value.into_datum())
}

pub fn boolean(value: bool) -> Arg {
    Arg(pg_sys::BOOLOID, value.into_datum())
}

pub fn texts<'a>(values: impl IntoIterator<Item = &'a str>) -> Arg {
    let values: Vec<&str> = values.into_iter().collect();
    Arg(pg_sys::TEXTARRAYOID, values.into_datum())
}

pub fn optional_texts(values: &[Option<String>]) -> Arg {
    let values: Vec<Option<&str>> = values.iter().map(Option::as_deref).collect();
    Arg(pg_sys::TEXTARRAYOID, values.into_datum())
}

pub fn bytes(value: &[u8]) -> Arg {
    Arg(pg_sys::BYTEAOID, value.into_datum())
}

pub fn optional_text(value: Option<&str>) -> Arg {
    Arg(pg_sys::TEXTOID, value.and_then(|value| value.into_datum()))
}

pub fn int8s(values: &[i64]) -> Arg {
    Arg(pg_sys::INT8ARRAYOID, values.into_datum())
}

pub fn json(value: &serde_json::Value) -> Arg {
    Arg(pg_sys::JSONBOID, pgrx::JsonB(value.clone()).into_datum())
}

/// A text as SQL takes it.
pub fn literal(text: &str) -> String {
    format!("'{}'::text", text.replace('\'', "''"))
}

/// One row of an answer; it lives only as long as the closure that is handed it.
pub struct Row {
    pub tuple: pg_sys::HeapTuple,
    pub desc: pg_sys::TupleDesc,
}

impl Row {
    /// The column at `number`, counted from 1; a null is `None`.
    pub fn get<T: FromDatum>(&self, number: i32) -> Option<T> {
        let (datum, null) = self.datum(number);
        // SAFETY: the datum is this row's own, and the statements here name the type they return.
        unsafe { T::from_polymorphic_datum(datum, null, self.type_of(number)) }
    }

    /// A text that the statement makes sure is not null, where it stands.
    pub fn text(&self, number: i32) -> &str {
        // SAFETY: the statement names a text; it stays as long as the row.
        unsafe { row::text(self.there(number)) }
    }

    /// The bytes of such a value of variable length.
    pub fn bytes(&self, number: i32) -> &[u8] {
        // SAFETY: as above.
        unsafe { row::plain_bytes(self.there(number)) }
    }

    /// A datum that the catalog or the statement makes sure is not null.
    pub fn there(&self, number: i32) -> pg_sys::Datum {
        let (datum, null) = self.datum(number);
        if null {
            Error::Internal(format!("column {number} of an internal query is null")).report()
        }
        datum
    }

    /// A column that the statement makes sure is not null.
    pub fn need<T: FromDatum>(&self, number: i32) -> T {
        self.get(number).unwrap_or_else(|| {
            Error::Internal(format!("column {number} of an internal query is null")).report()
        })
    }

    /// A column as a wire value.
    pub fn value(&self, number: i32, codec: &Codec) -> Value {
        let (datum, null) = self.datum(number);
        // SAFETY: the statement casts the column to the codec's type.
        unsafe { codec.read(datum, null) }
    }

    /// A column's datum as an argument for another statement, copied out of this one's memory.
    pub fn carry_out(&self, number: i32) -> Arg {
        let (datum, null) = self.datum(number);
        let type_oid = self.type_of(number);
        let (mut length, mut by_value) = (0i16, false);
        // SAFETY: the copy is made by SPI in the memory of whoever connected.
        let copy = (!null).then(|| unsafe {
            pg_sys::get_typlenbyval(type_oid, &mut length, &mut by_value);
            pg_sys::SPI_datumTransfer(datum, by_value, length.into())
        });
        Arg(type_oid, copy)
    }

    fn datum(&self, number: i32) -> (pg_sys::Datum, bool) {
        let mut null = false;
        // SAFETY: tuple and descriptor come from SPI's own tuple table.
        let datum = unsafe { pg_sys::SPI_getbinval(self.tuple, self.desc, number, &mut null) };
        (datum, null)
    }

    fn type_of(&self, number: i32) -> pg_sys::Oid {
        // SAFETY: as above.
        unsafe { pg_sys::SPI_gettypeid(self.desc, number) }
    }
}

/// Runs a statement with a kept plan and maps its rows.
pub fn rows<T>(sql: &str, args: &[Arg], each: impl FnMut(&Row) -> T) -> Vec<T> {
    execute(None, true, sql, args, each).1
}

/// Runs a statement with a kept plan; returns the number of rows it touched.
pub fn run(sql: &str, args: &[Arg]) -> u64 {
    execute(None, true, sql, args, |_| ()).0
}

/// Runs a statement that reads the transition tables of the trigger at hand.
pub fn run_in_trigger(trigger: *mut pg_sys::TriggerData, sql: &str, args: &[Arg]) -> u64 {
    execute(Some(trigger), true, sql, args, |_| ()).0
}

/// The same, and maps the rows.
pub fn rows_in_trigger<T>(
    trigger: *mut pg_sys::TriggerData,
    sql: &str,
    args: &[Arg],
    each: impl FnMut(&Row) -> T,
) -> Vec<T> {
    execute(Some(trigger), true, sql, args, each).1
}

/// Runs a statement that won't come again, whatever it is; returns the first column of its first row.
pub fn once<T: FromDatum>(sql: &str) -> Option<T> {
    let first = |row: &Row| row.get::<T>(1);
    execute(None, false, sql, &[], first).1.into_iter().next().flatten()
}

/// How many rows a trigger's transition table holds; 0 when it has none.
pub fn transition_rows(table: *mut pg_sys::Tuplestorestate) -> i64 {
    if table.is_null() {
        return 0;
    }
    // SAFETY: a transition table lives as long as the trigger that was handed it.
    unsafe { pg_sys::tuplestore_tuple_count(table) }
}

fn execute<T>(
    trigger: Option<*mut pg_sys::TriggerData>,
    keep: bool,
    sql: &str,
    args: &[Arg],
    each: impl FnMut(&Row) -> T,
) -> (u64, Vec<T>) {
    let _running = Running::begin();
    // SAFETY: connect and finish are paired; an error between them aborts the (sub)transaction,
    // which disconnects. Rows are read before SPI_finish frees them. The snapshot is copied by
    // SPI when it is pushed.
    unsafe {
        check(pg_sys::SPI_connect(), "connect", sql);
        let (mut keep, mut relation) = (keep, pg_sys::InvalidOid);
        if let Some(data) = trigger {
            check(pg_sys::SPI_register_trigger_data(data), "trigger data", sql);
            relation = (*(*data).tg_relation).rd_id;
            keep = transition_rows((*data).tg_oldtable) <= KEPT_PLAN_ROWS_MAX
                && transition_rows((*data).tg_newtable) <= KEPT_PLAN_ROWS_MAX;
        }
        let plan = if keep { kept(sql, relation, args) } else { prepare(sql, args, 0) };
        let mut values: Vec<pg_sys::Datum> =
            args.iter().map(|arg| arg.1.unwrap_or(pg_sys::Datum::from(0))).collect();
        let nulls: Vec<std::ffi::c_char> = args
            .iter()
            .map(|arg| if arg.1.is_some() { b' ' } else { b'n' } as std::ffi::c_char)
            .collect();
        let code = pg_sys::SPI_execute_snapshot(
            plan,
            values.as_mut_ptr(),
            nulls.as_ptr(),
            pg_sys::GetLatestSnapshot(),
            std::ptr::null_mut(),
            false,
            true,
            0,
        );
        check(code, "execute", sql);
        let count = pg_sys::SPI_processed;
        let out = fetched(each);
        check(pg_sys::SPI_finish(), "finish", sql);
        (count, out)
    }
}

/// The rows that the last statement has left.
///
/// # Safety
/// SPI must be connected still.
pub unsafe fn fetched<T>(mut each: impl FnMut(&Row) -> T) -> Vec<T> {
    // SAFETY: the table has as many rows as there were.
    unsafe {
        let (count, table) = (pg_sys::SPI_processed as usize, pg_sys::SPI_tuptable);
        if table.is_null() {
            return Vec::new();
        }
        let row = |number| Row { tuple: *(*table).vals.add(number), desc: (*table).tupdesc };
        (0..count).map(|number| each(&row(number))).collect()
    }
}

/// A plan for this statement, relation and types that is kept for the life of the backend.
fn kept(sql: &str, relation: pg_sys::Oid, args: &[Arg]) -> pg_sys::SPIPlanPtr {
    let mut uses_max = PLAN_USES;
    if let Some(kept) = PLANS.with_borrow_mut(|plans| {
        let plan = plans.get_mut(sql)?.iter_mut().find(|plan| plan.is_for(relation, args))?;
        plan.count_use();
        uses_max = plan.uses_max;
        (plan.uses < plan.uses_max || RUNNING.get() > 1).then_some(plan.plan)
    }) {
        return kept;
    }
    forget(sql, relation, args, &mut uses_max);
    make_room();
    // The arguments are keys and arrays of keys: what they are changes nothing about the plan.
    let plan = prepare(sql, args, pg_sys::CURSOR_OPT_GENERIC_PLAN as i32);
    // SAFETY: the plan was made by SPI a moment ago.
    check(unsafe { pg_sys::SPI_keepplan(plan) }, "keep plan", sql);
    let types = args.iter().map(|arg| arg.0).collect();
    PLANS.with_borrow_mut(|plans| {
        let new = Plan { relation, types, plan, uses: 0, uses_max, generation: 1 };
        plans.entry(sql.to_owned()).or_default().push(new);
    });
    plan
}

impl Plan {
    fn is_for(&self, relation: pg_sys::Oid, args: &[Arg]) -> bool {
        self.relation == relation && self.types.iter().eq(args.iter().map(|arg| &arg.0))
    }

    /// A table that was emptied, analyzed or made again under its name begins small.
    fn count_use(&mut self) {
        // SAFETY: a kept plan has one source, that of its one statement, and both live as long.
        let generation = unsafe {
            let sources = pg_sys::SPI_plan_get_plan_sources(self.plan);
            (*pg_sys::list_nth(sources, 0).cast::<pg_sys::CachedPlanSource>()).generation
        };
        if generation != self.generation {
            (self.generation, self.uses, self.uses_max) = (generation, 0, PLAN_USES);
        }
        self.uses += 1;
    }
}

/// Drops the plan that has been used often enough; its successor lasts longer.
fn forget(sql: &str, relation: pg_sys::Oid, args: &[Arg], uses_max: &mut u64) {
    let worn = PLANS.with_borrow_mut(|plans| {
        let of = plans.get_mut(sql)?;
        let at = of.iter().position(|plan| plan.is_for(relation, args))?;
        Some(of.swap_remove(at))
    });
    if let Some(worn) = worn {
        *uses_max = worn.uses_max.saturating_mul(PLAN_USES);
        // SAFETY: it is in the map no more, and no other statement of ours is running.
        unsafe { pg_sys::SPI_freeplan(worn.plan) };
    }
}

/// A statement's text as Postgres takes it.
pub fn statement(sql: &str) -> CString {
    CString::new(sql).unwrap_or_else(|_| Error::Internal("a statement with a NUL".into()).report())
}

fn prepare(sql: &str, args: &[Arg], options: i32) -> pg_sys::SPIPlanPtr {
    let text = statement(sql);
    let mut types: Vec<pg_sys::Oid> = args.iter().map(|arg| arg.0).collect();
    // SAFETY: SPI is connected; the strings and types outlive the call.
    let plan = unsafe {
        let count = types.len() as i32;
        pg_sys::SPI_prepare_cursor(text.as_ptr(), count, types.as_mut_ptr(), options)
    };
    if plan.is_null() {
        // SAFETY: reads a global that SPI has just set.
        check(unsafe { pg_sys::SPI_result }, "prepare", sql);
    }
    plan
}

/// Forgets all plans when there are too many, unless one may be running further up the stack.
fn make_room() {
    let kept = || PLANS.with_borrow(|plans| plans.values().map(Vec::len).sum::<usize>());
    if RUNNING.get() > 1 || kept() < KEPT_PLANS_MAX {
        return;
    }
    for kept in PLANS.take().into_values().flatten() {
        // SAFETY: it was kept by `plan`, no statement of ours uses it now, and it is in the map no
        // more.
        unsafe { pg_sys::SPI_freeplan(kept.plan) };
    }
}

/// Raises what SPI says has failed.
pub fn check(code: i32, step: &str, sql: &str) {
    if code < 0 {
        Error::Internal(format!("SPI {step} failed with {code} for: {sql}")).report()
    }
}
