//! In charge of `_all_docs`: documents by the bytes of their ids, by range or by name, streamed.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use futures_util::stream;
use revision::{Record, RevisionId};
use serde_json::value::RawValue;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::sync::Arc;

use super::bulk;
use super::columns::Columns;
use super::document;
use super::error::{Answer, Refusal};
use super::leaves;
use super::parameters::{self, Parameters};
use crate::auth::Caller;
use crate::database::{boolean, int8, text};
use crate::error::Error;
use crate::extract::Path;
use crate::routes::{self, Gateway};

/// Records that are read at a time.
const PAGE: i64 = 1000;

pub async fn get(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(db): Path<String>,
    parameters: Parameters,
) -> Answer {
    answer(gateway, caller, db, &parameters).await
}

pub async fn post(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(db): Path<String>,
    parameters: Parameters,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let sent: BTreeMap<String, Box<RawValue>> =
        parameters::body(&headers, body, gateway.config.body_bytes_max).await?;
    let parameters = parameters.with_body(sent);
    answer(gateway, caller, db, &parameters).await
}

/// An end of a range. Ids are strings; what CouchDB sorts before all of them, or behind, is no bound or bounds all.
enum Bound {
    None,
    Id(String),
    Nothing,
}

fn bound(value: Option<Json>, is_low: bool) -> Bound {
    match value {
        None => Bound::None,
        Some(Json::String(id)) => Bound::Id(id),
        Some(Json::Array(_) | Json::Object(_)) if is_low => Bound::Nothing,
        Some(Json::Null | Json::Bool(_) | Json::Number(_)) if !is_low => Bound::Nothing,
        Some(_) => Bound::None,
    }
}

#[derive(Clone)]
struct Shown {
    include_docs: bool,
    conflicts: bool,
    columns: Arc<Columns>,
}

async fn answer(
    gateway: Arc<Gateway>,
    caller: Caller,
    db: String,
    parameters: &Parameters,
) -> Answer {
    let shown = Shown {
        include_docs: parameters.flag("include_docs")?,
        conflicts: parameters.flag("conflicts")?,
        columns: gateway.columns.of(&gateway, &caller, &db).await?,
    };
    let sql = "select godwit.count_records(godwit.find_table($1)), godwit.last_sequence()";
    let rows = gateway.database.rows(&caller, sql, &[text(&db)]).await?;
    let row = rows.first().ok_or_else(|| Error::unavailable("the database gave no answer"))?;
    let (total, sequence): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    let sequence = Some(sequence).filter(|_| parameters.flag("update_seq").unwrap_or(false));
    let descending = parameters.flag("descending")?;
    let number = |name| -> Result<Option<i64>, Refusal> {
        Ok(parameters.number(name)?.map(|number| i64::try_from(number).unwrap_or(i64::MAX)))
    };
    let (skip, limit) = (number("skip")?.unwrap_or(0), number("limit")?);
    let keys: Option<Vec<Json>> = parameters.json("keys")?;
    let key: Option<Json> = parameters.json("key")?;
    if let Some(keys) = keys {
        if keys.len() > gateway.config.batch_max as usize {
            let reason = format!(
                "{} keys; at most {} are taken at once",
                keys.len(),
                gateway.config.batch_max
            );
            return Err(Error::too_large(reason).into());
        }
        bulk::check_repeated(keys.iter().filter_map(Json::as_str))?;
        let mut keys = keys;
        if descending {
            keys.reverse();
        }
        let from = usize::try_from(skip).unwrap_or(usize::MAX).min(keys.len());
        let count = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let keys: Vec<Json> = keys.into_iter().skip(from).take(count).collect();
        let rows = by_name(&gateway, &caller, &db, &keys, &shown).await?;
        let mut answer = json!({"total_rows": total, "offset": null, "rows": rows});
        if let Some(sequence) = sequence {
            answer["update_seq"] = sequence.into();
        }
        return Ok(routes::json(StatusCode::OK, &answer));
    }
    let named = |names: [&str; 2]| -> Result<Option<Json>, Refusal> {
        let found: Option<Json> = parameters.json(names[0])?;
        Ok(found.or(parameters.json(names[1])?))
    };
    let (start, end) = match key {
        Some(key) => (Some(key.clone()), Some(key)),
        None => (named(["startkey", "start_key"])?, named(["endkey", "end_key"])?),
    };
    let exclusive = match parameters.text("inclusive_end") {
        Some("false") => end.as_ref().and_then(Json::as_str).map(str::to_owned),
        _ => None,
    };
    let is_whole = start.is_none();
    let (low, high) = if descending { (end, start) } else { (start, end) };
    let (low, high) = (bound(low, true), bound(high, false));
    let is_empty = matches!(low, Bound::Nothing) || matches!(high, Bound::Nothing);
    let id = |bound| match bound {
        Bound::Id(id) => Some(id),
        _ => None,
    };
    let offset = is_whole.then(|| skip.min(total));
    let mut listing = Listing {
        gateway,
        caller,
        db,
        shown,
        low: id(low),
        high: id(high),
        exclusive,
        descending,
        skip,
        sent: None,
        left: if is_empty { 0 } else { limit.unwrap_or(i64::MAX) },
        first: None,
        has_begun: false,
        head: json!({"total": total, "offset": offset, "sequence": sequence}),
        is_over: false,
        has_rows: false,
    };
    // Read before the answer begins, so that what is wrong with the request has a status.
    listing.first = Some(listing.page().await?);
    let body = Body::from_stream(stream::unfold(listing, Listing::step));
    let kind = HeaderValue::from_static("application/json");
    Ok(([(header::CONTENT_TYPE, kind)], body).into_response())
}

