//! In charge of selectors (CouchDB's documentation, `_find`, "Selector Syntax"): read once, matched against documents.

use axum::http::StatusCode;
use regex::Regex;
use serde_json::value::RawValue;
use serde_json::{Map, Value as Json};
use std::cmp::Ordering;

use super::error::Refusal;

/// Selectors nested deeper are nobody's.
const DEPTH_MAX: usize = 32;
/// What a compiled regular expression may take, in bytes, and how many there may be.
const REGEX_BYTES_MAX: usize = 1 << 20;
const REGEXES_MAX: usize = 32;
/// Conditions and the values in their lists.
const PARTS_MAX: usize = 10_000;

#[derive(Debug, Clone)]
pub struct Selector(Node);

#[derive(Debug, Clone)]
enum Node {
    And(Vec<Node>),
    Or(Vec<Node>),
    Nor(Vec<Node>),
    Not(Box<Node>),
    /// A member, by its path, and what is asked of it.
    Field(Vec<String>, Box<Node>),
    Compare(Compare, Json),
    In(Vec<Json>),
    NotIn(Vec<Json>),
    All(Vec<Json>),
    Exists(bool),
    Type(String),
    Size(usize),
    Mod(i64, i64),
    Regex(Regex),
    BeginsWith(String),
    ElementMatch(Box<Node>),
    AllMatch(Box<Node>),
    KeyMatch(Box<Node>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Of a member: one comparison, or that it is among these (or, where it is a list, has one of them).
pub enum Need<'a> {
    Compare(&'a str, Compare, &'a Json),
    In(&'a str, &'a [Json]),
}

fn fault(reason: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "invalid_operator", reason)
}

impl Selector {
    pub fn parse(json: &RawValue) -> Result<Self, Refusal> {
        let value: Json = serde_json::from_str(json.get())
            .map_err(|_| Refusal::bad_request("selector must be a JSON object"))?;
        let (parts, regexes) = count(&value);
        if parts > PARTS_MAX || regexes > REGEXES_MAX {
            let reason = format!(
                "a selector has at most {PARTS_MAX} conditions and values, and {REGEXES_MAX} of $regex"
            );
            return Err(Refusal::bad_request(reason));
        }
        let Json::Object(members) = value else {
            return Err(Refusal::bad_request("selector must be a JSON object"));
        };
        Ok(Selector(object(&members, 0)?))
    }

    pub fn matches(&self, document: &Json) -> bool {
        self.0.matches(Some(document))
    }

    /// What is asked of whole members and has to hold in any case, for whoever can find by an index.
    pub fn needs(&self) -> Vec<Need<'_>> {
        let mut found = Vec::new();
        self.0.collect(&mut found);
        found
    }
}

/// How many values there are in all, and how many regular expressions.
fn count(value: &Json) -> (usize, usize) {
    let sum = |(parts, regexes): (usize, usize), (more, others): (usize, usize)| {
        (parts + more, regexes + others)
    };
    match value {
        Json::Array(items) => items.iter().map(count).fold((1, 0), sum),
        Json::Object(members) => {
            let regexes = members.keys().filter(|name| *name == "$regex").count();
            members.values().map(count).fold((1, regexes), sum)
        }
        _ => (1, 0),
    }
}

/// What must hold of a value: operators, or of an object's members.
fn object(members: &Map<String, Json>, depth: usize) -> Result<Node, Refusal> {
    if depth > DEPTH_MAX {
        return Err(Refusal::bad_request("the selector is nested too deep"));
    }
    let mut nodes = Vec::new();
    for (name, value) in members {
        nodes.push(match name.strip_prefix('$') {
            Some(_) => operator(name, value, depth)?,
            None => {
                let inner = match value {
                    Json::Object(inner) if inner.is_empty() => {
                        Node::Compare(Compare::Equal, value.clone())
                    }
                    Json::Object(inner) => object(inner, depth + 1)?,
                    value => Node::Compare(Compare::Equal, value.clone()),
                };
                Node::Field(path(name), Box::new(inner))
            }
        });
    }
    Ok(if nodes.len() == 1 { nodes.remove(0) } else { Node::And(nodes) })
}

