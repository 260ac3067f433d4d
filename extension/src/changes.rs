//! In charge of `godwit.changes`: the change stream's reader (DESIGN.md section 5).

use pgrx::fcinfo::pg_getarg;
use pgrx::pg_sys;
use pgrx::prelude::*;
use std::rc::Rc;

use crate::answer::{Answer, Rows, Shown, Store, Wire};
use crate::argument::{Json, need, without_nulls};
use crate::body::Body;
use crate::catalog;
use crate::error::{Error, OrReport};
use crate::filter::{self, Filter};
use crate::form::Form;
use crate::jsonb;
use crate::left;
use crate::policy;
use crate::reach::Reach;
use crate::read;
use crate::rights::{self, Right};
use crate::role;
use crate::row;
use crate::sequence;
use crate::settings::Settings;
use crate::shape::Shape;
use crate::spi::{self, Arg};
use crate::stream::{self, Table};
use crate::twin;

/// Most changes that one call returns; a body may be large, and the answer is made in memory.
const CHANGES_MAX: i32 = 100_000;
/// Most record ids that a reader may ask for by name.
const IDS_MAX: usize = 10_000;

/// What of a record comes with its change.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Include {
    Nothing,
    /// The revision that has arrived, with its ancestry: what another peer takes.
    Revision,
    /// The record as it is now.
    Record,
    /// The revision that has arrived, without its ancestry.
    Records,
}

/// What a reader asks for beside where it is.
pub struct Ask {
    pub include: Include,
    /// How records are written.
    pub form: Form,
    /// Each record once, at its latest change, with all its leaves.
    pub leaves: bool,
    pub ids: Option<Vec<String>>,
    pub filter: Option<Filter>,
    pub max: i64,
}

struct Change {
    seq: i64,
    table: String,
    id: String,
    revision: Option<String>,
    deleted: bool,
    winner: Option<String>,
    record: Option<Vec<u8>>,
    leaves: Option<Vec<u8>>,
    has_left: bool,
}

/// A function of SQL that answers so. pgrx's own wrapper would hand out each row as a tuple of Rust values.
macro_rules! entry {
    ($symbol:ident, $info:ident, $answer:ty) => {
        #[pgrx::pg_guard]
        #[unsafe(no_mangle)]
        unsafe extern "C-unwind" fn $symbol(call: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
            // SAFETY: Postgres hands every function its call information.
            unsafe { answer::<$answer>(call) };
            pg_sys::Datum::from(0)
        }

        #[unsafe(no_mangle)]
        extern "C" fn $info() -> &'static pg_sys::Pg_finfo_record {
            const V1: pg_sys::Pg_finfo_record = pg_sys::Pg_finfo_record { api_version: 1 };
            &V1
        }
    };
}

entry!(godwit_changes, pg_finfo_godwit_changes, Rows<false>);
entry!(godwit_changes_json, pg_finfo_godwit_changes_json, Rows<true>);
entry!(godwit_changes_on_wire, pg_finfo_godwit_changes_on_wire, Wire);

