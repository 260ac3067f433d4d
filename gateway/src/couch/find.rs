//! In charge of `_find`: what of a selector a table's columns can tell is asked of Postgres, by its indexes, and the rest of
//! each document that comes.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value as Json, json};
use std::cmp::Ordering;
use std::sync::Arc;
use tokio_postgres::Row;

use super::columns::{Column, Columns, Kind};
use super::error::{Answer, Refusal};
use super::mango::{self, Compare, Need, Selector};
use super::{document, leaves, parameters};
use crate::auth::Caller;
use crate::database::{int8, text};
use crate::error::Error;
use crate::extract::Path;
use crate::page;
use crate::routes::{self, Gateway};

/// Records that are read at a time.
const PAGE: i64 = 1000;
/// Documents where the request doesn't say: CouchDB's number.
const LIMIT: usize = 25;
/// The most comparisons that the extension takes.
const COMPARISONS_MAX: usize = 32;

#[derive(Deserialize)]
struct Request {
    selector: Box<RawValue>,
    fields: Option<Vec<String>>,
    #[serde(default)]
    sort: Vec<Json>,
    limit: Option<usize>,
    #[serde(default)]
    skip: usize,
    bookmark: Option<String>,
    #[serde(default)]
    execution_stats: bool,
}

/// A field to sort by, and whether its highest come first.
type Order = (Vec<String>, bool);

/// What of a selector Postgres can be asked, as more than what matches and never less.
struct Plan {
    /// As the extension takes it.
    comparisons: Vec<Json>,
    low: Option<String>,
    high: Option<String>,
}

/// Where an answer ended: behind a record, or after so many in the order that was asked for.
type Place = (Option<String>, usize);

pub async fn find(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(db): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let asked: Request = parameters::body(&headers, body, gateway.config.body_bytes_max).await?;
    let selector = Selector::parse(&asked.selector)?;
    let columns = gateway.columns.of(&gateway, &caller, &db).await?;
    let plan = Plan::of(&selector, &columns);
    let order = order(&asked.sort)?;
    let limit = asked.limit.unwrap_or(LIMIT).min(gateway.config.batch_max as usize);
    let bookmark = asked.bookmark.filter(|bookmark| !matches!(bookmark.as_str(), "nil" | ""));
    let place: Option<Place> = page::read(bookmark.as_deref()).map_err(|_| {
        Refusal::new(StatusCode::BAD_REQUEST, "invalid_bookmark", "Invalid bookmark value")
    })?;
    let (after, passed) = place.unwrap_or_default();
    let mut search = Search {
        gateway: &gateway,
        caller: &caller,
        db: &db,
        plan: &plan,
        selector: &selector,
        columns: &columns,
        after,
        is_over: false,
        examined: 0,
        asks_plainly: plan.comparisons.is_empty(),
    };
    let mut found: Vec<Json> = Vec::new();
    let bookmark: Place;
    if order.is_empty() {
        let mut skip = asked.skip;
        while found.len() < limit && !search.is_over {
            let wanted = skip.saturating_add(limit - found.len());
            let mut page = search.page(wanted).await?;
            let skipped = skip.min(page.len());
            skip -= skipped;
            found.extend(page.drain(skipped..));
        }
        bookmark = (search.after.clone(), 0);
    } else {
        let most = gateway.config.batch_max as usize;
        while !search.is_over {
            found.extend(search.page(usize::MAX).await?);
            if found.len() > most {
                let reason = format!(
                    "more than {most} documents match: that many can't be sorted, ask for fewer"
                );
                return Err(Refusal::bad_request(reason));
            }
        }
        found.sort_by(|one, other| by(&order, one, other));
        let start = passed.saturating_add(asked.skip).min(found.len());
        let end = start.saturating_add(limit).min(found.len());
        found = found.drain(start..end).collect();
        bookmark = (None, end);
    }
    let bookmark = match found.is_empty() {
        true => "nil".to_owned(),
        false => page::write(&bookmark)?,
    };
    let examined = search.examined;
    let returned = found.len();
    let docs: Vec<Json> = match &asked.fields {
        Some(fields) if !fields.is_empty() => {
            found.iter().map(|doc| project(doc, fields)).collect()
        }
        _ => found,
    };
    let mut answer = json!({"docs": docs, "bookmark": bookmark});
    if !plan.is_of_use() {
        answer["warning"] =
            "No matching index found, create an index to optimize query time.".into();
    }
    if asked.execution_stats {
        answer["execution_stats"] =
            json!({"total_docs_examined": examined, "results_returned": returned});
    }
    Ok(routes::json(StatusCode::OK, &answer))
}