/// A path by its dots; `\.` is one that belongs to a name.
pub fn path(name: &str) -> Vec<String> {
    let mut parts = Vec::new();
    let mut part = String::new();
    let mut characters = name.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' if characters.peek() == Some(&'.') => {
                characters.next();
                part.push('.');
            }
            '.' => parts.push(std::mem::take(&mut part)),
            other => part.push(other),
        }
    }
    parts.push(part);
    parts
}

fn operator(name: &str, value: &Json, depth: usize) -> Result<Node, Refusal> {
    let bad = || fault(format!("Bad argument for operator {name}: {value}"));
    let list = || value.as_array().cloned().ok_or_else(bad);
    let each = || -> Result<Vec<Node>, Refusal> {
        list()?.iter().map(|item| object(item.as_object().ok_or_else(bad)?, depth + 1)).collect()
    };
    // A condition on a value, which may be a value itself.
    let inner = || -> Result<Box<Node>, Refusal> {
        Ok(Box::new(match value {
            Json::Object(members) => object(members, depth + 1)?,
            value => Node::Compare(Compare::Equal, value.clone()),
        }))
    };
    let compare = |how| Node::Compare(how, value.clone());
    Ok(match name {
        "$and" => Node::And(each()?),
        "$or" => Node::Or(each()?),
        "$nor" => Node::Nor(each()?),
        "$not" => Node::Not(inner()?),
        "$eq" => compare(Compare::Equal),
        "$ne" => compare(Compare::Unequal),
        "$lt" => compare(Compare::Less),
        "$lte" => compare(Compare::LessOrEqual),
        "$gt" => compare(Compare::Greater),
        "$gte" => compare(Compare::GreaterOrEqual),
        "$in" => Node::In(list()?),
        "$nin" => Node::NotIn(list()?),
        "$all" => Node::All(list()?),
        "$exists" => Node::Exists(value.as_bool().ok_or_else(bad)?),
        "$type" => {
            let kind = value.as_str().ok_or_else(bad)?;
            if !["null", "boolean", "number", "string", "array", "object"].contains(&kind) {
                return Err(bad());
            }
            Node::Type(kind.to_owned())
        }
        "$size" => {
            let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
            Node::Size(size.ok_or_else(bad)?)
        }
        "$mod" => match list()?.as_slice() {
            [divisor, remainder] => {
                let divisor = divisor.as_i64().filter(|divisor| *divisor != 0).ok_or_else(bad)?;
                Node::Mod(divisor, remainder.as_i64().ok_or_else(bad)?)
            }
            _ => return Err(bad()),
        },
        "$regex" => {
            let pattern = value.as_str().ok_or_else(bad)?;
            let made = regex::RegexBuilder::new(pattern).size_limit(REGEX_BYTES_MAX).build();
            Node::Regex(made.map_err(|error| fault(format!("$regex: {error}")))?)
        }
        "$beginsWith" => Node::BeginsWith(value.as_str().ok_or_else(bad)?.to_owned()),
        "$elemMatch" => Node::ElementMatch(inner()?),
        "$allMatch" => Node::AllMatch(inner()?),
        "$keyMapMatch" => Node::KeyMatch(inner()?),
        _ => return Err(fault(format!("Invalid operator: {name}"))),
    })
}