fn row(record: &Record, doc: Option<Json>) -> Json {
    let revision = record.revision.as_ref().map(RevisionId::to_string);
    let mut row = json!({"id": record.id, "key": record.id, "value": {"rev": revision}});
    if record.deleted {
        row["value"]["deleted"] = true.into();
    }
    if let Some(doc) = doc {
        row["doc"] = doc;
    }
    row
}

/// Winners as rows; with their conflicts where these are wanted.
async fn rows(
    gateway: &Gateway,
    caller: &Caller,
    db: &str,
    records: &[Record],
    shown: &Shown,
) -> Result<Vec<Json>, Refusal> {
    let mut conflicts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    if shown.include_docs && shown.conflicts {
        let ids: Vec<String> = records.iter().map(|record| record.id.clone()).collect();
        for leaf in leaves::leaves(gateway, caller, db, &ids).await? {
            if let (false, Some(revision)) = (leaf.deleted, leaf.revision) {
                conflicts.entry(leaf.id).or_default().push(revision.to_string());
            }
        }
    }
    let made = records.iter().map(|record| {
        if !shown.include_docs {
            return row(record, None);
        }
        if record.deleted {
            return row(record, Some(Json::Null));
        }
        let mut doc = Json::from(document::write(record, &shown.columns));
        // The winner stands first among the leaves.
        if let Some([_, others @ ..]) = conflicts.get(&record.id).map(Vec::as_slice)
            && !others.is_empty()
        {
            doc["_conflicts"] = others.into();
        }
        row(record, Some(doc))
    });
    Ok(made.collect())
}

async fn by_name(
    gateway: &Gateway,
    caller: &Caller,
    db: &str,
    keys: &[Json],
    shown: &Shown,
) -> Result<Vec<Json>, Refusal> {
    let asked: Vec<(String, Option<RevisionId>)> =
        keys.iter().filter_map(Json::as_str).map(|key| (key.to_owned(), None)).collect();
    let found = leaves::named(gateway, caller, db, &asked, false).await?;
    let records: Vec<Record> = found.into_iter().flatten().map(|found| found.record).collect();
    let made = rows(gateway, caller, db, &records, shown).await?;
    let by_id: BTreeMap<&str, &Json> =
        records.iter().zip(&made).map(|(record, row)| (record.id.as_str(), row)).collect();
    let row = |key: &Json| match key.as_str().and_then(|key| by_id.get(key)) {
        Some(row) => (*row).clone(),
        None => json!({"key": key, "error": "not_found"}),
    };
    Ok(keys.iter().map(row).collect())
}