/// Hands out a page: its changes, and where to ask from next.
///
/// A reader that is shown nothing may go on from there and from nowhere else: horizons are taken one after the
/// other, and a later one may be lower (`sequence.rs`), so an empty page says nothing about another's reach.
unsafe fn answer<A: Answer>(call: pg_sys::FunctionCallInfo) {
    // SAFETY: Postgres calls it as the SQL declares it.
    let (mut answer, since, names, max, include, style, ids, filter) = unsafe {
        (
            A::begin(Store::of(call)),
            pg_getarg::<i64>(call, 0),
            pg_getarg::<Vec<Option<String>>>(call, 1),
            pg_getarg::<i32>(call, 2),
            pg_getarg::<String>(call, 3),
            pg_getarg::<String>(call, 4),
            pg_getarg::<Vec<Option<String>>>(call, 5),
            pg_getarg::<Json>(call, 6),
        )
    };
    let (since, max) = (need(since, "since"), need(max, "max"));
    if !(1..=CHANGES_MAX).contains(&max) || since < 0 {
        let reason = format!("max is 1 to {CHANGES_MAX}, and since is not negative");
        Error::BadArgument(reason).report()
    }
    let ids = ids.map(without_nulls);
    if ids.as_ref().is_some_and(|ids| ids.len() > IDS_MAX) {
        Error::BadArgument(format!("at most {IDS_MAX} ids are taken at once")).report()
    }
    let ask = Ask {
        include: include_of(&need(include, "include")).or_report(),
        form: A::FORM,
        leaves: is_leaves(&need(style, "style")).or_report(),
        ids,
        filter: filter::read(filter),
        max: max.into(),
    };
    let _settings = Settings::path(c"pg_catalog, godwit, pg_temp");
    let shapes: Vec<Rc<Shape>> = readable(names.as_deref());
    let horizon = sequence::horizon();
    let mut count = 0;
    let next = match shapes.is_empty() || horizon <= since {
        true => horizon.max(since),
        false => page(&shapes, &ask, since, horizon, |shown| {
            count += 1;
            answer.change(shown);
        }),
    };
    match count {
        0 => sequence::on_disk(next),
        _ => sequence::flush(),
    }
    answer.end(next);
}

/// The tables of these names on the wire, or all that the caller may read; in an order of their own.
fn readable(names: Option<&[Option<String>]>) -> Vec<Rc<Shape>> {
    let shape = |relation| Shape::of(relation).or_report();
    let named = |name: &Option<String>| catalog::find_table(name.as_deref()?);
    if let Some(mut relations) =
        names.and_then(|names| names.iter().map(named).collect::<Option<Vec<_>>>())
    {
        relations.sort_unstable_by_key(|relation| relation.to_u32());
        relations.dedup();
        return relations.into_iter().map(shape).collect();
    }
    // Of one that there isn't SQL says so.
    let names = names.map(|names| names.to_vec().into_datum());
    let names = spi::Arg(pg_sys::TEXTARRAYOID, names.flatten());
    let relations: Vec<Vec<pg_sys::Oid>> =
        spi::rows("select godwit._readable($1)", &[names], |row| row.need(1));
    relations.into_iter().flatten().map(shape).collect()
}

#[pg_extern(sql = false)]
fn _last_change(relation: pg_sys::Oid) -> Option<i64> {
    let _entered = role::enter_to_look();
    let shape = Shape::of(relation).or_report();
    rights::require(&shape, &[Right::Select]).or_report();
    let sql = format!("select max(_seq) from {}", shape.twin);
    role::as_owner(shape.owner, || spi::rows(&sql, &[], |row| row.get(1)))
        .into_iter()
        .next()
        .flatten()
}

fn include_of(name: &str) -> Result<Include, Error> {
    match name {
        "none" => Ok(Include::Nothing),
        "revision" => Ok(Include::Revision),
        "record" => Ok(Include::Record),
        "records" => Ok(Include::Records),
        other => Err(Error::BadArgument(format!(
            "include is 'none', 'revision', 'record' or 'records', not {other:?}"
        ))),
    }
}

fn is_leaves(style: &str) -> Result<bool, Error> {
    match style {
        "revisions" => Ok(false),
        "leaves" => Ok(true),
        other => {
            Err(Error::BadArgument(format!("style is 'revisions' or 'leaves', not {other:?}")))
        }
    }
}

