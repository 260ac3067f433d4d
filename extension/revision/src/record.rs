//! In charge of the record on the wire (DESIGN.md section 2).

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

use crate::id::RevisionId;
use crate::read;
use crate::value::Attributes;

/// An index entry of Postgres fails above 2,704 bytes; this leaves room for the revision beside it.
pub const ID_BYTES_MAX: usize = 1024;

/// One revision of a record, as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
// "Self" makes what is derived functions of Record's own, so that the traits can stand before them.
#[serde(deny_unknown_fields, remote = "Self")]
pub struct Record {
    pub id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<RevisionId>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
    #[serde(default, deserialize_with = "read::attributes")]
    pub attributes: Attributes,
    /// Its ancestry, itself first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revisions: Option<Vec<RevisionId>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conflicts: Option<Vec<RevisionId>>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("the record id is empty")]
    NoId,
    #[error("the record id has {0} bytes; at most {ID_BYTES_MAX} are taken")]
    LongId(usize),
    #[error("the record id holds U+0000")]
    NulId,
    #[error("revisions must begin with the revision itself")]
    Head,
    #[error(
        "in revisions {parent} can't follow {child}: each is one generation below the one before"
    )]
    Line { child: RevisionId, parent: RevisionId },
}

impl Record {
    /// The revision that this one was made from, as far as its ancestry says.
    pub fn previous(&self) -> Option<&RevisionId> {
        self.revisions.as_ref()?.get(1)
    }

    /// What can be checked without knowing anything else.
    pub fn check(&self) -> Result<(), RecordError> {
        match self.id.len() {
            0 => return Err(RecordError::NoId),
            1..=ID_BYTES_MAX => {}
            length => return Err(RecordError::LongId(length)),
        }
        if self.id.contains('\0') {
            return Err(RecordError::NulId);
        }
        let Some(revisions) = &self.revisions else { return Ok(()) };
        if revisions.is_empty() || revisions.first() != self.revision.as_ref() {
            return Err(RecordError::Head);
        }
        for pair in revisions.windows(2) {
            if pair[1].generation() + 1 != pair[0].generation() {
                let (child, parent) = (pair[0].clone(), pair[1].clone());
                return Err(RecordError::Line { child, parent });
            }
        }
        Ok(())
    }
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Record::serialize(self, serializer)
    }
}

/// A record is a JSON object; what serde derives would take an array of its members as well.
impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RecordVisitor)
    }
}

struct RecordVisitor;

impl<'de> Visitor<'de> for RecordVisitor {
    type Value = Record;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a record, which is a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
        Record::deserialize(MapAccessDeserializer::new(members))
    }
}
