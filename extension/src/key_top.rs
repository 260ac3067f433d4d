//! In charge of the last entry that a twin's key has of one record, whatever row it is of: for who is about to write, and
//! looks once a row. Of a scan of the index beginning and ending are most.
//!
//! The leaf where the last look ended is looked at first: records that are written one after the other are often
//! neighbours, as numbers and times are. Nothing that was known of it is trusted: it is read anew, and tells by its
//! entries and its bound whether a record would stand in it. Else the way down is Lehman and Yao's, as
//! access/nbtree/README has it: to the right where a page has been split or deleted meanwhile.

use pgrx::pg_sys;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::key_page::{self, KeyEntry, METAPAGE, NO_PAGE, Page};
use crate::shape::Shape;
use crate::unguarded::{self, guarded};

/// Pages that are read for one look.
const PAGES_MAX: usize = 16;

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

/// Hands the last entry of a record to `look`, which neither owns anything nor panics; None where pages aren't laid out
/// as is thought, or are too many.
pub fn of<T: Copy>(shape: &Shape, id: &str, look: impl Fn(Top) -> T) -> Option<T> {
    shape.lock_twin();
    let (key, near) = (shape.twin_index(), &shape.near);
    let lock = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;
    // SAFETY: the twin is locked, so this is its index, which is closed again; its lock lasts to the end of the
    // transaction. Pages are read by slices that are asked whether they are long enough.
    unsafe {
        guarded(|| {
            let index = unguarded::index_open(key, lock);
            let found = Finger { index, near }.find(id.as_bytes(), &look);
            unguarded::index_close(index, pg_sys::NoLock as pg_sys::LOCKMODE);
            found
        })
    }
}

struct Finger<'f> {
    index: pg_sys::Relation,
    near: &'f Near,
}

/// What comes of a page.
enum Step<T> {
    On(pg_sys::BlockNumber),
    Found(T),
}

/// All of it stands behind a guard.
impl Finger<'_> {
    fn find<T>(&self, id: &[u8], look: &impl Fn(Top) -> T) -> Option<T> {
        let near = self.near.number(self.file());
        if let Some(found) = near.and_then(|number| self.walk(number, id, false, look)) {
            return Some(found);
        }
        // SAFETY: the index is open.
        if !unsafe { key_page::is_by_bytes(self.index) } {
            return None;
        }
        match self.look(METAPAGE, Page::root)? {
            NO_PAGE => Some(look(Top::Nothing)),
            root => self.walk(root, id, true, look),
        }
    }

    /// Goes from a page to where a record's entries would end. `is_bounded` tells that they don't begin to the left of it; of
    /// a page of which that isn't known, it must be a leaf that shows it.
    fn walk<T>(
        &self,
        mut number: pg_sys::BlockNumber,
        id: &[u8],
        mut is_bounded: bool,
        look: &impl Fn(Top) -> T,
    ) -> Option<T> {
        for _ in 0..PAGES_MAX {
            // The first page is no page of entries: what names it is damaged.
            if number == METAPAGE {
                return None;
            }
            match self.look(number, |page| step(page, id, is_bounded, look))? {
                Step::On(next) => number = next,
                Step::Found(found) => {
                    self.near.set(self.file(), number);
                    return Some(found);
                }
            }
            is_bounded = true;
        }
        None
    }

    fn look<T>(&self, number: pg_sys::BlockNumber, look: impl FnOnce(&Page) -> T) -> T {
        // SAFETY: the index is open.
        unsafe { Page::look_unguarded(self.index, number, look) }
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

fn step<T>(page: &Page, id: &[u8], is_bounded: bool, look: &impl Fn(Top) -> T) -> Option<Step<T>> {
    if page.is_ignored()? {
        return page.next().filter(|_| is_bounded).map(Step::On);
    }
    if !page.is_leaf()? {
        return page.below(id).filter(|_| is_bounded).map(Step::On);
    }
    let pointers = page.pointers()?;
    let count = page.count_while(pointers, |found| found <= id)?;
    let ends_here = count < pointers.len() || page.is_below_bound(|bound| id < bound)?;
    if let Some(last) = count.checked_sub(1).and_then(|at| pointers.get(at)) {
        let item = page.item(*last)?;
        if key_page::id_of(item)? == id {
            return Some(Step::Found(look(Top::Entry(KeyEntry::of(item)?, ends_here))));
        }
    }
    if !(is_bounded || count > 0 || page.is_first()?) {
        return None;
    }
    match ends_here {
        true => Some(Step::Found(look(Top::Nothing))),
        false => page.next().map(Step::On),
    }
}
