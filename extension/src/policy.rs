//! In charge of row-level security: which records a caller may see, and which revisions write.
//!
//! A twin's one policy calls `godwit._sees` for a row. The record must be visible now: its row in
//! the table is asked for as the caller, so that the table's policies answer; where the record is
//! deleted, its last body is put to them. And the revision's own body must pass, so that nobody who
//! has come to see a row reads what it said before. So the twin has the table's policies whatever
//! they are changed to, and nothing is copied that could come to differ.
//!
//! A revision that loses is written to no table; what may write it is asked here in the same way.

use pgrx::AnyElement;
use pgrx::pg_sys;
use pgrx::prelude::*;
use revision::RevisionId;
use std::collections::HashSet;
use std::ffi::CStr;

use crate::error::{Error, OrReport};
use crate::reconcile;
use crate::role;
use crate::row;
use crate::settings::Settings;
use crate::shape::{Shape, quote};
use crate::spi::{self, Arg};
use crate::subtransaction;
use crate::twin::{self, Revision};

/// A row of pg_policy, its expressions as SQL under the pinned search path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    command: u8,
    permissive: bool,
    roles: Vec<pg_sys::Oid>,
    using: Option<String>,
    check: Option<String>,
    /// Whether it names a whole row, its table's or another's.
    names_row: bool,
    /// Whether it names an amount of money.
    has_money: bool,
}

/// What policies say, as SQL on a row of the table.
struct Condition {
    sql: String,
    names_row: bool,
}

/// What a policy is asked about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ask {
    See,
    InsertThis,
    UpdateThat,
    UpdateThis,
    DeleteThat,
}

impl Policy {
    const SQL: &str = "
        select p.polcmd::text, p.polpermissive, p.polroles,
               pg_catalog.pg_get_expr(p.polqual, p.polrelid),
               pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid),
               pg_catalog.concat(p.polqual, p.polwithcheck) like '%:varattno 0 %',
               pg_catalog.concat(p.polqual, p.polwithcheck)
                   ~ (':consttype ' || 'pg_catalog.money'::pg_catalog.regtype::pg_catalog.oid || ' ')
          from pg_catalog.pg_policy p where p.polrelid = $1 order by p.polname";

    /// The policies of a table; the search path is pinned by the caller.
    pub fn all(relation: pg_sys::Oid) -> Vec<Policy> {
        spi::rows(Policy::SQL, &[spi::oid(relation)], |row| Policy {
            command: row.need::<String>(1).bytes().next().unwrap_or(b'*'),
            permissive: row.need(2),
            roles: row.need(3),
            using: row.get(4),
            check: row.get(5),
            names_row: row.need(6),
            has_money: row.need(7),
        })
    }

    fn expression(&self, ask: Ask) -> Option<&str> {
        let command = match ask {
            Ask::See => b'r',
            Ask::InsertThis => b'a',
            Ask::UpdateThat | Ask::UpdateThis => b'w',
            Ask::DeleteThat => b'd',
        };
        if self.command != b'*' && self.command != command {
            return None;
        }
        let asked = match ask {
            Ask::InsertThis | Ask::UpdateThis => self.check.as_ref().or(self.using.as_ref()),
            _ => self.using.as_ref(),
        };
        asked.map(String::as_str)
    }

    fn is_for(&self, user: pg_sys::Oid) -> bool {
        // SAFETY: role membership is looked up in a cache. Oid 0 stands for PUBLIC.
        self.roles.iter().any(|role| {
            *role == pg_sys::InvalidOid || unsafe { pg_sys::has_privs_of_role(user, *role) }
        })
    }
}

/// Whether the table's policies hold for who is asking: for its owner they may not.
pub fn applies(shape: &Shape) -> bool {
    // SAFETY: a catalog look-up by OID for the current user.
    let answer = unsafe { pg_sys::check_enable_rls(shape.relation, pg_sys::InvalidOid, true) };
    shape.row_security && answer == pg_sys::CheckEnableRlsResult::RLS_ENABLED as i32
}