struct Listing {
    gateway: Arc<Gateway>,
    caller: Caller,
    db: String,
    shown: Shown,
    low: Option<String>,
    high: Option<String>,
    /// The id at the end, where that is not to be shown.
    exclusive: Option<String>,
    descending: bool,
    skip: i64,
    /// The id of the record that was sent last.
    sent: Option<String>,
    /// Rows that may still be sent.
    left: i64,
    first: Option<Vec<Json>>,
    has_begun: bool,
    head: Json,
    is_over: bool,
    has_rows: bool,
}

impl Listing {
    /// The next rows; the last when it is over.
    async fn page(&mut self) -> Result<Vec<Json>, Refusal> {
        let max = self.left.min(PAGE);
        if max <= 0 {
            self.is_over = true;
            return Ok(Vec::new());
        }
        // A bound is part of its range: the record that was sent last comes again, unless it is gone by now.
        let asked = max + i64::from(self.sent.is_some());
        let sql = "select r.record from godwit._records_between(godwit.find_table($1), $2, $3, $4, $5, $6::int8::int4) r";
        let parameters = [
            text(&self.db),
            text(&self.low),
            text(&self.high),
            boolean(&self.descending),
            int8(&self.skip),
            int8(&asked),
        ];
        let found = self.gateway.database.rows(&self.caller, sql, &parameters).await?;
        let records: Result<Vec<Record>, Refusal> =
            found.iter().map(|row| Ok(leaves::record(row.try_get(0)?)?)).collect();
        let mut records = records?;
        self.is_over = (records.len() as i64) < asked;
        if let Some(sent) = self.sent.take() {
            records.retain(|record| record.id != sent);
        }
        records.truncate(usize::try_from(max).unwrap_or(usize::MAX));
        self.left -= records.len() as i64;
        self.skip = 0;
        self.sent = records.last().map(|record| record.id.clone());
        if let Some(last) = self.sent.clone() {
            match self.descending {
                true => self.high = Some(last),
                false => self.low = Some(last),
            }
        }
        records.retain(|record| {
            !record.id.starts_with('_') && self.exclusive.as_ref() != Some(&record.id)
        });
        rows(&self.gateway, &self.caller, &self.db, &records, &self.shown).await
    }

    /// An error here cuts the connection: the reader sees that there is more.
    async fn step(mut self) -> Option<(Result<Bytes, Error>, Self)> {
        if self.is_over && self.first.is_none() && self.has_begun {
            return None;
        }
        let rows = match self.first.take() {
            Some(rows) => rows,
            None => match self.page().await {
                Ok(rows) => rows,
                Err(refusal) => {
                    self.is_over = true;
                    return Some((Err(refusal.into()), self));
                }
            },
        };
        let mut out = String::new();
        if !self.has_begun {
            self.has_begun = true;
            let (total, offset) = (&self.head["total"], &self.head["offset"]);
            out.push_str(&format!("{{\"total_rows\":{total},\"offset\":{offset},"));
            if !self.head["sequence"].is_null() {
                out.push_str(&format!("\"update_seq\":{},", self.head["sequence"]));
            }
            out.push_str("\"rows\":[\n");
        }
        for row in rows {
            if std::mem::replace(&mut self.has_rows, true) {
                out.push_str(",\n");
            }
            out.push_str(&row.to_string());
        }
        if self.is_over {
            out.push_str("\n]}\n");
        }
        Some((Ok(out.into()), self))
    }
}
