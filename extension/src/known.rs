//! In charge of which of many records a twin has anything of. Most that a peer sends or asks about are new, and of
//! those the twin's key says that there is nothing without a scan for each.

use crate::key_records::KeyRecords;
use crate::shape::Shape;
use crate::walk::{Sight, Walk};

/// Those of some records, in the order of their ids, of which the twin has a row that is seen, if only a stub.
pub fn known<'i>(shape: &Shape, sight: &Sight, mut ids: Vec<&'i str>) -> Vec<&'i str> {
    if ids.is_empty() {
        return ids;
    }
    let mut rows = Walk::of_records(shape, sight);
    let index = Walk::of_records(shape, sight);
    let Some(mut key) = KeyRecords::of(&index) else {
        ids.retain(|id| rows.has(id));
        return ids;
    };
    let mut places = Vec::new();
    ids.retain(|id| match key.find(id.as_bytes(), &mut places) {
        // An entry may be of a row that nobody sees yet, or any more.
        Some(()) => places.iter().any(|place| rows.row_at(*place).is_some()),
        None => rows.has(id),
    });
    ids
}
