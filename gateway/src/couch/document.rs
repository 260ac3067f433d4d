//! In charge of a document of CouchDB's as a record of ours, and back: plain JSON beside values of eleven kinds.
//!
//! A value is stored as its column's kind only where it comes back as the same JSON; all else goes as it came, is read
//! by the column's own type, and is given back as it came.

use axum::http::StatusCode;
use revision::{Attributes, Record, RevisionId, Value};
use serde_json::value::RawValue;
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;

use super::attachment::{self, Sent};
use super::columns::{Columns, Kind};
use super::error::Refusal;
use crate::deep;

/// Above this a double can't tell an integer from the next (ECMA-262, Number.MAX_SAFE_INTEGER).
const SAFE_INTEGER: u64 = (1 << 53) - 1;
/// As many digits any double gives back as they were (IEEE 754, binary64).
const SAFE_DIGITS: usize = 15;
/// What was merged says from what; it is of that revision alone, and no client's to send.
const MERGED: &str = revision::merge::MERGED;
/// Before the name of a column that begins with an underscore, which in a document only CouchDB's own members may.
const COLUMN: &str = "column:";

/// A document as a client sends it.
#[derive(Debug, Default)]
pub struct Document {
    pub id: Option<String>,
    pub revision: Option<RevisionId>,
    pub deleted: bool,
    /// Its ancestry as the client tells it, itself first.
    pub revisions: Option<Vec<RevisionId>>,
    pub attachments: BTreeMap<String, Sent>,
    /// Those that come behind it, in order.
    following: Vec<String>,
    members: BTreeMap<String, Value>,
}

/// Digits that exponents may stand for, in all of a document: `1e131071` is a short way to say a long number. A double's
/// is at most 308.
const EXPONENTS_MAX: u64 = 1_000_000;

/// How many digits the exponents of numbers stand for, one way or the other.
fn exponents(json: &str) -> u64 {
    let bytes = json.as_bytes();
    let (mut sum, mut at) = (0u64, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at = deep::string_end(bytes, at + 1),
            b'e' | b'E' if at > 0 && bytes[at - 1].is_ascii_digit() => {
                let digits = bytes[at + 1..].iter().skip_while(|byte| matches!(byte, b'+' | b'-'));
                let exponent =
                    digits.take_while(|byte| byte.is_ascii_digit()).fold(0u64, |n, digit| {
                        n.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
                    });
                sum = sum.saturating_add(exponent);
            }
            _ => {}
        }
        at += 1;
    }
    sum
}

#[derive(serde::Deserialize)]
struct Revisions {
    start: u64,
    ids: Vec<String>,
}

pub fn revision_id(text: &str) -> Result<RevisionId, Refusal> {
    RevisionId::parse(text).map_err(|_| Refusal::bad_request("Invalid rev format"))
}

/// Whether an id is one that documents may have.
pub fn check_id(id: &str) -> Result<(), Refusal> {
    let illegal = |reason: &str| {
        Err(Refusal::new(StatusCode::BAD_REQUEST, "illegal_docid", reason.to_owned()))
    };
    if id.starts_with("_design/") {
        return Err(no_functions());
    }
    if id.is_empty() {
        return illegal("Document id must not be empty");
    }
    if id.starts_with('_') {
        return illegal("Only reserved document ids may start with underscore.");
    }
    if id.len() > revision::ID_BYTES_MAX {
        return illegal("Document id is too long");
    }
    if id.contains('\0') {
        return illegal("Document id must not hold U+0000");
    }
    Ok(())
}

/// What stands for views, filters, validation, lists and shows.
pub fn no_functions() -> Refusal {
    Refusal::new(
        StatusCode::NOT_IMPLEMENTED,
        "not_implemented",
        "There are no design documents here: use _find or SQL for views, selectors for filters, and constraints, \
         triggers or row-level security for validate_doc_update.",
    )
}

impl Document {
    pub fn parse(json: &RawValue) -> Result<Self, Refusal> {
        if deep::depth(json.get().as_bytes()) > deep::BRACKETS_DEEP_MAX {
            return Err(Refusal::bad_request("Document is nested too deep"));
        }
        if exponents(json.get()) > EXPONENTS_MAX {
            return Err(Refusal::bad_request("Document has numbers of too many digits"));
        }
        let members: BTreeMap<String, &RawValue> = serde_json::from_str(json.get())
            .map_err(|_| Refusal::bad_request("Document must be a JSON object"))?;
        let mut document = Document::default();
        for (name, value) in members {
            if name.contains('\0') {
                return Err(Refusal::bad_request(format!("member {name:?}: a name holds U+0000")));
            }
            match name.strip_prefix('_') {
                Some(special) => document.take_special(special, value)?,
                None => {
                    let fault = |error| Refusal::bad_request(format!("member {name:?}: {error}"));
                    let value = revision::from_raw_json(value).map_err(fault)?;
                    document.members.insert(name, value);
                }
            }
        }
        document.check_line()?;
        Ok(document)
    }

