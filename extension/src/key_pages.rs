//! In charge of reading a twin's key from end to end, whatever rows its entries are of: by the page and not by the
//! entry, of which a scan makes a copy and a call each.
//!
//! It is done as a scan of the B-tree does it (access/nbtree/README): leaf after leaf to the right, each locked by
//! itself. A page is copied, so that nothing is locked while it is looked at. What is split off to the right of it later
//! was in the copy; what is deleted before it is come to still says what is to the right, for a page isn't used anew
//! as long as a snapshot is held that is older than its end.

use pgrx::pg_sys;
use pgrx::varlena::{varatt_is_1b, varatt_is_1b_e, varatt_is_4b_u, varsize_1b, varsize_4b};
use revision::RevisionId;

use crate::unguarded::{self, guarded};
use crate::walk::{Sight, Walk};

const PAGE_BYTES: usize = pg_sys::BLCKSZ as usize;
const HEAD_BYTES: usize = std::mem::offset_of!(pg_sys::PageHeaderData, pd_linp);
/// Where a page says how far its line pointers go, and where its last part begins.
const LOWER_AT: usize = std::mem::offset_of!(pg_sys::PageHeaderData, pd_lower);
const SPECIAL_AT: usize = std::mem::offset_of!(pg_sys::PageHeaderData, pd_special);
const PLACE_BYTES: usize = size_of::<pg_sys::ItemPointerData>();
const VALUE_ALIGNMENT: usize = align_of::<i32>();
const ENTRY_HEAD_BYTES: usize = size_of::<pg_sys::IndexTupleData>();

// What follows is from access/nbtree.h, which pgrx doesn't read.
const METAPAGE: pg_sys::BlockNumber = 0;
const NO_PAGE: pg_sys::BlockNumber = 0;
/// The first page's `btm_root` and `btm_fastroot`, behind its head.
const ROOT_AT: usize = HEAD_BYTES + 8;
const FAST_ROOT_AT: usize = HEAD_BYTES + 16;
/// Of a page's last part: `btpo_next` and `btpo_flags`.
const NEXT_AT: usize = 4;
const FLAGS_AT: usize = 12;
const IS_LEAF: u16 = 1 << 0;
const IS_DELETED: u16 = 1 << 2;
const IS_HALF_DEAD: u16 = 1 << 4;
/// An entry whose place says something else. One of several rows has that; but a type must say of itself that equal
/// values are alike before its entries are put together so, and `godwit.revision` doesn't.
const HAS_OTHER_PLACE: u32 = 0x2000;

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
        let page = Box::new(Page { bytes: [0; PAGE_BYTES] });
        let mut pages = KeyPages { index, page, next: NO_PAGE, ignores_killed, _walk: walk };
        pages.next = pages.first_leaf()?;
        Some(pages)
    }

    /// Goes to the next page that has entries; false after the last.
    pub fn advance(&mut self) -> Result<bool, Unreadable> {
        while self.next != NO_PAGE {
            pgrx::check_for_interrupts!();
            self.copy(self.next);
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
            item.is_some_and(|item| is_plainly(item, id, first))
        };
        pointers.iter().skip(at).take_while(is_next).count()
    }

    /// The way down along the left edge.
    fn first_leaf(&mut self) -> Option<pg_sys::BlockNumber> {
        self.copy(METAPAGE);
        if self.page.number(ROOT_AT)? == NO_PAGE {
            return Some(NO_PAGE);
        }
        let mut number = self.page.number(FAST_ROOT_AT)?;
        loop {
            pgrx::check_for_interrupts!();
            // The first page is no page of entries: what names it is damaged.
            if number == NO_PAGE {
                return None;
            }
            self.copy(number);
            number = match (self.page.is_ignored()?, self.page.flags()? & IS_LEAF != 0) {
                (true, _) => self.page.next().filter(|next| *next != NO_PAGE)?,
                (false, true) => return Some(number),
                (false, false) => self.page.first_child()?,
            };
        }
    }

    fn copy(&mut self, number: pg_sys::BlockNumber) {
        let (index, bytes) = (self.index, self.page.bytes.as_mut_ptr());
        let share = pg_sys::BUFFER_LOCK_SHARE as i32;
        // SAFETY: the index is open; a buffer is as long as a page, and it is locked while it is copied.
        unsafe {
            guarded(|| {
                let buffer = unguarded::ReadBuffer(index, number);
                unguarded::LockBuffer(buffer, share);
                unguarded::_bt_checkpage(index, buffer);
                let page: *const u8 = pg_sys::BufferGetPage(buffer).cast();
                page.copy_to_nonoverlapping(bytes, PAGE_BYTES);
                unguarded::UnlockReleaseBuffer(buffer);
            });
        }
    }
}

/// What isn't laid out as was thought; Postgres itself may tell why.
#[derive(Debug)]
pub struct Unreadable;

/// A copy of a page.
#[repr(C, align(8))]
struct Page {
    bytes: [u8; PAGE_BYTES],
}

