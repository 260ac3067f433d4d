//! In charge of what a filter matches in a twin, looked up by the twin's own indexes before the stream is read.

use std::collections::HashMap;

use crate::error::OrReport;
use crate::filter::Filter;
use crate::shape::Shape;
use crate::spi::{self, Arg};
use crate::walk::Stored;

/// Revisions that a filter may match to be looked up before the stream is read, and the least that the stream must
/// have then.
const MATCHING_MAX: usize = 100_000;
const MATCHING_CHANGES_MIN: i64 = 1000;

/// What a filter matches: by record id the revisions whose bodies do, in their stored form.
pub struct Matching<'a> {
    filter: &'a Filter,
    pub revisions: HashMap<String, Vec<Vec<u8>>>,
}

impl<'a> Matching<'a> {
    /// None where looking through the stream takes less, or there are too many.
    pub fn of(shape: &Shape, filter: &'a Filter, changes: i64) -> Option<Matching<'a>> {
        if changes < MATCHING_CHANGES_MIN {
            return None;
        }
        // In an inner query of its own, so that the limit is not taken for a promise that matches come soon.
        let sql = format!(
            "select x._id, x._rev from (select x._id, x._rev from {} x
              where not x._deleted and not x._stub and {} offset 0) x limit {}",
            shape.twin,
            filter.condition(shape, "x", "$1").or_report(),
            MATCHING_MAX + 1,
        );
        let mut revisions: HashMap<String, Vec<Vec<u8>>> = HashMap::new();
        let found = spi::rows(&sql, &[filter.values()], |row| {
            revisions.entry(row.text(1).to_owned()).or_default().push(row.bytes(2).to_vec());
        });
        if found.len() > MATCHING_MAX {
            return None;
        }
        Some(Matching { filter, revisions })
    }

    /// What was not found may have been committed since.
    pub fn has(&self, shape: &Shape, id: &str, revision: &Stored) -> bool {
        let known = self.revisions.get(id);
        if known.is_some_and(|known| known.iter().any(|known| known == revision.bytes())) {
            return true;
        }
        let sql = format!(
            "select 1 from {} x where x._id = $2 and x._rev = $3 and {}",
            shape.twin,
            self.filter.condition(shape, "x", "$1").or_report(),
        );
        let revision = Arg(shape.revision_type, Some(revision.datum()));
        spi::run(&sql, &[self.filter.values(), spi::text(id), revision]) > 0
    }
}
