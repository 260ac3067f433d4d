//! In charge of the last entry that a twin's key has of one record, whatever row it is of: for who is about to write, and
//! looks once a row. Of a scan of the index beginning and ending are most.
//!
//! The leaf where the last look ended is looked at first: records that are written one after the other are often
//! neighbours, as numbers and times are. Nothing that was known of it is trusted: it is read anew, and tells by its
//! entries and its bound whether a record would stand in it. Else the way down is Lehman and Yao's, as
//! access/nbtree/README has it: to the right where a page has been split or deleted meanwhile.

use pgrx::pg_sys;
use std::cell::RefCell;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::key_page::{self, KeyEntry, METAPAGE, NO_PAGE, Page};
use crate::shape::Shape;
use crate::unguarded::{self, guarded};

/// Pages that are read for one look.
const PAGES_MAX: usize = 16;

thread_local! {
    static PAGE: RefCell<Page> = const { RefCell::new(Page::EMPTY) };
}

/// The leaf where the last look ended: in which file, for REINDEX begins another, and its number; no leaf has number 0.
#[derive(Default)]
pub struct Near(AtomicU64);

impl Near {
    fn number(&self, file: u32) -> Option<pg_sys::BlockNumber> {
        let (of, number) = apart(self.0.load(Relaxed));
        (of == file && number != METAPAGE).then_some(number)
    }

    fn set(&self, file: u32, number: pg_sys::BlockNumber) {
        self.0.store(u64::from(file) << u32::BITS | u64::from(number), Relaxed);
    }
}

fn apart(both: u64) -> (u32, u32) {
    ((both >> u32::BITS) as u32, both as u32)
}

/// What the key has of a record.
pub enum Top<'p> {
    Nothing,
    /// An entry, and whether it is known to be the last.
    Entry(KeyEntry<'p>, bool),
}

/// Hands the last entry of a record to `look`; None where pages aren't laid out as is thought, or are too many.
pub fn of<T>(shape: &Shape, id: &str, look: impl FnOnce(Top) -> T) -> Option<T> {
    shape.lock_twin();
    let key = shape.twin_index();
    let lock = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;
    // SAFETY: the twin is locked, so this is its index, which is closed again; its lock lasts to the end of the
    // transaction.
    unsafe {
        let index = guarded(|| unguarded::index_open(key, lock));
        let found = PAGE.with_borrow_mut(|page| {
            let mut finger = Finger { index, near: &shape.near, page };
            let at = finger.find(id.as_bytes())?;
            Some(look(finger.top(at)?))
        });
        guarded(|| unguarded::index_close(index, pg_sys::NoLock as pg_sys::LOCKMODE));
        found
    }
}

struct Finger<'f> {
    index: pg_sys::Relation,
    near: &'f Near,
    page: &'f mut Page,
}

/// What a leaf says of a record.
enum Found {
    Nothing,
    /// The place of its last entry here, and whether there is none further to the right.
    Entry(usize, bool),
    /// Nothing, but there may be something further to the right.
    Right,
}

impl Finger<'_> {
    fn find(&mut self, id: &[u8]) -> Option<Found> {
        let near = self.near.number(self.file());
        if let Some(found) = near.and_then(|number| self.walk(number, id, false)) {
            return Some(found);
        }
        // SAFETY: the index is open.
        if !unsafe { key_page::is_by_bytes(self.index) } {
            return None;
        }
        self.read(METAPAGE);
        match self.page.root()? {
            NO_PAGE => Some(Found::Nothing),
            root => self.walk(root, id, true),
        }
    }

    /// Goes from a page to where a record's entries would end. `is_bounded` tells that they don't begin to the left of it; of
    /// a page of which that isn't known, it must be a leaf that shows it.
    fn walk(
        &mut self,
        mut number: pg_sys::BlockNumber,
        id: &[u8],
        mut is_bounded: bool,
    ) -> Option<Found> {
        for _ in 0..PAGES_MAX {
            // The first page is no page of entries: what names it is damaged.
            if number == METAPAGE {
                return None;
            }
            self.read(number);
            if self.page.is_ignored()? {
                number = self.page.next().filter(|_| is_bounded)?;
            } else if self.page.is_leaf()? {
                match self.on_leaf(id, is_bounded)? {
                    Found::Right => number = self.page.next()?,
                    found => {
                        self.near.set(self.file(), number);
                        return Some(found);
                    }
                }
                is_bounded = true;
            } else {
                number = self.page.below(id).filter(|_| is_bounded)?;
            }
        }
        None
    }

    fn on_leaf(&self, id: &[u8], is_bounded: bool) -> Option<Found> {
        let pointers = self.page.pointers()?;
        let count = self.page.count_while(pointers, |found| found <= id)?;
        let last = count.checked_sub(1).map(|at| self.page.item(pointers[at]));
        let ends_here = count < pointers.len() || self.page.is_below_bound(|bound| id < bound)?;
        if let Some(item) = last
            && key_page::id_of(item?)? == id
        {
            return Some(Found::Entry(count - 1, ends_here));
        }
        let is_bounded = is_bounded || count > 0 || self.page.is_first()?;
        is_bounded.then_some(if ends_here { Found::Nothing } else { Found::Right })
    }

    fn top(&self, found: Found) -> Option<Top<'_>> {
        match found {
            Found::Nothing => Some(Top::Nothing),
            Found::Entry(at, is_last) => {
                let entry = KeyEntry::of(self.page.item(*self.page.pointers()?.get(at)?)?)?;
                Some(Top::Entry(entry, is_last))
            }
            Found::Right => None,
        }
    }

    fn read(&mut self, number: pg_sys::BlockNumber) {
        // SAFETY: the index is open.
        unsafe { self.page.read(self.index, number) };
    }

    fn file(&self) -> u32 {
        // SAFETY: the index is open.
        #[cfg(feature = "pg15")]
        return unsafe { (*self.index).rd_node.relNode }.to_u32();
        // SAFETY: as above.
        #[cfg(not(feature = "pg15"))]
        return unsafe { (*self.index).rd_locator.relNumber }.to_u32();
    }
}
