//! In charge of reading values from the wire as they come, without a tree of JSON in between.
//!
//! What is wrong with a value is an outcome here and no error of the parser's, whose message would say where in the
//! text it stands: the rest of the value is read and dropped, and whoever reads the record says which attribute it is.

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use crate::value::{DEPTH_MAX, Value, ValueError, check_text};
use crate::wire::{KINDS, NUMBER, scalar, wrong_member};

type Outcome = Result<Value, ValueError>;

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        At { depth: 1 }.deserialize(deserializer)?.map_err(D::Error::custom)
    }
}

/// Attributes by name, for serde's `deserialize_with`; a name that comes twice is refused, as in
/// every object on the wire.
pub fn attributes<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, Value>, D::Error> {
    deserializer.deserialize_any(Attributes)
}

/// A value at some depth; the outermost is at 1.
#[derive(Clone, Copy)]
struct At {
    depth: usize,
}

/// The members of a value that are no value themselves.
struct Scalar(&'static str);
struct List(At);
struct Map(At);
struct Attributes;

/// A kind, or a name that is none.
struct Kind;

/// Whatever else may stand in a visitor's place in JSON, with one outcome for all of it.
macro_rules! otherwise {
    ($outcome:expr; $($method:ident: $type:ty),*) => {
        $(fn $method<E: serde::de::Error>(self, _: $type) -> Result<Self::Value, E> {
            $outcome(&self)
        })*
        fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
            $outcome(&self)
        }
    };
}

fn drop_items<'de, A: SeqAccess<'de>>(mut items: A) -> Result<(), A::Error> {
    while items.next_element::<IgnoredAny>()?.is_some() {}
    Ok(())
}

fn drop_members<'de, A: MapAccess<'de>>(mut members: A) -> Result<(), A::Error> {
    while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(())
}