impl Page {
    /// The line pointers of what isn't the bound to the right, which all but the last page begin with.
    fn pointers(&self) -> Option<&[pg_sys::ItemIdData]> {
        let bytes = self.bytes.get(HEAD_BYTES..short(&self.bytes, LOWER_AT)?.into())?;
        let count = bytes.len() / size_of::<pg_sys::ItemIdData>();
        // SAFETY: a pointer is bits alone, and they stand aligned behind the page's head.
        let all = unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), count) };
        match self.next()? {
            NO_PAGE => Some(all),
            _ => all.get(1..),
        }
    }

    #[inline]
    fn item(&self, pointer: pg_sys::ItemIdData) -> Option<&[u8]> {
        let (at, length) = (pointer.lp_off() as usize, pointer.lp_len() as usize);
        self.bytes.get(at..at + length).filter(|_| at.is_multiple_of(align_of::<Page>()))
    }

    fn first_child(&self) -> Option<pg_sys::BlockNumber> {
        child(self.item(*self.pointers()?.first()?)?)
    }

    fn next(&self) -> Option<pg_sys::BlockNumber> {
        self.number(self.special()? + NEXT_AT)
    }

    fn is_ignored(&self) -> Option<bool> {
        Some(self.flags()? & (IS_DELETED | IS_HALF_DEAD) != 0)
    }

    fn flags(&self) -> Option<u16> {
        short(&self.bytes, self.special()? + FLAGS_AT)
    }

    fn special(&self) -> Option<usize> {
        short(&self.bytes, SPECIAL_AT).map(usize::from)
    }

    fn number(&self, at: usize) -> Option<u32> {
        Some(u32::from_ne_bytes(*self.bytes.get(at..)?.first_chunk()?))
    }
}

/// What the key says of a row.
pub struct KeyEntry<'p> {
    pub id: &'p [u8],
    /// In its stored form.
    pub revision: &'p [u8],
    place: &'p [u8; PLACE_BYTES],
}

impl<'p> KeyEntry<'p> {
    fn of(item: &'p [u8]) -> Option<KeyEntry<'p>> {
        let place = item.first_chunk()?;
        if !is_of_one_row(item) {
            return None;
        }
        let (id, end) = value(item, ENTRY_HEAD_BYTES)?;
        let (revision, _) = value(item, end)?;
        Some(KeyEntry { id, revision, place })
    }
}

impl KeyEntry<'_> {
    /// Where its row is.
    pub fn place(&self) -> pg_sys::ItemPointerData {
        // SAFETY: a place is numbers alone, and these are as many bytes.
        unsafe { self.place.as_ptr().cast::<pg_sys::ItemPointerData>().read_unaligned() }
    }
}

/// Whether an entry is one row's, of this record and of a revision that begins with a byte, both with short heads.
#[inline]
fn is_plainly(item: &[u8], id: &[u8], first: u8) -> bool {
    let is_short = |at: usize, length: Option<usize>| {
        let Some(head) = item.get(at) else { return false };
        let head: *const pg_sys::varlena = std::ptr::from_ref(head).cast();
        // SAFETY: what has a short head is told by that one byte.
        unsafe {
            let is_it = varatt_is_1b(head) && !varatt_is_1b_e(head);
            is_it && length.is_none_or(|length| varsize_1b(head) == 1 + length)
        }
    };
    let (from, end) = (ENTRY_HEAD_BYTES + 1, ENTRY_HEAD_BYTES + 1 + id.len());
    is_of_one_row(item)
        && is_short(from - 1, Some(id.len()))
        && item.get(from..end) == Some(id)
        && is_short(end, None)
        && item.get(end + 1) == Some(&first)
}

/// Whether it says where a row is, and has no nulls.
fn is_of_one_row(item: &[u8]) -> bool {
    let other = pg_sys::INDEX_NULL_MASK | HAS_OTHER_PLACE;
    short(item, PLACE_BYTES).is_some_and(|info| u32::from(info) & other == 0)
}

/// The page that an item says is below.
fn child(item: &[u8]) -> Option<pg_sys::BlockNumber> {
    let (high, low) = (short(item, 0)?, short(item, 2)?);
    Some(u32::from(high) << u16::BITS | u32::from(low))
}

/// The bytes of a varlena that stands at a place of an entry or, if it is aligned, behind some zeros; and where it
/// ends. None for one that is compressed.
fn value(item: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let head: *const pg_sys::varlena = item.get(at..)?.as_ptr().cast();
    // SAFETY: what has a short head is told by its first byte, the others stand aligned: so do items of a page.
    unsafe {
        if item.len() > at && varatt_is_1b(head) {
            let end = at + varsize_1b(head);
            return (!varatt_is_1b_e(head)).then_some((item.get(at + 1..end)?, end));
        }
        let at = at.next_multiple_of(VALUE_ALIGNMENT);
        let from = at + pg_sys::VARHDRSZ;
        let head: *const pg_sys::varlena = item.get(at..from)?.as_ptr().cast();
        let end = at + varsize_4b(head);
        varatt_is_4b_u(head).then_some((item.get(from..end)?, end))
    }
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}