/// Whether the caller may see this row of a twin.
#[pg_extern(sql = false)]
fn _sees(row: AnyElement) -> bool {
    let _entered = role::enter_to_look();
    // SAFETY: a catalog look-up by the type's OID.
    let twin = unsafe { pg_sys::get_typ_typrelid(row.oid()) };
    let Some(shape) = Shape::of_twin(twin).or_report() else { return false };
    if !applies(&shape) {
        return true;
    }
    let header = row::whole_row(&row, shape.twin_relation).or_report();
    // SAFETY: it is a whole row of the twin.
    let (id, has_body) = unsafe {
        let (cells, desc) = row::record_cells(header);
        let is = |name: &str| cells.get::<bool>(name).unwrap_or(false);
        let id: String = cells.get("_id").unwrap_or_default();
        let has_body = !is("_deleted") && !is("_stub");
        pg_sys::FreeTupleDesc(desc);
        (id, has_body)
    };
    let _settings = Settings::path(c"pg_catalog, godwit, pg_temp");
    sees_record(&shape, &id) && (!has_body || shows(&shape, Arg(row.oid(), Some(row.datum()))))
}

/// Whether the caller may see a record: its row, or what its row was last.
pub fn sees_record(shape: &Shape, id: &str) -> bool {
    match row_passes(shape, id, Ask::See) {
        Some(visible) => visible,
        None => match last_body(shape, id) {
            Some(body) => shows(shape, body),
            None => false,
        },
    }
}

/// Whether the caller may add this revision to the history, as far as policies say.
pub fn may_write(shape: &Shape, new: &Revision) -> bool {
    if !applies(shape) {
        return true;
    }
    let _settings = Settings::path(c"pg_catalog, godwit, pg_temp");
    let row = row_passes(shape, &new.id, Ask::See);
    let that = if new.deleted { Ask::DeleteThat } else { Ask::UpdateThat };
    if row.is_some() && !(row == Some(true) && row_passes(shape, &new.id, that) == Some(true)) {
        return false;
    }
    let this = if row.is_some() { Ask::UpdateThis } else { Ask::InsertThis };
    new.deleted || passes(shape, this, twin::row(shape, new))
}

/// Whether the caller may take over what a revision says: its body passes the policies.
pub fn may_edit(shape: &Shape, id: &str, revision: &RevisionId) -> bool {
    if !applies(shape) {
        return true;
    }
    body_of(shape, id, revision).is_none_or(|body| shows(shape, body))
}

/// What a revision says, whoever asks, as a row of the twin; a tombstone and a stub say nothing.
pub fn body_of(shape: &Shape, id: &str, revision: &RevisionId) -> Option<Arg> {
    let _settings = Settings::path(c"pg_catalog, godwit, pg_temp");
    let sql = format!(
        "select _godwit_row from {} _godwit_row
          where _id = $1 and _rev = $2 and not _deleted and not _stub",
        shape.twin
    );
    let args = [spi::text(id), twin::revision_arg(shape, Some(revision))];
    role::as_owner(shape.owner, || spi::rows(&sql, &args, |row| row.carry_out(1)))
        .into_iter()
        .next()
}

/// Whether a body passes what policies say of reading.
pub fn shows(shape: &Shape, body: Arg) -> bool {
    let _settings = Settings::path(c"pg_catalog, godwit, pg_temp");
    answered(shape, || passes(shape, Ask::See, body)) == Some(true)
}

/// What the policies say of bodies that the caller may never have come to; none where they fail on what one of them
/// says (a number that isn't one, a division by zero), which is nothing to tell, and keeps nothing else back. What a
/// policy raises itself is told; a name that isn't there is told of, and may be a value: so it isn't named.
fn answered<T>(shape: &Shape, ask: impl FnOnce() -> T) -> Option<T> {
    match subtransaction::attempt(ask) {
        Err(failure) if failure.is_of_value() => None,
        Err(failure) if failure.is_of_names() => {
            Error::PolicyFails { table: shape.wire_name.clone() }.report()
        }
        Err(failure) => failure.rethrow(),
        Ok(answer) => Some(answer),
    }
}

/// Whether the record has a row that the caller can't see.
pub fn has_hidden_row(shape: &Shape, id: &str) -> bool {
    let _settings = Settings::path(c"pg_catalog, godwit, pg_temp");
    row_passes(shape, id, Ask::See) == Some(false)
}