    pub fn tombstone() -> Self {
        Document { deleted: true, ..Document::default() }
    }

    fn take_special(&mut self, name: &str, value: &RawValue) -> Result<(), Refusal> {
        let invalid = |reason: &str| {
            Refusal::new(StatusCode::BAD_REQUEST, "doc_validation", reason.to_owned())
        };
        match name {
            "id" => {
                let id = serde_json::from_str(value.get());
                let fault = |_| {
                    let reason = "Document id must be a string";
                    Refusal::new(StatusCode::BAD_REQUEST, "illegal_docid", reason)
                };
                self.id = Some(id.map_err(fault)?);
            }
            "rev" => {
                let text: Option<String> = serde_json::from_str(value.get())
                    .map_err(|_| Refusal::bad_request("Invalid rev format"))?;
                self.revision = text.as_deref().map(revision_id).transpose()?;
            }
            "deleted" => {
                self.deleted = serde_json::from_str(value.get())
                    .map_err(|_| invalid("_deleted is true or false"))?;
            }
            "revisions" => {
                let said: Revisions = serde_json::from_str(value.get())
                    .map_err(|_| invalid("_revisions has a number start and strings ids"))?;
                self.revisions = Some(line(&said)?);
            }
            "attachments" => (self.attachments, self.following) = attachment::read(value)?,
            // What a read has added.
            "revs_info" | "conflicts" | "deleted_conflicts" | "local_seq" => {}
            other => return Err(invalid(&format!("Bad special document member: _{other}"))),
        }
        Ok(())
    }

    /// The revision and its line say the same.
    fn check_line(&mut self) -> Result<(), Refusal> {
        let Some(line) = &self.revisions else { return Ok(()) };
        match (&self.revision, line.first()) {
            (Some(revision), Some(first)) if revision != first => Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                "doc_validation",
                "_rev is not what _revisions begins with",
            )),
            (_, first) => {
                self.revision = first.cloned();
                Ok(())
            }
        }
    }

    /// A record's revision as it is edited, with other attachments.
    pub fn of_record(record: Option<Record>, attached: Value) -> Self {
        let (revision, members) = match record {
            Some(record) => (record.revision, record.attributes),
            None => (None, Attributes::new()),
        };
        let mut document = Document { revision, members, ..Document::default() };
        document.attach(attached);
        document
    }

    /// Says what the document has attached, of which all is kept by now.
    pub fn attach(&mut self, attached: Value) {
        match attached {
            Value::Map(none) if none.is_empty() => self.members.remove(attachment::ATTRIBUTE),
            attached => self.members.insert(attachment::ATTRIBUTE.into(), attached),
        };
    }

    pub fn following(&mut self) -> Vec<String> {
        std::mem::take(&mut self.following)
    }

    /// The generation of the revision that this is, or that it is to make.
    pub fn generation(&self, is_edit: bool) -> u64 {
        let said = self.revision.as_ref().map_or(0, RevisionId::generation);
        said + u64::from(is_edit)
    }

    /// As a revision that another peer has made.
    pub fn replicated(self, id: String, columns: &Columns) -> Record {
        let revisions =
            self.revisions.or_else(|| self.revision.clone().map(|revision| vec![revision]));
        Record {
            id,
            table: None,
            revision: self.revision,
            deleted: self.deleted,
            attributes: attributes(self.members, columns),
            revisions,
            conflicts: None,
        }
    }

    /// As an edit, which says all that is to be in the row: a column that the document leaves out becomes null.
    pub fn edited(self, id: String, columns: &Columns) -> Record {
        let mut attributes = attributes(self.members, columns);
        if self.revision.is_some() && !self.deleted {
            let left_out = columns
                .iter()
                .filter(|(_, column)| !column.is_required && !column.is_generated)
                .filter(|(name, _)| !attributes.contains_key(*name))
                .map(|(name, _)| (name.clone(), Value::Null));
            let left_out: Vec<_> = left_out.collect();
            attributes.extend(left_out);
        }
        let (revision, deleted) = (self.revision, self.deleted);
        Record { id, table: None, revision, deleted, attributes, revisions: None, conflicts: None }
    }
}

