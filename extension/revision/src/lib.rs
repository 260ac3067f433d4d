//! The rules that every peer of Godwit must agree on: kinds and values, canonical bytes, revision
//! ids and their order, the revision tree and its winner.
//!
//! A crate of its own so that a client, a gateway and the Postgres extension can't come to differ. It
//! leaves out whatever could make two peers differ: I/O, clocks, random numbers, hash maps, the name
//! of a table. `docs/canonical.md` says the same in prose, `tests/vectors` in examples.

pub mod canonical;
mod clash;
mod id;
mod json;
mod lines;
pub mod merge;
mod policy;
mod read;
mod record;
mod rule;
mod sortable;
mod tree;
mod value;
mod wire;

pub use canonical::{Encoder, ValueHash};
pub use clash::clashes;
pub use id::{GENERATION_MAX, REVISION_BYTES_MAX, RevisionId, RevisionIdError, TOKEN_BYTES_MAX};
pub use json::{from_json, from_json_text, from_raw_json, to_json};
pub use policy::{Conflicts, Policy, Rule};
pub use read::attributes;
pub use record::{ID_BYTES_MAX, Record, RecordError};
pub use tree::{Insertion, Tree};
pub use value::{Attributes, DEPTH_MAX, Value, ValueError, float_text, with_float_text};
pub use wire::{parse as parse_wire, write_text};
