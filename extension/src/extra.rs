//! In charge of `_extra`: what a revision says that the table's columns can't hold.
//!
//! The column is a JSON object from attribute names to wire values that stand over the columns: an
//! attribute that the table has no column for, or one whose value a column would store otherwise
//! than it came (`{"string": "7"}` in an integer column). An empty object stands for an attribute
//! that the revision doesn't have though the table has the column. So a revision is always
//! given back exactly as it was hashed.

use pgrx::pg_sys;
use pgrx::prelude::*;
use revision::{Attributes, Value};
use std::collections::BTreeMap;

use crate::error::Error;
use crate::form::{self, Writer};
use crate::jsonb::Jsonb;
use crate::shape::Shape;

#[derive(Default, Clone, PartialEq)]
pub struct Extra {
    /// By attribute name; `None` is an attribute that the revision does not have.
    pub attributes: BTreeMap<String, Option<Value>>,
    /// Another system made the revision: its hash is not ours to check.
    pub foreign: bool,
}

/// Stands among the attributes as the JSON `true`, which no wire value is; where one of them has this name, under that
/// with as many more underscores before it as it takes.
const FOREIGN: &str = "_foreign";
/// Room for what a document of a few members takes, so that most aren't moved while they are written.
const BYTES_USUAL: usize = 512;

/// The same of a revision that is at hand, attributes in any order.
#[derive(Default)]
pub struct Beside<'a> {
    pub attributes: Vec<(&'a str, Option<&'a Value>)>,
    pub foreign: bool,
}

impl Beside<'_> {
    /// The column's value, a jsonb; nothing to say is null.
    pub fn write(&self) -> Option<pg_sys::Datum> {
        if self.attributes.is_empty() && !self.foreign {
            return None;
        }
        let mut mark = FOREIGN.to_owned();
        while self.attributes.iter().any(|(name, _)| *name == mark) {
            mark.insert(0, '_');
        }
        let named = self.attributes.iter().map(|(name, value)| (*name, Some(*value)));
        let marked = self.foreign.then_some((mark.as_str(), None));
        let members: Vec<_> = named.chain(marked).collect();
        let mut out = Vec::with_capacity(BYTES_USUAL);
        Jsonb::on(&mut out).members(&members, |out, value| match value {
            Some(Some(value)) => form::write_value(value, out),
            Some(None) => form::write_attributes(&Attributes::new(), out),
            None => out.truth(),
        });
        out.as_slice().into_datum()
    }
}

impl Extra {
    pub fn read(json: &serde_json::Value) -> Result<Extra, Error> {
        let members = json.as_object().ok_or_else(|| broken("is not an object"))?;
        let read = |value: &serde_json::Value| match value.as_object() {
            Some(empty) if empty.is_empty() => Ok(None),
            _ => Value::from_wire(value).map(Some).map_err(|error| broken(&error.to_string())),
        };
        let foreign = members.values().any(|value| *value == serde_json::Value::Bool(true));
        let attributes: Result<_, Error> = members
            .iter()
            .filter(|(_, value)| !value.is_boolean())
            .map(|(name, value)| Ok((name.clone(), read(value)?)))
            .collect();
        Ok(Extra { attributes: attributes?, foreign })
    }

    /// The column's value.
    pub fn write(&self) -> Option<pg_sys::Datum> {
        let attributes =
            self.attributes.iter().map(|(name, value)| (name.as_str(), value.as_ref()));
        Beside { attributes: attributes.collect(), foreign: self.foreign }.write()
    }

    /// Puts what is kept here over what the columns say.
    pub fn lay_over(&self, attributes: &mut Attributes) {
        for (name, value) in &self.attributes {
            match value {
                Some(value) => attributes.insert(name.clone(), value.clone()),
                None => attributes.remove(name),
            };
        }
    }

    /// What an UPDATE in plain SQL leaves standing: attributes without a column, and those whose
    /// column it did not change.
    pub fn carried(&self, shape: &Shape, changed: impl Fn(&str) -> bool) -> Extra {
        // Of what a revision was merged its children say nothing.
        let keep = |name: &String| {
            name != revision::merge::MERGED
                && shape.column_for(name).is_none_or(|column| !changed(&column.name))
        };
        let attributes = self
            .attributes
            .iter()
            .filter(|(name, _)| keep(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        Extra { attributes, foreign: false }
    }
}

fn broken(reason: &str) -> Error {
    Error::Internal(format!("a twin's _extra {reason}"))
}
