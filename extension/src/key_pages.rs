//! In charge of reading a twin's key from end to end, whatever rows its entries are of: by the page and not by the
//! entry, of which a scan makes a copy and a call each.
//!
//! It is done as a scan of the B-tree does it (access/nbtree/README): leaf after leaf to the right, each locked by
//! itself (`key_page.rs`). What is split off to the right of a page later was in its copy; what is deleted before it is
//! come to still says what is to the right, for a page isn't used anew as long as a snapshot is held that is older than
//! its end.

use pgrx::pg_sys;
use revision::RevisionId;

use crate::key_page::{self, KeyEntry, METAPAGE, NO_PAGE, Page, Unreadable};
use crate::unguarded::{self, guarded};
use crate::walk::{Sight, Walk};

/// The leaves of a twin's key, from the first on.
pub struct KeyPages<'w> {
    index: pg_sys::Relation,
    page: Box<Page>,
    /// The page to be read next; none after the last.
    next: pg_sys::BlockNumber,
    /// Whether entries that are marked as of rows that nobody sees any more are passed over.
    ignores_killed: bool,
    _walk: &'w Walk<'w>,
}

impl<'w> KeyPages<'w> {
    /// Those of the index that a walk is of, as it is seen. None where that is no plain key of two columns, or can't be
    /// read.
    pub fn of(walk: &'w Walk<'w>, sight: &Sight) -> Option<KeyPages<'w>> {
        let index = walk.index();
        // SAFETY: the index is open as long as the walk is there.
        let is_plain = unsafe {
            let class = &*(*index).rd_rel;
            class.relkind as u8 == pg_sys::RELKIND_INDEX
                && class.relam == pg_sys::BTREE_AM_OID
                && (*(*index).rd_att).natts == 2
        };
        if !is_plain {
            return None;
        }
        let snapshot = sight.raw();
        // SAFETY: index and snapshot are there. All of the index is read, so any new entry matters to a serializable
        // transaction.
        unsafe { guarded(|| unguarded::PredicateLockRelation(index, snapshot)) };
        // SAFETY: reads the transaction's own state. What the primary has marked as dead may be seen on a standby.
        let ignores_killed = unsafe { !pg_sys::TransactionStartedDuringRecovery() };
        let page = Box::new(Page::EMPTY);
        let mut pages = KeyPages { index, page, next: NO_PAGE, ignores_killed, _walk: walk };
        pages.next = pages.first_leaf()?;
        Some(pages)
    }

    /// Goes to the next page that has entries; false after the last.
    pub fn advance(&mut self) -> Result<bool, Unreadable> {
        while self.next != NO_PAGE {
            pgrx::check_for_interrupts!();
            self.read(self.next);
            self.next = self.page.next().ok_or(Unreadable)?;
            if !self.page.is_ignored().ok_or(Unreadable)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// How many entries the page at hand has.
    pub fn count(&self) -> Result<usize, Unreadable> {
        self.page.pointers().map(<[pg_sys::ItemIdData]>::len).ok_or(Unreadable)
    }

    /// One of its entries, in their order; none for what is passed over.
    pub fn entry(&self, at: usize) -> Result<Option<KeyEntry<'_>>, Unreadable> {
        let pointer = self.page.pointers().and_then(|all| all.get(at)).ok_or(Unreadable)?;
        if self.is_over(pointer) {
            return Ok(None);
        }
        self.page.item(*pointer).and_then(KeyEntry::of).map(Some).ok_or(Unreadable)
    }

    /// Whether an entry is passed over.
    fn is_over(&self, pointer: &pg_sys::ItemIdData) -> bool {
        self.ignores_killed && pointer.lp_flags() == pg_sys::LP_DEAD
    }

    /// How many entries from one on can be told by their first bytes to be of a record, and of one generation each,
    /// this one and those after it. Of most there is nothing more to know.
    pub fn rising(&self, at: usize, id: &[u8], generation: u64) -> usize {
        let pointers = self.page.pointers().unwrap_or_default();
        let mut generations = generation..;
        let is_next = |pointer: &&pg_sys::ItemIdData| {
            let Some(first) = generations.next().and_then(RevisionId::sortable_first) else {
                return false;
            };
            let item = self.page.item(**pointer).filter(|_| !self.is_over(pointer));
            item.is_some_and(|item| key_page::is_plainly(item, id, first))
        };
        pointers.iter().skip(at).take_while(is_next).count()
    }

    /// The way down along the left edge.
    fn first_leaf(&mut self) -> Option<pg_sys::BlockNumber> {
        self.read(METAPAGE);
        let mut number = self.page.root()?;
        if number == NO_PAGE {
            return Some(NO_PAGE);
        }
        loop {
            pgrx::check_for_interrupts!();
            // The first page is no page of entries: what names it is damaged.
            if number == NO_PAGE {
                return None;
            }
            self.read(number);
            number = match (self.page.is_ignored()?, self.page.is_leaf()?) {
                (true, _) => self.page.next().filter(|next| *next != NO_PAGE)?,
                (false, true) => return Some(number),
                (false, false) => self.page.first_child()?,
            };
        }
    }

    fn read(&mut self, number: pg_sys::BlockNumber) {
        // SAFETY: the index is open.
        unsafe { self.page.read(self.index, number) };
    }
}