/// Asks the policies about the record's row in the table; `None` where it has none.
fn row_passes(shape: &Shape, id: &str, ask: Ask) -> Option<bool> {
    let ids = [id.to_owned()];
    let args = reconcile::key_args(shape, &ids);
    let (keys, same) = (reconcile::keys(shape), reconcile::same_key(shape));
    if ask == Ask::See {
        // Asked as the caller, so that Postgres itself puts the policies in.
        let sql = format!(
            "select 1 from {} join {} t on {same}",
            reconcile::typed_keys(shape),
            shape.table
        );
        if role::as_caller(|| spi::run(&sql, &args)) > 0 {
            return Some(true);
        }
    }
    let sql =
        format!("select {} from {keys} join {} t on {same}", shape.whole_row("t"), shape.table);
    let found = role::as_owner(shape.owner, || spi::rows(&sql, &args, |row| row.carry_out(1)))
        .into_iter()
        .next()?;
    Some(ask != Ask::See && passes(shape, ask, found))
}

/// The body that a deleted record had last: that of its highest tombstone's nearest ancestor.
fn last_body(shape: &Shape, id: &str) -> Option<Arg> {
    let sql = format!(
        "with recursive line(revision, depth) as (
            select h._prev, 1 from (
                select _prev from {twin} where _id = $1 and _deleted and not _stub
                 order by _rev desc limit 1) h
             union all
            select h._prev, depth + 1 from line
              join {twin} h on h._id = $1 and h._rev = line.revision and (h._stub or h._deleted))
         select _godwit_row from line join {twin} _godwit_row
             on _godwit_row._id = $1 and _godwit_row._rev = line.revision
          where not _godwit_row._stub and not _godwit_row._deleted
          order by depth limit 1",
        twin = shape.twin
    );
    role::as_owner(shape.owner, || {
        spi::rows(&sql, &[spi::text(id)], |row| row.carry_out(1)).into_iter().next()
    })
}

/// Under what the policies' texts are read and run.
pub fn settings(shape: &Shape) -> Settings {
    let path = c"pg_catalog, godwit, pg_temp";
    match shape.policies.iter().any(|policy| policy.has_money) {
        true => Settings::path_and_money(path),
        false => Settings::path(path),
    }
}

/// Puts a row of the table or of its twin to the policies that hold for the caller.
fn passes(shape: &Shape, ask: Ask, row: Arg) -> bool {
    let Some(condition) = condition(shape, ask) else { return false };
    let rows = as_table(shape, condition.names_row, "", "$1", &[]);
    let sql = format!("select 1 from {rows} where {}", condition.sql);
    role::as_caller(|| {
        let _settings = settings(shape);
        spi::run(&sql, &[row]) > 0
    })
}

/// Which of these rows of the twin pass what policies say of reading: as `shows`, for many at once. Where the policies
/// fail on one, its halves are asked about.
pub fn shown_of(shape: &Shape, rows: &[pg_sys::Datum]) -> Vec<bool> {
    pgrx::check_for_interrupts!();
    if let Some(shown) = answered(shape, || passing_of(shape, rows)) {
        return shown;
    }
    if rows.len() == 1 {
        return vec![false];
    }
    let (first, second) = rows.split_at(rows.len() / 2);
    [shown_of(shape, first), shown_of(shape, second)].concat()
}

fn passing_of(shape: &Shape, rows: &[pg_sys::Datum]) -> Vec<bool> {
    let mut shown = vec![false; rows.len()];
    let Some(condition) = condition(shape, Ask::See).filter(|_| !rows.is_empty()) else {
        return shown;
    };
    // A set in a list of results gives whole rows, where one among tables gives columns.
    let rows_of = "from (select pg_catalog.unnest($1) as r, pg_catalog.generate_series(1, $2) as n offset 0) s";
    let place = free_name(shape, "_godwit_place");
    let rows_of = as_table(shape, condition.names_row, rows_of, "s.r", &[("s.n", &place)]);
    let sql = format!("select {place} from {rows_of} where {}", condition.sql);
    // Where one is packed it is exchanged for its copy, which goes with the attempt.
    let mut elements = rows.to_vec();
    // SAFETY: the rows are composites of the twin's type; the array copies them.
    let (array, row_type) = unsafe {
        let row_type = pg_sys::get_rel_type_id(shape.twin_relation);
        let align = pg_sys::TYPALIGN_DOUBLE as std::ffi::c_char;
        let (first, count) = (elements.as_mut_ptr(), elements.len() as i32);
        (pg_sys::construct_array(first, count, row_type, -1, false, align), row_type)
    };
    // SAFETY: a catalog look-up by OID.
    let array_type = unsafe { pg_sys::get_array_type(row_type) };
    let args = [Arg(array_type, Some(array.into())), spi::int8(rows.len() as i64)];
    let passed = role::as_caller(|| {
        let _settings = settings(shape);
        spi::rows(&sql, &args, |row| row.need::<i64>(1))
    });
    // SAFETY: it was made above.
    unsafe { pg_sys::pfree(array.cast()) };
    for number in passed {
        shown[number as usize - 1] = true;
    }
    shown
}

