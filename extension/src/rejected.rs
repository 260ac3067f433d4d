//! In charge of `godwit.rejected`: revisions that the table's own constraints or types refuse. The
//! catalog is read and written as its owner, whoever calls.

use pgrx::pg_sys;
use revision::{Attributes, Record};

use crate::argument::Json;
use crate::error::{Error, OrReport};
use crate::own;
use crate::put_revisions::Sent;
use crate::role;
use crate::shape::Shape;
use crate::spi;
use crate::subtransaction::Failure;

/// The SQLSTATE of what was left to a later call: another session held it.
pub const HELD: &str = "55P03";

/// A revision that waits.
pub struct Entry {
    pub number: i64,
    pub id: String,
    pub revision: Option<String>,
    pub record: serde_json::Value,
}

/// Keeps a refused revision with the reason; the same one refused again replaces its reason.
pub fn keep(shape: &Shape, record: &Record, failure: &Failure) {
    let wire = serde_json::to_value(record).unwrap_or_else(|error| {
        Error::Internal(format!("a record can't be written: {error}")).report()
    });
    let revision = record.revision.as_ref().map(ToString::to_string);
    let sql = "insert into godwit.rejected as r
            (relation, record_id, revision, record, sqlstate, reason, detail, by)
        values ($1, $2, $3::godwit.revision, $4, $5, $6, $7, godwit._author())
            on conflict (relation, record_id, revision, pg_catalog.md5(record::pg_catalog.text)) do update
           set sqlstate = excluded.sqlstate, reason = excluded.reason, detail = excluded.detail,
               at = excluded.at";
    let args = [
        spi::oid(shape.relation),
        spi::text(&record.id),
        spi::optional_text(revision.as_deref()),
        spi::json(&wire),
        spi::text(&failure.sqlstate.to_string()),
        spi::text(&failure.message),
        spi::optional_text(failure.detail.as_deref()),
    ];
    role::as_owner(catalog_owner(), || spi::run(sql, &args));
}

/// Whether anything waits at all. Every batch asks, so it is asked without SQL; mostly nothing ever did.
pub fn any() -> bool {
    let list = own::relation(c"rejected");
    let index = || own::relation(c"rejected_pkey");
    own::look_into(list, index, |index| own::has_row(list, Some(index), &mut []))
}

/// Takes out what the history has meanwhile. The same revision with another body stays.
pub fn forget(shape: &Shape, settled: &[&Sent]) {
    // Each is looked up by the list's key. A join may read the whole list, for every batch while anything waits.
    let sql = "delete from godwit.rejected where number = any (array(
                select r.number from unnest($2, $3, $4) s(id, revision, body)
                 cross join lateral (
                       select r.number from godwit.rejected r
                        where r.relation = $1 and r.record_id = s.id
                          and r.revision = s.revision::godwit.revision
                          and coalesce(r.record -> 'attributes', '{}') = s.body::jsonb offset 0) r))";
    let revisions: Vec<String> = settled.iter().map(|sent| sent.revision().to_string()).collect();
    let bodies: Vec<String> =
        settled.iter().map(|sent| body(&sent.arrival.revision.attributes)).collect();
    let args = [
        spi::oid(shape.relation),
        spi::texts(settled.iter().map(|sent| sent.id())),
        spi::texts(revisions.iter().map(String::as_str)),
        spi::texts(bodies.iter().map(String::as_str)),
    ];
    role::as_owner(catalog_owner(), || spi::run(sql, &args));
}

fn body(attributes: &Attributes) -> String {
    let members = attributes.iter().map(|(name, value)| (name.clone(), value.to_wire()));
    serde_json::Value::Object(members.collect()).to_string()
}

/// Revisions of this table whose foreign key of these columns names one of these parents, each the
/// JSON array of the wire values that it refers to.
pub fn waiting_for(shape: &Shape, columns: &[String], parents: &[serde_json::Value]) -> Vec<Entry> {
    // Each parent is looked up by an index: many may wait that don't wait for it. What an array contains is not all it
    // has to be, so what is found is compared.
    let sql = "select r.number, r.record_id, r.revision::text, r.record
                 from (select distinct parent from jsonb_array_elements($3) parent) p
                cross join lateral (
                      select r.* from godwit.rejected r
                       where r.relation = $1 and r.sqlstate = '23503'
                         and r.record -> 'attributes' @> (
                             select jsonb_object_agg(c.name, p.parent -> c.place::int - 1)
                               from unnest($2) with ordinality c(name, place)) offset 0) r
                where p.parent = (
                      select jsonb_agg(r.record #> array['attributes', c.name] order by c.place)
                        from unnest($2) with ordinality c(name, place))
                order by r.number";
    let args = [
        spi::oid(shape.relation),
        spi::texts(columns.iter().map(String::as_str)),
        spi::json(&serde_json::Value::Array(parents.to_vec())),
    ];
    role::as_owner(catalog_owner(), || spi::rows(sql, &args, entry))
}

/// Revisions of this table that earlier calls of who writes now have left, for another session held their records. What was
/// tried again last comes last.
pub fn left(shape: &Shape, max: i32) -> Vec<Entry> {
    // The state stands in the statement: a plan for any state would read the whole list where most have another.
    let sql = format!(
        "select number, record_id, revision::text, record from godwit.rejected
          where relation = $1 and sqlstate = '{HELD}' and by = godwit._author()
          order by at, number limit $2"
    );
    let args = [spi::oid(shape.relation), spi::int8(max.into())];
    role::as_owner(catalog_owner(), || spi::rows(&sql, &args, entry))
}

/// Drops whatever these records have here.
pub fn erase<'a>(shape: &Shape, ids: impl IntoIterator<Item = &'a str>) {
    let sql = "delete from godwit.rejected where relation = $1 and record_id = any ($2)";
    let args = [spi::oid(shape.relation), spi::texts(ids)];
    role::as_owner(catalog_owner(), || spi::run(sql, &args));
}

pub fn oldest(shape: &Shape, max: i32) -> Vec<Entry> {
    let sql = "select number, record_id, revision::text, record from godwit.rejected
                where relation = $1 order by at, number limit $2";
    let args = [spi::oid(shape.relation), spi::int8(max.into())];
    role::as_owner(catalog_owner(), || spi::rows(sql, &args, entry))
}

pub fn discard(shape: &Shape, numbers: &[i64]) -> u64 {
    let sql = "delete from godwit.rejected where relation = $1 and number = any ($2)";
    let args = [spi::oid(shape.relation), spi::int8s(numbers)];
    role::as_owner(catalog_owner(), || spi::run(sql, &args))
}

fn entry(row: &spi::Row) -> Entry {
    let record = row.need::<Json>(4).read().or_report();
    Entry { number: row.need(1), id: row.need(2), revision: row.get(3), record }
}

/// Who owns the catalog's tables.
pub fn catalog_owner() -> pg_sys::Oid {
    own::owner(own::relation(c"rejected"))
}