/// How `_find` would go about it.
pub async fn explain(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(db): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let asked: Request = parameters::body(&headers, body, gateway.config.body_bytes_max).await?;
    let selector = Selector::parse(&asked.selector)?;
    let columns = gateway.columns.of(&gateway, &caller, &db).await?;
    let plan = Plan::of(&selector, &columns);
    let answer = json!({
        "dbname": db,
        "index": {"ddoc": null, "name": "_all_docs", "type": "special", "def": {"fields": [{"_id": "asc"}]}},
        "selector": asked.selector,
        "limit": asked.limit.unwrap_or(LIMIT),
        "skip": asked.skip,
        "fields": asked.fields.map_or(Json::from("all_fields"), Json::from),
        "range": {"start_key": plan.low, "end_key": plan.high},
        "postgres": {"where": plan.comparisons},
    });
    Ok(routes::json(StatusCode::OK, &answer))
}

struct Search<'a> {
    gateway: &'a Gateway,
    caller: &'a Caller,
    db: &'a str,
    plan: &'a Plan,
    selector: &'a Selector,
    columns: &'a Columns,
    /// The last record that was looked at.
    after: Option<String>,
    is_over: bool,
    examined: usize,
    /// Without comparisons: there are none, or their columns' types don't take what they compare with.
    asks_plainly: bool,
}

impl Search<'_> {
    async fn plainly(&self) -> Result<Vec<Row>, Error> {
        let sql = "select r.record from godwit._records_between(godwit.find_table($1), $2, $3, false, 0, $4::int8::int4) r";
        let low = self.after.as_ref().or(self.plan.low.as_ref());
        let parameters = [text(&self.db), text(&low), text(&self.plan.high), int8(&PAGE)];
        self.gateway.database.rows(self.caller, sql, &parameters).await
    }

    async fn by_columns(&self) -> Result<Vec<Row>, Error> {
        let sql = "select r.record from godwit._records(godwit.find_table($1), $2, $3::int8::int4, $4::text::jsonb) r";
        let filter = Json::from(self.plan.comparisons.clone()).to_string();
        let parameters = [text(&self.db), text(&self.after), int8(&PAGE), text(&filter)];
        self.gateway.database.rows(self.caller, sql, &parameters).await
    }

    /// The next documents that match, at most so many.
    async fn page(&mut self, most: usize) -> Result<Vec<Json>, Refusal> {
        let rows = match self.asks_plainly {
            true => self.plainly().await?,
            false => match self.by_columns().await {
                Err(error) if matches!(error.name, "bad_value" | "bad_request") => {
                    tracing::debug!(%error, "a selector is not asked of the columns");
                    self.asks_plainly = true;
                    self.plainly().await?
                }
                rows => rows?,
            },
        };
        self.is_over = (rows.len() as i64) < PAGE;
        let begun = self.after.clone();
        let mut found = Vec::new();
        for row in &rows {
            let record = leaves::record(row.try_get(0)?)?;
            // A bound is part of its range.
            if begun.as_ref() == Some(&record.id) {
                continue;
            }
            if found.len() >= most {
                self.is_over = false;
                break;
            }
            self.examined += 1;
            self.after = Some(record.id.clone());
            let doc = Json::from(document::write(&record, self.columns));
            if !record.id.starts_with('_') && self.selector.matches(&doc) {
                found.push(doc);
            }
        }
        Ok(found)
    }
}

impl Plan {
    fn of(selector: &Selector, columns: &Columns) -> Self {
        let mut plan = Plan { comparisons: Vec::new(), low: None, high: None };
        for need in selector.needs() {
            match need {
                Need::Compare("_id", how, Json::String(id)) => plan.bound(how, id),
                Need::Compare(name, how, value) => plan.compare(name, how, value, columns),
                Need::In(name, values) => plan.one_of(name, values, columns),
            }
        }
        plan.comparisons.truncate(COMPARISONS_MAX);
        plan
    }

    fn is_of_use(&self) -> bool {
        !self.comparisons.is_empty() || self.low.is_some() || self.high.is_some()
    }

    fn bound(&mut self, how: Compare, id: &str) {
        if matches!(how, Compare::Equal | Compare::Greater | Compare::GreaterOrEqual)
            && self.low.as_deref().is_none_or(|low| low < id)
        {
            self.low = Some(id.to_owned());
        }
        if matches!(how, Compare::Equal | Compare::Less | Compare::LessOrEqual)
            && self.high.as_deref().is_none_or(|high| high > id)
        {
            self.high = Some(id.to_owned());
        }
    }

    fn compare(&mut self, name: &str, how: Compare, value: &Json, columns: &Columns) {
        let Some(value) = columns.get(name).and_then(|column| literal(column, value)) else {
            return;
        };
        // A bound is taken in: a column's type may round what a document says.
        let op = match how {
            Compare::Equal => "eq",
            Compare::Greater | Compare::GreaterOrEqual if value.is_number => "gte",
            Compare::Less | Compare::LessOrEqual if value.is_number => "lte",
            _ => return,
        };
        self.comparisons.push(json!({"column": name, "op": op, "value": value.text}));
    }

