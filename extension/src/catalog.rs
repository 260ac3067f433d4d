//! In charge of writing `godwit.tracked`: as its owner, for a caller who owns table and twin.

use pgrx::pg_sys;
use pgrx::prelude::*;
use std::ffi::{CStr, CString};

use crate::argument::Json;
use crate::error::{Error, OrReport};
use crate::own;
use crate::rejected::catalog_owner;
use crate::role;
use crate::settings::Settings;
use crate::shape::{self, Shape};
use crate::spi;

const PINNED_PATH: &CStr = c"pg_catalog, godwit, pg_temp";

#[pg_extern(sql = false)]
fn _remember(relation: pg_sys::Oid, twin: pg_sys::Oid, metadata: Json) {
    let _settings = Settings::path(PINNED_PATH);
    require_owner(&[relation, twin]).or_report();
    require_tables(relation, twin).or_report();
    let sql = "insert into godwit.tracked (relation, twin, key, key_types, metadata, created_by)
               values ($1, $2, godwit._key_columns($1), godwit._key_types($1), $3,
                       pg_get_userbyid($4))";
    let args = [
        spi::oid(relation),
        spi::oid(twin),
        spi::json(&metadata.read().or_report()),
        spi::oid(role::author()),
    ];
    role::as_owner(catalog_owner(), || spi::run(sql, &args));
}

#[pg_extern(sql = false)]
fn _annotate(relation: pg_sys::Oid, metadata: Json) {
    let metadata = metadata.read().or_report();
    let _settings = Settings::path(PINNED_PATH);
    require_owner(&[relation]).or_report();
    if !metadata.is_object() {
        Error::BadArgument("metadata is a JSON object".into()).report()
    }
    let sql = "update godwit.tracked set metadata = $2 where relation = $1";
    let args = [spi::oid(relation), spi::json(&metadata)];
    if role::as_owner(catalog_owner(), || spi::run(sql, &args)) == 0 {
        Error::NotTracked(format!("with OID {}", relation.to_u32())).report()
    }
}

#[pg_extern(sql = false)]
fn _forget(relation: pg_sys::Oid) {
    let _settings = Settings::path(PINNED_PATH);
    require_owner(&[relation]).or_report();
    let args = [spi::oid(relation)];
    role::as_owner(catalog_owner(), || {
        let lists = [
            c"rejected",
            c"conflicted",
            c"unordered",
            c"era",
            c"local_documents",
            c"attachment_parts",
        ];
        // A catalog that is still 0.1's hasn't all of them: it must be possible to untrack what the update refuses.
        for list in lists.into_iter().filter(|list| own::find(list).is_some()) {
            let list = list.to_string_lossy();
            spi::run(&format!("delete from godwit.{list} where relation = $1"), &args);
        }
        spi::run("delete from godwit.tracked where relation = $1", &args);
    });
}

/// The public function itself: every request of the gateway calls it.
#[pg_extern(sql = false)]
fn find_table_by_name(name: Option<&str>) -> pg_sys::Oid {
    let found = name.and_then(find_table);
    found.unwrap_or_else(|| Error::NoTable(identifier(name.unwrap_or("null"))).report())
}

/// A name in quotes where SQL would need them.
fn identifier(name: &str) -> String {
    let name = CString::new(name).unwrap_or_default();
    // SAFETY: what comes back is the name itself or a copy, and is copied before anything is freed.
    let quoted = unsafe { CStr::from_ptr(pg_sys::quote_identifier(name.as_ptr())) };
    quoted.to_string_lossy().into_owned()
}

/// The tracked table of a name on the wire: bare in schema public, else `schema.table`, and dots may be in either.
pub fn find_table(name: &str) -> Option<pg_sys::Oid> {
    let dots = name.match_indices('.').map(|(at, _)| (&name[..at], &name[at + 1..]));
    let dots = dots.filter(|(schema, _)| *schema != "public");
    let mut found = std::iter::once(("public", name)).chain(dots).filter_map(relation_named);
    found.find(|relation| Shape::is_known(*relation) || shape::is_tracked(*relation))
}

fn relation_named((schema, table): (&str, &str)) -> Option<pg_sys::Oid> {
    let (schema, table) = (CString::new(schema).ok()?, CString::new(table).ok()?);
    // SAFETY: catalog look-ups by names that end in a zero; none is no error.
    let relation = unsafe {
        let schema = pg_sys::get_namespace_oid(schema.as_ptr(), true);
        pg_sys::get_relname_relid(table.as_ptr(), schema)
    };
    (relation != pg_sys::InvalidOid).then_some(relation)
}

/// A record id for a new record: a UUIDv7, so that new ids sort after older ones.
#[pg_extern(sql = false)]
fn _uuid_v7() -> pgrx::Uuid {
    pgrx::Uuid::from_bytes(*uuid::Uuid::now_v7().as_bytes())
}

/// Runs a statement on a table or its twin that may call what their owner has put there (constraints,
/// index expressions, triggers): as the owner, whoever's DDL led to it.
#[pg_extern(sql = false)]
fn _as_owner(relation: pg_sys::Oid, statement: &str) -> Option<bool> {
    let _settings = Settings::path(PINNED_PATH);
    require_owner(&[relation]).or_report();
    let sql = "select relowner from pg_class where oid = $1";
    let owner = spi::rows(sql, &[spi::oid(relation)], |row| row.need::<pg_sys::Oid>(1));
    let owner = *owner.first()?;
    role::as_owner_restricted(owner, || spi::once(statement))
}

/// What is read as if it were a table and its twin must not be views.
fn require_tables(relation: pg_sys::Oid, twin: pg_sys::Oid) -> Result<(), Error> {
    let sql = "select count(*) = 2 from pg_class
                where oid = $1 and relkind in ('r', 'p') or oid = $2 and relkind = 'r'";
    let args = [spi::oid(relation), spi::oid(twin)];
    match spi::rows(sql, &args, |row| row.need::<bool>(1)).first() {
        Some(true) => Ok(()),
        _ => Err(Error::BadArgument("a table and its twin are tables".into())),
    }
}

pub fn require_owner(relations: &[pg_sys::Oid]) -> Result<(), Error> {
    let _settings = Settings::path(c"pg_catalog, pg_temp");
    let sql = "select pg_has_role(relowner, 'usage') from pg_class where oid = $1";
    for relation in relations {
        let owns = spi::rows(sql, &[spi::oid(*relation)], |row| row.need::<bool>(1));
        if owns.first() != Some(&true) {
            let reason = "only the owner of a table can do this".to_owned();
            return Err(Error::Forbidden(reason));
        }
    }
    Ok(())
}