/// Hands the changes above `since` to `each`, and returns where to ask from next.
fn page(
    shapes: &[Rc<Shape>],
    ask: &Ask,
    since: i64,
    horizon: i64,
    mut each: impl FnMut(&Shown),
) -> i64 {
    let by_index = stream::is_for(shapes, ask);
    let is_hidden = shapes.iter().any(|shape| policy::applies(shape));
    let looks_for_records = by_index && is_hidden && ask.ids.is_none();
    let with_reach = |shape: &Rc<Shape>| {
        let reach = looks_for_records.then(|| Reach::of(shape, horizon - since)).flatten();
        (shape.clone(), reach)
    };
    let tables: Vec<Table> = shapes.iter().map(with_reach).collect();
    let may_have_left =
        tables.iter().any(|(shape, reach)| left::is_possible(shape, since, reach.as_ref()));
    if by_index
        && !may_have_left
        && let Some((count, last)) = stream::page(&tables, ask, since, horizon, &mut each)
    {
        return if count == ask.max { last } else { horizon };
    }
    let mut changes = Vec::new();
    let found = match by_index && may_have_left {
        true => stream::page(&tables, ask, since, horizon, |shown| changes.push(Change::of(shown))),
        false => None,
    };
    if found.is_none() {
        changes = by_sql(shapes, ask, since, horizon);
    }
    let (changes, next) = with_left(changes, &tables, ask, since, horizon);
    for change in &changes {
        each(&change.shown());
    }
    next
}

/// The changes above `since`.
fn by_sql(shapes: &[Rc<Shape>], ask: &Ask, since: i64, horizon: i64) -> Vec<Change> {
    match shapes {
        [shape] => of_table(shape, ask, since, horizon, horizon),
        _ => of_tables(shapes, ask, since, horizon),
    }
}

/// A page's changes with what has left the reader's view meanwhile, and where to ask from next.
fn with_left(
    mut changes: Vec<Change>,
    tables: &[Table],
    ask: &Ask,
    since: i64,
    horizon: i64,
) -> (Vec<Change>, i64) {
    let is_full = |changes: &[Change]| changes.len() as i64 == ask.max;
    let until = match changes.last() {
        Some(last) if is_full(&changes) => last.seq,
        _ => horizon,
    };
    let shown = changes.len();
    for (shape, reach) in tables {
        let found = left::between(shape, since, until, ask.ids.as_deref(), reach.as_ref());
        changes.extend(found.into_iter().map(|left| Change::left(shape, left)));
    }
    if changes.len() == shown {
        return (changes, until);
    }
    changes.sort_by_key(|change| change.seq);
    changes.truncate(ask.max as usize);
    let next = match changes.last() {
        Some(last) if is_full(&changes) => last.seq,
        _ => until,
    };
    (changes, next)
}

/// Which changes of several tables are on the page comes first, by number alone: bodies are made only of
/// those.
fn of_tables(shapes: &[Rc<Shape>], ask: &Ask, since: i64, horizon: i64) -> Vec<Change> {
    let parts: Vec<String> = shapes
        .iter()
        .enumerate()
        .map(|(place, shape)| {
            let above = above(shape, ask, goes_by_records(ask, since, horizon));
            format!("(select (c.change)._seq, {place}::int8 from {above} c)")
        })
        .collect();
    let sql = format!("{} order by 1 limit $3", parts.join("\n union all\n"));
    let found: Vec<(i64, i64)> =
        spi::rows(&sql, &args(ask, since, horizon, horizon), |row| (row.need(1), row.need(2)));
    let mut changes: Vec<Change> = Vec::with_capacity(found.len());
    for (place, shape) in shapes.iter().enumerate() {
        let numbers =
            || found.iter().filter(|(_, table)| *table == place as i64).map(|(seq, _)| *seq);
        let (Some(first), Some(last)) = (numbers().min(), numbers().max()) else { continue };
        changes.extend(of_table(shape, ask, first - 1, last, horizon));
    }
    changes.sort_by_key(|change| change.seq);
    changes.truncate(ask.max as usize);
    changes
}

