//! In charge of where a twin's key says that the rows of many records are, one record after the other in the order of
//! their ids: of a scan of the index that begins anew for each, the way down from its root is most.
//!
//! The page above the leaves is kept from one record to the next. As in `key_pages.rs`, what was split off or deleted
//! meanwhile is come to further to the right.

use pgrx::pg_sys;

use crate::key_page::{self, KeyEntry, METAPAGE, NO_PAGE, Page};
use crate::walk::Walk;

/// A twin's key, of which one record is asked for after the other.
pub struct KeyRecords<'w> {
    index: pg_sys::Relation,
    /// A page above leaves, or above such pages, if there is one at hand.
    above: Box<Page>,
    has_above: bool,
    /// Whether entries that are marked as of rows that nobody sees any more are passed over.
    ignores_killed: bool,
    _walk: &'w Walk<'w>,
}

/// Where a record's entries are from a page on.
enum Way {
    /// Here, and there are none further on.
    Ends,
    Right(pg_sys::BlockNumber),
    /// Below this page, which is no leaf.
    Below,
}

impl<'w> KeyRecords<'w> {
    /// That of the index that a walk is of. None where that is no plain key of two columns in the order of bytes, and
    /// for a serializable transaction, whose looks must be noted: the walk sees to that.
    pub fn of(walk: &'w Walk<'w>) -> Option<KeyRecords<'w>> {
        let index = walk.index();
        // SAFETY: the index is open as long as the walk is there; all else is the transaction's own state. What the primary
        // has marked as dead may be seen on a standby.
        let (is_plain, is_noted, ignores_killed) = unsafe {
            (
                (*(*index).rd_att).natts == 2 && key_page::is_by_bytes(index),
                pg_sys::XactIsoLevel == pg_sys::XACT_SERIALIZABLE as i32,
                !pg_sys::TransactionStartedDuringRecovery(),
            )
        };
        let above = Box::new(Page::EMPTY);
        let key = KeyRecords { index, above, has_above: false, ignores_killed, _walk: walk };
        (is_plain && !is_noted).then_some(key)
    }

    /// Puts the places of a record's rows into `places`, the lowest revision's first; its id must be above the one before.
    /// None where pages aren't laid out as is thought.
    pub fn find(&mut self, id: &[u8], places: &mut Vec<pg_sys::ItemPointerData>) -> Option<()> {
        places.clear();
        let mut number = self.way_down(id)?;
        while number != NO_PAGE {
            pgrx::check_for_interrupts!();
            let ignores_killed = self.ignores_killed;
            let take = |page: &Page| take(page, id, ignores_killed, places);
            // SAFETY: the index is open.
            match unsafe { Page::look(self.index, number, take) }? {
                Way::Ends => break,
                Way::Right(next) => number = next,
                Way::Below => number = self.below(number, id)?,
            }
        }
        Some(())
    }

    /// From where to go on; no page while nothing is in the index.
    fn way_down(&mut self, id: &[u8]) -> Option<pg_sys::BlockNumber> {
        if self.has_above && self.above.is_below_bound(|bound| id <= bound)? {
            return self.above.below(id);
        }
        self.read_above(METAPAGE);
        self.above.root()
    }

    /// The page to go on with from one that is no leaf, which is kept.
    fn below(&mut self, number: pg_sys::BlockNumber, id: &[u8]) -> Option<pg_sys::BlockNumber> {
        self.read_above(number);
        // It may have been deleted since it was looked at.
        if self.above.is_ignored()? {
            return self.above.next();
        }
        self.has_above = true;
        self.above.below(id)
    }

    fn read_above(&mut self, number: pg_sys::BlockNumber) {
        self.has_above = false;
        // SAFETY: the index is open.
        unsafe { self.above.read(self.index, number) };
    }
}

/// Takes the places of a record's entries on a page.
fn take(
    page: &Page,
    id: &[u8],
    ignores_killed: bool,
    places: &mut Vec<pg_sys::ItemPointerData>,
) -> Option<Way> {
    if page.is_ignored()? {
        return page.next().map(Way::Right);
    }
    if !page.is_leaf()? {
        return Some(Way::Below);
    }
    let pointers = page.pointers()?;
    let begin = page.count_while(pointers, |found| found < id)?;
    for pointer in &pointers[begin..] {
        let entry = KeyEntry::of(page.item(*pointer)?)?;
        if entry.id != id {
            return Some(Way::Ends);
        }
        if !(ignores_killed && pointer.lp_flags() == pg_sys::LP_DEAD) {
            places.push(entry.place());
        }
    }
    match page.is_below_bound(|bound| id < bound)? {
        true => Some(Way::Ends),
        false => page.next().map(Way::Right),
    }
}