impl Node {
    /// Whether a value is as it is asked to be; a member that isn't there is no value, of which only `$exists` says
    /// something, and what turns it round.
    fn matches(&self, value: Option<&Json>) -> bool {
        let list = || value.and_then(Json::as_array);
        match self {
            Node::And(nodes) => nodes.iter().all(|node| node.matches(value)),
            Node::Or(nodes) => nodes.iter().any(|node| node.matches(value)),
            Node::Nor(nodes) => !nodes.iter().any(|node| node.matches(value)),
            Node::Not(node) => !node.matches(value),
            Node::Field(path, node) => {
                node.matches(path.iter().try_fold(value, |at, name| Some(at?.get(name))).flatten())
            }
            Node::Exists(wanted) => value.is_some() == *wanted,
            Node::Compare(how, other) => value.is_some_and(|value| how.holds(value, other)),
            Node::In(others) => value.is_some_and(|value| is_in(value, others)),
            Node::NotIn(others) => value.is_some_and(|value| !is_in(value, others)),
            Node::All(others) => list().is_some_and(|items| {
                !others.is_empty()
                    && others.iter().all(|other| items.iter().any(|item| same(item, other)))
            }),
            Node::Type(kind) => value.is_some_and(|value| type_of(value) == kind),
            Node::Size(size) => list().is_some_and(|items| items.len() == *size),
            Node::Mod(divisor, remainder) => value
                .and_then(Json::as_i64)
                .is_some_and(|value| value.checked_rem(*divisor) == Some(*remainder)),
            Node::Regex(regex) => value.and_then(Json::as_str).is_some_and(|t| regex.is_match(t)),
            Node::BeginsWith(start) => {
                value.and_then(Json::as_str).is_some_and(|text| text.starts_with(start))
            }
            Node::ElementMatch(node) => {
                list().is_some_and(|items| items.iter().any(|item| node.matches(Some(item))))
            }
            Node::AllMatch(node) => list().is_some_and(|items| {
                !items.is_empty() && items.iter().all(|item| node.matches(Some(item)))
            }),
            Node::KeyMatch(node) => value.and_then(Json::as_object).is_some_and(|members| {
                members.keys().any(|name| node.matches(Some(&name.as_str().into())))
            }),
        }
    }

