//! In charge of `_extra`: what a revision says that the table's columns can't hold.
//!
//! The column is a JSON object from attribute names to wire values that stand over the columns: an
//! attribute that the table has no column for, or one whose value a column would store otherwise
//! than it came (`{"string": "7"}` in an integer column). An empty object stands for an attribute
//! that the revision doesn't have though the table has the column. So a revision is always
//! given back exactly as it was hashed.

use revision::{Attributes, Value};
use std::collections::BTreeMap;

use crate::error::Error;
use crate::shape::Shape;

/// By attribute name; `None` is an attribute that the revision does not have.
#[derive(Default, Clone, PartialEq)]
pub struct Extra(pub BTreeMap<String, Option<Value>>);

impl Extra {
    pub fn read(json: &serde_json::Value) -> Result<Extra, Error> {
        let members = json.as_object().ok_or_else(|| broken("is not an object"))?;
        let read = |value: &serde_json::Value| match value.as_object() {
            Some(empty) if empty.is_empty() => Ok(None),
            _ => Value::from_wire(value).map(Some).map_err(|error| broken(&error.to_string())),
        };
        let members: Result<_, Error> =
            members.iter().map(|(name, value)| Ok((name.clone(), read(value)?))).collect();
        members.map(Extra)
    }

    /// The column's value; nothing to say is null.
    pub fn write(&self) -> Option<serde_json::Value> {
        if self.0.is_empty() {
            return None;
        }
        let wire = |value: &Option<Value>| match value {
            Some(value) => value.to_wire(),
            None => serde_json::Value::Object(Default::default()),
        };
        Some(self.0.iter().map(|(name, value)| (name.clone(), wire(value))).collect())
    }

    /// Puts what is kept here over what the columns say.
    pub fn lay_over(&self, attributes: &mut Attributes) {
        for (name, value) in &self.0 {
            match value {
                Some(value) => attributes.insert(name.clone(), value.clone()),
                None => attributes.remove(name),
            };
        }
    }

    /// What an UPDATE in plain SQL leaves standing: attributes without a column, and those whose
    /// column it did not change.
    pub fn carried(&self, shape: &Shape, changed: impl Fn(&str) -> bool) -> Extra {
        let keep =
            |name: &String| shape.column_for(name).is_none_or(|column| !changed(&column.name));
        Extra(
            self.0
                .iter()
                .filter(|(name, _)| keep(name))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        )
    }
}

fn broken(reason: &str) -> Error {
    Error::Internal(format!("a twin's _extra {reason}"))
}