/// `$1` since, `$2` horizon, `$3` limit, `$4` record ids, `$5` the filter's values, `$6` until.
fn args(ask: &Ask, since: i64, until: i64, horizon: i64) -> [Arg; 6] {
    let ids = ask.ids.as_deref().unwrap_or_default();
    let values = ask.filter.as_ref().map_or_else(|| spi::texts([]), Filter::values);
    [
        spi::int8(since),
        spi::int8(horizon),
        spi::int8(ask.max),
        spi::texts(ids.iter().map(String::as_str)),
        values,
        spi::int8(until),
    ]
}

/// Whether a reader who names records is better served by a look at each of them than at the stream.
fn goes_by_records(ask: &Ask, since: i64, until: i64) -> bool {
    ask.ids.as_ref().is_some_and(|ids| stream::are_few(ids.len(), since, until))
}

/// One table's changes above `$1` and up to `$6`; a record's latest is that up to the horizon `$2`. Under policies each
/// row that is come to is put to them: so where that is less, no others are than those of the records that are named.
fn above(shape: &Shape, ask: &Ask, by_records: bool) -> String {
    let twin = &shape.twin;
    let mut conditions = String::new();
    if by_records {
        conditions.push_str(" and _godwit_row._id = k.id");
    } else if ask.ids.is_some() {
        conditions.push_str(" and _godwit_row._id = any ($4)");
    }
    if ask.leaves {
        conditions.push_str(&format!(
            // Not by the sequences' index, which a planner without statistics would take for every row.
            " and not exists (select from {twin} n where n._id = _godwit_row._id
                and (n._seq > _godwit_row._seq and n._seq <= $2) is true and not n._stub)"
        ));
    }
    if let Some(filter) = &ask.filter {
        // What matches now, and what did once: a reader that holds it is told when it no longer does.
        let own = filter.condition(shape, "_godwit_row", "$5").or_report();
        let other = filter.condition(shape, "x", "$5").or_report();
        conditions.push_str(&format!(
            " and (not _godwit_row._deleted and {own} or exists (
                select from {twin} x where x._id = _godwit_row._id and not x._deleted and not x._stub and {other}))"
        ));
    }
    if by_records {
        return format!(
            "(select c.change from (select distinct pg_catalog.unnest($4)) k(id)
               cross join lateral (
                    select _godwit_row as change from {twin} _godwit_row
                     where _seq > $1 and _seq <= $6 and not _stub{conditions} offset 0) c
               order by (c.change)._seq limit $3)"
        );
    }
    format!(
        "(select _godwit_row as change from {twin} _godwit_row where _seq > $1 and _seq <= $6 and not _stub{conditions}
           order by _seq limit $3)"
    )
}

