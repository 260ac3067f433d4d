//! In charge of what the gateway's answers look like (docs/http.md).

use revision::{Attributes, Record, RevisionId};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// A revision's arrival in the database.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Change {
    pub sequence: i64,
    pub table: String,
    pub id: String,
    /// None where the record has left the reader's view.
    #[serde(default)]
    pub revision: Option<RevisionId>,
    #[serde(default)]
    pub deleted: bool,
    /// The record is none of the reader's any more, though nobody deleted it.
    #[serde(default)]
    pub left: bool,
    /// The record's winner when the answer was made.
    #[serde(default)]
    pub winner: Option<RevisionId>,
    /// What was asked to come along: the revision that has arrived, or the record as it is now.
    #[serde(default)]
    pub record: Option<Record>,
    /// All leaves, the winner first, where they were asked for.
    #[serde(default)]
    pub leaves: Vec<Leaf>,
}

/// A leaf of a changed record; bodies come where they were asked for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Leaf {
    pub revision: RevisionId,
    #[serde(default)]
    pub deleted: bool,
    #[serde(default, deserialize_with = "revision::attributes")]
    pub attributes: Attributes,
    /// Itself first, then its ancestry.
    #[serde(default)]
    pub revisions: Option<Vec<RevisionId>>,
}

/// A page of changes, and where to ask from next.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Page {
    pub changes: Vec<Change>,
    pub next: i64,
}

/// A page of anything else; `next` is none on the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paged<T, N> {
    pub items: Vec<T>,
    pub next: Option<N>,
}

/// What a put made.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Put {
    pub id: String,
    pub table: String,
    pub revision: RevisionId,
}

/// One revision of a record, in its history.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Version {
    pub revision: RevisionId,
    #[serde(default)]
    pub previous: Option<RevisionId>,
    #[serde(default)]
    pub deleted: bool,
    #[serde(default)]
    pub stub: bool,
    #[serde(default)]
    pub winner: bool,
    #[serde(default)]
    pub leaf: bool,
    #[serde(default)]
    pub sequence: Option<i64>,
    #[serde(default)]
    pub at: Option<String>,
    #[serde(default)]
    pub by: Option<String>,
    /// None of a revision that is known by name only.
    #[serde(default)]
    pub attributes: Option<Attributes>,
}

/// A record's leaves side by side.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Branches {
    pub id: String,
    pub leaves: Vec<Branch>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Branch {
    pub revision: RevisionId,
    #[serde(default)]
    pub deleted: bool,
    #[serde(default)]
    pub winner: bool,
    #[serde(default)]
    pub attributes: Option<Attributes>,
    /// What this branch and the winner both began from.
    #[serde(default)]
    pub ancestor: Option<Record>,
    #[serde(default)]
    pub grade: Option<String>,
    /// The attributes that both have changed.
    #[serde(default)]
    pub clashes: Vec<String>,
}

/// A living leaf that isn't the winner.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Conflict {
    pub table: String,
    pub id: String,
    pub winner: RevisionId,
    pub conflict: RevisionId,
    #[serde(default)]
    pub ancestor: Option<RevisionId>,
    #[serde(default)]
    pub grade: Option<String>,
    #[serde(default)]
    pub attributes: Vec<String>,
    #[serde(default)]
    pub at: Option<String>,
    #[serde(default)]
    pub by: Option<String>,
}

/// A revision that a table refused.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Rejected {
    pub number: i64,
    #[serde(default)]
    pub table: Option<String>,
    pub id: String,
    #[serde(default)]
    pub revision: Option<String>,
    /// As it came, which need not be in any form.
    pub record: Json,
    pub sqlstate: String,
    pub reason: String,
    #[serde(default)]
    pub detail: Option<String>,
    #[serde(default)]
    pub by: Option<String>,
    #[serde(default)]
    pub at: Option<String>,
}

/// What became of a refused revision that was tried again.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Retried {
    pub number: i64,
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What became of one revision that was sent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Outcome {
    #[serde(default)]
    pub id: Option<String>,
    #[serde(default)]
    pub revision: Option<String>,
    pub status: OutcomeStatus,
    #[serde(default)]
    pub reason: Option<String>,
    /// Of an edit that is a conflict.
    #[serde(default)]
    pub winner: Option<RevisionId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutcomeStatus {
    /// New there.
    Accepted,
    /// There already.
    Known,
    /// Refused by the table, and kept among its refused revisions with the reason.
    Rejected,
    /// Refused by row-level security, and kept nowhere.
    Forbidden,
    /// An edit of a revision that has been edited already.
    Conflict,
}

/// What of a record's revisions is not there.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Missing {
    pub missing: Vec<RevisionId>,
    /// Leaves of a lower generation.
    #[serde(default)]
    pub possible_ancestors: Vec<RevisionId>,
}

/// A tracked table. Serialised it is as it came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Table {
    pub name: String,
    #[serde(default)]
    pub columns: Vec<Column>,
    #[serde(default)]
    pub id_columns: Vec<String>,
    #[serde(default)]
    pub metadata: serde_json::Map<String, Json>,
    /// Whatever else is said of it.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Json>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Column {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Json>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generated: Option<String>,
    #[serde(default)]
    pub constraints: Vec<Json>,
}

/// How far the change stream is, and what the database is.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Status {
    /// The last number handed out.
    #[serde(default)]
    pub sequence: Option<i64>,
    /// How far readers are shown.
    #[serde(default)]
    pub horizon: Option<i64>,
    /// Another after a restore, a promotion or a copy.
    pub incarnation: String,
    #[serde(default)]
    pub holders: Vec<Holder>,
}

/// A transaction that holds the stream back.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Holder {
    pub at: i64,
    #[serde(default)]
    pub pid: Option<i64>,
    #[serde(default)]
    pub prepared: Option<String>,
    #[serde(default)]
    pub role: Option<String>,
    #[serde(default)]
    pub application: Option<String>,
    #[serde(default)]
    pub state: Option<String>,
    #[serde(default)]
    pub seconds: Option<f64>,
}

/// A peer's checkpoint as the database keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Peer {
    pub peer: String,
    /// How far it has read this database's stream.
    #[serde(default)]
    pub pulled: Option<i64>,
    /// How far of its own it has brought here.
    #[serde(default)]
    pub pushed: Option<i64>,
    /// How many sequences `pulled` is behind.
    #[serde(default)]
    pub behind: Option<i64>,
    #[serde(default)]
    pub incarnation: Option<String>,
    #[serde(default)]
    pub software: Option<String>,
    pub owner: String,
    pub first_seen: String,
    pub last_seen: String,
}