/// Whether the twin's one policy is ours, so that what the caller may see of it is known here.
pub fn is_ours_alone(shape: &Shape) -> bool {
    let share = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
    // SAFETY: the twin is open while its policies are looked at, and is locked to the end of the transaction.
    unsafe {
        let twin = pg_sys::table_open(shape.twin_relation, share);
        let known = (*twin).rd_rsdesc;
        let policies = if known.is_null() { std::ptr::null_mut() } else { (*known).policies };
        let policies = pgrx::PgList::<pg_sys::RowSecurityPolicy>::from_pg(policies);
        let is_ours = |policy: *mut pg_sys::RowSecurityPolicy| {
            let policy = &*policy;
            let reads = policy.polcmd == pg_sys::ACL_SELECT_CHR as std::ffi::c_char;
            policy.permissive && reads && CStr::from_ptr(policy.policy_name) == c"godwit"
        };
        let is_alone = policies.len() == 1 && policies.iter_ptr().all(is_ours);
        pg_sys::table_close(twin, pg_sys::NoLock as pg_sys::LOCKMODE);
        is_alone
    }
}

/// A query for the revisions whose bodies pass what policies say of reading; none where nothing does.
pub fn passing(shape: &Shape) -> Option<String> {
    let condition = condition(shape, Ask::See)?;
    let bodies = format!(
        "from {} _godwit_row where not _godwit_row._deleted and not _godwit_row._stub",
        shape.twin
    );
    let (id, revision) = (free_name(shape, "_godwit_id"), free_name(shape, "_godwit_rev"));
    let beside: [(_, &str); 2] = [("_godwit_row._id", &id), ("_godwit_row._rev", &revision)];
    let rows = as_table(shape, condition.names_row, &bodies, "_godwit_row", &beside);
    Some(format!("select {id}, {revision} from {rows} where {}", condition.sql))
}

/// Which of these records the caller may see: `sees_record`, for many at once.
pub fn seen_of(shape: &Shape, ids: &[String]) -> HashSet<String> {
    if ids.is_empty() {
        return HashSet::new();
    }
    let _settings = Settings::path(c"pg_catalog, godwit, pg_temp");
    let args = reconcile::key_args(shape, ids);
    let (keys, same) = (reconcile::typed_keys(shape), reconcile::same_key(shape));
    let sql = format!("select k.id from {keys} join {} t on {same}", shape.table);
    let found = || spi::rows(&sql, &args, |row| row.need::<String>(1));
    let mut seen: HashSet<String> = role::as_caller(found).into_iter().collect();
    let there: HashSet<String> = role::as_owner(shape.owner, found).into_iter().collect();
    let gone = ids.iter().filter(|id| !there.contains(*id));
    seen.extend(gone.filter(|id| sees_record(shape, id)).cloned());
    seen
}

/// What the policies that hold for the caller say; none that nothing passes.
fn condition(shape: &Shape, ask: Ask) -> Option<Condition> {
    let user = role::author();
    let mut names_row = false;
    let mut permitted: Vec<&str> = Vec::new();
    let mut restricted: Vec<String> = Vec::new();
    for policy in shape.policies.iter().filter(|policy| policy.is_for(user)) {
        let expression = policy.expression(ask);
        names_row |= expression.is_some() && policy.names_row;
        match expression {
            Some(expression) if policy.permissive => permitted.push(expression),
            Some(expression) => restricted.push(format!(" and ({expression})")),
            None => {}
        }
    }
    if permitted.is_empty() {
        return None;
    }
    let sql = format!("(({})){}", permitted.join(") or ("), restricted.concat());
    Some(Condition { sql, names_row })
}

/// The columns of a row of the table, of its stored ones by the table's name.
pub fn row_expression(shape: &Shape) -> String {
    format!("({}::{}).*", members(shape), shape.table)
}

/// A row of the table's own type. A revision may say what a domain of the table's doesn't take, or be older than its
/// column.
fn whole_row(shape: &Shape) -> String {
    format!("godwit._as_row(null::{}, {})", shape.table, members(shape))
}