/// One table's changes above `since` and up to `until` in full. In an inner query a bare `_godwit_row` is its own row
/// only as long as no outer one has a column of that name: so theirs is `change`.
///
/// The highest revision has no child, so mostly it is the winner (see `reconcile::due`).
fn of_table(shape: &Shape, ask: &Ask, since: i64, until: i64, horizon: i64) -> Vec<Change> {
    // Bodies come as rows and become JSON once, here.
    let body = match ask.include {
        _ if ask.leaves => None,
        Include::Nothing => None,
        Include::Revision | Include::Records => Some("p.change".to_owned()),
        Include::Record => Some(format!(
            "(select _godwit_row from {} _godwit_row where _godwit_row._id = (p.change)._id
                and _godwit_row._rev = w.winner and not _godwit_row._deleted)",
            shape.twin
        )),
    };
    let body = body.unwrap_or_else(|| format!("null::{}", shape.twin));
    let leaf = match ask.include {
        Include::Nothing => "pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
            'revision', _godwit_row._rev::text, 'deleted', nullif(_godwit_row._deleted, false)))"
            .to_owned(),
        include => format!(
            "godwit._record({}::oid, _godwit_row, {})",
            shape.relation.to_u32(),
            include == Include::Revision
        ),
    };
    let leaves = match ask.leaves {
        false => "null::jsonb".to_owned(),
        true => format!(
            "(select pg_catalog.jsonb_agg({leaf} order by _godwit_row._deleted, _godwit_row._rev desc)
                from {} _godwit_row where _godwit_row._id = (p.change)._id and {})",
            shape.twin,
            twin::is_leaf(shape, "_godwit_row"),
        ),
    };
    let has_left = match &ask.filter {
        None => "false".to_owned(),
        Some(filter) => format!(
            "not w.is_deleted and not exists (select from {} _godwit_row
                where _godwit_row._id = (p.change)._id and _godwit_row._rev = w.winner and {})",
            shape.twin,
            filter.condition(shape, "_godwit_row", "$5").or_report()
        ),
    };
    let sql = format!(
        "select (p.change)._seq, (p.change)._id, (p.change)._rev::text,
                (p.change)._deleted, w.winner::text, {has_left},
                case when not ({has_left}) then {body} end,
                case when not ({has_left}) then {leaves} end
           from {} p
          cross join lateral (
                select case when top.passed then other._rev else top._rev end as winner,
                       top.passed and coalesce(other._deleted, true) as is_deleted
                  from (select h._rev, h._deleted or h._stub as passed from {twin} h
                         where h._id = (p.change)._id order by h._rev desc limit 1) top
                  left join lateral (
                       select l._rev, l._deleted from {twin} l
                        where top.passed and l._id = (p.change)._id and {is_leaf}
                        order by l._deleted, l._rev desc limit 1) other on true) w
          order by 1",
        above(shape, ask, goes_by_records(ask, since, until)),
        twin = shape.twin,
        is_leaf = twin::is_leaf(shape, "l"),
    );
    let mut body = Body::of(shape);
    spi::rows(&sql, &args(ask, since, until, horizon), |row| {
        let has_left: bool = row.need(6);
        Change {
            seq: row.need(1),
            table: shape.wire_name.clone(),
            id: row.need(2),
            revision: Some(row.need(3)).filter(|_| !has_left),
            deleted: row.need::<bool>(4) && !has_left,
            winner: row.get(5).filter(|_| !has_left),
            record: row.get(7).map(|datum| {
                read::record_of(shape, &mut body, datum, ask.include == Include::Revision, ask.form)
            }),
            // SAFETY: the statement says jsonb.
            leaves: row
                .get::<pg_sys::Datum>(8)
                .map(|datum| in_form(unsafe { row::plain_bytes(datum) }, ask.form)),
            has_left,
        }
    })
}

/// A jsonb, without the head of a varlena, in the form that is asked for.
fn in_form(jsonb: &[u8], form: Form) -> Vec<u8> {
    match form {
        Form::Jsonb => jsonb.to_vec(),
        Form::Json => jsonb::printed(jsonb),
    }
}

impl Change {
    fn of(shown: &Shown) -> Change {
        Change {
            seq: shown.sequence,
            table: shown.table.to_owned(),
            id: shown.id.to_owned(),
            revision: shown.revision.map(str::to_owned),
            deleted: shown.deleted,
            winner: shown.winner.map(str::to_owned),
            record: shown.record.map(<[u8]>::to_vec),
            leaves: shown.leaves.map(<[u8]>::to_vec),
            has_left: shown.has_left,
        }
    }

    fn shown(&self) -> Shown<'_> {
        Shown {
            sequence: self.seq,
            table: &self.table,
            id: &self.id,
            revision: self.revision.as_deref(),
            deleted: self.deleted,
            winner: self.winner.as_deref(),
            record: self.record.as_deref(),
            leaves: self.leaves.as_deref(),
            has_left: self.has_left,
        }
    }

    fn left(shape: &Shape, left: left::Left) -> Change {
        Change {
            seq: left.sequence,
            table: shape.wire_name.clone(),
            id: left.id,
            revision: None,
            deleted: false,
            winner: None,
            record: None,
            leaves: None,
            has_left: true,
        }
    }
}