    fn collect<'a>(&'a self, found: &mut Vec<Need<'a>>) {
        match self {
            Node::And(nodes) => nodes.iter().for_each(|node| node.collect(found)),
            Node::Field(path, node) => {
                let [name] = path.as_slice() else { return };
                let nodes = match node.as_ref() {
                    Node::And(nodes) => nodes.as_slice(),
                    one => std::slice::from_ref(one),
                };
                for node in nodes {
                    match node {
                        Node::Compare(how, value) => found.push(Need::Compare(name, *how, value)),
                        Node::In(values) => found.push(Need::In(name, values)),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
}

impl Compare {
    /// What is more or less than a value is of its type, as a column would have it; only of null everything else is more,
    /// for `{"$gt": null}` is how clients ask for whatever there is.
    fn holds(self, value: &Json, other: &Json) -> bool {
        let is_alike = type_of(value) == type_of(other) || other.is_null();
        let order = exact(value, other);
        match self {
            Compare::Equal => order == Ordering::Equal,
            Compare::Unequal => order != Ordering::Equal,
            Compare::Less => is_alike && order == Ordering::Less,
            Compare::LessOrEqual => is_alike && order != Ordering::Greater,
            Compare::Greater => is_alike && order == Ordering::Greater,
            Compare::GreaterOrEqual => is_alike && order != Ordering::Less,
        }
    }
}

/// Among these; of a list some item.
fn is_in(value: &Json, others: &[Json]) -> bool {
    match value {
        Json::Array(items) => others
            .iter()
            .any(|other| same(value, other) || items.iter().any(|item| same(item, other))),
        value => others.iter().any(|other| same(value, other)),
    }
}

fn type_of(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "boolean",
        Json::Number(_) => "number",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    }
}

fn same(one: &Json, other: &Json) -> bool {
    exact(one, other) == Ordering::Equal
}

/// As `order`, and integers to their last digit. Not for sorting: beside doubles it would run in circles.
fn exact(one: &Json, other: &Json) -> Ordering {
    match (one.as_i64(), other.as_i64()) {
        (Some(one), Some(other)) => one.cmp(&other),
        _ => order(one, other),
    }
}

/// CouchDB's order of JSON: null, false, true, numbers, strings, arrays, objects. Strings go by their bytes.
pub fn order(one: &Json, other: &Json) -> Ordering {
    let rank = |value: &Json| match value {
        Json::Null => 0,
        Json::Bool(false) => 1,
        Json::Bool(true) => 2,
        Json::Number(_) => 3,
        Json::String(_) => 4,
        Json::Array(_) => 5,
        Json::Object(_) => 6,
    };
    match (one, other) {
        (Json::Number(one), Json::Number(other)) => {
            // Beyond a double there is nothing but endless.
            let double = |number: &serde_json::Number| {
                number.to_string().parse::<f64>().unwrap_or(f64::NAN) + 0.0
            };
            double(one).total_cmp(&double(other))
        }
        (Json::String(one), Json::String(other)) => one.as_bytes().cmp(other.as_bytes()),
        (Json::Array(one), Json::Array(other)) => {
            let first = one.iter().zip(other).map(|(one, other)| order(one, other));
            first.into_iter().find(|order| order.is_ne()).unwrap_or(one.len().cmp(&other.len()))
        }
        (Json::Object(one), Json::Object(other)) => {
            let pairs = one.iter().zip(other);
            let first = pairs.map(|((name, value), (other_name, other_value))| {
                name.cmp(other_name).then_with(|| order(value, other_value))
            });
            first.into_iter().find(|order| order.is_ne()).unwrap_or(one.len().cmp(&other.len()))
        }
        (one, other) => rank(one).cmp(&rank(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn matches(selector: Json, document: Json) -> bool {
        let raw = RawValue::from_string(selector.to_string()).unwrap();
        Selector::parse(&raw).unwrap().matches(&document)
    }

    #[test]
    fn selectors_match_as_couchdb_documents_them() {
        let film = json!({
            "_id": "a", "title": "Ikiru", "year": 1952, "cast": ["Shimura", "Odagiri"],
            "imdb": {"rating": 8.3, "votes": 80000}, "a.b": 1, "none": null,
        });
        for selector in [
            json!({}),
            json!({"title": "Ikiru"}),
            json!({"year": {"$gt": 1950, "$lt": 1960}}),
            json!({"imdb": {"rating": 8.3}}),
            json!({"imdb.rating": {"$gte": 8.3}}),
            json!({"imdb": {"rating": {"$lte": 8.30}}}),
            json!({"a\\.b": 1}),
            json!({"none": null}),
            json!({"none": {"$exists": true}}),
            json!({"other": {"$exists": false}}),
            json!({"$or": [{"year": 1}, {"title": "Ikiru"}]}),
            json!({"$and": [{"year": 1952}, {"title": {"$regex": "^Ik"}}]}),
            json!({"$nor": [{"year": 1}, {"year": 2}]}),
            json!({"$not": {"year": 1}}),
            json!({"year": {"$not": {"$eq": 1}}}),
            json!({"year": {"$in": [1952, 1]}}),
            json!({"cast": {"$in": ["Odagiri"]}}),
            json!({"year": {"$nin": [1]}}),
            json!({"cast": {"$all": ["Odagiri", "Shimura"]}}),
            json!({"cast": {"$size": 2}}),
            json!({"cast": {"$elemMatch": {"$eq": "Odagiri"}}}),
            json!({"cast": {"$allMatch": {"$type": "string"}}}),
            json!({"imdb": {"$keyMapMatch": {"$eq": "votes"}}}),
            json!({"year": {"$mod": [2, 0]}}),
            json!({"title": {"$beginsWith": "Ik"}}),
            json!({"year": {"$ne": "1952"}}),
            json!({"title": {"$gt": null}}),
            json!({"none": {"$lte": null}}),
        ] {
            assert!(matches(selector.clone(), film.clone()), "{selector}");
        }
        for selector in [
            json!({"other": null}),
            json!({"other": {"$ne": 1}}),
            json!({"other": {"$nin": [1]}}),
            json!({"year": "1952"}),
            json!({"cast": {"$size": 1}}),
            json!({"cast": {"$all": []}}),
            json!({"title": {"$lt": 5}}),
            json!({"title": {"$gt": 5}}),
            json!({"none": {"$lt": 5}}),
            json!({"imdb": {}}),
        ] {
            assert!(!matches(selector.clone(), film.clone()), "{selector}");
        }
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for selector in [
            json!([]),
            json!({"a": {"$nope": 1}}),
            json!({"$and": {}}),
            json!({"a": {"$regex": "("}}),
            json!({"a": {"$mod": [0, 1]}}),
            json!({"a": {"$type": "thing"}}),
        ] {
            let raw = RawValue::from_string(selector.to_string()).unwrap();
            assert!(Selector::parse(&raw).is_err(), "{selector}");
        }
    }
}
