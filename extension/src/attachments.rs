//! In charge of what documents carry beside their attributes: the parts that attachments are cut into, each kept once
//! a table under the SHA-256 of its bytes. Whoever names a part by its hash has seen a revision that has it, or has
//! had the bytes themselves: so a hash is all that it takes, beside the right to read the table.

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::argument::need;
use crate::catalog;
use crate::error::{Error, OrReport};
use crate::rejected;
use crate::rights::{self, Right};
use crate::role;
use crate::settings::Settings;
use crate::shape::Shape;
use crate::spi;

/// Keeps a part, or keeps for longer one that is here already.
#[pg_extern(sql = false)]
fn _keep_attachment_part(relation: Option<pg_sys::Oid>, data: Option<&[u8]>) {
    let shape = Shape::of(need(relation, "relation")).or_report();
    let may = |right| rights::require(&shape, &[right]).is_ok();
    if !may(Right::Insert) && !may(Right::Update) {
        rights::require(&shape, &[Right::Insert]).or_report();
    }
    let _settings = Settings::path(c"pg_catalog, godwit, pg_temp");
    // Sweeping leaves alone what came lately, for its document may be on its way.
    let sql =
        "insert into godwit.attachment_parts (relation, digest, data) values ($1, sha256($2), $2)
                   on conflict (relation, digest) do update set at = clock_timestamp()";
    let args = [spi::oid(shape.relation), spi::bytes(need(data, "data"))];
    role::as_owner(rejected::catalog_owner(), || spi::run(sql, &args));
}

/// A part by its hash; null where it isn't here.
#[pg_extern(sql = false)]
fn _attachment_part(relation: Option<pg_sys::Oid>, digest: Option<&[u8]>) -> Option<Vec<u8>> {
    let shape = Shape::of(need(relation, "relation")).or_report();
    // Who reads by columns or by rows has the history's rights, where the hash was found.
    if !reads(&shape) {
        Error::Forbidden(format!("this needs the right to SELECT on {}", shape.wire_name)).report()
    }
    let _settings = Settings::path(c"pg_catalog, godwit, pg_temp");
    let sql = "select data from godwit.attachment_parts where relation = $1 and digest = $2";
    let args = [spi::oid(shape.relation), spi::bytes(need(digest, "digest"))];
    role::as_owner(rejected::catalog_owner(), || {
        spi::rows(sql, &args, |row| row.need::<Vec<u8>>(1)).into_iter().next()
    })
}

fn reads(shape: &Shape) -> bool {
    // SAFETY: a catalog look-up by OID.
    let result = unsafe {
        pg_sys::pg_class_aclcheck(
            shape.twin_relation,
            pg_sys::GetUserId(),
            pg_sys::ACL_SELECT as pg_sys::AclMode,
        )
    };
    result == pg_sys::AclResult::ACLCHECK_OK
}

/// The hashes, in hex, of the parts that a record's revisions name, or all of a table's: what its history has, and what
/// it has refused and may yet take. As the owner, since what policies hide names its parts all the same.
#[pg_extern(sql = false)]
fn _attachment_digests(relation: Option<pg_sys::Oid>, id: Option<&str>) -> Vec<String> {
    let shape = Shape::of(need(relation, "relation")).or_report();
    catalog::require_owner(&[shape.relation]).or_report();
    let _settings = Settings::path(c"pg_catalog, godwit, pg_temp");
    let parts = "._attachments.map.*.map.parts.list[*].bytes";
    let kept = format!(
        "select distinct encode(decode(part #>> '{{}}', 'base64'), 'hex')
           from {} h cross join lateral jsonb_path_query(h._extra, '${parts}') part
          where h._extra ? '_attachments' and (h._id = $1 or $1 is null)",
        shape.twin
    );
    let refused = format!(
        "select distinct encode(decode(part #>> '{{}}', 'base64'), 'hex')
           from godwit.rejected r
          cross join lateral jsonb_path_query(r.record, '$.attributes{parts}') part
          where r.relation = $2 and (r.record_id = $1 or $1 is null)"
    );
    let name = |row: &spi::Row| row.need::<String>(1);
    let id = || spi::optional_text(id);
    let mut found = role::as_owner(shape.owner, || spi::rows(&kept, &[id()], name));
    found.extend(role::as_owner(rejected::catalog_owner(), || {
        spi::rows(&refused, &[id(), spi::oid(shape.relation)], name)
    }));
    found
}