fn line(said: &Revisions) -> Result<Vec<RevisionId>, Refusal> {
    let fault = || Refusal::bad_request("Invalid rev format");
    let revision = |(place, hash): (u64, &String)| {
        let generation = said.start.checked_sub(place).ok_or_else(fault)?;
        RevisionId::new(generation, hash).map_err(|_| fault())
    };
    (0..).zip(&said.ids).map(revision).collect()
}

fn attributes(mut members: BTreeMap<String, Value>, columns: &Columns) -> Attributes {
    members.remove(MERGED);
    let is_hidden = |name: &&String| {
        name.strip_prefix(COLUMN)
            .is_some_and(|name| name.starts_with('_') && columns.contains_key(name))
    };
    let hidden: Vec<String> = members.keys().filter(is_hidden).cloned().collect();
    for mut name in hidden {
        if let Some(value) = members.remove(&name) {
            members.insert(name.split_off(COLUMN.len()), value);
        }
    }
    for (name, value) in &mut members {
        if let Some(column) = columns.get(name) {
            *value = typed(&column.kind, std::mem::replace(value, Value::Null));
        }
    }
    members
}

/// A plain value as a column of this kind stores it, where nothing is lost by that.
fn typed(kind: &Kind, plain: Value) -> Value {
    let made = match (kind, &plain) {
        (Kind::Int, Value::String(text)) => text.parse().ok().map(Value::Int),
        (Kind::Float, Value::Int(number)) => Some(Value::Float(*number as f64)),
        (Kind::Float, Value::Decimal(text)) => text.parse().ok().map(Value::Float),
        (Kind::Float, Value::String(text)) => of_wire("float", text),
        (Kind::Decimal, Value::Int(number)) => Some(Value::Decimal(number.to_string())),
        (Kind::Decimal, Value::String(text)) => of_wire("decimal", text),
        (Kind::Bytes, Value::String(text)) => of_wire("bytes", text),
        (Kind::Date, Value::String(text)) => of_wire("date", text),
        (Kind::Timestamp, Value::String(text)) if !text.ends_with('Z') => {
            of_wire("timestamp", text)
        }
        (Kind::Timestamptz, Value::String(text)) if text.ends_with('Z') => {
            of_wire("timestamp", text)
        }
        (Kind::List(inner), Value::List(items)) => {
            let typed = |item: &Value| typed(of_item(kind, inner, item), item.clone());
            Some(Value::List(items.iter().map(typed).collect()))
        }
        _ => None,
    };
    match made {
        Some(made) if plain_value(Some(kind), &made) == plain_value(None, &plain) => made,
        _ => plain,
    }
}

fn of_wire(kind: &str, text: &str) -> Option<Value> {
    Value::from_wire(&serde_json::json!({ kind: text })).ok()
}

/// A value as plain JSON. What a column stores comes so that clients whose numbers are doubles keep it: numbers that
/// a double can't hold are strings. What no column stores comes as it was sent.
fn plain_value(kind: Option<&Kind>, value: &Value) -> Json {
    let number = |text: &str| match text.parse::<serde_json::Number>() {
        Ok(number) => Json::Number(number),
        Err(_) => text.into(),
    };
    match (kind, value) {
        (_, Value::Null) => Json::Null,
        (_, Value::Bool(value)) => (*value).into(),
        (Some(Kind::Int), Value::Int(value)) if value.unsigned_abs() > SAFE_INTEGER => {
            value.to_string().into()
        }
        (_, Value::Int(value)) => (*value).into(),
        (_, Value::Float(value)) => number(&revision::float_text(*value)),
        (Some(Kind::Decimal), Value::Decimal(text)) if !is_safe(text) => text.as_str().into(),
        (_, Value::Decimal(text)) => number(text),
        (Some(kind @ Kind::List(inner)), Value::List(items)) => {
            items.iter().map(|item| plain_value(Some(of_item(kind, inner, item)), item)).collect()
        }
        (_, Value::List(items)) => items.iter().map(|item| plain_value(None, item)).collect(),
        (_, Value::Map(members)) => {
            let member =
                |(name, value): (&String, &Value)| (name.clone(), plain_value(None, value));
            members.iter().map(member).collect()
        }
        (_, scalar) => scalar.wire_text().unwrap_or_default().into(),
    }
}

/// What an item of an array holds: in an array of more dimensions, items are arrays of the same type.
fn of_item<'a>(list: &'a Kind, inner: &'a Kind, item: &Value) -> &'a Kind {
    if matches!(item, Value::List(_)) { list } else { inner }
}

/// Whether a double gives back these digits, but for zeros at their end.
fn is_safe(decimal: &str) -> bool {
    let digits: String = decimal.chars().filter(char::is_ascii_digit).collect();
    digits.trim_matches('0').len() <= SAFE_DIGITS && digits.len() <= 300
}

