//! In charge of `godwit.rejected`: revisions that the table's own constraints or types refuse.

use pgrx::pg_sys;
use revision::Record;

use crate::error::Error;
use crate::role;
use crate::shape::Shape;
use crate::spi;
use crate::subtransaction::Failure;

/// Keeps a refused revision with the reason; the same one refused again replaces its reason.
pub fn keep(shape: &Shape, record: &Record, failure: &Failure) {
    let wire = serde_json::to_value(record).unwrap_or_else(|error| {
        Error::Internal(format!("a record can't be written: {error}")).report()
    });
    let revision = record.revision.as_ref().map(ToString::to_string);
    let sql = "insert into godwit.rejected as r
            (relation, record_id, revision, record, sqlstate, reason, detail, by)
        values ($1, $2, $3::godwit.revision, $4, $5, $6, $7, godwit._author())
            on conflict (relation, record_id, revision, pg_catalog.md5(record::text)) do update
           set sqlstate = excluded.sqlstate, reason = excluded.reason, detail = excluded.detail,
               at = excluded.at";
    let args = [
        spi::oid(shape.relation),
        spi::text(&record.id),
        spi::optional_text(revision.as_deref()),
        spi::json(&wire),
        spi::text(&failure.sqlstate()),
        spi::text(&failure.message),
        spi::optional_text(failure.detail.as_deref()),
    ];
    role::as_owner(catalog_owner(), || spi::run(sql, &args));
}

/// Who owns the catalog's tables.
pub fn catalog_owner() -> pg_sys::Oid {
    let sql = "select c.relowner from pg_catalog.pg_class c
                 join pg_catalog.pg_namespace n on n.oid = c.relnamespace
                where n.nspname = 'godwit' and c.relname = 'rejected'";
    spi::rows(sql, &[], |row| row.need(1))
        .first()
        .copied()
        .unwrap_or_else(|| Error::Internal("godwit.rejected is not there".into()).report())
}
