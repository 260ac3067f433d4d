//! In charge of values on the wire: a JSON object with one member, the kind, and a string.
//!
//! Reading is strict: a value that is not in its kind's one form would hash otherwise elsewhere.

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;

use crate::value::{DEPTH_MAX, Value, ValueError, check_text, float_text, form};

/// RFC 4648, section 4: the standard alphabet, padded; nothing else is read.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new());

impl Value {
    /// The string that a scalar kind has on the wire; a null, a list and a map have none.
    pub fn wire_text(&self) -> Option<String> {
        Some(match self {
            Value::Null | Value::List(_) | Value::Map(_) => return None,
            Value::Bool(value) => value.to_string(),
            Value::Int(value) => value.to_string(),
            Value::Float(value) => float_text(*value),
            Value::Bytes(bytes) => BASE64.encode(bytes),
            Value::Decimal(text)
            | Value::String(text)
            | Value::Date(text)
            | Value::Timestamp(text) => text.clone(),
        })
    }

    pub fn to_wire(&self) -> serde_json::Value {
        let member = match self {
            Value::Null => serde_json::Value::Bool(true),
            Value::List(items) => items.iter().map(Value::to_wire).collect(),
            Value::Map(members) => {
                members.iter().map(|(name, value)| (name.clone(), value.to_wire())).collect()
            }
            scalar => scalar.wire_text().unwrap_or_default().into(),
        };
        serde_json::Value::Object([(self.kind().to_owned(), member)].into_iter().collect())
    }

    pub fn from_wire(json: &serde_json::Value) -> Result<Value, ValueError> {
        read(json, 1)
    }
}

fn read(json: &serde_json::Value, depth: usize) -> Result<Value, ValueError> {
    if depth > DEPTH_MAX {
        return Err(ValueError::Depth);
    }
    let object = json.as_object().filter(|object| object.len() == 1).ok_or(ValueError::Shape)?;
    let (kind, member) = object.iter().next().ok_or(ValueError::Shape)?;
    match (kind.as_str(), member) {
        ("list", serde_json::Value::Array(items)) => {
            let items: Result<Vec<Value>, _> =
                items.iter().map(|item| read(item, depth + 1)).collect();
            Ok(Value::List(items?))
        }
        ("map", serde_json::Value::Object(members)) => {
            let mut out = BTreeMap::new();
            for (name, value) in members {
                check_text(name)?;
                out.insert(name.clone(), read(value, depth + 1)?);
            }
            Ok(Value::Map(out))
        }
        (kind, serde_json::Value::String(text)) => scalar(kind, text),
        ("null", serde_json::Value::Bool(true)) => Ok(Value::Null),
        (kind, _) => Err(wrong_member(kind)),
    }
}

pub(crate) fn wrong_member(kind: &str) -> ValueError {
    match KINDS.iter().find(|(name, _)| *name == kind) {
        Some((kind, takes)) => ValueError::Takes { kind, takes },
        None => ValueError::Kind(kind.chars().take(80).collect()),
    }
}

/// Each kind and what its member is.
pub(crate) const KINDS: [(&str, &str); 11] = [
    ("null", "true"),
    ("bool", "a string"),
    ("int", "a string"),
    ("float", "a string"),
    ("decimal", "a string"),
    ("string", "a string"),
    ("bytes", "a string"),
    ("date", "a string"),
    ("timestamp", "a string"),
    ("list", "an array of values"),
    ("map", "an object of values"),
];

/// A scalar from its wire string, which must be the one that the value is written as.
pub(crate) fn scalar(kind: &str, text: &str) -> Result<Value, ValueError> {
    let owned = || text.to_owned();
    let value = match kind {
        "bool" => text.parse().ok().map(Value::Bool),
        "int" => text.parse().ok().map(Value::Int),
        "float" => parse_float(text).map(Value::Float),
        "bytes" => BASE64.decode(text).ok().map(Value::Bytes),
        "decimal" => Some(Value::Decimal(owned())),
        "string" => Some(Value::String(owned())),
        "date" => Some(Value::Date(owned())),
        "timestamp" => Some(Value::Timestamp(owned())),
        _ => return Err(wrong_member(kind)),
    };
    let known = || KINDS.iter().find(|(name, _)| *name == kind).map_or("", |(name, _)| name);
    let value = value.ok_or_else(|| form(known(), text))?;
    value.check_form()?;
    // What is a text itself is as it came, and so is `true`.
    let may_differ = matches!(value, Value::Int(_) | Value::Float(_) | Value::Bytes(_));
    if may_differ && value.wire_text().as_deref() != Some(text) {
        return Err(form(known(), text));
    }
    Ok(value)
}

fn parse_float(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => text.parse().ok(),
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut object = serializer.serialize_map(Some(1))?;
        match self {
            Value::Null => object.serialize_entry(self.kind(), &true)?,
            Value::List(items) => object.serialize_entry(self.kind(), items)?,
            Value::Map(members) => object.serialize_entry(self.kind(), members)?,
            Value::Decimal(text)
            | Value::String(text)
            | Value::Date(text)
            | Value::Timestamp(text) => object.serialize_entry(self.kind(), text)?,
            scalar => object.serialize_entry(self.kind(), &scalar.wire_text())?,
        }
        object.end()
    }
}

/// Appends a JSON string.
pub fn write_text(text: &str, out: &mut Vec<u8>) {
    // A vector takes all that is written.
    let written = serde_json::to_writer(out, text);
    debug_assert!(written.is_ok(), "{written:?}");
}

/// JSON whose objects hold values in wire form, at whatever depth: a record, a list of records. Unlike
/// `serde_json::Value`'s own reader this one takes an attribute named `$serde_json::private::Number` for what it is.
pub fn parse(text: &str) -> Result<serde_json::Value, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let json = Strict.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(json)
}

/// The one member of what serde_json, when it keeps every digit, hands out for a number.
pub(crate) const NUMBER: &str = "$serde_json::private::Number";

/// Reads JSON in which no object has a member twice; parsers differ in which of the two they keep.
#[derive(Clone, Copy)]
struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = serde_json::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = serde_json::Value;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a value in wire form")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Self::Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(serde_json::Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut out = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            out.push(item);
        }
        Ok(out.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut out = serde_json::Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(self)?;
            // A value on the wire is never a bare string, so this can only be a number. It is no
            // value either; whoever looks for one says so.
            if let (NUMBER, serde_json::Value::String(digits)) = (name.as_str(), &value) {
                return Ok(digits
                    .parse()
                    .map_or(serde_json::Value::Null, serde_json::Value::Number));
            }
            if out.contains_key(&name) {
                return Err(A::Error::custom(ValueError::Twice(name)));
            }
            out.insert(name, value);
        }
        Ok(out.into())
    }
}