/// A record as a document, its attachments as stubs; what is asked for beside that is added by who asks.
pub fn write(record: &Record, columns: &Columns) -> Map<String, Json> {
    let mut out = Map::new();
    out.insert("_id".into(), record.id.clone().into());
    if let Some(revision) = &record.revision {
        out.insert("_rev".into(), revision.to_string().into());
    }
    if record.deleted {
        out.insert("_deleted".into(), true.into());
    }
    out.extend(members(&record.attributes, columns));
    let attached = attachment::of(&record.attributes);
    if !attached.is_empty() {
        let stubs: Map<String, Json> =
            attached.iter().map(|(name, one)| (name.clone(), one.stub())).collect();
        out.insert(attachment::ATTRIBUTE.into(), stubs.into());
    }
    out
}

fn members(attributes: &Attributes, columns: &Columns) -> impl Iterator<Item = (String, Json)> {
    let is_shown = |name: &str| name != MERGED && name != attachment::ATTRIBUTE;
    attributes.iter().filter(move |(name, _)| is_shown(name)).map(|(name, value)| {
        let kind = columns.get(name).map(|column| &column.kind);
        let name = if name.starts_with('_') { format!("{COLUMN}{name}") } else { name.clone() };
        (name, plain_value(kind, value))
    })
}

/// A revision's ancestry in CouchDB's form.
pub fn revisions(line: &[RevisionId]) -> Json {
    let ids: Vec<&str> = line.iter().map(RevisionId::token).collect();
    let start = line.first().map_or(0, RevisionId::generation);
    serde_json::json!({"start": start, "ids": ids})
}

/// A document as it comes back that was sent so; for tests/parsers.
pub fn round(json: &RawValue, columns: &Columns) -> Option<Json> {
    let mut document = Document::parse(json).ok()?;
    let id = document.id.take()?;
    Some(write(&document.replicated(id, columns), columns).into())
}

#[cfg(test)]
mod tests {
    use super::super::columns::of_every_kind;
    use super::*;

    #[test]
    fn what_is_sent_comes_back_whatever_the_columns_are() {
        let columns = of_every_kind();
        for value in [
            "1",
            "-1",
            "\"9007199254740993\"",
            "\"7\"",
            "12.50",
            "1e3",
            "-0",
            "0.1",
            "\"12.50\"",
            "\"123456789012345678.5\"",
            "\"NaN\"",
            "null",
            "true",
            "\"aGVsbG8=\"",
            "\"2026-01-05\"",
            "\"2026-01-05T10:00:00Z\"",
            "\"2026-01-05T10:00:00.000000Z\"",
            "[1,\"9007199254740993\"]",
            "{\"a\":[1.50,9007199254740993]}",
        ] {
            for name in columns.keys().map(String::as_str).chain(["none"]) {
                let sent = format!("{{\"_id\":\"a\",{}:{value}}}", Json::from(name));
                let back = round(&RawValue::from_string(sent.clone()).unwrap(), &columns).unwrap();
                let sent: Json = serde_json::from_str(&sent).unwrap();
                // Numbers without a column are written without exponents and signs of nothing.
                let is_same = back == sent || matches!(value, "1e3" | "-0");
                assert!(is_same, "{name}: {sent} came back as {back}");
            }
        }
    }

    #[test]
    fn short_ways_to_say_long_numbers_are_bounded() {
        let parse = |json: &str| Document::parse(&RawValue::from_string(json.into()).unwrap());
        let many = format!("{{\"a\":[{}]}}", ["1e131071"; 10].join(","));
        assert!(parse(&many).is_err());
        assert!(parse(r#"{"a":[1e308,-1E-300,"e99999999",1e+5],"e9999999":"1e9999999"}"#).is_ok());
    }

    #[test]
    fn numbers_that_a_double_would_damage_are_strings_where_a_column_keeps_them() {
        let columns = of_every_kind();
        for (name, sent, back) in [
            ("integer", "9007199254740993", "\"9007199254740993\""),
            ("numeric", "123456789012345678.5", "\"123456789012345678.5\""),
            ("bigint[]", "[[9007199254740993]]", "[[\"9007199254740993\"]]"),
            ("jsonb", "9007199254740993", "9007199254740993"),
            ("none", "9007199254740993", "9007199254740993"),
        ] {
            let sent = format!("{{\"_id\":\"a\",\"{name}\":{sent}}}");
            let round = round(&RawValue::from_string(sent).unwrap(), &columns).unwrap();
            assert_eq!(round[name].to_string(), back, "{name}");
        }
    }
}
