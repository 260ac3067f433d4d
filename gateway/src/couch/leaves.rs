//! In charge of reading revisions as documents: by name, the winner, all leaves, or what a revision became.

use revision::{Record, RevisionId};

use super::error::Refusal;
use crate::auth::Caller;
use crate::database::{boolean, text, texts};
use crate::deep;
use crate::error::Error;
use crate::routes::Gateway;

/// A revision that is here in full.
pub struct Found {
    pub record: Record,
    pub is_leaf: bool,
}

/// Records as the database writes them.
pub fn record(text: &str) -> Result<Record, Error> {
    deep::parse(text.as_bytes()).map_err(|error| {
        tracing::error!(%error, "the database returned a record that can't be read");
        Error::unavailable("the database answered with what can't be read")
    })
}

/// An id as Postgres can be asked for it; of one that no record can have, another that none has.
fn possible(id: &str) -> &str {
    if id.contains('\0') { "" } else { id }
}

/// One for each that was asked for, in that order; without a revision the winner. With the whole ancestry, or none.
pub async fn named(
    gateway: &Gateway,
    caller: &Caller,
    table: &str,
    asked: &[(String, Option<RevisionId>)],
    ancestry: bool,
) -> Result<Vec<Option<Found>>, Refusal> {
    let sql = "select r.record, r.leaf from godwit._get_many(godwit.find_table($1), $2, $3, $4) r order by r.ord";
    let ids: Vec<&str> = asked.iter().map(|(id, _)| possible(id)).collect();
    let revisions: Vec<Option<String>> =
        asked.iter().map(|(_, revision)| revision.as_ref().map(RevisionId::to_string)).collect();
    let parameters = [text(&table), texts(&ids), texts(&revisions), boolean(&ancestry)];
    let rows = gateway.database.rows(caller, sql, &parameters).await?;
    let found = rows.iter().map(|row| {
        let body: Option<&str> = row.try_get(0)?;
        let Some(body) = body else { return Ok(None) };
        Ok(Some(Found { record: record(body)?, is_leaf: row.try_get(1)? }))
    });
    found.collect()
}

/// One of them.
pub async fn one(
    gateway: &Gateway,
    caller: &Caller,
    table: &str,
    id: &str,
    revision: Option<RevisionId>,
    ancestry: bool,
) -> Result<Option<Found>, Refusal> {
    let found = named(gateway, caller, table, &[(id.to_owned(), revision)], ancestry).await?;
    Ok(found.into_iter().next().flatten())
}

/// All leaves of records that are here in full, the winner first.
pub async fn leaves(
    gateway: &Gateway,
    caller: &Caller,
    table: &str,
    ids: &[String],
) -> Result<Vec<Record>, Refusal> {
    let sql = "select r.record
                 from (select godwit.find_table($1) as relation offset 0) t
                 cross join lateral (
                      select array_agg(l.id order by l.place, l.nth) as ids, array_agg(l.revision order by l.place, l.nth) as revisions
                        from (select k.id, k.place, h.revision, h.nth
                                from unnest($2) with ordinality k(id, place)
                                cross join lateral (
                                     select h.revision, row_number() over (order by not h.winner) as nth
                                       from godwit.leaves(t.relation, k.id) h where not h.stub) h) l) l
                 cross join lateral godwit._get_many(t.relation, l.ids, l.revisions, true) r
                where l.ids is not null and r.record is not null order by r.ord";
    let ids: Vec<&str> = ids.iter().map(|id| possible(id)).collect();
    let rows = gateway.database.rows(caller, sql, &[text(&table), texts(&ids)]).await?;
    rows.iter().map(|row| Ok(record(row.try_get(0)?)?)).collect()
}

/// What has become of revisions that are leaves no more: CouchDB's `latest`.
pub fn latest<'a>(
    leaves: &'a [Record],
    id: &'a str,
    revision: &'a RevisionId,
) -> impl Iterator<Item = &'a Record> {
    leaves.iter().filter(move |leaf| {
        leaf.id == id && leaf.revisions.as_ref().is_some_and(|line| line.contains(revision))
    })
}