/// A row made of the table's stored columns, by the table's name, and of its generated ones.
fn members(shape: &Shape) -> String {
    let name = quote(&shape.name);
    let members: Vec<String> = shape
        .in_order()
        .map(|column| match column {
            Some(column) if column.generated => {
                let expression = column.default.as_deref().unwrap_or("null");
                format!("({expression})::{}", column.type_name)
            }
            column => format!("{name}.{}", column.map_or("_rev", |column| &column.quoted)),
        })
        .collect();
    format!("row({})", members.join(", "))
}

/// Rows as if they stood in the table: under the table's name, with its generated columns. `row` is one of them, of
/// `rows`; `beside` are other columns and their names. Where a whole row is named, it must be of the table's type, as it
/// is of a function's result. Elsewhere a nested query does, through which the twin's indexes are found. In which
/// partition a row was is not kept: who asks for it is told nothing, for what a policy hides by it would be shown.
fn as_table(
    shape: &Shape,
    names_row: bool,
    rows: &str,
    row: &str,
    beside: &[(&str, &str)],
) -> String {
    let name = quote(&shape.name);
    let stored = columns(shape, |column| format!("({row}).{column}"));
    let others: String = beside.iter().map(|(of, named)| format!(", {of} as {named}")).collect();
    // SAFETY: a catalog look-up by OID.
    let kind = unsafe { pg_sys::get_rel_relkind(shape.relation) } as u8;
    let (place, placed) = match kind == pg_sys::RELKIND_PARTITIONED_TABLE {
        true => (String::new(), ""),
        false => (format!(", {}::oid as tableoid", shape.relation.to_u32()), ", tableoid"),
    };
    let stored = format!("(select {stored}{others}{place} {rows}) {name}");
    if names_row {
        // A table's name leaves room for its twin's, so for this one.
        let rows = quote(&format!("{}_", shape.name));
        let (whole, table) = (whole_row(shape), &shape.table);
        let others: String = beside.iter().map(|(_, named)| format!(", {named}")).collect();
        return format!(
            "(select {whole} as _godwit_row{others}{placed} from {stored}) {rows}
              cross join lateral cast({rows}._godwit_row as {table}) {name}"
        );
    }
    let generated: Vec<String> = shape
        .columns
        .iter()
        .filter(|column| column.generated)
        .map(|column| {
            let expression = column.default.as_deref().unwrap_or("null");
            format!(", ({expression})::{} as {}", column.type_name, column.quoted)
        })
        .collect();
    format!("(select *{} from {stored}) {name}", generated.concat())
}

/// A name that no column of the table has.
fn free_name(shape: &Shape, name: &str) -> String {
    let mut name = name.to_owned();
    while shape.columns.iter().any(|column| column.name == name) {
        name.push('_');
    }
    name
}

/// The table's stored columns as a list.
fn columns(shape: &Shape, each: impl Fn(&str) -> String) -> String {
    let names = shape.in_order().filter_map(|column| match column {
        None => Some("_rev"),
        Some(column) if column.generated => None,
        Some(column) => Some(column.quoted.as_str()),
    });
    names.map(each).collect::<Vec<_>>().join(", ")
}

/// Whether a revision has no child, whoever asks: a child may be hidden from the caller, and its
/// parent is no leaf all the same.
#[pg_extern(sql = false)]
fn _is_leaf(relation: pg_sys::Oid, id: &str, revision: &[u8]) -> bool {
    let shape = Shape::of(relation).or_report();
    let _settings = Settings::path(c"pg_catalog, godwit, pg_temp");
    let revision = row::read_revision(revision);
    let sql = format!(
        "select 1 from {} c where c._id = $1 and c._prev = $2
            and c._rev > godwit._generation_floor($2, 1)
            and c._rev < godwit._generation_floor($2, 2) limit 1",
        shape.twin
    );
    let args = [spi::text(id), twin::revision_arg(&shape, Some(&revision))];
    role::as_owner(shape.owner, || spi::run(&sql, &args)) == 0
}

/// An error for who may not do this to a record; it says the same whether the record exists or not.
pub fn refused(shape: &Shape, id: &str) -> Error {
    let (id, table) = (crate::put::short(id), &shape.wire_name);
    Error::Forbidden(format!("row-level security on {table} refuses record {id:?}"))
}