impl<'de> DeserializeSeed<'de> for At {
    type Value = Outcome;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Outcome, D::Error> {
        if self.depth > DEPTH_MAX {
            IgnoredAny::deserialize(deserializer)?;
            return Ok(Err(ValueError::Depth));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for At {
    type Value = Outcome;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a value in wire form")
    }

    otherwise!(|_| Ok(Err(ValueError::Shape)); visit_bool: bool, visit_i64: i64, visit_u64: u64,
               visit_f64: f64, visit_str: &str);

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Outcome, A::Error> {
        drop_items(items)?;
        Ok(Err(ValueError::Shape))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Outcome, A::Error> {
        let Some(kind) = members.next_key_seed(Kind)? else { return Ok(Err(ValueError::Shape)) };
        let inside = At { depth: self.depth + 1 };
        let outcome = match &kind {
            Ok("list") => members.next_value_seed(List(inside))?,
            Ok("map") => members.next_value_seed(Map(inside))?,
            Ok(kind) => members.next_value_seed(Scalar(kind))?,
            Err(other) => {
                members.next_value::<IgnoredAny>()?;
                // A bare number comes so, where numbers keep every digit.
                if other == NUMBER { Err(ValueError::Shape) } else { Err(wrong_member(other)) }
            }
        };
        match members.next_key_seed(Kind)? {
            None => Ok(outcome),
            Some(second) => {
                members.next_value::<IgnoredAny>()?;
                drop_members(members)?;
                Ok(Err(match second {
                    Ok(name) if kind == second => ValueError::Twice(name.to_owned()),
                    Err(name) if kind.as_ref() == Err(&name) => ValueError::Twice(name),
                    _ => ValueError::Shape,
                }))
            }
        }
    }
}

impl<'de> DeserializeSeed<'de> for Kind {
    type Value = Result<&'static str, String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Kind {
    type Value = Result<&'static str, String>;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a kind")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        let known = KINDS.iter().find(|(kind, _)| *kind == name);
        Ok(known.map(|(kind, _)| *kind).ok_or_else(|| name.to_owned()))
    }
}

impl<'de> DeserializeSeed<'de> for Scalar {
    type Value = Outcome;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Outcome, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Scalar {
    type Value = Outcome;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a scalar in wire form")
    }

    otherwise!(|scalar: &Scalar| Ok(Err(wrong_member(scalar.0))); visit_i64: i64, visit_u64: u64,
               visit_f64: f64);

    fn visit_bool<E>(self, value: bool) -> Result<Outcome, E> {
        Ok(if self.0 == "null" && value { Ok(Value::Null) } else { Err(wrong_member(self.0)) })
    }

    fn visit_str<E>(self, text: &str) -> Result<Outcome, E> {
        Ok(scalar(self.0, text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Outcome, A::Error> {
        drop_items(items)?;
        Ok(Err(wrong_member(self.0)))
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Outcome, A::Error> {
        drop_members(members)?;
        Ok(Err(wrong_member(self.0)))
    }
}

impl<'de> DeserializeSeed<'de> for List {
    type Value = Outcome;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Outcome, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for List {
    type Value = Outcome;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("an array of values")
    }

    otherwise!(|_| Ok(Err(wrong_member("list"))); visit_bool: bool, visit_i64: i64, visit_u64: u64,
               visit_f64: f64, visit_str: &str);

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Outcome, A::Error> {
        let mut out = Ok(Vec::new());
        while let Some(item) = items.next_element_seed(self.0)? {
            match (&mut out, item) {
                (Ok(out), Ok(item)) => out.push(item),
                (Ok(_), Err(error)) => out = Err(error),
                (Err(_), _) => {}
            }
        }
        Ok(out.map(Value::List))
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Outcome, A::Error> {
        drop_members(members)?;
        Ok(Err(wrong_member("list")))
    }
}

impl<'de> DeserializeSeed<'de> for Map {
    type Value = Outcome;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Outcome, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Map {
    type Value = Outcome;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("an object of values")
    }

    otherwise!(|_| Ok(Err(wrong_member("map"))); visit_bool: bool, visit_i64: i64, visit_u64: u64,
               visit_f64: f64, visit_str: &str);

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Outcome, A::Error> {
        drop_items(items)?;
        Ok(Err(wrong_member("map")))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Outcome, A::Error> {
        let mut out = BTreeMap::new();
        let mut wrong = None;
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(self.0)?;
            if name == NUMBER && value == Err(ValueError::Shape) && out.is_empty() {
                wrong = wrong.or(Some(wrong_member("map")));
                continue;
            }
            let added = check_text(&name).and(value).and_then(|value| add(&mut out, name, value));
            wrong = wrong.or(added.err());
        }
        Ok(wrong.map_or(Ok(Value::Map(out)), Err))
    }
}

fn add(out: &mut BTreeMap<String, Value>, name: String, value: Value) -> Result<(), ValueError> {
    match out.entry(name) {
        Entry::Occupied(there) => Err(ValueError::Twice(there.key().clone())),
        Entry::Vacant(place) => {
            place.insert(value);
            Ok(())
        }
    }
}

impl<'de> Visitor<'de> for Attributes {
    type Value = BTreeMap<String, Value>;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("an object of attributes")
    }

    otherwise!(|_| Err(E::custom(NO_ATTRIBUTES)); visit_bool: bool, visit_i64: i64, visit_u64: u64,
               visit_f64: f64, visit_str: &str);

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
        Err(A::Error::custom(NO_ATTRIBUTES))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut out = BTreeMap::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(At { depth: 1 })?;
            if name == NUMBER && value == Err(ValueError::Shape) {
                return Err(A::Error::custom(NO_ATTRIBUTES));
            }
            let value = check_text(&name)
                .and(value)
                .map_err(|error| A::Error::custom(format!("attribute {name:?}: {error}")))?;
            add(&mut out, name, value).map_err(A::Error::custom)?;
        }
        Ok(out)
    }
}

const NO_ATTRIBUTES: &str = "attributes is a JSON object";
