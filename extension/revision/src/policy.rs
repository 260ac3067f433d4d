//! In charge of what a table's owner says about conflicts: which are merged, and how.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What happens to branches of a record. By default they wait for somebody to decide.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    #[serde(default)]
    pub conflicts: Conflicts,
    /// For attributes that two branches may both have changed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, Rule>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Conflicts {
    /// The winner shows, the others wait.
    #[default]
    Keep,
    /// Attribute by attribute from the common ancestor.
    Fields,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// The sum of both differences, of `int` and `decimal`.
    Counter,
    /// Three-way, of lists as sets.
    Set,
    Max,
    Min,
    /// A function of (ancestor, ours, theirs) that the caller runs.
    Function(String),
}