    fn one_of(&mut self, name: &str, values: &[Json], columns: &Columns) {
        let Some(column) = columns.get(name) else { return };
        let texts: Option<Vec<String>> =
            values.iter().map(|value| literal(column, value).map(|value| value.text)).collect();
        if let Some(texts) = texts.filter(|texts| !texts.is_empty() && texts.len() <= 1000) {
            self.comparisons.push(json!({"column": name, "op": "in", "value": texts}));
        }
    }
}

struct Literal {
    text: String,
    is_number: bool,
}

/// A value as a column's type reads it, where that compares it as the document would.
fn literal(column: &Column, value: &Json) -> Option<Literal> {
    if column.is_generated {
        return None;
    }
    let number = |text: String| Some(Literal { text, is_number: true });
    let other = |text: String| Some(Literal { text, is_number: false });
    match (value, &column.kind, column.type_name.as_str()) {
        (Json::Number(value), Kind::Int, name) => {
            let most = match name {
                "smallint" => i16::MAX.into(),
                "integer" => i32::MAX.into(),
                _ => i64::MAX,
            };
            let value = value.as_i64().filter(|value| (-most..=most).contains(value))?;
            number(value.to_string())
        }
        (Json::Number(value), Kind::Decimal, _) => number(value.to_string()),
        (Json::Number(value), Kind::Float, "double precision") => {
            number(value.as_f64()?.to_string())
        }
        (Json::String(value), _, "text" | "character varying") if !value.contains('\0') => {
            other(value.clone())
        }
        (Json::Bool(value), _, "boolean") => other(value.to_string()),
        _ => None,
    }
}

fn order(sort: &[Json]) -> Result<Vec<Order>, Refusal> {
    let fault = || {
        Refusal::new(
            StatusCode::BAD_REQUEST,
            "invalid_sort_json",
            "sort is a list of fields, each a name or {name: \"asc\" or \"desc\"}",
        )
    };
    let one = |said: &Json| match said {
        Json::String(name) => Ok((mango::path(name), false)),
        Json::Object(members) if members.len() == 1 => {
            let (name, way) = members.iter().next().ok_or_else(fault)?;
            match way.as_str() {
                Some("asc") => Ok((mango::path(name), false)),
                Some("desc") => Ok((mango::path(name), true)),
                _ => Err(fault()),
            }
        }
        _ => Err(fault()),
    };
    let order: Vec<Order> = sort.iter().map(one).collect::<Result<_, _>>()?;
    // That is the order in which they come.
    let is_by_id = matches!(order.as_slice(), [(path, false)] if *path == ["_id"]);
    Ok(if is_by_id { Vec::new() } else { order })
}

/// As the fields say, then by id, so that pages of one answer never overlap.
fn by(order: &[Order], one: &Json, other: &Json) -> Ordering {
    let id = vec!["_id".to_owned()];
    for (path, is_descending) in order.iter().map(|(p, d)| (p, *d)).chain([(&id, false)]) {
        let at = |doc: &Json| path.iter().try_fold(doc, |at, name| at.get(name)).cloned();
        // What has no such member comes before what has.
        let found = match (at(one), at(other)) {
            (Some(one), Some(other)) => mango::order(&one, &other),
            (one, other) => one.is_some().cmp(&other.is_some()),
        };
        if found.is_ne() {
            return if is_descending { found.reverse() } else { found };
        }
    }
    Ordering::Equal
}

/// Only these fields of a document, where they stood.
fn project(doc: &Json, fields: &[String]) -> Json {
    let mut out = Json::Object(Map::new());
    for field in fields {
        let path = mango::path(field);
        let Some(value) = path.iter().try_fold(doc, |at, name| at.get(name)) else { continue };
        let mut at = &mut out;
        for name in &path {
            if !at.is_object() {
                *at = Json::Object(Map::new());
            }
            at = &mut at[name.as_str()];
        }
        *at = value.clone();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_given_where_they_stood() {
        let doc = json!({"_id": "a", "name": {"first": "Amina", "last": "B."}, "n": 1});
        let fields = ["name.first".to_owned(), "_id".to_owned(), "nothing".to_owned()];
        assert_eq!(project(&doc, &fields), json!({"_id": "a", "name": {"first": "Amina"}}));
    }

    #[test]
    fn sorting_goes_by_each_field_then_by_id() {
        let order = order(&[json!({"n": "desc"}), json!("m")]).unwrap();
        let mut docs = [
            json!({"_id": "d", "n": 1}),
            json!({"_id": "b", "n": 2, "m": "x"}),
            json!({"_id": "a", "n": 2, "m": "x"}),
            json!({"_id": "c", "n": 2}),
        ];
        docs.sort_by(|one, other| by(&order, one, other));
        let ids: Vec<&str> = docs.iter().filter_map(|doc| doc["_id"].as_str()).collect();
        assert_eq!(ids, ["c", "a", "b", "d"]);
    }
}
